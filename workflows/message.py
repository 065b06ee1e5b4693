"""A message that nobody could read: it is held, open, until a person has decided. Nothing is dropped in silence."""

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
    from closedwon.model import Answer, Command, UnreadableMessage
    from closedwon.names import OrderStage
    from closedwon.order_state import Problem
    from workflows.alerts import Alerts
    from workflows.problems import problem_of

_STAGE = SearchAttributeKey.for_keyword(names.ORDER_STAGE)
_REASON = SearchAttributeKey.for_keyword(names.ATTENTION_REASON)

_CURE: Final = (
    "Mend the route's `record_id` and send `retry`, or see to the record by hand and send `cancel`; `skip` where none "
    "is needed."
)
_RETRY: Final = "Read the message again, now. Input: nothing, or a reason."
_CANCEL: Final = "Close it: it was seen to by hand. Input: nothing, or a reason."
_SKIP: Final = "Close it: nobody needs it. Input: nothing, or a reason."
_ANSWERS: Final = " Answers yes or no, and why."
_YES: Final = {
    names.SIGNAL_RETRY: "The message is read again now.",
    names.SIGNAL_CANCEL: "It is closed as cancelled: the record was seen to by hand.",
    names.SIGNAL_SKIP: "It is closed as not needed.",
}
_COMMANDS_SHOWN: Final = 20
_ENDS: Final = {names.SIGNAL_CANCEL: OrderStage.CANCELLED, names.SIGNAL_SKIP: OrderStage.NOT_NEEDED}


@workflow.defn(name=names.UNREADABLE_MESSAGE_WORKFLOW)
class UnreadableMessageWorkflow:
    """Holds one raw message in *needs attention*."""

    @workflow.init
    def __init__(self, message: UnreadableMessage) -> None:
        """Nothing has been decided yet."""
        self._message = message
        self._problem = Problem(reason=AttentionReason.BAD_MESSAGE, message=message.problem, cure=_CURE)
        self._alerts = Alerts("message", org=message.org, channel=message.source)
        self._story: deque[str] = deque(maxlen=_COMMANDS_SHOWN)
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
    def answer_retry(self, *given: Any) -> Answer:
        """As the signal, with an answer."""
        return self._take(names.SIGNAL_RETRY, given)

    @workflow.update(name=names.SIGNAL_CANCEL, description=_CANCEL + _ANSWERS)
    def answer_cancel(self, *given: Any) -> Answer:
        """As the signal, with an answer."""
        return self._take(names.SIGNAL_CANCEL, given)

    @workflow.update(name=names.SIGNAL_SKIP, description=_SKIP + _ANSWERS)
    def answer_skip(self, *given: Any) -> Answer:
        """As the signal, with an answer."""
        return self._take(names.SIGNAL_SKIP, given)

    @workflow.run
    async def run(self, message: UnreadableMessage) -> str:
        """Wait for a person; return how it ended."""
        del message  # held since __init__
        try:
            end = await self._wait_for_a_person()
        except asyncio.CancelledError:  # of the whole workflow, as Temporal's UI requests it
            self._close(OrderStage.CANCELLED)
            raise
        self._close(end)
        return end

    async def _wait_for_a_person(self) -> OrderStage:
        while (end := self._end) is None:
            self._show()
            self._alerts.tell(self._problem)
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
        """Make an order of it, if it can be read now; that outdoes a wish to close it, which ends other attempts."""
        self._alerts.over()
        reading = workflow.start_activity_method(
            MessageActivities.read_again,
            self._message,
            summary=f"read message {self._message.id} again",
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

    def _take(self, word: str, given: tuple[Any, ...]) -> Answer:
        command = Command.read(given[0] if given else None)
        sender = f" by {command.by}" if command.by else ""
        reason = f": {command.reason}" if command.reason else ""
        self._story.append(f"- `{workflow.now():%Y-%m-%d %H:%M:%S}` `{word}` was sent{sender}{reason}")
        if word == names.SIGNAL_RETRY:
            self._retry = True
        else:
            self._end = _ENDS[word]
        self._show()
        return Answer(accepted=True, message=_YES[word])

    def _close(self, end: OrderStage) -> None:
        self._end = end
        self._show()
        workflow.upsert_search_attributes([_STAGE.value_set(end), _REASON.value_unset()])

    def _show(self) -> None:
        stands = f"Closed: {self._end}" if self._end else "**Needs attention**: a message that cannot be read"
        story = "\n".join([*self._story, ""])
        workflow.set_current_details(
            f"### {stands}\n\n- **From** `{self._message.source}`, "
            f"{self._message.received_at:%Y-%m-%d %H:%M:%S}\n- **Problem** {self._problem.message}\n"
            f"- **What to do**: {self._problem.cure}\n{story}\n```\n{self._message.raw}\n```"
        )
