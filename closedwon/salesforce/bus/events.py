"""The interface of the event bus: events, positions, and a stream that any transport can implement.

One `EventStream` is one connection. Any error ends it, and it is never reopened: the reader opens a new one and
subscribes from the last position that it has stored durably. So events may arrive twice, but none is lost. Nothing here
depends on CometD or the Pub/Sub API.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from pydantic import AwareDatetime

from closedwon.model.base import Frozen
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
"""Position: all retained events (72 hours), then new ones."""
LATEST: Final = "-1"
"""Position: only new events. Events before the first one that is read can be lost; start at EARLIEST to avoid that."""


SKEW: Final = timedelta(minutes=5)
"""How far ahead of ours another clock may be for its times to be accepted; the same as for signatures."""


class Event(Frozen):
    """One event of the bus. A malformed event is an event, too: nothing is dropped here."""

    channel: str
    replay_id: str | None
    """Opaque: neither contiguous nor comparable. None only in a malformed event."""
    uuid: str | None = None
    """The same for each publish of one event. Change events have none."""
    created_at: AwareDatetime | None = None
    raw: dict[str, Any]
    """The whole event as received; `payload` contains its fields."""

    @property
    def payload(self) -> dict[str, Any] | None:
        """The event's fields; None when it has none."""
        payload = self.raw.get("payload")
        return payload if isinstance(payload, dict) else None


class EventBatch(Frozen):
    """Events that arrived together, in the order of the bus. An empty batch is an empty poll of a live connection."""

    events: tuple[Event, ...] = ()
    position: str | None = None
    """Only in an empty batch: a later replay id than that of the last event. Nothing of the channel is between them."""


class EventStream(Protocol):
    """One connection to an org's event bus, for one channel.

    All calls raise `StreamInterruptedError` (and other `RetryError`s, for example when throttled) for temporary errors,
    `ReplayIdRejectedError` for an unknown position, and an `AttentionError` if a person must correct something.
    """

    async def open(self) -> None:
        """Connect."""

    async def subscribe(self, channel: str, position: str) -> None:
        """Subscribe `channel` after `position` (a replay id, EARLIEST or LATEST); connects first where needed."""

    def batches(self) -> AsyncIterator[EventBatch]:
        """Yield batches until an error ends the stream. Cancelling a wait for the next batch loses no event."""

    async def close(self) -> None:
        """End the connection, within seconds even without a response. May be called at any time, more than once."""


def parse_event(channel: str, data: Any) -> Event:
    """Read the `data` of an event message, of any form (Streaming API guide, "Platform Event Message")."""
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
    """Read a time with a zone (ISO 8601); None for anything else."""
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else None


def believable(modified_at: datetime | None, received_at: datetime, *, skew: timedelta = SKEW) -> datetime | None:
    """Return `modified_at` unless it is later than `received_at` (both aware) by more than `skew`; then return None.

    The newest notification wins permanently, so a time in the future must not be stored: after one message with a time
    of 2099, forged or from a wrong clock, every correct one would count as older. A notification whose time is not
    believable counts as one without a time.
    """
    return modified_at if modified_at is not None and modified_at <= received_at + skew else None
