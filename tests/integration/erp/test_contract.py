"""What every ERP must do behind its adapter, case by case, against the stub ERP and a real Tryton."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import SecretStr

from closedwon.emulators.erp.stub import StubErp
from closedwon.erp import open_erp
from closedwon.erp.base import (
    AmountDiffersError,
    DuplicateError,
    ErpAuthFailedError,
    OnRecord,
    OthersOrderError,
    RejectedError,
    Step,
    TooLateError,
    TooLateToAmendError,
    UnreachableError,
    amend_to,
    find_or_create,
)
from closedwon.erp.http import KEYS_PER_CALL
from closedwon.errors import AttentionReason
from closedwon.ids import OrgId
from closedwon.model.erp import ErpStatus, Origin
from tests.integration.erp.worlds import World, new_order, new_org, until_done


async def test_a_deal_becomes_a_confirmed_order(world: World) -> None:
    """A new deal becomes one order with a number, the deal's total and lines, and a link."""
    order = new_order(reference="PO-77")

    handoff = await find_or_create(world.erp, order)

    assert not handoff.adopted
    assert handoff.order.status.exists_as_order
    assert handoff.order.number
    assert ("EUR", Decimal(11200), 2) == (handoff.order.currency, handoff.order.amount, handoff.order.line_count)
    assert handoff.order.url is not None
    assert 1 == await world.count(order.idempotency_key)


async def test_a_second_delivery_adopts(world: World) -> None:
    """The same deal again is the same order, with the same number."""
    order = new_order()
    first = await find_or_create(world.erp, order)

    again = await find_or_create(world.erp, order)

    assert again.adopted
    assert (first.order.id, first.order.number) == (again.order.id, again.order.number)
    assert 1 == await world.count(order.idempotency_key)


async def test_deliveries_in_parallel_make_one_order(world: World) -> None:
    """Eight callers at the same moment, that all saw no order, end with one order and one number."""
    order = new_order()
    barrier = asyncio.Barrier(8)

    async def all_have_looked(step: Step) -> None:
        if step == "before-create":
            await barrier.wait()

    handoffs = await asyncio.gather(*(until_done(world.erp, order, all_have_looked) for _ in range(8)))

    assert 1 == len({handoff.order.number for handoff in handoffs})
    assert all(handoff.order.status.exists_as_order for handoff in handoffs)
    assert 1 == await world.count(order.idempotency_key)


async def test_one_record_id_in_two_orgs_makes_two_orders(world: World) -> None:
    """A sandbox is a copy that keeps its record ids: its deals are others."""
    production = new_order()
    sandbox = production.model_copy(update={"org": OrgId("00D000000000002")})

    numbers = {(await find_or_create(world.erp, order)).order.number for order in (production, sandbox)}

    assert 2 == len(numbers)
    assert 1 == await world.count(production.idempotency_key) == await world.count(sandbox.idempotency_key)


async def test_a_worker_that_dies_after_the_commit_leaves_no_second_order(world: World) -> None:
    """Between the ERP's commit and the activity's completion nothing is remembered; the next attempt finds it."""
    order = new_order()

    async def die(step: Step) -> None:
        if step == "after-create":
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await find_or_create(world.erp, order, on_step=die)

    handoff = await find_or_create(world.erp, order)

    assert handoff.adopted
    assert handoff.order.status.exists_as_order
    assert 1 == await world.count(order.idempotency_key)


async def test_a_taken_key_is_refused_by_the_erp_itself(world: World) -> None:
    """The ERP's own constraint decides, also for a caller that did not look the order up before."""
    order = new_order()
    await world.erp.create(order)

    with pytest.raises(DuplicateError):
        await world.erp.create(order)


async def test_an_order_with_another_total_is_not_adopted(world: World) -> None:
    """A deal whose amount changed after it was ordered waits for a person; the ERP's order is left alone."""
    order = new_order()
    await find_or_create(world.erp, order)
    changed = order.model_copy(update={"lines": order.lines[:1]})

    with pytest.raises(AmountDiffersError, match=r"11200.* EUR on 2 line\(s\).*10000.* EUR on 1 line\(s\)"):
        await find_or_create(world.erp, changed)

    assert 1 == await world.count(order.idempotency_key)


