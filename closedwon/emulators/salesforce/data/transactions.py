"""Transactions of API calls, and the events that they publish.

Events with the behavior Publish After Commit become durable in the same commit as the record; Publish Immediately
survives a rollback.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from closedwon.emulators.salesforce.bus.eventbus import EventBus
from closedwon.emulators.salesforce.data.store import Store
from closedwon.emulators.salesforce.faults import Fault, OrgFaults


class Publication(NamedTuple):
    """An event that a transaction publishes."""

    event: str
    event_uuid: str
    payload: dict[str, Any]
    actor: str


class Transactions:
    """Runs transactions on a store, one at a time."""

    def __init__(self, store: Store, bus: EventBus, faults: OrgFaults) -> None:
        """Publish on `bus`."""
        self._store = store
        self._bus = bus
        self._faults = faults
        self._after_commit: list[Publication] = []
        self._at_once: list[Publication] = []
        self.commits = 0
        """Counts transactions that changed something."""

    def publish(self, one: Publication, *, immediately: bool) -> None:
        """Publish an event at the end of the transaction, or even if it is rolled back."""
        (self._at_once if immediately else self._after_commit).append(one)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One API transaction, or a savepoint when inside one."""
        if self._store.db.in_transaction:
            held = len(self._after_commit)
            try:
                with self._store.transaction():
                    yield
            except BaseException:
                del self._after_commit[held:]
                raise
            return
        changes = self._store.db.total_changes
        try:
            with self._store.transaction():
                yield
                self._publish(self._at_once + self._after_commit)
            self.commits += self._store.db.total_changes > changes
        except BaseException:
            if self._at_once:  # rolled back, but these were already published
                with self._store.transaction():
                    self._publish(self._at_once)
                self.commits += 1
            raise
        finally:
            self._at_once.clear()
            self._after_commit.clear()
            self._bus.wake()

    def _publish(self, publications: list[Publication]) -> None:
        for one in publications:
            if self._faults.strikes(Fault.DROPPED_EVENT):
                continue
            copies = 2 if self._faults.strikes(Fault.DUPLICATE_EVENT) else 1
            self._bus.publish(one.event, one.payload, actor=one.actor, event_uuid=one.event_uuid, copies=copies)
