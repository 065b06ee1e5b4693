"""Taking an order that was made by hand for a record's one, where several ERPs may have it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest
from temporalio.common import MetricMeter
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.erp import ErpActivities
from closedwon.emulators.erp.stub import StubErp
from closedwon.erp import open_erp
from closedwon.erp.base import find_or_create
from closedwon.errors import AttentionReason
from closedwon.model.erp import ErpOrder, ErpStatus
from closedwon.model.erp_calls import FindOrder, Resolved, ResolveOrder
from closedwon.model.order_state import Problem
from closedwon.model.orders import Order
from closedwon.telemetry.metrics import Metrics
from tests.integration.erp.worlds import made_by_hand, new_order, no_proof, rest_settings

DATED: dict[str, Any] = {"created_at": datetime.now(UTC)}
"""When the record was created: today, as the orders of these tests."""


class _Two(NamedTuple):
    first: StubErp
    second: StubErp
    activities: ErpActivities

    async def resolve(self, key: str, number: str, order: Order | None = None, *, accept: bool = True) -> Resolved:
        request = ResolveOrder(erp=None, idempotency_key=key, number=number, order=order, accept_differences=accept)
        return await ActivityEnvironment().run(self.activities.resolve_order, request)

    async def find(self, key: str) -> ErpOrder | None:
        return await ActivityEnvironment().run(self.activities.find_order, FindOrder(erp=None, idempotency_key=key))


@pytest.fixture
async def two() -> AsyncIterator[_Two]:
    """Two ERPs; the second one numbers its orders on from 3."""
    async with StubErp.running() as first, StubErp.running() as second:
        erps = {name: open_erp(rest_settings(erp.url, erp.token)) for name, erp in (("a", first), ("b", second))}
        for _ in range(2):
            await find_or_create(erps["b"], new_order())
        yield _Two(first, second, ErpActivities(erps, Metrics(MetricMeter.noop), prove=no_proof))
        for erp in erps.values():
            await erp.close()


async def _by_hand(erp: StubErp) -> ErpOrder:
    return await made_by_hand(erp, new_order())


async def _ours(erp: StubErp) -> str:
    """An order of ours in that ERP; its key."""
    order = new_order()
    adapter = open_erp(rest_settings(erp.url, erp.token))
    await find_or_create(adapter, order)
    await adapter.close()
    return order.idempotency_key


async def test_the_erp_that_has_the_number_is_the_one(two: _Two) -> None:
    """The ERP that has the number is used, and its order becomes the record's."""
    key, by_hand = new_order().idempotency_key, await _by_hand(two.second)

    for _ in range(2):
        assert by_hand.id == _id(await two.resolve(key, by_hand.number or ""))

    assert [key] == [order["idempotency_key"] for order in two.second.orders() if order["number"] == by_hand.number]


async def test_an_order_with_the_key_in_another_erp_is_reported(two: _Two) -> None:
    """One ERP has an order with the record's key, and the person names an order in the other."""
    by_hand = await _by_hand(two.second)
    key = await _ours(two.first)

    resolved = await two.resolve(key, by_hand.number or "")

    assert resolved.order is None
    assert resolved.rival == await two.find(key)


async def test_a_cancelled_order_is_not_taken(two: _Two) -> None:
    """Neither by its number nor for a rival."""
    by_hand = await _by_hand(two.second)
    two.second.table.change(int(by_hand.id), {"status": ErpStatus.CANCELLED})

    with pytest.raises(ApplicationError, match="has been cancelled"):
        await two.resolve(new_order().idempotency_key, by_hand.number or "")


async def test_a_cancelled_order_does_not_prevent_taking_another(two: _Two) -> None:
    """The cancelled order keeps the key, so the other one becomes the record's order without a key."""
    by_hand = await _by_hand(two.first)
    key = await _ours(two.first)
    ours = await two.find(key)
    assert ours is not None
    two.first.table.change(int(ours.id), {"status": ErpStatus.CANCELLED})

    assert by_hand.id == _id(await two.resolve(key, by_hand.number or ""))


async def test_a_mistyped_number_is_refused_if_all_erps_can_look_it_up(two: _Two) -> None:
    """Neither ERP has such an order."""
    with pytest.raises(ApplicationError, match="no order PO-77"):
        await two.resolve(new_order().idempotency_key, "PO-77")


async def test_the_number_is_accepted_if_one_erp_cannot_look_it_up(two: _Two) -> None:
    """The order may exist in that ERP. If the number were refused, a second order would be created."""
    two.first.faults.no_claims = True

    resolved = await two.resolve(new_order().idempotency_key, "PO-77")

    assert resolved.order is not None
    assert ("PO-77", ErpStatus.CONFIRMED) == (resolved.order.number, resolved.order.status)


async def test_the_order_is_found_in_the_erp_that_can_look_it_up(two: _Two) -> None:
    """The order is in the one that can, and gets its key."""
    two.first.faults.no_claims = True
    key, by_hand = new_order().idempotency_key, await _by_hand(two.second)

    assert by_hand.id == _id(await two.resolve(key, by_hand.number or ""))

    assert key in [order["idempotency_key"] for order in two.second.orders()]


async def _same_number(two: _Two, first: Order, second: Order) -> str:
    """Both ERPs have an order of that number, made by hand: one of `first`, the other of `second`."""
    for _ in range(2):
        await _by_hand(two.first)
    one, other = await made_by_hand(two.first, first), await made_by_hand(two.second, second)
    assert one.number is not None
    assert one.number == other.number
    return one.number


def _claimed(two: _Two, key: str, number: str) -> list[bool]:
    """Whether the orders of that number, in the first and in the second ERP, have the key."""
    orders = (*two.first.orders(), *two.second.orders())
    return [order["idempotency_key"] == key for order in orders if order["number"] == number]


@pytest.mark.parametrize("accept", [True, False])
@pytest.mark.parametrize("place", [0, 1])
async def test_if_two_erps_have_the_number_the_order_that_agrees_is_taken(
    two: _Two,
    place: int,
    accept: bool,  # noqa: FBT001
) -> None:
    """The number is another customer's order in the other ERP, which keeps no key."""
    mine, other = (new_order().model_copy(update=DATED) for _ in range(2))
    orders = (mine, other) if place == 0 else (other, mine)
    number = await _same_number(two, *orders)

    resolved = await two.resolve(mine.idempotency_key, number, mine, accept=accept)

    assert resolved.order is not None
    assert mine.customer.reference == resolved.order.customer
    assert [place == 0, place == 1] == _claimed(two, mine.idempotency_key, number)


@pytest.mark.parametrize("accept", [True, False])
@pytest.mark.parametrize("agreeing", [0, 2])
async def test_if_two_erps_have_the_number_and_it_is_unclear_a_person_decides(
    two: _Two,
    agreeing: int,
    accept: bool,  # noqa: FBT001
) -> None:
    """If none or both agree, the message names both ERPs, and nothing is changed, even if differences are accepted."""
    mine = new_order().model_copy(update=DATED)
    orders = [mine.model_copy(update={"record": new_order().record}) if agreeing else new_order() for _ in range(2)]
    number = await _same_number(two, *orders)

    with pytest.raises(ApplicationError, match=rf"a and b have an order {number}.*") as caught:
        await two.resolve(mine.idempotency_key, number, mine, accept=accept)

    problem: Problem = caught.value.details[0]
    assert AttentionReason.ORDER_DIFFERS is problem.reason
    assert "cancel" in problem.hint
    assert [False, False] == _claimed(two, mine.idempotency_key, number)


def _id(resolved: Resolved) -> str | None:
    return resolved.order.id if resolved.order else None
