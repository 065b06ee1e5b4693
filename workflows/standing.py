"""Where an order stands, as the world sees it: search attributes, metrics, and the details page in Temporal's UI."""

from __future__ import annotations

from typing import Any, Final

from temporalio import workflow
from temporalio.common import SearchAttributeKey

from activities.failures import Problem
from closedwon import names
from closedwon.model import Decision, ErpOrder, Order
from closedwon.names import OrderStage
from closedwon.telemetry import Metrics
from workflows.story import Story

_STAGE: Final = SearchAttributeKey.for_keyword(names.ORDER_STAGE)
_REASON: Final = SearchAttributeKey.for_keyword(names.ATTENTION_REASON)
_NUMBER: Final = SearchAttributeKey.for_keyword(names.ERP_ORDER_NUMBER)


class Standing:
    """The stage of one order, and what is known of it."""

    def __init__(self, story: Story) -> None:
        """Begin at loading, as every start of the workflow says."""
        self._story = story
        self._metrics = Metrics(workflow.metric_meter())
        self._problem: Problem | None = None
        self.stage = OrderStage.LOADING
        self.order: Order | None = None
        """What the record asks for."""
        self.placed: ErpOrder | None = None
        """What the ERP has."""
        self.number: str | None = None
        """The order's number, as the record tells it: what the ERP has is not asked at every turn."""
        self.deciding: Decision | None = None
        """What somebody has decided, and is being carried out."""

    def show(self, stage: OrderStage, problem: Problem | None = None) -> None:
        """Tell the workflow list and the details page where the order stands; nothing changes, nothing is recorded."""
        if stage is not self.stage:
            updates: list[Any] = [_STAGE.value_set(stage)]
            if problem:
                updates.append(_REASON.value_set(problem.reason))
                self._metrics.attention.add(1, {"reason": problem.reason})
            elif self.stage is OrderStage.ATTENTION:
                updates.append(_REASON.value_unset())
            if number := (self.placed.number if self.placed is not None else self.number):
                updates.append(_NUMBER.value_set(number))
            workflow.upsert_search_attributes(updates)
            self._metrics.orders.add(1, {"stage": stage})
            self.stage = stage
        self._problem = problem
        self.refresh()

    def refresh(self) -> None:
        """Write the details page anew: its story has grown."""
        workflow.set_current_details(
            self._story.markdown(
                self.stage, order=self.order, placed=self.placed, deciding=self.deciding, problem=self._problem
            )
        )
