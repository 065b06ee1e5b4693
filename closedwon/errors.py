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
    SALESFORCE_REJECTED = "salesforce-rejected"
    SALESFORCE_VALIDATION = "salesforce-validation"
    SALESFORCE_AUTH_FAILED = "salesforce-auth-failed"
    RECORD_GONE = "record-gone"
    CONFIGURATION = "configuration"
    HORIZON_PASSED = "horizon-passed"
    UNFORESEEN = "unforeseen"


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
