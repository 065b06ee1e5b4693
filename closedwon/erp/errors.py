"""The errors that a call to an ERP may raise. What may be done about one is a property of its type.

    RetryError
    ├── UnreachableError        no connection, so nothing happened: retry, and let the alarm ring if it lasts
    ├── UnknownError            it may have happened: look before doing it again
    ├── BusyError               (benign) the ERP asks for patience: retry in silence
    ├── StaleError              the order has changed since it was looked at; nothing was written: look again
    └── LostAttemptError        Temporal no longer counts on this attempt; nothing was written
    AttentionError
    ├── RejectedError           a business reason; reason `erp-rejected`, `unknown-product` or `configuration`
    ├── AuthFailedError         the credentials are refused, or their rights do not suffice
    ├── WrongAnswerError        the answer is about another order than the one that was asked for
    ├── AmountDiffersError      what the ERP holds under the key is not what was sold
    │   ├── TotalDiffersError       the lines of the deal do not add up to its own total
    │   ├── NotMadeByUsError        it could be amended, but Closedwon did not make it
    │   └── CannotAmendError        the adapter, or the system behind it, cannot change an order
    ├── CustomerDiffersError    the order under the key is for another customer
    ├── OrderExistsError        the ERP has, or may have, an order of this record that was not taken
    ├── NotOursError            a policy asks to cancel an order that Closedwon did not make
    ├── TooLateToAmendError     it can no longer be changed
    ├── TooLateError            it can no longer be cancelled
    └── UnknownOrderError       the order that a person has named is not there, or is cancelled
        └── OthersOrderError    it is another record's
    DuplicateError              the key is taken; never leaves this package
    CannotLookUpError           the ERP cannot look orders up by number; never leaves this package and the activities

Messages name keys, numbers, amounts and product codes; never a customer.
"""

from __future__ import annotations

from datetime import timedelta

from closedwon.erp.comparing import same_total
from closedwon.errors import (
    AttentionError,
    AttentionReason,
    BenignError,
    ClosedwonError,
    RetryError,
    UnknownOutcomeError,
)
from closedwon.model import ErpOrder, Order
from closedwon.money import money


class DuplicateError(ClosedwonError):
    """Another order has this idempotency key already: look it up. Raised by `create` and `claim`."""


class CannotLookUpError(ClosedwonError):
    """The ERP, or the facade before it, cannot look an order up by its number."""


class RejectedError(AttentionError):
    """The ERP refuses the order for a business reason that no retry can change."""

    def __init__(
        self, message: str, *, reason: AttentionReason = AttentionReason.ERP_REJECTED, cure: str | None = None
    ) -> None:
        """Take the ERP's own words, shortened, as `message`."""
        super().__init__(
            message, reason=reason, cure=cure or "Correct the order's data or the ERP's, then send `retry`."
        )


class WrongAnswerError(AttentionError):
    """The ERP's answer does not carry the key, id or number that was asked for: it is never taken for an order."""

    def __init__(self, erp: str, call: str, problem: str) -> None:
        """`problem` completes the sentence "The ERP's answer to `call` …"; it quotes nothing of the answer."""
        super().__init__(
            f"{erp}: the ERP's answer to {call} {problem}; it is not believed",
            reason=AttentionReason.ERP_ANSWER_WRONG,
            cure="Correct the ERP's facade (`closedwon erp certify` helps), then send `retry`.",
        )


class AmountDiffersError(AttentionError):
    """The ERP's order under this key has another total, currency or other lines than the order that was sold.

    `found` is the ERP's order; None where the ERP was not asked yet.
    """

    def __init__(self, found: ErpOrder | None, message: str, *, cure: str | None = None) -> None:
        """Name both totals in `message`; nothing of the customer."""
        self.found = found
        self.is_new = False
        """The ERP made it so just now, of this very content: no policy for changed deals is about that."""
        super().__init__(
            message,
            reason=AttentionReason.AMOUNT_DIFFERS,
            cure=cure or "Make the ERP's order or the record agree with what was sold, then send `retry`.",
        )

    @classmethod
    def between(cls, found: ErpOrder, order: Order) -> AmountDiffersError:
        """The ERP's order `found` differs from `order`."""
        return cls(found, _difference(found, order))


class TotalDiffersError(AmountDiffersError):
    """The lines of the deal do not add up to the total that was signed: nothing is asked of the ERP."""

    def __init__(self, order: Order, found: ErpOrder | None = None) -> None:
        """Name both totals."""
        total = money(order.amount if order.total is None else order.total, order.currency)
        super().__init__(
            found,
            f"The deal says {total}, its lines {money(order.amount, order.currency)}",
            cure="Correct the deal's amount or its lines, or `order.lines` and `order.total` of the route; then send "
            "`retry`.",
        )


class NotMadeByUsError(AmountDiffersError):
    """The order differs and the route amends orders, but Closedwon did not make this one."""

    def __init__(self, found: ErpOrder, order: Order) -> None:
        """Say why it is not amended."""
        super().__init__(
            found,
            f"{_difference(found, order)}; Closedwon did not make that order, so it does not change it",
            cure="Change the ERP's order or the record by hand so that both agree, then send `retry`.",
        )


