"""Tasks of asyncio."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager


class StoppedError(Exception):
    """A signal asked the program to end, and it has ended its work."""

    def __init__(self, number: int) -> None:
        """Take the number of the signal."""
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """At Ctrl-C, SIGTERM or a closed terminal, cancel the task, so that it stops everything in order.

    Raises `StoppedError` with the first signal when the block is over, also if a call has kept the cancellation to
    itself. `asyncio.run` cannot say which signal it was: it takes a task that was also cancelled otherwise, as a group
    of tasks does in Python 3.11, for one that no Ctrl-C has ended.
    """
    task, loop, came = asyncio.current_task(), asyncio.get_running_loop(), list[int]()
    assert task is not None

    def stop(number: int) -> None:
        came.append(number)
        task.cancel()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, stop, number)
    try:
        yield
    except asyncio.CancelledError:
        if not came:
            raise
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
    if came:
        raise StoppedError(came[0]) from None


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
