"""The steps of an order: which activity, on which queue, how patiently; each runs to its end, or a command stops it.

No decisions: what follows from an answer or a problem is the business of `workflows.order`.

Doubt. A write to the ERP whose answer is missing may still take effect, until the ERP's in-doubt time (`erps.settle`)
is over. Every result and every problem says since when there is such a write (`in_doubt_since`). A late *creation* is
harmless where the order is found by its key; where none is found, the end of the order waits (`state.in_doubt`). A
late *amend*, *cancel* or *reopen* could overwrite what came after it. Where the ERP fences writes by a version it
cannot; elsewhere the order is compared once more when the time is over (`state.check_since`). Otherwise nothing waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

from activities.erp import (
    CancelOrder,
    CreateOrder,
    ErpActivities,
    ErpResult,
    FindOrder,
    FollowOrder,
    Resolved,
    ResolveOrder,
)
from activities.failures import HEARTBEAT_TIMEOUT
from activities.salesforce import NEEDS_ATTENTION, LookAt, SalesforceActivities, WriteBack
from closedwon import names
from closedwon.errors import AttentionReason
from closedwon.model import Decision, ErpOrder, Following, Message, idempotency_key
from closedwon.money import money
from closedwon.order_state import OrderStart, OrderState, Problem
from closedwon.snapshot import RecordSnapshot, Wanted
from workflows.commands import Commands
from workflows.problems import problem_of

_SALESFORCE_CALL: Final = timedelta(minutes=2)
"""Longest single Salesforce call, its waiting for a shared batch included."""
_ERP_CALL: Final = timedelta(minutes=15)
"""Longest single hand-over to the ERP; a dead worker is noticed much sooner, by its heartbeat."""
_SHOWN: Final = 60
"""Characters of a deal's name in a summary, which Temporal bounds in bytes."""
_MOST_REPORTS: Final = 5
_REPORTS_SPAN: Final = timedelta(hours=1)
_NO_ANSWER: Final = frozenset({AttentionReason.HORIZON_PASSED, AttentionReason.UNFORESEEN})

_Request = TypeVar("_Request", CancelOrder, CreateOrder, FindOrder, FollowOrder, ResolveOrder)
_Result = TypeVar("_Result")


class StoppedError(Exception):
    """The step did not come to its end: a decision arrived, or the history grows too long. Read everything again."""

    def __init__(self, *, unanswered: bool) -> None:
        """`unanswered`: it was begun, and what came of it is not known."""
        super().__init__()
        self.in_doubt_since = workflow.now() if unanswered else None


class ProblemError(Exception):
    """The step failed, and no retry can help."""

    def __init__(self, problem: Problem) -> None:
        """Take what to show to people."""
        super().__init__(problem.reason)
        self.problem = problem

    @property
    def in_doubt_since(self) -> datetime | None:
        """As the activity says; one that ended without an answer of the ERP is in doubt in any case."""
        if self.problem.in_doubt_since is None and self.problem.reason in _NO_ANSWER:
            return workflow.now()
        return self.problem.in_doubt_since


def _never() -> bool:
    return False


