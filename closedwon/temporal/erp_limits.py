"""The notes about limits of ERPs in Temporal's list of workflows, because its UI does not show limits of queues.

A note limits nothing. Operators' limits and breakers have a note of their own each.
"""

from __future__ import annotations

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode

from closedwon import names
from closedwon.model.erp import ErpLimit
from closedwon.safe_text import markdown


async def note_limit(
    client: Client, workflow_id: str, erp: str, limit: float, *, reason: str, by: str, by_breaker: bool = False
) -> None:
    """Show a limit. A note of the breaker that is open stays as it is; an operator's is replaced."""
    note = ErpLimit(erp=erp, orders_per_second=limit, reason=reason, by=by, by_breaker=by_breaker)
    policy = WorkflowIDConflictPolicy
    await client.start_workflow(
        names.ERP_LIMIT_WORKFLOW,
        note,
        id=workflow_id,
        task_queue=names.ORDERS_QUEUE,
        # A summary cannot be changed.
        id_conflict_policy=policy.USE_EXISTING if by_breaker else policy.TERMINATE_EXISTING,
        static_summary=markdown(f"{note.text}: {reason} ({by})" if reason else f"{note.text} ({by})"),
    )


async def note_lifted(client: Client, workflow_id: str) -> None:
    """End a note, if it is open."""
    try:
        await client.get_workflow_handle(workflow_id).signal(names.SIGNAL_LIFTED)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
