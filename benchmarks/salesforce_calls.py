"""How many Salesforce API calls an order costs: they count against a daily limit of the org.

At a trickle (a deal every two seconds), in a burst that lies on the bus, and in the same burst with four worker
processes, each of which batches for itself. Beside the calls stands what batching costs a single order: the time from
its start to its end at a trickle.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from benchmarks.report import Options, Table, percentile, run, server_version
from benchmarks.world import ORDERS, World, until_closed, world

_INTERVAL = 2.0
"""Seconds between two deals of a trickle."""
_TRICKLE = 20
"""The fraction of the orders that a trickle has."""


async def measure(options: Options) -> tuple[str, Sequence[Table]]:
    """Measure each once, and the trickle with the burst's world."""
    rows: dict[str, list[float | None]] = {}
    async with world() as one:
        server = await server_version(one.client)
        rows["a deal every 2 seconds"] = await _trickle(one, max(options.orders // _TRICKLE, 5))
    for workers in (1, 4):
        async with world(workers=workers) as crowd:
            rows[f"{options.orders} at once, {workers} worker processes"] = await _burst(crowd, options.orders)
    columns = ("SF calls", "reads", "writes", "p50 ms", "p95 ms")
    return server, [Table("per order", columns, rows)]


async def _trickle(product: World, orders: int) -> list[float | None]:
    await product.win(await product.add(1))  # logins and connections, which all later ones share
    await until_closed(product.client, ORDERS, 1)
    deals = await product.add(orders)
    before = await product.people.admin("GET", "state")
    for deal in deals:
        await product.win([deal])
        await asyncio.sleep(_INTERVAL)
    done = await until_closed(product.client, ORDERS, orders + 1)
    after = await product.people.admin("GET", "state")
    times = [1000 * (one.close_time - one.start_time).total_seconds() for one in done[1:] if one.close_time]
    # Each win is a call, too.
    return [*_calls(before, after, orders, wins=orders), percentile(times, 50), percentile(times, 95)]


async def _burst(product: World, orders: int) -> list[float | None]:
    await product.pile_up(orders)
    before = await product.people.admin("GET", "state")
    await product.read_on()
    await until_closed(product.client, ORDERS, orders)
    after = await product.people.admin("GET", "state")
    await product.assert_exactly_once(orders)
    return [*_calls(before, after, orders), None, None]


def _calls(
    before: dict[str, dict[str, int]], after: dict[str, dict[str, int]], orders: int, wins: int = 0
) -> list[float]:
    """API calls per order: all, those that read, and those that write."""
    made = {name: number - before["api_calls"].get(name, 0) for name, number in after["api_calls"].items()}
    writes = sum(number for name, number in made.items() if not name.startswith("GET")) - wins
    reads = sum(number for name, number in made.items() if name.startswith("GET"))
    return [(reads + writes) / orders, reads / orders, writes / orders]


if __name__ == "__main__":
    run(measure, orders=1000)
