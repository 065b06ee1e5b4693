"""The local Tryton as a server: killed during orders, stopped, restarted, and with its own defect enabled."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from closedwon.erp.base import RejectedError, Step, find_or_create
from closedwon.erp.tryton import TrytonAdapter
from closedwon.errors import AttentionReason, RetryError
from closedwon.model.erp import ErpStatus
from tests.integration.erp.worlds import TrytonProcess, new_order, until_done

ORDERS = 12
CALLERS_PER_ORDER = 2


@pytest.fixture(scope="module")
async def victim(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TrytonProcess]:
    """A Tryton of this module alone, to be killed and stopped; running at the end of each test."""
    process = TrytonProcess(tmp_path_factory.mktemp("victim"))
    await process.start()
    yield process
    await process.stop()


@pytest.fixture
async def defective(tmp_path: Path) -> AsyncIterator[TrytonProcess]:
    """A Tryton with its defect on SQLite enabled: with `clean_timeout = 0` no request is ever rolled back."""
    process = TrytonProcess(tmp_path / "tryton", TRYTOND_CACHE__CLEAN_TIMEOUT="0")
    await process.start()
    yield process
    await process.stop()


async def test_orders_survive_a_server_that_is_killed(victim: TrytonProcess) -> None:
    """Killed between create, quote and confirm while 8 callers work, each order twice: one sale and one number each."""
    erp = TrytonAdapter(victim.settings)
    orders = [new_order() for _ in range(ORDERS)]
    free = asyncio.Semaphore(8)
    reached: Counter[Step] = Counter()
    killings = {("after-create", 3), ("after-advance", 6), ("after-create", 9)}
    restarts: list[asyncio.Task[None]] = []
    one_by_one = asyncio.Lock()

    async def restart() -> None:
        async with one_by_one:
            await victim.kill()
            await victim.start()

    async def strike(step: Step) -> None:
        reached[step] += 1
        if (step, reached[step]) in killings:
            restarts.append(asyncio.create_task(restart()))

    async def hand_over(number: int) -> str | None:
        async with free:
            return (await until_done(erp, orders[number], strike)).order.number

    numbers = await asyncio.gather(*(hand_over(n) for n in range(ORDERS) for _ in range(CALLERS_PER_ORDER)))
    await asyncio.gather(*restarts)
    await erp.close()

    assert len(killings) == len(restarts)
    assert ORDERS == len(set(numbers))
    for order in orders:
        (sale,) = await victim.sales(order.idempotency_key)
        assert sale["state"] in {"confirmed", "processing"}


def is_writing(process: TrytonProcess) -> bool:
    """Whether Tryton is in a transaction that changes something: SQLite then allows no other one."""
    with closing(sqlite3.connect(process.data_dir / "erp.sqlite", timeout=0, isolation_level=None)) as db:
        try:
            db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        db.execute("ROLLBACK")
        return False


async def test_a_change_that_the_server_dies_in_is_whole_or_not_there(victim: TrytonProcess) -> None:
    """Draft, other lines, texts and time are one transaction: after a kill the sale is the old one or the new one."""
    erp = TrytonAdapter(victim.settings)
    order = new_order([("GC1040", "1", "100.00")], modified_at=datetime(2026, 1, 1, tzinfo=UTC))
    looked = await erp.create(order)

    for n in range(2, 5):
        new = new_order(
            [("GC1040", str(n), "100.00"), ("GC3020", str(n), "1.00")],
            record=order.record,
            customer=order.customer,
            modified_at=datetime(2026, 1, n, tzinfo=UTC),
        )
        attempt = asyncio.create_task(erp.amend(looked, new))
        while not is_writing(victim) and not attempt.done():  # noqa: ASYNC110 - the condition is in another process
            await asyncio.sleep(0)
        await victim.kill()
        with suppress(RetryError):
            await attempt
        await victim.start()
        now = await erp.find(order.idempotency_key)
        assert now is not None
        held = (now.amount, now.line_count, now.modified_at, now.status)
        as_new = (new.amount, 2, new.modified_at, ErpStatus.DRAFT)
        assert held in {as_new, (looked.amount, looked.line_count, looked.modified_at, looked.status)}
        looked = now

    assert 1 == len(await victim.sales(order.idempotency_key))
    await erp.close()


async def test_a_database_of_an_old_module_is_named_and_updated(tmp_path: Path) -> None:
    """`config check` names the missing update; a local Tryton carries it out at its next start."""
    process = TrytonProcess(tmp_path / "tryton")
    await process.start()
    await process.stop()
    new_fields = ("external_origin", "external_modified_at", "external_version")
    with closing(sqlite3.connect(process.data_dir / "erp.sqlite")) as db, db:
        db.execute("ALTER TABLE sale_sale DROP COLUMN external_origin")
        db.execute("ALTER TABLE sale_sale DROP COLUMN external_modified_at")
        db.execute("DELETE FROM ir_model_field WHERE name IN (?, ?, ?)", new_fields)
    await process.start()
    erp = TrytonAdapter(process.settings)
    with pytest.raises(RejectedError, match=r"not updated for version 8\.2\.1.*external_origin") as caught:
        await erp.check()
    assert AttentionReason.CONFIGURATION is caught.value.reason
    assert "deploy/tryton/" in caught.value.hint
    await process.stop()

    (process.data_dir / "tryton-fingerprint").write_text("of another version")
    await process.start()

    assert process.settings.url in await erp.check()
    assert (await find_or_create(erp, new_order())).order.status.exists_as_order
    await erp.close()
    await process.stop()


async def test_state_credentials_and_port_outlive_the_process(victim: TrytonProcess) -> None:
    """Stopped with SIGTERM it ends with exit code 0; started again it serves the same orders at the same address."""
    order, before = new_order(), victim.facts
    erp = TrytonAdapter(victim.settings)
    first = await find_or_create(erp, order)

    assert 0 == await victim.stop()
    await victim.start()

    assert {**before, "pid": None} == {**victim.facts, "pid": None}
    assert first.order.number == (await find_or_create(erp, order)).order.number
    await erp.close()


async def test_the_link_of_an_order_leads_somewhere(victim: TrytonProcess) -> None:
    """The link in Salesforce opens a page, even though no web client is installed."""
    erp = TrytonAdapter(victim.settings)
    order = (await find_or_create(erp, new_order())).order
    await erp.close()

    async with aiohttp.request("GET", order.url or "") as page:
        assert "Orders in the local Tryton" in await page.text()


async def test_credentials_are_private_and_not_shared(victim: TrytonProcess, tryton: TrytonProcess) -> None:
    """Two servers from one cached database have no secret in common, and only their owner may read them."""
    secrets = ("key", "password", "admin_password")
    assert not {victim.facts[name] for name in secrets} & {tryton.facts[name] for name in secrets}
    for name in ("connection.json", "trytond.conf", "erp.sqlite"):
        assert 0o600 == (victim.data_dir / name).stat().st_mode & 0o777


async def test_an_error_answer_with_an_order_behind_it(defective: TrytonProcess) -> None:
    """When Tryton answers an error but has kept the order, the next attempt finds it and makes no other."""
    erp = TrytonAdapter(defective.settings)
    await find_or_create(erp, new_order())
    await erp.close()  # what follows begins without look-ups in memory, which would repeat a refused creation
    erp = TrytonAdapter(defective.settings)
    order = new_order((("GC1040", "1", "5000.00"), ("GC3020", "1.5", "9500.00")))  # half a generator is refused

    with pytest.raises(RejectedError, match="number of digits"):
        await find_or_create(erp, order)
    assert 1 == len(await defective.sales(order.idempotency_key))
    handoff = await find_or_create(erp, order)
    await erp.close()

    assert handoff.adopted
    assert 1 == len(await defective.sales(order.idempotency_key))
