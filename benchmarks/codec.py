"""What encryption costs: `python -m benchmarks.codec [DEALS] [ROUNDS]`.

Hand-offs of deals that are won at once, with encryption and without, by turns in one run. The processor's time is that
of our process, the org and the ERP included, Temporal's server not. Absolute times say more about the machine than
about the code; quote the ratios.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from typing import NamedTuple

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


async def main(deals: int, rounds: int) -> None:
    """Measure by turns, then print."""
    costs: dict[str, list[CodecCost]] = {"plain": [], "encrypted": []}
    for _ in range(rounds):
        costs["plain"].append(await _measure(PLAIN, deals))
        costs["encrypted"].append(await _measure(keyed(), deals))
    medians = {name: [statistics.median(figure) for figure in zip(*them, strict=True)] for name, them in costs.items()}
    medians["ratio"] = [after / before for before, after in zip(*medians.values(), strict=True)]
    print(f"{'per order':12}{'seconds':>12}{'processor':>12}{'history, bytes':>18}")
    for name, (seconds, processor, stored) in medians.items():
        print(f"{name:12}{seconds:12.3f}{processor:12.3f}{stored:18.2f}")


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
    asyncio.run(main(*map(int, (sys.argv[1:] + ["100", "5"][len(sys.argv) - 1 :]))))
    sys.stdout.flush()
    os._exit(0)  # the Temporal SDK may crash the interpreter's exit
