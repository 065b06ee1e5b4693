"""The first attempt of a step as a local activity, and when it gives up.

A worker runs a local activity within a task of its workflow, so a step that succeeds at once costs Temporal nothing but
its result. Until it ends, however, it cannot be seen, and commands and notifications wait for it. So it makes one
attempt and ends soon: with a result, or with an error. Then `workflows.activity_runner` schedules the regular activity,
which Temporal shows as pending and retries for as long as the route allows.

How long it may take: `_AFTER_SENT` from when its call has left the process (`closedwon.salesforce.api.coalesce`), and
`_CALL` in all, since calls wait for others to share a request. Temporal's own limit, `LONGEST`, is for a worker that is
too busy to keep these. The SDK would send a heartbeat for the workflow's task after 8 seconds.

A call that is stopped may have been sent, and still take effect. It makes no difference: reads have no effect, and the
regular activity writes the same values again (`SalesforceActivities.write_back`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final, TypeVar

from temporalio import activity

from closedwon.errors import BenignError
from closedwon.salesforce.api.coalesce import SENT

LONGEST: Final = timedelta(seconds=6)
"""From its scheduling to its end, waiting for a free slot included."""
_CALL: Final = 5.0
"""Seconds that one call may take, its waiting for others included."""
_AFTER_SENT: Final = 1.0
"""Seconds that a call may take once it is sent."""
_REST: Final = 10.0
"""Seconds without local activities after one that took too long: a system that hangs must not hold every task."""

_Result = TypeVar("_Result")


class NotAtOnceError(BenignError):
    """It does not succeed at once: the regular activity goes on."""


def is_local() -> bool:
    """Whether this is a local activity."""
    return activity.in_activity() and activity.info().is_local


async def at_once(call: Awaitable[_Result], *, longest: float = _CALL, after_sent: float = _AFTER_SENT) -> _Result:
    """Wait for a call of a local activity as long as it may take. Raises `NotAtOnceError`; the call is cancelled.

    A call that still waits for others to share a request is then not sent; one that was sent goes on unobserved.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + longest
    try:
        async with asyncio.timeout_at(until) as limit:

            def sent() -> None:
                limit.reschedule(min(until, loop.time() + after_sent))

            token = SENT.set(sent)
            try:
                return await call
            finally:
                SENT.reset(token)
    except TimeoutError:
        raise NotAtOnceError("The call takes longer than an attempt within a workflow task may") from None


class Promptness:
    """Which systems answer promptly; of one process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Believe so of all. `clock` returns seconds."""
        self._clock = clock
        self._slow_until: dict[Hashable, float] = {}

    @contextmanager
    def expected(self, system: Hashable) -> Iterator[None]:
        """Run a local activity, unless the system was slow a moment ago. Raises `NotAtOnceError`.

        Regular activities are let through, and prove nothing: they may take long because others share their request.
        """
        if not is_local():
            yield
            return
        if self._clock() < self._slow_until.get(system, 0.0):
            raise NotAtOnceError("The system did not answer promptly a moment ago")
        try:
            yield
        except NotAtOnceError:
            self._slow_until[system] = self._clock() + _REST
            raise
