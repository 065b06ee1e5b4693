"""The task queues of an installation, and which processes serve them.

**Who lives.** Temporal lists a poller for five minutes after its last poll, so a listed one may be dead. A process that
lives polls at least once a minute for workflow tasks; but while all its slots for calls of a slow ERP are taken, it
does not poll that ERP's queue. So a process serves a queue if it is listed there and has polled *any* of our queues
lately.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from temporalio.client import Client

from closedwon import names
from closedwon.erp.breaker import Entry
from closedwon.settings import Settings
from closedwon.temporal.queues import ACTIVITIES, WORKFLOWS, Kind, QueueState, queue_state

KINDS: Final = {WORKFLOWS: "workflow", ACTIVITIES: "activity"}


class Queue(NamedTuple):
    """The present state of a queue of ERP activities."""

    erp: str | None
    """None: the queue of what concerns several ERPs."""
    limit: float | None
    """Orders a second, over all workers; 0 when paused, None without a limit."""
    reason: str
    by: str
    since: datetime | None
    backlog: int
    """Activities that wait to be taken up; those that back off after a failure are not among them."""
    oldest: timedelta
    """How long the first of them has waited."""
    workers: int
    """Processes that live and serve it."""
    breaker: Entry = Entry()
    """What the workers say about the ERP, with the limit that they have set while none of them could connect."""

    @property
    def is_paused(self) -> bool:
        """Whether nothing at all is let through."""
        return self.limit == 0

    @property
    def is_limited(self) -> bool:
        """Whether anything limits it."""
        return self.limit is not None or self.breaker.limit is not None

    @property
    def status(self) -> str:
        """The limits as text."""
        return ", ".join(text for text in (self.limit_text, self.breaker.status) if text) or "open"

    @property
    def limit_text(self) -> str:
        """The limit that an operator has set, as text; empty if there is none."""
        if self.limit is None:
            return ""
        return "paused" if self.is_paused else f"at most {self.limit:g}/s"

    @property
    def breaker_reason(self) -> str:
        """Why the workers limit it; empty if they do not."""
        return "" if self.breaker.limit is None else self.breaker.text

    @property
    def why(self) -> str:
        """Why it is limited, by whom and since when; empty if it is not."""
        parts = [self.reason, self.by, f"{self.since:%m-%d %H:%M} UTC"] if self.since else []
        if self.breaker.limit is not None and self.breaker.since is not None:
            parts += [self.breaker_reason, f"{self.breaker.since:%m-%d %H:%M} UTC"]
        return "  ".join(part for part in parts if part)


class Served(NamedTuple):
    """A task queue with the processes that live and serve it."""

    state: QueueState
    workers: frozenset[str]
    """Their identities."""

    @property
    def labels(self) -> dict[str, str]:
        """Of metrics."""
        return {"queue": self.state.name, "kind": KINDS[self.state.kind]}

    def of_erp(self, erp: str | None) -> Queue:
        """The same, as a queue of this ERP."""
        state, limit = self.state, self.state.limit
        return Queue(
            erp=erp,
            limit=limit.per_second if limit else None,
            reason=limit.reason if limit else "",
            by=limit.by if limit else "",
            since=limit.since if limit else None,
            backlog=state.backlog,
            oldest=state.oldest,
            workers=len(self.workers),
            breaker=state.breaker,
        )


QueueMap = Mapping[tuple[str, Kind], Served]
"""By name and kind, in the order in which an operator looks at them."""


async def queues(client: Client, settings: Settings) -> QueueMap:
    """Describe all queues that the settings ask for. Raises Temporal's `RPCError`."""
    wanted = [*_wanted(settings)]
    states = await asyncio.gather(*(queue_state(client, name, kind) for name, kind in wanted))
    alive = frozenset[str]().union(*(state.recent for state in states))
    return {(state.name, state.kind): Served(state, state.pollers & alive) for state in states}


def erp_queues(found: QueueMap, settings: Settings) -> list[Queue]:
    """The queue of each ERP, and the one that they share."""
    erps = (*(erp.name for erp in settings.erps), None)
    return [found[names.erp_queue(erp), ACTIVITIES].of_erp(erp) for erp in erps]


def _wanted(settings: Settings) -> Iterator[tuple[str, Kind]]:
    yield names.ORDERS_QUEUE, WORKFLOWS
    yield names.ORDERS_QUEUE, ACTIVITIES
    for erp in (*(erp.name for erp in settings.erps), None):
        yield names.erp_queue(erp), ACTIVITIES
    if any(route.events for route in settings.routes):
        yield names.SUBSCRIBER_QUEUE, WORKFLOWS
        yield names.SUBSCRIBER_QUEUE, ACTIVITIES
