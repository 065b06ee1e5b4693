"""Taking an order that was made by hand for a record's one, where several ERPs may have it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
from temporalio.common import MetricMeter
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.erp import ErpActivities, FindOrder, Resolved, ResolveOrder
from closedwon.erp import open_erp
from closedwon.erp.base import find_or_create
from closedwon.localerp.light import LightErp
from closedwon.model import ErpOrder, ErpStatus
from closedwon.telemetry import Metrics
from tests.integration.erp.worlds import made_by_hand, new_order, no_proof, rest_settings


class _Two(NamedTuple):
    first: LightErp
    second: LightErp
    activities: ErpActivities

    async def resolve(self, key: str, number: str) -> Resolved:
        request = ResolveOrder(erp=None, idempotency_key=key, number=number, accept_differences=True)
        return await ActivityEnvironment().run(self.activities.resolve_order, request)

    async def find(self, key: str) -> ErpOrder | None:
        return await ActivityEnvironment().run(self.activities.find_order, FindOrder(erp=None, idempotency_key=key))


@pytest.fixture
async def two() -> AsyncIterator[_Two]:
    """Two ERPs; the second one numbers its orders on from 3."""
    async with LightErp.running() as first, LightErp.running() as second:
        erps = {name: open_erp(rest_settings(erp.url, erp.token)) for name, erp in (("a", first), ("b", second))}
        for _ in range(2):
            await find_or_create(erps["b"], new_order())
        yield _Two(first, second, ErpActivities(erps, Metrics(MetricMeter.noop), prove=no_proof))
        for erp in erps.values():
            await erp.close()


async def _by_hand(erp: LightErp) -> ErpOrder:
    return await made_by_hand(erp, new_order())


async def _ours(erp: LightErp) -> str:
    """An order of ours in that ERP; its key."""
    order = new_order()
    adapter = open_erp(rest_settings(erp.url, erp.token))
    await find_or_create(adapter, order)
    await adapter.close()
    return order.idempotency_key


async def test_the_erp_that_has_the_number_is_the_one(two: _Two) -> None:
    """The record does not say which ERP it is for; the number does, and it is the record's order from then on."""
    key, by_hand = new_order().idempotency_key, await _by_hand(two.second)

    for _ in range(2):
        assert by_hand.id == _id(await two.resolve(key, by_hand.number or ""))

    assert [key] == [order["idempotency_key"] for order in two.second.orders() if order["number"] == by_hand.number]


async def test_an_order_of_ours_in_any_of_them_is_the_rival(two: _Two) -> None:
    """It lives under the record's key in one ERP, while another one is named in the other."""
    by_hand = await _by_hand(two.second)
    key = await _ours(two.first)

    resolved = await two.resolve(key, by_hand.number or "")

    assert resolved.order is None
    assert resolved.rival == await two.find(key)


async def test_a_cancelled_order_is_not_taken(two: _Two) -> None:
    """Neither by its number nor for a rival."""
    by_hand = await _by_hand(two.second)
    two.second._set_status(int(by_hand.id), ErpStatus.CANCELLED)

    with pytest.raises(ApplicationError, match="has been cancelled"):
        await two.resolve(new_order().idempotency_key, by_hand.number or "")


async def test_a_cancelled_order_of_ours_makes_way(two: _Two) -> None:
    """Its key stays with it, so the other one is taken without; that one is the record's all the same."""
    by_hand = await _by_hand(two.first)
    key = await _ours(two.first)
    ours = await two.find(key)
    assert ours is not None
    two.first._set_status(int(ours.id), ErpStatus.CANCELLED)

    assert by_hand.id == _id(await two.resolve(key, by_hand.number or ""))


async def test_a_slip_of_the_pen_is_known_where_all_can_look(two: _Two) -> None:
    """Neither has such an order, and both say so."""
    with pytest.raises(ApplicationError, match="no order PO-77"):
        await two.resolve(new_order().idempotency_key, "PO-77")


async def test_where_one_cannot_look_the_number_is_taken_at_its_word(two: _Two) -> None:
    """The order may be there: were it refused, it could not be named at all, and would be made a second time."""
    two.first.faults.no_claims = True

    resolved = await two.resolve(new_order().idempotency_key, "PO-77")

    assert resolved.order is not None
    assert ("PO-77", ErpStatus.CONFIRMED) == (resolved.order.number, resolved.order.status)


async def test_where_one_cannot_look_the_other_may_still_know(two: _Two) -> None:
    """The order is in the one that can, and gets its key."""
    two.first.faults.no_claims = True
    key, by_hand = new_order().idempotency_key, await _by_hand(two.second)

    assert by_hand.id == _id(await two.resolve(key, by_hand.number or ""))

    assert key in [order["idempotency_key"] for order in two.second.orders()]


def _id(resolved: Resolved) -> str | None:
    return resolved.order.id if resolved.order else None
