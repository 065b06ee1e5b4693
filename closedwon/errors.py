"""The tree of errors. What may be done about an error is a property of its type.

    ClosedwonError
    ├── RetryError              temporary: try again, at growing intervals
    │   ├── UnknownOutcomeError     it may have happened: look before doing it again
    │   ├── BenignError             expected (throttling, maintenance, not visible yet): retry, raise no alarm
    │   └── DoubtfulError           it may be permanent: retry for a while, then ask a person
    └── AttentionError          no retry can help: a person must correct something; has a reason

The errors of one system are in that system's module (`closedwon.salesforce.errors`, `closedwon.erp.base`) and derive
from these.
Messages are for people and end in logs and in Temporal's UI: they name keys, fields and codes, never field values,
tokens or whole remote bodies.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Final


class AttentionReason(StrEnum):
    """Why an order waits for a person. The values are an interface: search attributes and metrics use them."""

    INVALID_MESSAGE = "invalid-message"
    MAPPING_FAILED = "mapping-failed"
    UNKNOWN_PRODUCT = "unknown-product"
    ERP_REJECTED = "erp-rejected"
    ERP_AUTH_FAILED = "erp-auth-failed"
    AMOUNT_DIFFERS = "amount-differs"
    TOO_LATE_TO_CANCEL = "too-late-to-cancel"
    TOO_LATE_TO_AMEND = "too-late-to-amend"
    NO_LONGER_QUALIFIES = "no-longer-qualifies"
    SALESFORCE_REJECTED = "salesforce-rejected"
    SALESFORCE_VALIDATION = "salesforce-validation"
    SALESFORCE_AUTH_FAILED = "salesforce-auth-failed"
    RECORD_NOT_FOUND = "record-not-found"
    RECORD_DELETED = "record-deleted"
    CONFIGURATION = "configuration"
    RETRIES_EXHAUSTED = "retries-exhausted"
    UNEXPECTED_ERROR = "unexpected-error"
    ORDER_EXISTS = "order-exists"
    UNKNOWN_ORDER = "unknown-order"
    CUSTOMER_DIFFERS = "customer-differs"
    UNUSUAL_AMOUNT = "unusual-amount"
    ERP_ANSWER_WRONG = "erp-answer-wrong"
    ORDER_DIFFERS = "order-differs"
    AUDIT_FINDINGS = "audit-findings"

    @property
    def sentence(self) -> str:
        """What it means, in one sentence for people."""
        return _SENTENCES[self]

    @property
    def hint(self) -> str:
        """What people can do about it in general; the page of each order is more specific."""
        return _HINTS[self]

    @property
    def is_of_one_record(self) -> bool:
        """Whether each order is decided on by itself, even if others need attention for the same reason."""
        return self in _OF_ONE_RECORD

    @property
    def quotes(self) -> bool:
        """Whether its message may hold an amount, a product, or another system's text: then it is not logged."""
        return self in _QUOTES


_SENTENCES: Final = {
    AttentionReason.INVALID_MESSAGE: "A message names no record that can be read, or lacks the content or the time "
    "that its route needs to make or change the order.",
    AttentionReason.MAPPING_FAILED: "An expression of the route yields nothing, or the wrong kind of value, for this "
    "record; or the order is too large.",
    AttentionReason.UNKNOWN_PRODUCT: "The ERP has no such product, or does not sell it.",
    AttentionReason.ERP_REJECTED: "The ERP refuses the order for a business reason.",
    AttentionReason.ERP_AUTH_FAILED: "The ERP refuses our credential, or its user lacks a right.",
    AttentionReason.AMOUNT_DIFFERS: "The ERP's order of this record has another total, currency, other lines, another "
    "order number of the customer or another date than the record.",
    AttentionReason.TOO_LATE_TO_CANCEL: "The order must be cancelled, but the ERP has begun to process it.",
    AttentionReason.TOO_LATE_TO_AMEND: "The order must be changed, but the ERP has begun to process it.",
    AttentionReason.NO_LONGER_QUALIFIES: "The record does not qualify any more, but the ERP has its order.",
    AttentionReason.SALESFORCE_REJECTED: "Salesforce refuses what we write: a permission, a lock, a duplicate, no "
    "storage.",
    AttentionReason.SALESFORCE_VALIDATION: "A rule, trigger or field of Salesforce refuses what we write.",
    AttentionReason.SALESFORCE_AUTH_FAILED: "Salesforce refuses our login.",
    AttentionReason.RECORD_NOT_FOUND: "The record was deleted, or our user may not see it.",
    AttentionReason.RECORD_DELETED: "The record was deleted, but the ERP has its order.",
    AttentionReason.CONFIGURATION: "A name, address or field in the settings does not fit what is there.",
    AttentionReason.RETRIES_EXHAUSTED: "It was retried for as long as the route allows.",
    AttentionReason.UNEXPECTED_ERROR: "A step was failed by hand, or by another version of Closedwon.",
    AttentionReason.ORDER_EXISTS: "The ERP has, or may have, an order of this record that must not be forgotten.",
    AttentionReason.UNKNOWN_ORDER: "The order that the record has, or that an operator has named, is not in the ERP, "
    "is cancelled there, or is another record's.",
    AttentionReason.CUSTOMER_DIFFERS: "The ERP's order of this record is for another customer than the record.",
    AttentionReason.UNUSUAL_AMOUNT: "A quantity is not positive, a total is negative, or a discount exceeds its line.",
    AttentionReason.ORDER_DIFFERS: "The order that an operator named differs from the record; nothing was changed.",
    AttentionReason.ERP_ANSWER_WRONG: "The ERP's answer does not carry the key that was asked for, contradicts what "
    "was sent, or has no number.",
    AttentionReason.AUDIT_FINDINGS: "A scheduled audit found that Salesforce, the ERP and Temporal do not agree.",
}