async def test_a_cancelled_order_blocks_its_key(world: World) -> None:
    """An order that was cancelled in the ERP is neither confirmed nor created again; a person is asked."""
    order = new_order()
    cancelled = await world.erp.cancel(await world.erp.create(order), modified_at=None)
    assert ErpStatus.CANCELLED is cancelled.status

    with pytest.raises(RejectedError, match="cancelled"):
        await find_or_create(world.erp, order)

    assert 1 == await world.count(order.idempotency_key)
    assert cancelled == await world.erp.cancel(cancelled, modified_at=None)


async def test_a_processed_order_is_too_late_to_cancel(world: World) -> None:
    """Once the ERP works on an order, cancelling it is a person's business."""
    found = (await find_or_create(world.erp, new_order())).order
    await world.process(found)

    with pytest.raises(TooLateError, match=found.number):
        await world.erp.cancel(found, modified_at=None)


async def test_a_changed_deal_changes_its_order(world: World) -> None:
    """The order that exists, a quotation here, gets the new lines and is confirmed; its number stays, and it is one."""
    order = new_order()
    before = await world.erp.create(order)
    changed = order.model_copy(update={"lines": new_order([("GC1040", "3", "4000.00")]).lines, "reference": "PO-78"})

    amended = (await amend_to(world.erp, changed)).order

    assert before.number == amended.number
    assert ("EUR", Decimal(12000), 1) == (amended.currency, amended.amount, amended.line_count)
    assert amended.status.exists_as_order
    assert amended == (await amend_to(world.erp, changed)).order
    assert 1 == await world.count(order.idempotency_key)


async def test_another_product_at_the_same_price_is_a_difference(world: World) -> None:
    """Total and number of lines may agree while other goods were sold; amending sees to those, too."""
    order = new_order([("GC1040", "1", "1000.00")])
    await world.erp.create(order)
    changed = order.model_copy(update={"lines": new_order([("SL9080", "1", "1000.00")]).lines})

    with pytest.raises(AmountDiffersError, match="a product, quantity or price differs"):
        await find_or_create(world.erp, changed)

    await amend_to(world.erp, changed)
    assert (await find_or_create(world.erp, changed)).adopted


TERMS: dict[str, Any] = {"reference": "PO-77", "order_date": date(2026, 3, 31), "delivery_date": date(2026, 4, 30)}


@pytest.mark.parametrize(
    ("changes", "which"),
    [
        ({"reference": "PO-78"}, "the customer's order number differs"),
        ({"order_date": date(2026, 4, 1)}, "the order date differs"),
        ({"delivery_date": date(2026, 5, 1)}, "the delivery date differs"),
        ({"reference": "PO-78", "delivery_date": date(2026, 5, 1)}, "order number, the delivery date differ"),
    ],
)
async def test_i4_a_changed_order_number_or_date_is_a_difference(
    world: World, changes: dict[str, Any], which: str
) -> None:
    """As for the lines: a person is asked, or the order is amended in place; equal values are not a difference."""
    order = new_order(**TERMS)
    await world.erp.create(order)
    changed = order.model_copy(update=changes)

    with pytest.raises(AmountDiffersError, match=which) as caught:
        await find_or_create(world.erp, changed)

    assert "PO-7" not in str(caught.value)
    await amend_to(world.erp, changed)
    assert (await find_or_create(world.erp, changed)).adopted


@pytest.mark.parametrize("changes", [{"reference": "PO-77"}, {"delivery_date": date(2026, 4, 30)}])
async def test_i4_a_later_order_number_or_date_is_a_difference(world: World, changes: dict[str, Any]) -> None:
    """The deal was won without it. A value that the record does not have, or no longer has, is not a difference."""
    order = new_order(order_date=TERMS["order_date"])
    await world.erp.create(order)
    changed = order.model_copy(update=changes)

    with pytest.raises(AmountDiffersError):
        await find_or_create(world.erp, changed)

    await amend_to(world.erp, changed)
    assert (await find_or_create(world.erp, order)).adopted


