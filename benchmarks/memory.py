"""How much memory a cached workflow takes in a worker, beside a bare one that waits for the same.

The SDK keeps up to 1,000 workflows in the memory of a worker. Here they are orders that wait for an ERP that refuses
connections, with a first retry after 15 minutes; and bare workflows that wait for the retry of an activity. Before,
each worker has carried some others to their end, so that what is loaded once is loaded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from benchmarks.bare import bare_temporal
from benchmarks.processes import resident_bytes
from benchmarks.report import Options, Table, ratios, run, server_version
from benchmarks.world import ORDERS, until_closed, until_counted, world

_WARM: Final = 100
_LATE: Final = {"CLOSEDWON_RETRY__INITIAL_INTERVAL": "15m"}
_RUNNING: Final = "ExecutionStatus = 'Running'"
_SETTLED: Final = 2.0
"""Seconds in which a worker completes what it has begun, and its allocator gives back what it does not need."""


async def measure(options: Options) -> tuple[str, Sequence[Table]]:
    """One after the other."""
    orders, server = await _product(options.orders)
    bare = await _bare(options.orders)
    rows = {"order": orders, "bare workflow": bare, "ratio": ratios(orders, bare)}
    return server, [Table(f"{options.orders} open workflows", ("kB each", "MB before", "MB after"), rows)]


async def _product(orders: int) -> tuple[list[float | None], str]:
    async with world(environment=_LATE) as product:
        worker = product.stack.workers[0]
        await product.pile_up(_WARM)
        await product.read_on()
        await until_closed(product.client, ORDERS, _WARM)
        await product.set_erp_faults(down=True)
        await product.pile_up(orders)
        before = resident_bytes(worker.pid)
        await product.read_on()
        await until_counted(product.client, f"{ORDERS} AND {_RUNNING}", orders)
        await product.settled_actions()
        return _figures(before, resident_bytes(worker.pid), orders), await server_version(product.client)


async def _bare(workflows: int) -> list[float | None]:
    async with bare_temporal() as bare:
        await bare.start(_WARM, "regular")
        await until_closed(bare.client, "WorkflowType = 'Bare'", _WARM)
        before = resident_bytes(bare.worker.pid)
        await bare.start(workflows, "waiting")
        await until_counted(bare.client, f"WorkflowType = 'Bare' AND {_RUNNING}", workflows)
        await asyncio.sleep(_SETTLED)
        return _figures(before, resident_bytes(bare.worker.pid), workflows)


def _figures(before: int, after: int, workflows: int) -> list[float | None]:
    return [(after - before) / workflows / 1000, before / 1e6, after / 1e6]


if __name__ == "__main__":
    run(measure, orders=900)
