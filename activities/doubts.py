"""How long an error that may be permanent is retried before a person is asked: a quarter of an hour for each activity.

The time counts from the first such error that this process has seen of the activity; another process counts from its
own first one. A restart begins again, and so does a doubt that comes after a break (`closedwon.streaks`). So a person
is asked some minutes later at worst, and never for a doubt of a moment, however long the activity has waited for
something else before, and whichever process has ended an earlier doubt.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from datetime import timedelta
from typing import Final

from closedwon.streaks import WHILE, Streaks

_SHORTEST: Final = timedelta(seconds=1)
_LONGEST: Final = timedelta(minutes=2)
"""Between two attempts; the pause grows with the time that has passed."""


class Doubts:
    """For how long each activity has failed for a reason that may be permanent."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds and never runs backwards."""
        self._streaks = Streaks(clock)

    def pause(self, activity: Hashable) -> timedelta | None:
        """Return the time until the next attempt of an activity that is in doubt; None if its patience is over."""
        left = self._streaks.left(activity)
        if not left:
            self._streaks.end(activity)
            return None
        return min(max(WHILE - left, _SHORTEST), _LONGEST, left)

    def end(self, activity: Hashable) -> None:
        """The activity has succeeded, or failed for good."""
        self._streaks.end(activity)
