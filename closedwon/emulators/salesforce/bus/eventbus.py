"""The event bus: published events in order, with replay ids and a retention, and notification of listeners.

Replay ids increase but are not contiguous. They become invalid when the bus moves (`move`): the stream starts again
with unrelated ids, as after an org migration. Events are rows in SQLite, so published events survive a SIGKILL.
Source: Streaming API guide, "Message Durability"; Platform Events guide.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from closedwon.emulators.salesforce.clock import Clock, event_time
from closedwon.emulators.salesforce.data.store import Store

_log = logging.getLogger(__name__)

NEW_EVENTS, ALL_EVENTS = -1, -2
_FIRST_REPLAY_ID, _STREAM_DISTANCE, _MAX_STEP = 2_000_000_000, 10_000_000, 9
_PURGE_EVERY_MS = 60_000


@dataclass(frozen=True)
class BusEvent:
    """One event as delivered: `data` is the data of a CometD message, without the replay id."""

    replay_id: int
    channel: str
    data: dict[str, Any]


class EventBus:
    """Publishes, stores and reads events. Calls the functions in `listeners` after a commit."""

    def __init__(self, store: Store, clock: Clock, *, retention_s: float) -> None:
        """Events are kept for `retention_s` seconds of `clock`."""
        self._store = store
        self._clock = clock
        self._retention_ms = round(retention_s * 1000)
        self._purged_ms = 0
        self.listeners: list[Callable[[], None]] = []
        self.published = 0

    def publish(self, event: str, payload: dict[str, Any], *, actor: str, event_uuid: str, copies: int = 1) -> None:
        """Put one platform event on the bus. Durable once the caller's transaction commits.

        Copies differ only in the replay id, as in a duplicate publish.
        """
        moment = event_time(self._clock.now_ms())
        data = {
            "schema": schema_id(event),
            "payload": {"CreatedDate": moment, "CreatedById": actor, **payload},
            "event": {"EventUuid": event_uuid},
        }
        for _ in range(copies):
            self.publish_raw(f"/event/{event}", data)

    def publish_raw(self, channel: str, data: dict[str, Any]) -> int:
        """Publish data of any form, even malformed data. Returns the replay id."""
        event_uuid = data.get("event", {}).get("EventUuid") or str(uuid.uuid4())
        replay_id = self.last_replay_id() + 1 + uuid.UUID(event_uuid).int % _MAX_STEP
        self._store.db.execute(
            "INSERT INTO event (replay_id, channel, uuid, created_ms, data) VALUES (?, ?, ?, ?, ?)",
            (replay_id, channel, event_uuid, self._clock.now_ms(), json.dumps(data)),
        )
        self._store.set_meta("last_replay_id", str(replay_id))
        self.published += 1
        _log.info("event %s published on %s", replay_id, channel)
        self._purge()
        return replay_id

    def wake(self) -> None:
        """Call the listeners: there may be new events. To be called after the commit."""
        for listener in self.listeners:
            listener()

    def last_replay_id(self) -> int:
        """The newest replay id of this stream."""
        return int(self._store.meta("last_replay_id") or _FIRST_REPLAY_ID)

    def position(self, replay: int) -> int | None:
        """The id after which a subscriber with the option `replay` reads; None if the option is not valid.

        An id is valid while its event is retained.
        """
        if replay == NEW_EVENTS:
            return self.last_replay_id()
        if replay == ALL_EVENTS:
            return 0
        sql = "SELECT 1 FROM event WHERE replay_id = ? AND created_ms > ?"
        return replay if self._store.select(sql, (replay, self._oldest_ms())) else None

    def after(self, channel: str, position: int, limit: int) -> list[BusEvent]:
        """The retained events of a channel after `position`, oldest first."""
        rows = self._store.select(
            "SELECT replay_id, channel, data FROM event WHERE replay_id > ? AND channel = ? AND created_ms > ? "
            "ORDER BY replay_id LIMIT ?",
            (position, channel, self._oldest_ms(), limit),
        )
        return [BusEvent(row["replay_id"], row["channel"], json.loads(row["data"])) for row in rows]

    def move(self) -> None:
        """Start an unrelated stream: all earlier replay ids become invalid, and no earlier event can be replayed."""
        stream = int(self._store.meta("stream") or 0) + 1
        with self._store.transaction():
            self._store.db.execute("DELETE FROM event")
            self._store.set_meta("stream", str(stream))
            self._store.set_meta("last_replay_id", str(_FIRST_REPLAY_ID - stream * _STREAM_DISTANCE))

    def _oldest_ms(self) -> int:
        return self._clock.now_ms() - self._retention_ms

    def _purge(self) -> None:
        now = self._clock.now_ms()
        if abs(now - self._purged_ms) > _PURGE_EVERY_MS:
            self._purged_ms = now
            self._store.db.execute("DELETE FROM event WHERE created_ms <= ?", (self._oldest_ms(),))


def schema_id(event: str) -> str:
    """22 characters of URL-safe base64, the form of Salesforce's schema ids."""
    return base64.urlsafe_b64encode(hashlib.sha256(event.encode()).digest()[:16]).decode().rstrip("=")
