"""How long a trouble has lasted without a break: what may pass by itself is tried again for a while, and no longer.

A trouble is anything with a name: a call that an ERP refuses, a route that a worker does not know. Only one process
remembers it, and a restart begins again; that a person is asked a little later does no harm.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from datetime import timedelta
from typing import Final

WHILE: Final = timedelta(minutes=15)
"""For how long what may pass by itself is tried again before a person is asked."""
_BREAK: Final = 20 * 60.0
"""Seconds after which the next occurrence is a new trouble: while it lasts, it is met again sooner."""


class Streaks:
    """The troubles of one process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Know of none. `clock` yields seconds."""
        self._clock = clock
        self._seen: dict[Hashable, tuple[float, float]] = {}
        """When each began, and when it was last met; the longest not met comes first."""

    def left(self, trouble: Hashable, longest: timedelta = WHILE) -> timedelta:
        """Note that it is met; return for how long it is still tried again, 0 if it has lasted for `longest`."""
        now = self._clock()
        while self._seen and now - next(iter(self._seen.values()))[1] > _BREAK:
            del self._seen[next(iter(self._seen))]
        began, _ = self._seen.pop(trouble, (now, now))
        self._seen[trouble] = began, now
        return max(timedelta(0), longest - timedelta(seconds=now - began))

    def end(self, trouble: Hashable) -> None:
        """Note that it is over."""
        self._seen.pop(trouble, None)
