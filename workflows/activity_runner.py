"""How one activity of an order is run: where, with which retries, and what ends the waiting for it.

**At once, if possible.** The steps of an order that goes straight through read from and write to Salesforce by a local
activity, which makes one attempt within the task of the workflow (`activities.at_once`). If it does not succeed, for
whatever reason but a problem that no retry can help, the regular activity does all of it again. So what waits is
always a regular activity: pending, with its last error, in Temporal's UI. One task of the workflow runs one local
activity at most, so that commands and notifications, which wait for the end of the task, wait for some seconds only.
They are then as late as if they had arrived after the step, and after the next one has begun: a `cancel` that arrives
during the reading finds `create_order` scheduled, waits for its outcome, and cancels the order.
If the worker dies meanwhile, or the task is repeated because a notification has arrived just as the order ended, the
local activity runs again: every step may be repeated. ERP calls are never local: the limit of their queue would not
hold for them.

**Patience.** A step waits for its activity, whose retries Temporal makes (`retry_for` of the route limits
them). A decision of an operator, or news about the record (`interrupt`), ends the waiting between two attempts. An
attempt that is running is always waited for: its true outcome counts. Three things can come of it:

- its result;
- `ProblemError`: no retry can help, or `retry_for` is over;
- `StoppedError`: something newer arrived first. If an attempt had begun, its outcome is unknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, TypeVar, Unpack

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import FailureError

from activities.at_once import LONGEST
from activities.erp import ErpActivities
from activities.heartbeats import HEARTBEAT_TIMEOUT
from activities.salesforce import SalesforceActivities
from closedwon import names
from closedwon.model.erp_calls import CancelOrder, CreateOrder, FindOrder, FollowOrder, ResolveOrder
from closedwon.model.order_state import OrderStart, OrderState
from closedwon.model.records import ReadRecord, WriteBack
from workflows.commands import Commands
from workflows.patience import TAKEN_WITHIN, Patience, was_not_taken
from workflows.presenter import Presenter
from workflows.problems import problem_in, problem_of
from workflows.stops import ProblemError, StoppedError

_ERP_CALL: Final = timedelta(minutes=15)
"""Longest single hand-over to the ERP; a dead worker is noticed much sooner, by its heartbeat."""

_SALESFORCE_CALL: Final = timedelta(minutes=2)
"""Longest single Salesforce call, its waiting for a shared batch included."""
_AT_ONCE: Final[workflow.LocalActivityConfig] = {
    "schedule_to_close_timeout": LONGEST,
    "retry_policy": RetryPolicy(maximum_attempts=1),
    "cancellation_type": workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
}

_SalesforceRequest = TypeVar("_SalesforceRequest", ReadRecord, WriteBack)
_Request = TypeVar("_Request", CancelOrder, CreateOrder, FindOrder, FollowOrder, ResolveOrder)
_Result = TypeVar("_Result")


def never() -> bool:
    """No news ends the waiting."""
    return False


class ActivityRunner:
    """Runs the activities of one order."""

    def __init__(self, start: OrderStart, state: OrderState, commands: Commands, presenter: Presenter) -> None:
        """`commands` may end the waiting, whose stage `presenter` shows."""
        self._start = start
        self._state = state
        self._commands = commands
        self._presenter = presenter
        self._has_waited = True
        """This task of the workflow is another one than that of the last local activity."""

    async def ask_erp(
        self,
        method: Callable[[ErpActivities, _Request], Awaitable[_Result]],
        request: _Request,
        *,
        interrupt: Callable[[], bool] = never,
        restart_on_retry: bool = False,
        **options: Unpack[workflow.ActivityConfig],
    ) -> _Result:
        """Run an activity on the queue of the request's ERP; `options` go beyond, or replace, what all steps share.

        If no worker takes it, the ERP may have another name by now: then it goes to the queue of all workers, which
        look in all of their ERPs. That queue respects the strictest limit, so a paused ERP is still left alone.
        A creation goes nowhere else: `retry` reads the record again, and so learns the name.
        """
        config: workflow.ActivityConfig = {
            "task_queue": names.erp_queue(request.erp),
            **self.patience(_ERP_CALL),
            **options,
        }
        on_all: workflow.ActivityConfig = {**config, "task_queue": names.erp_queue(None)}
        is_named = bool(request.erp) and not isinstance(request, CreateOrder)
        if is_named:
            config["schedule_to_start_timeout"] = TAKEN_WITHIN
        return await self.run(
            lambda: workflow.start_activity_method(method, request, **config),
            elsewhere=(lambda: workflow.start_activity_method(method, request, **on_all)) if is_named else None,
            interrupt=interrupt,
            restart_on_retry=restart_on_retry,
        )

    async def ask_salesforce(
        self,
        method: Callable[[SalesforceActivities, _SalesforceRequest], Awaitable[_Result]],
        request: _SalesforceRequest,
        *,
        activity_id: str,
        summary: str,
        interrupt: Callable[[], bool] = never,
        at_once: bool = False,
    ) -> _Result:
        """Run a Salesforce activity, `at_once` if that is possible; `interrupt` ends the waiting."""
        local: workflow.LocalActivityConfig = {**_AT_ONCE, "activity_id": activity_id, "summary": summary}
        return await self.run(
            lambda: self.start_salesforce(method, request, activity_id=activity_id, summary=summary),
            at_once=(
                (lambda: workflow.start_local_activity_method(method, request, **local))
                if at_once and self._goes_straight()
                else None
            ),
            interrupt=interrupt,
        )

    def start_salesforce(
        self,
        method: Callable[[SalesforceActivities, _SalesforceRequest], Awaitable[_Result]],
        request: _SalesforceRequest,
        *,
        activity_id: str,
        summary: str,
    ) -> workflow.ActivityHandle[_Result]:
        """Schedule a regular Salesforce activity."""
        return workflow.start_activity_method(
            method,
            request,
            activity_id=activity_id,
            summary=summary,
            **self.patience(_SALESFORCE_CALL),
        )

    def _goes_straight(self) -> bool:
        """Whether it is a new order that nothing has stopped yet, in a task that has run no local activity."""
        is_new = self._start.state is None and self._state.deciding is None
        return is_new and self._presenter.is_straight and self._has_waited

    async def run(
        self,
        schedule: Callable[[], workflow.ActivityHandle[_Result]],
        *,
        at_once: Callable[[], workflow.ActivityHandle[_Result]] | None = None,
        elsewhere: Callable[[], workflow.ActivityHandle[_Result]] | None = None,
        interrupt: Callable[[], bool] = never,
        restart_on_retry: bool = False,
    ) -> _Result:
        """Run an activity to its end. A decision, or `interrupt`, ends the waiting for its next attempt.

        `at_once` is tried first, and once; `elsewhere` takes over if no worker takes the activity. `retry` makes the
        next attempt happen now or, with `restart_on_retry`, ends the waiting as well. Either way an attempt that is
        under way is waited for: its true outcome counts, and an order that was created wins over a late decision (the
        caller sees that afterwards, and asks the ERP before it carries it out).
        """
        commands = self._commands
        once_more, begun = True, False
        while once_more and not commands.decision_asked():
            self._state.retry_asked, once_more = False, not restart_on_retry
            if workflow.info().is_continue_as_new_suggested() or interrupt():
                break
            is_local = at_once is not None
            if not is_local:
                self._presenter.show()
            handle, begun, at_once = (at_once or schedule)(), True, None
            is_done = handle.done
            await commands.until(lambda: is_done() or interrupt())  # noqa: B023 - awaited before the next round
            if not handle.done():
                handle.cancel()  # backing off: ends at once; in flight: waits for the truth
            self._has_waited = not is_local
            try:
                return await handle
            except FailureError as error:
                if elsewhere is not None and was_not_taken(error):
                    schedule, elsewhere, once_more = elsewhere, None, True
                    continue
                can_wait = is_local and problem_in(error) is None
                if not (can_wait or commands.any_asked() or interrupt()):
                    raise ProblemError(problem_of(error)) from None
            except asyncio.CancelledError:
                # The command and the activity's result came in one batch; the SDK then drops the result. What was
                # done there is found again: every step may be repeated, and a decision asks the ERP what it has.
                if not (commands.any_asked() or interrupt()):
                    raise
        raise StoppedError(unanswered=begun)

    def patience(self, longest: timedelta) -> Patience:
        """Options that all steps share: patient retries, seen in the UI under pending activities, free in history."""
        retry_settings = self._start.retry_settings
        return {
            "start_to_close_timeout": longest,
            "schedule_to_close_timeout": retry_settings.retry_for,
            "heartbeat_timeout": HEARTBEAT_TIMEOUT,
            "retry_policy": RetryPolicy(
                initial_interval=retry_settings.initial_interval,
                maximum_interval=retry_settings.maximum_interval,
                backoff_coefficient=2.0,
            ),
            "cancellation_type": workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        }
