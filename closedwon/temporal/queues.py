"""The state of a task queue: its pollers, what waits, and its limits. The one place that describes and limits queues.

A queue has two limits, and the stricter one holds. Operators set its rate limit. The workers set the default limit per
fairness key: we use no such keys, so that all tasks of the queue share the empty one, and this limits the queue, too.
Two settings, because Temporal changes them without a comparison: what one party writes cannot undo what the other did.

All numbers are Temporal's own approximations: a backlog is counted for about the last seconds, and a worker counts as a
poller for some minutes after its last poll.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, TypeAlias

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import RateLimit, RateLimitConfig, TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, UpdateTaskQueueConfigRequest
from temporalio.client import Client

from closedwon.erp.breaker import Entry

Kind: TypeAlias = "TaskQueueType.ValueType"
WORKFLOWS: Final = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
ACTIVITIES: Final = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
_RECENTLY: Final = timedelta(seconds=75)
"""A long poll takes at most a minute, so a worker that lives and is not busy has polled since."""


class QueueLimit(NamedTuple):
    """A limit of a queue, over all workers, with who set it and why."""

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
    """Identities of the workers that have polled lately. Who serves the queue: `closedwon.facts.queues`."""
    limit: QueueLimit | None
    """As an operator has set it."""
    breaker: Entry
    """What the workers say about the ERP of the queue, with the limit that they have set."""
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
    config = answer.config
    limited = config.queue_rate_limit
    is_limited = config.HasField("queue_rate_limit") and limited.HasField("rate_limit")
    return QueueState(
        name=name,
        kind=kind,
        backlog=answer.stats.approximate_backlog_count,
        oldest=answer.stats.approximate_backlog_age.ToTimedelta(),
        pollers=frozenset(one.identity for one in answer.pollers),
        recent=frozenset(one.identity for one in answer.pollers if one.last_access_time.ToDatetime(UTC) > newest),
        limit=QueueLimit(
            limited.rate_limit.requests_per_second,
            limited.metadata.reason,
            limited.metadata.update_identity,
            limited.metadata.update_time.ToDatetime(UTC),
        )
        if is_limited
        else None,
        breaker=_entry(config.fairness_keys_rate_limit_default),
        is_paused=answer.HasField("effective_rate_limit") and answer.effective_rate_limit.requests_per_second == 0,
    )


async def limit_queue(client: Client, name: str, limit: float | None, *, reason: str, by: str) -> None:
    """Set the operators' limit of a queue of activities, or take it away. Raises Temporal's `RPCError`."""
    change = _change(limit, reason)
    await client.workflow_service.update_task_queue_config(
        UpdateTaskQueueConfigRequest(
            namespace=client.namespace,
            identity=by,
            task_queue=name,
            task_queue_type=ACTIVITIES,
            update_queue_rate_limit=change,
        )
    )


async def write_breaker_entry(client: Client, name: str, limit: float | None, *, reason: str, by: str) -> None:
    """Write what the workers say about the ERP of a queue. Raises Temporal's `RPCError`."""
    change = _change(limit, reason)
    await client.workflow_service.update_task_queue_config(
        UpdateTaskQueueConfigRequest(
            namespace=client.namespace,
            identity=by,
            task_queue=name,
            task_queue_type=ACTIVITIES,
            update_fairness_key_rate_limit_default=change,
        )
    )


def _change(limit: float | None, reason: str) -> UpdateTaskQueueConfigRequest.RateLimitUpdate:
    change = UpdateTaskQueueConfigRequest.RateLimitUpdate(reason=reason)
    if limit is not None:
        change.rate_limit.CopyFrom(RateLimit(requests_per_second=limit))
    return change


def _entry(written: RateLimitConfig) -> Entry:
    if not written.HasField("metadata"):
        return Entry()
    return Entry(
        written.rate_limit.requests_per_second if written.HasField("rate_limit") else None,
        written.metadata.reason,
        written.metadata.update_identity,
        written.metadata.update_time.ToDatetime(UTC),
    )
