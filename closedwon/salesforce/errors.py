"""Errors of Salesforce, by what can be done about them.

    RetryError
    ├── UnknownOutcomeError
    │   └── UnavailableError           no response, or one that reports a server error (timeout, 420, 5xx)
    ├── BenignError
    │   ├── ThrottledError             a limit is used up or the server is busy; carries the time to wait
    │   │   └── DeliveryLimitError     the event bus delivers nothing more for hours
    │   ├── LockedError                another transaction holds the record
    │   └── WrongOrgError              the login is for another org than `orgs.id`; its token is never used
    ├── SessionExpiredError            the token is no longer accepted; the clients replace it once themselves
    ├── TooLargeError                  the call is too large or too slow; the clients split it in halves themselves
    ├── StreamInterruptedError         a connection to the event bus has ended; open a new one from the last position
    └── ReplayIdRejectedError          the event bus no longer knows the position
    AttentionError
    ├── SalesforceAuthFailedError      login rejected, or a fresh token not accepted
    ├── ValidationError                a rule of the org rejects the values
    ├── RefusedError                   no permission, no storage, a duplicate: rejected for another business reason
    ├── RecordGoneError                the record is deleted or hidden
    └── ConfigurationError             a name, version or address in our settings does not match the org
        └── StreamRefusedError         the event bus rejects the subscription

`classify` maps Salesforce's error codes to these. A message quotes Salesforce's text only for codes whose text contains
no field value (`STRING_TOO_LONG`, for example, quotes the value). The text of a validation rule is written by the org's
administrator for people, so it is quoted, shortened.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any, ClassVar, Final, NamedTuple

from closedwon.errors import (
    AttentionError,
    AttentionReason,
    BenignError,
    ClosedwonError,
    RetryError,
    UnknownOutcomeError,
)

_LONGEST_QUOTE: Final = 200
"""Maximum length of a quoted remote text, in characters."""

SOON: Final = (timedelta(seconds=5), timedelta(seconds=30))
"""Wait between these times after a limit on concurrent work."""
MINUTES: Final = (timedelta(minutes=1), timedelta(minutes=3))
"""Wait between these times if a server is busy."""
HOURS: Final = (timedelta(minutes=45), timedelta(minutes=90))
"""Wait between these times after a limit per rolling 24 hours, which frees up gradually."""


class UnavailableError(UnknownOutcomeError):
    """No response, or one that reports a server error. Our reads and updates are safe to repeat."""


class ThrottledError(BenignError):
    """A limit is used up or the server is busy. `retry_after` is random, so that callers do not retry together."""

    def __init__(self, message: str, *, between: tuple[timedelta, timedelta]) -> None:
        """`between`: the shortest and the longest time to wait."""
        earliest, latest = between
        spread = random.random()  # noqa: S311 - no secret
        super().__init__(message, retry_after=earliest + (latest - earliest) * spread)


class DeliveryLimitError(ThrottledError):
    """The org's subscribers have received as many events as its edition allows in 24 hours."""


class LockedError(BenignError):
    """UNABLE_TO_LOCK_ROW: another transaction holds the record or its parent."""


class WrongOrgError(BenignError):
    """The login is for another org than the one of `orgs.id`. No request is sent with the token of such a login.

    Not an `AttentionError`: orders wait, and continue without a command when the settings name the right org. The
    running checks (`workers.checks`) raise a single alert.
    """

    def __init__(self, name: str, url: str, *, found: str, wanted: str, retry_after: timedelta | None = None) -> None:
        """`found` is the id of the org at `url`; `wanted` is the id in the settings of the org called `name`."""
        super().__init__(f"{url} is org {found}, but `orgs.id` of {name!r} says {wanted}", retry_after=retry_after)
        self.hint = "Set `orgs.id` or `orgs.url` in closedwon.toml to the intended org, and restart all processes."


class SessionExpiredError(RetryError):
    """INVALID_SESSION_ID, or any other response with status 401."""


class TooLargeError(RetryError):
    """The query or the call is too large or too slow for one transaction."""


class StreamInterruptedError(RetryError):
    """A connection to the event bus has ended. Open a new one and subscribe from the last committed replay id."""


class ReplayIdRejectedError(RetryError):
    """The event bus does not know, or no longer knows, the replay id to resume from."""

    def __init__(self, channel: str, position: str, text: str) -> None:
        """`text` is Salesforce's message."""
        super().__init__(f"{channel} cannot be read from replay id {position}: {shortened(text)}")
        self.channel = channel
        self.position = position


class _SalesforceAttentionError(AttentionError):
    default_reason: ClassVar[AttentionReason]

    def __init__(self, message: str, *, hint: str, code: str = "") -> None:
        """`message` contains no field values, `hint` is one sentence, `code` is Salesforce's error code."""
        super().__init__(message, reason=self.default_reason, hint=hint)
        self.code = code


