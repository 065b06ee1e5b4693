"""Faults that no test would have noticed. One test or more for each case of the page, named by its id."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from closedwon.errors import AttentionError, AttentionReason
from closedwon.mapping import record_id_of
from closedwon.model import Channel, Message
from closedwon.record import Erps, Record, gone, snapshot
from closedwon.snapshot import Deleted, Hidden, Wanted
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
