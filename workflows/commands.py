"""What people ask of an order that is under way, and waiting for it. No activities here, and no decisions.

A cancel is counted, not flagged: one that arrives while another is being done is done as well. The cancellation of the
whole workflow, as Temporal's UI requests it, counts as one `cancel`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

from temporalio import workflow

from workflows.story import Story


class Commands:
    """What has been asked and is not done yet."""

    def __init__(self, story: Story, *, cancelling: bool) -> None:
        """Begin with nothing, or with a `cancelling` that the run before did not finish."""
        self._story = story
        self._cancels = int(cancelling)
        self._cancels_answered = 0
        self.retry_asked = False
        """Cleared by whoever tries again."""
        self.workflow_cancelled = False

    def ask_retry(self, reason: str | None) -> None:
        """Wake whatever waits."""
        self.retry_asked = True
        self._story.tell(workflow.now(), "`retry` was sent", reason)

    def ask_cancel(self, reason: str | None) -> None:
        """Count one more wish to cancel."""
        self._cancels += 1
        self._story.tell(workflow.now(), "`cancel` was sent", reason)

    def record_deleted(self) -> None:
        """The record's deletion is a wish to cancel, too."""
        self._cancels += 1

    def cancel_asked(self) -> bool:
        """Whether a cancel is still to be begun."""
        if not self.workflow_cancelled and workflow.cancellation_reason() is not None:
            self._count_workflow_cancellation()
        return self._cancels > self._cancels_answered

    def any_asked(self) -> bool:
        """Whether there is a command that a step must give way to."""
        return self.cancel_asked() or self.retry_asked

    def cancel_begun(self) -> None:
        """All wishes so far are being seen to."""
        self._cancels_answered = self._cancels

    def cancel_again(self) -> None:
        """It came to nothing, and is still wanted."""
        self._cancels_answered -= 1

    async def until(self, ready: Callable[[], bool]) -> None:
        """Wait for `ready` or a command."""
        await self.sleep(lambda: ready() or self.retry_asked)

    async def sleep(
        self, ready: Callable[[], bool], *, longest: timedelta | None = None, summary: str | None = None
    ) -> None:
        """Wait for `ready` or a cancel; `retry` does not wake. Raises `TimeoutError` after `longest`.

        A history that grows too long ends the waiting, too: looking at everything afresh in a new run is always right.
        """
        try:
            await workflow.wait_condition(
                lambda: ready() or self.cancel_asked() or workflow.info().is_continue_as_new_suggested(),
                timeout=longest,
                timeout_summary=summary,
            )
        except asyncio.CancelledError:
            self._count_workflow_cancellation()

    def _count_workflow_cancellation(self) -> None:
        if not self.workflow_cancelled:
            self.workflow_cancelled = True
            self.ask_cancel(workflow.cancellation_reason() or "the workflow's cancellation was requested")
