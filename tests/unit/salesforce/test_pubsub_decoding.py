"""Avro bytes become events in the form of CometD, or events without a payload; never an error."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from closedwon.pubsub_api import eventbus_pb2 as pb
from closedwon.salesforce.bus.pubsub.decoding import Schema, to_event

DEFINITION: dict[str, Any] = {
    "name": "Order_Requested__e",
    "namespace": "com.sforce.eventbus",
    "type": "record",
    "fields": [
        {"name": "CreatedDate", "type": "long", "doc": "CreatedDate:DateTime"},
        {"name": "CreatedById", "type": "string", "doc": "CreatedBy:EntityId"},
        {"name": "Due__c", "type": ["null", "long"], "default": None, "doc": "Data:Date:00N000000000001"},
        {"name": "At__c", "type": ["null", "long"], "default": None, "doc": "Data:DateTime:00N000000000002"},
        {"name": "Amount__c", "type": ["null", "double"], "default": None, "doc": "Data:Double"},
    ],
}
SCHEMA = Schema(json.dumps(DEFINITION))
NOON = 1_767_355_200_000


def encoded(**fields: Any) -> bytes:
    """A payload with these fields."""
    buffer = io.BytesIO()
    record = {"CreatedDate": NOON, "CreatedById": "005", "Due__c": None, "At__c": None, "Amount__c": None, **fields}
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(DEFINITION), record)
    return buffer.getvalue()


def consumed(payload: bytes, schema_id: str = "s") -> pb.ConsumerEvent:
    """An event as the API delivers it."""
    produced = pb.ProducerEvent(id="uuid", schema_id=schema_id, payload=payload)
    return pb.ConsumerEvent(event=produced, replay_id=b"\x00\x07")


def test_an_event_has_the_form_of_cometd() -> None:
    """Times are texts with a zone, days are days, and id and position are where CometD has them."""
    event = to_event("/event/X__e", consumed(encoded(Due__c=NOON, At__c=NOON, Amount__c=1.5)), {"s": SCHEMA})

    assert {
        "CreatedDate": "2026-01-02T12:00:00.000Z",
        "CreatedById": "005",
        "Due__c": "2026-01-02",
        "At__c": "2026-01-02T12:00:00.000Z",
        "Amount__c": 1.5,
    } == event.payload
    assert ("uuid", "pubsub:0007") == (event.uuid, event.replay_id)
    assert datetime(2026, 1, 2, 12, tzinfo=UTC) == event.created_at


def test_a_time_in_seconds_is_not_taken_for_1970() -> None:
    """Some publishers write seconds: a gap that began in 1970 would sweep everything."""
    event = to_event("/event/X__e", consumed(encoded(CreatedDate=NOON // 1000)), {"s": SCHEMA})

    assert datetime(2026, 1, 2, 12, tzinfo=UTC) == event.created_at


@pytest.mark.parametrize("payload", [b"", b"\xff\xff\xff", encoded() + b"\x00", encoded()[:-1]])
def test_what_does_not_fit_is_kept_with_its_bytes(payload: bytes) -> None:
    """Too short, too long or nonsense: an event without a payload, with position and bytes."""
    event = to_event("/event/X__e", consumed(payload), {"s": SCHEMA})

    assert event.payload is None
    assert "pubsub:0007" == event.replay_id
    assert "bytes" in event.raw


def test_an_event_of_an_unknown_schema_is_kept() -> None:
    """Its schema may have been deleted."""
    event = to_event("/event/X__e", consumed(encoded(), "other"), {"s": SCHEMA})

    assert event.payload is None
    assert "Salesforce does not know its schema" == event.raw["undecodable"]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_are_an_error(payload: bytes) -> None:
    """Salesforce does not check what is published: any bytes become an event that can be stored as JSON."""
    event = to_event("/event/X__e", consumed(payload), {"s": SCHEMA})

    assert json.dumps(event.raw)


@pytest.mark.parametrize("text", ["", "{}", '"string"', '{"type": "record", "name": "X"}'])
def test_a_schema_of_another_form_is_refused(text: str) -> None:
    """Its events are kept like those of an unknown schema."""
    with pytest.raises(ValueError, match="schema"):
        Schema(text)
