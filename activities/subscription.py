"""Reading the event bus: an activity without an end that turns events into durable workflows and keeps the cursor.

The bus keeps events for 72 hours and delivers them in order, from a position that the reader names (a replay id). It
keeps no position for us. What must never happen is that the position passes an event that is not stored; what may
happen is that an event is read twice, since starting an order is idempotent.

**The cursor moves over a closed prefix only.** Orders are started concurrently and may finish in any order, but event N
is counted only after every event before it is durably a workflow (`ClosedPrefix`). If a start fails, the attempt fails
and the cursor stays before that event.

**Where the cursor lives.** Each heartbeat carries it, so the next attempt resumes from the heartbeat details of a dead
reader. What was read but not counted is read again. After at most `subscriber.handover` the activity ends and returns
the cursor to its workflow, which stores it in its history (`workflows.subscription`).

**How often it is sent.** Each heartbeat is a billed action, so `CursorPace` sends a cursor that has moved soon, for a
crash makes the next reader read again what came since, and one that stands still only as a sign of life.

**When the position is lost**, the result names a gap, which a sweep covers:

- the bus refuses the replay id, because it is too old or because the bus was moved;
- nothing was read for longer than the bus keeps events, and there was no replay id that it could refuse;
- the org's delivery limit is reached, so that events are held back.

The gap begins at the last moment at which no event was missing (`Cursor.complete_until`). While there is no replay id,
`caught_up_at` is the only such moment; for a new subscription it is the beginning of the subscription.

A failure that no retry can help ends the activity, and carries the cursor to the workflow.

**Errors.** An interrupted connection that had worked is routine: it is retried at once, after a short random delay so
that not all readers of an org reconnect together. Any other error is retried at growing intervals, which the attempt
itself asks for: those of the workflow's retry policy are short, because they count when a reader was killed, however
many interruptions came before.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.failures import end_doubt, errors_as_failures
from activities.heartbeats import heartbeating
from activities.messages import MessageActivities
from closedwon.errors import BenignError
from closedwon.ids import OrgId
from closedwon.model.subscriptions import Cursor, Subscribe, Subscribed
from closedwon.model.sweeps import Gap, GapReason
from closedwon.salesforce.bus.events import (
    EARLIEST,
    Event,
    EventStream,
    ReplayIdRejectedError,
    StreamInterruptedError,
)
from closedwon.salesforce.errors import DeliveryLimitError
from closedwon.settings import Route, Settings, Subscriber

_MAXIMUM_INTERVAL: Final = timedelta(seconds=10)
_RETENTION: Final = timedelta(hours=72)
"""The bus keeps events for so long (Streaming API guide, "Message Durability")."""


class ClosedPrefix:
    """Which events are durable, in the order of the bus, whatever the order in which their starts finish."""

    def __init__(self, cursor: Cursor) -> None:
        """Continue from `cursor`."""
        self.cursor = cursor
        self._waiting: deque[tuple[Event, asyncio.Future[None]]] = deque()

    def add(self, event: Event, start: asyncio.Future[None]) -> None:
        """Count `event` once `start` and everything added before it has succeeded."""
        self._waiting.append((event, start))

    def advance(self) -> Cursor:
        """Move over what is durable and return the cursor. Raises the error of a start that failed."""
        while self._waiting and self._waiting[0][1].done():
            event, start = self._waiting[0]
            start.result()
            self._waiting.popleft()
            self._update(
                replay_id=event.replay_id or self.cursor.replay_id,
                event_time=event.created_at or self.cursor.event_time,
                count=self.cursor.count + 1,
            )
        return self.cursor

    @property
    def waiting_since(self) -> datetime | None:
        """When the first event that is not counted was published; None where there is none, or it does not say."""
        return self._waiting[0][0].created_at if self._waiting else None

    def has_reached(self, position: str | None) -> None:
        """Note a position behind everything that has come, if all of that is counted; otherwise it is ignored."""
        if position is not None and not self._waiting:
            self._update(replay_id=position)

    def is_caught_up(self, at: datetime) -> None:
        """Note that everything which had come at this moment is counted, if it is."""
        if not self._waiting:
            self._update(caught_up_at=at)

    def connects(self, at: datetime) -> None:
        """Note that an attempt to connect begins. A proof in the future, by another reader's clock, counts as of now.

        It would hide a silence until that time.
        """
        now = self.cursor
        self._update(
            proved_at=min(now.proved_at, at) if now.proved_at else None,
            connecting_since=min(now.connecting_since or at, at),
        )

    def is_connected(self, at: datetime) -> None:
        """Note that the bus has answered."""
        self._update(proved_at=at, connecting_since=None)

    def _update(self, **fields: Any) -> None:
        self.cursor = self.cursor.model_copy(update=fields)


@contextmanager
def growing_intervals(attempt: int) -> Iterator[None]:
    """Let a failure that asks for no delay of its own be retried later each time, up to `_MAXIMUM_INTERVAL`."""
    try:
        yield
    except ApplicationError as error:
        if error.non_retryable or error.next_retry_delay is not None:
            raise
        delay = min(timedelta(seconds=2 ** min(attempt - 1, 10)), _MAXIMUM_INTERVAL)
        raise ApplicationError(
            error.message, *error.details, type=error.type, next_retry_delay=delay, category=error.category
        ) from None


class CursorPace:
    """When a cursor is sent: at once if it has moved, otherwise when the last heartbeat is `idle_interval` old.

    `caught_up_at` and `proved_at` do not count as a move: they change with every empty answer of the bus, and an older
    one only makes a gap begin earlier. Whether the reader is connected does. The worker thins out the heartbeats of a
    cursor that keeps moving (`workers.subscriber`).
    """

    IDLE: Final = timedelta(seconds=20)
    """4,320 heartbeats a day."""
    MARGIN: Final = timedelta(seconds=7)
    """What a slow server or network may cost a heartbeat before another worker takes over from a live reader."""

    def __init__(self, heartbeat_timeout: timedelta, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing was sent yet."""
        self.idle_interval = min(self.IDLE, max(heartbeat_timeout - self.MARGIN, heartbeat_timeout / 3))
        self._clock = clock
        self._sent: tuple[str | None, int, bool] | None = None
        self._sent_at = 0.0

    def due_in(self, cursor: Cursor) -> float:
        """Return the seconds for which `cursor` need not be sent; 0 means that it is sent now, and is noted as sent."""
        position = (cursor.replay_id, cursor.count, cursor.connecting_since is None)
        wait = self._sent_at + self.idle_interval.total_seconds() - self._clock()
        if self._sent == position and wait > 0:
            return wait
        self._sent, self._sent_at = position, self._clock()
        return 0


