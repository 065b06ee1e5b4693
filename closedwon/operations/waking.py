"""Makes the next attempt of a waiting activity happen now, without the order noticing.

An order that only waits for its ERP or for Salesforce needs nothing but its next attempt. The command `retry` restarts
the whole step: about 20 history events, and a second read of the record. This changes the retry policy of the pending
activity instead (`UpdateActivityOptions`), which adds no event.

Temporal computes the wait as `initial_interval * backoff_coefficient ** (attempt - 1)`, and again when the policy
changes. The new `initial_interval` is so small that this is one second at the present attempt: over, so the attempt
begins at once; the waits after it grow from one second again. The number of the attempt and its heartbeat details stay
as they are. That is why `ResetActivity` is not used: it begins again with attempt 1, which does not believe what the
attempt before stated about its writes (`activities.attempts`).

A policy that is changed too late does no harm: a running attempt goes on, and one that waits for a worker waits on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.common.v1 import RetryPolicy, WorkflowExecution
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    UpdateActivityOptionsRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from closedwon import names
from closedwon.settings import Route

_CREATE: Final = "create-order"
_STEPS: Final = frozenset({_CREATE, "load-order", "write-back", "cancel-order", "find-order"})
"""Activities of an order that are repeated as they are by `retry`."""
_ERP_WAS_AWAY: Final = frozenset({"UnreachableError", "UnknownError", "ServerFaultError", "BusyError"})
"""Failures of `create-order` after which the record need not be read again."""
_WITHOUT: Final = frozenset({RPCStatusCode.UNIMPLEMENTED, RPCStatusCode.PERMISSION_DENIED})
_SECOND: Final = 1_000_000_000
"""In nanoseconds, the unit of the shortest wait that Temporal keeps."""


class Waker:
    """Wakes orders, if Temporal can do that."""

    def __init__(self, client: Client, routes: Mapping[str, Route]) -> None:
        """`routes` by name."""
        self._client = client
        self._routes = routes
        self._is_possible = True

    async def wake(self, workflow_id: str) -> bool:
        """Whether the next attempt of the order happens now; False: nothing was done, the order needs the command."""
        if not self._is_possible:
            return False
        execution = WorkflowExecution(workflow_id=workflow_id)
        try:
            described = await self._client.workflow_service.describe_workflow_execution(
                DescribeWorkflowExecutionRequest(namespace=self._client.namespace, execution=execution)
            )
            waiting = self._waiting(described)
            if waiting is None:
                return False
            execution.run_id = described.workflow_execution_info.execution.run_id
            await self._client.workflow_service.update_activity_options(
                UpdateActivityOptionsRequest(
                    namespace=self._client.namespace,
                    execution=execution,
                    identity=self._client.identity,
                    id=waiting.activity_id,
                    activity_options=ActivityOptions(retry_policy=policy_from_now(waiting.attempt)),
                    update_mask=FieldMask(paths=["retry_policy.initial_interval", "retry_policy.backoff_coefficient"]),
                )
            )
        except RPCError as error:
            self._is_possible = error.status not in _WITHOUT
            return False  # the command reports what is wrong
        return True

    def _waiting(self, described: DescribeWorkflowExecutionResponse) -> PendingActivityInfo | None:
        """Return the activity that waits for its next attempt and needs nothing else."""
        if len(described.pending_activities) != 1:
            return None
        pending = described.pending_activities[0]
        is_waiting = (
            pending.state == PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED
            and not pending.paused
            and pending.attempt > 1
            and pending.HasField("next_attempt_schedule_time")
            and pending.next_attempt_schedule_time.ToDatetime(UTC) > datetime.now(UTC)
        )
        if not is_waiting or pending.activity_id not in _STEPS:
            return None
        if pending.activity_id == _CREATE and not self._goes_to_the_right_erp(described, pending):
            return None
        return pending

    def _goes_to_the_right_erp(
        self, described: DescribeWorkflowExecutionResponse, pending: PendingActivityInfo
    ) -> bool:
        """Whether the ERP was away, and is certainly the one that the route names now. Else the record is read."""
        name = described.workflow_execution_info.search_attributes.indexed_fields[names.ROUTE].data
        route = self._routes.get(json.loads(name)) if name else None
        return (
            pending.last_failure.application_failure_info.type in _ERP_WAS_AWAY
            and route is not None
            and isinstance(route.erp, str)
            and pending.activity_options.task_queue.name == names.erp_queue(route.erp)
        )


def policy_from_now(attempt: int) -> RetryPolicy:
    """Return the policy by which `attempt` (2 or more) is due a second after the one before; then the waits double.

    Beyond attempt 31 they grow more slowly, because an initial interval cannot be shorter than a nanosecond.
    """
    initial = max(_SECOND // 2 ** (attempt - 1), 1)
    return RetryPolicy(
        initial_interval=Duration(nanos=initial) if initial < _SECOND else Duration(seconds=1),
        backoff_coefficient=(_SECOND / initial) ** (1 / (attempt - 1)),
    )
