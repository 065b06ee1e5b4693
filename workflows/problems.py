"""Why an order cannot continue by itself: read out of an activity that ended for good, or found by the workflow."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from pydantic import ValidationError
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    FailureError,
    RetryState,
    TimeoutError,  # noqa: A004 - Temporal's own
)

from closedwon.errors import AttentionReason
from closedwon.model.erp import ErpOrder
from closedwon.model.order_state import Problem
from closedwon.model.snapshot import Deleted, NotWanted, RecordSnapshot, Wanted
from closedwon.temporal.errors import FAILURES

_FINAL: Final = frozenset({RetryState.NON_RETRYABLE_FAILURE})


def unqualified(snapshot: NotWanted | Deleted, placed: ErpOrder) -> Problem:
    """There is an order, and the record no longer asks for it, or does not say whether it does."""
    number = placed.number or placed.id
    if isinstance(snapshot, Deleted):
        return Problem(
            reason=AttentionReason.RECORD_DELETED,
            message=f"The record was deleted, but ERP order {number} exists ({placed.status})",
            hint="Send `cancel` to cancel the order, or `retry` to keep it.",
        )
    what = "no longer qualifies" if snapshot.is_certain else "yields no value for `qualify`"
    hint = "Send `cancel` to cancel the order, or `retry` to keep it; or win the deal again."
    if not snapshot.is_certain:
        hint = "Correct `qualify` of the route (`closedwon config check`), restart the workers, then send `retry`."
    return Problem(
        reason=AttentionReason.NO_LONGER_QUALIFIES,
        message=f"The record {what}, but ERP order {number} exists ({placed.status})",
        hint=hint,
    )


def contradiction(newest: RecordSnapshot) -> Problem:
    """Two notifications of one second say different things, and an order that is right for both is not possible."""
    last = "asks for an order" if isinstance(newest, Wanted) else "asks for none"
    return Problem(
        reason=AttentionReason.INVALID_MESSAGE,
        message=f"Two notifications of the same second contradict each other (the last to arrive {last}), and nothing "
        "says which of both is newer",
        hint="Save the record in Salesforce again, so that it sends a newer notification. Or send `cancel` or `skip` "
        "if the record needs no order, or `resolve` with the number of its order.",
    )


def without_verdict(route: str) -> Problem:
    """It is not known whether the record needs an order; it has none."""
    return Problem(
        reason=AttentionReason.MAPPING_FAILED,
        message=f"`qualify` of route {route!r} yields no value for this record, so it is not known whether it needs an "
        "order",
        hint=f"Correct the record, or `qualify` of route {route!r} (then restart the workers), then send `retry`; or "
        "send `skip` if no order is needed.",
    )


def only_named(number: str) -> Problem:
    """The record no longer asks for an order, and shows one that cannot be found under its key."""
    return Problem(
        reason=AttentionReason.NO_LONGER_QUALIFIES,
        message=f"The record no longer qualifies and shows the order number {number}, but no ERP has an order under "
        "the record's key: that order was made by hand, or the number was copied from another record",
        hint=f"If order {number} is this deal's, cancel it there by hand, then send `skip`; or win the deal again.",
    )


def order_gone(known: ErpOrder) -> Problem:
    """The order that was followed is not in the ERP any more."""
    number = known.number or known.id
    return Problem(
        reason=AttentionReason.UNKNOWN_ORDER,
        message=f"ERP order {number} of this record was followed, but the ERP no longer has an order under its key",
        hint=f"Restore order {number} in the ERP, then send `retry`; without it, `retry` orders the record again. If "
        "none is needed, send `cancel`; if another one took its place, send `resolve` with its number.",
    )


def order_lost(kept: ErpOrder) -> Problem:
    """The order was to be left as it is, but an earlier cancellation without an answer has taken effect since."""
    number = kept.number or kept.id
    return Problem(
        reason=AttentionReason.UNKNOWN_ORDER,
        message=f"ERP order {number} of this record was to be kept, but it is cancelled: a cancellation that was sent "
        "before, and got no answer, has taken effect",
        hint=f"Take order {number} back to draft or confirmed in the ERP, then send `retry`; or send `cancel` to give "
        "it up.",
    )


def hidden() -> Problem:
    """A notification names the record, but it cannot be read, and nothing says that it was deleted."""
    return Problem(
        reason=AttentionReason.RECORD_NOT_FOUND,
        message="A notification names this record, but the integration user cannot read it, and it is not in the "
        "recycle bin; an order that it has is left as it is",
        hint="Share the record with the integration user and send `retry`; if it needs no order, send `skip`; to give "
        "its order up, send `cancel`; to keep it, send `resolve` with its number.",
    )


def order_exists(found: ErpOrder) -> Problem:
    """The ERP has an order of the record, so that there can be no other, nor none."""
    number = found.number or found.id
    return Problem(
        reason=AttentionReason.ORDER_EXISTS,
        message=f"The ERP has order {number} of this record",
        hint=f"Send `retry` to continue with order {number}, or `cancel` to cancel it. To use another order instead, "
        "cancel this one in the ERP and send `resolve` again.",
    )


def order_differs(number: str, differences: str) -> Problem:
    """The order that an operator named is not what the record asks for; nothing was changed."""
    return Problem(
        reason=AttentionReason.ORDER_DIFFERS,
        message=f"ERP order {number} was not used: {differences}",
        hint="Make both agree and send `retry`; or send `resolve` again with `accept_differences` "
        "(`closedwon orders resolve` with `--accept-differences`), or with the right number.",
    )


def problem_in(error: FailureError) -> Problem | None:
    """Take the problem out of a failed activity; None if it has none, so that a retry may help.

    The error of a local activity is its own, that of a regular one is the cause of an `ActivityError`.
    """
    cause = error.cause if isinstance(error, ActivityError) else error
    if isinstance(cause, ApplicationError):
        with suppress(ValidationError, IndexError):
            return Problem.model_validate(cause.details[0])
    return None


def problem_of(error: FailureError) -> Problem:
    """The problem of a failed activity; one that has none was retried to its `retry_for`, or was failed by hand.

    Never raises: that would wedge the workflow in Running. Temporal's tools can fail an activity with any details.
    """
    if (problem := problem_in(error)) is not None:
        return problem
    cause, is_final = error.cause, isinstance(error, ActivityError) and error.retry_state in _FINAL
    last = f" Last: {cause}" if cause else ""
    written = FAILURES[TimeoutError]
    if is_final or not isinstance(cause, ApplicationError):
        written = next((one for kind, one in FAILURES.items() if isinstance(cause, kind)), written)
    step = error.activity_id if isinstance(error, ActivityError) else "that ran within the workflow"
    return Problem(reason=written.reason, message=f"{written.why.format(step=step)}.{last}", hint=written.hint)
