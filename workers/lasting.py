"""A worker that outlives the absence of its namespace.

The SDK ends a worker for good when Temporal has refused its polls for a minute. One refusal passes by itself: the
namespace does not exist yet. After Temporal's database was replaced, an operator makes the namespace by hand, perhaps
hours later, and a process that had ended meanwhile would have to be started by hand, too. So the worker begins again
when the namespace is there. Any other refusal, e.g. of a revoked credential, ends it as the SDK does.

A worker that is to end while its namespace is missing may never end, because its other polls are still asking
(SDK 1.35.0). So its end is put off until the namespace is there, and only after it the next one begins: two workers
would share the tasks of one queue. A worker that even then does not end (seen once in three runs beside a load) ends
the process, and its supervisor starts another one.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Final, Self

from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import Worker

from closedwon.temporal.client import namespace_id

_log = logging.getLogger(__name__)

_PAUSE: Final = 5.0
"""Seconds between two looks whether the namespace is there."""
_ENDING: Final = 60.0
"""Seconds that a worker that was refused has to end when its namespace is there; it takes less than one."""
_LEAVING: Final = timedelta(seconds=5)
"""How much longer than its grace a worker may take to end: without its namespace it would never do so."""
_PASSES: Final = ("NotFound", "Unavailable", "DeadlineExceeded", "Cancelled")
"""Codes, as the SDK quotes them, of a namespace that does not exist and of a server that is starting."""


class NamespaceWait:
    """What the workers of a process share: whether they are to end, and the wait for their namespace.

    It is the `on_fatal_error` of each worker, which the SDK calls and awaits before it begins to end the worker.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self.ending = asyncio.Event()
        self.back_at: float | None = None
        """When the namespace was there again, after a worker was refused; by the clock of the event loop."""

    async def __call__(self, error: BaseException) -> None:
        """Put off the end of a worker that was refused until its namespace is there, or the process is to end."""
        if _passes(error):
            await self.until_there()
            self.back_at = asyncio.get_running_loop().time()

    async def until_there(self) -> None:
        """Wait for the namespace; return at once when the process is to end."""
        while not self.ending.is_set() and not await self._has_namespace():
            with suppress(TimeoutError):
                await asyncio.wait_for(self.ending.wait(), _PAUSE)

    async def _has_namespace(self) -> bool:
        try:
            await namespace_id(self._client)
        except RPCError:
            return False
        return True


class LastingWorker:
    """Runs a worker during a block, as the worker itself would: what ends it for good cancels the block's task."""

    def __init__(self, worker: Worker, wait: NamespaceWait) -> None:
        """`wait` is the worker's `on_fatal_error`, too."""
        self._worker = worker
        self._wait = wait
        self._owner: asyncio.Task[object] | None = None
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin."""
        self._owner = asyncio.current_task()
        self._running = asyncio.create_task(self._run())
        self._running.add_done_callback(self._ended)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End gracefully; raise what had ended the worker."""
        await self.shutdown()
        assert self._running is not None
        if not self._running.cancelled() and kind is asyncio.CancelledError:
            self._running.result()

    async def shutdown(self) -> None:
        """End gracefully, and return when running activities have ended. Safe to repeat."""
        assert self._running is not None
        self._wait.ending.set()
        ending = asyncio.create_task(self._worker.shutdown())
        grace: timedelta = self._worker.config()["graceful_shutdown_timeout"]
        await asyncio.wait({self._running}, timeout=(grace + _LEAVING).total_seconds())
        for task in (ending, self._running):
            task.cancel()
        await asyncio.wait({ending, self._running})

    async def _run(self) -> None:
        while True:
            try:
                await self._run_once()
            except RuntimeError as error:  # what the SDK raises
                if self._wait.ending.is_set() or not _passes(error):
                    raise
            await self._wait.until_there()
            if self._wait.ending.is_set():
                return
            _log.warning("the worker of task queue %s begins again: its namespace is there", self._worker.task_queue)
            self._worker = Worker(**self._worker.config())

    async def _run_once(self) -> None:
        """Run the worker to its end. Raises what the SDK raises, or `RuntimeError` if it does not end."""
        loop = asyncio.get_running_loop()
        began, running = loop.time(), asyncio.create_task(self._worker.run())
        try:
            while not running.done():
                await asyncio.wait({running}, timeout=_PAUSE)
                back_at = self._wait.back_at
                if not running.done() and back_at is not None and began < back_at < loop.time() - _ENDING:
                    raise RuntimeError(f"The worker of task queue {self._worker.task_queue} does not end")
            await running
        finally:
            running.cancel()
            running.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # logged by the SDK

    def _ended(self, running: asyncio.Task[None]) -> None:
        if self._owner is None or running.cancelled() or self._wait.ending.is_set():
            return
        if running.exception() is not None:
            self._owner.cancel()


def _passes(error: BaseException) -> bool:
    said = f"{error} {error.__cause__}"
    return any(code in said for code in _PASSES)
