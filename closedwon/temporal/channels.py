"""The live state of a subscription: one event bus channel and the activity that reads it.

Temporal is asked, not the reader: a dead reader cannot answer. A heartbeat alone does not prove that events arrive,
since a reader also sends heartbeats while it cannot reach the bus; the cursor in it changes with every event, and with
every empty poll.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from closedwon import names
from closedwon.ids import OrgId
from closedwon.model.subscriptions import Cursor
from closedwon.temporal.client import is_namespace_missing


class ChannelState(NamedTuple):
    """Whether a channel is subscribed, and how its reader is doing."""

    is_started: bool = False
    """The subscription's workflow is running."""
    is_reading: bool = False
    """Its activity is with a worker, or scheduled; otherwise it rests after the bus has refused the channel."""
    heartbeat: datetime | None = None
    """The time of the reader's last heartbeat; None before the first one of an attempt."""
    cursor: Cursor | None = None
    """The cursor in that heartbeat."""
    problem: str = ""
    """Why the workflow is not running, or why the reader's last attempt failed; holds no customer's data."""
    attempt: int = 0


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
    pending = [*described.raw_description.pending_activities]
    return await _reading(client, pending[-1]) if pending else ChannelState(is_started=True)


async def _reading(client: Client, pending: PendingActivityInfo) -> ChannelState:
    heartbeats = pending.heartbeat_details.payloads
    return ChannelState(
        is_started=True,
        is_reading=True,
        heartbeat=pending.last_heartbeat_time.ToDatetime(UTC) if pending.HasField("last_heartbeat_time") else None,
        cursor=(await client.data_converter.decode(heartbeats, [Cursor]))[0] if heartbeats else None,
        problem=await failure_text(client, pending) if pending.HasField("last_failure") else "",
        attempt=pending.attempt,
    )


async def failure_text(client: Client, pending: PendingActivityInfo) -> str:
    """Why the last attempt of an activity failed, in Closedwon's own text, which holds no customer's data."""
    return str(await client.data_converter.decode_failure(pending.last_failure))
