"""The errors that a call to an ERP may raise. The type decides whether the caller retries or asks a person.

    RetryError
    ├── UnreachableError        no connection, so nothing happened: retry, and alert if it lasts
    ├── UnknownError            the call may have taken effect: look the order up before repeating it
    ├── BusyError               (benign) the ERP asks to wait: retry without an alert
    ├── RefusedForNowError      refuses what has worked a moment ago: retry for a while, then as the refusal itself
    ├── StaleError              the order has changed since it was read; nothing was written: read it again
    └── LostAttemptError        Temporal has replaced this attempt; nothing was written
    AttentionError
    ├── RejectedError           a business reason: `erp-rejected`, `unknown-product` or `configuration`
    │   ├── TooLargeForErpError     a server or proxy takes no request of this size
    │   └── UnusableAnswerError     a success or a redirection that does not follow the contract
    ├── ErpAuthFailedError      the credentials are refused, or their rights are insufficient
    ├── WrongAnswerError        the answer is about another order than the requested one
    ├── AmountDiffersError      the ERP's order with this key is not what was sold
    │   ├── TotalDiffersError       the lines of the deal do not add up to its own total
    │   ├── NotMadeByUsError        the order could be amended, but Closedwon did not create it
    │   └── CannotAmendError        the adapter, or the system behind it, cannot change orders
    ├── CustomerDiffersError    the order with this key is for another customer
    ├── OrderExistsError        the ERP has, or may have, an order of this record that was not adopted
    │   └── NotOursError            a policy would cancel an order that Closedwon did not create
    ├── NewerThanRecordError    the ERP's order claims to be of a newer state than the record has
    ├── UndatedError            a notification without a time requires a change; it may be older than the order
    │   └── SameMomentError         the notification has the same time as the state of the order
    ├── TooLateToAmendError     the order can no longer be changed
    ├── TooLateError            the order can no longer be cancelled
    ├── SeveralErpsError        several ERPs have an order with the number that a person has named
    └── UnknownOrderError       the order that a person has named does not exist, or is cancelled
        └── OthersOrderError        it is another record's
    DuplicateError              another order has the key; never leaves this package
    CannotLookUpError           the ERP cannot look orders up by number; handled here and in the activities

Messages name keys, numbers, amounts and product codes; never a customer.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from closedwon.erp.comparing import same_total, unlike_products, unlike_terms
from closedwon.errors import (
    AttentionError,
    AttentionReason,
    BenignError,
    ClosedwonError,
    RetryError,
    UnknownOutcomeError,
)
from closedwon.model.erp import ErpOrder
from closedwon.model.orders import Order
from closedwon.money import money


class DuplicateError(ClosedwonError):
    """Another order already has this idempotency key: look it up. Raised by `create` and `claim`."""


class CannotLookUpError(ClosedwonError):
    """The ERP, or the facade before it, cannot look an order up by its number."""


class RejectedError(AttentionError):
    """The ERP refuses the order for a business reason; a retry cannot help. `message` quotes the ERP, shortened."""

    def __init__(
        self,
        message: str,
        *,
        reason: AttentionReason = AttentionReason.ERP_REJECTED,
        hint: str | None = None,
        is_explained: bool = True,
    ) -> None:
        """`is_explained`: the answer says why, as the ERP does, and not only with a status, as a proxy may do."""
        super().__init__(
            message, reason=reason, hint=hint or "Correct the order's data or the ERP's, then send `retry`."
        )
        self.is_explained = is_explained


class UnusableAnswerError(RejectedError):
    """An answer that is not a refusal and does not follow the contract: a 2xx without an order, or a redirection.

    The outcome of a write with such an answer is unknown.
    """


class TooLargeForErpError(RejectedError):
    """The ERP, or a proxy before it, takes no request of this size."""

    def __init__(self, erp: str, what: str) -> None:
        super().__init__(
            what,
            reason=AttentionReason.CONFIGURATION,
            hint=f"Let the ERP {erp}, and each proxy before it, take requests of this size; then send `retry`.",
        )


class WrongAnswerError(AttentionError):
    """The ERP's answer does not carry the requested key, id or number. Its order is never used."""

    def __init__(self, erp: str, call: str, problem: str) -> None:
        """`problem` completes the sentence "The ERP's answer to `call` …"; it must not quote the answer."""
        super().__init__(
            f"{erp}: the ERP's answer to {call} {problem}; it is not used",
            reason=AttentionReason.ERP_ANSWER_WRONG,
            hint="Correct the ERP's facade (`closedwon erp certify` helps), then send `retry`.",
        )


