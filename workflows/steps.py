"""The steps of an order: which activity runs, on which queue, with which retries, and what may end the waiting for it.

No decisions: `workflows.order` decides what follows from an answer or a problem.

**Every step can be repeated.** An activity looks before it writes, so the same step may run twice: after a worker has
died, after a lost answer, in a new run of the workflow. A step therefore never asks whether it ran before.

**What ends a step** is its activity, a decision of an operator, or news; see `workflows.activity_runner`.

**Doubt.** A write to the ERP whose answer is missing may still take effect, until the ERP's in-doubt time
(`erps.in_doubt_for`) is over. Every result and every problem says since when there is such a write
(`in_doubt_since`). What follows depends on the kind of write:

- A late *creation* is harmless if the order is found by its key. If no order is found, the workflow must not end yet:
  the next look, cancel or resolve waits until the time is over (`state.in_doubt`, sent as `unanswered_at`).
- A late *amend*, *cancel* or *reopen* could overwrite what was written after it. An ERP that fences writes by a version
  refuses it. Otherwise the order is compared once more when the time is over (`state.check_since`, stage `checking`).

**Invariants.** `state.placed_for` and `state.written` are cleared before a write and set by its answer: while they are
empty, either state is possible. `state.tried` is set before the first creation and stays set for the run.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

from activities.erp import ErpActivities
from activities.salesforce import NEEDS_ATTENTION, SalesforceActivities
from closedwon import names
from closedwon.errors import AttentionReason
from closedwon.model.commands import Decision
from closedwon.model.erp import ErpOrder, ErpStatus
from closedwon.model.erp_calls import (
    CancelOrder,
    CreateOrder,
    ErpResult,
    FindOrder,
    FollowOrder,
    Resolved,
    ResolveOrder,
)
from closedwon.model.messages import Message
from closedwon.model.order_state import OrderStart, OrderState, Problem
from closedwon.model.orders import Order, idempotency_key
from closedwon.model.records import ReadRecord, WriteBack
from closedwon.model.routes import Following
from closedwon.model.snapshot import RecordSnapshot, Wanted
from closedwon.money import money
from closedwon.safe_text import markdown
from workflows.activity_runner import ActivityRunner, never
from workflows.commands import Commands
from workflows.presenter import Presenter
from workflows.problems import problem_of
from workflows.stops import ProblemError, StoppedError

_SHOWN: Final = 60
"""Characters of a deal's name in a summary, which Temporal bounds in bytes."""
_MOST_REPORTS: Final = 5
_REPORTS_SPAN: Final = timedelta(hours=1)