class InterruptedWhileAliveError(BenignError):
    """A connection that had worked has ended: routine, for the bus drops clients every few hours."""

    def __init__(self, why: str) -> None:
        """Come back at once, but not all readers of an org in the same instant."""
        super().__init__(why, retry_after=timedelta(seconds=random.uniform(0.2, 1.5)))  # noqa: S311 - no secret


class SubscriptionActivities:
    """The event bus reader."""

    def __init__(
        self,
        settings: Settings,
        messages: MessageActivities,
        open_stream: Callable[[OrgId], EventStream],
        stopping: asyncio.Event,
    ) -> None:
        """Take a way to open a stream to an org (one stream is one connection), and what says that the worker stops.

        The SDK's own `wait_for_worker_shutdown` does not return in a worker's first activity if that begins while the
        worker is stopping already (seen with 1.35.0): it would read on until the shutdown grace is over.
        """
        self._stopping = stopping
        self._settings = settings
        self._messages = messages
        self._open_stream = open_stream

    @activity.defn
    async def subscribe(self, request: Subscribe) -> Subscribed:
        """Read the channel until it is time to hand the cursor over, the worker stops, or the position is lost.

        Any trouble fails the attempt; the next one opens a new connection and resumes from the cursor. Trouble after
        the connection had worked is routine and retried at once.
        """
        details = activity.info().heartbeat_details
        cursor = Cursor.model_validate(details[0]) if details else request.cursor
        prefix = ClosedPrefix(cursor)
        with growing_intervals(activity.info().attempt), _carrying(prefix):
            route = self._messages.route_of(request.org, request.channel)
            reading = _Reading(self._settings.subscriber, self._messages, route, request, prefix)
            return await reading.run(self._open_stream(request.org), self._stopping)


