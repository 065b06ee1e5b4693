"""The breaker of an ERP: when its queue is limited to a few probes, and how it opens again. Rules only, no I/O.

While no worker can connect to an ERP, every waiting order would fail attempt after attempt. The breaker then lets one
attempt through every ten seconds, and the others wait in the ERP's task queue, where they cost nothing.

There is no process that decides. All workers read and write one *entry* in Temporal's configuration of the queue: a
limit and a sentence. Each worker looks at it every few seconds and changes it only by what it has seen itself:

    open        a worker that cannot connect for a while     -> suspected
    suspected   another worker reaches the ERP               -> denied
                none has denied it in time, and it still fails -> probing
    denied      after a rest                                  as open
    probing     a worker reaches the ERP                     -> the first step
    a step      a worker reaches the ERP, the step is over   -> the next step, at last open
                only failures, and no worker goes on          -> probing

**One worker with a cut network does not limit the others.** It can only suspect; a worker that reaches the ERP denies
it. In a step it can go back only after a time in which any worker that reaches the ERP would have gone on.

**Races and deaths.** There is no compare-and-set: of two writes, the last one counts. Every write says what its worker
has seen since it first saw the entry before. Evidence goes on, so a lost write is made again, and a wrong one is
corrected by the next success. A worker keeps nothing but its evidence, so its death, or that of Temporal, ends nothing.
Times are measured by each worker's own clock from when it first saw an entry: clocks are never compared.

**Operators.** Their limits are another setting of the queue (`closedwon.temporal.queues`), which the breaker never
touches. The stricter one of both holds.
"""

from __future__ import annotations

import math
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

from closedwon.erp.contact import Contact

PROBE: Final = 0.1
"""Attempts a second while no worker can connect."""
STEPS: Final = (1.0, 5.0, 25.0)
"""Attempts a second, one after the other, before the limit is taken away."""


class Pace(NamedTuple):
    """The times of the breaker, in seconds. Tests have shorter ones."""

    fails_for: float = 30
    """Only failures for so long, before a worker suspects the ERP."""
    failures: int = 10
    """At least so many of them."""
    recently: float = 60
    """A worker whose last failure is older knows nothing of the present."""
    objection: float = 15
    """How long the others have to deny it: some looks."""
    rest: float = 60
    """After a denial."""
    step: float = 10
    """The shortest time of a step."""
    look: float = 4
    """Between two looks of a worker."""


class Phase(StrEnum):
    """What an entry says."""

    OPEN = "open"
    SUSPECTED = "suspected"
    DENIED = "denied"
    PROBING = "probing"
    STEP = "reopening"


class Entry(NamedTuple):
    """What the workers have written about one ERP. Equal entries are the same one."""

    limit: float | None = None
    """Attempts a second; None: not limited."""
    text: str = ""
    """For people. Its first word distinguishes the phases without a limit."""
    by: str = ""
    """The process that wrote it."""
    since: datetime | None = None
    """When, by Temporal's clock."""

    @property
    def status(self) -> str:
        """The limit as text; empty if there is none."""
        if self.limit is None:
            return ""
        return "not reached" if self.phase is Phase.PROBING else f"reopening, at most {self.limit:g}/s"

    @property
    def phase(self) -> Phase:
        """By limit and text."""
        if self.limit is not None:
            return Phase.PROBING if self.limit <= PROBE or math.isclose(self.limit, PROBE, rel_tol=1e-6) else Phase.STEP
        first = self.text.partition(":")[0]
        return Phase(first) if first in (Phase.SUSPECTED, Phase.DENIED) else Phase.OPEN


class Change(NamedTuple):
    """What a worker writes next."""

    limit: float | None
    text: str


def next_change(entry: Entry, seen_for: float, contact: Contact, now: float, pace: Pace) -> Change | None:
    """Return what this worker writes, after it has seen `entry` for `seen_for` seconds; None: nothing."""
    fails = _fails(contact, now, pace)
    seen_at = now - seen_for
    reached = contact.reached_at is not None and contact.reached_at > seen_at and not contact.failures
    match entry.phase:
        case Phase.OPEN | Phase.DENIED if fails and (entry.phase is Phase.OPEN or seen_for >= pace.rest):
            return _suspicion()
        case Phase.SUSPECTED if reached:
            return Change(None, f"{Phase.DENIED}: another worker reaches the ERP")
        case Phase.SUSPECTED if fails:
            is_old = contact.failing_since > seen_at  # the others are asked again
            is_agreed = seen_for >= pace.objection
            return _suspicion() if is_old else Change(PROBE, "no worker can connect to the ERP") if is_agreed else None
        case Phase.PROBING | Phase.STEP if reached and (entry.phase is Phase.PROBING or seen_for >= pace.step):
            return _next_step(entry.limit or 0)
        case Phase.STEP if _fails_only(contact, seen_at) and seen_for >= 2 * pace.step + pace.objection:
            return Change(PROBE, "no worker can connect to the ERP again")
    return None


def _fails(contact: Contact, now: float, pace: Pace) -> bool:
    """Whether this worker has found no connection for a while."""
    return (
        contact.failures >= pace.failures
        and now - contact.failing_since >= pace.fails_for
        and now - contact.failed_at <= pace.recently
    )


def _fails_only(contact: Contact, since: float) -> bool:
    return contact.failures > 0 and contact.failed_at > since and (contact.reached_at or 0) <= since


def _suspicion() -> Change:
    return Change(None, f"{Phase.SUSPECTED}: a worker cannot connect to the ERP; the others are asked")


def _next_step(limit: float) -> Change:
    higher = [step for step in STEPS if step > limit * 1.01]
    if not higher:
        return Change(None, "the ERP is reached again")
    return Change(higher[0], "the ERP is reached again; its queue opens in steps")
