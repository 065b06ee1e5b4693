"""What the org pushes: the definitions, and the queue in the store. `courier` delivers it.

Notifications are queued by the rules in `config` and kept until the receiver answers `Ack true`. They are sent again at
growing intervals for 24 hours of the org's clock, then they move to the failed list (SOAP API guide, "Understanding
Notifications"). Callouts are in the same queue, with the intervals of `ClosedwonCalloutJob` in deploy/salesforce, which
enqueues itself again until the response is 202 or a permanent failure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from pydantic import TypeAdapter

from closedwon.emulators.salesforce.clock import Clock
from closedwon.emulators.salesforce.config import (
    CalloutDefinition,
    Definition,
    OrgConfig,
    OutboundDefinition,
    PushDefinition,
)
from closedwon.emulators.salesforce.data.schema import Schema, SField, SObject
from closedwon.emulators.salesforce.data.store import Row, Store
from closedwon.emulators.salesforce.data.values import Stored
from closedwon.emulators.salesforce.push.flows import fires
from closedwon.emulators.salesforce.push.messages import RecordNotification
from closedwon.ids import RecordId

_INITIAL_INTERVAL_S: Final = 15
_CALLOUT_INTERVALS_S: Final = (60, 600)
"""The first and the maximum: `System.enqueueJob` waits whole minutes, ten at most."""
_WINDOW_S: Final = 24 * 3600
_ADAPTER: Final[TypeAdapter[Definition]] = TypeAdapter(Definition)
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS outbound (
    id TEXT PRIMARY KEY, definition TEXT NOT NULL, record TEXT NOT NULL, queued_ms INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, next_ms INTEGER NOT NULL, failed INTEGER NOT NULL DEFAULT 0,
    problem TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS outbound_due ON outbound (failed, next_ms);
CREATE TABLE IF NOT EXISTS outbound_definition (name TEXT PRIMARY KEY, definition TEXT NOT NULL);
"""


class Queued(NamedTuple):
    """One notification that is not acknowledged yet."""

    id: str
    definition: str
    record: str
    queued_ms: int
    attempts: int
    next_ms: int
    failed: int
    problem: str


