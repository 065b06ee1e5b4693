"""What a backlog costs: orders that wait for an ERP that is down, and how they are processed when it is back.

First some orders are carried at once: the steady rate. Then the ERP is down while the others are won; their first retry
is 15 minutes away, as the later ones of a long outage are, so that no attempt blurs the figures. Memory is that of the
worker process, and the SDK keeps 1,000 workflows in it. The commands are whole processes, with nothing open and with
the backlog open. Then the ERP is back, and `closedwon orders retry --all` makes every order go on.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Sequence
from typing import Final

from temporalio.client import WorkflowExecution

from benchmarks.processes import resident_bytes
from benchmarks.report import Options, Table, run, server_version
from benchmarks.world import ORDERS, World, until_closed, until_counted, world
from closedwon.demo.parts import program

_CACHED: Final = 1000
_TIMES: Final = 5
_STEADY: Final = 4
"""The fraction of the orders that are carried at once before."""
_COMMANDS: Final = (("orders", "list"), ("doctor",))
_LATE: Final = {"CLOSEDWON_RETRY__INITIAL_INTERVAL": "15m"}


async def measure(options: Options) -> tuple[str, Sequence[Table]]:
    """Carry, pile up, look, and process."""
    orders, steady = options.orders, max(options.orders // _STEADY, 3)
    async with world(environment=_LATE) as product:
        await product.pile_up(steady)
        await product.read_on()
        before = await until_closed(product.client, ORDERS, steady)
        idle = [await _seconds(product, command) for command in _COMMANDS]

        memory, used = resident_bytes(product.stack.workers[0].pid), await product.used()
        await product.set_erp_faults(down=True)
        await product.pile_up(orders)
        won = (await product.used()).salesforce - used.salesforce  # the calls that won the deals
        await product.read_on()
        await _until_open(product, orders)
        await product.settled_actions()
        memory = resident_bytes(product.stack.workers[0].pid) - memory
        piled = await product.used()
        crowded = [await _seconds(product, command) for command in _COMMANDS]

        await product.set_erp_faults(down=False)
        began = time.time()
        await _command(product, "orders", "retry", "--all", "--yes", "--rate", "1000")
        ends = (await until_closed(product.client, ORDERS, steady + orders))[steady:]
        at_the_end = await product.used()
        await product.assert_exactly_once(steady + orders)
        server = await server_version(product.client)
    pile, drain = piled.since(used), at_the_end.since(piled)
    costs: dict[str, list[float | None]] = {
        "until they wait": [None, pile.actions.total() / orders, (pile.salesforce - won) / orders],
        "from the ERP's return": [None, drain.actions.total() / orders, drain.salesforce / orders],
        "whole life": [
            statistics.mean(one.history_length for one in ends),
            (pile.actions + drain.actions).total() / orders,
            (pile.salesforce - won + drain.salesforce) / orders,
        ],
        "carried at once, for comparison": [statistics.mean(one.history_length for one in before), None, None],
    }
    return server, [
        Table("per order of the backlog", ("events", "actions", "SF calls"), costs),
        Table("rates, orders/s", ("whole", "first third", "last third"), _rates(before, ends, began)),
        Table("memory of the worker", ("kB",), {"per cached workflow": [memory / min(orders, _CACHED) / 1000]}),
        Table("commands, seconds", ("none open", f"{orders} open", "ratio"), _commands(idle, crowded)),
    ]


def _rates(
    before: Sequence[WorkflowExecution], ends: Sequence[WorkflowExecution], began: float
) -> dict[str, list[float | None]]:
    carried = [one.close_time.timestamp() for one in before if one.close_time]
    steady = len(carried) / (carried[-1] - min(one.start_time.timestamp() for one in before))
    times = [one.close_time.timestamp() for one in ends if one.close_time]
    third = len(times) // 3
    first, last = third / (times[third] - times[0]), third / (times[-1] - times[-1 - third])
    whole = len(times) / (times[-1] - began)
    return {
        "carried at once": [steady, None, None],
        "backlog, from the command": [whole, first, last],
        "ratio to carried at once": [whole / steady, first / steady, last / steady],
        "last third ÷ first third": [None, None, last / first],
    }


def _commands(idle: Sequence[float], crowded: Sequence[float]) -> dict[str, list[float | None]]:
    return {
        f"closedwon {' '.join(command)}": [one, other, other / one]
        for command, one, other in zip(_COMMANDS, idle, crowded, strict=True)
    }


async def _until_open(product: World, orders: int) -> None:
    await until_counted(product.client, f"{ORDERS} AND ExecutionStatus = 'Running'", orders)


async def _seconds(product: World, command: Sequence[str]) -> float:
    """The median of some runs."""
    taken = []
    for _ in range(_TIMES):
        began = time.perf_counter()
        await _command(product, *command)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


async def _command(product: World, *words: str) -> None:
    environment = os.environ | product.stack.child_environment()
    null = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(program("closedwon"), *words, env=environment, stdout=null)
    await process.wait()


if __name__ == "__main__":
    run(measure, orders=1000)
