"""Reading why an activity ended for good."""

from __future__ import annotations

from temporalio.exceptions import ActivityError, ApplicationError

from activities.failures import Problem
from closedwon.errors import AttentionReason


def problem_of(error: ActivityError) -> Problem:
    """Take the problem out of a failed activity; an activity without one was retried to its horizon."""
    cause = error.cause
    if isinstance(cause, ApplicationError) and cause.details:
        return Problem.model_validate(cause.details[0])
    last = f" Last: {cause}" if cause else ""
    return Problem(
        reason=AttentionReason.HORIZON_PASSED,
        message=f"Retried for as long as the route allows (its horizon).{last}",
        cure="See whether the system it waits for is back, then send `retry`.",
    )