class Steps:
    """One record's calls to Salesforce and to the ERP. Each may raise `StoppedError` or `ProblemError`."""

    def __init__(self, start: OrderStart, state: OrderState, commands: Commands, presenter: Presenter) -> None:
        """Take whose order it is, who may interrupt, and what shows for which step the order waits."""
        self._start = start
        self._state = state
        self._commands = commands
        self._runner = ActivityRunner(start, state, commands, presenter)
        self._key = idempotency_key(start.org, start.record)
        self._reported = ""
        self._reports: deque[datetime] = deque(maxlen=_MOST_REPORTS)

    async def load(self, notification: Message | None, *, at_once: bool = False) -> RecordSnapshot:
        """Read the record; `at_once`, if it can be read so."""
        request = ReadRecord(
            org=self._start.org,
            record=self._start.record,
            route=self._start.route,
            session=self._state.session,
            message=notification,
            stamped_at=self._state.notifications.stamped_at,
        )
        snapshot: RecordSnapshot = await self._runner.ask_salesforce(
            SalesforceActivities.load_order,
            request,
            activity_id="load-order",
            summary=f"read {self._start.record} from Salesforce",
            at_once=at_once,
        )
        self._state.written = {**self._state.written, **snapshot.written}
        self._state.has_agreed = self._state.has_agreed or snapshot.is_placed is True
        return snapshot

    async def create(self, wanted: Wanted, *, reopen: bool, interrupt: Callable[[], bool]) -> ErpResult:
        """Have the order made in the ERP that the record picks, or find it there; `interrupt` ends the waiting.

        With `reopen` one that was cancelled is taken up again. `retry` ends the waiting, too: the record is read again,
        because its route may name another ERP by now, and no worker may poll the queue of this one.
        """
        state, order, erp = self._state, wanted.order, wanted.erp
        state.placed_for = None  # until it is answered, the ERP may have either state of the record
        may_be_earlier = wanted.is_placed is None and not state.tried
        state.placed_in, state.erp, state.tried = erp, None if wanted.other_erps else erp, True
        request = CreateOrder(
            erp=erp,
            order=order,
            other_erps=wanted.other_erps,
            number=wanted.number,
            number_is_proven=wanted.number_is_proven,
            unproven_status=wanted.unproven_status,
            on_changed=wanted.policies.on_changed,
            has_agreed=state.has_agreed,
            may_be_earlier=may_be_earlier,
            needs_number=wanted.needs_number,
            is_read=not self._start.late_message_window,
            reopen=reopen,
            remembers=self._start.late_message_window > timedelta(0),
            unanswered_at=state.newest_doubt(except_in=erp),
            check_since=state.check_since if self._is_checking() else None,
        )
        commutes = wanted.policies.on_changed != "amend" and not reopen
        try:
            result: ErpResult = await self._runner.ask_erp(
                ErpActivities.create_order,
                request,
                task_queue=names.erp_queue(state.erp),
                activity_id="create-order",
                summary=f"order in {erp}: {markdown(order.name[:_SHOWN])}, {money(order.amount, order.currency)}",
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
        self,
        *,
        by_policy: bool = False,
        modified_at: datetime | None = None,
        is_deleted: bool = False,
        interrupt: Callable[[], bool] = never,
    ) -> ErpResult:
        """Cancel what the ERP has, if it has anything; `interrupt` ends the waiting.

        The ERP is always asked: an attempt without an answer may have succeeded, and so may an earlier run.
        `by_policy`: no person asks for it, so only an order that Closedwon made is cancelled, and none that was made of
        something newer than `modified_at`.
        """
        state, has_agreed = self._state, self._state.has_agreed
        state.placed_for, state.has_agreed = None, False  # as in `create`
        request = CancelOrder(
            erp=state.erp,
            idempotency_key=self._key,
            has_order=state.has_order,
            unanswered_at=state.newest_doubt(),
            by_policy=by_policy,
            modified_at=modified_at,
            remembers=self._start.late_message_window > timedelta(0) and not self._is_checking(),
            is_read=not self._start.late_message_window,
            is_deleted=is_deleted,
            check_since=state.check_since if self._is_checking() else None,
        )
        try:
            result: ErpResult = await self._runner.ask_erp(
                ErpActivities.cancel_order,
                request,
                activity_id="cancel-order",
                summary=f"cancel the order of {self._start.record}, if there is one",
                interrupt=interrupt,
            )
        except (StoppedError, ProblemError) as stop:
            self._note_write(stop.in_doubt_since, commutes=False)
            state.check_reopens |= stop.in_doubt_since is not None
            raise
        state.has_agreed = has_agreed and result.order is not None and result.order.status is not ErpStatus.CANCELLED
        self._note_write(result.in_doubt_since, result.order, commutes=False, is_answered=True)
        state.check_reopens |= result.in_doubt_since is not None
        return result

    async def find(self, *, interrupt: Callable[[], bool] = never) -> ErpOrder | None:
        """Ask what the ERP has under the record's key; `interrupt` ends the waiting.

        As a check (stage `checking`) it asks when a late effect can no longer come.
        """
        state, is_check = self._state, self._is_checking()
        request = FindOrder(
            erp=state.erp,
            idempotency_key=self._key,
            has_order=state.has_order,
            unanswered_at=state.newest_doubt(),
            check_since=state.check_since if is_check else None,
        )
        found = await self._runner.ask_erp(
            ErpActivities.find_order,
            request,
            activity_id="find-order",
            summary=f"ask for the order of {self._start.record}, if there is one",
            interrupt=interrupt,
        )
        if is_check:
            state.check_since, state.check_reopens = None, False
        return found

    async def follow(
        self, known: ErpOrder, following: Following, left: timedelta, *, interrupt: Callable[[], bool]
    ) -> ErpOrder | None:
        """Wait until the order has changed in the ERP; `known` when the time `left` is over, None when it is gone.

        Each look is an attempt of one activity, so the waiting adds nothing to the history and holds no worker.
        """
        request = FollowOrder(erp=self._state.placed_in, idempotency_key=self._key, known=known)
        retry = RetryPolicy(
            initial_interval=following.initial_interval,
            maximum_interval=following.maximum_interval,
            backoff_coefficient=2.0,
        )
        try:
            return await self._runner.ask_erp(
                ErpActivities.follow_order,
                request,
                activity_id="follow-order",
                summary=f"follow order {markdown(known.number or known.id)} of {self._start.record}",
                interrupt=interrupt,
                schedule_to_close_timeout=left,
                retry_policy=retry,
            )
        except ProblemError as stop:
            if stop.problem.reason is AttentionReason.RETRIES_EXHAUSTED:
                return known
            raise

    async def resolve(self, decision: Decision) -> Resolved:
        """Compare the order that people call by the decision's number with the record, and use it for the record.

        The record is read first: the operator may have named the number before it was ever read, or may have corrected
        the record since. Nothing agrees with a record that cannot be read, or asks for no order now: what it asked for
        before proves nothing.
        """
        state, order = self._state, self._state.order
        if not decision.accept_differences:
            order = await self._asked_for_now()
            state.order = order or state.order
        state.placed_in = state.erp
        request = ResolveOrder(
            erp=state.erp,
            idempotency_key=self._key,
            unanswered_at=state.newest_doubt(),
            number=decision.number or "",
            order=order,
            accept_differences=decision.accept_differences,
        )
        return await self._runner.ask_erp(
            ErpActivities.resolve_order,
            request,
            activity_id="resolve-order",
            summary=f"use {markdown(str(decision.number))} as the order of {self._start.record}",
        )

    async def _asked_for_now(self) -> Order | None:
        """Read what the record asks for; None if it asks for nothing, or cannot be read."""
        with suppress(ProblemError):
            snapshot = await self.load(self._state.notifications.newest)
            return snapshot.order if isinstance(snapshot, Wanted) else None
        return None

    async def write_back(
        self,
        *,
        order: ErpOrder | None = None,
        status: str | None = None,
        since: datetime | None = None,
        is_wanted: bool = False,
        interrupt: Callable[[], bool] = never,
    ) -> WriteBack:
        """Write to Salesforce, unless something ends the waiting; return what was written. Fields as in `WriteBack`."""
        request = self._write_request(order=order, status=status, since=since, is_wanted=is_wanted)
        self._state.written = {}  # not known until it is answered: an attempt whose reply is lost may have written
        written = str(request.order.number if request.order else request.status)
        self._state.written = await self._runner.ask_salesforce(
            SalesforceActivities.write_back,
            request,
            activity_id="write-back",
            summary=f"write {markdown(written)} to {request.record}",
            interrupt=interrupt,
            at_once=True,
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
        request = self._write_request(order=placed, status=NEEDS_ATTENTION, error=problem.message)
        handle = self._runner.start_salesforce(
            SalesforceActivities.write_back,
            request,
            activity_id="report-problem",
            summary=f"report {problem.reason} to {request.record}",
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

    def _write_request(
        self,
        *,
        order: ErpOrder | None,
        status: str | None,
        error: str | None = None,
        since: datetime | None = None,
        is_wanted: bool = False,
    ) -> WriteBack:
        return WriteBack(
            org=self._start.org,
            record=self._start.record,
            route=self._start.route,
            session=self._state.session,
            order=order,
            status=status,
            error=error,
            since=since,
            written=self._state.written,
            is_wanted=is_wanted,
        )

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
