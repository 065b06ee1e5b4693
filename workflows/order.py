"""The way of one won deal: look at the record, hand the order to the ERP, write back, end in a known state.

One workflow per record, started or signalled by every message about it. It decides; activities act. It ends as
completed, cancelled or not needed, or it stays open and needs attention until somebody sends `retry` or `cancel`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy, SearchAttributeKey
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from activities.erp import CancelOrder, CreateOrder, ErpActivities
    from activities.failures import HEARTBEAT_TIMEOUT, Problem
    from activities.salesforce import Look, LookAt, SalesforceActivities, Values, WriteBack
    from closedwon import names
    from closedwon.errors import AttentionReason
    from closedwon.model import ErpOrder, ErpStatus, Frozen, Message, Order, OrderStart, idempotency_key
    from closedwon.names import OrderStage
    from closedwon.telemetry import Metrics
    from workflows.problems import problem_of
    from workflows.story import Story

_SALESFORCE_CALL: Final = timedelta(minutes=2)
"""Longest single Salesforce call, its waiting for a shared batch included."""
_ERP_CALL: Final = timedelta(minutes=15)
"""Longest single hand-over to the ERP; a dead worker is noticed much sooner, by its heartbeat."""

_STAGE = SearchAttributeKey.for_keyword(names.ORDER_STAGE)
_REASON = SearchAttributeKey.for_keyword(names.ATTENTION_REASON)
_NUMBER = SearchAttributeKey.for_keyword(names.ERP_ORDER_NUMBER)

_Result = TypeVar("_Result")


class Outcome(Frozen):
    """How the workflow ended."""

    stage: OrderStage
    order: ErpOrder | None = None


class _StartOverError(Exception):
    """A person has mended something, or asks for haste: look at everything afresh."""


class _CancelRequestedError(Exception):
    """A cancel arrived while a step was under way and did not come to its end."""


@workflow.defn(name=names.ORDER_WORKFLOW)
class OrderWorkflow:
    """Carries one record to the ERP, once, and back."""

    @workflow.init
    def __init__(self, start: OrderStart) -> None:
        """State that signals change: `_news` and `_retry` are flags, cancels are counted."""
        self._start = start
        self._story = Story(start.record)
        self._metrics = Metrics(workflow.metric_meter())
        self._heard_at: datetime | None = None
        self._news = False
        self._payload = start.carried
        self._deleted = start.carried is not None and start.carried.deleted
        self._retry = False
        self._cancels = int(start.cancelling or self._deleted)
        self._cancels_answered = 0
        self._is_cancelling = False
        self._cancelled_at: datetime | None = None
        self._heard: set[str] = set()
        self._leaves_untold = False
        self._workflow_cancelled = False
        self._stage = OrderStage.LOADING
        self._order: Order | None = None
        self._erp: str | None = None
        self._placed: ErpOrder | None = None
        self._placed_for: Order | None = None
        self._written: Values = {}

    @workflow.signal(name=names.SIGNAL_NOTIFIED, description="Word of this record arrived from Salesforce.")
    def notified(self, message: Message) -> None:
        """Mark the record as worth another look."""
        is_late = self._is_late(message)
        self._heard.add(message.id)
        self._heard_at = self._heard_at or message.received_at
        self._story.heard(workflow.now(), message)
        if is_late:
            return
        self._news = True
        if message.deleted and not self._deleted:
            self._deleted, self._payload = True, message
            self._cancels += 1
        elif message.payload is not None and not self._deleted and not _older(message, self._payload):
            self._payload = message

    @workflow.signal(
        name=names.SIGNAL_RETRY, description="Try again now instead of waiting. Input: nothing, or a reason."
    )
    def retry(self, reason: str | None = None) -> None:
        """Wake a step that waits for its next attempt, or an order that needs attention."""
        self._retry = True
        self._story.tell(workflow.now(), "`retry` was sent", reason)

    @workflow.signal(
        name=names.SIGNAL_CANCEL,
        description="Stop, or cancel the ERP's order, and say so in Salesforce. Input: nothing, or a reason.",
    )
    def cancel(self, reason: str | None = None) -> None:
        """Ask for cancellation; safe at any moment, any number of times."""
        self._cancels += 1
        self._story.tell(workflow.now(), "`cancel` was sent", reason)

    @workflow.run
    async def run(self, start: OrderStart) -> Outcome:
        """Look, order, write back; once more if word came meanwhile."""
        del start  # held since __init__
        while True:
            try:
                outcome = await self._cancel_order() if self._cancel_requested() else await self._carry()
            except (_StartOverError, _CancelRequestedError):
                continue
            if self._cancel_requested():
                continue
            if outcome.stage is OrderStage.CANCELLED and self._start.remember:
                await self._remember()
            if self._cancel_requested():
                continue
            if not self._news or (outcome.stage is OrderStage.CANCELLED and not self._start.remember):
                return self._end(outcome)

    async def _carry(self) -> Outcome:
        self._news = False
        if self._deleted:  # and too late to cancel: somebody has decided to let the order live
            return Outcome(stage=OrderStage.COMPLETED, order=self._placed)
        look = await self._load()
        placed = await self._create(look.order, look) if look.order else self._placed
        if placed is None:
            return Outcome(stage=OrderStage.NOT_NEEDED)
        if not look.gone:  # an order that exists is told, even if the record would not ask for it any more
            self._show(OrderStage.WRITING_BACK)
            await self._write_back(
                WriteBack(**self._record(), order=placed, heard_at=self._heard_at, written=self._written)
            )
        return Outcome(stage=OrderStage.COMPLETED, order=placed)

    async def _load(self) -> Look:
        self._show(OrderStage.LOADING)
        request = LookAt(**self._record(), message=self._payload)
        look: Look = await self._step(
            lambda: workflow.start_activity_method(
                SalesforceActivities.load_order,
                request,
                activity_id="load-order",
                summary=f"read {self._start.record} from Salesforce",
                start_to_close_timeout=_SALESFORCE_CALL,
                **self._pace(),
            )
        )
        self._written = {**self._written, **look.written}
        self._story.looked(workflow.now(), look)
        return look

    async def _create(self, order: Order, look: Look) -> ErpOrder:
        if self._placed is not None and order == self._placed_for:
            return self._placed
        erp = look.erp or ""
        self._order, self._erp = order, None if look.other_erps else erp
        self._show(OrderStage.ORDERING)
        request = CreateOrder(erp=erp, order=order, other_erps=look.other_erps)
        placed: ErpOrder = await self._step(
            lambda: workflow.start_activity_method(
                ErpActivities.create_order,
                request,
                task_queue=names.erp_queue(self._erp),
                activity_id="create-order",
                summary=f"order in {erp}: {order.name}, {order.amount.normalize():f} {order.currency}",
                start_to_close_timeout=_ERP_CALL,
                **self._pace(),
            )
        )
        self._placed, self._placed_for = placed, order
        self._story.placed(workflow.now(), placed, erp)
        return placed

    async def _write_back(self, request: WriteBack) -> None:
        self._written = {}  # not known until it is answered: an attempt whose reply is lost may have written
        self._written = await self._step(
            lambda: workflow.start_activity_method(
                SalesforceActivities.write_back,
                request,
                activity_id="write-back",
                summary=f"write {request.order.number if request.order else request.status} to {request.record}",
                start_to_close_timeout=_SALESFORCE_CALL,
                **self._pace(),
            )
        )
        self._story.written(workflow.now(), request)

    async def _cancel_order(self) -> Outcome:
        """Cancel what the ERP has, if it has anything, and say so in Salesforce.

        The ERP is always asked: an attempt without an answer may have succeeded, and so may an earlier run.
        """
        self._cancels_answered, self._is_cancelling = self._cancels, True
        self._cancelled_at, self._news = workflow.now(), False
        self._show(OrderStage.CANCELLING)
        request = CancelOrder(erp=self._erp, idempotency_key=idempotency_key(self._start.org, self._start.record))
        self._placed = await self._step(
            lambda: workflow.start_activity_method(
                ErpActivities.cancel_order,
                request,
                task_queue=names.erp_queue(self._erp),
                activity_id="cancel-order",
                summary=f"cancel the order of {self._start.record}, if there is one",
                start_to_close_timeout=_ERP_CALL,
                **self._pace(),
            )
        )
        self._story.cancelled(workflow.now(), self._placed)
        if not self._deleted and not self._leaves_untold:
            await self._write_back(
                WriteBack(**self._record(), order=self._placed, status=ErpStatus.CANCELLED, written=self._written)
            )
        return Outcome(stage=OrderStage.CANCELLED, order=self._placed)

    async def _remember(self) -> None:
        """Stay open for a while after a cancel: a message that is older than it must not begin a new order.

        Where orders are made of messages no record tells that this one was given up. Word of what happened since
        (`_is_late`) is news as ever: the deal was won again.
        """
        self._show(OrderStage.CANCELLED)
        try:
            await workflow.wait_condition(
                lambda: self._news or self._cancel_requested() or workflow.info().is_continue_as_new_suggested(),
                timeout=self._start.remember,
                timeout_summary="messages from before the cancel are ignored",
            )
        except TimeoutError:
            return
        except asyncio.CancelledError:
            self._count_workflow_cancellation()
        if self._news:
            self._placed = self._placed_for = self._cancelled_at = None
            self._is_cancelling = False
        elif not self._cancel_requested():
            self._continue_if_long()

    def _is_late(self, message: Message) -> bool:
        """Whether the message tells of something from before the cancel, or was heard already."""
        if self._cancelled_at is None:
            return False
        happened = message.modified_at or message.received_at
        return self._deleted or message.id in self._heard or (happened <= self._cancelled_at and not message.deleted)

    async def _step(self, schedule: Callable[[], workflow.ActivityHandle[_Result]]) -> _Result:
        """Run an activity to its end. `retry` makes a waiting attempt happen now; `cancel` ends the waiting.

        Either way an attempt that is under way is waited for: its true outcome counts, and an order that was created
        wins over a late cancel (the caller sees the cancel afterwards and then cancels the order itself).
        """
        while not self._cancel_requested():
            self._retry = False
            self._continue_if_long()
            handle = schedule()
            await self._until(handle.done)
            if not handle.done():
                handle.cancel()  # backing off: ends at once; in flight: waits for the truth
            try:
                return await handle
            except ActivityError as error:
                if self._cancel_requested() or self._retry:
                    continue
                self._continue_if_long()
                await self._need_attention(problem_of(error))
            except asyncio.CancelledError:
                # The command and the activity's result came in one batch; the SDK then drops the result. What was
                # done there is found again: every step may be repeated, and a cancel asks the ERP what it has.
                if not (self._cancel_requested() or self._retry):
                    raise
        raise _CancelRequestedError

    async def _until(self, ready: Callable[[], bool]) -> None:
        """Wait for `ready` or a command; a cancellation of the whole workflow counts as `cancel`.

        So does a history that grows too long: looking at everything afresh in a new run is always right.
        """
        try:
            await workflow.wait_condition(
                lambda: (
                    ready() or self._retry or self._cancel_requested() or workflow.info().is_continue_as_new_suggested()
                )
            )
        except asyncio.CancelledError:
            self._count_workflow_cancellation()

    async def _need_attention(self, problem: Problem) -> None:
        """Stay open until somebody sends `retry` or `cancel`, or new word of the record arrives.

        Always ends with `_StartOverError` or `_CancelRequestedError`: what was wrong may have been mended anywhere.
        A cancel that needs attention is none of the record's business, so no word of it wakes that one. Where it is
        Salesforce that refuses to be told of it, another `cancel` ends it untold: the record may be gone for good.
        """
        stopped_at = self._stage
        cancelling = stopped_at is OrderStage.CANCELLING
        if self._mended(cancelling=cancelling):
            raise _StartOverError  # word came since the record was read
        self._show(OrderStage.ATTENTION, problem)
        self._story.tell(workflow.now(), f"**needs attention** (`{problem.reason}`): {problem.message}")
        is_salesforces = problem.reason.startswith(("salesforce", "record"))
        if not self._deleted and not is_salesforces:
            await self._report(problem, cancelling=cancelling)
        self._refresh(problem)
        await self._until(lambda: self._mended(cancelling=cancelling))
        if not (self._retry or self._cancel_requested()):
            self._continue_if_long()
        self._show(stopped_at)
        if self._cancel_requested():
            self._leaves_untold = cancelling and is_salesforces
            raise _CancelRequestedError
        if cancelling and problem.reason is not AttentionReason.TOO_LATE_TO_CANCEL:
            self._cancels_answered -= 1  # the cancel is still wanted: `retry` repeats it
        elif cancelling:
            self._is_cancelling, self._cancelled_at = False, None
        raise _StartOverError

    def _mended(self, *, cancelling: bool) -> bool:
        return self._news and not cancelling

    async def _report(self, problem: Problem, *, cancelling: bool) -> None:
        """Write the problem to the record, if Salesforce takes it at once or soon; a command ends the trying."""
        request = WriteBack(
            **self._record(), order=self._placed, status="needs attention", error=problem.message, written=self._written
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
        await self._until(lambda: handle.done() or self._mended(cancelling=cancelling))
        if not handle.done():
            handle.cancel()
        try:
            self._written = await handle
            self._story.tell(workflow.now(), "the record in Salesforce says so, too")
        except asyncio.CancelledError:
            if not (self._cancel_requested() or self._retry or self._mended(cancelling=cancelling)):
                raise
        except ActivityError as error:
            self._story.tell(
                workflow.now(), f"the problem could not be written to the record: {problem_of(error).message}"
            )

    def _continue_if_long(self) -> None:
        """Begin a new run before the history grows too long. It looks at everything afresh."""
        if workflow.info().is_continue_as_new_suggested():
            cancelling = self._cancel_requested() or self._is_cancelling
            self._show(OrderStage.LOADING)  # search attributes go along, and that is where the new run begins
            workflow.continue_as_new(
                self._start.model_copy(update={"carried": self._payload, "cancelling": cancelling})
            )

    def _cancel_requested(self) -> bool:
        if not self._workflow_cancelled and workflow.cancellation_reason() is not None:
            self._count_workflow_cancellation()
        return self._cancels > self._cancels_answered

    def _count_workflow_cancellation(self) -> None:
        if not self._workflow_cancelled:
            self._workflow_cancelled = True
            self.cancel(workflow.cancellation_reason() or "the workflow's cancellation was requested")

    def _record(self) -> dict[str, Any]:
        return {"org": self._start.org, "record": self._start.record, "route": self._start.route}

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

    def _end(self, outcome: Outcome) -> Outcome:
        self._show(outcome.stage)
        if self._workflow_cancelled and outcome.stage is OrderStage.CANCELLED:
            raise asyncio.CancelledError
        return outcome

    def _show(self, stage: OrderStage, problem: Problem | None = None) -> None:
        """Tell the workflow list and the details page where the order stands; nothing changes, nothing is recorded."""
        if stage is not self._stage:
            updates: list[Any] = [_STAGE.value_set(stage)]
            if problem:
                updates.append(_REASON.value_set(problem.reason))
                self._metrics.attention.add(1, {"reason": problem.reason})
            elif self._stage is OrderStage.ATTENTION:
                updates.append(_REASON.value_unset())
            if self._placed is not None and self._placed.number:
                updates.append(_NUMBER.value_set(self._placed.number))
            workflow.upsert_search_attributes(updates)
            self._metrics.orders.add(1, {"stage": stage})
            self._stage = stage
        self._refresh(problem)

    def _refresh(self, problem: Problem | None) -> None:
        workflow.set_current_details(
            self._story.markdown(self._stage, order=self._order, placed=self._placed, problem=problem)
        )


def _older(message: Message, than: Message | None) -> bool:
    """Whether the message tells of an older state of the record than the one that is known."""
    if than is None or message.modified_at is None or than.modified_at is None:
        return False
    return message.modified_at < than.modified_at
