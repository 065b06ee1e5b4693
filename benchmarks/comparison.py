"""Closedwon beside a plain script and a durable script on DBOS: how fast each is, and what a kill makes of its orders.

All carry the same number of won deals with the same calls to the same Salesforce emulator and stub ERP, on an own
world. Rates are measured without kills. Then each is killed (SIGKILL) when the ERP has half of the orders, started
again, and left alone until it has nothing more to do. Counted are deals with an order, deals with more than one, deals
with none, and orders whose number is not on the deal. DBOS runs on a PostgreSQL that, like the development server's
SQLite, does not wait for the disk. Without `dbos` or PostgreSQL its rows are left out.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import aiohttp

from benchmarks.report import Options, Table, ratios, run, server_version
from benchmarks.throughput import rates
from benchmarks.world import ORDERS, World, until_closed, world
from closedwon.demo.cluster.postgres import USER, Postgres
from closedwon.demo.cluster.programs import Programs, postgres_folder
from closedwon.demo.deals import SalesforceRecords
from closedwon.demo.parts import Guard, Ports

_POLL: Final = 0.05
_SCRIPTS: Final = {"naive": "plain script", "keyed": "plain script with a key", "dbos": "durable script (DBOS)"}


async def measure(options: Options) -> tuple[str, Sequence[Table]]:
    """Each without a kill, then each with one."""
    orders, server = options.orders, ""
    rates_of: dict[str, list[float | None]] = {}
    kills: dict[str, list[float | None]] = {}
    async with world() as product:
        server = await server_version(product.client)
        await product.pile_up(orders)
        await product.read_on()
        rates_of["Closedwon"] = [rates(await until_closed(product.client, ORDERS, orders))[0], None]
    async with world() as product:
        await product.pile_up(orders)
        await product.read_on()
        await _until_half(product, orders)
        ours = (*product.stack.workers, *product.stack.subscribers)
        await asyncio.gather(*(part.kill() for part in ours))
        await asyncio.gather(*(part.start() for part in ours))
        await until_closed(product.client, ORDERS, orders)
        kills["Closedwon"] = await _outcome(product)
    async with _database() as database:
        for kind, name in _SCRIPTS.items():
            if kind == "dbos" and database is None:
                continue
            environment = {"DATABASE_URL": f"{database}/carry"}
            async with world(workers=0) as target:
                rates_of[name] = [await _script(target, kind, orders, environment), None]
            environment = {"DATABASE_URL": f"{database}/carry_killed"}
            async with world(workers=0) as target:
                await _script(target, kind, orders, environment, kill=True)
                kills[name] = await _outcome(target)
    rates_of = {name: [rate[0], *ratios(rates_of["Closedwon"][:1], rate[:1])] for name, rate in rates_of.items()}
    return server, [
        Table(f"{orders} orders", ("orders/s", "Closedwon ÷ it"), rates_of),
        Table("killed at half, started again", ("one order", "duplicates", "none", "unwritten"), kills),
    ]


@asynccontextmanager
async def _database() -> AsyncIterator[str | None]:
    """The address of a PostgreSQL of our own; None where DBOS or PostgreSQL is not installed."""
    folder = postgres_folder()
    if folder is None or find_spec("dbos") is None:
        print("DBOS is left out: it needs PostgreSQL, and `pip install 'closedwon[bench]'`")
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="closedwon-bench-") as name:
        where, guard = Path(name), Guard()
        ports = Ports(where / "ports.json")
        postgres = Postgres(Programs(Path(), folder), where, log_dir=where, ports=ports, guard=guard)
        guard.start()
        try:
            await postgres.start()
            yield f"postgresql+psycopg://{USER}@127.0.0.1:{postgres.port}"
        finally:
            await postgres.stop()
            guard.close()
            ports.release()


async def _script(
    target: World, kind: str, orders: int, environment: Mapping[str, str], *, kill: bool = False
) -> float | None:
    """Let a script carry the orders; its rate. With `kill` it is killed at half and started again."""
    await target.pile_up(orders)
    process = await _start(target, kind, environment)
    if kill:
        await _until_half(target, orders, process)
        process.kill()
        await process.wait()
        process = await _start(target, kind, environment)
    output, _ = await process.communicate()
    assert process.returncode == 0, f"the script {kind} has failed"
    carried, seconds = output.split()
    return None if kill else int(carried) / float(seconds)


async def _start(target: World, kind: str, environment: Mapping[str, str]) -> asyncio.subprocess.Process:
    org, erp = target.stack.org.connection, target.stack.erp.connection
    whole = os.environ | dict(environment) | {
        "ORG_URL": org["url"], "ORG_ID": org["org_id"],
        "ORG_CLIENT_ID": org["client_id"], "ORG_CLIENT_SECRET": org["client_secret"],
        "ERP_URL": erp["url"], "ERP_TOKEN": erp["token"],
    }  # fmt: skip
    words = (sys.executable, "-m", "benchmarks.scripts", kind)
    return await asyncio.create_subprocess_exec(*words, env=whole, stdout=asyncio.subprocess.PIPE)


async def _until_half(target: World, orders: int, process: asyncio.subprocess.Process | None = None) -> None:
    while (await target.erp())["orders"] < orders // 2:
        assert process is None or process.returncode is None, "the script has ended before half of the orders"
        await asyncio.sleep(_POLL)


async def _outcome(target: World) -> list[float | None]:
    """Won deals with one order, with more and with none, and those with an order but without its number."""
    async with aiohttp.request("GET", f"{target.stack.erp.connection['url']}/_admin/orders") as answer:
        made: list[dict[str, Any]] = (await answer.json())["orders"]
    orders = Counter(order["idempotency_key"].partition(":")[2].partition("#")[0] for order in made)
    deals = [deal for deal in await SalesforceRecords(target.people).deals() if deal.won]
    counts = [orders[deal.id] for deal in deals]
    unwritten = sum(orders[deal.id] > 0 and deal.number is None for deal in deals)
    return [counts.count(1), sum(count > 1 for count in counts), counts.count(0), unwritten]


if __name__ == "__main__":
    run(measure, orders=300)
