"""Reading events of any form."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from closedwon.salesforce.bus.events import parse_event

CHANNEL = "/event/Order_Requested__e"


def test_a_platform_event_is_read() -> None:
    """Replay id, EventUuid, time and payload are read from the places in the Streaming API guide."""
    data = {
        "schema": "dffQ2QLzDNHqwB8_sHMxdA",
        "payload": {"CreatedDate": "2026-11-03T10:00:00.123Z", "CreatedById": "005", "Opportunity_Id__c": "006"},
        "event": {"EventUuid": "e-1", "replayId": 4711},
    }
    event = parse_event(CHANNEL, data)

    assert ("4711", "e-1", CHANNEL) == (event.replay_id, event.uuid, event.channel)
    assert datetime(2026, 11, 3, 10, 0, 0, 123000, tzinfo=UTC) == event.created_at
    assert {"CreatedDate", "CreatedById", "Opportunity_Id__c"} == set(event.payload or {})
    assert data == event.raw


@pytest.mark.parametrize(
    "data",
    [
        None,
        "text",
        7,
        [],
        {},
        {"payload": "text", "event": "text"},
        {"payload": None, "event": None},
        {"payload": {"CreatedDate": 5}, "event": {"replayId": None, "EventUuid": 5}},
        {"payload": {"CreatedDate": "yesterday"}, "event": {"replayId": True, "EventUuid": ""}},
        {"payload": {"CreatedDate": "2026-11-03T10:00:00"}, "event": {"replayId": 1.5}},
    ],
)
def test_a_malformed_event_is_kept(data: Any) -> None:
    """It is still an event, with all the received data and nothing added."""
    event = parse_event(CHANNEL, data)

    assert (None, None, None) == (event.replay_id, event.uuid, event.created_at)
    assert (data if isinstance(data, dict) else {"data": data}) == event.raw


def test_a_broken_event_keeps_its_position() -> None:
    """The replay id is kept, so that reading can continue after a broken event."""
    event = parse_event(CHANNEL, {"event": {"replayId": 12}})

    assert "12" == event.replay_id
    assert event.payload is None
