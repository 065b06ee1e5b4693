"""How patiently a workflow waits for an activity: the options that its steps share, and what is tried elsewhere."""

from __future__ import annotations

from datetime import timedelta
from typing import Final, TypedDict

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import FailureError, TimeoutError, TimeoutType  # noqa: A004 - Temporal's own

from activities.heartbeats import HEARTBEAT_TIMEOUT

TAKEN_WITHIN: Final = timedelta(minutes=1)
"""How long an activity waits for a worker of its ERP's queue before it goes to that of all workers: the ERP may have
another name by now, and no worker serves the queue of the old one."""


class Patience(TypedDict, total=False):
    """Options of `workflow.start_activity_method`."""

    start_to_close_timeout: timedelta
    schedule_to_close_timeout: timedelta
    heartbeat_timeout: timedelta
    retry_policy: RetryPolicy
    cancellation_type: workflow.ActivityCancellationType


def patience(longest: timedelta) -> Patience:
    """Of a step that is retried without end; one attempt takes `longest` at most."""
    return {
        "start_to_close_timeout": longest,
        "heartbeat_timeout": HEARTBEAT_TIMEOUT,
        "retry_policy": RetryPolicy(maximum_interval=timedelta(minutes=5)),
    }


def was_not_taken(error: FailureError) -> bool:
    """Whether no worker has taken an activity in time."""
    cause = error.cause
    return isinstance(cause, TimeoutError) and cause.type is TimeoutType.SCHEDULE_TO_START
