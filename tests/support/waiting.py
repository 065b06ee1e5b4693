"""Waiting for a condition, with patience that comes from progress and not from a clock.

How long a step takes says nothing on a machine that does other work too. So a wait ends when its condition holds, and
fails when nothing has moved for `STALL` seconds. This does not measure speed: any single step takes far less, even
under a heavy load, so that only a hang reaches it. pytest's own timeout ends what hangs elsewhere.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Final

STALL: Final = 300.0
"""Seconds without any progress that count as a hang."""
_POLL: Final = 0.02


async def until(
    condition: Callable[[], object],
    *,
    progress: Callable[[], object] | None = None,
    what: str = "",
    stall: float = STALL,
    poll: float = _POLL,
) -> None:
    """Wait until a condition, which may be asynchronous, is true. Raises `TimeoutError` when nothing moves any more.

    A wait for many steps is given their `progress`, a value that changes with each of them, e.g. how many are done:
    as long as it has changed within `stall` seconds, the wait goes on. `what` names the condition in the error.
    """
    before = await _value(progress) if progress else None
    while True:
        patience = asyncio.timeout(stall)
        try:
            async with patience:
                while not await _value(condition):  # noqa: ASYNC110 - most of what is waited for sets no event
                    await asyncio.sleep(poll)
                return
        except TimeoutError:
            if not patience.expired():  # it is the condition's own error
                raise
        after = await _value(progress) if progress else None
        if after == before:
            raise TimeoutError(f"nothing has moved for {stall:g} s: {what or _place(condition)}, progress {after}")
        before = after


async def _value(function: Callable[[], object]) -> object:
    value = function()
    return await value if isinstance(value, Awaitable) else value


def _place(condition: Callable[[], object]) -> str:
    code = getattr(inspect.unwrap(condition), "__code__", None)
    return f"{code.co_name} ({code.co_filename}:{code.co_firstlineno})" if code else repr(condition)