class AmountDiffersError(AttentionError):
    """The ERP's order under this key has another total, currency or other lines than the order that was sold.

    `found` is the ERP's order; None if the ERP was not asked yet. The message names both totals, never the customer.
    """

    def __init__(self, found: ErpOrder | None, message: str, *, hint: str | None = None) -> None:
        self.found = found
        self.is_new = False
        """The ERP has just created it from this content, so the policy for changed deals does not apply."""
        super().__init__(
            message,
            reason=AttentionReason.AMOUNT_DIFFERS,
            hint=hint or "Make the ERP's order or the record agree with what was sold, then send `retry`.",
        )

    @classmethod
    def between(cls, found: ErpOrder, order: Order) -> AmountDiffersError:
        """The ERP's order `found` differs from `order`."""
        return cls(found, _difference(found, order))


class TotalDiffersError(AmountDiffersError):
    """The lines of the deal do not add up to the signed total. The ERP is not called."""

    def __init__(self, order: Order, found: ErpOrder | None = None) -> None:
        total = money(order.amount if order.total is None else order.total, order.currency)
        super().__init__(
            found,
            f"The deal says {total}, its lines {money(order.amount, order.currency)}",
            hint="Correct the deal's amount or its lines, or `order.lines` and `order.total` of the route; then send "
            "`retry`.",
        )


def not_ours(found: ErpOrder) -> str:
    """Say as a clause why policies do not change this order."""
    if found.origin is None:
        return "the ERP does not say whether Closedwon made that order (it answers without an `origin`)"
    return "Closedwon did not make that order"


class NotMadeByUsError(AmountDiffersError):
    """The order differs and the route amends orders, but Closedwon did not create this one."""

    def __init__(self, found: ErpOrder, order: Order) -> None:
        super().__init__(
            found,
            f"{_difference(found, order)}; {not_ours(found)}, so Closedwon does not change it",
            hint="Change the ERP's order or the record by hand so that both agree, then send `retry`.",
        )


class CannotAmendError(AmountDiffersError):
    """The adapter, or the system behind it, cannot change orders."""

    def __init__(self, message: str) -> None:
        super().__init__(
            None,
            message,
            hint="Make the ERP's order or the record agree with what was sold, then send `retry`; or set the route's "
            "`on_changed` to another policy.",
        )


class CustomerDiffersError(AttentionError):
    """The ERP's order under this key is for another customer. The customer of an order is never changed."""

    def __init__(self, found: ErpOrder) -> None:
        number = found.number or found.id
        super().__init__(
            f"ERP order {number} of this record is for another customer than the record",
            reason=AttentionReason.CUSTOMER_DIFFERS,
            hint="Correct the customer of the record or of the ERP's order, then send `retry`.",
        )


class OrderExistsError(AttentionError):
    """The ERP has, or may have, an order of this record; a person must decide whether it is adopted."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message, reason=AttentionReason.ORDER_EXISTS, hint=hint)


class NotOursError(OrderExistsError):
    """A policy would cancel the order, but Closedwon did not create it: a person decides."""

    def __init__(self, found: ErpOrder) -> None:
        number = found.number or found.id
        super().__init__(
            f"ERP order {number} has this record's key, but {not_ours(found)}, so no policy cancels it",
            hint=f"Send `cancel` to cancel order {number}, or `retry` to leave it.",
        )


class NewerThanRecordError(AttentionError):
    """The ERP's order has a later time than the record, which was read just now: the ERP has invented it."""

    def __init__(self, found: ErpOrder) -> None:
        number = found.number or found.id
        super().__init__(
            f"ERP order {number} is not what the record asks for, and its `modified_at` is later than the newest "
            f"change of the record in Salesforce: order {number} is not changed",
            reason=AttentionReason.ERP_ANSWER_WRONG,
            hint="Make the ERP's facade answer with the newest `modified_at` that it received, then send `retry`. Or "
            f"send `resolve` with number {number} to keep that order, or `cancel` to cancel it.",
        )


class UndatedError(AttentionError):
    """A notification without a valid time would change, reopen or cancel an order whose time is known."""

    what = "has no valid time"
    hint = "Let Salesforce send the record again, with its `SystemModstamp`"

    def __init__(self, found: ErpOrder) -> None:
        number = found.number or found.id
        super().__init__(
            f"The notification {self.what}, so it may be older than ERP order {number} of this record: order {number} "
            "is not changed",
            reason=AttentionReason.INVALID_MESSAGE,
            hint=f"{self.hint}. Or send `resolve` with number {number} to keep that order, or `cancel` to cancel it.",
        )


class SameMomentError(UndatedError):
    """A notification requires a change, and has the same time as the state that the order was made of.

    Salesforce's times have whole seconds, and notifications may arrive in any order. So it is unknown which is newer.
    """

    what = "contradicts another one of the same second"
    hint = "Save the record in Salesforce again, so that it sends a newer notification"


