"""The subscription to one event bus channel as Temporal has it: its workflow, and the activity that reads.

Temporal is asked, not the reader: a dead reader cannot answer. What it means is said by `closedwon.facts.readers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from closedwon import names
from closedwon.errors import DoubtfulError
from closedwon.ids import OrgId
from closedwon.model.subscriptions import Cursor, Subscribe, Subscribed
from closedwon.temporal.client import is_namespace_missing

_READER: Final = "subscribe"
"""The id of the activity that reads (`workflows.subscription`)."""
_NEWEST: Final = 20
"""Events that are read of a subscription without a heartbeat: more than one activity leaves."""


class ChannelState(NamedTuple):
    """A subscription and its reader."""

    is_started: bool = False
    """The subscription's workflow is running."""
    is_reading: bool = False
    """Its activity is with a worker, or scheduled; otherwise it waits for a worker, or rests after a refusal."""
    unclaimed_since: datetime | None = None
    """Since when a task of the workflow or of the activity waits for a worker to take it; None if none does."""
    is_deciding: bool = False
    """A worker has its workflow task, so that it is about to read, or to rest."""
    heartbeat: datetime | None = None
    """The time of the reader's last heartbeat, by Temporal's clock; None before the first one of an attempt."""
    cursor: Cursor | None = None
    """The newest cursor that is known: of that heartbeat, of the result that the last reader handed over, or the one
    with which the activity began."""
    problem: str = ""
    """Why the workflow is not running, or why the reader's last attempt failed; holds no customer's data."""
    attempt: int = 0
    backs_off: bool = False
    """The next attempt is due later: no process has it, and none sends a heartbeat."""
    is_refused: bool = False
    """The last attempt failed by a refusal that may be permanent; it is repeated for a while (`DoubtfulError`)."""


async def is_known(client: Client, org: OrgId, channel: str) -> bool:
    """Whether Temporal has a workflow of the subscription, running or not. Raises Temporal's `RPCError`."""
    try:
        await client.get_workflow_handle(names.subscription_workflow_id(org, channel)).describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND or is_namespace_missing(error):
            raise
        return False
    return True


async def channel_state(client: Client, org: OrgId, channel: str) -> ChannelState:
    """Describe a subscription. Raises Temporal's `RPCError`, or `CodecError` if the cursor cannot be decrypted."""
    handle = client.get_workflow_handle(names.subscription_workflow_id(org, channel))
    try:
        described = await handle.describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND or is_namespace_missing(error):
            raise
        return ChannelState()
    if described.status is not WorkflowExecutionStatus.RUNNING:
        return ChannelState(problem=f"it was {described.status.name.lower() if described.status else 'ended'}")
    raw = described.raw_description
    state = ChannelState(is_started=True)
    reading = [one for one in raw.pending_activities if one.activity_id == _READER]  # others raise alerts
    if reading:
        state = await _reading(client, reading[0])
    elif raw.HasField("pending_workflow_task"):
        task = raw.pending_workflow_task
        is_deciding = task.HasField("started_time")
        since = None if is_deciding else task.scheduled_time.ToDatetime(UTC)
        state = state._replace(is_deciding=is_deciding, unclaimed_since=since)
    if state.cursor is None:
        state = await _with_history(client, handle.id, state)
    return state


async def _reading(client: Client, pending: PendingActivityInfo) -> ChannelState:
    heartbeats = pending.heartbeat_details.payloads
    is_scheduled = pending.state == PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED
    due = max(at.ToDatetime(UTC) for at in (pending.scheduled_time, pending.next_attempt_schedule_time))
    is_due = due <= datetime.now(UTC)
    return ChannelState(
        is_started=True,
        is_reading=True,
        unclaimed_since=due if is_scheduled and is_due else None,
        heartbeat=pending.last_heartbeat_time.ToDatetime(UTC) if pending.HasField("last_heartbeat_time") else None,
        cursor=(await client.data_converter.decode(heartbeats, [Cursor]))[0] if heartbeats else None,
        problem=await failure_text(client, pending) if pending.HasField("last_failure") else "",
        attempt=pending.attempt,
        backs_off=is_scheduled and not is_due,
        is_refused=pending.last_failure.application_failure_info.type == DoubtfulError.__name__,
    )


async def _with_history(client: Client, workflow_id: str, state: ChannelState) -> ChannelState:
    """Add the cursor, and why it rests, from what the workflow has recorded last."""
    request = GetWorkflowExecutionHistoryReverseRequest(
        namespace=client.namespace,
        execution=WorkflowExecution(workflow_id=workflow_id),
        maximum_page_size=_NEWEST,
    )
    answer = await client.workflow_service.get_workflow_execution_history_reverse(request)
    return await _recorded(client, answer.history.events, state)


async def _recorded(client: Client, newest_first: Sequence[HistoryEvent], state: ChannelState) -> ChannelState:
    """The workflow has other activities, too: a result belongs to the activity whose scheduling it names."""
    converter = client.data_converter
    ended: dict[int, HistoryEvent] = {}
    for event in newest_first:
        if event.HasField("activity_task_failed_event_attributes"):
            ended[event.activity_task_failed_event_attributes.scheduled_event_id] = event
        elif event.HasField("activity_task_completed_event_attributes"):
            ended[event.activity_task_completed_event_attributes.scheduled_event_id] = event
        scheduled = event.activity_task_scheduled_event_attributes
        if scheduled.activity_id == _READER:
            asked: Subscribe = (await converter.decode(scheduled.input.payloads, [Subscribe]))[0]
            found, end = state._replace(cursor=asked.cursor), ended.get(event.event_id)
            return found if end is None else await _ended(client, end, found)
    return state


async def _ended(client: Client, event: HistoryEvent, state: ChannelState) -> ChannelState:
    """How the newest activity ended."""
    converter = client.data_converter
    if event.HasField("activity_task_failed_event_attributes"):
        failure = event.activity_task_failed_event_attributes.failure
        return state._replace(problem=str(await converter.decode_failure(failure)))
    payloads = event.activity_task_completed_event_attributes.result.payloads
    handed: Subscribed = (await converter.decode(payloads, [Subscribed]))[0]
    rests = handed.rest is not None and handed.gap is not None
    return state._replace(cursor=handed.cursor, problem=handed.gap.note if handed.gap and rests else "")


async def failure_text(client: Client, pending: PendingActivityInfo) -> str:
    """Why the last attempt of an activity failed, in Closedwon's own text, which holds no customer's data."""
    return str(await client.data_converter.decode_failure(pending.last_failure))
