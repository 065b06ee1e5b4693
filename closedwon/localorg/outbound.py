"""What the org pushes: a queue in the store, and the delivery that Salesforce (or Apex) makes of it.

Fired by the automation of `config`, kept until the receiver says `Ack true`, sent again with growing intervals for
24 hours by the org's clock, then put on the failed list (SOAP API guide, "Understanding Notifications"). The payload is
read when a message is sent, not when it was queued. Callouts go the same way, as an Apex Queueable makes them that
enqueues itself again until it is answered 202. How both look is the business of `messages`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

import aiohttp

from closedwon.ids import OrgId, RecordId
from closedwon.localorg.clock import Clock
from closedwon.localorg.config import CalloutDefinition, OrgConfig, OutboundDefinition
from closedwon.localorg.faults import Fault, Faults
from closedwon.localorg.messages import Push, Told, signed_call, soap_message
from closedwon.localorg.store import Store

_log = logging.getLogger(__name__)

Definition = OutboundDefinition | CalloutDefinition
"""Of an outbound message or of a callout."""

_FIRST_INTERVAL_S: Final = 15
_WINDOW_S: Final = 24 * 3600
_MOST: Final = 100
"""Notifications in one message."""
_LOOK_EVERY: Final = 0.1
"""Seconds of real time between looks at the org's clock while something waits."""
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS outbound (
    id TEXT PRIMARY KEY, definition TEXT NOT NULL, record TEXT NOT NULL, queued_ms INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, next_ms INTEGER NOT NULL, failed INTEGER NOT NULL DEFAULT 0,
    problem TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS outbound_due ON outbound (failed, next_ms);
"""


class Queued(NamedTuple):
    """One notification that was not acknowledged yet."""

    id: str
    definition: str
    record: str
    queued_ms: int
    attempts: int
    next_ms: int
    failed: int
    problem: str


Read = Callable[[str], Any]
"""Runs a SOQL query and returns its records."""


class Outbox:
    """The org's outbound messages. `add` inside the transaction of the change; `run` delivers for ever."""

    def __init__(self, store: Store, clock: Clock, faults: Faults, config: OrgConfig, org_id: OrgId) -> None:
        """Keep the queue in `store`."""
        self._store = store
        self._clock = clock
        self._faults = faults
        self._config = config
        self._org_id = org_id
        self._added = asyncio.Event()
        self._definitions: dict[str, Definition] = {
            one.name: one for one in (*config.outbound_messages, *config.callouts)
        }
        store.db.executescript(_TABLES)
        self.sent = 0
        """Messages put on the wire."""

    def definitions(self, object_name: str) -> Iterable[Definition]:
        """Those about an object."""
        return [one for one in self._definitions.values() if one.on == object_name]

    def add(self, definition: Definition, record: str) -> None:
        """Queue one notification; durable once the caller's transaction commits."""
        now = self._clock.now_ms()
        self._store.db.execute(
            "INSERT INTO outbound (id, definition, record, queued_ms, next_ms) VALUES (?, ?, ?, ?, ?)",
            (self._store.new_id("04l"), definition.name, record, now, now),
        )
        self._added.set()

    def queued(self) -> list[Queued]:
        """Everything that waits or has failed, the oldest first."""
        return [Queued(*row) for row in self._store.select("SELECT * FROM outbound ORDER BY queued_ms, id")]

    def retry(self, notification: str) -> None:
        """Make the next attempt now, as the Retry link of Setup does."""
        self._store.db.execute(
            "UPDATE outbound SET next_ms = ?, queued_ms = CASE failed WHEN 1 THEN ? ELSE queued_ms END, failed = 0 "
            "WHERE id = ?",
            (self._clock.now_ms(), self._clock.now_ms(), notification),
        )
        self._added.set()

    def delete(self, notification: str) -> None:
        """Take it off the queue, as the Del link of Setup does."""
        self._store.db.execute("DELETE FROM outbound WHERE id = ?", (notification,))

    def set_endpoint(self, definition: str, endpoint: str) -> None:
        """Send a definition's messages elsewhere from now on. Raises `KeyError` for an unknown definition."""
        found = self._definitions[definition]
        self._definitions[definition] = found.model_copy(update={"endpoint": endpoint})
        self._added.set()

    async def run(self, read: Read, url: str) -> None:
        """Deliver what is due, for ever."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(self._config.outbound_timeout_s)) as session:
            while True:
                self._added.clear()
                while self._due() and not self._faults.is_down:
                    await self._deliver_due(session, read, url)
                waits = self._store.select("SELECT 1 FROM outbound WHERE failed = 0 LIMIT 1")
                try:
                    await asyncio.wait_for(self._added.wait(), _LOOK_EVERY if waits else None)
                except TimeoutError:
                    continue

    def _due(self) -> list[Queued]:
        rows = self._store.select(
            "SELECT * FROM outbound WHERE failed = 0 AND next_ms <= ? ORDER BY next_ms, id", (self._clock.now_ms(),)
        )
        return [Queued(*row) for row in rows]

    async def _deliver_due(self, session: aiohttp.ClientSession, read: Read, url: str) -> None:
        due = self._due()
        size = 1 if self._faults.is_splitting else _MOST
        for name in {one.definition for one in due}:
            found = [one for one in due if one.definition == name]
            if self._faults.is_splitting:
                found.reverse()
            for start in range(0, len(found), size):
                await self._deliver(session, self._definitions[name], found[start : start + size], read, url)

    async def _deliver(
        self,
        session: aiohttp.ClientSession,
        definition: Definition,
        notifications: Sequence[Queued],
        read: Read,
        url: str,
    ) -> None:
        push = self._message(definition, notifications, read, url)
        copies = 2 if self._faults.strikes(Fault.DOUBLED_MESSAGE) else 1
        problem = ""
        for _ in range(copies):
            problem = await _post(session, definition.endpoint, push)
            self.sent += 1
        if not problem and self._faults.strikes(Fault.LOST_ACK):
            problem = "the acknowledgement was lost"
        with self._store.transaction():
            for one in notifications:
                if problem:
                    self._put_off(one, problem)
                else:
                    self.delete(one.id)
        if problem:
            _log.warning("outbound message %s, %s notifications: %s", definition.name, len(notifications), problem)

    def _put_off(self, one: Queued, problem: str) -> None:
        now = self._clock.now_ms()
        wait_ms = min(_FIRST_INTERVAL_S * 2**one.attempts, self._config.outbound_longest_interval_s) * 1000
        failed = now + wait_ms > one.queued_ms + _WINDOW_S * 1000
        self._store.db.execute(
            "UPDATE outbound SET attempts = ?, next_ms = ?, failed = ?, problem = ? WHERE id = ?",
            (one.attempts + 1, now + wait_ms, int(failed), problem, one.id),
        )

    def _message(self, definition: Definition, notifications: Sequence[Queued], read: Read, url: str) -> Push:
        """Write what is sent; a record that is gone has no data."""
        fields = sorted(set(definition.fields) - {"Id"})
        ids = ", ".join(f"'{one.record}'" for one in notifications)
        soql = f"SELECT {', '.join(['Id', *fields])} FROM {definition.on} WHERE Id IN ({ids})"  # noqa: S608 - SOQL, of our own configuration
        records = {str(record["Id"]): record for record in read(soql)}
        told = [Told(one.id, one.record, records.get(one.record)) for one in notifications]
        if isinstance(definition, CalloutDefinition):
            return signed_call(self._org_id, told, fields, definition.key)
        return soap_message(
            org=self._org_id,
            action=self._action(definition),
            url=url,
            object_name=definition.on,
            told=told,
            fields=fields,
        )

    def _action(self, definition: Definition) -> str:
        key = f"action {definition.name}"
        found = self._store.meta(key)
        if found is None:
            found = self._store.new_id("04k")
            self._store.set_meta(key, found)
        return RecordId(found)


async def _post(session: aiohttp.ClientSession, endpoint: str, push: Push) -> str:
    """Send once; return what went wrong, or nothing."""
    try:
        async with session.post(endpoint, data=push.body, headers=push.headers, allow_redirects=False) as response:
            return push.problem(response.status, await response.read())
    except TimeoutError:
        return "no answer in time"
    except (aiohttp.ClientError, OSError) as error:
        return type(error).__name__
