"""The order of a record that no longer qualifies, or was deleted: what the route's policy says becomes of it.

Policies act only on orders that Closedwon made, and never where it is not certain that the record does not qualify, or
where another route asks for the record's order.
"""

from __future__ import annotations

from temporalio import workflow

from closedwon.erp.errors import not_ours
from closedwon.errors import AttentionReason
from closedwon.model.erp import CANCELLED_UNQUALIFIED
from closedwon.model.outcomes import OrderOutcome
from closedwon.model.snapshot import Deleted, NotWanted
from closedwon.names import OrderStage
from workflows.parts import Parts, write_order
from workflows.problems import only_named, unqualified, without_verdict
from workflows.stops import ProblemError, StoppedError


async def apply_policy(parts: Parts, snapshot: NotWanted | Deleted) -> OrderOutcome:
    """The record asks for no order; if it has one, the route's policy applies."""
    state = parts.state
    if not state.tried:
        state.erp = snapshot.erp
    policy = snapshot.policies.on_deleted if isinstance(snapshot, Deleted) else snapshot.policies.on_unqualified
    is_wanted_elsewhere = isinstance(snapshot, NotWanted) and snapshot.wanted_by is not None
    if is_wanted_elsewhere:
        policy = "ignore"
    is_certain = isinstance(snapshot, Deleted) or snapshot.is_certain
    if state.keeps_order and not state.has_order:
        state.placed = await parts.steps.find(interrupt=parts.has_news)
    is_there = not isinstance(snapshot, Deleted)
    may_have_order = _may_have_order(parts, snapshot)
    if state.keeps_order or (is_certain and (policy == "ignore" or not may_have_order)):
        return await write_order(parts, state.placed, is_there=is_there)
    if may_have_order and (policy == "attention" or not is_certain):
        state.placed = await parts.steps.find(interrupt=parts.has_news)
        if state.placed is not None and state.has_order and policy != "ignore":
            raise ProblemError(unqualified(snapshot, state.placed))
    if is_certain:
        return await _cancel_by_policy(parts, snapshot)
    if state.placed is None and not (is_wanted_elsewhere or parts.other_routes.is_waiting()):
        raise ProblemError(without_verdict(parts.start.route))
    return await write_order(parts, state.placed)


def _may_have_order(parts: Parts, snapshot: NotWanted | Deleted) -> bool:
    state = parts.state
    tried = state.tried or state.placed is not None
    return tried or isinstance(snapshot, Deleted) or snapshot.may_have_order


async def _cancel_by_policy(parts: Parts, snapshot: NotWanted | Deleted) -> OrderOutcome:
    """Cancel because the record asks for it. It may change its mind at any moment, so news ends the waiting."""
    state = parts.state
    parts.presenter.enter(OrderStage.CANCELLING)
    may_be_ours = state.cancelled_after_reopen
    state.cancelled_after_reopen = True  # also if news ends the waiting for an attempt, which may still do it
    try:
        result = await parts.steps.cancel(
            by_policy=True,
            modified_at=snapshot.modified_at,
            is_deleted=isinstance(snapshot, Deleted),
            interrupt=parts.has_news,
        )
    except (ProblemError, StoppedError) as stop:
        if stop.in_doubt_since is None:
            state.cancelled_after_reopen = may_be_ours
        if isinstance(stop, StoppedError):
            raise
        raise await _not_cancelled(parts, snapshot, stop) from None
    state.placed, state.placed_for = result.order, None
    is_ours = state.cancelled_after_reopen = (
        result.order is not None and not result.kept and (result.has_lived or may_be_ours)
    )
    if result.kept and result.order is not None:
        parts.timeline.kept(workflow.now(), result.order)
        return await write_order(parts, result.order, is_there=isinstance(snapshot, NotWanted))
    if parts.start.late_message_window:
        parts.notifications.mark_done(workflow.now())
    number = snapshot.number if isinstance(snapshot, NotWanted) else None
    if result.order is None and number is not None and not parts.other_routes.is_waiting():
        raise ProblemError(only_named(number))
    if result.order is None and not parts.notifications.deleted:
        return OrderOutcome(stage=OrderStage.NOT_NEEDED)
    parts.timeline.cancelled(workflow.now(), result.order)
    if not isinstance(snapshot, Deleted):
        status = (
            CANCELLED_UNQUALIFIED if is_ours else None
        )  # an order that others cancelled is not reopened when the deal is won again
        request = await parts.steps.write_back(order=result.order, status=status, interrupt=parts.has_news)
        parts.timeline.written(workflow.now(), request)
    return OrderOutcome(stage=OrderStage.CANCELLED, order=result.order)


async def _not_cancelled(parts: Parts, snapshot: NotWanted | Deleted, stop: ProblemError) -> ProblemError:
    """An order that Closedwon did not make is never cancelled by policy: a person decides about it."""
    if stop.problem.reason is not AttentionReason.ORDER_EXISTS:
        return stop
    state = parts.state
    state.cancelled_after_reopen = False
    state.placed = await parts.steps.find(interrupt=parts.has_news)
    if state.placed is None or not state.has_order:
        return stop
    problem = unqualified(snapshot, state.placed)
    message = f"{problem.message}, and {not_ours(state.placed)}: no policy cancels it"
    return ProblemError(problem.model_copy(update={"message": message}))
