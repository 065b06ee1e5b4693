"""Coalescing: many callers share one request.

A caller submits one item and waits for its own result. A request leaves when it is full or when its window is over
(`closedwon.salesforce.api.window`), and carries all items that wait at that moment. This module knows nothing about
Salesforce.

**What is in flight.** Some items must not be sent while certain others are in flight. Their `Keys` say which, and an
`InFlight`, which several coalescers may share, knows the keys of all unanswered requests. An item that must wait for
one of them stays behind; the other items leave without it. So a slow request holds only what is related to it.

**A batch's failure is not an item's.** An error that `splits` names may come of what the items of a batch are together,
or of another one of them. So their callers get no answer yet: the items are sent again, at once, in batches of a
quarter of the size, until each is answered or has failed alone. If at least half of a batch fails so, later batches are
as small from the start, and grow again with each one that succeeds: an org whose automation fails above 50 records
costs a few calls, not a few for each batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, Final, Generic, NamedTuple, TypeVar

from closedwon.salesforce.api.window import NORMAL, Window

SENT: Final[ContextVar[Callable[[], None] | None]] = ContextVar("SENT", default=None)
"""Called when the request with the caller's item is sent, if the caller has set it."""

_PARTS: Final = 4
"""Into how many a batch is split: with 4, a batch whose items all fail alone costs 4/3 calls an item; with 2, 2."""

