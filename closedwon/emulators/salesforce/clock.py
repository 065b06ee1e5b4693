"""The org's clock: wall time plus an offset that a test can change, and Salesforce's formats of times.

Retention of events, idle sessions, token expiry and record stamps use this clock. Network time-outs (a held poll) use
real time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class Clock:
    """Milliseconds since 1970, movable forward and back."""

    def __init__(self, offset_ms: int = 0, on_move: Callable[[int], None] | None = None) -> None:
        """Start `offset_ms` ahead of the wall clock; `on_move` gets the new offset after each change."""
        self._offset_ms = offset_ms
        self._on_move = on_move

    def now_ms(self) -> int:
        """The org's current time, in milliseconds since 1970."""
        return time.time_ns() // 1_000_000 + self._offset_ms

    def advance(self, by: timedelta) -> None:
        """Advance the clock by `by`. Raises `ValueError` or `ArithmeticError` beyond the end of the calendar."""
        moved = self._offset_ms + by // timedelta(milliseconds=1)
        rest_time(time.time_ns() // 1_000_000 + moved)  # fails if the new time cannot be formatted
        self._offset_ms = moved
        if self._on_move is not None:
            self._on_move(self._offset_ms)

    @property
    def offset(self) -> timedelta:
        """How far the org is ahead of the wall clock."""
        return timedelta(milliseconds=self._offset_ms)


def rest_time(milliseconds: int) -> str:
    """A date and time in the format of REST: `2026-01-02T03:04:05.000+0000`."""
    return _iso(milliseconds) + "+0000"


def event_time(milliseconds: int) -> str:
    """A date and time in the format of events: `2026-01-02T03:04:05.000Z`."""
    return _iso(milliseconds) + "Z"


def _iso(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}"
