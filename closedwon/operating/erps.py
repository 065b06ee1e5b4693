"""Each ERP's share of the work: the limit on its task queue (0 pauses it), why it was set, and what waits behind it.

The limit is kept by Temporal, over all workers and beyond their restarts. Nothing fails while a queue is paused.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import RateLimit, TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    DescribeTaskQueueResponse,
    UpdateTaskQueueConfigRequest,
)
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode

from closedwon import names
from closedwon.model import ErpLimit

_EFFECT_SECONDS: Final = 10
"""Longest wait until Temporal shows a change that it has accepted; normally some milliseconds."""
_ASK_AGAIN_SECONDS: Final = 0.05
_ACTIVITIES = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY


class Queue(NamedTuple):
    """A queue of ERP activities as it stands."""

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
    """Processes that have asked for work lately."""

    @property
    def is_paused(self) -> bool:
        """Whether nothing at all is let through."""
        return self.limit == 0

    @property
    def stands(self) -> str:
        """In words."""
        if self.limit is None:
            return "open"
        return "paused" if self.is_paused else f"at most {self.limit:g}/s"


async def queue_of(client: Client, erp: str | None) -> Queue:
    """Ask Temporal about one queue."""
    answer = await _describe(client, erp)
    limited = answer.config.queue_rate_limit
    is_limited = answer.config.HasField("queue_rate_limit") and limited.HasField("rate_limit")
    newest = datetime.now(UTC) - timedelta(minutes=1)
    asking = {one.identity for one in answer.pollers if one.last_access_time.ToDatetime(UTC) > newest}
    return Queue(
        erp=erp,
        limit=limited.rate_limit.requests_per_second if is_limited else None,
        reason=limited.metadata.reason if is_limited else "",
        by=limited.metadata.update_identity if is_limited else "",
        since=limited.metadata.update_time.ToDatetime(UTC) if is_limited else None,
        backlog=answer.stats.approximate_backlog_count,
        oldest=answer.stats.approximate_backlog_age.ToTimedelta(),
        workers=len(asking),
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
            while not _is_same((await queue_of(client, erp)).limit, limit):  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(_ASK_AGAIN_SECONDS)


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
            task_queue_type=_ACTIVITIES,
            update_queue_rate_limit=change,
        )
    )


async def _note(client: Client, erp: str, limit: float | None, reason: str, by: str) -> None:
    """Let Temporal's list of workflows tell of the limit; the UI does not show that of a queue."""
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


async def _describe(client: Client, erp: str | None) -> DescribeTaskQueueResponse:
    return await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=names.erp_queue(erp)),
            task_queue_type=_ACTIVITIES,
            report_stats=True,
            report_config=True,
        )
    )
