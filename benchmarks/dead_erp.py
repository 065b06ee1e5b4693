"""What a dead ERP costs while orders wait for it: calls, billed actions and processor time, in ten minutes.

All orders are won at once while the ERP cuts every connection; nothing else happens. Attempts grow rarer (the interval
doubles from a second to a quarter of an hour), so the first minutes cost most. Billed actions grow with the number of
orders as long as each order makes attempts of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from benchmarks.report import Options, Table, run, server_version
from benchmarks.world import Used, world

_MINUTES: Final = (1, 2, 5, 10)


async def measure(options: Options) -> tuple[str, Sequence[Table]]:
    """Look after some minutes."""
    orders = options.orders
    rows: dict[str, list[float | None]] = {}
    async with world() as product:
        server = await server_version(product.client)
        await product.set_erp_faults(down=True)
        await product.pile_up(orders)
        before = await product.used(at_rest=False)
        began, last = time.monotonic(), before
        await product.read_on()
        for minute in _MINUTES:
            await asyncio.sleep(max(began + 60 * minute - time.monotonic(), 0))
            now = await product.used(at_rest=False)
            rows[f"after {minute} minutes"] = _figures(now.since(before), orders, now.since(last))
            last = now
    columns = ("ERP calls", "actions", "CPU-ms", "actions/min")
    return server, [Table(f"{orders} orders, per order; actions per minute of all", columns, rows)]


def _figures(used: Used, orders: int, lately: Used) -> list[float | None]:
    processor = 1000 * sum(used.processor.values()) / orders
    return [used.erp / orders, used.actions.total() / orders, processor, 60 * lately.actions.total() / lately.at]


if __name__ == "__main__":
    run(measure, orders=200)
