"""Faults that no test would have noticed. One test or more for each case of the page, named by its id."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from temporalio.common import MetricMeter
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.erp import CreateOrder, ErpActivities
from closedwon.erp import open_erp
from closedwon.errors import AttentionError, AttentionReason
from closedwon.localerp.light import LightErp
from closedwon.mapping import record_id_of
from closedwon.model import Changed, Channel, Message
from closedwon.record import Erps, Record, gone, snapshot
from closedwon.snapshot import Deleted, Hidden, Wanted
from closedwon.telemetry import Metrics
from tests.integration.erp.worlds import made_by_hand, new_order, no_proof, rest_settings
from tests.support.mapping import ORG, RECORD, deal, example_route, line, record_of

_AT = datetime(2026, 11, 3, 9, 0, tzinfo=UTC)


def _message(**fields: Any) -> Message:
    return Message(id="m", channel=Channel.PLATFORM_EVENT, received_at=_AT, **fields)


def test_t6_a_custom_object_is_mapped_too() -> None:
    """A route over a custom object takes its records, whatever their key prefix, and lines of a custom child object."""
    route = example_route(
        ('object = "Opportunity"', 'object = "Deal__c"'),
        ("FROM OpportunityLineItems)", "FROM Deal_Lines__r)"),
        ('each = "OpportunityLineItems.records"', 'each = "Deal_Lines__r.records"'),
    )
    fields = deal(Deal_Lines__r={"records": [line(3, 7)]}, OpportunityLineItems=None)
    found = snapshot(record_of(fields, route), Erps(("tryton",)))
    assert isinstance(found, Wanted)
    assert Decimal(21) == found.order.amount


def test_t6_a_message_of_a_custom_object_is_taken() -> None:
    """The prefix of a custom object is not known, so no id is refused for it; that of a standard object is checked."""
    custom = example_route(('object = "Opportunity"', 'object = "Deal__c"'))
    assert "a015g00000AbCdEAAV" == record_id_of(custom, {"Opportunity_Id__c": "a015g00000AbCdE"})
    with pytest.raises(AttentionError, match="prefix 'a01', but Opportunity has '006'"):
        record_id_of(example_route(), {"Opportunity_Id__c": "a015g00000AbCdE"})


def test_t5_messages_with_and_without_time_and_payload() -> None:
    """A payload makes the order, with the notification's own time or none; no payload is a bad message, not a no."""
    route = example_route().model_copy(update={"source": "event", "payload": "Payload__c", "select": None})
    payload = {"Payload__c": deal(line(1, 5), SystemModstamp="2020-01-01T00:00:00.000+0000")}
    for at in (_AT, None):
        found = snapshot(
            Record.from_message(route, ORG, RECORD, _message(payload=payload, modified_at=at)), Erps(("tryton",))
        )
        assert isinstance(found, Wanted)
        assert (at, at, {}) == (found.modified_at, found.order.modified_at, found.written)
        assert datetime(2026, 10, 1, 8, 0, tzinfo=UTC) == found.order.created_at
    for message in (None, _message(), _message(modified_at=_AT)):
        with pytest.raises(AttentionError) as caught:
            Record.from_message(route, ORG, RECORD, message)
        assert AttentionReason.BAD_MESSAGE == caught.value.reason


def test_t5_a_record_that_is_not_there() -> None:
    """Deleted where a tombstone or the recycle bin says so, else hidden; only a tombstone brings a time."""
    route = example_route()
    tombstone, plain = _message(deleted=True, modified_at=_AT), _message(modified_at=_AT)
    assert Deleted(erp="tryton", policies=route.policies, modified_at=_AT) == gone(route, tombstone, is_deleted=True)
    assert Deleted(erp="tryton", policies=route.policies) == gone(route, plain, is_deleted=True)
    assert Hidden(erp="tryton", policies=route.policies) == gone(route, plain, is_deleted=False)
    assert Hidden(erp="tryton", policies=route.policies) == gone(route, None, is_deleted=False)


@asynccontextmanager
async def _two_erps() -> AsyncIterator[tuple[LightErp, LightErp, ErpActivities]]:
    """Two stub ERPs behind the activities that an order workflow calls."""
    async with LightErp.running() as first, LightErp.running() as second:
        erps = {name: open_erp(rest_settings(erp.url, erp.token)) for name, erp in (("a", first), ("b", second))}
        yield first, second, ErpActivities(erps, Metrics(MetricMeter.noop), prove=no_proof)
        for erp in erps.values():
            await erp.close()


@pytest.mark.parametrize("changed", ["attention", "amend", "ignore"])
@pytest.mark.parametrize("reopen", [True, False])
async def test_t2_a_number_that_another_erp_may_know_makes_no_second_order(changed: Changed, reopen: bool) -> None:  # noqa: FBT001
    """With several ERPs, a record whose number this one does not know waits for a person, by every policy."""
    async with _two_erps() as (first, second, activities):
        order = new_order(created_at=_AT)
        by_hand = await made_by_hand(second, order)
        request = CreateOrder(
            erp="a", order=order, other_erps=("b",), number=f"{by_hand.number}9", changed=changed, reopen=reopen
        )

        with pytest.raises(ApplicationError, match="nothing says whether another ERP has that one") as caught:
            await ActivityEnvironment().run(activities.create_order, request)

        assert AttentionReason.ORDER_EXISTS is caught.value.details[0].reason
        assert ([], 1) == (first.orders(), len(second.orders()))


async def test_t2_an_order_in_another_erp_is_neither_amended_nor_made_again() -> None:
    """A deal whose route now picks another ERP keeps its one order, also if it has changed and is to be amended."""
    async with _two_erps() as (first, second, activities):
        order = new_order()
        await ActivityEnvironment().run(activities.create_order, CreateOrder(erp="b", order=order))
        before = second.orders()
        changed = order.model_copy(update={"lines": order.lines[:1]})
        request = CreateOrder(erp="a", order=changed, other_erps=("b",), changed="amend")

        with pytest.raises(ApplicationError, match="ERP b has order L000001 of this record"):
            await ActivityEnvironment().run(activities.create_order, request)

        assert ([], before) == (first.orders(), second.orders())


@pytest.mark.parametrize(
    ("lines", "agrees"),
    [
        ((("B", "1", "5.00"), ("A", "2", "10.00")), True),
        ((("A", "2", "5.00"), ("B", "1", "15.00")), False),
        ((("A", "1", "10.00"), ("B", "3", "5.00")), False),
    ],
    ids=["another order", "prices changed", "quantities changed"],
)
async def test_t3_lines_are_compared_whatever_their_order(
    lines: tuple[tuple[str, str, str], ...],
    agrees: bool,  # noqa: FBT001
) -> None:
    """An ERP that lists its lines otherwise parks no order; another price or quantity does, at an equal total."""
    async with _two_erps() as (first, _, activities):
        order = new_order((("A", "2", "10.00"), ("B", "1", "5.00")))
        await ActivityEnvironment().run(activities.create_order, CreateOrder(erp="a", order=order))
        same_total = new_order(lines)
        (held,) = first.orders()
        assert same_total.amount == Decimal(held["amount"])
        request = CreateOrder(erp="a", order=order.model_copy(update={"lines": same_total.lines}))

        if agrees:
            await ActivityEnvironment().run(activities.create_order, request)
        else:
            with pytest.raises(ApplicationError, match="a product, quantity or price differs"):
                await ActivityEnvironment().run(activities.create_order, request)
