"""When the next batch of a coalescer may leave. Pure: the clock is a parameter, and nothing here waits.

**Batches are spaced, callers are not delayed.** A batch may leave as soon as the window that the batch before it has
opened is over. So the first caller of a quiet moment leaves at once, however long the window is, and only callers that
come within the window wait: for its end, in one batch.

**The window follows the flow.** It doubles after each batch that has company, up to `Pace.longest`: a batch of several
callers, or one that left less than `_NEAR` seconds after another. It stays after a lone caller, and after a batch that
was full before the window was over: that needs no longer one. From the third lone caller in a row on, it halves. After
a silence of three windows it is `Pace.first` again. With 40 callers a second it is 2.5 seconds after six batches; with
one caller a second it never matters.

**The pace** is asked for again for each decision, so that it may change at any time (`closedwon.salesforce.api.quota`).
Where it leaves no choice (`first` = `longest`) it is a timetable: full batches leave in between and do not move it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final, NamedTuple

_SEVERAL: Final = 3
"""Lone callers in a row, or windows without any caller, after which the flow counts as over."""

_NEAR: Final = 0.25
"""Seconds after which a lone caller still belongs to the flow of the caller before."""
_RESOLUTION: Final = 0.001
"""Seconds that no timer waits for exactly."""


class Pace(NamedTuple):
    """Bounds of the window, in seconds."""

    first: float
    """The shortest window: what a lone caller opens after a quiet moment."""
    longest: float


NORMAL: Final = Pace(first=0.1, longest=2.5)


class Window:
    """The window of one coalescer."""

    def __init__(self, pace: Callable[[], Pace] = lambda: NORMAL, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds and never runs backwards."""
        self._pace = pace
        self._clock = clock
        self._length = 0.0
        self._lone = 0
        self._left_at: float | None = None

    @property
    def length(self) -> float:
        """The time in seconds that lies between the last batch and the next one."""
        first, longest = self._pace()
        return min(max(self._length, first), longest)

    def delay(self) -> float:
        """Seconds until the next batch may leave; 0: it may leave now. At most `length`."""
        if self._left_at is None:
            return 0.0
        remaining = self.length - (self._clock() - self._left_at)
        return remaining if remaining > _RESOLUTION else 0.0

    def left(self, size: int) -> None:
        """A batch of `size` callers has left, at the end of the window or, because it was full, before."""
        now, length, pace = self._clock(), self.length, self._pace()
        since = math.inf if self._left_at is None else now - self._left_at
        is_early = self.delay() > 0
        if since >= max(_SEVERAL * length, _NEAR):
            self._lone, length = 0, pace.first
        if not (is_early and pace.first == pace.longest):
            self._left_at = now
        if size > 1 or since < _NEAR:
            self._lone, self._length = 0, length if is_early else 2 * length
            return
        self._lone += 1
        self._length = length / 2 if self._lone >= _SEVERAL else length
