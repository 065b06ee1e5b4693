"""The commands of operators: received as signals and updates, decided by the table, and waited for. No activities.

`retry` asks for haste. `cancel`, `resolve` and `skip` are decisions: the newest counts, and one that arrives while
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
from closedwon.model.commands import Command, CommandAnswer, Decision
from closedwon.model.order_state import OrderState
from workflows.order_table import Effect, effect_of
from workflows.timeline import Timeline

_RETRY: Final = "Try again now instead of waiting. Input: nothing, or a reason."
_CANCEL: Final = (
    "Stop the order, or cancel it in the ERP, and write the status to Salesforce. Input: nothing, or a reason."
)
_RESOLVE: Final = (
    "The order exists already, made by hand: compare it with the record, write its number to Salesforce and make none. "
    'Input: the order\'s number, as in "SO-22", or {"number": "SO-22", "reason": "…", "accept_differences": false}.'
)
_SKIP: Final = "Close it as not needed; refused once the ERP has the order. Input: nothing, or a reason."
_ANSWERS: Final = " Answers yes or no, and why."
_NO_NUMBER: Final = 'The command names no order. Send its number with it, as in "SO-22".'


class Commands:
    """What was asked and is not done yet; kept in the order's state."""

    def __init__(self, state: OrderState, timeline: Timeline) -> None:
        """Go on with a decision that the run before did not finish."""
        self._state = state
        self._timeline = timeline
        if state.decision is not None and state.decision_is_pending:
            timeline.add(workflow.now(), "a new run continues with the decision of the run before")
            timeline.commanded(workflow.now(), state.decision.to, state.decision, None)

    def ask(self, name: str, given: tuple[Any, ...]) -> CommandAnswer:
        """Accept a command, or refuse it, as the table says for the present situation."""
        first = given[0] if given else None
        command = Command.read(first, text="number" if name == names.SIGNAL_RESOLVE else "reason")
        effect = effect_of(name, self._state.situation)
        refusal = self._refusal(name, command, effect)
        self._timeline.commanded(workflow.now(), name, command, refusal)
        if refusal:
            return CommandAnswer(accepted=False, message=refusal)
        if name == names.SIGNAL_RETRY:
            self._state.retry_asked = True
        else:
            self._state.decision = Decision.model_validate({"to": name, **command.model_dump()})
            self._state.decision_is_pending = True
        return CommandAnswer(accepted=True, message=effect.answer.format(number=command.number, order=self._number()))

    def _refusal(self, name: str, command: Command, effect: Effect) -> str | None:
        if name == names.SIGNAL_RESOLVE and command.number is None:
            return _NO_NUMBER
        is_another = effect is Effect.RESOLVE_SAME and command.number != self._number()
        if is_another or not effect.accepted:
            return effect.answer.format(number=command.number, order=self._number())
        return None

    def _number(self) -> str | None:
        placed = self._state.placed
        return None if placed is None else placed.number or placed.id

    def decision_asked(self) -> bool:
        """Whether a decision is still to be begun."""
        if not self._state.workflow_cancelled and workflow.cancellation_reason() is not None:
            self._count_workflow_cancellation()
        return self._state.decision_is_pending

    def any_asked(self) -> bool:
        """Whether there is a command that a step must give way to."""
        return self.decision_asked() or self._state.retry_asked

    def begin(self) -> Decision:
        """The decision that is to be carried out now."""
        assert self._state.decision is not None
        self._state.decision_is_pending = False
        return self._state.decision

    async def until(self, ready: Callable[[], bool]) -> None:
        """Wait for `ready` or a command."""
        await self.sleep(lambda: ready() or self._state.retry_asked)

    async def sleep(
        self, ready: Callable[[], bool], *, longest: timedelta | None = None, summary: str | None = None
    ) -> None:
        """Wait for `ready` or a decision; `retry` does not wake. Raises `TimeoutError` after `longest`.

        A history that grows too long ends the waiting, too: reading everything again in a new run is always right.
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
        if not self._state.workflow_cancelled:
            self._state.workflow_cancelled = True
            reason = workflow.cancellation_reason() or "the cancellation of the workflow was requested"
            self.ask(names.SIGNAL_CANCEL, (reason,))


class Commanded:
    """The commands as signals and updates; a workflow that derives from it says what they do, by `_take`.

    They accept any input, and any number of inputs: a signal that cannot be decoded is dropped although the sender sees
    success, and one input too many would block the workflow indefinitely.
    """

    @abstractmethod
    def _take(self, name: str, given: tuple[Any, ...]) -> CommandAnswer:
        """Handle a command; inputs beyond the first one are ignored."""

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
    def answer_retry(self, *given: Any) -> CommandAnswer:
        """As the signal, with an answer."""
        return self._take(names.SIGNAL_RETRY, given)

    @workflow.update(name=names.SIGNAL_CANCEL, description=_CANCEL + _ANSWERS)
    def answer_cancel(self, *given: Any) -> CommandAnswer:
        """As the signal, with an answer."""
        return self._take(names.SIGNAL_CANCEL, given)

    @workflow.update(name=names.SIGNAL_RESOLVE, description=_RESOLVE + _ANSWERS)
    def answer_resolve(self, *given: Any) -> CommandAnswer:
        """As the signal, with an answer."""
        return self._take(names.SIGNAL_RESOLVE, given)

    @workflow.update(name=names.SIGNAL_SKIP, description=_SKIP + _ANSWERS)
    def answer_skip(self, *given: Any) -> CommandAnswer:
        """As the signal, with an answer."""
        return self._take(names.SIGNAL_SKIP, given)
