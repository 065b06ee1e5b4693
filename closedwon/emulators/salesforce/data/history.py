"""Earlier states of records, which readers see while the read-lag fault is on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from closedwon.emulators.salesforce.clock import Clock
from closedwon.emulators.salesforce.data.store import Row, Store
from closedwon.emulators.salesforce.faults import OrgFaults
from closedwon.ids import RecordId


class _Before(NamedTuple):
    """A row before its change at `until_ms`; `row` is None if it did not exist."""

    until_ms: int
    object_name: str
    record: RecordId
    row: Row | None


class History:
    """What each record was before its latest changes."""

    def __init__(self, store: Store, clock: Clock, faults: OrgFaults) -> None:
        """Keeps rows only while `faults` has a read lag."""
        self._store = store
        self._clock = clock
        self._faults = faults
        self._before: deque[_Before] = deque()

    def note(self, object_name: str, record: RecordId, row: Row | None) -> None:
        """Remember a row that is about to change; None if it does not exist yet."""
        if self._faults.read_lag_seconds > 0:
            self._before.append(_Before(self._clock.now_ms(), object_name, record, row))

    @contextmanager
    def as_seen(self) -> Iterator[None]:
        """In this block the tables are as a reader sees them: with the read-lag fault, in an earlier state."""
        visible_until_ms = self._clock.now_ms() - round(self._faults.read_lag_seconds * 1000)
        while self._before and self._before[0].until_ms <= visible_until_ms:
            self._before.popleft()
        if not self._before:
            yield
            return
        self._store.db.execute("SAVEPOINT lagging_read")
        try:
            for _, object_name, record, row in reversed(self._before):
                if row is None:
                    self._store.erase(object_name, record)
                else:
                    self._store.put(object_name, row)
            yield
        finally:
            self._store.db.execute("ROLLBACK TO lagging_read")
            self._store.db.execute("RELEASE lagging_read")
