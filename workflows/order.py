"""The order workflow: read the record, create the order in the ERP, write back, end in a known state.

One workflow per record, started or signaled by every notification about it. It is a state machine. Its whole state is
one structure (`closedwon.model.order_state`), and its stages and what each command does in them are one table
(`workflows.order_table`). The loop is:

1. If a decision of an operator (`cancel`, `resolve`, `skip`) is pending, carry it out. Otherwise **read the record**,
   never the notification alone, and do what the record asks for: create, amend, keep or cancel the order.
2. Write the result to Salesforce, and only what differs.
3. If a write to the ERP is in doubt, compare once more when its effect can no longer come (`workflows.steps`).
4. If a notification or a decision arrived meanwhile, start over. Otherwise end as completed, cancelled or not needed.

Two exceptions leave a step early, and there is no other way out of one. `StoppedError`: something newer arrived, so
start over. `ProblemError`: no retry can help, so the order *needs attention* and waits, open, for a command or a
notification.

**Why it may start over at any point.** Every activity looks before it changes anything, so any step may run twice. An
answer, however, is about the moment at which it was given. So after each await the code checks what has arrived
meanwhile: `notifications.news` (a notification since the record was read) and `commands.decision_asked()`.

**Who wins.** A decision wins over the record, and over notifications about moments before it (`decided_at`). An order
that the ERP has wins over a late decision: the decision then asks the ERP first. A later notification wins again, after
a decision as well: a deal that is won once more is ordered once more.

**How long it lives.** Until its end is known, plus `late_message_window` if late notifications could otherwise start it
again; for days while it follows the order or needs attention. Before its history grows too long it continues as a new
run, which carries the state without what the next reading yields anyway.

Parts: `steps` runs the activities, `unqualified` applies policies, `decisions` carries out what operators decide,
`commands` receives that, `other_routes` keeps what another route reported, `presenter` and `timeline` show it. Code
here must be deterministic; a change in the order of its commands goes behind `workflow.patched`.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, Final

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from closedwon import names
    from closedwon.errors import AttentionReason
    from closedwon.model.alerts import AlertState, AlertSubject
    from closedwon.model.commands import CommandAnswer
    from closedwon.model.erp import ErpStatus
    from closedwon.model.erp_calls import ErpResult
    from closedwon.model.messages import Message
    from closedwon.model.order_state import OrderStart, OrderState, Problem
    from closedwon.model.outcomes import OrderOutcome
    from closedwon.model.routes import Following
    from closedwon.model.snapshot import Declined, Deleted, Hidden, NotWanted, Wanted
    from closedwon.names import OrderStage
    from workflows.alerts import Alerts
    from workflows.checking import check_doubt, is_known_by_number_only
    from workflows.commands import Commanded, Commands
    from workflows.contradicting import check_rival
    from workflows.decisions import cancel_order, resolve, skip
    from workflows.order_table import SALESFORCE_REFUSES, Effect, effect_of
    from workflows.other_routes import OtherRoutes
    from workflows.parts import Parts, write_order
    from workflows.presenter import Presenter
    from workflows.problems import hidden, order_gone
    from workflows.steps import Steps
    from workflows.stops import ProblemError, StoppedError
    from workflows.timeline import Timeline
    from workflows.unqualified import apply_policy

_AT_AN_END: Final = frozenset({ErpStatus.DONE, ErpStatus.CANCELLED})


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
        self._steps = Steps(start, state, self._commands, self._presenter)
        self._other_routes = OtherRoutes(start, state, self._timeline)
        self._parts = Parts(start, state, self._timeline, self._presenter, self._steps, self._other_routes)
        self._has_news = self._parts.has_news
        self._alerts = Alerts(
            AlertSubject(kind="order", org=start.org, record=start.record, route=start.route),
            AlertState(alerted=state.alerted, alert_raising=state.alert_raising),
            on_raised=self._alert_raised,
        )
        self._erp_notified = False

    @workflow.signal(name=names.SIGNAL_NOTIFIED, description="A notification about this record, from Salesforce.")
    def notified(self, message: Message) -> None:
        """Note that the record is to be read again."""
        self._timeline.notified(workflow.now(), message)
        own = self._other_routes.take(message)
        if own is not None:
            self._state.session = own.session or self._state.session
            self._notifications.take(own)

    @workflow.signal(name=names.SIGNAL_ERP_CHANGED, description="The ERP reports that the order has changed there.")
    def erp_changed(self, *given: Any) -> None:
        """Look at the order in the ERP now, if it is followed."""
        del given
        self._erp_notified = True

    @workflow.query(name=names.QUERY_PROBLEM, description="Why the order needs attention; nothing if it does not.")
    def problem(self) -> Problem | None:
        """Return what a person must correct."""
        return self._state.problem

    def _take(self, name: str, given: tuple[Any, ...]) -> CommandAnswer:
        answer = self._commands.ask(name, given)
        self._presenter.refresh()
        return answer

    @workflow.run
    async def run(self, start: OrderStart) -> OrderOutcome:
        """Read, order, write back; start over if something arrived meanwhile."""
        del start  # held since __init__
        while True:
            try:
                outcome = await self._carry_out()
            except StoppedError:
                self._continue_if_long()
            except ProblemError as stop:
                self._continue_if_long()
                await self._need_attention(stop.problem)
            else:
                if outcome is not None:
                    return self._end(outcome)

    async def _carry_out(self) -> OrderOutcome | None:
        """Do what was decided, or what the record asks for; None: something newer arrived, so start over."""
        outcome = await (self._decide() if self._commands.decision_asked() else self._carry())
        outcome = await check_doubt(self._parts, outcome)
        self._alerts.over()
        is_decided = self._state.deciding is not None
        while not self._commands.decision_asked():
            if window := self._late_message_window(outcome):
                await self._remember(outcome.stage, window)
            if self._commands.decision_asked():
                return None
            if self._notifications.news and (self._start.late_message_window or not is_decided):
                return None
            if not self._other_routes.is_waiting():
                return outcome
            await self._follow_other_route(outcome)
        return None

    # What the record asks for.

    async def _carry(self) -> OrderOutcome:
        """Read the record, and do what it asks for."""
        state, notifications = self._state, self._notifications
        notifications.news = False
        self._presenter.enter(OrderStage.LOADING)
        newest = notifications.newest
        snapshot = await self._steps.load(newest, at_once=True)
        if newest is not None and not isinstance(snapshot, Hidden | Deleted):
            notifications.is_readable(newest)
        self._timeline.read(workflow.now(), snapshot)
        state.shown_number = snapshot.number if isinstance(snapshot, Wanted | NotWanted) else None
        state.is_unqualified = isinstance(snapshot, Deleted) or (
            isinstance(snapshot, NotWanted) and snapshot.may_have_order
        )
        if notifications.rival is not None:
            await check_rival(self._parts, notifications.rival, snapshot)
        match snapshot:
            case Wanted():
                return await self._order(snapshot)
            case Declined():
                return await write_order(self._parts, state.placed)
            case Hidden():
                raise ProblemError(hidden())
            case NotWanted() | Deleted():
                return await apply_policy(self._parts, snapshot)

    async def _order(self, snapshot: Wanted) -> OrderOutcome:
        """Have the order made, write its number back, and follow it if the route says so."""
        state, order = self._state, snapshot.order
        state.keeps_order = False
        is_same = state.placed_for is not None and order.content == state.placed_for.content
        is_same = is_same and state.placed_in in (None, snapshot.erp)  # None: of a number that a person has named
        is_remembered = not self._start.late_message_window or order == state.placed_for
        if state.placed is None or not (is_same and (state.resolution or is_remembered)):
            state.order = order
            self._presenter.enter(OrderStage.ORDERING)
            reopen = (snapshot.reopen or state.cancelled_after_reopen) and self._notifications.rival is None
            result = await self._steps.create(snapshot, reopen=reopen, interrupt=self._has_news)
            self._placed(result, snapshot)
            if result.kept and not state.has_order:  # the run that cancelled it has written why
                return OrderOutcome(stage=OrderStage.CANCELLED, order=result.order)
        outcome = await write_order(self._parts, state.placed, is_wanted=True)
        while state.check_since is not None:
            self._presenter.enter(OrderStage.CHECKING)
            result = await self._steps.create(snapshot, reopen=state.check_reopens, interrupt=self._has_news)
            self._placed(result, snapshot)
            outcome = await write_order(self._parts, state.placed, is_wanted=True)
        return await self._follow(outcome, snapshot.policies.follow)

    def _placed(self, result: ErpResult, snapshot: Wanted) -> None:
        state = self._state
        assert result.order is not None
        state.cancelled_after_reopen = False
        state.placed, state.placed_for = result.order, snapshot.order
        state.has_agreed = state.has_agreed or not result.kept
        if result.kept:
            self._timeline.kept(workflow.now(), result.order)
        else:
            self._timeline.placed(workflow.now(), result.order, snapshot.erp)

    async def _follow(self, outcome: OrderOutcome, following: Following | None) -> OrderOutcome:
        """Follow the order in the ERP, and write each change back, until it is done or cancelled there."""
        if following is None or outcome.order is None:
            return outcome
        state = self._state
        until = state.follow_until = state.follow_until or workflow.now() + following.follow_for
        while (left := until - workflow.now()) > timedelta(0) and outcome.order.status not in _AT_AN_END:
            self._presenter.enter(OrderStage.FOLLOWING)
            self._erp_notified = False
            try:
                found = await self._steps.follow(outcome.order, following, left, interrupt=self._has_any_news)
            except StoppedError:
                if self._notifications.news or not self._erp_notified or self._commands.decision_asked():
                    raise
                continue
            if found is None and not is_known_by_number_only(state, outcome.order):
                state.placed = state.placed_for = None
                state.has_agreed = False
                raise ProblemError(order_gone(outcome.order))
            if found is None or found is outcome.order:
                why = "the ERP does not find it by its key" if found is None else "the time is over"
                self._timeline.add(workflow.now(), f"the order is no longer followed: {why}")
                break
            state.placed = found
            self._timeline.add(workflow.now(), f"the ERP has order **{found.number or found.id}** as {found.status}")
            outcome = await write_order(self._parts, found, is_wanted=True)
        if outcome.stage is OrderStage.CANCELLED:  # it was cancelled in the ERP
            self._notifications.decided_at = workflow.now()
            self._other_routes.mark_done(workflow.now())
        return outcome

    def _has_any_news(self) -> bool:
        return self._has_news() or self._erp_notified

    # What operators decide.

    async def _decide(self) -> OrderOutcome:
        """Carry out what an operator has decided, instead of what the record asks for."""
        decision = self._state.deciding = self._commands.begin()
        self._notifications.decided_at, self._notifications.news = workflow.now(), False
        self._other_routes.mark_done(workflow.now())
        match decision.to:
            case "cancel":
                return await cancel_order(self._parts)
            case "resolve":
                outcome = await check_doubt(self._parts, await resolve(self._parts, decision))
                if self._start.follow is not None:
                    self._state.deciding = None  # it is carried out; from here on notifications count as before
                return await self._follow(outcome, self._start.follow)
            case "skip":
                return await skip(self._parts)

    # Afterwards.

    async def _follow_other_route(self, outcome: OrderOutcome) -> None:
        """Go on as a new run of the route whose notification waits, unless the record has its order by this one.

        Whether it has is asked of the ERP where this route may have made one that the outcome does not show. A command
        or a notification that arrives meanwhile comes first.
        """
        state = self._state
        if outcome.order is None and (state.tried or state.is_unqualified):
            state.placed = await self._steps.find(interrupt=self._has_news)
        if outcome.stage is OrderStage.COMPLETED or state.has_order:
            self._timeline.add(workflow.now(), f"the record keeps its order by route `{self._start.route}`")
            self._other_routes.mark_done(workflow.now())
            return
        start = self._other_routes.next_start(rests=self._must_remember(outcome))
        self._presenter.enter(OrderStage.LOADING)
        self._presenter.name_route(start.route)
        workflow.continue_as_new(start)

    def _must_remember(self, outcome: OrderOutcome) -> bool:
        """Whether late notifications must be recognized by this workflow, because no record shows the newest state."""
        if not self._start.late_message_window:
            return False
        if self._state.deciding is not None or self._state.resolution or outcome.stage is OrderStage.CANCELLED:
            return True
        return outcome.stage is OrderStage.NOT_NEEDED and self._notifications.newest is not None

    def _late_message_window(self, outcome: OrderOutcome) -> timedelta:
        """How long to stay open after the end, for this route or for one that was followed before; 0: not at all."""
        own = self._start.late_message_window if self._must_remember(outcome) else timedelta(0)
        others = timedelta(0) if outcome.stage is OrderStage.COMPLETED else self._other_routes.window()
        return max(own, others)

    async def _remember(self, stage: OrderStage, window: timedelta) -> None:
        """Stay open for a while: a notification about a moment before the end must not begin a new order.

        Where orders are made of notifications, no record shows that this one was cancelled or not needed. What happened
        since is news as always: the deal was won again.
        """
        self._presenter.enter(stage)
        self._presenter.show()
        try:
            await self._commands.sleep(
                lambda: self._has_news() or self._other_routes.is_waiting(),
                longest=window,
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
        self._presenter.show()
        self._timeline.add(workflow.now(), f"**needs attention** (`{problem.reason}`): {problem.message}")
        self._alerts.notify(problem)
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
            self._presenter.show()
            unfinished = state.decision_is_pending or state.deciding is not None or state.resolution is not None
            state.decision = state.decision if state.decision_is_pending else state.deciding or state.resolution
            state.decision_is_pending = unfinished
            state.deciding = state.resolution = None
            state.tried = state.tried or state.placed is not None
            state.placed = state.placed_for = None  # the ERP is asked again
            state.session, state.written = None, {}  # a session is a loan of some hours; the record is read again
            carried = self._alerts.carried
            state.alerted, state.alert_raising = carried.alerted, carried.alert_raising
            workflow.continue_as_new(self._start.model_copy(update={"state": state}))

    def _end(self, outcome: OrderOutcome) -> OrderOutcome:
        self._presenter.enter(outcome.stage)
        self._presenter.show()
        if self._state.workflow_cancelled and outcome.stage is OrderStage.CANCELLED:
            raise asyncio.CancelledError
        has_no_order = outcome.stage in {OrderStage.CANCELLED, OrderStage.NOT_NEEDED}
        return outcome.model_copy(
            update={
                "kept_by_operator": self._state.keeps_order,
                "declined": self._state.deciding is not None and has_no_order,
            }
        )
