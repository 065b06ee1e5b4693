"""Reading why an activity ended for good."""

from __future__ import annotations

from contextlib import suppress

from pydantic import ValidationError
from temporalio.exceptions import ActivityError, ApplicationError, RetryState

from activities.failures import Problem
from closedwon.errors import AttentionReason


def problem_of(error: ActivityError) -> Problem:
    """Take the problem out of a failed activity; one without it was retried to its horizon, or failed by hand.

    Never raises: that would wedge the workflow in Running. Temporal's tools can fail an activity with any details.
    """
    cause = error.cause
    if isinstance(cause, ApplicationError):
        with suppress(ValidationError, IndexError):
            return Problem.model_validate(cause.details[0])
    last = f" Last: {cause}" if cause else ""
    if error.retry_state is RetryState.NON_RETRYABLE_FAILURE:
        return Problem(
            reason=AttentionReason.UNFORESEEN,
            message=f"The step {error.activity_id} was failed by hand, or by another version of Closedwon.{last}",
            cure="See what has been done by hand, then send `retry`.",
        )
    return Problem(
        reason=AttentionReason.HORIZON_PASSED,
        message=f"Retried for as long as the route allows (its horizon).{last}",
        cure="See whether the system it waits for is back, then send `retry`.",
    )
