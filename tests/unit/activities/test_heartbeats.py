"""One helper sends all heartbeats; what it sends, when it ends, and what a cancellation does to a call."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity
from temporalio.testing import ActivityEnvironment

from activities.heartbeats import heartbeating, run_to_completion


class _Beats:
    """Counts heartbeats, and lets a test wait for the n-th."""

    def __init__(self) -> None:
        self.details: list[tuple[Any, ...]] = []
        self._arrived = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, *details: Any) -> None:
        self.details.append(details)
        self._tasks.add(asyncio.ensure_future(self._notify()))

    async def _notify(self) -> None:
        async with self._arrived:
            self._arrived.notify_all()

    async def until(self, number: int) -> None:
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.details) >= number)


def environment(beats: _Beats, *, before: tuple[Any, ...] = ()) -> ActivityEnvironment:
    """An activity with a short heartbeat timeout; `before`: the details that the last attempt has left."""
    env = ActivityEnvironment()
    env.info = replace(env.info, heartbeat_timeout=timedelta(milliseconds=30), heartbeat_details=before)
    env.on_heartbeat = beats
    return env


async def test_the_details_of_the_last_attempt_are_sent_until_newer_ones_are_set() -> None:
    """An attempt that dies before its first progress must not lose that of the attempt before."""
    beats = _Beats()

    @activity.defn
    async def work() -> None:
        async with heartbeating() as heartbeat:
            await beats.until(1)
            heartbeat("newer")
            await beats.until(3)

    await environment(beats, before=("older",)).run(work)
    assert [("older",), ("newer",), ("newer",)] == beats.details[:3]


async def test_progress_is_asked_for_before_each_heartbeat() -> None:
    """The subscription sends the newest cursor each time."""
    beats, count = _Beats(), iter(range(1, 100))

    @activity.defn
    async def work() -> None:
        async with heartbeating(lambda: next(count)):
            await beats.until(3)

    await environment(beats).run(work)
    assert [(1,), (2,), (3,)] == beats.details[:3]


async def test_an_error_of_progress_is_the_result_of_the_task() -> None:
    """A failed start of an order must end the reading."""
    beats = _Beats()

    def fail() -> None:
        message = "not durable"
        raise ValueError(message)

    @activity.defn
    async def work() -> None:
        async with heartbeating(fail) as heartbeat:
            await heartbeat.task

    with pytest.raises(ValueError, match="not durable"):
        await environment(beats).run(work)
    assert [] == beats.details


async def test_heartbeats_end_with_the_block() -> None:
    """No heartbeat may follow the details that an activity sends last."""
    beats = _Beats()

    @activity.defn
    async def work() -> asyncio.Task[None]:
        async with heartbeating() as heartbeat:
            await beats.until(1)
        return heartbeat.task

    task = await environment(beats).run(work)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_quick_call_sends_no_heartbeat() -> None:
    """It would cost a round trip."""
    beats = _Beats()

    async def call() -> str:
        return "done"

    @activity.defn
    async def work() -> str:
        return await run_to_completion(call())

    assert "done" == await environment(beats).run(work)
    assert [] == beats.details


async def test_a_call_outlives_the_cancellation_of_its_activity() -> None:
    """The workflow waits for what really happened in the ERP."""
    beats, go_on = _Beats(), asyncio.Event()
    env = environment(beats)

    async def call() -> str:
        await beats.until(1)
        env.cancel()
        await go_on.wait()
        return "done"

    @activity.defn
    async def work() -> str:
        return await run_to_completion(call())

    running = asyncio.ensure_future(env.run(work))
    await beats.until(3)
    assert not running.done()
    go_on.set()
    assert "done" == await running
    assert all(() == details for details in beats.details)
