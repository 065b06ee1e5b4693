"""What the parts of one order workflow work with, and the step that all of them end with: writing the order back.

`workflows.order` makes the parts and decides which of them acts; `unqualified` applies a route's policy, `decisions`
carries out what operators decide.
"""

from __future__ import annotations

from typing import NamedTuple

from temporalio import workflow

from closedwon.model.erp import KEPT_UNQUALIFIED, ErpOrder, ErpStatus
from closedwon.model.notifications import Notifications
from closedwon.model.order_state import OrderStart, OrderState
from closedwon.model.outcomes import OrderOutcome
from closedwon.names import OrderStage
from workflows.other_routes import OtherRoutes
from workflows.presenter import Presenter
from workflows.steps import Steps
from workflows.timeline import Timeline


class Parts(NamedTuple):
    """One order: its state, what shows it, and what acts on Salesforce and the ERP."""

    start: OrderStart
    state: OrderState
    timeline: Timeline
    presenter: Presenter
    steps: Steps
    other_routes: OtherRoutes

    @property
    def notifications(self) -> Notifications:
        """What Salesforce has reported."""
        return self.state.notifications

    def has_news(self) -> bool:
        """Whether a notification arrived since the record was read."""
        return self.notifications.news

    def was_deleted(self) -> bool:
        """Whether news says that the record was deleted."""
        return self.notifications.deleted and self.notifications.news


async def write_order(
    parts: Parts, placed: ErpOrder | None, *, is_there: bool = True, is_wanted: bool = False
) -> OrderOutcome:
    """Write the order to its record, even if the record does not ask for it any more (`is_wanted` false)."""
    if placed is None:
        if parts.start.late_message_window and parts.notifications.newest is not None:
            parts.notifications.mark_done(workflow.now())
        return OrderOutcome(stage=OrderStage.NOT_NEEDED)
    if is_there:
        parts.presenter.enter(OrderStage.WRITING_BACK)
        is_kept = parts.state.keeps_order and not is_wanted and placed.status is not ErpStatus.CANCELLED
        request = await parts.steps.write_back(
            order=placed,
            status=KEPT_UNQUALIFIED if is_kept else None,
            since=parts.notifications.since,
            is_wanted=is_wanted,
            interrupt=parts.was_deleted,
        )
        parts.timeline.written(workflow.now(), request)
        parts.notifications.since = None  # the way of that notification has been measured
    is_cancelled = placed.status is ErpStatus.CANCELLED
    return OrderOutcome(stage=OrderStage.CANCELLED if is_cancelled else OrderStage.COMPLETED, order=placed)