async def test_a_cancelled_order_is_reopened_only_on_request(world: World) -> None:
    """There is always one order per key: a deal that is won again reopens it with its current content."""
    order = new_order()
    cancelled = await world.erp.cancel(await world.erp.create(order), modified_at=None)
    again = order.model_copy(update={"lines": order.lines[:1]})

    with pytest.raises(RejectedError, match="cancelled"):
        await amend_to(world.erp, again)
    reopened = (await amend_to(world.erp, again, reopen=True)).order

    assert cancelled.number == reopened.number
    assert (Decimal(10000), True) == (reopened.amount, reopened.status.exists_as_order)
    assert 1 == await world.count(order.idempotency_key)


async def test_a_worker_that_dies_after_amending_changes_nothing_twice(world: World) -> None:
    """The next attempt finds what the dead one has changed, and only confirms it."""
    order = new_order()
    await world.erp.create(order)
    changed = order.model_copy(update={"lines": order.lines[:1]})

    async def die(step: Step) -> None:
        if step == "after-amend":
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await amend_to(world.erp, changed, on_step=die)

    assert (await find_or_create(world.erp, changed)).adopted
    assert 1 == await world.count(order.idempotency_key)


async def test_a_processed_order_is_too_late_to_amend(world: World) -> None:
    """An order that the ERP processes is not changed, and the hint says what a person can do."""
    order = new_order()
    found = (await find_or_create(world.erp, order)).order
    await world.process(found)

    with pytest.raises(TooLateToAmendError, match=found.number):
        await amend_to(world.erp, order.model_copy(update={"lines": order.lines[:1]}))

    now = await world.erp.find(order.idempotency_key)
    assert now is not None
    assert (Decimal(11200), ErpStatus.PROCESSING) == (now.amount, now.status)


async def test_a_wrong_credential_names_its_setting(world: World) -> None:
    """A refused credential names the setting to correct, and does not show the secret."""
    secret = "key" if world.settings.kind == "tryton" else "token"
    erp = open_erp(world.settings.model_copy(update={secret: SecretStr("a-wrong-secret")}))

    with pytest.raises(ErpAuthFailedError) as caught:
        await find_or_create(erp, new_order())
    await erp.close()

    assert f"erps[{world.settings.name}].{secret}" in caught.value.hint
    assert "a-wrong-secret" not in f"{caught.value} {caught.value.hint}"


async def test_an_erp_that_is_not_there_is_retried(world: World, unused_tcp_port: int) -> None:
    """A refused connection had no effect: it is retried and counts as a failure."""
    erp = open_erp(world.settings.model_copy(update={"url": f"http://localhost:{unused_tcp_port}/erp"}))

    with pytest.raises(UnreachableError, match=world.settings.name):
        await find_or_create(erp, new_order())
    await erp.close()


async def test_orders_are_listed_by_time(world: World) -> None:
    """What was made or changed since a moment is listed with its key; older orders and another org's are not."""
    org, other_org = new_org(), new_org()
    old, changed, new = (new_order(org=org) for _ in range(3))
    draft = await world.erp.create(changed)
    await find_or_create(world.erp, old)
    since = datetime.now(UTC) + timedelta(milliseconds=5)
    while datetime.now(UTC) < since:  # ERPs keep milliseconds  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    await world.erp.advance(draft)
    made = (await find_or_create(world.erp, new)).order
    await find_or_create(world.erp, new_order(org=other_org))

    listed = {key: order async for key, order in world.erp.orders_since(org, since)}

    assert {changed.idempotency_key, new.idempotency_key} == listed.keys()
    assert made == listed[new.idempotency_key]
    assert 3 == len([key async for key, _ in world.erp.orders_since(org, since - timedelta(hours=1))])


