"""Alerts: how a workflow that needs a person raises one, and the workflow that delivers it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from activities.alerts import AlertActivities
    from activities.heartbeats import HEARTBEAT_TIMEOUT
    from closedwon import names
    from closedwon.model.alerts import AlertState, AlertSubject, Need
    from closedwon.model.base import fields_of
    from closedwon.model.order_state import Problem

_TRY_FOR: Final = timedelta(days=3)
_SHARED: Final = frozenset({"order", "message"})
"""Kinds of which many may have the same cause."""
_RETRY: Final = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=5))


class Alerts:
    """Raises one alert for each new need of one workflow. It never waits and never fails."""

    def __init__(
        self,
        about: AlertSubject,
        before: AlertState | None = None,
        *,
        on_raised: Callable[[], None] = lambda: None,
    ) -> None:
        """`before`: what the run before has carried."""
        self._about = about
        self._alerted = before.alerted if before is not None else None
        self._raising = before.alert_raising if before is not None else None
        """The id of the newest alert, until it is known to be raised."""
        self._on_raised = on_raised
        self._needs = 0
        """Needs of this run. Those of several workflows with the same cause are compared need by need: after a person
        has reacted, and the cause is still there, it is alerted again, and once."""
        self._under_way: workflow.ActivityHandle[bool] | None = None

    @property
    def carried(self) -> AlertState:
        """What the next run must know."""
        return AlertState(alerted=self._alerted, alert_raising=self._raising)

    def notify(self, problem: Problem, *, text: str | None = None) -> None:
        """Raise an alert, unless the last one has the same reason and still applies.

        `text` says what is wrong, if that may leave Temporal unencrypted; otherwise the reason's sentence is sent.

        If the run before ended while it raised the alert, it is raised again under the same id: it is delivered once.
        """
        if problem.reason != self._alerted:
            self._alerted, self._raising = problem.reason, str(workflow.uuid4())
            self._needs += 1
        elif self._raising is None or self._under_way is not None:
            return
        info = workflow.info()
        cause = problem.cause if self._about.kind in _SHARED else None
        need = Need(
            **fields_of(AlertSubject, self._about) | {"erp": self._about.erp or problem.erp},
            cause=None if cause is None else f"{self._about.channel or ''} {self._needs}: {cause}",
            id=self._raising,
            at=workflow.now(),
            reason=problem.reason,
            hint=problem.hint,
            text=text,
            workflow_id=info.workflow_id,
            run_id=info.run_id,
        )
        self._under_way = workflow.start_activity_method(
            AlertActivities.raise_alert,
            need,
            task_queue=names.ORDERS_QUEUE,
            summary=f"raise an alert: {need.reason} needs a person",
            start_to_close_timeout=timedelta(seconds=20),
            retry_policy=_RETRY,
        )
        self._under_way.add_done_callback(lambda done: self._raised(need.id, done))

    def _raised(self, alert: str, done: asyncio.Future[bool]) -> None:
        if done.cancelled() or done.exception():
            return
        if alert == self._raising:
            self._raising = None
        if done.result():
            self._on_raised()

    def over(self) -> None:
        """The need is over, or a person has reacted to it: the next one is new."""
        self._alerted = self._raising = None


@workflow.defn(name=names.ALERT_WORKFLOW)
class AlertWorkflow:
    """Delivers one alert; fails, visibly, if the webhook does not accept it for days."""

    @workflow.run
    async def run(self, need: Need) -> bool:
        """Post it until the webhook accepts it."""
        return await workflow.execute_activity_method(
            AlertActivities.alert,
            need,
            activity_id="alert",
            summary=f"{need.reason}: post to the webhook",
            start_to_close_timeout=timedelta(minutes=2),
            schedule_to_close_timeout=_TRY_FOR,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=_RETRY,
        )
