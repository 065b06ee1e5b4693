"""The order workflow: read the record, create the order in the ERP, write back, end in a known state.

One workflow per record, started or signaled by every notification about it. It is a state machine. Its whole state is
one structure (`closedwon.order_state`), its stages and what each command does in them are one table
(`workflows.order_table`), and the loop is this:

1. While a decision of an operator (`cancel`, `resolve`, `skip`) is pending, carry that out. Otherwise **read the
   record**, never the notification alone, and do what the reading says: create, amend, keep or cancel the order.
2. Write to Salesforce what came of it, and only what differs.
3. If a write to the ERP is in doubt, compare once more when its effect can no longer come (`workflows.steps`).
4. If a notification or a decision arrived meanwhile, start over. Otherwise end as completed, cancelled or not needed.

Two exceptions leave a step early. `StoppedError`: something newer arrived, so start over. `ProblemError`: no retry can
help, so the order *needs attention* and waits, open, for a command or a notification. There is no other way out.

Safe repetition is what makes this simple: every activity looks before it changes anything, so any step may run twice.
What must not happen is that an answer is taken for the truth about something newer; hence each place below that awaits
also says what may arrive meanwhile. Parts: `steps` runs the activities, `commands` receives what operators send,
`presenter` and `timeline` show it. Code here must be deterministic; a change in the order of its commands goes behind
`workflow.patched`.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, Final

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.erp import ErpResult
    from closedwon import names
    from closedwon.errors import AttentionReason
    from closedwon.model import (
        KEPT,
        NOT_NEEDED,
        UNWON,
        Answer,
        Decision,
        ErpOrder,
        ErpStatus,
        Following,
        Frozen,
        Message,
    )
    from closedwon.names import OrderStage
    from closedwon.order_state import OrderStart, OrderState, Problem
    from closedwon.snapshot import Declined, Deleted, Hidden, NotWanted, Wanted
    from workflows.alerts import Alerts
    from workflows.commands import Commanded, Commands
    from workflows.order_table import SALESFORCE_REFUSES, Effect, effect_of
    from workflows.presenter import Presenter
    from workflows.problems import only_named, order_differs, order_exists, unqualified
    from workflows.steps import ProblemError, Steps, StoppedError
    from workflows.timeline import Timeline

_AT_AN_END: Final = frozenset({ErpStatus.DONE, ErpStatus.CANCELLED})


class Outcome(Frozen):
    """How the workflow ended."""

    stage: OrderStage
    order: ErpOrder | None = None
    spared: bool = False
    """An operator keeps the order although its record no longer qualifies: sweeps do not ask again."""
    declined: bool = False
    """An operator has decided that there is no order: it proves a status that could have been copied."""


@workflow.defn(name=names.ORDER_WORKFLOW)
class OrderWorkflow(Commanded):
    """Carries one record to the ERP, once, and back."""

    @workflow.init
    def __init__(self, start: OrderStart) -> None:
        """Continue from the state that the run before carried, if there was one."""
        self._start = start
        self._state = state = start.state.model_copy(deep=True) if start.state else OrderState()
        self._notifications = state.notifications
        self._timeline = Timeline()
        self._presenter = Presenter(state, self._timeline, start.record)
        self._commands = Commands(state, self._timeline)
        self._steps = Steps(start, state, self._commands)
        self._alerts = Alerts(
            "order",
            told=state.alerted,
            raising=state.alert_raising,
            on_raised=self._alert_raised,
            org=start.org,
            record=start.record,
            route=start.route,
        )
        self._erp_notified = False

    @workflow.signal(name=names.SIGNAL_NOTIFIED, description="A notification about this record, from Salesforce.")
    def notified(self, message: Message) -> None:
        """Note that the record is to be read again."""
        self._timeline.notified(workflow.now(), message)
        self._state.session = message.session or self._state.session
        self._notifications.take(message)

    @workflow.signal(name=names.SIGNAL_ERP_CHANGED, description="The ERP reports that the order has changed there.")
    def erp_changed(self, *given: Any) -> None:
        """Look at the order in the ERP now, if it is followed."""
        del given
        self._erp_notified = True

    def _take(self, name: str, given: tuple[Any, ...]) -> Answer:
        answer = self._commands.ask(name, given)
        self._presenter.refresh()
        return answer

    @workflow.run
    async def run(self, start: OrderStart) -> Outcome:
        """Read, order, write back; start over if something arrived meanwhile."""
        del start  # held since __init__
        while True:
            try:
                outcome = await (self._decide() if self._commands.decision_asked() else self._carry())
                outcome = await self._check_doubt(outcome)
            except StoppedError:
                self._continue_if_long()
                continue
            except ProblemError as stop:
                self._continue_if_long()
                await self._need_attention(stop.problem)
                continue
            self._alerts.over()
            if self._commands.decision_asked():
                continue
            is_decided = self._state.deciding is not None
            if self._must_remember(outcome):
                await self._remember(outcome.stage)
            if self._commands.decision_asked():
                continue
            if not self._notifications.news or (is_decided and not self._start.remember):
                return self._end(outcome)

    # What the record asks for.

    async def _carry(self) -> Outcome:
        """Read the record, and do what it asks for."""
        state, notifications = self._state, self._notifications
        notifications.news = False
        self._presenter.enter(OrderStage.LOADING)
        newest = notifications.newest
        snapshot = await self._steps.load(newest)
        if newest is not None and not isinstance(snapshot, Hidden | Deleted):
            notifications.is_readable(newest)
        self._timeline.read(workflow.now(), snapshot)
        state.shown_number = snapshot.number if isinstance(snapshot, Wanted | NotWanted) else None
        state.is_unqualified = isinstance(snapshot, Deleted) or (
            isinstance(snapshot, NotWanted) and snapshot.may_have_order
        )
        match snapshot:
            case Wanted():
                return await self._order(snapshot)
            case Declined() | Hidden():
                return await self._write_order(state.placed, is_there=isinstance(snapshot, Declined))
            case NotWanted() | Deleted():
                return await self._unqualified(snapshot)

    async def _order(self, snapshot: Wanted) -> Outcome:
        """Have the order made, write its number back, and follow it if the route says so."""
        state, order = self._state, snapshot.order
        state.keeps_order = False
        is_same = state.placed_for is not None and order.content == state.placed_for.content
        is_remembered = not self._start.remember or order == state.placed_for
        if state.placed is None or not (is_same and (state.resolution or is_remembered)):
            state.order = order
            self._presenter.enter(OrderStage.ORDERING)
            reopen = snapshot.reopen or state.cancelled_after_reopen
            result = await self._steps.create(snapshot, reopen=reopen, interrupt=self._has_news)
            self._placed(result, snapshot)
            if result.kept and not state.has_order:  # the run that cancelled it has written why
                return Outcome(stage=OrderStage.CANCELLED, order=result.order)
        outcome = await self._write_order(state.placed, is_wanted=True)
        while state.check_since is not None:
            self._presenter.enter(OrderStage.CHECKING)
            result = await self._steps.create(snapshot, reopen=state.check_reopens, interrupt=self._has_news)
            self._placed(result, snapshot)
            outcome = await self._write_order(state.placed, is_wanted=True)
        return await self._follow(outcome, snapshot.policies.follow)

    def _placed(self, result: ErpResult, snapshot: Wanted) -> None:
        state = self._state
        assert result.order is not None
        state.cancelled_after_reopen = False
        state.placed, state.placed_for = result.order, snapshot.order
        if result.kept:
            self._timeline.kept(workflow.now(), result.order)
        else:
            self._timeline.placed(workflow.now(), result.order, snapshot.erp)

    async def _unqualified(self, snapshot: NotWanted | Deleted) -> Outcome:
        """The record asks for no order; if it has one, the route's policy applies."""
        state = self._state
        if not state.tried:
            state.erp = snapshot.erp
        policy = snapshot.policies.deleted if isinstance(snapshot, Deleted) else snapshot.policies.unwon
        is_certain = isinstance(snapshot, Deleted) or snapshot.is_certain
        if state.keeps_order and state.placed is None:
            state.placed = await self._steps.find(interrupt=self._has_news)
        is_there = not isinstance(snapshot, Deleted)
        if state.keeps_order or policy == "ignore" or not self._may_have_order(snapshot):
            return await self._write_order(state.placed, is_there=is_there)
        if policy == "attention" or not is_certain:
            state.placed = await self._steps.find(interrupt=self._has_news)
            if state.placed is not None and state.has_order:
                raise ProblemError(unqualified(snapshot, state.placed))
            if not is_certain:
                return await self._write_order(state.placed)
        return await self._cancel_by_policy(snapshot)

    def _may_have_order(self, snapshot: NotWanted | Deleted) -> bool:
        state = self._state
        tried = state.tried or state.placed is not None
        return tried or isinstance(snapshot, Deleted) or snapshot.may_have_order

    async def _cancel_by_policy(self, snapshot: NotWanted | Deleted) -> Outcome:
        """Cancel because the record asks for it. It may change its mind at any moment, so news ends the waiting."""
        state = self._state
        self._presenter.enter(OrderStage.CANCELLING)
        state.cancelled_after_reopen = True  # even if news ends the waiting: an attempt without an answer may do it
        try:
            result = await self._steps.cancel(
                by_policy=True, modified_at=snapshot.modified_at, interrupt=self._has_news
            )
        except ProblemError as stop:
            raise await self._not_cancelled(snapshot, stop) from None
        state.placed, state.placed_for = result.order, None
        state.cancelled_after_reopen = result.order is not None and not result.kept
        if result.kept and result.order is not None:
            self._timeline.kept(workflow.now(), result.order)
            return await self._write_order(result.order, is_there=isinstance(snapshot, NotWanted))
        if self._start.remember:
            self._notifications.settle(workflow.now())
        number = snapshot.number if isinstance(snapshot, NotWanted) else None
        if result.order is None and number is not None:
            raise ProblemError(only_named(number))
        if result.order is None and not self._notifications.deleted:
            return Outcome(stage=OrderStage.NOT_NEEDED)
        self._timeline.cancelled(workflow.now(), result.order)
        if not isinstance(snapshot, Deleted):
            request = await self._steps.write_back(order=result.order, status=UNWON, interrupt=self._has_news)
            self._timeline.written(workflow.now(), request)
        return Outcome(stage=OrderStage.CANCELLED, order=result.order)

    async def _not_cancelled(self, snapshot: NotWanted | Deleted, stop: ProblemError) -> ProblemError:
        """An order that Closedwon did not make is never cancelled by policy: a person decides about it."""
        if stop.problem.reason is not AttentionReason.ORDER_EXISTS:
            return stop
        state = self._state
        state.cancelled_after_reopen = False
        state.placed = await self._steps.find(interrupt=self._has_news)
        if state.placed is None or not state.has_order:
            return stop
        problem = unqualified(snapshot, state.placed)
        message = f"{problem.message}, and Closedwon did not make it: no policy cancels it"
        return ProblemError(problem.model_copy(update={"message": message}))

    async def _write_order(self, placed: ErpOrder | None, *, is_there: bool = True, is_wanted: bool = False) -> Outcome:
        """Write the order to its record, even if the record does not ask for it any more (`is_wanted` false)."""
        if placed is None:
            if self._start.remember and self._notifications.newest is not None:
                self._notifications.settle(workflow.now())
            return Outcome(stage=OrderStage.NOT_NEEDED)
        if is_there:
            self._presenter.enter(OrderStage.WRITING_BACK)
            is_kept = self._state.keeps_order and not is_wanted and placed.status is not ErpStatus.CANCELLED
            request = await self._steps.write_back(
                order=placed,
                status=KEPT if is_kept else None,
                since=self._notifications.since,
                is_wanted=is_wanted,
                interrupt=self._was_deleted,
            )
            self._timeline.written(workflow.now(), request)
            self._notifications.since = None  # the way of that notification has been measured
        is_cancelled = placed.status is ErpStatus.CANCELLED
        return Outcome(stage=OrderStage.CANCELLED if is_cancelled else OrderStage.COMPLETED, order=placed)

    async def _follow(self, outcome: Outcome, following: Following | None) -> Outcome:
        """Follow the order in the ERP, and write each change back, until it is done or cancelled there."""
        if following is None or outcome.order is None:
            return outcome
        state = self._state
        until = state.follow_until = state.follow_until or workflow.now() + following.horizon
        while (left := until - workflow.now()) > timedelta(0) and outcome.order.status not in _AT_AN_END:
            self._presenter.enter(OrderStage.FOLLOWING)
            self._erp_notified = False
            try:
                found = await self._steps.follow(outcome.order, following, left, interrupt=self._has_any_news)
            except StoppedError:
                if self._notifications.news or not self._erp_notified or self._commands.decision_asked():
                    raise
                continue
            if found is None:
                self._timeline.add(workflow.now(), "the order is no longer followed: the time is over, or it is gone")
                break
            state.placed = found
            self._timeline.add(workflow.now(), f"the ERP has order **{found.number or found.id}** as {found.status}")
            outcome = await self._write_order(found, is_wanted=True)
        if outcome.stage is OrderStage.CANCELLED:
            self._notifications.decided_at = workflow.now()  # somebody cancelled it in the ERP
        return outcome

    def _has_news(self) -> bool:
        return self._notifications.news

    def _has_any_news(self) -> bool:
        return self._notifications.news or self._erp_notified

    def _was_deleted(self) -> bool:
        return self._notifications.deleted and self._notifications.news

    # What operators decide.

    async def _decide(self) -> Outcome:
        """Carry out what an operator has decided, instead of what the record asks for."""
        decision = self._state.deciding = self._commands.begin()
        self._notifications.decided_at, self._notifications.news = workflow.now(), False
        match decision.to:
            case "cancel":
                return await self._cancel_order()
            case "resolve":
                return await self._follow(await self._resolve(decision), self._start.follow)
            case "skip":
                return await self._skip()

    async def _cancel_order(self) -> Outcome:
        """Cancel what the ERP has, if it has anything, and write that to Salesforce."""
        state = self._state
        self._presenter.enter(OrderStage.CANCELLING)
        result = await self._steps.cancel()
        state.placed = placed = result.order
        if state.resolution is not None and placed is None:
            number = state.resolution.number
            self._timeline.add(workflow.now(), f"order {number} stays in the ERP: cancel it **by hand**")
        else:
            self._timeline.cancelled(workflow.now(), placed)
        state.resolution = None
        await self._write(order=placed, status=UNWON if state.is_unqualified else ErpStatus.CANCELLED)
        return Outcome(stage=OrderStage.CANCELLED, order=placed)

    async def _resolve(self, decision: Decision) -> Outcome:
        """Use the order that was made by hand, if it is what the record asks for, and write it back."""
        state = self._state
        self._presenter.enter(OrderStage.ORDERING)
        resolved = await self._steps.resolve(decision)
        if resolved.rival is not None:
            state.placed = resolved.rival
            raise ProblemError(order_exists(resolved.rival))
        if resolved.differences is not None:
            raise ProblemError(order_differs(decision.number or "", resolved.differences))
        state.placed, state.placed_for, state.resolution = resolved.order, state.order, decision
        self._timeline.add(workflow.now(), f"order **{decision.number}** is used as the record's order")
        self._presenter.enter(OrderStage.WRITING_BACK)
        await self._write(order=resolved.order, since=self._notifications.since, is_wanted=True)
        if self._start.follow is not None:
            state.deciding = None  # it is carried out; from here on notifications count as before
        return Outcome(stage=OrderStage.COMPLETED, order=resolved.order)

    async def _skip(self) -> Outcome:
        """Close it without an order; an attempt without an answer may have made one, so the ERP is asked."""
        self._presenter.enter(OrderStage.CANCELLING)
        found = await self._steps.find()
        if found is not None and found.status is not ErpStatus.CANCELLED:
            self._state.placed = found
            raise ProblemError(order_exists(found))
        self._timeline.add(workflow.now(), "it is closed as not needed: the ERP has no order")
        await self._write(status=NOT_NEEDED)
        return Outcome(stage=OrderStage.NOT_NEEDED)

    async def _write(self, **content: Any) -> None:
        """Write to Salesforce what came of a decision, unless it cannot be stored there."""
        if not self._notifications.deleted and not self._state.leaves_unwritten:
            request = await self._steps.write_back(**content)
            self._timeline.written(workflow.now(), request)

    # Afterwards.

    async def _check_doubt(self, outcome: Outcome) -> Outcome:
        """Cancel once more what a late effect may have changed; an order that is wanted was compared in `_order`.

        Nothing else follows a doubtful write here: a decision or a notification that arrives meanwhile starts over, and
        the doubt stays noted until a check has come to its end.
        """
        state = self._state
        while state.check_since is not None and outcome.stage in {OrderStage.CANCELLED, OrderStage.NOT_NEEDED}:
            is_decided = state.deciding is not None
            self._presenter.enter(OrderStage.CHECKING)
            result = await self._steps.cancel(by_policy=not is_decided, interrupt=self._has_news)
            state.placed = result.order
            outcome = outcome.model_copy(update={"order": result.order})
        return outcome

    def _must_remember(self, outcome: Outcome) -> bool:
        """Whether late notifications must be recognized by this workflow, because no record shows the newest state."""
        if not self._start.remember:
            return False
        if self._state.deciding is not None or self._state.resolution or outcome.stage is OrderStage.CANCELLED:
            return True
        return outcome.stage is OrderStage.NOT_NEEDED and self._notifications.newest is not None

    async def _remember(self, stage: OrderStage) -> None:
        """Stay open for a while: a notification about a moment before the end must not begin a new order.

        Where orders are made of notifications, no record shows that this one was cancelled or not needed. What happened
        since is news as always: the deal was won again.
        """
        self._presenter.enter(stage)
        try:
            await self._commands.sleep(
                self._has_news,
                longest=self._start.remember,
                summary="late notifications are ignored",
            )
        except TimeoutError:
            return
        state = self._state
        if self._notifications.news:
            if not state.resolution:
                state.placed = state.placed_for = None
            state.deciding = self._notifications.decided_at = None
            state.leaves_unwritten = False
        elif not self._commands.decision_asked():
            self._continue_if_long()

    async def _need_attention(self, problem: Problem) -> None:
        """Stay open until an operator sends a command, or a notification arrives; then start over.

        A decision that needs attention is not the record's business, so no notification wakes that one.
        """
        state, notifications = self._state, self._notifications
        stopped_at, deciding = state.stage, state.deciding

        def is_outdated() -> bool:
            return notifications.news and (deciding is None or notifications.deleted)

        if is_outdated() and deciding is None:
            return  # a notification arrived since the record was read
        state.retry_asked = False  # it was about the step that ended here; now it would decide
        self._presenter.enter(OrderStage.ATTENTION, problem)
        self._timeline.add(workflow.now(), f"**needs attention** (`{problem.reason}`): {problem.message}")
        self._alerts.tell(problem)
        if not notifications.deleted and problem.reason not in SALESFORCE_REFUSES:
            said = await self._steps.report(problem, state.placed, interrupt=is_outdated)
            self._timeline.add(workflow.now(), said)
        self._presenter.refresh()
        await self._commands.until(is_outdated)
        situation = state.situation
        if self._commands.any_asked():
            self._alerts.over()
        else:
            self._continue_if_long()
        self._presenter.enter(stopped_at)
        if self._commands.decision_asked():
            assert state.decision is not None
            effect = effect_of(state.decision.to, situation)
            state.leaves_unwritten = effect is Effect.END_UNWRITTEN
        elif state.retry_asked or deciding is not None:
            self._retry(effect_of(names.SIGNAL_RETRY, situation), problem)

    def _retry(self, effect: Effect, problem: Problem) -> None:
        """Prepare what `retry` does about an order that needed attention; the loop in `run` does it."""
        state = self._state
        if effect is Effect.DROP_DECISION:
            state.deciding = self._notifications.decided_at = None
        elif effect is Effect.REPEAT_DECISION:
            state.decision_is_pending = True
        keeps = effect is Effect.KEEP_ORDER or problem.reason is AttentionReason.TOO_LATE_TO_CANCEL
        if keeps and state.retry_asked:
            state.keeps_order = True

    def _alert_raised(self) -> None:
        self._timeline.add(workflow.now(), "an alert is being sent to the webhook")
        self._presenter.refresh()

    def _continue_if_long(self) -> None:
        """Begin a new run before the history grows too long. It reads everything again."""
        if workflow.info().is_continue_as_new_suggested():
            state = self._state
            self._presenter.enter(OrderStage.LOADING)  # search attributes are carried; there the new run begins
            unfinished = state.decision_is_pending or state.deciding is not None or state.resolution is not None
            state.decision = state.decision if state.decision_is_pending else state.deciding or state.resolution
            state.decision_is_pending = unfinished
            state.deciding = state.resolution = None
            state.tried = state.tried or state.placed is not None
            state.placed = state.placed_for = None  # the ERP is asked again
            state.session, state.written = None, {}  # a session is a loan of some hours; the record is read again
            for name, value in self._alerts.carried.items():
                setattr(state, name, value)
            workflow.continue_as_new(self._start.model_copy(update={"state": state}))

    def _end(self, outcome: Outcome) -> Outcome:
        self._presenter.enter(outcome.stage)
        if self._state.workflow_cancelled and outcome.stage is OrderStage.CANCELLED:
            raise asyncio.CancelledError
        has_no_order = outcome.stage in {OrderStage.CANCELLED, OrderStage.NOT_NEEDED}
        return outcome.model_copy(
            update={
                "spared": self._state.keeps_order,
                "declined": self._state.deciding is not None and has_no_order,
            }
        )