class Outbox:
    """The org's pushes. Call `fire` and `add` in the transaction of the change: they queue only if it commits."""

    def __init__(self, schema: Schema, store: Store, clock: Clock, config: OrgConfig) -> None:
        """Create the tables in `store`. Raises `ValueError` for a definition with an unknown name."""
        self._schema = schema
        self._store = store
        self._clock = clock
        self._config = config
        store.db.executescript(_TABLES)
        rows = store.select("SELECT definition FROM outbound_definition")
        stored = [_ADAPTER.validate_json(row["definition"]) for row in rows]
        self._definitions: dict[str, Definition] = {}
        for one in (*config.outbound_messages, *config.callouts, *stored):
            self._definitions[one.name] = self._checked(one)
        self.changed = asyncio.Event()
        """Set when a notification may have become due."""
        self.sends_no_messages = ""
        """The user whose writes send no outbound messages."""
        self.sent = 0
        """Requests sent, repetitions included."""

    # Definitions

    def definitions(self) -> list[Definition]:
        """All definitions."""
        return list(self._definitions.values())

    def definition(self, name: str) -> Definition | None:
        """One definition by its name."""
        return self._definitions.get(name)

    def callout(self, name: str) -> CalloutDefinition:
        """A callout's definition. Raises `ValueError` if there is none of that name."""
        found = self._definitions.get(name)
        if not isinstance(found, CalloutDefinition):
            raise ValueError(f"there is no callout {name}")  # noqa: TRY004 - not about a type of Python
        return found

    def define(self, definition: Definition) -> None:
        """Store a definition, or replace the one of its name. It survives a restart and overrides the configuration.

        Raises `ValueError` for a definition with an unknown name.
        """
        checked = self._checked(definition)
        self._store.db.execute(
            "INSERT OR REPLACE INTO outbound_definition VALUES (?, ?)",
            (checked.name, _ADAPTER.dump_json(checked).decode()),
        )
        self._definitions[checked.name] = checked
        self.changed.set()

    def set_endpoint(self, definition: str, endpoint: str) -> None:
        """Change the endpoint of a definition. Raises `ValueError` for an unknown name or an invalid URL."""
        found = self._definitions.get(definition)
        if found is None:
            raise ValueError(f"there is no definition {definition}, only {sorted(self._definitions)}")
        self.define(_ADAPTER.validate_python({**found.model_dump(), "endpoint": endpoint}))

    def fields(self, definition: PushDefinition) -> list[SField]:
        """The fields that a definition sends."""
        owner = self._object(definition)
        return [found for name in definition.fields if (found := owner.find(name)) is not None]

    def _checked(self, definition: Definition) -> Definition:
        """The definition with the exact names of fields, and `Id` among the sent ones. Raises `ValueError`."""
        owner = self._object(definition)

        def exact(*names: str) -> tuple[str, ...]:
            found = {name: owner.find(name) for name in names}
            unknown = [name for name, field in found.items() if field is None]
            if unknown:
                raise ValueError(f"{definition.name}: {owner.name} has no field {unknown[0]}")
            return tuple(dict.fromkeys(field.name for field in found.values() if field is not None))

        sent, watched = exact("Id", *definition.fields), exact(*definition.or_changes)
        condition = exact(definition.field)[0] if definition.field else ""
        return definition.model_copy(update={"fields": sent, "field": condition, "or_changes": watched})

    def _object(self, definition: PushDefinition) -> SObject:
        owner = self._schema.find(definition.on)
        if owner is None or owner.is_event:
            raise ValueError(f"{definition.name}: there is no object {definition.on}")
        return owner

    # The queue

    def fire(self, owner: SObject, before: Row | None, after: Row, actor: str) -> None:
        """Queue the pushes that a write from `before` to `after` triggers."""
        for one in self._definitions.values():
            is_muted = isinstance(one, OutboundDefinition) and actor == self.sends_no_messages
            if one.on == owner.name and not is_muted and fires(one, before, after):
                self.add(one.name, str(after["Id"]))

    def add(self, definition: str, record: str) -> RecordId:
        """Queue one notification and return its id. Durable once the caller's transaction commits."""
        now = self._clock.now_ms()
        notification = self.new_notification()
        self._store.db.execute(
            "INSERT INTO outbound (id, definition, record, queued_ms, next_ms) VALUES (?, ?, ?, ?, ?)",
            (notification, definition, record, now, now),
        )
        self.changed.set()
        return notification

    def new_notification(self) -> RecordId:
        """A new id of a notification."""
        return self._store.new_id("04l")

    def add_all(self, definition: str) -> int:
        """Queue all records that match the condition now, like a batch job. Return their number.

        Raises `ValueError` if there is no callout of that name.
        """
        found = self.callout(definition)
        owner = self._object(found)
        sql = f'SELECT Id FROM "{owner.name}" WHERE IsDeleted = 0'  # noqa: S608 - names of the schema
        values: Sequence[Stored] = ()
        if found.field:
            sql, values = f'{sql} AND "{found.field}" = ?', (found.becomes,)
        rows = self._store.select(f"{sql} ORDER BY Id", values)
        with self._store.transaction():
            for row in rows:
                self.add(definition, row["Id"])
        return len(rows)

    def queued(self) -> list[Queued]:
        """All notifications that wait or have failed, the oldest first."""
        return [Queued(*row) for row in self._store.select("SELECT * FROM outbound ORDER BY queued_ms, id")]

    def waits(self) -> bool:
        """Whether any notification will be sent, now or later."""
        return bool(self._store.select("SELECT 1 FROM outbound WHERE failed = 0 LIMIT 1"))

    def due_names(self) -> set[str]:
        """The definitions with due notifications. Moves notifications that are a day old to the failed list."""
        now = self._clock.now_ms()
        self._store.db.execute(
            "UPDATE outbound SET failed = 1 WHERE failed = 0 AND queued_ms < ?", (now - _WINDOW_S * 1000,)
        )
        sql = "SELECT DISTINCT definition FROM outbound WHERE failed = 0 AND next_ms <= ?"
        return {row["definition"] for row in self._store.select(sql, (now,))}

    def due(self, name: str, most: int, *, latest_first: bool = False) -> list[Queued]:
        """Up to `most` due notifications of a definition."""
        order = "next_ms DESC, id DESC" if latest_first else "next_ms, id"
        sql = f"SELECT * FROM outbound WHERE failed = 0 AND next_ms <= ? AND definition = ? ORDER BY {order} LIMIT ?"  # noqa: S608 - a constant
        return [Queued(*row) for row in self._store.select(sql, (self._clock.now_ms(), name, most))]

    def load(self, owner: str, notification: Queued) -> RecordNotification:
        """A notification with the current state of its record."""
        row = self._store.get(owner, notification.record)
        row = None if row is None or row["IsDeleted"] else row
        return RecordNotification(notification.id, notification.record, row)

    def record_result(self, notifications: Iterable[Queued], problem: str, *, is_permanent: bool = False) -> None:
        """Remove acknowledged notifications; postpone those with a `problem`, or fail them if it `is_permanent`."""
        with self._store.transaction():
            for one in notifications:
                if problem:
                    self._postpone(one, problem, is_permanent=is_permanent)
                else:
                    self._store.db.execute("DELETE FROM outbound WHERE id = ?", (one.id,))

    def retry(self, notification: str) -> None:
        """Make the next attempt now, like the Retry link in Setup; a failed notification gets another 24 hours.

        Raises `ValueError` for an id that is not in the queue.
        """
        now = self._clock.now_ms()
        self._only(
            "UPDATE outbound SET next_ms = ?, queued_ms = CASE failed WHEN 1 THEN ? ELSE queued_ms END, failed = 0 "
            "WHERE id = ?",
            (now, now, notification),
        )
        self.changed.set()

    def delete(self, notification: str) -> None:
        """Remove a notification, like the Del link in Setup. Raises `ValueError` for an id that is not in the queue."""
        self._only("DELETE FROM outbound WHERE id = ?", (notification,))

    def action(self, definition: PushDefinition) -> str:
        """The id of a definition (`ActionId`), the same for all its messages."""
        key = f"action {definition.name}"
        found = self._store.meta(key)
        if found is None:
            found = self._store.new_id("04k")
            self._store.set_meta(key, found)
        return found

    def _only(self, sql: str, values: Sequence[Stored]) -> None:
        if not self._store.db.execute(sql, values).rowcount:
            raise ValueError(f"there is no notification {values[-1]} in the queue or among the failed ones")

    def _postpone(self, one: Queued, problem: str, *, is_permanent: bool) -> None:
        now = self._clock.now_ms()
        first, longest = _INITIAL_INTERVAL_S, self._config.outbound_maximum_interval.total_seconds()
        if isinstance(self.definition(one.definition), CalloutDefinition):
            first, longest = _CALLOUT_INTERVALS_S
        wait_ms = round(min(first * 2**one.attempts, longest) * 1000)
        failed = is_permanent or now + wait_ms > one.queued_ms + _WINDOW_S * 1000
        self._store.db.execute(
            "UPDATE outbound SET attempts = ?, next_ms = ?, failed = ?, problem = ? WHERE id = ?",
            (one.attempts + 1, now + wait_ms, int(failed), problem, one.id),
        )
