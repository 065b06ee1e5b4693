"""Coalescing: many callers share one request.

A caller submits one item and waits for its own result. When a request can be sent, it carries all items that wait at
that moment. This module knows nothing about Salesforce.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from contextvars import ContextVar
from typing import Any, Final, Generic, TypeVar
from weakref import WeakKeyDictionary

SENT: Final[ContextVar[Callable[[], None] | None]] = ContextVar("SENT", default=None)
"""Called when the request with the caller's item is sent, if the caller has set it."""
WINDOW: Final = 0.02
"""Seconds that the first caller of a batch waits for others to join."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Coalescer(Generic[Item, Result]):
    """Sends items in batches of at most `limit`, at most `parallel` batches at the same time.

    `send` gets the items and returns, in the same order, a result or an error for each; an error that it raises goes
    to every caller of the batch. Two items of the same `key` never share a batch: the later one waits for the next.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]],
        *,
        limit: int,
        parallel: int,
        key: Callable[[Item], Hashable] | None = None,
    ) -> None:
        """With `parallel=1`, items of the same key keep their order."""
        self._send = send
        self._limit = limit
        self._slots = asyncio.Semaphore(parallel)
        self._key = key
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._on_sent: WeakKeyDictionary[asyncio.Future[Result], Callable[[], None]] = WeakKeyDictionary()
        self._tasks: set[asyncio.Task[None]] = set()
        self._pump: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Result:
        """Wait for this item's result. An item whose caller is cancelled before the batch is sent is not sent."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if (on_sent := SENT.get()) is not None:
            self._on_sent[future] = on_sent
        if self._pump is None:
            self._pump = self._spawn(self._run())
        return await future

    async def close(self) -> None:
        """Cancel every caller that still waits."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for _, future in self._waiting:
            future.cancel()

    async def _run(self) -> None:
        try:
            while self._waiting:
                if len(self._waiting) < self._limit:
                    await asyncio.sleep(WINDOW)
                await self._slots.acquire()
                self._spawn(self._deliver(self._take()))
        finally:
            self._pump = None

    def _take(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        rest: list[tuple[Item, asyncio.Future[Result]]] = []
        keys: set[Hashable] = set()
        for item, future in self._waiting:
            if future.done():
                continue
            key = self._key(item) if self._key else future
            if len(batch) < self._limit and key not in keys:
                batch.append((item, future))
            else:
                rest.append((item, future))
            keys.add(key)
        self._waiting = rest
        return batch

    async def _deliver(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        results: Sequence[Result | Exception] = []
        for _, future in batch:
            if (on_sent := self._on_sent.pop(future, None)) is not None:
                on_sent()
        try:
            if batch:
                results = await self._send([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - whatever the error is, no caller may wait indefinitely
            results = [own(error) for _ in batch]
        finally:
            self._slots.release()
            # Cancelled, or too few results: no caller waits indefinitely.
            for _, future in batch[len(results) :]:
                future.cancel()
        for (_, future), result in zip(batch, results, strict=False):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def own(error: Exception) -> Exception:
    """Copy an error. Each caller raises its own copy; a shared one would collect the tracebacks of all callers."""
    copy = type(error).__new__(type(error), *error.args)
    copy.__dict__.update(error.__dict__)
    copy.__cause__ = error
    return copy
