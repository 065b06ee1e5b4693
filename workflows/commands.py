"""What people ask of an order that is under way, and waiting for it. No activities here.

`retry` is a wish for haste. `cancel`, `resolve` and `skip` are decisions: the newest counts, and one that arrives while
another is being carried out is carried out as well. The cancellation of the whole workflow, as Temporal's UI requests
it, counts as one `cancel`.

Each command is a signal, and an update of the same name that answers yes or no. A "no" is an answer with a sentence,
not a failed update: the command line and the UI show the one, but only the type of the other.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from temporalio import workflow

from closedwon import names
from closedwon.model import Answer, Command, Decision, ErpOrder, ErpStatus
from workflows.story import Story

_RETRY: Final = "Try again now instead of waiting. Input: nothing, or a reason."
_CANCEL: Final = "Stop, or cancel the ERP's order, and say so in Salesforce. Input: nothing, or a reason."
_RESOLVE: Final = (
    "The order exists already, made by hand: write its number to Salesforce and make none. Input: the order's number, "
    'as in "SO-22", or {"number": "SO-22", "reason": "…"}.'
)
_SKIP: Final = "Close it as not needed; refused once the ERP has the order. Input: nothing, or a reason."
_ANSWERS: Final = " Answers yes or no, and why."

_YES: Final = {
    names.SIGNAL_RETRY: "The next attempt is made now; one that is under way is waited for.",
    names.SIGNAL_CANCEL: "It is stopped. If the ERP has an order, that is cancelled, and Salesforce is told.",
    names.SIGNAL_RESOLVE: "The ERP is asked for order {number}, and Salesforce is told; unless the ERP has another "
    "order of this record, which then needs attention.",
    names.SIGNAL_SKIP: "It is closed as not needed, and Salesforce is told; unless the ERP has an order of this "
    "record, which then needs attention.",
}


class Commands:
    """What has been asked and is not done yet."""

    def __init__(self, story: Story, *, decision: Decision | None) -> None:
        """Begin with nothing, or with a `decision` that the run before did not finish."""
        self._story = story
        self._decision = decision
        self._is_pending = decision is not None
        if decision is not None:
            story.tell(workflow.now(), "a new run goes on with what the one before was told")
            story.asked(workflow.now(), decision.to, decision, None)
        self.retry_asked = False
        """Cleared by whoever tries again."""
        self.workflow_cancelled = False

    def ask(self, word: str, given: tuple[Any, ...], placed: ErpOrder | None) -> Answer:
        """Take a command, unless it would forget the order that the ERP has: `placed`."""
        first = given[0] if given else None
        command = Command.read(first, text="number" if word == names.SIGNAL_RESOLVE else "reason")
        refusal = _refusal(word, command, placed)
        self._story.asked(workflow.now(), word, command, refusal)
        if refusal:
            return Answer(accepted=False, message=refusal)
        if word == names.SIGNAL_RETRY:
            self.retry_asked = True
        else:
            self._decision, self._is_pending = Decision.model_validate({"to": word, **command.model_dump()}), True
        return Answer(accepted=True, message=_YES[word].format(number=command.number))

    def decision_asked(self) -> bool:
        """Whether a decision is still to be begun."""
        if not self.workflow_cancelled and workflow.cancellation_reason() is not None:
            self._count_workflow_cancellation()
        return self._is_pending

    def newest(self) -> Decision | None:
        """The newest decision, whatever has come of it."""
        return self._decision

    def any_asked(self) -> bool:
        """Whether there is a command that a step must give way to."""
        return self.decision_asked() or self.retry_asked

    def begin(self) -> Decision:
        """The decision that is to be carried out now."""
        assert self._decision is not None
        self._is_pending = False
        return self._decision

    def begin_again(self) -> None:
        """It came to nothing, and is still wanted."""
        self._is_pending = True

    def unfinished(self, begun: Decision | None) -> Decision | None:
        """What the next run must see to: what is asked, or else what was `begun`."""
        return self._decision if self._is_pending else begun

    async def until(self, ready: Callable[[], bool]) -> None:
        """Wait for `ready` or a command."""
        await self.sleep(lambda: ready() or self.retry_asked)

    async def sleep(
        self, ready: Callable[[], bool], *, longest: timedelta | None = None, summary: str | None = None
    ) -> None:
        """Wait for `ready` or a decision; `retry` does not wake. Raises `TimeoutError` after `longest`.

        A history that grows too long ends the waiting, too: looking at everything afresh in a new run is always right.
        """
        try:
            await workflow.wait_condition(
                lambda: ready() or self.decision_asked() or workflow.info().is_continue_as_new_suggested(),
                timeout=longest,
                timeout_summary=summary,
            )
        except asyncio.CancelledError:
            self._count_workflow_cancellation()

    def _count_workflow_cancellation(self) -> None:
        if not self.workflow_cancelled:
            self.workflow_cancelled = True
            reason = workflow.cancellation_reason() or "the workflow's cancellation was requested"
            self.ask(names.SIGNAL_CANCEL, (reason,), None)


def _refusal(word: str, command: Command, placed: ErpOrder | None) -> str | None:
    if word == names.SIGNAL_RESOLVE and command.number is None:
        return 'No order is named. Send its number along, as in "SO-22".'
    if placed is None or placed.status is ErpStatus.CANCELLED:
        return None
    number = placed.number or placed.id
    if word == names.SIGNAL_SKIP:
        return f"The ERP has order {number} of this record. To give it up, send `cancel`."
    if word == names.SIGNAL_RESOLVE and command.number != number:
        return f"The ERP has order {number} of this record. Cancel that one first, in the ERP, or give up by `cancel`."
    return None


class Commanded:
    """The commands as signals and updates; a workflow that derives from it says what they do, by `_take`.

    They take whatever is sent, and as many inputs as there are: a signal that cannot be read is dropped, with the
    sender told that all went well, and one input too many would stop the workflow for ever.
    """

    @abstractmethod
    def _take(self, word: str, given: tuple[Any, ...]) -> Answer:
        """See to a command; what is `given` beyond the first input is passed over."""

    @workflow.signal(name=names.SIGNAL_RETRY, description=_RETRY)
    def retry(self, *given: Any) -> None:
        """Wake a step that waits for its next attempt, or an order that needs attention."""
        self._take(names.SIGNAL_RETRY, given)

    @workflow.signal(name=names.SIGNAL_CANCEL, description=_CANCEL)
    def cancel(self, *given: Any) -> None:
        """Ask for cancellation; safe at any moment, any number of times."""
        self._take(names.SIGNAL_CANCEL, given)

    @workflow.signal(name=names.SIGNAL_RESOLVE, description=_RESOLVE)
    def resolve(self, *given: Any) -> None:
        """Name the order that exists already."""
        self._take(names.SIGNAL_RESOLVE, given)

    @workflow.signal(name=names.SIGNAL_SKIP, description=_SKIP)
    def skip(self, *given: Any) -> None:
        """Say that no order is needed."""
        self._take(names.SIGNAL_SKIP, given)

    @workflow.update(name=names.SIGNAL_RETRY, description=_RETRY + _ANSWERS)
    def answer_retry(self, *given: Any) -> Answer:
        """As the signal, with an answer."""
        return self._take(names.SIGNAL_RETRY, given)

    @workflow.update(name=names.SIGNAL_CANCEL, description=_CANCEL + _ANSWERS)
    def answer_cancel(self, *given: Any) -> Answer:
        """As the signal, with an answer."""
        return self._take(names.SIGNAL_CANCEL, given)

    @workflow.update(name=names.SIGNAL_RESOLVE, description=_RESOLVE + _ANSWERS)
    def answer_resolve(self, *given: Any) -> Answer:
        """As the signal, with an answer."""
        return self._take(names.SIGNAL_RESOLVE, given)

    @workflow.update(name=names.SIGNAL_SKIP, description=_SKIP + _ANSWERS)
    def answer_skip(self, *given: Any) -> Answer:
        """As the signal, with an answer."""
        return self._take(names.SIGNAL_SKIP, given)
