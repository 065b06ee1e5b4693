"""The periodic look of a process at Temporal: what must be there, and what the metrics show.

One loop per process makes its looks one after the other. A look that fails is logged once and made again the next
time; the process continues.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta

from closedwon.errors import ClosedwonError

_log = logging.getLogger(__name__)

Look = Callable[[], Awaitable[None]]


@asynccontextmanager
async def looking(looks: Mapping[str, Look], every: timedelta) -> AsyncIterator[None]:
    """Look now and after each pause of `every` during a block. The keys complete the sentence "cannot …" in the log."""
    going_on = asyncio.create_task(_go_on(looks, every))
    try:
        yield
    finally:
        going_on.cancel()
        await asyncio.wait({going_on})


async def _go_on(looks: Mapping[str, Look], every: timedelta) -> None:
    failing: set[str] = set()
    while True:
        for purpose, look in looks.items():
            try:
                await look()
            except Exception as error:  # noqa: BLE001 - whatever it is: no look is worth a worker
                if purpose not in failing:
                    why = str(error) if isinstance(error, ClosedwonError) else type(error).__name__
                    _log.warning("cannot %s: %s", purpose, why)
                failing.add(purpose)
            else:
                failing.discard(purpose)
        await asyncio.sleep(every.total_seconds())
