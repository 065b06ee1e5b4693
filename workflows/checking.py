"""The look at an order when the late effect of a write without an answer can no longer come; see `workflows.steps`."""

from __future__ import annotations

from closedwon.model.erp import ErpOrder, ErpStatus
from closedwon.model.order_state import OrderState
from closedwon.model.outcomes import OrderOutcome
from closedwon.names import OrderStage
from workflows.parts import Parts
from workflows.problems import order_lost
from workflows.stops import ProblemError


async def check_doubt(parts: Parts, outcome: OrderOutcome) -> OrderOutcome:
    """Look once more where a late effect may have changed the order; `workflows.order` has compared one that is wanted.

    What was cancelled is cancelled again. What is left as it is (an operator keeps or has named it, or no policy
    applies) is only looked at: that a cancellation of before has taken effect is for a person. A decision or a
    notification that arrives meanwhile starts over, and the doubt stays noted until a check has come to its end.
    """
    state = parts.state
    while state.check_since is not None:
        is_decided = state.deciding is not None
        parts.presenter.enter(OrderStage.CHECKING)
        if outcome.stage is OrderStage.CANCELLED or (is_decided and outcome.stage is OrderStage.NOT_NEEDED):
            result = await parts.steps.cancel(by_policy=not is_decided, interrupt=parts.has_news)
            found = result.order
        else:
            found = await parts.steps.find(interrupt=parts.has_news)
            if outcome.order is not None and is_known_by_number_only(state, outcome.order):
                return outcome
            if outcome.order is not None and (found is None or found.status is ErpStatus.CANCELLED):
                state.placed = found
                raise ProblemError(order_lost(outcome.order))
        state.placed = found
        outcome = outcome.model_copy(update={"order": found})
    return outcome


def is_known_by_number_only(state: OrderState, order: ErpOrder) -> bool:
    """Whether an operator has named it, and the ERP does not keep the record's key with it."""
    return state.resolution is not None and order.idempotency_key is None
