"""One attempt of an activity that writes to an ERP: may it still write, and which of its writes are in doubt?

Temporal runs an activity in attempts. Two of them can overlap, and each may have sent a write whose answer is unknown.
This module makes both visible to the code that writes.

**May it still write.** If no heartbeat arrives for `HEARTBEAT_TIMEOUT`, Temporal gives the activity to another worker.
The worker that lost it may not know that (a broken connection, a paused machine) and continues. `activity.heartbeat()`
does not help: it is sent in the background and its answer is not visible. So an attempt asks Temporal itself before a
write and waits for the answer, unless it got one within half of that time; the other half is left for the write's own
way to the ERP. The age of an answer is the larger of two: by the monotonic clock, and by the wall clock, because the
former stops while a machine is suspended.

This leaves one case: the write has left already when the machine pauses, and arrives late. No client can prevent that;
the in-doubt time and, where the ERP has them, versions cover it (`closedwon.erp.fencing`).

**Which writes are in doubt.** A write without a definite answer may take effect later, after another write that it then
undoes. Temporal forgets what an attempt knew if its worker dies, so an attempt that fails records (in its heartbeat
details) a positive statement only: "attempt k has ended, and this is in doubt". The next attempt believes it if it is
about the attempt directly before. Everything else (no statement, an older one) counts as doubt, from the moment when
the attempt before was abandoned.

Temporal's *Reset* of an activity begins again with number 1. Then any attempt may have been the one directly before,
and no statement is believed. A first attempt that was scheduled later than its activity is one after a reset.

Such a moment is stated by Temporal's clock, with which it is compared later, perhaps by another worker: the time when
the attempt was given out, and what has passed since. By the clock of a machine that is minutes behind, the in-doubt
time would be over before it has begun.

Example: attempt 1 records "ended, nothing in doubt"; attempt 2 dies without a statement. Attempt 3 finds the statement
of attempt 1, which is not directly before it, and so treats attempt 2 as in doubt.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from pydantic import ValidationError
from temporalio import activity
from temporalio.client import AsyncActivityCancelledError
from temporalio.service import RPCError

from activities.heartbeats import HEARTBEAT_TIMEOUT
from closedwon.erp.errors import LostAttemptError
from closedwon.model.erp_calls import EndedAttempt

_TAKEN_UP_WITHIN: Final = timedelta(minutes=1)
"""How long a busy worker may take to begin an attempt that was given to it: a doubt must not begin before the write was
abandoned. Our clock is not believed beyond that."""
_PROOF_LASTS: Final = HEARTBEAT_TIMEOUT / 2
"""The other half is left for the write's own way to the ERP."""

Prove = Callable[[], Awaitable[None]]
"""Raises `LostAttemptError` unless Temporal says, now, that it counts on the present attempt."""


class _Moment(NamedTuple):
    monotonic: float
    wall: datetime

    @classmethod
    def now(cls) -> _Moment:
        return cls(time.monotonic(), datetime.now(UTC))

    def age(self) -> timedelta:
        now = _Moment.now()
        return max(timedelta(seconds=now.monotonic - self.monotonic), now.wall - self.wall)


async def ask_temporal() -> None:
    """Send a heartbeat and wait for its answer. Raises `LostAttemptError` for any other answer than a good one."""
    handle = activity.client().get_async_activity_handle(task_token=activity.info().task_token)
    try:
        await handle.heartbeat(rpc_timeout=_PROOF_LASTS)
    except AsyncActivityCancelledError:
        return  # asked to stop, but still ours: a call that has begun is brought to its end
    except RPCError as error:
        raise LostAttemptError(
            f"Temporal did not confirm that attempt {activity.info().attempt} still counts ({error.status.name}); "
            "nothing was written"
        ) from None


class Attempt:
    """The `WriteGuard` of the present attempt; made when the attempt begins, inside the activity."""

    def __init__(self, prove: Prove = ask_temporal) -> None:
        """`prove` is for tests that run an activity without Temporal."""
        info = activity.info()
        self._prove = prove
        self._given_at, self._began = info.started_time, _Moment.now()
        self._proven = _Moment(time.monotonic(), info.started_time)
        self._looked: _Moment | None = None
        self.in_doubt_since = _earlier_doubt(info)
        """When the newest attempt in doubt was abandoned: one that may have sent something, and has no definite answer.
        None: no attempt is in doubt."""

    async def before_write(self) -> None:
        """Raise `LostAttemptError` unless this attempt is still the one that Temporal counts on."""
        if self._proven.age() > _PROOF_LASTS:
            asked = _Moment.now()
            await self._prove()
            self._proven = asked

    def looked(self) -> None:
        """A look at the ERP begins."""
        self._looked = _Moment.now()

    def needs_new_look(self) -> bool:
        """Whether the newest look is older than the heartbeat timeout."""
        return self._looked is not None and self._looked.age() > HEARTBEAT_TIMEOUT

    def unanswered(self) -> None:
        """Record that a write was abandoned without a definite answer."""
        counted, now = self._given_at + self._began.age(), datetime.now(UTC)
        self.in_doubt_since = now if timedelta(0) <= now - counted <= _TAKEN_UP_WITHIN else counted

    def record_end(self) -> None:
        """State that this attempt has failed and writes no more; the next one reads it."""
        ended = EndedAttempt(attempt=activity.info().attempt, ended=True, in_doubt_since=self.in_doubt_since)
        activity.heartbeat(ended.model_dump(mode="json"))


def _earlier_doubt(info: activity.Info) -> datetime | None:
    if info.attempt == 1 and info.current_attempt_scheduled_time <= info.scheduled_time:
        return None
    with suppress(ValidationError, IndexError):
        ended = EndedAttempt.model_validate(info.heartbeat_details[0])
        if ended.ended and ended.attempt == info.attempt - 1:
            return ended.in_doubt_since
    return info.current_attempt_scheduled_time
