"""How sales in Tryton are changed, cancelled and listed: by version, state and time."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from closedwon.erp.base import StaleError, amend_to, find_or_create
from closedwon.erp.tryton import TrytonAdapter
from closedwon.model.erp import ErpStatus, Origin
from tests.integration.erp.worlds import TrytonProcess, new_order, new_org, new_product


async def test_a_confirmed_sale_is_cancelled_by_way_of_draft(tryton: TrytonProcess, erp: TrytonAdapter) -> None:
    """As long as Tryton has not begun to process it, also a confirmed sale can be cancelled."""
    code, _ = await new_product(tryton, account_category=None)
    found = (await find_or_create(erp, new_order(((code, "1", "10.00"),)))).order
    assert ErpStatus.CONFIRMED is found.status

    assert ErpStatus.CANCELLED is (await erp.cancel(found, modified_at=None)).status


async def test_a_listing_is_read_page_by_page(tryton: TrytonProcess) -> None:
    """Every sale of the org is listed once, by pages as small as they are set, a full last page included."""
    erp = TrytonAdapter(tryton.settings, page=2)
    org = new_org()
    orders = [new_order(org=org) for _ in range(4)]
    drafts = [await erp.create(order) for order in orders]

    listed = [order async for _, order in erp.orders_since(org, datetime.now(UTC) - timedelta(hours=1))]
    await erp.close()

    assert drafts == listed


async def test_a_customer_without_a_sale_is_an_orphan(tryton: TrytonProcess, erp: TrytonAdapter) -> None:
    """A party that was created for an Account and has no sale is listed; any other party is not."""
    began = datetime.now(UTC)
    buyer, unordered = new_order(), new_order()
    await find_or_create(erp, buyer)
    own = {"name": "Own", "code": f"001-{uuid.uuid4().hex[:8]}"}
    await tryton.rpc("model.party.party.create", [own, {"name": "Unordered", "code": unordered.customer.id}])
    ended = datetime.now(UTC) + timedelta(seconds=1)

    assert [unordered.customer.id] == [account async for account in erp.orphans(began, ended)]
    assert unordered.customer.id not in [account async for account in erp.orphans(began - timedelta(hours=1), began)]


async def test_a_confirmed_sale_that_is_not_processed_yet_can_still_be_changed(tmp_path: Path) -> None:
    """If Tryton's queue has not processed a confirmed sale yet, it is set back to draft, changed and confirmed."""
    queued = TrytonProcess(tmp_path, TRYTOND_QUEUE__WORKER="True")
    await queued.start()
    erp = TrytonAdapter(queued.settings)
    order = new_order()
    confirmed = (await find_or_create(erp, order)).order
    changed = order.model_copy(update={"lines": new_order([("GC1040", "7", "5000.00")]).lines})

    amended = (await amend_to(erp, changed)).order
    (sale,) = await queued.sales(order.idempotency_key, "lines.taxes.id")
    await erp.close()
    await queued.stop()

    assert (ErpStatus.CONFIRMED, ErpStatus.CONFIRMED) == (confirmed.status, amended.status)
    assert (confirmed.number, Decimal(35000)) == (amended.number, amended.amount)
    assert [1] == [len(line["taxes"]) for line in sale["lines"]]


async def test_a_change_by_a_person_makes_the_version_stale(tryton: TrytonProcess, erp: TrytonAdapter) -> None:
    """After a change of the sale, of a line in its form, or of a line alone, the old version is refused."""
    order = new_order(modified_at=datetime.now(UTC))
    found = await erp.create(order)
    await tryton.rpc("model.sale.sale.draft", [int(found.id)])
    (sale,) = await tryton.sales(order.idempotency_key, "lines.id")
    line = sale["lines"][0]["id"]
    changes: list[tuple[str, *tuple[Any, ...]]] = [
        ("model.sale.sale.write", [int(found.id)], {"comment": "by hand"}),
        ("model.sale.sale.write", [int(found.id)], {"lines": [["write", [line], {"quantity": 3}]]}),
        ("model.sale.line.write", [line], {"quantity": 4}),
        ("model.sale.line.delete", [line]),
    ]
    for change in changes:
        looked = await erp.find(order.idempotency_key)
        assert looked is not None
        await tryton.rpc(*change)
        now = await erp.find(order.idempotency_key)
        for write in (
            erp.amend(looked, order),
            erp.cancel(looked, modified_at=order.modified_at),
            erp.advance(looked),
            erp.claim(looked, order.idempotency_key, origin=Origin.RESOLVED, modified_at=None),
        ):
            with pytest.raises(StaleError):
                await write
        assert now == await erp.find(order.idempotency_key)


async def test_of_eight_callers_with_one_version_one_changes_the_sale(erp: TrytonAdapter) -> None:
    """Seven are refused, and the sale has exactly the content of the eighth."""
    order = new_order()
    looked = await erp.create(order)
    wanted = [
        order.model_copy(update={"name": f"caller {n}", "lines": new_order([("GC1040", str(n), "1.00")]).lines})
        for n in range(1, 9)
    ]

    outcomes = await asyncio.gather(*(erp.amend(looked, each) for each in wanted), return_exceptions=True)

    (winner,) = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert 7 == sum(isinstance(outcome, StaleError) for outcome in outcomes)
    assert winner == await erp.find(order.idempotency_key)
    assert winner.amount == wanted[outcomes.index(winner)].amount


async def test_a_copy_of_a_sale_has_no_key(tryton: TrytonProcess, erp: TrytonAdapter) -> None:
    """Key, origin and time stay with the original, so that a person may duplicate a sale."""
    found = (await find_or_create(erp, new_order(modified_at=datetime.now(UTC)))).order

    (copy,) = await tryton.rpc("model.sale.sale.copy", [int(found.id)])

    fields = ["external_id", "external_origin", "external_modified_at"]
    (sale,) = await tryton.rpc("model.sale.sale.read", [copy], fields)
    assert [None] * 3 == [sale[name] or None for name in fields]


async def test_a_cancelled_sale_keeps_what_was_newest(erp: TrytonAdapter) -> None:
    """The time of the newest notification is stored with a cancellation, and later ones with the cancelled sale."""
    order = new_order(modified_at=datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC))
    cancelled = await erp.cancel(await erp.create(order), modified_at=datetime(2026, 1, 2, tzinfo=UTC))
    later = datetime(2026, 1, 3, 12, 0, 0, 654321, tzinfo=UTC)

    again = await erp.cancel(cancelled, modified_at=later)
    claimed = await erp.claim(again, order.idempotency_key, origin=Origin.CREATED, modified_at=None)

    assert (ErpStatus.CANCELLED, datetime(2026, 1, 2, tzinfo=UTC)) == (cancelled.status, cancelled.modified_at)
    assert claimed is not None
    assert (later, later) == (again.modified_at, claimed.modified_at)
