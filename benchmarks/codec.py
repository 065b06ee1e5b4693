"""What encryption costs an order.

Hand-offs of deals that are won at once, with encryption and without, by turns in one run. The processor's time is that
of our process, the org and the ERP included, Temporal's server not. Absolute times say more about the machine than
about the code; quote the ratios.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.report import Options, Table, medians, ratios, run, server_version
from closedwon.settings import Encryption
from tests.support.encryption import keyed
from tests.support.handoff import PLAIN, handoff


class CodecCost(NamedTuple):
    """Of one order."""

    seconds: float
    processor: float
    """Seconds of the processor's time."""
    stored: int
    """Bytes of its history."""


async def measure(options: Options) -> tuple[str, Sequence[Table]]:
    """Take turns, then compare the medians."""
    costs: dict[str, list[CodecCost]] = {"plain": [], "encrypted": []}
    for _ in range(options.rounds):
        costs["plain"].append(await _measure(PLAIN, options.orders))
        costs["encrypted"].append(await _measure(keyed(), options.orders))
    rows = {name: medians(them) for name, them in costs.items()}
    rows["ratio"] = ratios(rows["encrypted"], rows["plain"])
    async with handoff() as world:
        server = await server_version(world.client)
    return server, [Table("per order", ("seconds", "processor s", "history, bytes"), rows)]


async def _measure(encryption: Encryption, deals: int) -> CodecCost:
    async with handoff(encryption=encryption) as world, world.working():
        world.org.seed(deals + 1)
        await world.until_written_back(*world.org.win_next(1))  # logins and connections, which all later ones share
        began, worked = time.monotonic(), time.process_time()
        won = world.org.win_next(deals)
        await world.until_written_back(*won)
        seconds, processor = time.monotonic() - began, time.process_time() - worked
        await asyncio.gather(*(world.order(record).result() for record in won))
        description = await world.order(won[0]).describe()
    return CodecCost(
        seconds / deals, processor / deals, description.raw_description.workflow_execution_info.history_size_bytes
    )


if __name__ == "__main__":
    run(measure, orders=100, rounds=5)
