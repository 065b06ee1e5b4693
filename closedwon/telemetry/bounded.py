"""Log entries that a sender can cause: a few of each kind in a minute, and then how many more there were."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

_SPAN: Final = 60.0
"""Seconds that are counted together."""
_MOST: Final = 20
"""Entries of one kind in a span."""


class BoundedLog:
    """A logger of entries whose number others decide. Kinds must come from a fixed list, not from a request."""

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds."""
        self._log = log
        self._clock = clock
        self._counts: dict[str, tuple[float, int]] = {}
        """By kind: when the span began, and the entries since."""

    def warning(self, kind: str, text: str, *args: object) -> None:
        """Log an entry, or count it."""
        if self.admits(kind):
            self._log.warning(text, *args)

    def admits(self, kind: str) -> bool:
        """Count an entry and return whether it is to be logged."""
        now = self._clock()
        began, count = self._counts.get(kind, (now, 0))
        if now - began >= _SPAN:
            self.summarize(kind)
            began, count = now, 0
        if not count:
            with suppress(RuntimeError):  # no event loop: the next entry says it
                asyncio.get_running_loop().call_later(_SPAN, self.summarize, kind)
        self._counts[kind] = (began, count + 1)
        return count < _MOST

    def summarize(self, kind: str) -> None:
        """Say how many entries were left out since the last summary. The end of each span calls it."""
        began, count = self._counts.pop(kind, (0.0, 0))
        if count > _MOST:
            seconds = max(self._clock() - began, 1)
            self._log.warning("%d more of the kind %r were left out within %.0f s", count - _MOST, kind, seconds)
