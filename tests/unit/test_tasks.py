"""A loop ends when it is cancelled, whatever its calls do with the cancellation."""

from __future__ import annotations

import asyncio

import pytest

from closedwon.tasks import pause


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