_HINTS: Final = {
    AttentionReason.INVALID_MESSAGE: "Correct the route's `record_id` or `payload` and restart the workers, or let "
    "Salesforce send the record again with its `SystemModstamp`.",
    AttentionReason.MAPPING_FAILED: "Correct the records or the route's expressions; `closedwon route try` helps.",
    AttentionReason.UNKNOWN_PRODUCT: "Create the products in the ERP, or correct their codes in Salesforce.",
    AttentionReason.ERP_REJECTED: "Correct the data in the ERP or in Salesforce; `closedwon orders show` has the "
    "ERP's message.",
    AttentionReason.ERP_AUTH_FAILED: "Correct the ERP's credential (then restart the workers), or its user's rights.",
    AttentionReason.AMOUNT_DIFFERS: "Make the ERP's order and the record agree.",
    AttentionReason.TOO_LATE_TO_CANCEL: "Undo it in the ERP and send `cancel`, or leave it.",
    AttentionReason.TOO_LATE_TO_AMEND: "Correct the order in the ERP by hand, or change the record back.",
    AttentionReason.NO_LONGER_QUALIFIES: "Send `cancel` to cancel the order, or `retry` to leave it; or win the deal "
    "again.",
    AttentionReason.SALESFORCE_REJECTED: "Give the integration user the right, or end the lock.",
    AttentionReason.SALESFORCE_VALIDATION: "Correct the records, or the rule that refuses the write-back.",
    AttentionReason.SALESFORCE_AUTH_FAILED: "Correct the integration user, or `orgs.auth` (then restart the workers).",
    AttentionReason.RECORD_NOT_FOUND: "Restore or share the records, or send `cancel`.",
    AttentionReason.RECORD_DELETED: "Send `cancel` to cancel the order, or `retry` to leave it.",
    AttentionReason.CONFIGURATION: "Correct closedwon.toml (`closedwon config check`) and restart the workers.",
    AttentionReason.RETRIES_EXHAUSTED: "See whether the system that they waited for is back.",
    AttentionReason.UNEXPECTED_ERROR: "See in the order's timeline what has been done by hand.",
    AttentionReason.ORDER_EXISTS: "`retry` keeps the ERP's order, `cancel` cancels it; an order that the ERP cannot "
    "find by its number needs `resolve`.",
    AttentionReason.UNKNOWN_ORDER: "Restore the order in the ERP and send `retry`, or send `resolve` with the right "
    "number.",
    AttentionReason.CUSTOMER_DIFFERS: "Correct the customer of the record or of the ERP's order, then send `retry`.",
    AttentionReason.UNUSUAL_AMOUNT: "Correct the record, or allow it in the route (`order.allow`), then send `retry`.",
    AttentionReason.ORDER_DIFFERS: "Make both agree and send `retry`, or send `resolve` again and accept them.",
    AttentionReason.ERP_ANSWER_WRONG: "Correct the ERP's facade (`closedwon erp certify` helps), then send `retry`.",
    AttentionReason.AUDIT_FINDINGS: "Run `closedwon audit`: it names the records, and what to do about each kind.",
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


_OF_ONE_RECORD: Final = frozenset(
    {
        AttentionReason.AMOUNT_DIFFERS,
        AttentionReason.TOO_LATE_TO_CANCEL,
        AttentionReason.TOO_LATE_TO_AMEND,
        AttentionReason.NO_LONGER_QUALIFIES,
        AttentionReason.RECORD_DELETED,
        AttentionReason.ORDER_EXISTS,
        AttentionReason.UNKNOWN_ORDER,
        AttentionReason.CUSTOMER_DIFFERS,
        AttentionReason.UNUSUAL_AMOUNT,
        AttentionReason.ORDER_DIFFERS,
    }
)


class ClosedwonError(Exception):
    """The root. Never raised itself."""


class RetryError(ClosedwonError):
    """A temporary error. `retry_after` overrides the growing interval if the remote side named a time."""

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        """`message` is for people and contains no customer data."""
        super().__init__(message)
        self.retry_after = retry_after


class UnknownOutcomeError(RetryError):
    """The request may or may not have taken effect (timeout, lost reply, 5xx): look before doing it again."""


class BenignError(RetryError):
    """An expected refusal: throttling, announced maintenance, a record that is not visible yet. No alarm."""


class DoubtfulError(RetryError):
    """Nothing says whether a retry can help. It is retried for a quarter of an hour; then `attention` is raised."""

    def __init__(self, attention: AttentionError) -> None:
        """`attention` is what a person is asked if it does not end by itself."""
        super().__init__(str(attention))
        self.attention = attention


class AttentionError(ClosedwonError):
    """No automatic retry can help. `hint` is one sentence that says what to correct."""

    def __init__(self, message: str, *, reason: AttentionReason, hint: str) -> None:
        """`message` is for people and contains no customer data."""
        super().__init__(message)
        self.reason = reason
        self.hint = hint
        self.erp: str | None = None
        """The ERP whose call ended with it, if one did."""