class Steps:
    """One record's calls to Salesforce and to the ERP. Each may raise `StoppedError` or `ProblemError`."""

    def __init__(self, start: OrderStart, state: OrderState, commands: Commands) -> None:
        """Take whose order it is, and who may interrupt."""
        self._start = start
        self._state = state
        self._commands = commands
        self._key = idempotency_key(start.org, start.record)
        self._address: dict[str, Any] = {"org": start.org, "record": start.record, "route": start.route}
        self._reported = ""
        self._reports: deque[datetime] = deque(maxlen=_MOST_REPORTS)

    async def load(self, notification: Message | None) -> RecordSnapshot:
        """Read the record."""
        request = LookAt(**self._record(), message=notification)
        snapshot: RecordSnapshot = await self._run(
            lambda: workflow.start_activity_method(
                SalesforceActivities.load_order,
                request,
                activity_id="load-order",
                summary=f"read {self._start.record} from Salesforce",
                start_to_close_timeout=_SALESFORCE_CALL,
                **self._pace(),
            )
        )
        self._state.written = {**self._state.written, **snapshot.written}
        return snapshot

    async def create(self, wanted: Wanted, *, reopen: bool, interrupt: Callable[[], bool]) -> ErpResult:
        """Have the order made in the ERP that the record picks, or find it there; `interrupt` ends the waiting.

        With `reopen` one that was cancelled is taken up again. `retry` ends the waiting, too: the record is read again,
        because its route may name another ERP by now, and no worker may poll the queue of this one.
        """
        state, order, erp = self._state, wanted.order, wanted.erp
        state.placed_for = None  # until it is answered, the ERP may have either state of the record
        state.placed_in, state.erp, state.tried = erp, None if wanted.other_erps else erp, True
        request = CreateOrder(
            erp=erp,
            order=order,
            other_erps=wanted.other_erps,
            number=wanted.number,
            number_is_proven=wanted.number_is_proven,
            unproven_status=wanted.unproven_status,
            changed=wanted.policies.changed,
            reopen=reopen,
            remembers=self._start.remember > timedelta(0),
            unanswered_at=state.newest_doubt(except_in=erp),
            check_since=state.check_since if self._is_checking() else None,
        )
        commutes = wanted.policies.changed != "amend" and not reopen
        try:
            result: ErpResult = await self._ask_erp(
                ErpActivities.create_order,
                request,
                task_queue=names.erp_queue(state.erp),
                activity_id="create-order",
                summary=f"order in {erp}: {order.name[:_SHOWN]}, {money(order.amount, order.currency)}",
                interrupt=interrupt,
                restart_on_retry=not self._is_checking(),
            )
        except (StoppedError, ProblemError) as stop:
            if stop.in_doubt_since is not None:
                state.note_doubt(erp, stop.in_doubt_since)
            self._note_write(stop.in_doubt_since, commutes=commutes)
            raise
        state.in_doubt.clear()
        self._note_write(result.in_doubt_since, result.order, commutes=commutes, is_answered=True)
        return result

    async def cancel(
        self, *, by_policy: bool = False, modified_at: datetime | None = None, interrupt: Callable[[], bool] = _never
    ) -> ErpResult:
        """Cancel what the ERP has, if it has anything; `interrupt` ends the waiting.

        The ERP is always asked: an attempt without an answer may have succeeded, and so may an earlier run.
        `by_policy`: no person asks for it, so only an order that Closedwon made is cancelled, and none that was made of
        something newer than `modified_at`.
        """
        self._state.placed_for = None  # as in `create`
        request = CancelOrder(
            **self._wanted(),
            by_policy=by_policy,
            modified_at=modified_at,
            check_since=self._state.check_since if self._is_checking() else None,
        )
        try:
            result: ErpResult = await self._ask_erp(
                ErpActivities.cancel_order,
                request,
                activity_id="cancel-order",
                summary=f"cancel the order of {self._start.record}, if there is one",
                interrupt=interrupt,
            )
        except (StoppedError, ProblemError) as stop:
            self._note_write(stop.in_doubt_since, commutes=False)
            self._state.check_reopens |= stop.in_doubt_since is not None
            raise
        self._note_write(result.in_doubt_since, result.order, commutes=False, is_answered=True)
        self._state.check_reopens |= result.in_doubt_since is not None
        return result

    async def find(self, *, interrupt: Callable[[], bool] = _never) -> ErpOrder | None:
        """Ask what the ERP has under the record's key; `interrupt` ends the waiting."""
        request = FindOrder(**self._wanted())
        return await self._ask_erp(
            ErpActivities.find_order,
            request,
            activity_id="find-order",
            summary=f"ask for the order of {self._start.record}, if there is one",
            interrupt=interrupt,
        )

    async def follow(
        self, known: ErpOrder, following: Following, left: timedelta, *, interrupt: Callable[[], bool]
    ) -> ErpOrder | None:
        """Wait until the order has changed in the ERP; None when it is no longer there, or the time `left` is over.

        Each look is an attempt of one activity, so the waiting adds nothing to the history and holds no worker.
        """
        request = FollowOrder(erp=self._state.placed_in, idempotency_key=self._key, known=known)
        retry = RetryPolicy(
            initial_interval=following.first_interval,
            maximum_interval=following.longest_interval,
            backoff_coefficient=2.0,
        )
        try:
            return await self._ask_erp(
                ErpActivities.follow_order,
                request,
                activity_id="follow-order",
                summary=f"follow order {known.number or known.id} of {self._start.record}",
                interrupt=interrupt,
                schedule_to_close_timeout=left,
                retry_policy=retry,
            )
        except ProblemError as stop:
            if stop.problem.reason is AttentionReason.HORIZON_PASSED:
                return None
            raise

    async def resolve(self, decision: Decision) -> Resolved:
        """Compare the order that people call by the decision's number, and use it for the record."""
        state = self._state
        state.placed_in = state.erp
        request = ResolveOrder(
            **self._wanted(),
            number=decision.number or "",
            order=state.order,
            accept_differences=decision.accept_differences,
        )
        return await self._ask_erp(
            ErpActivities.resolve_order,
            request,
            activity_id="resolve-order",
            summary=f"use {decision.number} as the order of {self._start.record}",
        )

    async def write_back(self, *, interrupt: Callable[[], bool] = _never, **content: Any) -> WriteBack:
        """Write to Salesforce, unless something ends the waiting; return what was written."""
        request = WriteBack(**self._record(), **content, written=self._state.written)
        self._state.written = {}  # not known until it is answered: an attempt whose reply is lost may have written
        self._state.written = await self._run(
            lambda: workflow.start_activity_method(
                SalesforceActivities.write_back,
                request,
                activity_id="write-back",
                summary=f"write {request.order.number if request.order else request.status} to {request.record}",
                start_to_close_timeout=_SALESFORCE_CALL,
                **self._pace(),
            ),
            interrupt=interrupt,
        )
        return request

    async def report(self, problem: Problem, placed: ErpOrder | None, *, interrupt: Callable[[], bool]) -> str:
        """Write the problem to the record, if Salesforce accepts it at once or soon; return what came of it.

        A command, or `interrupt`, ends the trying. Raises nothing: the caller has a problem already. A report may come
        back as a notification, where our user's writes send outbound messages, and so lead to the next one: texts that
        vary are written some times an hour only.
        """
        if problem.message != self._reported and not self._may_report():
            return f"{_MOST_REPORTS} problems were written to the record within the hour, so this one is not"
        self._reported = problem.message
        request = WriteBack(
            **self._record(), order=placed, status=NEEDS_ATTENTION, error=problem.message, written=self._state.written
        )
        handle = workflow.start_activity_method(
            SalesforceActivities.write_back,
            request,
            activity_id="report-problem",
            summary=f"report {problem.reason} to {request.record}",
            start_to_close_timeout=_SALESFORCE_CALL,
            **self._pace(),
        )
        self._state.written = {}  # as for every write-back
        await self._commands.until(lambda: handle.done() or interrupt())
        if not handle.done():
            handle.cancel()
        try:
            self._state.written = await handle
        except asyncio.CancelledError:
            if not (self._commands.any_asked() or interrupt()):
                raise
            return "the problem was not written to the record: something else came first"
        except ActivityError as error:
            return f"the problem could not be written to the record: {problem_of(error).message}"
        return "the problem was written to the record"

    def _record(self) -> dict[str, Any]:
        return {**self._address, "session": self._state.session}

    def _wanted(self) -> dict[str, Any]:
        return {
            "erp": self._state.erp,
            "idempotency_key": self._key,
            "unanswered_at": self._state.newest_doubt(),
        }

    def _is_checking(self) -> bool:
        return self._state.stage is names.OrderStage.CHECKING

    def _note_write(
        self,
        in_doubt_since: datetime | None,
        order: ErpOrder | None = None,
        *,
        commutes: bool,
        is_answered: bool = False,
    ) -> None:
        """Remember that the order must be compared once more, or that it has been."""
        state = self._state
        # A version fences a late write only once something newer was written: not while the step has no answer.
        is_fenced = is_answered and order is not None and order.version is not None
        if is_answered and self._is_checking():
            state.check_since, state.check_reopens = None, False
        if in_doubt_since is not None and not commutes and not is_fenced:
            state.check_since = max(state.check_since or in_doubt_since, in_doubt_since)

    def _may_report(self) -> bool:
        now = workflow.now()
        if len(self._reports) == _MOST_REPORTS and now - self._reports[0] < _REPORTS_SPAN:
            return False
        self._reports.append(now)
        return True

    async def _ask_erp(
        self,
        method: Callable[[ErpActivities, _Request], Awaitable[_Result]],
        request: _Request,
        *,
        interrupt: Callable[[], bool] = _never,
        restart_on_retry: bool = False,
        **options: Any,
    ) -> _Result:
        """Run an activity on the queue of the request's ERP; `options` go beyond, or replace, what all steps share."""
        shared = {"task_queue": names.erp_queue(request.erp), "start_to_close_timeout": _ERP_CALL, **self._pace()}
        return await self._run(
            lambda: workflow.start_activity_method(method, request, **shared | options),
            interrupt=interrupt,
            restart_on_retry=restart_on_retry,
        )

    async def _run(
        self,
        schedule: Callable[[], workflow.ActivityHandle[_Result]],
        *,
        interrupt: Callable[[], bool] = _never,
        restart_on_retry: bool = False,
    ) -> _Result:
        """Run an activity to its end. A decision, or `interrupt`, ends the waiting for its next attempt.

        `retry` makes that attempt happen now or, with `restart_on_retry`, ends the waiting as well. Either way an
        attempt that is under way is waited for: its true outcome counts, and an order that was created wins over a late
        decision (the caller sees that afterwards, and asks the ERP before it carries it out).
        """
        commands = self._commands
        once_more, begun = True, False
        while once_more and not commands.decision_asked():
            self._state.retry_asked, once_more = False, not restart_on_retry
            if workflow.info().is_continue_as_new_suggested() or interrupt():
                break
            handle, begun = schedule(), True
            is_done = handle.done
            await commands.until(lambda: is_done() or interrupt())  # noqa: B023 - awaited before the next round
            if not handle.done():
                handle.cancel()  # backing off: ends at once; in flight: waits for the truth
            try:
                return await handle
            except ActivityError as error:
                if not (commands.any_asked() or interrupt()):
                    raise ProblemError(problem_of(error)) from None
            except asyncio.CancelledError:
                # The command and the activity's result came in one batch; the SDK then drops the result. What was
                # done there is found again: every step may be repeated, and a decision asks the ERP what it has.
                if not (commands.any_asked() or interrupt()):
                    raise
        raise StoppedError(unanswered=begun)

    def _pace(self) -> dict[str, Any]:
        """Options that all steps share: patient retries, seen in the UI under pending activities, free in history."""
        pace = self._start.pace
        return {
            "schedule_to_close_timeout": pace.horizon,
            "heartbeat_timeout": HEARTBEAT_TIMEOUT,
            "retry_policy": RetryPolicy(
                initial_interval=pace.first_interval, maximum_interval=pace.longest_interval, backoff_coefficient=2.0
            ),
            "cancellation_type": workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        }
