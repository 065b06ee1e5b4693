"""The event bus as the rest of Closedwon sees it: events, positions, and a stream that any transport can offer.

One `EventStream` is one connection. Any trouble ends it with an error, and it is never reopened: whoever reads opens
a new one and subscribes from the last position that it has made durable. So events may come twice, but none is lost.
Nothing here knows CometD or the Pub/Sub API.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from pydantic import AwareDatetime

from closedwon.model import Frozen
from closedwon.salesforce.errors import ReplayIdRejectedError, StreamInterruptedError

__all__ = [
    "EARLIEST",
    "LATEST",
    "Event",
    "EventBatch",
    "EventStream",
    "ReplayIdRejectedError",
    "StreamInterruptedError",
]

EARLIEST: Final = "-2"
"""Position: everything retained (72 hours), then what is new."""
LATEST: Final = "-1"
"""Position: only what is new. What is published before the first event has been seen can be lost: start at EARLIEST."""


SKEW: Final = timedelta(minutes=5)
"""How far another clock may be ahead of ours and still be believed; as much as signatures allow."""


class Event(Frozen):
    """One event of the bus. An event that has not the usual form is still one: nothing is dropped here."""

    channel: str
    replay_id: str | None
    """Opaque: neither contiguous nor comparable. None only in a malformed event."""
    uuid: str | None = None
    """The same for a duplicate publish of one event. Change events have none."""
    created_at: AwareDatetime | None = None
    raw: dict[str, Any]
    """All that came; `payload` holds the event's fields."""

    @property
    def payload(self) -> dict[str, Any] | None:
        """The event's fields; None when it has none."""
        payload = self.raw.get("payload")
        return payload if isinstance(payload, dict) else None


class EventBatch(Frozen):
    """What came together, in the order of the bus. An empty batch is an empty poll: a sign of life."""

    events: tuple[Event, ...] = ()


class EventStream(Protocol):
    """One connection to an org's event bus, for one channel.

    All calls raise `StreamInterruptedError` (and other `RetryError`s, e.g. when throttled) for trouble that passes,
    `ReplayIdRejectedError` for an unknown position, and an `AttentionError` when a person must mend something.
    """

    async def open(self) -> None:
        """Connect."""

    async def subscribe(self, channel: str, position: str) -> None:
        """Subscribe `channel` after `position` (a replay id, EARLIEST or LATEST); connects first where needed."""

    def batches(self) -> AsyncIterator[EventBatch]:
        """Yield what comes, until an error ends the stream. Cancelling a wait for the next batch loses nothing."""

    async def close(self) -> None:
        """End the connection, within seconds also when nobody answers. May be called at any time, more than once."""


def parse_event(channel: str, data: Any) -> Event:
    """Read the `data` of an event message, whatever it is (Streaming API guide, "Platform Event Message")."""
    raw = data if isinstance(data, dict) else {"data": data}
    payload, about = raw.get("payload"), raw.get("event")
    about = about if isinstance(about, dict) else {}
    replay_id, uuid = about.get("replayId"), about.get("EventUuid")
    return Event(
        channel=channel,
        replay_id=str(replay_id) if isinstance(replay_id, int | str) and not isinstance(replay_id, bool) else None,
        uuid=uuid if isinstance(uuid, str) and uuid else None,
        created_at=aware(payload.get("CreatedDate")) if isinstance(payload, dict) else None,
        raw=raw,
    )


def aware(text: Any) -> datetime | None:
    """Read a time that names its zone (ISO 8601); None for anything else."""
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else None


def believable(modified_at: datetime | None, received_at: datetime, *, skew: timedelta = SKEW) -> datetime | None:
    """Return `modified_at` unless it lies in the future of `received_at` (both aware) by more than `skew`.

    The newest notification wins permanently, so a moment that has not come yet must not be remembered: after one
    message with a time of 2099, forged or from a broken clock, every true one would count as older. A notification
    without a believable time is one without a time.
    """
    return modified_at if modified_at is not None and modified_at <= received_at + skew else None