_MOST_BY_ONE: Final = 6
"""Batches that one item makes fail one after the other, from 200 items to itself alone, and one more."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Keys(NamedTuple):
    """What an item has in common with others."""

    own: Hashable
    """Items with the same one are sent one after the other, each in a request of its own, in their order."""
    shared: Hashable
    """Items with the same one may share a request, but are never in two requests at the same time."""


class InFlight:
    """The keys of all requests that are not answered yet."""

    def __init__(self) -> None:
        """Nothing is in flight."""
        self._keys: set[Hashable] = set()
        self.listeners: list[Callable[[], None]] = []
        """Called when keys become free."""

    def is_free(self, keys: Keys) -> bool:
        """Whether an item with these keys may be sent."""
        return self._keys.isdisjoint(keys)

    def add(self, keys: Iterable[Keys]) -> None:
        """A request with items of these keys leaves."""
        self._keys.update(*keys)

    def remove(self, keys: Iterable[Keys]) -> None:
        """The request has ended. No other one has these keys, because they were not free."""
        self._keys.difference_update(*keys)
        for listener in self.listeners:
            listener()


class _Caller(NamedTuple, Generic[Item, Result]):
    item: Item
    keys: Keys | None
    future: asyncio.Future[Result]
    on_sent: Callable[[], None] | None
    limit: int | None = None
    """The most items of a request with this one, after a larger request has failed."""


class Coalescer(Generic[Item, Result]):
    """Sends items in batches of at most `limit`, at most `parallel` batches at the same time.

    `send` gets the items and returns, in the same order, a result or an error for each; an error that it raises goes
    to every caller of the batch. `keys` says what an item has in common with others, also with those of other
    coalescers with the same `in_flight`. `splits` names the errors of a batch that need not be those of its items.
    Those that `outages` names, too, are not split while more batches fail in a row than a single item can make fail.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]],
        *,
        limit: int,
        parallel: int,
        window: Window,
        keys: Callable[[Item], Keys] | None = None,
        in_flight: InFlight | None = None,
        splits: tuple[type[Exception], ...] = (),
        outages: tuple[type[Exception], ...] = (),
    ) -> None:
        """Send nothing yet."""
        self._send = send
        self._most = self._limit = limit
        self._splits = splits
        self._outages = outages
        self._failed_in_a_row = 0
        """Batches without any result since the last one that had one."""
        self._slots = asyncio.Semaphore(parallel)
        self._keys = keys
        self._in_flight = in_flight or InFlight()
        self._in_flight.listeners.append(self._note_free_keys)
        self.window = window
        self._waiting: dict[asyncio.Future[Result], _Caller[Item, Result]] = {}
        self._held_back = 0
        """How many of those that wait had to stay behind when the last batch was taken."""
        self._unanswered: set[asyncio.Future[Result]] = set()
        self._stirred = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._pump: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Result:
        """Wait for this item's result. An item whose caller is cancelled before the batch is sent is not sent."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting[future] = _Caller(item, self._keys(item) if self._keys else None, future, SENT.get())
        self._unanswered.add(future)
        if self._pump is None:
            self._pump = self._spawn(self._run())
        self._stirred.set()
        try:
            return await future
        finally:
            self._unanswered.discard(future)
            if self._waiting.pop(future, None):
                self._stirred.set()  # perhaps none is left to wait for

    async def close(self) -> None:
        """Cancel every caller that still waits."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for future in tuple(self._unanswered):
            future.cancel()

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._until_due()
                await self._slots.acquire()
                if batch := self._take():
                    self.window.left(len(batch))
                    self._spawn(self._deliver(batch))
                    continue
                self._slots.release()
                if self._waiting:  # all of them for requests in flight
                    await self._until_stirred()
        finally:
            self._pump = None

    async def _until_due(self) -> None:
        """Wait until the window is over, or the batch is full; what is sent again waits only if the org lacks calls."""
        while len(self._waiting) - self._held_back < self._limit and (delay := self.window.delay()) > 0:
            if self.window.length <= NORMAL.longest and any(caller.limit for caller in self._waiting.values()):
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._until_stirred()

    async def _until_stirred(self) -> None:
        """Wait until a caller comes or goes, or a request has ended."""
        self._stirred.clear()
        await self._stirred.wait()

    def _note_free_keys(self) -> None:
        self._held_back = 0
        self._stirred.set()

    def _take(self) -> list[_Caller[Item, Result]]:
        """Take what may be sent now, in order; what must stay behind lets later items pass, except those like it."""
        batch: list[_Caller[Item, Result]] = []
        seen: set[Hashable] = set()
        self._held_back, room = 0, self._limit
        for caller in self._waiting.values():
            if len(batch) >= room:
                break
            if caller.future.done() or len(batch) >= (caller.limit or room):  # cancelled, or not with these
                continue
            if caller.keys is not None:
                may_leave = caller.keys.own not in seen and self._in_flight.is_free(caller.keys)
                seen.add(caller.keys.own)
                if not may_leave:
                    self._held_back += 1
                    continue
            batch.append(caller)
            room = min(room, caller.limit or room)
        for caller in batch:
            del self._waiting[caller.future]
        self._in_flight.add(caller.keys for caller in batch if caller.keys)
        return batch

    async def _deliver(self, batch: list[_Caller[Item, Result]]) -> None:
        results: Sequence[Result | Exception] = []
        for caller in batch:
            if caller.on_sent is not None:
                caller.on_sent()
        try:
            results = await self._send([caller.item for caller in batch])
        except Exception as error:  # noqa: BLE001 - whatever the error is, no caller may wait indefinitely
            results = [own(error) for _ in batch]
        finally:
            self._slots.release()
            self._in_flight.remove(caller.keys for caller in batch if caller.keys)
            # Cancelled, or too few results: no caller waits indefinitely.
            for caller in batch[len(results) :]:
                caller.future.cancel()
        again = self._to_split(batch, results)
        for caller, result in zip(batch, results, strict=False):
            if caller.future.done() or caller.future in again:
                continue
            if isinstance(result, Exception):
                caller.future.set_exception(result)
            else:
                caller.future.set_result(result)

    def _to_split(
        self, batch: list[_Caller[Item, Result]], results: Sequence[Result | Exception]
    ) -> dict[asyncio.Future[Result], _Caller[Item, Result]]:
        """Put what must be sent again in smaller batches before what waits; return it."""
        size = len(batch)
        smaller = -(-size // _PARTS)
        errors = [result for result in results if isinstance(result, self._splits)]
        self._failed_in_a_row = self._failed_in_a_row + 1 if len(errors) == size else 0
        kinds = self._splits
        may_be_outage = any(isinstance(error, self._outages) for error in errors)
        if may_be_outage and self._failed_in_a_row > _MOST_BY_ONE:
            kinds = ()
        failed = [caller for caller, result in zip(batch, results, strict=False) if isinstance(result, kinds)]
        if 2 * len(failed) >= size > 1 and not may_be_outage:
            self._limit = smaller
        elif not errors and size >= self._limit:
            self._limit = min(self._limit + max(1, self._limit // _PARTS), self._most)
        if size == 1:
            return {}
        again = {caller.future: caller._replace(limit=smaller) for caller in failed if not caller.future.done()}
        if again:
            self._waiting = again | self._waiting
            self._stirred.set()
            if self._pump is None:
                self._pump = self._spawn(self._run())
        return again

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
