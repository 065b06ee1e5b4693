"""A task ends when it is cancelled, whatever its calls do with the cancellation, and says which signal did it."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress

import pytest

from closedwon.tasks import StoppedError, pause, stopping_on_signals


async def test_a_loop_ends_though_a_call_has_swallowed_its_cancellation() -> None:
    """The next pause raises the error that the call kept to itself."""
    waiting = asyncio.Event()

    async def loop() -> None:
        while True:
            waiting.set()
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                waiting.clear()
            await pause(3600)

    task = asyncio.create_task(loop())
    await waiting.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_ends_the_work_and_is_named(number: signal.Signals) -> None:
    """Also where a group of tasks fails at the same time: Python 3.11 then counts one more cancellation."""
    is_over = False

    async def fails_at_its_end() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise LookupError

    async def work() -> None:
        nonlocal is_over
        with stopping_on_signals():
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(fails_at_its_end())
                    await asyncio.sleep(0)
                    os.kill(os.getpid(), number)
                    await asyncio.Event().wait()
            except ExceptionGroup:
                await pause(0)
            finally:
                is_over = True

    with pytest.raises(StoppedError) as stopped:
        await work()
    assert (number, True) == (stopped.value.number, is_over)


async def test_a_signal_that_a_call_has_swallowed_is_not_lost() -> None:
    """The work ended as if nothing had happened; the program must not say so."""

    async def work() -> None:
        with stopping_on_signals(), suppress(asyncio.CancelledError):
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()

    with pytest.raises(StoppedError):
        await work()


async def test_a_cancellation_without_a_signal_stays_one() -> None:
    """The caller that cancels the task waits for that error."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    with pytest.raises(asyncio.CancelledError), stopping_on_signals():
        await asyncio.Event().wait()