async def test_many_keys_are_looked_up_at_once(world: World) -> None:
    """More keys than fit into one call are all found; a key without an order is omitted."""
    orders = [new_order() for _ in range(3)]
    known = {order.idempotency_key: [await world.erp.create(order)] for order in orders}
    unknown = [new_order().idempotency_key for _ in range(KEYS_PER_CALL)]

    assert known == await world.erp.find_many([*unknown, *known, *known])
    assert {} == await world.erp.find_many([])


async def test_check_says_what_is_there(world: World) -> None:
    """`closedwon config check` gets one line with the address."""
    line = await world.erp.check()

    assert world.settings.url in line
    assert "\n" not in line


async def test_many_orders_at_once_stay_apart(world: World) -> None:
    """Orders of different deals that run at the same time get a number each."""
    orders = [new_order((("GC1040", str(n), "5000.00"),)) for n in range(1, 7)]

    handoffs = await asyncio.gather(*(until_done(world.erp, order) for order in orders))

    assert [order.amount for order in orders] == [handoff.order.amount for handoff in handoffs]
    assert 1 == max(Counter(handoff.order.number for handoff in handoffs).values())


async def test_an_unknown_product_is_named(world: World, stub: StubErp) -> None:
    """The error names the code of a product that the ERP does not have, with a reason that dashboards can count."""
    stub.faults.unknown_products = frozenset({"NO-SUCH"})  # it knows every product otherwise

    with pytest.raises(RejectedError, match="NO-SUCH") as caught:
        await find_or_create(world.erp, new_order((("NO-SUCH", "1", "1.00"),)))

    assert AttentionReason.UNKNOWN_PRODUCT is caught.value.reason
    assert "`retry`" in caught.value.hint


async def test_an_order_made_by_hand_can_be_given_a_records_key(world: World) -> None:
    """From then on it is the record's one order: a delivery of the record adopts it and makes no second one."""
    order = new_order()
    by_hand = await world.by_hand(order)
    assert by_hand.number
    before = await world.erp.find_by_number(by_hand.number)
    assert before is not None
    assert before.idempotency_key is None

    claimed = await world.erp.claim(before, order.idempotency_key, origin=Origin.RESOLVED, modified_at=None)
    assert claimed is not None
    again = await world.erp.claim(claimed, order.idempotency_key, origin=Origin.RESOLVED, modified_at=None)
    handoff = await find_or_create(world.erp, order)

    assert [by_hand.id] * 2 == [found.id for found in (claimed, again) if found]
    assert by_hand.id == handoff.order.id
    assert 1 == await world.count(order.idempotency_key)


async def test_an_order_of_another_record_cannot_be_claimed(world: World) -> None:
    """Nor is there one of a number that is not there."""
    others = (await find_or_create(world.erp, new_order())).order
    key = new_order().idempotency_key

    with pytest.raises(OthersOrderError):
        await world.erp.claim(others, key, origin=Origin.RESOLVED, modified_at=None)

    assert await world.erp.find_by_number("no-such-number") is None
    assert 0 == await world.count(key)
    assert others == await world.erp.find_by_number(others.number or "")


async def test_a_key_that_another_order_has_cannot_be_claimed(world: World) -> None:
    """The order that was made by hand stays as it is, and so does the one that has the key."""
    order = new_order()
    by_hand = await world.by_hand(order)
    made = (await find_or_create(world.erp, order)).order

    with pytest.raises(DuplicateError):
        await world.erp.claim(by_hand, order.idempotency_key, origin=Origin.RESOLVED, modified_at=None)

    found = await world.erp.find(order.idempotency_key)
    assert found is not None
    assert made.id == found.id


async def test_a_record_that_has_a_number_already_gets_no_second_order(world: World) -> None:
    """Somebody has made the order by hand and written its number to the record; a copied number is another record's."""
    order = new_order(created_at=datetime.now(UTC))
    by_hand = await world.by_hand(order)
    said = OnRecord(number=by_hand.number)

    adopted = await find_or_create(world.erp, order, said=said)
    copy = await find_or_create(world.erp, new_order(), said=said)

    assert by_hand.id == adopted.order.id
    assert by_hand.id != copy.order.id
