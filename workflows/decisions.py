"""Carrying out what an operator has decided: `cancel`, `resolve`, `skip`. Each asks the ERP what it has first."""

from __future__ import annotations

from datetime import datetime

from temporalio import workflow

from closedwon.model.commands import Decision
from closedwon.model.erp import CANCELLED_UNQUALIFIED, STATUS_NOT_NEEDED, ErpOrder, ErpStatus
from closedwon.model.outcomes import OrderOutcome
from closedwon.names import OrderStage
from workflows.parts import Parts
from workflows.problems import order_differs, order_exists
from workflows.stops import ProblemError


async def cancel_order(parts: Parts) -> OrderOutcome:
    """Cancel what the ERP has, if it has anything, and write that to Salesforce."""
    state = parts.state
    parts.presenter.enter(OrderStage.CANCELLING)
    result = await parts.steps.cancel()
    state.placed = placed = result.order
    if state.resolution is not None and placed is None:
        number = state.resolution.number
        parts.timeline.add(workflow.now(), f"order {number} stays in the ERP: cancel it **by hand**")
    else:
        parts.timeline.cancelled(workflow.now(), placed)
    state.resolution = None
    await _write(parts, order=placed, status=CANCELLED_UNQUALIFIED if state.is_unqualified else ErpStatus.CANCELLED)
    return OrderOutcome(stage=OrderStage.CANCELLED, order=placed)


async def resolve(parts: Parts, decision: Decision) -> OrderOutcome:
    """Use the order that was made by hand, if it is what the record asks for, and write it back."""
    state = parts.state
    parts.presenter.enter(OrderStage.ORDERING)
    resolved = await parts.steps.resolve(decision)
    if resolved.rival is not None:
        state.placed = resolved.rival
        raise ProblemError(order_exists(resolved.rival))
    if resolved.differences is not None:
        raise ProblemError(order_differs(decision.number or "", resolved.differences))
    state.placed, state.placed_for, state.resolution = resolved.order, state.order, decision
    state.has_agreed = True
    parts.timeline.add(workflow.now(), f"order **{decision.number}** is used as the record's order")
    parts.presenter.enter(OrderStage.WRITING_BACK)
    await _write(parts, order=resolved.order, since=parts.notifications.since, is_wanted=True)
    return OrderOutcome(stage=OrderStage.COMPLETED, order=resolved.order)


async def skip(parts: Parts) -> OrderOutcome:
    """Close it without an order; an attempt without an answer may have made one, so the ERP is asked."""
    parts.presenter.enter(OrderStage.CANCELLING)
    found = await parts.steps.find()
    if found is not None and found.status is not ErpStatus.CANCELLED:
        parts.state.placed = found
        raise ProblemError(order_exists(found))
    parts.timeline.add(workflow.now(), "it is closed as not needed: the ERP has no order")
    await _write(parts, status=STATUS_NOT_NEEDED)
    return OrderOutcome(stage=OrderStage.NOT_NEEDED)


async def _write(
    parts: Parts,
    *,
    order: ErpOrder | None = None,
    status: str | None = None,
    since: datetime | None = None,
    is_wanted: bool = False,
) -> None:
    """Write the result of a decision to Salesforce, unless it cannot be stored there. Fields as in `WriteBack`."""
    if not parts.notifications.deleted and not parts.state.leaves_unwritten:
        request = await parts.steps.write_back(order=order, status=status, since=since, is_wanted=is_wanted)
        parts.timeline.written(workflow.now(), request)
