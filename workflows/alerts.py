"""Alerts: what a workflow that needs a person begins, and the workflow that sees to its delivery."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from activities.alerts import AlertActivities, Need, NeedKind
    from activities.failures import HEARTBEAT_TIMEOUT
    from closedwon import names
    from closedwon.order_state import Problem

_TRY_FOR: Final = timedelta(days=3)
_RETRY: Final = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=5))


class Alerts:
    """Tells of each new need of one workflow once. It never waits and never fails."""

    def __init__(
        self,
        kind: NeedKind,
        *,
        told: str | None = None,
        raising: str | None = None,
        on_raised: Callable[[], None] = lambda: None,
        **about: Any,
    ) -> None:
        """Take what they are about, the reason that the run before has `told`, and the id that it was `raising`."""
        self._kind = kind
        self._about = about
        self._told = told
        self._raising = raising
        """The id of the newest alert, until it is known to be raised."""
        self._on_raised = on_raised
        self._under_way: workflow.ActivityHandle[bool] | None = None

    @property
    def carried(self) -> dict[str, str | None]:
        """What the next run must know, as fields of its input."""
        return {"alerted": self._told, "alert_raising": self._raising}

    def tell(self, problem: Problem, *, text: str | None = None) -> None:
        """Tell of a need, unless it is the one that was told last and is not over.

        `text` is what is wrong, where that may leave Temporal in clear; else the reason's own sentence is sent.

        One whose alert the run before was just raising is told again, under the same id: it is delivered once.
        """
        if problem.reason != self._told:
            self._told, self._raising = problem.reason, str(workflow.uuid4())
        elif self._raising is None or self._under_way is not None:
            return
        info = workflow.info()
        need = Need(
            id=self._raising,
            kind=self._kind,
            at=workflow.now(),
            reason=problem.reason,
            cure=problem.cure,
            text=text,
            workflow_id=info.workflow_id,
            run_id=info.run_id,
            **self._about,
        )
        self._under_way = workflow.start_activity_method(
            AlertActivities.raise_alert,
            need,
            task_queue=names.ORDERS_QUEUE,
            summary=f"tell that {need.reason} needs a person",
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
        """What was told is over, or somebody has done something about it: the next one is new."""
        self._told = self._raising = None


@workflow.defn(name=names.ALERT_WORKFLOW)
class AlertWorkflow:
    """Delivers one alert; fails, visibly, when the webhook does not take it for days."""

    @workflow.run
    async def run(self, need: Need) -> bool:
        """Post it, until it is taken."""
        return await workflow.execute_activity_method(
            AlertActivities.alert,
            need,
            activity_id="alert",
            summary=f"{need.reason}: tell the webhook",
            start_to_close_timeout=timedelta(minutes=2),
            schedule_to_close_timeout=_TRY_FOR,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=_RETRY,
        )
