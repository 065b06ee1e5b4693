"""The one tree of errors. What may be done about an error is a property of its type.

    ClosedwonError
    ├── RetryError              gets better by itself: try again, with growing intervals
    │   ├── UnknownOutcomeError     it may have happened: look before doing it again
    │   └── BenignError             expected (throttling, maintenance, not visible yet): retry, raise no alarm
    └── AttentionError          no retry can help: a person must mend something; carries a stable reason word

Classes of one system stand in that system's module (`closedwon.salesforce.errors`, `closedwon.erp.base`) and derive
from these.
Messages are for people and end in logs and in Temporal's UI: they name keys, fields and codes, never field values,
tokens or whole remote bodies.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Final


class AttentionReason(StrEnum):
    """Why an order waits for a person: stable words, used in search attributes, metrics and runbooks."""

    BAD_MESSAGE = "bad-message"
    MAPPING_FAILED = "mapping-failed"
    UNKNOWN_PRODUCT = "unknown-product"
    ERP_REJECTED = "erp-rejected"
    ERP_AUTH_FAILED = "erp-auth-failed"
    AMOUNT_DIFFERS = "amount-differs"
    TOO_LATE_TO_CANCEL = "too-late-to-cancel"
    TOO_LATE_TO_AMEND = "too-late-to-amend"
    DEAL_UNWON = "deal-unwon"
    SALESFORCE_REJECTED = "salesforce-rejected"
    SALESFORCE_VALIDATION = "salesforce-validation"
    SALESFORCE_AUTH_FAILED = "salesforce-auth-failed"
    RECORD_GONE = "record-gone"
    RECORD_DELETED = "record-deleted"
    CONFIGURATION = "configuration"
    HORIZON_PASSED = "horizon-passed"
    UNFORESEEN = "unforeseen"
    ORDER_EXISTS = "order-exists"
    UNKNOWN_ORDER = "unknown-order"
    CUSTOMER_DIFFERS = "customer-differs"
    UNUSUAL_AMOUNT = "unusual-amount"
    ERP_ANSWER_WRONG = "erp-answer-wrong"
    ORDER_DIFFERS = "order-differs"
    BOOKS_DIFFER = "books-differ"

    @property
    def sentence(self) -> str:
        """What it means, in one sentence for people."""
        return _SENTENCES[self]

    @property
    def cure(self) -> str:
        """What people can do about it, in general; each order's story knows more."""
        return _CURES[self]

    @property
    def quotes(self) -> bool:
        """Whether its message may hold an amount, a product, or another system's words: then it is not logged."""
        return self in _QUOTES


_SENTENCES: Final = {
    AttentionReason.BAD_MESSAGE: "A message names no record that can be read, or lacks the content that its route "
    "takes the order from.",
    AttentionReason.MAPPING_FAILED: "An expression of the route yields nothing, or the wrong kind of value, for this "
    "record.",
    AttentionReason.UNKNOWN_PRODUCT: "The ERP has no such product, or does not sell it.",
    AttentionReason.ERP_REJECTED: "The ERP refuses the order for a business reason.",
    AttentionReason.ERP_AUTH_FAILED: "The ERP refuses our credential, or its user lacks a right.",
    AttentionReason.AMOUNT_DIFFERS: "The ERP's order of this record has another total, currency or number of lines "
    "than the record.",
    AttentionReason.TOO_LATE_TO_CANCEL: "The order shall be cancelled, but the ERP has begun to process it.",
    AttentionReason.TOO_LATE_TO_AMEND: "The order shall be changed, but the ERP has begun to process it.",
    AttentionReason.DEAL_UNWON: "The record does not qualify any more, but the ERP has its order.",
    AttentionReason.SALESFORCE_REJECTED: "Salesforce refuses what we write: a permission, a lock, a duplicate, no "
    "storage.",
    AttentionReason.SALESFORCE_VALIDATION: "A rule, trigger or field of Salesforce refuses what we write.",
    AttentionReason.SALESFORCE_AUTH_FAILED: "Salesforce refuses our login.",
    AttentionReason.RECORD_GONE: "The record was deleted, or our user may not see it.",
    AttentionReason.RECORD_DELETED: "The record was deleted, but the ERP has its order.",
    AttentionReason.CONFIGURATION: "A name, address or field in the settings does not fit what is there.",
    AttentionReason.HORIZON_PASSED: "It was retried for as long as the route allows.",
    AttentionReason.UNFORESEEN: "A step was failed by hand, or by another version of Closedwon.",
    AttentionReason.ORDER_EXISTS: "The ERP has, or may have, an order of this record that must not be forgotten.",
    AttentionReason.UNKNOWN_ORDER: "The order that somebody has named is not in the ERP, or is another record's.",
    AttentionReason.CUSTOMER_DIFFERS: "The ERP's order of this record is for another customer than the record.",
    AttentionReason.UNUSUAL_AMOUNT: "A quantity is not positive, or the total is negative.",
    AttentionReason.ORDER_DIFFERS: "The order that an operator named differs from the record; nothing was changed.",
    AttentionReason.ERP_ANSWER_WRONG: "The ERP answered with an order that does not carry the key it was asked for.",
    AttentionReason.BOOKS_DIFFER: "A scheduled audit found that Salesforce, the ERP and Temporal do not agree.",
}


