"""Temporal's list of workflows, which lags behind the workflows themselves: by some 30 ms, beside a load by seconds.

What a single workflow is, `describe` says at once. Only what is itself about the list, or has no id to ask for, reads
the list, and waits until it has caught up.
"""

from __future__ import annotations

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode


async def exists(client: Client, workflow_id: str) -> bool:
    """Whether there is a workflow of this id: the way to say that nothing was started."""
    try:
        await client.get_workflow_handle(workflow_id).describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


async def is_listed(client: Client, workflow_id: str) -> bool:
    """Whether the list shows the newest run of a workflow as it is; a workflow that does not exist is listed."""
    try:
        described = await client.get_workflow_handle(workflow_id).describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return True
    runs = [run async for run in client.list_workflows(f"WorkflowId = '{workflow_id}'")]
    shown = next((run for run in runs if run.run_id == described.run_id), None)
    return (
        shown is not None
        and (shown.status, shown.typed_search_attributes) == (described.status, described.typed_search_attributes)
        and all(run.close_time is not None for run in runs if run is not shown)
    )


async def waits(client: Client, workflow_id: str) -> bool:
    """Whether a workflow waits for an activity; an order is shown as `ordering` from its start, long before that."""
    return bool((await client.get_workflow_handle(workflow_id).describe()).raw_description.pending_activities)
