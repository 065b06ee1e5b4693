"""Whether what Temporal is reached with has changed: certificate, key, authorities, API key, address.

The SDK reads them once. After a rotation, the next reconnection of a process would fail, perhaps days later, and all
after it. So a process looks at the files, and when they have changed it ends its work gracefully and starts it again
with what they hold now. If that does not connect, the process ends, and its manager starts it again.
"""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import timedelta
from typing import Final

from closedwon.temporal.target import Target, TemporalUnavailableError, read_target

_log = logging.getLogger(__name__)

_EVERY: Final = timedelta(seconds=30)


class TargetWatch:
    """What one process has connected with."""

    def __init__(self, every: timedelta | None = None) -> None:
        """`every`: the time between two looks at the files."""
        self._every = (every or _EVERY).total_seconds()
        self._target: Target = {}

    def note(self) -> None:
        """Remember what is there now. Call it before connecting. Raises `TemporalUnavailableError`."""
        self._target = read_target()

    async def until_changed(self) -> None:
        """Wait until there is something else that is complete, and then a little, so that not all processes pause."""
        is_reported = False
        while True:
            await asyncio.sleep(self._every)
            try:
                if read_target() != self._target:
                    break
            except TemporalUnavailableError as error:  # e.g. the certificate is new, and its key is not there yet
                if not is_reported:
                    _log.warning("%s. Until that is corrected, this process goes on with what it has read", error)
                is_reported = True
        await asyncio.sleep(self._every * random.random())  # noqa: S311 - no secret
        _log.warning("what Temporal is reached with has changed: connecting again")
