"""Why an order cannot go on by itself: read out of an activity that ended for good, or found by the workflow."""

from __future__ import annotations

from contextlib import suppress

from pydantic import ValidationError
from temporalio.exceptions import ActivityError, ApplicationError, RetryState

from activities.failures import Problem
from closedwon.errors import AttentionReason
from closedwon.model import Decision, ErpOrder
from workflows.looks import Look


def taken_back(look: Look, placed: ErpOrder) -> Problem:
    """Why a person must look: there is an order, and the deal does not ask for it any more."""
    what = "was deleted" if look.deleted else "does not qualify any more"
    return Problem(
        reason=AttentionReason.RECORD_DELETED if look.deleted else AttentionReason.DEAL_UNWON,
        message=f"The record {what}, but ERP order {placed.number or placed.id} exists ({placed.status})",
        cure="Send `cancel` to cancel the order, or `retry` to leave it as it is"
        + ("." if look.deleted else "; or win the deal again."),
    )


def only_named(number: str) -> Problem:
    """Why a person must look: the deal does not ask for an order any more, and names one that cannot be found."""
    return Problem(
        reason=AttentionReason.DEAL_UNWON,
        message=f"The record does not qualify any more and bears the order number {number}, but no ERP has an order "
        "under the record's key: it was made by hand, or the number was copied from another record",
        cure=f"If order {number} is this deal's, cancel it there by hand, then send `skip`; or win the deal again.",
    )


def must_not_forget(found: ErpOrder) -> Problem:
    """The ERP has an order of the record, so that there can be no other, nor none."""
    number = found.number or found.id
    return Problem(
        reason=AttentionReason.ORDER_EXISTS,
        message=f"The ERP has order {number} of this record, made by Closedwon",
        cure=f"Send `retry` to go on with order {number}, or `cancel` to cancel it. If another one shall take its "
        "place, cancel it in the ERP and send `resolve` again.",
    )


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


def may_stay_untold(stopped: Decision | None, now: Decision | None, problem: Problem) -> bool:
    """Whether the same decision, sent again, may end untold: an order's number is not given up."""
    if stopped is None or now is None or stopped.to != now.to:
        return False
    return stopped.to != "resolve" or problem.reason is AttentionReason.RECORD_GONE
