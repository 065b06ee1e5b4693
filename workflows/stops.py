"""The two exceptions that leave a step of an order early: something newer arrived, or no retry can help."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from temporalio import workflow

from closedwon.errors import AttentionReason
from closedwon.model.order_state import Problem

_NO_ANSWER: Final = frozenset({AttentionReason.RETRIES_EXHAUSTED, AttentionReason.UNEXPECTED_ERROR})


class StoppedError(Exception):
    """The step did not come to its end: a decision arrived, or the history grows too long. Read everything again."""

    def __init__(self, *, unanswered: bool) -> None:
        """`unanswered`: it was begun, and what came of it is not known."""
        super().__init__()
        self.in_doubt_since = workflow.now() if unanswered else None


class ProblemError(Exception):
    """The step failed, and no retry can help."""

    def __init__(self, problem: Problem) -> None:
        """Take what to show to people."""
        super().__init__(problem.reason)
        self.problem = problem

    @property
    def in_doubt_since(self) -> datetime | None:
        """As the activity says; one that ended without an answer of the ERP is in doubt in any case."""
        if self.problem.in_doubt_since is None and self.problem.reason in _NO_ANSWER:
            return workflow.now()
        return self.problem.in_doubt_since
