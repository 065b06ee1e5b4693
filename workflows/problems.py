"""Why an order cannot continue by itself: read out of an activity that ended for good, or found by the workflow."""

from __future__ import annotations

from contextlib import suppress

from pydantic import ValidationError
from temporalio.exceptions import ActivityError, ApplicationError, RetryState

from closedwon.errors import AttentionReason
from closedwon.model import ErpOrder
from closedwon.order_state import Problem
from closedwon.snapshot import Deleted, NotWanted


def unqualified(snapshot: NotWanted | Deleted, placed: ErpOrder) -> Problem:
    """There is an order, and the record no longer asks for it, or does not say whether it does."""
    number = placed.number or placed.id
    if isinstance(snapshot, Deleted):
        return Problem(
            reason=AttentionReason.RECORD_DELETED,
            message=f"The record was deleted, but ERP order {number} exists ({placed.status})",
            cure="Send `cancel` to cancel the order, or `retry` to keep it.",
        )
    what = "no longer qualifies" if snapshot.is_certain else "yields no value for `qualify`"
    hint = "Send `cancel` to cancel the order, or `retry` to keep it; or win the deal again."
    if not snapshot.is_certain:
        hint = "Correct `qualify` of the route (`closedwon config check`), restart the workers, then send `retry`."
    return Problem(
        reason=AttentionReason.DEAL_UNWON,
        message=f"The record {what}, but ERP order {number} exists ({placed.status})",
        cure=hint,
    )


def only_named(number: str) -> Problem:
    """The record no longer asks for an order, and shows one that cannot be found under its key."""
    return Problem(
        reason=AttentionReason.DEAL_UNWON,
        message=f"The record no longer qualifies and shows the order number {number}, but no ERP has an order under "
        "the record's key: that order was made by hand, or the number was copied from another record",
        cure=f"If order {number} is this deal's, cancel it there by hand, then send `skip`; or win the deal again.",
    )


def order_exists(found: ErpOrder) -> Problem:
    """The ERP has an order of the record, so that there can be no other, nor none."""
    number = found.number or found.id
    return Problem(
        reason=AttentionReason.ORDER_EXISTS,
        message=f"The ERP has order {number} of this record",
        cure=f"Send `retry` to continue with order {number}, or `cancel` to cancel it. To use another order instead, "
        "cancel this one in the ERP and send `resolve` again.",
    )


def order_differs(number: str, differences: str) -> Problem:
    """The order that an operator named is not what the record asks for; nothing was changed."""
    return Problem(
        reason=AttentionReason.ORDER_DIFFERS,
        message=f"ERP order {number} was not used: {differences}",
        cure="Make both agree and send `retry`; or send `resolve` again with `accept_differences` "
        "(`closedwon orders resolve` with `--accept-differences`), or with the right number.",
    )


def problem_of(error: ActivityError) -> Problem:
    """Take the problem out of a failed activity; one without it was retried to its horizon, or was failed by hand.

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
