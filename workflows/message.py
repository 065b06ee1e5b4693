"""The workflow of an unparseable message: it stays open until a person has decided. No message is dropped silently."""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import timedelta
from typing import Any, Final

from temporalio import workflow
from temporalio.common import RetryPolicy, SearchAttributeKey
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from activities.messages import MessageActivities
    from closedwon import names
    from closedwon.errors import AttentionReason
    from closedwon.model.alerts import AlertSubject
    from closedwon.model.commands import Command, CommandAnswer
    from closedwon.model.messages import UnparseableMessage
    from closedwon.model.order_state import Problem
    from closedwon.names import OrderStage
    from closedwon.safe_text import markdown, markdown_block, markdown_code
    from workflows.alerts import Alerts
    from workflows.problems import problem_of

_STAGE = SearchAttributeKey.for_keyword(names.ORDER_STAGE)
_REASON = SearchAttributeKey.for_keyword(names.ATTENTION_REASON)

_HINT: Final = (
    "Correct the route's `record_id`, then send `retry`. Or handle the record by hand, then send `cancel`; if it needs "
    "no order, send `skip`."
)
_RETRY: Final = "Read the message again, now. Input: nothing, or a reason."
_CANCEL: Final = "Close it: the record was handled by hand. Input: nothing, or a reason."
_SKIP: Final = "Close it: it is not needed. Input: nothing, or a reason."
_ANSWERS: Final = " Answers yes or no, and why."
_YES: Final = {
    names.SIGNAL_RETRY: "The message is read again now.",
    names.SIGNAL_CANCEL: "It is closed as cancelled: the record was handled by hand.",
    names.SIGNAL_SKIP: "It is closed as not needed.",
}
_COMMANDS_SHOWN: Final = 20
_ENDS: Final = {names.SIGNAL_CANCEL: OrderStage.CANCELLED, names.SIGNAL_SKIP: OrderStage.NOT_NEEDED}


@workflow.defn(name=names.UNPARSEABLE_MESSAGE_WORKFLOW)
class UnparseableMessageWorkflow:
    """Holds one raw message in *needs attention*."""

    @workflow.init
    def __init__(self, message: UnparseableMessage) -> None:
        """Begin in *needs attention*."""
        self._message = message
        self._problem = Problem(
            reason=AttentionReason.INVALID_MESSAGE, message=message.problem, hint=message.hint or _HINT
        )
        self._alerts = Alerts(AlertSubject(kind="message", org=message.org, channel=message.source))
        self._commands: deque[str] = deque(maxlen=_COMMANDS_SHOWN)
        self._retry = message.retry
        self._end: OrderStage | None = None

    @workflow.signal(name=names.SIGNAL_RETRY, description=_RETRY)
    def retry(self, *given: Any) -> None:
        """Ask for another reading."""
        self._take(names.SIGNAL_RETRY, given)

    @workflow.signal(name=names.SIGNAL_CANCEL, description=_CANCEL)
    def cancel(self, *given: Any) -> None:
        """Ask for the end."""
        self._take(names.SIGNAL_CANCEL, given)

    @workflow.signal(name=names.SIGNAL_SKIP, description=_SKIP)
    def skip(self, *given: Any) -> None:
        """Ask for the end, too."""
        self._take(names.SIGNAL_SKIP, given)

    @workflow.update(name=names.SIGNAL_RETRY, description=_RETRY + _ANSWERS)
    def answer_retry(self, *given: Any) -> CommandAnswer:
        """As the signal, with an answer."""
        return self._take(names.SIGNAL_RETRY, given)

    @workflow.update(name=names.SIGNAL_CANCEL, description=_CANCEL + _ANSWERS)
    def answer_cancel(self, *given: Any) -> CommandAnswer:
        """As the signal, with an answer."""
        return self._take(names.SIGNAL_CANCEL, given)

    @workflow.update(name=names.SIGNAL_SKIP, description=_SKIP + _ANSWERS)
    def answer_skip(self, *given: Any) -> CommandAnswer:
        """As the signal, with an answer."""
        return self._take(names.SIGNAL_SKIP, given)

    @workflow.run
    async def run(self, message: UnparseableMessage) -> str:
        """Wait for a person; return how it ended."""
        del message  # held since __init__
        try:
            end = await self._wait_for_decision()
        except asyncio.CancelledError:  # of the whole workflow, as Temporal's UI requests it
            self._close(OrderStage.CANCELLED)
            raise
        self._close(end)
        return end

    async def _wait_for_decision(self) -> OrderStage:
        while (end := self._end) is None:
            self._show()
            self._alerts.notify(self._problem)
            await workflow.wait_condition(self._is_asked)
            if self._retry:
                self._retry = False
                await self._read_again()
            self._continue_if_long()
        return end

    def _continue_if_long(self) -> None:
        if self._end is None and workflow.info().is_continue_as_new_suggested():
            carried = {"problem": self._problem.message, "retry": self._retry}
            workflow.continue_as_new(self._message.model_copy(update=carried))

    def _is_asked(self) -> bool:
        return self._retry or self._end is not None

    async def _read_again(self) -> None:
        """Start an order from it, if it can be parsed now. A command ends the attempts; a success wins over it."""
        self._alerts.over()
        reading = workflow.start_activity_method(
            MessageActivities.read_again,
            self._message,
            summary=f"read message {markdown(self._message.id)} again",
            start_to_close_timeout=timedelta(minutes=1),
            retry_policy=RetryPolicy(maximum_interval=timedelta(minutes=1)),
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        await workflow.wait_condition(lambda: reading.done() or self._is_asked())
        if not reading.done():
            reading.cancel()
        try:
            await reading
        except ActivityError as error:
            if not self._is_asked():
                self._problem = problem_of(error)
        else:
            self._end = OrderStage.COMPLETED

    def _take(self, name: str, given: tuple[Any, ...]) -> CommandAnswer:
        command = Command.read(given[0] if given else None)
        sender = f" by {command.by}" if command.by else ""
        reason = f": {command.reason}" if command.reason else ""
        self._commands.append(f"- `{workflow.now():%Y-%m-%d %H:%M:%S}` `{name}` was sent{sender}{reason}")
        if name == names.SIGNAL_RETRY:
            self._retry = True
        else:
            self._end = _ENDS[name]
        self._show()
        return CommandAnswer(accepted=True, message=_YES[name])

    def _close(self, end: OrderStage) -> None:
        self._end = end
        self._show()
        workflow.upsert_search_attributes([_STAGE.value_set(end), _REASON.value_unset()])

    def _show(self) -> None:
        headline = f"Closed: {self._end}" if self._end else "**Needs attention**: a message that cannot be read"
        commands = "\n".join([*self._commands, ""])
        workflow.set_current_details(
            f"### {headline}\n\n- **From** {markdown_code(self._message.source)}, "
            f"{self._message.received_at:%Y-%m-%d %H:%M:%S}\n- **Problem** {markdown(self._problem.message)}\n"
            f"- **What to do**: {markdown(self._problem.hint)}\n{commands}\n{markdown_block(self._message.raw)}"
        )
