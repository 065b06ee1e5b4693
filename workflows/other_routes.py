"""Notifications of other routes over the same object: a record has one workflow, which follows one route at a time.

The first notification decides which route that is. One that arrives by another route meanwhile is kept here, reduced
as those of the workflow's own route are. It is read only by the settings of its own route: once the workflow would end
without an order of the record, or rests because it has ended without one, it goes on as a new run of the route whose
notification waits. A record that has its order stays with the route that made it: one record, one order.

A decision of an operator is about the record, whatever the route: it covers the notifications that arrived before it.
A route that was followed to its end and makes orders of notifications must still recognize late ones. So what is known
of it goes with the new run (`rests`), which stays open as long as the longest of these routes asks for.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from temporalio import workflow

from closedwon.model.messages import Message
from closedwon.model.order_state import OrderStart, OrderState, OtherRoute
from closedwon.names import OrderStage
from workflows.timeline import Timeline


class OtherRoutes:
    """The other routes of one record, as far as notifications of them arrived; kept in the order's state."""

    def __init__(self, start: OrderStart, state: OrderState, timeline: Timeline) -> None:
        """Take whose order it is; a new run goes on with what the one before has kept."""
        self._start = start
        self._state = state
        self._timeline = timeline

    def take(self, message: Message) -> Message | None:
        """Keep a notification of another route; return what the workflow's own route must know of it.

        A route that reads records reads again, and so does one in attention. The content is the other route's; a
        deletion concerns every route.
        """
        route, state = message.route, self._state
        if route is None or route.route == self._start.route:
            return message
        other = state.other_routes.setdefault(route.route, OtherRoute(start=route))
        other.start, other.session = route, message.session or other.session
        other.notifications.take(message)
        if state.has_order:
            self._timeline.add(workflow.now(), f"the record keeps its order by route `{self._start.route}`")
        waits = state.stage is OrderStage.ATTENTION and state.deciding is None
        if self._start.late_message_window and not (message.deleted or waits):
            return None
        return message.model_copy(update={"id": f"{route.route}/{message.id}", "payload": None, "session": None})

    def is_waiting(self) -> bool:
        """Whether there is news by another route."""
        return any(other.notifications.news for other in self._state.other_routes.values())

    def mark_done(self, now: datetime) -> None:
        """A person has decided about the record, or it has its order: what arrived before is no longer news."""
        for other in self._state.other_routes.values():
            other.notifications.decided_at, other.notifications.news = now, False

    def window(self) -> timedelta:
        """How long late notifications of routes that were followed before must be recognized."""
        resting = (other.start.late_message_window for other in self._state.other_routes.values() if other.rests)
        return max(resting, default=timedelta(0))

    def next_start(self, *, rests: bool) -> OrderStart:
        """The input of the run that follows the next route. `rests`: this one must recognize late notifications."""
        own, others = self._start, dict(self._state.other_routes)
        other = others.pop(next(name for name, one in others.items() if one.notifications.news))
        if rests:
            others[own.route] = OtherRoute(start=own.of_its_route, notifications=self._state.notifications, rests=True)
        state = OrderState(notifications=other.notifications, session=other.session, other_routes=others)
        return OrderStart.of_route(other.start, org=own.org, record=own.record, state=state)
