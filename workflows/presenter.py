"""What people see of an order: search attributes, metrics, and the page of details in Temporal's UI.

Presents the state and changes nothing of it but the stage. Pipe tables do not render on that page; bold, code and
bullet lists do.

**When the search attributes change.** Each change is an event, a write to Temporal's list, and an action that Temporal
Cloud bills. So a stage is entered in the state, and shown only before the order waits (`show`): for an activity that
Temporal keeps as pending, for a person, for late notifications, or at its end. A step that succeeds at once is
never shown. An order is started as `ordering` (`closedwon.temporal.orders`), because `create_order` is the first
step that it always waits for: an order that waits for its ERP, or for the first worker, needs no change at all.
"""

from __future__ import annotations

from typing import Any, Final

from temporalio import workflow
from temporalio.common import SearchAttributeKey

from closedwon import names
from closedwon.model.order_state import OrderState, Problem
from closedwon.money import money
from closedwon.names import OrderStage
from closedwon.safe_text import markdown, markdown_link
from closedwon.telemetry.metrics import Metrics
from workflows.order_table import offered
from workflows.timeline import Timeline

_STAGE: Final = SearchAttributeKey.for_keyword(names.ORDER_STAGE)
_REASON: Final = SearchAttributeKey.for_keyword(names.ATTENTION_REASON)
_ROUTE: Final = SearchAttributeKey.for_keyword(names.ROUTE)
_NUMBER: Final = SearchAttributeKey.for_keyword(names.ERP_ORDER_NUMBER)

_STRAIGHT: Final = frozenset({OrderStage.LOADING, OrderStage.ORDERING, OrderStage.WRITING_BACK})
_HEADLINES: Final = {
    OrderStage.LOADING: "Reading the record from Salesforce",
    OrderStage.ORDERING: "Creating the order in the ERP",
    OrderStage.WRITING_BACK: "The ERP has the order; writing its number to Salesforce",
    OrderStage.FOLLOWING: "Done: the order exists, and Salesforce has its number; its status in the ERP is followed",
    OrderStage.CHECKING: "A write to the ERP got no answer; the order is compared once more",
    OrderStage.CANCELLING: "Cancelling",
    OrderStage.ATTENTION: "**Needs attention**",
    OrderStage.COMPLETED: "Done: the order exists, and Salesforce has its number",
    OrderStage.CANCELLED: "Cancelled",
    OrderStage.NOT_NEEDED: "Not needed",
}
_NEXT: Final = {
    OrderStage.LOADING: "Salesforce answers, or is asked again until it does; then the order goes to the ERP. "
    "A record that is still being changed (`quiet` of its route) is waited for; the pending activity says since when.",
    OrderStage.ORDERING: "the ERP answers, or is asked again until it does; then the number goes to Salesforce. "
    "While the ERP is paused no attempt is made; a workflow `erp-limit:…` is open then and says why.",
    OrderStage.WRITING_BACK: "Salesforce accepts it, or is asked again until it does.",
    OrderStage.FOLLOWING: "the ERP is asked again, less and less often, until the order is done or cancelled there; "
    "each change is written to Salesforce.",
    OrderStage.CHECKING: "the ERP is asked again when a late effect can no longer come (`erps.in_doubt_for`); what "
    "differs then is corrected.",
    OrderStage.CANCELLING: "the ERP is asked what it has until it answers; then the result is written to Salesforce.",
    OrderStage.ATTENTION: "nothing happens until an operator sends a command{or_notification}.",
}


class Presenter:
    """Shows one order's state."""

    def __init__(self, state: OrderState, timeline: Timeline, record: str) -> None:
        """Take what is shown."""
        self._state = state
        self._timeline = timeline
        self._record = record
        self._metrics = Metrics(workflow.metric_meter())
        self.is_straight = True
        """It has been at no stage but those of an order that goes straight through."""

    def enter(self, stage: OrderStage, problem: Problem | None = None) -> None:
        """Enter a stage; `show` makes it visible in lists."""
        state = self._state
        if stage is not state.stage:
            if problem:
                self._metrics.attention.add(1, {"reason": problem.reason})
            self._metrics.orders.add(1, {"stage": stage})
            state.stage = stage
            self.is_straight &= stage in _STRAIGHT
        state.problem = problem
        self.refresh()

    def show(self) -> None:
        """Write stage, reason and number to the search attributes, unless stage and reason are there already."""
        state, shown = self._state, workflow.info().typed_search_attributes
        reason = None if state.problem is None else state.problem.reason
        if shown.get(_STAGE) == state.stage and shown.get(_REASON) == reason:
            return
        updates: list[Any] = [_STAGE.value_set(state.stage)]
        if reason is not None:
            updates.append(_REASON.value_set(reason))
        elif shown.get(_REASON) is not None:
            updates.append(_REASON.value_unset())
        if number := (state.placed.number if state.placed is not None else state.shown_number):
            updates.append(_NUMBER.value_set(number[: names.MAXIMUM_KEYWORD]))
        workflow.upsert_search_attributes(updates)

    def name_route(self, route: str) -> None:
        """Show the stage, and that the next run follows another route."""
        self.show()
        workflow.upsert_search_attributes([_ROUTE.value_set(route)])

    def refresh(self) -> None:
        """Write the page again: the timeline has grown. Costs no history."""
        workflow.set_current_details(page(self._state, self._timeline, self._record))


def page(state: OrderState, timeline: Timeline, record: str) -> str:
    """The page: where the order stands, what it is about, what comes next, what can be sent, what happened."""
    head = [f"### {_headline(state)}", ""]
    if state.problem is not None:
        problem = state.problem
        message = markdown(problem.message.rstrip("."))
        head.append(f"- **Why** (`{problem.reason}`): {problem.reason.sentence} {message}.")
        head.append(f"- **What to do**: {markdown(problem.hint)}")
    if state.order is not None:
        order = state.order
        total = money(order.amount, order.currency)
        head.append(f"- **Deal** {markdown(order.name)} ({record}), {markdown(order.customer.name)}, **{total}**")
    if state.placed is not None:
        link = markdown_link(state.placed.number or state.placed.id, state.placed.url)
        head.append(f"- **Order** {link}, {state.placed.status}")
    if state.stage in _NEXT:
        or_notification = "" if state.deciding else ", or the record is changed in Salesforce"
        head.append(f"- **Next**: {_NEXT[state.stage].format(or_notification=or_notification)}")
        head.append("- **You can send** " + "; ".join(f"`{name}` ({effect.hint})" for name, effect in _offered(state)))
    return "\n".join([*head, "", "**What happened** (UTC)", "", *timeline.lines()])


def _offered(state: OrderState) -> list[tuple[str, Any]]:
    return list(offered(state.situation))


def _headline(state: OrderState) -> str:
    deciding = state.deciding
    if deciding is not None and state.stage is OrderStage.ORDERING:
        return f"Using order {markdown(deciding.number or '')}, which exists already"
    if deciding is not None and deciding.to == names.SIGNAL_SKIP and state.stage is OrderStage.CANCELLING:
        return "Closing it as not needed, unless the ERP has an order"
    return _HEADLINES[state.stage]