class CannotAmendError(AmountDiffersError):
    """The adapter, or the system behind it, has no way to change an order."""

    def __init__(self, message: str) -> None:
        """Say what cannot."""
        super().__init__(
            None,
            message,
            cure="Make the ERP's order or the record agree with what was sold, then send `retry`; or set the route's "
            "`changed` to another policy.",
        )


class CustomerDiffersError(AttentionError):
    """The ERP's order under this key is for another customer. The customer of an order is never changed."""

    def __init__(self, found: ErpOrder) -> None:
        """Name the order; nothing of either customer."""
        number = found.number or found.id
        super().__init__(
            f"ERP order {number} of this record is for another customer than the record",
            reason=AttentionReason.CUSTOMER_DIFFERS,
            cure="Correct the customer of the record or of the ERP's order, then send `retry`.",
        )


class OrderExistsError(AttentionError):
    """The ERP has, or may have, an order of this record that is not taken for it without a person."""

    def __init__(self, message: str, *, cure: str) -> None:
        """Say what is there, and what a person can decide."""
        super().__init__(message, reason=AttentionReason.ORDER_EXISTS, cure=cure)


class NotOursError(OrderExistsError):
    """A policy asks to cancel the order, but Closedwon did not make it: a person decides."""

    def __init__(self, found: ErpOrder) -> None:
        """Name the order."""
        number = found.number or found.id
        super().__init__(
            f"ERP order {number} bears this record's key, but Closedwon did not make it, so no policy cancels it",
            cure=f"Send `cancel` to cancel order {number}, or `retry` to leave it.",
        )


class AuthFailedError(AttentionError):
    """The ERP refuses our credentials: stop and alert, never hammer."""

    def __init__(self, message: str, *, cure: str) -> None:
        """Name the setting that holds the credential in `cure`."""
        super().__init__(message, reason=AttentionReason.ERP_AUTH_FAILED, cure=cure)


class BusyError(BenignError):
    """The ERP asks for patience: 429, 503, a lock. `retry_after` is what its `Retry-After` said, if it sent one."""

    def __init__(self, message: str, *, retry_after: timedelta | None = None, may_have_happened: bool = False) -> None:
        """`may_have_happened`: a gateway may say so of a request that it has passed on (503, unlike 429)."""
        super().__init__(message, retry_after=retry_after)
        self.may_have_happened = may_have_happened


class UnreachableError(RetryError):
    """No connection (refused, unknown host, TLS), so nothing happened there. Not benign: it was not announced."""


class UnknownError(UnknownOutcomeError):
    """Timeout, disconnect, 500, 502, 504: the call may have taken effect."""


class StaleError(RetryError):
    """The order has changed since it was looked at (HTTP 412): nothing was written, the next attempt looks again."""


class LostAttemptError(RetryError):
    """Temporal no longer counts on this attempt, or cannot be asked: nothing was written, another attempt goes on."""


class TooLateError(AttentionError):
    """The order can no longer be cancelled."""

    def __init__(self, message: str) -> None:
        """Say in which state the order is."""
        super().__init__(
            message,
            reason=AttentionReason.TOO_LATE_TO_CANCEL,
            cure="Cancel its invoice and shipment in the ERP by hand, then send `cancel` again; "
            "or leave the order and send `retry`.",
        )


class TooLateToAmendError(AttentionError):
    """The order can no longer be changed."""

    def __init__(self, message: str) -> None:
        """Say in which state the order is."""
        super().__init__(
            message,
            reason=AttentionReason.TOO_LATE_TO_AMEND,
            cure="Settle the difference in the ERP by hand (a return, a second invoice), or set the record back to "
            "what was ordered; once both agree, send `retry`.",
        )


class UnknownOrderError(AttentionError):
    """The order that a person has named is not there, or is not this record's."""

    def __init__(self, message: str) -> None:
        """Name the number."""
        super().__init__(
            message,
            reason=AttentionReason.UNKNOWN_ORDER,
            cure="Send `resolve` with the right number; `retry` looks for the same one again.",
        )


class OthersOrderError(UnknownOrderError):
    """The order of that number has another record's key."""


def is_definite(error: BaseException) -> bool:
    """Whether a write that ended with `error` is known to have no effect later on.

    True for every refusal and for every answer, also one that is not believed: what was answered is done. False for a
    time-out, a cut connection, a 5xx, a cancelled call, and for an error that is not foreseen.
    """
    if isinstance(error, BusyError):
        return not error.may_have_happened
    return isinstance(error, (AttentionError, DuplicateError, StaleError, UnreachableError, LostAttemptError))


def _difference(found: ErpOrder, order: Order) -> str:
    lines = " (a product, quantity or price differs)" if same_total(found, order) else ""
    return (
        f"ERP order {found.number or found.id} holds {money(found.amount, found.currency)} on {found.line_count} "
        f"line(s), but the record asks for {money(order.amount, order.currency)} on {len(order.lines)} line(s){lines}"
    )
