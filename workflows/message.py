"""A message that nobody could read: it is held, open, until a person has decided. Nothing is dropped in silence."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy, SearchAttributeKey
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from activities.messages import MessageActivities
    from closedwon import names
    from closedwon.model import UnreadableMessage
    from closedwon.names import OrderStage
    from workflows.problems import problem_of

_STAGE = SearchAttributeKey.for_keyword(names.ORDER_STAGE)
_REASON = SearchAttributeKey.for_keyword(names.ATTENTION_REASON)


@workflow.defn(name=names.UNREADABLE_MESSAGE_WORKFLOW)
class UnreadableMessageWorkflow:
    """Holds one raw message in *needs attention*."""

    @workflow.init
    def __init__(self, message: UnreadableMessage) -> None:
        """Nothing has been decided yet."""
        self._message = message
        self._problem = message.problem
        self._retry = False
        self._cancel = False

    @workflow.signal(name=names.SIGNAL_RETRY, description="Read the message again, now. Input: nothing, or a reason.")
    def retry(self, reason: str | None = None) -> None:
        """Ask for another reading."""
        del reason
        self._retry = True

    @workflow.signal(
        name=names.SIGNAL_CANCEL, description="Close it: it was seen to by hand. Input: nothing, or a reason."
    )
    def cancel(self, reason: str | None = None) -> None:
        """Ask for the end."""
        del reason
        self._cancel = True

    @workflow.run
    async def run(self, message: UnreadableMessage) -> str:
        """Wait for a person; return how it ended."""
        del message  # held since __init__
        while True:
            self._show()
            await workflow.wait_condition(lambda: self._retry or self._cancel)
            if self._cancel:
                return self._end(OrderStage.CANCELLED)
            self._retry = False
            try:
                await workflow.execute_activity_method(
                    MessageActivities.read_again,
                    self._message,
                    summary=f"read message {self._message.id} again",
                    start_to_close_timeout=timedelta(minutes=1),
                    retry_policy=RetryPolicy(maximum_interval=timedelta(minutes=1)),
                )
            except ActivityError as error:
                self._problem = problem_of(error).message
            else:
                return self._end(OrderStage.COMPLETED)

    def _end(self, stage: OrderStage) -> str:
        workflow.upsert_search_attributes([_STAGE.value_set(stage), _REASON.value_unset()])
        return stage

    def _show(self) -> None:
        workflow.set_current_details(
            f"### **Needs attention**: a message that cannot be read\n\n- **From** `{self._message.source}`, "
            f"{self._message.received_at:%Y-%m-%d %H:%M:%S}\n- **Problem** {self._problem}\n- **What to do**: mend the "
            "route's `record_id` and send `retry`, or see to the record by hand and send `cancel`.\n\n"
            f"```\n{self._message.raw}\n```"
        )
