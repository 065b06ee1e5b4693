"""An event loop whose time jumps to the next timer: minutes pass at once, and the same happens in every run.

Only for code without sockets and threads: the loop never waits for anything but its own timers.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")


def run(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Run `work` on a loop of its own, from the time 0 on."""
    loop = _Loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds


class _Selector(selectors.SelectSelector):
    def __init__(self, loop: _Loop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Let the time pass that a real selector would wait."""
        assert timeout is not None, "nothing is left that could happen"
        self._loop.advance(max(timeout, 0.0))
        return super().select(0)
