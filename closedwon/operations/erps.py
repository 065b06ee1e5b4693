"""The rate limit of each ERP's task queue (0 pauses it), its reason, and its backlog.

Temporal keeps the limit over all workers and restarts. Nothing fails while a queue is paused.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from temporalio.client import Client

from closedwon import names
from closedwon.facts.queues import Queue, Served
from closedwon.temporal.erp_limits import note_lifted, note_limit
from closedwon.temporal.queues import ACTIVITIES, limit_queue, queue_state, write_breaker_entry

_EFFECT_SECONDS: Final = 60
"""Maximum time until Temporal shows a change that it has accepted; normally some milliseconds."""
_ASK_AGAIN_SECONDS: Final = 0.05


async def queue_of(client: Client, erp: str | None) -> Queue:
    """Ask Temporal about the queue of one ERP."""
    state = await queue_state(client, names.erp_queue(erp), ACTIVITIES)
    return Served(state, state.recent).of_erp(erp)


async def limit(
    client: Client, erp: str, orders_per_second: float | None, *, erps: Sequence[str], reason: str, by: str
) -> None:
    """Let so many orders a second through to one of the `erps`: 0 pauses it, None takes the limit away.

    What concerns several ERPs keeps to the strictest limit that any of them has.
    """
    await _update(client, erp, orders_per_second, reason, by)
    note = names.erp_limit_workflow_id(erp)
    if orders_per_second is None:
        await note_lifted(client, note)
    else:
        await note_limit(client, note, erp, orders_per_second, reason=reason, by=by)
    limited = [queue for queue in [await queue_of(client, name) for name in erps] if queue.limit is not None]
    strictest = min(limited, key=lambda queue: queue.limit or 0, default=None)
    if strictest is None:
        await _update(client, None, None, reason, by)
    else:
        await _update(client, None, strictest.limit, f"{strictest.erp}: {strictest.reason}", strictest.by)


async def open_breaker(client: Client, erp: str, *, by: str) -> None:
    """Take away what the workers limit an ERP to; they limit it again if they still cannot connect.

    The queue of what concerns several ERPs follows within seconds.
    """
    if (await queue_of(client, erp)).breaker.limit is None:
        return
    await write_breaker_entry(client, names.erp_queue(erp), None, reason="resumed by an operator", by=by)
    with suppress(TimeoutError):
        async with asyncio.timeout(_EFFECT_SECONDS):
            while (await queue_of(client, erp)).breaker.by != by:  # noqa: ASYNC110 - there is no event
                await asyncio.sleep(_ASK_AGAIN_SECONDS)
    await note_lifted(client, names.erp_breaker_workflow_id(erp))


async def _update(client: Client, erp: str | None, limit: float | None, reason: str, by: str) -> None:
    """Change the limit of a queue, and wait until Temporal shows the change: its answer comes before the effect."""
    await limit_queue(client, names.erp_queue(erp), limit, reason=reason, by=by)
    with suppress(TimeoutError):  # it is accepted, whenever it is shown
        async with asyncio.timeout(_EFFECT_SECONDS):
            while not _shows(await queue_of(client, erp), limit, reason, by):  # noqa: ASYNC110 - there is no event
                await asyncio.sleep(_ASK_AGAIN_SECONDS)


def _shows(queue: Queue, limit: float | None, reason: str, by: str) -> bool:
    """Whether a queue shows this limit; the same limit may have been set before, by others and for another reason."""
    return _is_same(queue.limit, limit) and (limit is None or (queue.reason, queue.by) == (reason, by))


def _is_same(shown: float | None, wanted: float | None) -> bool:
    """Temporal keeps a limit in single precision."""
    if shown is None or wanted is None:
        return shown is wanted
    return math.isclose(shown, wanted, rel_tol=1e-6)