class SalesforceAuthFailedError(_SalesforceAttentionError):
    """Salesforce rejects our login, or the token that it has just issued."""

    default_reason = AttentionReason.SALESFORCE_AUTH_FAILED


class ValidationError(_SalesforceAttentionError):
    """A validation rule, a trigger, a picklist or a field's length rejects the values."""

    default_reason = AttentionReason.SALESFORCE_VALIDATION


class RefusedError(_SalesforceAttentionError):
    """Rejected for a business reason: permission, storage, a duplicate, or a code that is not known here."""

    default_reason = AttentionReason.SALESFORCE_REJECTED


class RecordGoneError(_SalesforceAttentionError):
    """The record is deleted, or the integration user may not see it."""

    default_reason = AttentionReason.RECORD_NOT_FOUND


class ConfigurationError(_SalesforceAttentionError):
    """A field, object, version or address in our settings does not match the org."""

    default_reason = AttentionReason.CONFIGURATION


class StreamRefusedError(ConfigurationError):
    """The event bus rejects the subscription, and will reject it again."""


class Refusal(NamedTuple):
    """An error as Salesforce reports it, in a REST error array or in a SaveResult."""

    status: int
    """The HTTP status."""
    code: str = ""
    """`errorCode` or `statusCode`; empty if the body was not Salesforce's."""
    text: str = ""
    fields: tuple[str, ...] = ()

    @classmethod
    def read(cls, status: int, body: Any) -> Refusal:
        """Read the first error of a parsed error body; any other body yields a refusal without a code."""
        entry = body[0] if isinstance(body, list) and body else body
        if not isinstance(entry, dict):
            return cls(status)
        fields = entry.get("fields")
        return cls(
            status,
            str(entry.get("errorCode") or entry.get("statusCode") or ""),
            str(entry.get("message") or ""),
            tuple(str(field) for field in fields) if isinstance(fields, list) else (),
        )


def shortened(text: str) -> str:
    """Put a remote text on one line of at most 200 characters."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_QUOTE else line[: _LONGEST_QUOTE - 1] + "…"


class _Permanent(NamedTuple):
    error: type[_SalesforceAttentionError]
    hint: str
    quoted: bool = True
    """Whether Salesforce's text contains no field values."""


_RULE: Final = _Permanent(
    ValidationError, "Correct the record, or the rule or trigger, in Salesforce; then send `retry`."
)
_VALUE: Final = _Permanent(
    ValidationError,
    "Let the field accept the value (length, picklist entries, required or not) in Salesforce; then send `retry`.",
    quoted=False,
)
_ACCESS: Final = _Permanent(
    RefusedError, "Let the integration user see and edit the record and its fields in Salesforce; then send `retry`."
)
_GONE: Final = _Permanent(
    RecordGoneError, "Restore the record or share it with the integration user and send `retry`; or send `cancel`."
)
_NAMES: Final = _Permanent(
    ConfigurationError,
    "Correct the route's `object`, `select` or `write_back`, or let the integration user see the field; "
    "then send `retry`.",
)
_TYPES: Final = _NAMES._replace(quoted=False)
_API: Final = _Permanent(
    ConfigurationError, "Let the org and the integration user use the API (edition, profile); then send `retry`."
)
_VERSION: Final = _Permanent(ConfigurationError, "Set `orgs.api_version` to a version that the org offers.")
_LOGIN: Final = _Permanent(
    SalesforceAuthFailedError,
    "Correct the integration user in Salesforce or `orgs.auth` in closedwon.toml; then send `retry`.",
)

