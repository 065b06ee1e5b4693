"""The state of a task queue: its pollers, what waits, and its rate limit. The one place that describes queues.

All numbers are Temporal's own approximations: a backlog is counted for about the last seconds, and a worker counts as a
poller for some minutes after its last poll.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, TypeAlias

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client

Kind: TypeAlias = "TaskQueueType.ValueType"
WORKFLOWS: Final = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
ACTIVITIES: Final = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
_RECENTLY: Final = timedelta(minutes=1)
"""A long poll takes at most this long, so a worker that lives has polled since."""


class RateLimit(NamedTuple):
    """The limit of a queue, over all workers, as an operator has set it."""

    per_second: float
    """0: the queue is paused."""
    reason: str
    by: str
    since: datetime


class QueueState(NamedTuple):
    """One task queue, for workflows or for activities."""

    name: str
    kind: Kind
    backlog: int
    """Tasks that wait for a worker; those that back off after a failure are not among them."""
    oldest: timedelta
    """How long the first of them has waited."""
    pollers: frozenset[str]
    """Identities of the workers that Temporal remembers, also of those that have just stopped."""
    recent: frozenset[str]
    """Identities of the workers that have polled within the last minute."""
    limit: RateLimit | None
    is_paused: bool
    """The limit that is in effect lets nothing through."""


async def queue_state(client: Client, name: str, kind: Kind) -> QueueState:
    """Describe a queue. Raises Temporal's `RPCError`."""
    answer = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=name),
            task_queue_type=kind,
            report_stats=True,
            report_config=True,
        )
    )
    newest = datetime.now(UTC) - _RECENTLY
    limited = answer.config.queue_rate_limit
    is_limited = answer.config.HasField("queue_rate_limit") and limited.HasField("rate_limit")
    return QueueState(
        name=name,
        kind=kind,
        backlog=answer.stats.approximate_backlog_count,
        oldest=answer.stats.approximate_backlog_age.ToTimedelta(),
        pollers=frozenset(one.identity for one in answer.pollers),
        recent=frozenset(one.identity for one in answer.pollers if one.last_access_time.ToDatetime(UTC) > newest),
        limit=RateLimit(
            limited.rate_limit.requests_per_second,
            limited.metadata.reason,
            limited.metadata.update_identity,
            limited.metadata.update_time.ToDatetime(UTC),
        )
        if is_limited
        else None,
        is_paused=answer.HasField("effective_rate_limit") and answer.effective_rate_limit.requests_per_second == 0,
    )