_CURES: Final = {
    AttentionReason.BAD_MESSAGE: "Mend the route's `record_id` or `payload` and restart the workers.",
    AttentionReason.MAPPING_FAILED: "Mend the records or the route's expressions; `closedwon route try` helps.",
    AttentionReason.UNKNOWN_PRODUCT: "Create the products in the ERP, or correct their codes in Salesforce.",
    AttentionReason.ERP_REJECTED: "Mend the data there or here; `closedwon orders show` has the ERP's words.",
    AttentionReason.ERP_AUTH_FAILED: "Mend the ERP's credential (then restart the workers), or its user's rights.",
    AttentionReason.AMOUNT_DIFFERS: "Make the ERP's order and the record agree.",
    AttentionReason.TOO_LATE_TO_CANCEL: "Undo it in the ERP and send `cancel`, or leave it.",
    AttentionReason.TOO_LATE_TO_AMEND: "Settle the difference in the ERP by hand, or set the record back.",
    AttentionReason.DEAL_UNWON: "Send `cancel` to cancel the order, or `retry` to leave it; or win the deal again.",
    AttentionReason.SALESFORCE_REJECTED: "Give the integration user the right, or end the lock.",
    AttentionReason.SALESFORCE_VALIDATION: "Mend the records, or the rule that refuses the write-back.",
    AttentionReason.SALESFORCE_AUTH_FAILED: "Mend the integration user, or `orgs.auth` (then restart the workers).",
    AttentionReason.RECORD_GONE: "Restore or share the records, or send `cancel`.",
    AttentionReason.RECORD_DELETED: "Send `cancel` to cancel the order, or `retry` to leave it.",
    AttentionReason.CONFIGURATION: "Mend closedwon.toml (`closedwon config check`) and restart the workers.",
    AttentionReason.HORIZON_PASSED: "See whether the system that they waited for is back.",
    AttentionReason.UNFORESEEN: "See in the order's story what has been done by hand.",
    AttentionReason.ORDER_EXISTS: "`retry` keeps the ERP's order, `cancel` gives it up; a number that it cannot tell "
    "of needs `resolve`.",
    AttentionReason.UNKNOWN_ORDER: "Send `resolve` with the right number; `retry` looks for the same one again.",
    AttentionReason.CUSTOMER_DIFFERS: "Correct the customer of the record or of the ERP's order, then send `retry`.",
    AttentionReason.UNUSUAL_AMOUNT: "Correct the record, or allow it in the route (`order.allow`), then send `retry`.",
    AttentionReason.ORDER_DIFFERS: "Make both agree and send `retry`, or send `resolve` again and accept them.",
    AttentionReason.ERP_ANSWER_WRONG: "Correct the ERP's facade (`closedwon erp certify` helps), then send `retry`.",
    AttentionReason.BOOKS_DIFFER: "Run `closedwon audit`: it names the records, and what to do about each kind.",
}


_QUOTES: Final = frozenset(
    {
        AttentionReason.AMOUNT_DIFFERS,
        AttentionReason.UNUSUAL_AMOUNT,
        AttentionReason.ORDER_EXISTS,
        AttentionReason.ORDER_DIFFERS,
        AttentionReason.UNKNOWN_ORDER,
        AttentionReason.UNKNOWN_PRODUCT,
        AttentionReason.ERP_REJECTED,
        AttentionReason.SALESFORCE_VALIDATION,
    }
)


class ClosedwonError(Exception):
    """The root. Never raised itself."""


class RetryError(ClosedwonError):
    """It will get better by itself. `retry_after` overrides the growing interval where the remote side named a time."""

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        """Take a `message` for people, free of customer data."""
        super().__init__(message)
        self.retry_after = retry_after


class UnknownOutcomeError(RetryError):
    """The request may or may not have taken effect (timeout, lost reply, 5xx): look before doing it again."""


class BenignError(RetryError):
    """An expected refusal: throttling, announced maintenance, a record that is not visible yet. No alarm."""


class AttentionError(ClosedwonError):
    """No automatic retry can help. `reason` is a stable word, `cure` one sentence that says what to mend."""

    def __init__(self, message: str, *, reason: AttentionReason, cure: str) -> None:
        """Take a `message` for people, free of customer data."""
        super().__init__(message)
        self.reason = reason
        self.cure = cure
