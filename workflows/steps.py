"""The steps of an order: which activity, on which queue, how patiently; each is run to its end or stopped by a command.

No decisions: what follows from an answer or a problem is `workflows.order`'s business.
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

from activities.erp import CancelOrder, CreateOrder, ErpActivities, FindOrder, FollowOrder, Resolved, ResolveOrder
from activities.failures import HEARTBEAT_TIMEOUT, Problem
from activities.salesforce import NEEDS_ATTENTION, LookAt, SalesforceActivities, WriteBack
from closedwon import names
from closedwon.errors import AttentionReason
from closedwon.model import ErpOrder, Following, Message, Order, OrderStart, idempotency_key
from closedwon.snapshot import RecordSnapshot, Values
from workflows.commands import Commands
from workflows.looks import Look, look_of
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
    """The step did not come to its end: a decision arrived, or the history grows too long. Look afresh."""

    def __init__(self, *, unanswered: bool) -> None:
        """`unanswered`: it was begun, and what came of it is not known."""
        super().__init__()
        self.unanswered = unanswered


class ProblemError(Exception):
    """The step failed, and no retry can help."""

    def __init__(self, problem: Problem) -> None:
        """Take what to tell people."""
        super().__init__(problem.reason)
        self.problem = problem

    @property
    def unanswered(self) -> bool:
        """As above: nobody has answered."""
        return self.problem.reason in _NO_ANSWER


def _never() -> bool:
    return False


class Steps:
    """One record's calls to Salesforce and to the ERP. Each may raise `StoppedError` or `ProblemError`."""

    def __init__(self, start: OrderStart, commands: Commands) -> None:
        """Take whose order it is, and who may interrupt."""
        self._start = start
        self._commands = commands
        self._key = idempotency_key(start.org, start.record)
        self._address: dict[str, Any] = {"org": start.org, "record": start.record, "route": start.route}
        self.session: str | None = None
        """The session id that came with the newest word, sealed."""
        self._erp: str | None = None
        self._written: Values = {}
        """What Salesforce's fields hold, as far as it is known."""
        self._placed_in: str | None = None
        self.tried = False
        """The ERP was asked for the order in this run; it may have made it, whatever it answered."""
        self._unanswered: dict[str | None, datetime] = {None: start.unanswered_at} if start.unanswered_at else {}
        """By ERP (None: not known any more), when the last attempt to have it made was given up without an answer."""
        self._reported = ""
        self._reports: deque[datetime] = deque(maxlen=_MOST_REPORTS)

    @property
    def unanswered_at(self) -> datetime | None:
        """When the last attempt to have the order made was given up without an answer; None: all were answered."""
        return max(self._unanswered.values(), default=None)

    async def load(self, payload: Message | None) -> Look:
        """Read the record."""
        request = LookAt(**self._record(), message=payload)
        found: RecordSnapshot = await self._run(
            lambda: workflow.start_activity_method(
                SalesforceActivities.load_order,
                request,
                activity_id="load-order",
                summary=f"read {self._start.record} from Salesforce",
                start_to_close_timeout=_SALESFORCE_CALL,
                **self._pace(),
            )
        )
        look = look_of(found)
        self._written = {**self._written, **look.written}
        if not self.tried:
            self._erp = None if look.other_erps else look.erp
        return look

    async def create(self, order: Order, look: Look, *, reopen: bool, unless: Callable[[], bool]) -> ErpOrder:
        """Have the order made in the ERP that the look names, or find it there; `unless` ends the waiting.

        With `reopen` one that was cancelled is taken up again. `retry` ends the waiting, too: the record is to be read
        afresh, for its route may name another ERP by now, and nobody may serve the queue of this one any more.
        """
        erp = self._placed_in = look.erp or ""
        self._erp, self.tried = None if look.other_erps else erp, True
        request = CreateOrder(
            erp=erp,
            order=order,
            other_erps=look.other_erps,
            number=look.number,
            changed=look.policies.changed,
            reopen=reopen,
            unanswered_at=max((at for name, at in self._unanswered.items() if name != erp), default=None),
        )
        try:
            placed = await self._ask_erp(
                ErpActivities.create_order,
                request,
                task_queue=names.erp_queue(self._erp),
                activity_id="create-order",
                summary=f"order in {erp}: {order.name[:_SHOWN]}, {order.amount.normalize():f} {order.currency}",
                unless=unless,
                afresh=True,
            )
        except (StoppedError, ProblemError) as stop:
            if stop.unanswered:
                self._unanswered[erp] = workflow.now()
            raise
        self._unanswered.clear()
        return placed

    async def cancel(self, *, unless: Callable[[], bool] = _never) -> ErpOrder | None:
        """Cancel what the ERP has, if it has anything; `unless` ends the waiting.

        The ERP is always asked: an attempt without an answer may have succeeded, and so may an earlier run.
        """
        request = CancelOrder(**self._wanted())
        return await self._ask_erp(
            ErpActivities.cancel_order,
            request,
            activity_id="cancel-order",
            summary=f"cancel the order of {self._start.record}, if there is one",
            unless=unless,
        )

    async def find(self, *, unless: Callable[[], bool] = _never) -> ErpOrder | None:
        """Ask what the ERP has under the record's key; `unless` ends the waiting."""
        request = FindOrder(**self._wanted())
        return await self._ask_erp(
            ErpActivities.find_order,
            request,
            activity_id="find-order",
            summary=f"ask for the order of {self._start.record}, if there is one",
            unless=unless,
        )

    async def follow(
        self, known: ErpOrder, following: Following, left: timedelta, *, unless: Callable[[], bool]
    ) -> ErpOrder | None:
        """Wait until the ERP has something new of the order; None when it has it no more, or the time `left` is over.

        Each look is an attempt of one activity, so the waiting adds nothing to the history and holds no worker.
        """
        request = FollowOrder(erp=self._placed_in, idempotency_key=self._key, known=known)
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
                summary=f"watch order {known.number or known.id} of {self._start.record}",
                unless=unless,
                schedule_to_close_timeout=left,
                retry_policy=retry,
            )
        except ProblemError as stop:
            if stop.problem.reason is AttentionReason.HORIZON_PASSED:
                return None
            raise

    async def resolve(self, number: str) -> Resolved:
        """Take the order that people call `number` for the record's one."""
        self._placed_in = self._erp
        request = ResolveOrder(**self._wanted(), number=number)
        return await self._ask_erp(
            ErpActivities.resolve_order,
            request,
            activity_id="resolve-order",
            summary=f"take {number} for the order of {self._start.record}",
        )

    async def write_back(self, *, unless: Callable[[], bool] = _never, **content: Any) -> WriteBack:
        """Tell Salesforce, unless something ends the waiting; return what it was told."""
        request = WriteBack(**self._record(), **content, written=self._written)
        self._written = {}  # not known until it is answered: an attempt whose reply is lost may have written
        self._written = await self._run(
            lambda: workflow.start_activity_method(
                SalesforceActivities.write_back,
                request,
                activity_id="write-back",
                summary=f"write {request.order.number if request.order else request.status} to {request.record}",
                start_to_close_timeout=_SALESFORCE_CALL,
                **self._pace(),
            ),
            unless=unless,
        )
        return request

    async def report(self, problem: Problem, placed: ErpOrder | None, *, unless: Callable[[], bool]) -> str:
        """Write the problem to the record, if Salesforce takes it at once or soon; return what came of it.

        A command, or `unless`, ends the trying. Raises nothing: who reports has a problem already. A report may come
        back as word of the record, where our user's writes send outbound messages, and so lead to the next one: texts
        that vary are written some times an hour only.
        """
        if problem.message != self._reported and not self._may_report():
            return f"the record in Salesforce was told of {_MOST_REPORTS} problems within the hour, and not of this one"
        self._reported = problem.message
        request = WriteBack(
            **self._record(), order=placed, status=NEEDS_ATTENTION, error=problem.message, written=self._written
        )
        handle = workflow.start_activity_method(
            SalesforceActivities.write_back,
            request,
            activity_id="report-problem",
            summary=f"report {problem.reason} to {request.record}",
            start_to_close_timeout=_SALESFORCE_CALL,
            **self._pace(),
        )
        self._written = {}  # as for every write-back
        await self._commands.until(lambda: handle.done() or unless())
        if not handle.done():
            handle.cancel()
        try:
            self._written = await handle
        except asyncio.CancelledError:
            if not (self._commands.any_asked() or unless()):
                raise
            return "the problem was not written to the record: something else came first"
        except ActivityError as error:
            return f"the problem could not be written to the record: {problem_of(error).message}"
        return "the record in Salesforce says so, too"

    def _record(self) -> dict[str, Any]:
        return {**self._address, "session": self.session}

    def _wanted(self) -> dict[str, Any]:
        return {"erp": self._erp, "idempotency_key": self._key, "unanswered_at": self.unanswered_at}

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
        unless: Callable[[], bool] = _never,
        afresh: bool = False,
        **options: Any,
    ) -> _Result:
        """Run an activity on the queue of the request's ERP; `options` go beyond, or replace, what all steps share."""
        shared = {"task_queue": names.erp_queue(request.erp), "start_to_close_timeout": _ERP_CALL, **self._pace()}
        return await self._run(
            lambda: workflow.start_activity_method(method, request, **shared | options), unless=unless, afresh=afresh
        )

    async def _run(
        self,
        schedule: Callable[[], workflow.ActivityHandle[_Result]],
        *,
        unless: Callable[[], bool] = _never,
        afresh: bool = False,
    ) -> _Result:
        """Run an activity to its end. A decision, or `unless`, ends the waiting for its next attempt.

        `retry` makes that attempt happen now or, with `afresh`, ends the waiting as well. Either way an attempt that is
        under way is waited for: its true outcome counts, and an order that was created wins over a late decision (the
        caller sees that afterwards, and asks the ERP before it carries it out).
        """
        commands = self._commands
        once_more, begun = True, False
        while once_more and not commands.decision_asked():
            commands.retry_asked, once_more = False, not afresh
            if workflow.info().is_continue_as_new_suggested() or unless():
                break
            handle, begun = schedule(), True
            is_done = handle.done
            await commands.until(lambda: is_done() or unless())  # noqa: B023 - awaited before the next round
            if not handle.done():
                handle.cancel()  # backing off: ends at once; in flight: waits for the truth
            try:
                return await handle
            except ActivityError as error:
                if not (commands.any_asked() or unless()):
                    raise ProblemError(problem_of(error)) from None
            except asyncio.CancelledError:
                # The command and the activity's result came in one batch; the SDK then drops the result. What was
                # done there is found again: every step may be repeated, and a decision asks the ERP what it has.
                if not (commands.any_asked() or unless()):
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
