"""The way of one won deal: look at the record, hand the order to the ERP, write back, end in a known state.

One workflow per record, started or signalled by every message about it. It decides; activities act. It ends as
completed, cancelled or not needed, or it stays open and needs attention until somebody sends `retry`, or decides by
`cancel`, `resolve` (the order exists already) or `skip` (none is needed).
Here are the decisions. What they stand on: the activities (`steps`), what people ask (`commands`), what Salesforce
tells (`word`), what the world is shown (`standing`, `story`).
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, Final

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.failures import Problem
    from closedwon import names
    from closedwon.errors import AttentionReason
    from closedwon.model import (
        NOT_NEEDED,
        UNWON,
        Answer,
        Decision,
        ErpOrder,
        ErpStatus,
        Following,
        Frozen,
        Message,
        Order,
        OrderStart,
    )
    from closedwon.names import OrderStage
    from workflows.alerts import Alerts
    from workflows.commands import Commanded, Commands
    from workflows.looks import Look
    from workflows.problems import may_stay_untold, must_not_forget, only_named, taken_back
    from workflows.standing import Standing
    from workflows.steps import ProblemError, Steps, StoppedError
    from workflows.story import Story
    from workflows.word import Word


_LETS_LIVE: Final = frozenset(
    {AttentionReason.TOO_LATE_TO_CANCEL, AttentionReason.DEAL_UNWON, AttentionReason.RECORD_DELETED}
)
"""Where the order of a deal that was taken back is stopped here, `retry` leaves it as it is."""
_AT_AN_END: Final = frozenset({ErpStatus.DONE, ErpStatus.CANCELLED})
_GIVES_WAY: Final = frozenset({AttentionReason.TOO_LATE_TO_CANCEL, AttentionReason.ORDER_EXISTS})
"""Where a decision ends here, `retry` lets the order live; elsewhere it tries the decision again."""


class Outcome(Frozen):
    """How the workflow ended."""

    stage: OrderStage
    order: ErpOrder | None = None
    spared: bool = False
    """A person lets the order live though its deal was taken back: sweeps do not ask again."""


@workflow.defn(name=names.ORDER_WORKFLOW)
class OrderWorkflow(Commanded):
    """Carries one record to the ERP, once, and back."""

    @workflow.init
    def __init__(self, start: OrderStart) -> None:
        """Take over what the run before carried."""
        self._start = start
        self._story = Story(start.record)
        self._standing = Standing(self._story)
        self._word = Word(start.carried)
        self._commands = Commands(self._story, decision=start.decision)
        self._steps = Steps(start, self._commands)
        self._alerts = Alerts(
            "order",
            told=start.alerted,
            raising=start.alert_raising,
            on_raised=self._tell_of_alert,
            org=start.org,
            record=start.record,
            route=start.route,
        )
        self._leaves_untold = False
        self._resolution: Decision | None = None
        self._look = Look()
        """What was seen last."""
        self._placed_for: Order | None = None
        self._gave_up = start.gave_up
        """The order was cancelled since the deal was taken back; if it is won again, that order is wanted."""
        self._spares = start.spares
        """A person lets the order of a deal live that was taken back."""
        self._follow_until = start.follow_until
        self._erp_spoke = False

    @workflow.signal(name=names.SIGNAL_NOTIFIED, description="Word of this record arrived from Salesforce.")
    def notified(self, message: Message) -> None:
        """Mark the record as worth another look."""
        self._story.heard(workflow.now(), message)
        self._steps.session = message.session or self._steps.session
        self._word.take(message)

    @workflow.signal(name=names.SIGNAL_ERP_CHANGED, description="The ERP says that the order has changed there.")
    def erp_changed(self, *given: Any) -> None:
        """Have a look at the order in the ERP now, if it is being watched."""
        del given
        self._erp_spoke = True

    def _take(self, word: str, given: tuple[Any, ...]) -> Answer:
        placed = self._standing.placed
        if word == names.SIGNAL_RESOLVE and self._standing.stage is OrderStage.ATTENTION:
            placed = None  # may have been cancelled in the ERP by whoever sends this: the ERP is asked what it has
        answer = self._commands.ask(word, given, placed)
        self._standing.refresh()
        return answer

    @workflow.run
    async def run(self, start: OrderStart) -> Outcome:
        """Look, order, write back; once more if word came meanwhile."""
        del start  # held since __init__
        while True:
            try:
                outcome = await (self._decide() if self._commands.decision_asked() else self._carry())
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
            is_decided = self._standing.deciding is not None
            if (is_decided or self._resolution or outcome.stage is OrderStage.CANCELLED) and self._start.remember:
                await self._remember(outcome.stage)
            if self._commands.decision_asked():
                continue
            if not self._word.news or (is_decided and not self._start.remember):
                return self._end(outcome)

    async def _carry(self) -> Outcome:
        self._word.news = False
        standing = self._standing
        standing.show(OrderStage.LOADING)
        told = self._word.payload
        self._look = look = await self._steps.load(told)
        standing.number = look.number
        if told is not None and not look.gone:
            self._word.is_there(told)
        self._story.looked(workflow.now(), look)
        if look.order is not None:
            self._spares = False
            outcome = await self._tell_order(await self._create(look.order, look))
            return await self._follow(outcome, look.policies.follow)
        policy = look.policies.deleted if look.deleted else look.policies.unwon
        if self._spares and standing.placed is None:
            standing.placed = await self._steps.find(unless=self._has_news)
        if self._spares or policy == "ignore" or not self._may_have_order():
            return await self._tell_order(standing.placed)
        if policy == "attention":
            standing.placed = placed = await self._steps.find(unless=self._has_news)
            if placed is not None and placed.status is not ErpStatus.CANCELLED:
                raise ProblemError(taken_back(look, placed))
        return await self._give_up()

    def _has_news(self) -> bool:
        return self._word.news

    def _may_have_order(self) -> bool:
        """Whether there may be an order of a record that asks for none. One that is only hidden keeps its order."""
        look = self._look
        return not look.given_up and (look.may_have_order or (self._tried() and (look.deleted or not look.gone)))

    def _tried(self) -> bool:
        return self._start.tried or self._steps.tried or self._standing.placed is not None

    async def _tell_order(self, placed: ErpOrder | None) -> Outcome:
        """Tell the record of its order, even if it would not ask for it any more."""
        if placed is None:
            return Outcome(stage=OrderStage.NOT_NEEDED)
        if not self._look.gone:
            self._standing.show(OrderStage.WRITING_BACK)
            told = await self._steps.write_back(
                order=placed,
                since=self._word.since,
                unless=lambda: self._word.deleted and self._word.news,
            )
            self._story.written(workflow.now(), told)
            self._word.since = None  # the way of that word has been measured
        is_off = placed.status is ErpStatus.CANCELLED
        return Outcome(stage=OrderStage.CANCELLED if is_off else OrderStage.COMPLETED, order=placed)

    async def _follow(self, outcome: Outcome, following: Following | None) -> Outcome:
        """Watch the order in the ERP, and write each change back, until it is done or cancelled there."""
        if following is None or outcome.order is None:
            return outcome
        until = self._follow_until = self._follow_until or workflow.now() + following.horizon
        while (left := until - workflow.now()) > timedelta(0) and outcome.order.status not in _AT_AN_END:
            self._standing.show(OrderStage.FOLLOWING)
            self._erp_spoke = False
            try:
                found = await self._steps.follow(outcome.order, following, left, unless=self._has_any_news)
            except StoppedError:
                if self._word.news or not self._erp_spoke or self._commands.decision_asked():
                    raise
                continue
            if found is None:
                self._story.tell(workflow.now(), "the order is no longer watched: its time is over, or it is not there")
                break
            self._standing.placed = found
            self._story.followed(workflow.now(), found)
            outcome = await self._tell_order(found)
        if outcome.stage is OrderStage.CANCELLED:
            self._word.decided_at = workflow.now()  # somebody did so in the ERP
        return outcome

    def _has_any_news(self) -> bool:
        return self._word.news or self._erp_spoke

    async def _create(self, order: Order, look: Look) -> ErpOrder:
        standing = self._standing
        if standing.placed is not None and (self._resolution or order == self._placed_for):
            return standing.placed
        standing.order = order
        standing.show(OrderStage.ORDERING)
        reopen = look.reopen or self._gave_up
        placed = await self._steps.create(order, look, reopen=reopen, unless=self._has_news)
        self._gave_up = False
        standing.placed, self._placed_for = placed, order
        self._story.placed(workflow.now(), placed, look.erp)
        return placed

    async def _decide(self) -> Outcome:
        """Carry out what somebody has decided, instead of what the record asks for."""
        decision = self._standing.deciding = self._commands.begin()
        self._word.decided_at, self._word.news = workflow.now(), False
        match decision.to:
            case "cancel":
                return await self._cancel_order()
            case "resolve":
                return await self._follow(await self._resolve(decision), self._start.follow)
            case "skip":
                return await self._skip()

    async def _cancel_order(self) -> Outcome:
        """Cancel what the ERP has, if it has anything, and say so in Salesforce."""
        self._standing.show(OrderStage.CANCELLING)
        self._standing.placed = placed = await self._steps.cancel()
        if self._resolution is not None and placed is None:
            self._story.tell(workflow.now(), f"order {self._resolution.number} stays in the ERP: cancel it **by hand**")
        else:
            self._story.cancelled(workflow.now(), placed)
        self._resolution = None
        is_unwon = self._look.order is None and self._look.may_have_order
        await self._tell(order=placed, status=UNWON if is_unwon else ErpStatus.CANCELLED)
        return Outcome(stage=OrderStage.CANCELLED, order=placed)

    async def _give_up(self) -> Outcome:
        """As for `cancel`, but it is the record that asks for it, and it may change its mind at any moment.

        So news ends the waiting, and the next look decides.
        """
        self._standing.show(OrderStage.CANCELLING)
        self._gave_up = True  # also where news ends the waiting: an attempt without an answer may have done it
        placed = await self._steps.cancel(unless=self._has_news)
        self._standing.placed, self._placed_for = placed, None
        self._gave_up = placed is not None
        if self._start.remember:
            self._word.give_up(workflow.now())
        if placed is None and self._look.number is not None:
            raise ProblemError(only_named(self._look.number))
        if placed is None and not self._word.deleted:
            return Outcome(stage=OrderStage.NOT_NEEDED)
        self._story.cancelled(workflow.now(), placed)
        if not self._look.gone:
            told = await self._steps.write_back(order=placed, status=UNWON, unless=self._has_news)
            self._story.written(workflow.now(), told)
        return Outcome(stage=OrderStage.CANCELLED, order=placed)

    async def _resolve(self, decision: Decision) -> Outcome:
        """Take the order that was made by hand for the record's one, and write it back as if we had made it."""
        self._standing.show(OrderStage.ORDERING)
        resolved = await self._steps.resolve(decision.number or "")
        if resolved.rival is not None:
            self._standing.placed = resolved.rival
            raise ProblemError(must_not_forget(resolved.rival))
        self._standing.placed, self._resolution = resolved.order, decision
        self._story.tell(workflow.now(), f"order **{decision.number}** is taken for the record's order")
        self._standing.show(OrderStage.WRITING_BACK)
        await self._tell(order=resolved.order, since=self._word.since)
        if self._start.follow is not None:
            self._standing.deciding = None  # it is carried out; from here on, word of the record counts as ever
        return Outcome(stage=OrderStage.COMPLETED, order=resolved.order)

    async def _skip(self) -> Outcome:
        """Close it without an order; an attempt without an answer may have made one, so the ERP is asked."""
        self._standing.show(OrderStage.CANCELLING)
        found = await self._steps.find()
        if found is not None and found.status is not ErpStatus.CANCELLED:
            self._standing.placed = found
            raise ProblemError(must_not_forget(found))
        self._story.tell(workflow.now(), "it is closed as not needed: the ERP has no order")
        await self._tell(status=NOT_NEEDED)
        return Outcome(stage=OrderStage.NOT_NEEDED)

    async def _tell(self, **content: Any) -> None:
        """Say in Salesforce what came of a decision, unless there is nobody to say it to."""
        if not self._word.deleted and not self._leaves_untold:
            told = await self._steps.write_back(**content)
            self._story.written(workflow.now(), told)

    async def _remember(self, stage: OrderStage) -> None:
        """Stay open for a while after a decision: a message that is older than it must not begin a new order.

        Where orders are made of messages no record tells that this one was given up. Word of what happened since
        is news as ever: the deal was won again.
        """
        self._standing.show(stage)
        try:
            await self._commands.sleep(
                lambda: self._word.news,
                longest=self._start.remember,
                summary="messages from before the decision are ignored",
            )
        except TimeoutError:
            return
        if self._word.news:
            if not self._resolution:
                self._standing.placed = self._placed_for = None
            self._standing.deciding = self._word.decided_at = None
            self._leaves_untold = False
        elif not self._commands.decision_asked():
            self._continue_if_long()

    async def _need_attention(self, problem: Problem) -> None:
        """Stay open until somebody sends a command, or new word of the record arrives.

        Then all is looked at afresh: what was wrong may have been mended anywhere. A decision that needs attention is
        none of the record's business, so no word of it wakes that one. Where it is Salesforce that refuses to be told
        of it, the same decision again ends it untold: the record may be gone for good.
        """
        stopped_at, deciding = self._standing.stage, self._standing.deciding

        def is_mended() -> bool:
            return self._word.news and (deciding is None or self._word.deleted)

        if is_mended() and deciding is None:
            return  # word came since the record was read
        self._commands.retry_asked = False  # it was about the step that ended here; now it would decide
        self._standing.show(OrderStage.ATTENTION, problem)
        self._story.tell(workflow.now(), f"**needs attention** (`{problem.reason}`): {problem.message}")
        self._alerts.tell(problem)
        is_salesforces = problem.reason.startswith(("salesforce", "record"))
        if not self._word.deleted and not is_salesforces:
            said = await self._steps.report(problem, self._standing.placed, unless=is_mended)
            self._story.tell(workflow.now(), said)
        self._standing.refresh()
        await self._commands.until(is_mended)
        if self._commands.any_asked():
            self._alerts.over()
        else:
            self._continue_if_long()
        self._standing.show(stopped_at)
        if self._commands.decision_asked():
            self._leaves_untold = is_salesforces and may_stay_untold(deciding, self._commands.newest(), problem)
        elif deciding is not None and problem.reason in _GIVES_WAY:
            self._standing.deciding = self._word.decided_at = None
        elif deciding is not None:
            self._commands.begin_again()
        if problem.reason in _LETS_LIVE and self._commands.retry_asked:
            self._spares = True

    def _tell_of_alert(self) -> None:
        self._story.tell(workflow.now(), "an alert is on its way to whoever is told of that")
        self._standing.refresh()

    def _continue_if_long(self) -> None:
        """Begin a new run before the history grows too long. It looks at everything afresh."""
        if workflow.info().is_continue_as_new_suggested():
            decision = self._commands.unfinished(self._standing.deciding or self._resolution)
            self._standing.show(OrderStage.LOADING)  # search attributes go along; there the new run begins
            carried = {
                "carried": self._word.payload,
                "decision": decision,
                "follow_until": self._follow_until,
                "spares": self._spares,
                **self._alerts.carried,
                "tried": self._tried(),
                "unanswered_at": self._steps.unanswered_at,
                "gave_up": self._gave_up,
            }
            workflow.continue_as_new(self._start.model_copy(update=carried))

    def _end(self, outcome: Outcome) -> Outcome:
        self._standing.show(outcome.stage)
        if self._commands.workflow_cancelled and outcome.stage is OrderStage.CANCELLED:
            raise asyncio.CancelledError
        return outcome.model_copy(update={"spared": True}) if self._spares else outcome