_PERMANENT: Final[Mapping[str, _Permanent]] = {
    "FIELD_CUSTOM_VALIDATION_EXCEPTION": _RULE,
    "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY": _RULE,
    "FIELD_INTEGRITY_EXCEPTION": _RULE,
    "REQUIRED_FIELD_MISSING": _VALUE,
    "STRING_TOO_LONG": _VALUE,
    "NUMBER_OUTSIDE_VALID_RANGE": _VALUE,
    "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST": _VALUE,
    "DUPLICATE_VALUE": _Permanent(
        RefusedError, "Another record holds the value of a unique field: clear it there, then send `retry`."
    ),
    "DUPLICATES_DETECTED": _Permanent(
        RefusedError, "Resolve the duplicate or relax the duplicate rule in Salesforce; then send `retry`."
    ),
    "INVALID_CROSS_REFERENCE_KEY": _ACCESS,
    "INSUFFICIENT_ACCESS_OR_READONLY": _ACCESS,
    "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY": _ACCESS,
    "INVALID_FIELD_FOR_INSERT_UPDATE": _ACCESS,
    "ENTITY_IS_LOCKED": _Permanent(
        RefusedError, "Unlock the record (approval process) in Salesforce; then send `retry`."
    ),
    "STORAGE_LIMIT_EXCEEDED": _Permanent(RefusedError, "Free storage in the org, then send `retry`."),
    "ENTITY_IS_DELETED": _GONE,
    "NOT_FOUND": _GONE,
    "INVALID_FIELD": _NAMES,
    "INVALID_TYPE": _NAMES,
    "MALFORMED_QUERY": _NAMES,
    "JSON_PARSER_ERROR": _TYPES,
    "MALFORMED_ID": _TYPES,
    "INVALID_TYPE_ON_FIELD_IN_RECORD": _TYPES,
    "API_DISABLED_FOR_ORG": _API,
    "API_CURRENTLY_DISABLED": _API,
    "UNSUPPORTED_API_VERSION": _VERSION,
    "INVALID_OPERATION_WITH_EXPIRED_PASSWORD": _LOGIN,
    "INVALID_LOGIN": _LOGIN,
}

_UNKNOWN: Final = _Permanent(
    RefusedError, "Look up the code in Salesforce's documentation, correct the cause, then send `retry`.", quoted=False
)
_BY_STATUS: Final[Mapping[int, _Permanent]] = {
    HTTPStatus.NOT_FOUND: _Permanent(ConfigurationError, "Check `orgs.url` and `orgs.api_version` in closedwon.toml."),
    HTTPStatus.GONE: _VERSION,
}

_TOO_LARGE: Final = frozenset({"QUERY_TIMEOUT", "OPERATION_TOO_LARGE", "EXCEEDED_ID_LIMIT"})
_TOO_LARGE_STATUSES: Final = frozenset(
    {HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.REQUEST_URI_TOO_LONG, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE}
)
_IN_TROUBLE: Final = frozenset({"SERVER_UNAVAILABLE", "UNKNOWN_EXCEPTION"})
_BUSY_STATUSES: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.CONFLICT})
NO_ROUTING: Final = 420
"""Salesforce's edge has no routing to the instance (REST API guide, "Status Codes")."""


def classify(refusal: Refusal) -> ClosedwonError:
    """Map a refusal to an error, by Salesforce's status codes (REST and SaveResult)."""
    temporary = _lock_or_limit(refusal) or _technical(refusal)
    if temporary is not None:
        return temporary
    rule = _PERMANENT.get(refusal.code) or _BY_STATUS.get(refusal.status, _UNKNOWN)
    message = f"Salesforce: {refusal.code or f'HTTP {refusal.status}'}"
    if refusal.fields:
        message += f" on {', '.join(refusal.fields)}"
    if rule.quoted and refusal.text:
        message += f": {shortened(refusal.text)}"
    return rule.error(message, hint=rule.hint, code=refusal.code)


def _lock_or_limit(refusal: Refusal) -> RetryError | None:
    code, text = refusal.code, refusal.text
    if "UNABLE_TO_LOCK_ROW" in f"{code} {text}":  # a trigger's failure may wrap it
        return LockedError("Salesforce: UNABLE_TO_LOCK_ROW, another transaction holds the record or its parent")
    if code == "REQUEST_LIMIT_EXCEEDED" and "concurrent" in text.lower():
        return ThrottledError(f"Salesforce: {code}, too many long-running calls at the same time", between=SOON)
    if code == "REQUEST_LIMIT_EXCEEDED":
        return ThrottledError(f"Salesforce: {code}, the org has used up its API calls of 24 hours", between=HOURS)
    if code == "TXN_SECURITY_METERING_ERROR":
        return ThrottledError(f"Salesforce: {code}", between=MINUTES)
    if refusal.status in _BUSY_STATUSES:
        return ThrottledError(f"Salesforce: HTTP {refusal.status}", between=SOON)
    return None


def _technical(refusal: Refusal) -> RetryError | None:
    status, name = refusal.status, refusal.code or f"HTTP {refusal.status}"
    if refusal.code == "INVALID_SESSION_ID" or status == HTTPStatus.UNAUTHORIZED:
        return SessionExpiredError(f"Salesforce: {name}, the session has expired or was revoked")
    if refusal.code in _TOO_LARGE or status in _TOO_LARGE_STATUSES:
        return TooLargeError(f"Salesforce: {name}, the call is too large")
    if refusal.code in _PERMANENT:
        return None  # e.g. UNSUPPORTED_API_VERSION comes with 500
    if refusal.code in _IN_TROUBLE or status == NO_ROUTING or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return UnavailableError(f"Salesforce reports a server error: {name}")
    return None
