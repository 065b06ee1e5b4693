"""How long `orders list` and `doctor` take with many open orders, beside a bare list of the same page.

Each run is a whole process, from its start to its end, as a person or a shell script sees it. A bare one connects to
Temporal and lists the newest 50 workflows. The orders are started as by intake, and wait for a worker: a list does not
depend on how far they are, and so ten thousand are there within minutes.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from benchmarks.report import Options, Table, medians, ratios, run, server_version
from benchmarks.world import ORDERS, World, until_counted, world
from closedwon.demo.parts import program
from closedwon.ids import OrgId, RecordId
from closedwon.model.messages import Message
from closedwon.model.order_state import OrderStart
from closedwon.model.routes import Channel
from closedwon.temporal.orders import start_order

_AT_A_TIME: Final = 32
_BARE: Final = """\
import asyncio, os, sys
from temporalio.client import Client

async def main():
    client = await Client.connect(os.environ["TEMPORAL_ADDRESS"])
    async for one in client.list_workflows("ExecutionStatus = 'Running'", page_size=50, limit=50):
        print(one.id, one.status, one.start_time)

asyncio.run(main())
sys.stdout.flush()
os._exit(0)
"""
_COMMANDS: Final = {
    "closedwon orders list": (program("closedwon"), "orders", "list"),
    "closedwon doctor": (program("closedwon"), "doctor"),
    "bare list": (sys.executable, "-c", _BARE),
}


async def measure(options: Options) -> tuple[str, Sequence[Table]]:
    """With none open, then with many."""
    async with world() as product:
        none = await _seconds(product, options.rounds)
        await asyncio.gather(*(worker.stop() for worker in product.stack.workers))
        await _open(product, options.orders)
        many = await _seconds(product, options.rounds)
        server = await server_version(product.client)
    rows = {name: [none[name], many[name], many[name] / none[name]] for name in _COMMANDS}
    bare = rows["bare list"][:2]
    for name in list(_COMMANDS)[:2]:
        rows[f"{name} ÷ bare list"] = [*ratios(rows[name][:2], bare), None]  # type: ignore[list-item]
    return server, [Table("seconds, medians", ("none open", f"{options.orders} open", "ratio"), rows)]


async def _open(product: World, orders: int) -> None:
    org = OrgId(product.stack.org.connection["org_id"])
    left = iter(range(1, orders + 1))

    async def start() -> None:
        for number in left:
            record = RecordId(f"006{number:012d}")
            message = Message(id=record, channel=Channel.OUTBOUND_MESSAGE, received_at=datetime.now(UTC))
            order = OrderStart(org=org, record=record, route="won-deals")
            await start_order(product.client, order, message, summary=f"Deal {number} · EUR 1,200.00")

    await asyncio.gather(*(start() for _ in range(_AT_A_TIME)))
    await until_counted(product.client, f"{ORDERS} AND ExecutionStatus = 'Running'", orders)


async def _seconds(product: World, rounds: int) -> dict[str, float]:
    """The median time of each command; they take turns, after one run of each that does not count."""
    taken: list[list[float | None]] = []
    for _ in range(rounds + 1):
        taken.append([await _time(product, words) for words in _COMMANDS.values()])  # noqa: PERF401 - one after the other
    return {name: figure or 0 for name, figure in zip(_COMMANDS, medians(taken[1:]), strict=True)}


async def _time(product: World, words: Sequence[str]) -> float:
    environment = os.environ | product.stack.child_environment()
    null = asyncio.subprocess.DEVNULL
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(*words, env=environment, stdout=null, stderr=null)
    await process.wait()
    return time.perf_counter() - began


if __name__ == "__main__":
    run(measure, orders=10_000, rounds=7)
