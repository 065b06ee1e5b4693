"""Tasks of asyncio."""

from __future__ import annotations

import asyncio


def is_cancelled() -> bool:
    """Whether the running task was asked to end, though the call that it waited for has raised another error.

    The Temporal SDK raises `RPCError` where its call is cancelled, and `asyncio.wait_for` of Python 3.11 may return.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def pause(seconds: float) -> None:
    """Sleep, in a loop that a swallowed cancellation must not keep going.

    Raises `asyncio.CancelledError` also where an earlier call of the loop has kept that error to itself.
    """
    await asyncio.sleep(0 if is_cancelled() else seconds)
    if is_cancelled():
        raise asyncio.CancelledError