class ErpAuthFailedError(AttentionError):
    """The ERP refuses our credentials: stop and alert, never retry. `hint` names the setting of the credential."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message, reason=AttentionReason.ERP_AUTH_FAILED, hint=hint)


class BusyError(BenignError):
    """The ERP asks to wait: 429, 503, a lock. `retry_after` is the value of its `Retry-After`, if it sent one."""

    def __init__(self, message: str, *, retry_after: timedelta | None = None, may_have_happened: bool = False) -> None:
        """`may_have_happened`: the request may have been passed on by a gateway (503, unlike 429)."""
        super().__init__(message, retry_after=retry_after)
        self.may_have_happened = may_have_happened


class RefusedForNowError(RetryError):
    """The ERP refuses what has worked in this process: it is tried again for a while before a person is asked."""

    def __init__(self, refusal: AttentionError, left: timedelta) -> None:
        """`left` is the time for which it is still tried."""
        minutes = max(1, round(left / timedelta(minutes=1)))
        super().__init__(f"{refusal}; the ERP has worked before, so it is tried again for another {minutes} min")
        self.refusal = refusal


class UnreachableError(RetryError):
    """No connection (refused, unknown host, TLS), so the call had no effect. Not benign: it counts as a failure."""


class UnknownError(UnknownOutcomeError):
    """Timeout, disconnect, 500, 502, 504: the call may have taken effect."""


class StaleError(RetryError):
    """The order has changed since it was read (HTTP 412). Nothing was written; the next attempt reads it again."""


class LostAttemptError(RetryError):
    """Temporal has replaced this attempt, or cannot be asked. Nothing was written; another attempt continues."""


class TooLateError(AttentionError):
    """The order can no longer be cancelled."""

    def __init__(self, message: str) -> None:
        super().__init__(
            message,
            reason=AttentionReason.TOO_LATE_TO_CANCEL,
            hint="Cancel its invoice and shipment in the ERP by hand, then send `cancel` again; "
            "or leave the order and send `retry`.",
        )


class TooLateToAmendError(AttentionError):
    """The order can no longer be changed."""

    def __init__(self, message: str) -> None:
        super().__init__(
            message,
            reason=AttentionReason.TOO_LATE_TO_AMEND,
            hint="Resolve the difference in the ERP by hand (a return, a second invoice), or set the record back to "
            "what was ordered; once both agree, send `retry`.",
        )


class UnknownOrderError(AttentionError):
    """The order that a person has named does not exist, or is not this record's."""

    def __init__(self, message: str) -> None:
        super().__init__(
            message,
            reason=AttentionReason.UNKNOWN_ORDER,
            hint="Send `resolve` with the right number; `retry` looks for the same one again.",
        )


class SeveralErpsError(AttentionError):
    """Several ERPs have an order with the number that a person has named, and not exactly one of them agrees."""

    def __init__(self, number: str, differing: Mapping[str, list[str]]) -> None:
        """`differing` lists by ERP how its order differs from what the record asks for."""
        each = "; ".join(f"in {name} {', '.join(what) or 'all agrees'}" for name, what in differing.items())
        super().__init__(
            f"{' and '.join(differing)} have an order {number} each, and it is not clear which one is meant: {each}",
            reason=AttentionReason.ORDER_DIFFERS,
            hint="Make the right order and the record agree, or cancel the order in the ERP where it is not this "
            "record's, or store the record's key with the right order in its ERP; then send `retry`. Accepting "
            "differences does not say which ERP is meant.",
        )


class OthersOrderError(UnknownOrderError):
    """The order with that number has another record's key."""


def concerns_erp(error: BaseException) -> bool:
    """Whether a refusal is about the ERP as a whole: credential, right, address, contract. Every order may meet it."""
    if isinstance(error, TooLargeForErpError):
        return False
    is_setting = isinstance(error, RejectedError) and error.reason is AttentionReason.CONFIGURATION
    return is_setting or isinstance(error, ErpAuthFailedError)


def is_definite(error: BaseException) -> bool:
    """Whether a write that ended with `error` is known to have no later effect.

    True for every refusal. False for a time-out, a broken connection, a 5xx, a cancelled call, an unexpected error, and
    an unusable or wrong answer, because it says nothing about the write.
    """
    if isinstance(error, RefusedForNowError):
        error = error.refusal
    if isinstance(error, (WrongAnswerError, UnusableAnswerError)):
        return False
    if isinstance(error, BusyError):
        return not error.may_have_happened
    return isinstance(error, (AttentionError, DuplicateError, StaleError, UnreachableError, LostAttemptError))


def _difference(found: ErpOrder, order: Order) -> str:
    which = [*(["a product, quantity or price"] if unlike_products(found, order) else []), *unlike_terms(found, order)]
    also = f" ({', '.join(which)} {'differs' if len(which) == 1 else 'differ'})" if same_total(found, order) else ""
    return (
        f"ERP order {found.number or found.id} holds {money(found.amount, found.currency)} on {found.line_count} "
        f"line(s), but the record asks for {money(order.amount, order.currency)} on {len(order.lines)} line(s){also}"
    )
