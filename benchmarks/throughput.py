"""How many orders a second, and what one costs, beside bare Temporal on the same server.

The deals of a run lie on the bus before the subscriber starts. The product is one worker process and one subscriber,
with the Salesforce emulator and the stub ERP as processes of their own. Bare Temporal is the same server with a fresh
database, one worker process on defaults and a starter, with workflows of three activities that do nothing: regular
ones, and local ones. They take turns. The rate is that between the first start and the last end, as the server has
them; that of the middle three fifths leaves out the beginning and the tail.

The server is the development server or, with `--temporal cluster`, the demo's cluster, whose PostgreSQL counts as
server; a cluster publishes no count of billed actions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from temporalio.client import WorkflowExecution

from benchmarks.bare import bare_temporal
from benchmarks.report import Options, Table, medians, ratios, run, server_version
from benchmarks.world import ORDERS, Used, settled_actions, until_closed, world

_COLUMNS = (
    "orders/s", "middle", "CPU-ms", "server", "worker", "starts", "systems",
    "events", "actions", "bytes", "SF calls", "ERP calls",
)  # fmt: skip


async def measure(options: Options) -> tuple[str, Sequence[Table]]:
    """Take turns."""
    kinds: dict[str, list[list[float | None]]] = {"product": [], "regular": [], "local": []}
    server = ""
    for _ in range(options.rounds):
        kinds["product"].append(await _product(options))
        for kind in ("regular", "local"):
            figures, server = await _bare(options, kind)
            kinds[kind].append(figures)
    middle = {kind: medians(rounds) for kind, rounds in kinds.items()}
    named = {"product": "product", "regular": "bare, 3 regular activities", "local": "bare, 3 local activities"}
    rows = {f"{named[kind]}, {place}": figures for kind in kinds for place, figures in enumerate(kinds[kind], 1)}
    rows |= {f"product ÷ {named[kind]}": ratios(middle["product"], middle[kind]) for kind in ("regular", "local")}
    return server, [Table(f"{options.orders} orders, per order", _COLUMNS, rows)]


async def _product(options: Options) -> list[float | None]:
    orders = options.orders
    async with world(temporal=options.temporal) as product:
        await product.pile_up(orders)
        before = await product.used()
        await product.read_on()
        done = await until_closed(product.client, ORDERS, orders)
        used = (await product.used()).since(before)
        await product.assert_exactly_once(orders)
    return [*rates(done), *costs(used, orders), *_history(used, done), used.salesforce / orders, used.erp / orders]


async def _bare(options: Options, kind: str) -> tuple[list[float | None], str]:
    orders = options.orders
    async with bare_temporal(options.temporal) as bare:
        free = await settled_actions(bare.server)
        before = bare.processor()
        starter = await bare.start(orders, kind)
        done = await until_closed(bare.client, "WorkflowType = 'Bare'", orders)
        processor = {kind: seconds - before[kind] for kind, seconds in bare.processor().items()} | {"starter": starter}
        actions = await settled_actions(bare.server)
        actions.subtract(free)
        used = Used(0, processor, actions, 0, 0)
        return [*rates(done), *costs(used, orders), *_history(used, done), None, None], await server_version(
            bare.client
        )


def costs(used: Used, orders: int) -> list[float]:
    """Milliseconds of processor time per order: of all, the server, the worker, what starts workflows, the systems.

    What starts them is a process that itself starts within that time: it weighs less the more orders there are. The
    systems are the Salesforce emulator and the stub ERP.
    """
    each = Counter({kind: 1000 * seconds / orders for kind, seconds in used.processor.items()})
    starts, systems = each["subscriber"] + each["starter"], each["org"] + each["erp"]
    return [each.total(), each["server"], each["worker"], starts, systems]


def rates(done: Sequence[WorkflowExecution]) -> list[float]:
    """Ends per second: from the first start to the last end, and of the middle three fifths of the ends."""
    ends = [one.close_time.timestamp() for one in done if one.close_time]
    first, fifth = min(one.start_time.timestamp() for one in done), len(ends) // 5
    return [len(ends) / (ends[-1] - first), 3 * fifth / (ends[4 * fifth - 1] - ends[fifth - 1])]


def _history(used: Used, done: Sequence[WorkflowExecution]) -> list[float | None]:
    """Events, billed actions (None: the server does not say) and bytes per order."""
    sizes = [one.raw_info.history_size_bytes for one in done]
    return [
        sum(one.history_length for one in done) / len(done),
        used.actions.total() / len(done) if used.actions else None,
        sum(sizes) / len(sizes),
    ]


if __name__ == "__main__":
    run(measure, orders=300, rounds=2, any_server=True)
