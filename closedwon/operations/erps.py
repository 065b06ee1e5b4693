"""The rate limit of each ERP's task queue (0 pauses it), its reason, and its backlog.

Temporal keeps the limit over all workers and restarts. Nothing fails while a queue is paused.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from temporalio.api.taskqueue.v1 import RateLimit
from temporalio.api.workflowservice.v1 import UpdateTaskQueueConfigRequest
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode

from closedwon import names
from closedwon.model.erp import ErpLimit
from closedwon.temporal.queues import ACTIVITIES, queue_state

_EFFECT_SECONDS: Final = 60
"""Maximum time until Temporal shows a change that it has accepted; normally some milliseconds."""
_ASK_AGAIN_SECONDS: Final = 0.05


class Queue(NamedTuple):
    """The present state of a queue of ERP activities."""

    erp: str | None
    """None: the queue of what concerns several ERPs."""
    limit: float | None
    """Orders a second, over all workers; 0 when paused, None without a limit."""
    reason: str
    by: str
    since: datetime | None
    backlog: int
    """Activities that wait to be taken up; those that back off after a failure are not among them."""
    oldest: timedelta
    """How long the first of them has waited."""
    workers: int
    """Processes that have polled within the last minute."""

    @property
    def is_paused(self) -> bool:
        """Whether nothing at all is let through."""
        return self.limit == 0

    @property
    def status(self) -> str:
        """The limit as text."""
        if self.limit is None:
            return "open"
        return "paused" if self.is_paused else f"at most {self.limit:g}/s"


async def queue_of(client: Client, erp: str | None) -> Queue:
    """Ask Temporal about the queue of one ERP."""
    state = await queue_state(client, names.erp_queue(erp), ACTIVITIES)
    limit = state.limit
    return Queue(
        erp=erp,
        limit=limit.per_second if limit else None,
        reason=limit.reason if limit else "",
        by=limit.by if limit else "",
        since=limit.since if limit else None,
        backlog=state.backlog,
        oldest=state.oldest,
        workers=len(state.recent),
    )


async def queues(client: Client, erps: Sequence[str]) -> list[Queue]:
    """The queues of these ERPs, and the one that they share."""
    return [await queue_of(client, erp) for erp in (*erps, None)]


async def limit(
    client: Client, erp: str, orders_per_second: float | None, *, erps: Sequence[str], reason: str, by: str
) -> None:
    """Let so many orders a second through to one of the `erps`: 0 pauses it, None takes the limit away.

    What concerns several ERPs keeps to the strictest limit that any of them has.
    """
    await _update(client, erp, orders_per_second, reason, by)
    await _note(client, erp, orders_per_second, reason, by)
    limited = [queue for queue in [await queue_of(client, name) for name in erps] if queue.limit is not None]
    strictest = min(limited, key=lambda queue: queue.limit or 0, default=None)
    if strictest is None:
        await _update(client, None, None, reason, by)
    else:
        await _update(client, None, strictest.limit, f"{strictest.erp}: {strictest.reason}", strictest.by)


async def _update(client: Client, erp: str | None, limit: float | None, reason: str, by: str) -> None:
    """Change the limit of a queue, and wait until Temporal shows the change: its answer comes before the effect."""
    await _send(client, erp, limit, reason, by)
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


async def _send(client: Client, erp: str | None, limit: float | None, reason: str, by: str) -> None:
    change = UpdateTaskQueueConfigRequest.RateLimitUpdate(reason=reason)
    if limit is not None:
        change.rate_limit.CopyFrom(RateLimit(requests_per_second=limit))
    await client.workflow_service.update_task_queue_config(
        UpdateTaskQueueConfigRequest(
            namespace=client.namespace,
            identity=by,
            task_queue=names.erp_queue(erp),
            task_queue_type=ACTIVITIES,
            update_queue_rate_limit=change,
        )
    )


async def _note(client: Client, erp: str, limit: float | None, reason: str, by: str) -> None:
    """Show the limit in Temporal's list of workflows; the UI does not show limits of queues."""
    workflow_id = names.erp_limit_workflow_id(erp)
    if limit is None:
        try:
            await client.get_workflow_handle(workflow_id).signal(names.SIGNAL_LIFTED)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
        return
    note = ErpLimit(erp=erp, orders_per_second=limit, reason=reason, by=by)
    await client.start_workflow(
        names.ERP_LIMIT_WORKFLOW,
        note,
        id=workflow_id,
        task_queue=names.ORDERS_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.TERMINATE_EXISTING,  # a summary cannot be changed
        static_summary=f"{note.text}: {reason} ({by})" if reason else f"{note.text} ({by})",
    )
