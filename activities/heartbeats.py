"""Heartbeats: how a long activity shows that it is alive and how far it has come, and how a call outlives a cancel.

A heartbeat lets the server notice a killed worker in seconds instead of at the activity's own timeout, and keeps the
activity's progress (its details) for the next attempt. It also delivers cancellations.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final, TypeVar

from temporalio import activity

from activities.at_once import at_once, is_local

HEARTBEAT_TIMEOUT: Final = timedelta(seconds=10)
"""Silence after which the server gives a dead worker's activity to another one."""
_INTERVAL: Final = 3.0
"""Seconds, and less where the heartbeat timeout is short; the SDK thins them out to 0.8 of that timeout."""

_Result = TypeVar("_Result")


class Heartbeat:
    """The heartbeats of one attempt. `task` sends them; it ends only with the error of `progress`."""

    def __init__(
        self, progress: Callable[[], object] | None, *, is_immediate: bool, due_in: Callable[[Any], float]
    ) -> None:
        """As `heartbeating`."""
        before = activity.info().heartbeat_details if progress is None else ()
        self.details: object = before[0] if before else None
        self._progress = progress
        self._due_in = due_in
        self.task = asyncio.create_task(self._send(is_immediate=is_immediate))

    def __call__(self, details: object) -> None:
        """Set the details, and send them at once."""
        self.details = details
        activity.heartbeat(details)

    async def _send(self, *, is_immediate: bool) -> None:
        timeout = activity.info().heartbeat_timeout if activity.in_activity() else None
        interval = min(_INTERVAL, timeout.total_seconds() / 3) if timeout else _INTERVAL
        if not is_immediate:
            await asyncio.sleep(interval)
        while True:
            if self._progress is not None:
                self.details = self._progress()
            wait = self._due_in(self.details)
            if wait <= 0:
                activity.heartbeat(*([] if self.details is None else [self.details]))
                wait = interval
            await asyncio.sleep(min(wait, interval))


def _now(_details: Any) -> float:
    return 0


@asynccontextmanager
async def heartbeating(
    progress: Callable[[], object] | None = None,
    *,
    is_immediate: bool = True,
    due_in: Callable[[Any], float] = _now,
) -> AsyncIterator[Heartbeat]:
    """Send heartbeats while the block runs, with the details that `progress` returns.

    Without `progress`, the block sets the details by a call of the heartbeat; until then they are those that the
    attempt before has left. An error of `progress` ends the heartbeats and becomes the result of `Heartbeat.task`,
    which the block must watch if `progress` can fail.

    Each heartbeat is a billed action. `due_in` returns the seconds for which the details need not be sent yet, 0 to
    send them now; it is asked again after that time, but no later than at the usual interval.
    """
    heartbeat = Heartbeat(progress, is_immediate=is_immediate, due_in=due_in)
    try:
        yield heartbeat
    finally:
        heartbeat.task.cancel()


async def run_to_completion(call: Coroutine[Any, Any, _Result]) -> _Result:
    """Run `call` with heartbeats, and to its end even if a cancellation arrives meanwhile.

    A call that has left for the ERP or for Salesforce must not be torn off half-way: its true outcome is what the
    workflow waits for (`WAIT_CANCELLATION_COMPLETED`). Only a worker whose shutdown grace is over gives up, and a local
    activity (`activities.at_once`), which has no heartbeats. The first heartbeat comes after one interval, so a quick
    call costs no extra round trip.
    """
    if is_local():
        return await _to_its_end(asyncio.ensure_future(at_once(call)))
    async with heartbeating(lambda: None, is_immediate=False):
        return await _to_its_end(asyncio.ensure_future(call))


async def _to_its_end(task: asyncio.Future[_Result]) -> _Result:
    try:
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:
                details = activity.cancellation_details()
                if details is None or details.worker_shutdown:
                    raise
        return task.result()
    finally:
        if not task.done():
            task.cancel()
