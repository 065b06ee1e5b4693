"""Reading events of every shape."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from closedwon.salesforce.events import parse_event

CHANNEL = "/event/Order_Requested__e"


def test_a_platform_event_is_read() -> None:
    """Replay id, EventUuid, time and payload stand where the Streaming API guide says."""
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
def test_an_event_of_any_shape_is_kept(data: Any) -> None:
    """What cannot be understood is an event all the same, with all that came and nothing made up."""
    event = parse_event(CHANNEL, data)

    assert (None, None, None) == (event.replay_id, event.uuid, event.created_at)
    assert (data if isinstance(data, dict) else {"data": data}) == event.raw


def test_a_broken_event_keeps_its_position() -> None:
    """The replay id survives, so that reading can go on behind a broken event."""
    event = parse_event(CHANNEL, {"event": {"replayId": 12}})

    assert "12" == event.replay_id
    assert event.payload is None
