"""Tasks of asyncio."""

from __future__ import annotations

import asyncio


def is_cancelled() -> bool:
    """Whether the running task was asked to end, though the call that it waited for has raised another error.

    The Temporal SDK raises `RPCError` where its call is cancelled, and `asyncio.wait_for` of Python 3.11 may return.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