@contextmanager
def _carrying(prefix: ClosedPrefix) -> Iterator[None]:
    """Let the cursor travel with a failure that ends the activity: its heartbeats end with it."""
    try:
        with errors_as_failures():
            yield
    except ApplicationError as error:
        if not error.non_retryable:
            raise
        raise ApplicationError(
            error.message, *error.details, prefix.cursor, type=error.type, non_retryable=True
        ) from None


def _clock() -> Callable[[], datetime]:
    """Temporal's clock, counted on from when the attempt began.

    One of ours that is ahead would put the beginning of a gap into the future, and no sweep would look at what lies
    between.
    """
    began, counted = activity.info().started_time, time.monotonic()
    return lambda: began + timedelta(seconds=time.monotonic() - counted)


class _Reading:
    """One attempt of the activity: one connection, its outstanding starts, its cursor."""

    def __init__(
        self, pace: Subscriber, messages: MessageActivities, route: Route, request: Subscribe, prefix: ClosedPrefix
    ) -> None:
        self._pace = pace
        self._org = request.org
        self._channel = request.channel
        self._messages = messages
        self._route = route
        self._prefix = prefix
        self._now = _clock()
        self._slots = asyncio.Semaphore(pace.concurrent_starts)
        self._starts: set[asyncio.Task[None]] = set()
        self._alive = False
        self._lag = timedelta(0)

    async def run(self, stream: EventStream, stopping: asyncio.Event) -> Subscribed:
        lost = self._lost_by_time()
        if lost is not None:
            return lost
        self._prefix.connects(self._now())
        stop: set[asyncio.Task[Any]] = {
            asyncio.create_task(stopping.wait()),
            asyncio.create_task(asyncio.sleep(self._pace.handover.total_seconds())),
        }
        try:
            pace = CursorPace(activity.info().heartbeat_timeout or self._pace.heartbeat_timeout)
            async with heartbeating(self._progress, due_in=pace.due_in) as heartbeat:
                has_connected = await self._subscribed(stream, stop)
                if has_connected:
                    self._prefix.is_connected(self._now())
                    await self._read_until(stream, stop, heartbeat.task)
                return Subscribed(cursor=await self._complete(), has_connected=has_connected)
        except ReplayIdRejectedError as error:
            cursor = self._prefix.cursor
            if cursor.replay_id is None:
                raise  # the earliest event itself is refused: nothing was lost, and there is nothing to fall back to
            fresh = cursor.event_time is not None and self._now() - cursor.event_time < _RETENTION
            gap = self._gap(GapReason.BUS_MOVED if fresh else GapReason.REPLAY_ID_EXPIRED, str(error))
            return Subscribed(cursor=Cursor(count=cursor.count, caught_up_at=gap.until), gap=gap)
        except DeliveryLimitError as error:
            gap = self._gap(GapReason.DELIVERY_LIMIT, str(error))
            return Subscribed(cursor=self._prefix.cursor, gap=gap, rest=error.retry_after)
        except StreamInterruptedError as error:
            if not self._alive:
                raise
            raise InterruptedWhileAliveError(str(error)) from error
        finally:
            if self._alive:
                end_doubt()
            for task in (*stop, *self._starts):
                task.cancel()
            activity.heartbeat(
                self._sent(self._prefix.cursor)
            )  # travels with the attempt's end: the next one resumes right here
            await stream.close()
            # The gauge keeps its last value in this process; the next reader, perhaps elsewhere, reports its own.
            self._messages.metrics.cursor_lag.set(0, {"org": self._route.org, "channel": self._channel})

    async def _subscribed(self, stream: EventStream, stop: set[asyncio.Task[Any]]) -> bool:
        """Connect and subscribe; return False, at once, when a task of `stop` is done before.

        A process that is to end must not wait until a host that takes no connection has used up all time limits.
        """
        position = self._prefix.cursor.replay_id or EARLIEST
        subscribing = asyncio.create_task(stream.subscribe(self._channel, position))
        try:
            await asyncio.wait({subscribing, *stop}, return_when=asyncio.FIRST_COMPLETED)
            if not subscribing.done():
                return False
            subscribing.result()
            return True
        finally:
            subscribing.cancel()

    async def _read_until(
        self, stream: EventStream, stop: set[asyncio.Task[Any]], heartbeat: asyncio.Task[None]
    ) -> None:
        """Start workflows for what comes; return when a task of `stop` is done, raise when a start has failed."""
        batches = stream.batches()
        while True:
            batch = asyncio.ensure_future(anext(batches))
            try:
                await asyncio.wait({batch, heartbeat, *stop}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not batch.done():
                    batch.cancel()  # nothing is lost: what was not counted is read again
            if heartbeat.done():
                heartbeat.result()
            if any(task.done() for task in stop):
                return
            self._alive = True
            self._prefix.is_connected(self._now())
            if not batch.result().events:
                self._lag = timedelta(0)  # the bus has nothing new
                self._prefix.advance()
                self._prefix.has_reached(batch.result().position)
            for event in batch.result().events:
                await self._slots.acquire()
                if heartbeat.done():
                    heartbeat.result()  # the rest of a long batch would only fail as well, while nothing heartbeats
                start = asyncio.create_task(self._accept(event))
                self._starts.add(start)
                start.add_done_callback(self._finished)
                self._prefix.add(event, start)
            self._prefix.advance()
            self._prefix.is_caught_up(self._now())

    def _lost_by_time(self) -> Subscribed | None:
        """What is lost if nothing was read for longer than the bus keeps events.

        A reader with a replay id learns it from the bus, which refuses the id.
        """
        cursor, now = self._prefix.cursor, self._now()
        if cursor.replay_id is not None or cursor.caught_up_at is None or now - cursor.caught_up_at < _RETENTION:
            return None
        gap = self._gap(GapReason.RETENTION_PASSED, "nothing was read for longer than the event bus keeps events")
        # Nothing has connected: what is wrong since then, and was alerted, may still be.
        return Subscribed(cursor=cursor.model_copy(update={"caught_up_at": now}), gap=gap, has_connected=False)

    def _gap(self, reason: GapReason, note: str) -> Gap:
        self._messages.metrics.gaps.add(1, {"reason": reason})
        return Gap(
            since=self._prefix.cursor.complete_until,
            until=self._now(),
            reason=reason,
            route=self._route.name,
            note=note,
        )

    async def _accept(self, event: Event) -> None:
        await self._messages.accept(
            self._route,
            self._org,
            event.raw,
            event_id=event.uuid,
            source=self._channel,
            at=event.created_at or datetime.now(UTC),
        )
        if event.created_at is not None:
            self._lag = datetime.now(UTC) - event.created_at

    def _finished(self, start: asyncio.Task[None]) -> None:
        self._starts.discard(start)
        self._slots.release()

    def _progress(self) -> Cursor:
        """The cursor, as heartbeats send it. Raises the error of a start that has failed."""
        cursor = self._prefix.advance()
        self._record_lag()
        return self._sent(cursor)

    def _sent(self, cursor: Cursor) -> Cursor:
        return cursor.model_copy(update={"sent_at": self._now()})

    def _record_lag(self) -> None:
        """How long the first event that is not durable waits; else how late the last was, until the bus is empty."""
        now, waiting = datetime.now(UTC), self._prefix.waiting_since
        lag = self._lag if waiting is None else now - waiting
        self._messages.metrics.cursor_lag.set(lag.total_seconds(), {"org": self._route.org, "channel": self._channel})

    async def _complete(self) -> Cursor:
        """Wait for the outstanding starts."""
        if self._starts:
            await asyncio.wait(self._starts)
        return self._prefix.advance()
