"""Row locks: which rows belong to calls that are not answered yet. Only the fault `slow-writes` makes a call last.

A write to a record locks the record and, as in a real org, its Account. A real org lets the second transaction wait for
ten seconds, then refuses its records with UNABLE_TO_LOCK_ROW; here they are refused at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from closedwon.emulators.salesforce.data.store import Row
from closedwon.emulators.salesforce.errors import ApiError

_PARENT = "AccountId"


class RowLocks:
    """All locks of an org."""

    def __init__(self) -> None:
        """Nothing is locked."""
        self._held: set[str] = set()
        self._of_this_call: set[str] = set()
        self.conflicts = 0
        """Records that were refused because another call held one of their rows."""

    def lock(self, row: Row) -> None:
        """Lock a record and its parent until the end of the call. Raises UNABLE_TO_LOCK_ROW."""
        wanted = {str(row[name]) for name in ("Id", _PARENT) if row.get(name)}
        if not self._held.isdisjoint(wanted):
            self.conflicts += 1
            message = "unable to obtain exclusive access to this record or 1 records"
            raise ApiError("UNABLE_TO_LOCK_ROW", f"{message}: {', '.join(sorted(wanted & self._held))}", fields=())
        self._of_this_call |= wanted

    def taken(self) -> frozenset[str]:
        """What the call that has just run has locked. Calls are atomic, so it is the only one."""
        taken = frozenset(self._of_this_call)
        self._of_this_call.clear()
        return taken

    @contextmanager
    def holding(self, rows: frozenset[str]) -> Iterator[None]:
        """Keep the locks of a call in this block."""
        self._held |= rows
        try:
            yield
        finally:
            self._held -= rows
