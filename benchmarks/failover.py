"""How long no event is read when the reader of the event bus is killed, and whether a reader ever loses its work alive.

Two subscribers, of which one reads. It is killed at a random moment, a deal is won at once, and the time until its
order is started by the other one is measured; then the killed one is started again. By turns the reader is idle, and
busy with a deal every second. Between the kills, attempts of the reading are counted that no kill has caused: false
take-overs. The heartbeat timeout is the product's own.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from benchmarks.report import Options, Table, percentile, run, server_version
from benchmarks.world import World, world
from closedwon import names
from closedwon.demo.stack import Closedwon
from closedwon.ids import OrgId, RecordId
from closedwon.settings import Subscriber
from tests.support.siege import CHANNEL
from tests.support.visibility import exists

_POLL: Final = 0.2
_IDLE: Final = 20.0
"""Seconds from one heartbeat of an idle reader to the next: a kill falls anywhere between."""


class _Failover:
    """Kills readers and measures."""

    def __init__(self, product: World) -> None:
        self._product = product
        self._org = OrgId(product.stack.org.connection["org_id"])
        self._subscription = names.subscription_workflow_id(self._org, CHANNEL)
        self.false = 0

    async def reader(self) -> tuple[Closedwon, int]:
        """The subscriber that reads, once it has sent a heartbeat, and the number of its attempt."""
        handle = self._product.client.get_workflow_handle(self._subscription)
        while True:
            for pending in (await handle.describe()).raw_description.pending_activities:
                for part in self._product.stack.subscribers:
                    if f" {part.pid}@" in pending.last_worker_identity and pending.HasField("last_heartbeat_time"):
                        return part, pending.attempt
            await asyncio.sleep(_POLL)

    async def kill(self, deal: RecordId) -> float:
        """Kill the reader after some time; the seconds until a deal that is won at once has its workflow."""
        _, attempt = await self.reader()
        await asyncio.sleep(random.uniform(5, 5 + _IDLE))  # noqa: S311 - no secret
        reader, later = await self.reader()
        self.false += later - attempt
        await reader.kill()
        killed = time.monotonic()
        await self._product.win([deal])
        workflow_id = names.order_workflow_id(self._org, deal)
        while not await exists(self._product.client, workflow_id):  # noqa: ASYNC110 - Temporal sets no event of ours
            await asyncio.sleep(_POLL)
        taken = time.monotonic() - killed
        await reader.start()
        return taken

    @asynccontextmanager
    async def busy(self, deals: Sequence[RecordId]) -> AsyncIterator[None]:
        """Win a deal every second during a block."""

        async def sell() -> None:
            for deal in deals:
                await self._product.win([deal])
                await asyncio.sleep(1)

        selling = asyncio.create_task(sell())
        try:
            yield
        finally:
            selling.cancel()
            await asyncio.wait({selling})


async def measure(options: Options) -> tuple[str, Sequence[Table]]:
    """Kill an idle reader and a busy one by turns."""
    times: dict[str, list[float]] = {"idle": [], "busy": []}
    async with world(workers=0, subscribers=2) as product:
        failover = _Failover(product)
        for _ in range(options.rounds):
            idle, busy, *others = await product.add(120)
            times["idle"].append(await failover.kill(idle))
            async with failover.busy(others):
                times["busy"].append(await failover.kill(busy))
        server = await server_version(product.client)
    timeout = Subscriber().heartbeat_timeout.total_seconds()
    rows: dict[str, list[float | None]] = {
        f"{kind} reader": [percentile(taken, 50), percentile(taken, 95), max(taken), max(taken) / timeout]
        for kind, taken in (times | {"either": times["idle"] + times["busy"]}).items()
    }
    columns = ("p50 s", "p95 s", "max s", "max ÷ timeout")
    false: dict[str, list[float | None]] = {f"in {2 * options.rounds} lives": [float(failover.false)]}
    return server, [
        Table(f"from the kill to the first event, {2 * options.rounds} kills", columns, rows),
        Table("false take-overs", ("number",), false),
    ]


if __name__ == "__main__":
    run(measure, orders=0, rounds=10)
