"""The way of one won deal: look at the record, hand the order to the ERP, write back, end in a known state.

One workflow per record, started or signalled by every message about it. It decides; activities act. It ends as
completed, cancelled or not needed, or it stays open and needs attention until somebody sends `retry` or `cancel`.
Here are the decisions. What they stand on: the activities (`steps`), what people ask (`commands`), what Salesforce
tells (`word`), what the world is shown (`standing`, `story`).
"""

from __future__ import annotations

import asyncio

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.failures import Problem
    from activities.salesforce import Look
    from closedwon import names
    from closedwon.errors import AttentionReason
    from closedwon.model import ErpOrder, ErpStatus, Frozen, Message, Order, OrderStart
    from closedwon.names import OrderStage
    from workflows.commands import Commands
    from workflows.standing import Standing
    from workflows.steps import ProblemError, Steps, StoppedError
    from workflows.story import Story
    from workflows.word import Word


class Outcome(Frozen):
    """How the workflow ended."""

    stage: OrderStage
    order: ErpOrder | None = None


@workflow.defn(name=names.ORDER_WORKFLOW)
class OrderWorkflow:
    """Carries one record to the ERP, once, and back."""

    @workflow.init
    def __init__(self, start: OrderStart) -> None:
        """Take over what the run before carried."""
        self._start = start
        self._story = Story(start.record)
        self._standing = Standing(self._story)
        self._word = Word(start.carried)
        self._commands = Commands(self._story, cancelling=start.cancelling or self._word.deleted)
        self._steps = Steps(start, self._commands)
        self._is_cancelling = False
        self._leaves_untold = False
        self._placed_for: Order | None = None

    @workflow.signal(name=names.SIGNAL_NOTIFIED, description="Word of this record arrived from Salesforce.")
    def notified(self, message: Message) -> None:
        """Mark the record as worth another look."""
        self._story.heard(workflow.now(), message)
        self._steps.session = message.session or self._steps.session
        if self._word.take(message):
            self._commands.record_deleted()

    @workflow.signal(
        name=names.SIGNAL_RETRY, description="Try again now instead of waiting. Input: nothing, or a reason."
    )
    def retry(self, reason: str | None = None) -> None:
        """Wake a step that waits for its next attempt, or an order that needs attention."""
        self._commands.ask_retry(reason)

    @workflow.signal(
        name=names.SIGNAL_CANCEL,
        description="Stop, or cancel the ERP's order, and say so in Salesforce. Input: nothing, or a reason.",
    )
    def cancel(self, reason: str | None = None) -> None:
        """Ask for cancellation; safe at any moment, any number of times."""
        self._commands.ask_cancel(reason)

    @workflow.run
    async def run(self, start: OrderStart) -> Outcome:
        """Look, order, write back; once more if word came meanwhile."""
        del start  # held since __init__
        while True:
            try:
                outcome = await (self._cancel_order() if self._commands.cancel_asked() else self._carry())
            except StoppedError:
                self._continue_if_long()
                continue
            except ProblemError as stop:
                self._continue_if_long()
                await self._need_attention(stop.problem)
                continue
            if self._commands.cancel_asked():
                continue
            if outcome.stage is OrderStage.CANCELLED and self._start.remember:
                await self._remember()
            if self._commands.cancel_asked():
                continue
            if not self._word.news or (outcome.stage is OrderStage.CANCELLED and not self._start.remember):
                return self._end(outcome)

    async def _carry(self) -> Outcome:
        self._word.news = False
        standing = self._standing
        if self._word.deleted:  # and too late to cancel: somebody has decided to let the order live
            return Outcome(stage=OrderStage.COMPLETED, order=standing.placed)
        standing.show(OrderStage.LOADING)
        look = await self._steps.load(self._word.payload)
        self._story.looked(workflow.now(), look)
        placed = await self._create(look.order, look) if look.order else standing.placed
        if placed is None:
            return Outcome(stage=OrderStage.NOT_NEEDED)
        if not look.gone:  # an order that exists is told, even if the record would not ask for it any more
            standing.show(OrderStage.WRITING_BACK)
            told = await self._steps.write_back(order=placed, heard_at=self._word.heard_at)
            self._story.written(workflow.now(), told)
        return Outcome(stage=OrderStage.COMPLETED, order=placed)

    async def _create(self, order: Order, look: Look) -> ErpOrder:
        standing = self._standing
        if standing.placed is not None and order == self._placed_for:
            return standing.placed
        standing.order = order
        standing.show(OrderStage.ORDERING)
        placed = await self._steps.create(order, look)
        standing.placed, self._placed_for = placed, order
        self._story.placed(workflow.now(), placed, look.erp)
        return placed

    async def _cancel_order(self) -> Outcome:
        """Cancel what the ERP has, if it has anything, and say so in Salesforce."""
        self._commands.cancel_begun()
        self._is_cancelling = True
        self._word.cancelled_at, self._word.news = workflow.now(), False
        self._standing.show(OrderStage.CANCELLING)
        self._standing.placed = placed = await self._steps.cancel()
        self._story.cancelled(workflow.now(), placed)
        if not self._word.deleted and not self._leaves_untold:
            told = await self._steps.write_back(order=placed, status=ErpStatus.CANCELLED)
            self._story.written(workflow.now(), told)
        return Outcome(stage=OrderStage.CANCELLED, order=placed)

    async def _remember(self) -> None:
        """Stay open for a while after a cancel: a message that is older than it must not begin a new order.

        Where orders are made of messages no record tells that this one was given up. Word of what happened since
        is news as ever: the deal was won again.
        """
        self._standing.show(OrderStage.CANCELLED)
        try:
            await self._commands.sleep(
                lambda: self._word.news,
                longest=self._start.remember,
                summary="messages from before the cancel are ignored",
            )
        except TimeoutError:
            return
        if self._word.news:
            self._standing.placed = self._placed_for = self._word.cancelled_at = None
            self._is_cancelling = False
        elif not self._commands.cancel_asked():
            self._continue_if_long()

    async def _need_attention(self, problem: Problem) -> None:
        """Stay open until somebody sends `retry` or `cancel`, or new word of the record arrives.

        Then all is looked at afresh: what was wrong may have been mended anywhere. A cancel that needs attention is
        none of the record's business, so no word of it wakes that one. Where it is Salesforce that refuses to be told
        of it, another `cancel` ends it untold: the record may be gone for good.
        """
        stopped_at = self._standing.stage
        cancelling = stopped_at is OrderStage.CANCELLING

        def is_mended() -> bool:
            return self._word.news and not cancelling

        if is_mended():
            return  # word came since the record was read
        self._standing.show(OrderStage.ATTENTION, problem)
        self._story.tell(workflow.now(), f"**needs attention** (`{problem.reason}`): {problem.message}")
        is_salesforces = problem.reason.startswith(("salesforce", "record"))
        if not self._word.deleted and not is_salesforces:
            said = await self._steps.report(problem, self._standing.placed, unless=is_mended)
            self._story.tell(workflow.now(), said)
        self._standing.refresh(problem)
        await self._commands.until(is_mended)
        if not self._commands.any_asked():
            self._continue_if_long()
        self._standing.show(stopped_at)
        if self._commands.cancel_asked():
            self._leaves_untold = cancelling and is_salesforces
        elif cancelling and problem.reason is not AttentionReason.TOO_LATE_TO_CANCEL:
            self._commands.cancel_again()
        elif cancelling:
            self._is_cancelling, self._word.cancelled_at = False, None

    def _continue_if_long(self) -> None:
        """Begin a new run before the history grows too long. It looks at everything afresh."""
        if workflow.info().is_continue_as_new_suggested():
            cancelling = self._commands.cancel_asked() or self._is_cancelling
            self._standing.show(OrderStage.LOADING)  # search attributes go along; there the new run begins
            workflow.continue_as_new(
                self._start.model_copy(update={"carried": self._word.payload, "cancelling": cancelling})
            )

    def _end(self, outcome: Outcome) -> Outcome:
        self._standing.show(outcome.stage)
        if self._commands.workflow_cancelled and outcome.stage is OrderStage.CANCELLED:
            raise asyncio.CancelledError
        return outcome
