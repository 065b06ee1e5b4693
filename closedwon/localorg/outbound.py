"""What the org pushes: the definitions, and the queue in the store. How it gets to the endpoint is `courier`.

Fired by the automation of `config`, kept until the receiver says `Ack true`, due again with growing intervals for
24 hours by the org's clock, then on the failed list (SOAP API guide, "Understanding Notifications"). Callouts wait in
the same queue, at the pace of `ClosedwonCalloutJob` in deploy/salesforce, which enqueues itself again until it is
answered 202 or told that no other try can help.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from pydantic import TypeAdapter

from closedwon.ids import RecordId
from closedwon.localorg.clock import Clock
from closedwon.localorg.config import CalloutDefinition, Definition, OrgConfig, OutboundDefinition, PushDefinition
from closedwon.localorg.flows import fires
from closedwon.localorg.messages import Told
from closedwon.localorg.schema import Schema, SField, SObject
from closedwon.localorg.store import Row, Store
from closedwon.localorg.values import Stored

_FIRST_INTERVAL_S: Final = 15
_CALLOUT_INTERVALS_S: Final = (60, 600)
"""The first and the longest: `System.enqueueJob` waits whole minutes, ten at most."""
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
    """One notification that was not acknowledged yet."""

    id: str
    definition: str
    record: str
    queued_ms: int
    attempts: int
    next_ms: int
    failed: int
    problem: str


class Outbox:
    """The org's pushes. `fire` and `add` inside the transaction of the change: queued if and only if it commits."""

    def __init__(self, schema: Schema, store: Store, clock: Clock, config: OrgConfig) -> None:
        """Keep the queue in `store`. Raises `ValueError` for a definition that names what the org does not have."""
        self._schema = schema
        self._store = store
        self._clock = clock
        self._config = config
        store.db.executescript(_TABLES)
        rows = store.select("SELECT definition FROM outbound_definition")
        by_hand = [_ADAPTER.validate_json(row["definition"]) for row in rows]
        self._definitions: dict[str, Definition] = {}
        for one in (*config.outbound_messages, *config.callouts, *by_hand):
            self._definitions[one.name] = self._checked(one)
        self.changed = asyncio.Event()
        """Set when something may have become due."""
        self.sends_no_messages = ""
        """The user whose writes send no outbound messages."""
        self.sent = 0
        """Messages put on the wire."""

    # Definitions

    def definitions(self) -> list[Definition]:
        """All of them."""
        return list(self._definitions.values())

    def definition(self, name: str) -> Definition | None:
        """One by its name."""
        return self._definitions.get(name)

    def callout(self, name: str) -> CalloutDefinition:
        """A callout's definition. Raises `ValueError` when there is none of that name."""
        found = self._definitions.get(name)
        if not isinstance(found, CalloutDefinition):
            raise ValueError(f"there is no callout {name}")  # noqa: TRY004 - not about a type of Python
        return found

    def define(self, definition: Definition) -> None:
        """Add or replace a definition, which then outlives the org and the file of its configuration.

        Raises `ValueError` for one that names what the org does not have.
        """
        checked = self._checked(definition)
        self._store.db.execute(
            "INSERT OR REPLACE INTO outbound_definition VALUES (?, ?)",
            (checked.name, _ADAPTER.dump_json(checked).decode()),
        )
        self._definitions[checked.name] = checked
        self.changed.set()

    def set_endpoint(self, definition: str, endpoint: str) -> None:
        """Send a definition's messages elsewhere from now on. Raises `ValueError` for an unknown name or no URL."""
        found = self._definitions.get(definition)
        if found is None:
            raise ValueError(f"there is no definition {definition}, only {sorted(self._definitions)}")
        self.define(_ADAPTER.validate_python({**found.model_dump(), "endpoint": endpoint}))

    def fields(self, definition: PushDefinition) -> list[SField]:
        """The fields that it sends."""
        owner = self._object(definition)
        return [found for name in definition.fields if (found := owner.find(name)) is not None]

    def _checked(self, definition: Definition) -> Definition:
        """The definition with its fields as the schema spells them, `Id` among those that are sent."""
        owner = self._object(definition)

        def spelt(*names: str) -> tuple[str, ...]:
            found = {name: owner.find(name) for name in names}
            unknown = [name for name, field in found.items() if field is None]
            if unknown:
                raise ValueError(f"{definition.name}: {owner.name} has no field {unknown[0]}")
            return tuple(dict.fromkeys(field.name for field in found.values() if field is not None))

        sent, heard = spelt("Id", *definition.fields), spelt(*definition.or_changes)
        condition = spelt(definition.field)[0] if definition.field else ""
        return definition.model_copy(update={"fields": sent, "field": condition, "or_changes": heard})

    def _object(self, definition: PushDefinition) -> SObject:
        owner = self._schema.find(definition.on)
        if owner is None or owner.is_event:
            raise ValueError(f"{definition.name}: there is no object {definition.on}")
        return owner

    # The queue

    def fire(self, owner: SObject, before: Row | None, after: Row, actor: str) -> None:
        """Queue what a write from `before` to `after` sends."""
        for one in self._definitions.values():
            is_muted = isinstance(one, OutboundDefinition) and actor == self.sends_no_messages
            if one.on == owner.name and not is_muted and fires(one, before, after):
                self.add(one.name, str(after["Id"]))

    def add(self, definition: str, record: str) -> RecordId:
        """Queue one notification and return its id; durable once the caller's transaction commits."""
        now = self._clock.now_ms()
        notification = self.new_notification()
        self._store.db.execute(
            "INSERT INTO outbound (id, definition, record, queued_ms, next_ms) VALUES (?, ?, ?, ?, ?)",
            (notification, definition, record, now, now),
        )
        self.changed.set()
        return notification

    def new_notification(self) -> RecordId:
        """The id of a notification."""
        return self._store.new_id("04l")

    def add_all(self, definition: str) -> int:
        """Queue every record that meets the condition now, as a batch job does; returns how many.

        Raises `ValueError` when there is no callout of that name.
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
        """Everything that waits or has failed, the oldest first."""
        return [Queued(*row) for row in self._store.select("SELECT * FROM outbound ORDER BY queued_ms, id")]

    def waits(self) -> bool:
        """Whether anything will be sent again, now or later."""
        return bool(self._store.select("SELECT 1 FROM outbound WHERE failed = 0 LIMIT 1"))

    def due_names(self) -> set[str]:
        """The definitions that have something to send now. What is a day old goes on the failed list instead."""
        now = self._clock.now_ms()
        self._store.db.execute(
            "UPDATE outbound SET failed = 1 WHERE failed = 0 AND queued_ms < ?", (now - _WINDOW_S * 1000,)
        )
        sql = "SELECT DISTINCT definition FROM outbound WHERE failed = 0 AND next_ms <= ?"
        return {row["definition"] for row in self._store.select(sql, (now,))}

    def due(self, name: str, most: int, *, latest_first: bool = False) -> list[Queued]:
        """Up to `most` notifications of a definition that are to be sent now."""
        order = "next_ms DESC, id DESC" if latest_first else "next_ms, id"
        sql = f"SELECT * FROM outbound WHERE failed = 0 AND next_ms <= ? AND definition = ? ORDER BY {order} LIMIT ?"  # noqa: S608 - a constant
        return [Queued(*row) for row in self._store.select(sql, (self._clock.now_ms(), name, most))]

    def tell(self, owner: str, notification: Queued) -> Told:
        """A notification with its record as it is now."""
        row = self._store.get(owner, notification.record)
        return Told(notification.id, notification.record, None if row is None or row["IsDeleted"] else row)

    def settle(self, notifications: Iterable[Queued], problem: str, *, hopeless: bool = False) -> None:
        """Take acknowledged ones off the queue; put off those with a `problem`, for ever if it is `hopeless`."""
        with self._store.transaction():
            for one in notifications:
                if problem:
                    self._put_off(one, problem, hopeless=hopeless)
                else:
                    self._store.db.execute("DELETE FROM outbound WHERE id = ?", (one.id,))

    def retry(self, notification: str) -> None:
        """Make the next attempt now, as the Retry link of Setup does; a failed one gets another 24 hours.

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
        """Take it off the queue, as the Del link of Setup does. Raises `ValueError` for an id that is not there."""
        self._only("DELETE FROM outbound WHERE id = ?", (notification,))

    def action(self, definition: PushDefinition) -> str:
        """The id of the outbound message's definition, the same for all its messages."""
        key = f"action {definition.name}"
        found = self._store.meta(key)
        if found is None:
            found = self._store.new_id("04k")
            self._store.set_meta(key, found)
        return found

    def _only(self, sql: str, values: Sequence[Stored]) -> None:
        if not self._store.db.execute(sql, values).rowcount:
            raise ValueError(f"no notification {values[-1]} waits or has failed")

    def _put_off(self, one: Queued, problem: str, *, hopeless: bool) -> None:
        now = self._clock.now_ms()
        first, longest = _FIRST_INTERVAL_S, self._config.outbound_longest_interval_s
        if isinstance(self.definition(one.definition), CalloutDefinition):
            first, longest = _CALLOUT_INTERVALS_S
        wait_ms = min(first * 2**one.attempts, longest) * 1000
        failed = hopeless or now + wait_ms > one.queued_ms + _WINDOW_S * 1000
        self._store.db.execute(
            "UPDATE outbound SET attempts = ?, next_ms = ?, failed = ?, problem = ? WHERE id = ?",
            (one.attempts + 1, now + wait_ms, int(failed), problem, one.id),
        )
