"""How long an error that may be permanent is retried before a person is asked: a quarter of an hour for each activity.

The time counts from the first such error that this process has seen of the activity; another process counts from its
own first one. A restart begins again. So a person is asked some minutes later at worst, and never for a doubt of a
moment, however long the activity has waited for something else before.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from datetime import timedelta
from typing import Final

PATIENCE: Final = timedelta(minutes=15)
_SHORTEST: Final = timedelta(seconds=1)
_LONGEST: Final = timedelta(minutes=2)
"""Between two attempts; the pause grows with the time that has passed."""
_MOST: Final = 10_000
"""Activities that are remembered; the oldest are forgotten."""


class Doubts:
    """When each activity first failed for a reason that may be permanent."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds and never runs backwards."""
        self._clock = clock
        self._since: OrderedDict[Hashable, float] = OrderedDict()

    def pause(self, activity: Hashable) -> timedelta | None:
        """Return the time until the next attempt of an activity that is in doubt; None if its patience is over."""
        now = self._clock()
        since = self._since.setdefault(activity, now)
        if len(self._since) > _MOST:
            self._since.popitem(last=False)
        passed = timedelta(seconds=now - since)
        if passed >= PATIENCE:
            del self._since[activity]
            return None
        return min(max(passed, _SHORTEST), _LONGEST, PATIENCE - passed)

    def end(self, activity: Hashable) -> None:
        """The activity has succeeded, or failed for good."""
        self._since.pop(activity, None)
