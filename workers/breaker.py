"""The breaker of each ERP, in one worker process: look at the entry, decide by the rules, write.

The rules are in `closedwon.erp.breaker`. A look costs one small request per ERP, and no action of Temporal.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final

from temporalio.client import Client

from closedwon import names
from closedwon.erp.breaker import PROBE, Change, Entry, Pace, Phase, next_change
from closedwon.erp.contact import Contact
from closedwon.temporal.erp_limits import note_lifted, note_limit
from closedwon.temporal.queues import ACTIVITIES, queue_state, write_breaker_entry

_log = logging.getLogger(__name__)

_SHARED: Final = "the strictest of all ERPs"


class Breaker:
    """The part of one worker process in the breakers of all ERPs."""

    def __init__(
        self,
        client: Client,
        contacts: Mapping[str, Contact],
        pace: Pace = Pace(),  # noqa: B008 - immutable
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`contacts` by ERP, with the same `clock`."""
        self._client = client
        self._contacts = contacts
        self._pace = pace
        self._clock = clock
        self.every = timedelta(seconds=pace.look)
        """From one look to the next."""
        self._seen: dict[str, tuple[Entry, float]] = {}
        """By ERP: the entry, and when it was first seen."""

    async def look(self) -> None:
        """Look at all entries once, and change those that must be changed. Raises Temporal's `RPCError`."""
        limits = [await self._look(erp, contact) for erp, contact in self._contacts.items()]
        await self._limit_shared(min((limit for limit in limits if limit is not None), default=None))

    async def _look(self, erp: str, contact: Contact) -> float | None:
        """Return the limit that holds afterwards."""
        entry = await self._read(erp)
        before, seen_at = self._seen.get(erp, (None, 0.0))
        if entry != before:
            seen_at = self._clock()
            await self._show(erp, entry)
            self._seen[erp] = entry, seen_at  # last: what cannot be shown is shown at the next look
        now = self._clock()
        change = next_change(entry, now - seen_at, contact, now, self._pace)
        if change is None:
            return entry.limit
        await self._write(erp, change)
        return change.limit

    async def _read(self, erp: str | None) -> Entry:
        state = await queue_state(self._client, names.erp_queue(erp), ACTIVITIES)
        return state.breaker

    async def _write(self, erp: str, change: Change) -> None:
        _log.warning("breaker of ERP %s: %s (%s)", erp, change.text, _rate(change.limit))
        await write_breaker_entry(
            self._client, names.erp_queue(erp), change.limit, reason=change.text, by=self._client.identity
        )

    async def _show(self, erp: str, entry: Entry) -> None:
        """Open or end the note in Temporal's list; each worker does so for each entry, so that no death prevents it."""
        workflow_id = names.erp_breaker_workflow_id(erp)
        if entry.phase is Phase.PROBING:
            await note_limit(
                self._client, workflow_id, erp, entry.limit or 0, reason=entry.text, by=entry.by, by_breaker=True
            )
        elif entry.phase is not Phase.STEP:
            await note_lifted(self._client, workflow_id)

    async def _limit_shared(self, limit: float | None) -> None:
        """Let the queue of what concerns several ERPs keep to the strictest limit."""
        there = await self._read(None)
        is_same = there.limit is limit or (
            there.limit is not None and limit is not None and math.isclose(there.limit, limit, rel_tol=1e-6)
        )
        if not is_same:
            await write_breaker_entry(
                self._client, names.erp_queue(None), limit, reason=_SHARED, by=self._client.identity
            )


def _rate(limit: float | None) -> str:
    if limit is None:
        return "no limit"
    return "an attempt every ten seconds" if limit <= PROBE else f"at most {limit:g}/s"
