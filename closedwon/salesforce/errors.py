"""Errors of Salesforce, by what can be done about them.

    RetryError
    ├── UnknownOutcomeError
    │   └── UnavailableError           no response, one that is not Salesforce's, or a server error (timeout, 420, 5xx)
    │       └── FaultError             Salesforce's program has failed, perhaps because of one record of the call
    ├── BenignError
    │   ├── ThrottledError             a limit is used up or the server is busy; carries the time to wait
    │   │   ├── DeliveryLimitError     the event bus delivers nothing more for hours
    │   │   └── MaintenanceError       the org is read-only, locked or moved for an announced time
    │   ├── LockedError                another transaction holds the record
    │   └── WrongOrgError              the login is for another org than `orgs.id`; its token is never used
    ├── DoubtfulError                  a code that is new, or that says nothing about this record: retried for a while
    │   └── CallRefusedError           the org refuses a call as a whole, whatever the record
    ├── SessionExpiredError            the token is no longer accepted; the clients replace it once themselves
    ├── TooLargeError                  the call is too large or too slow; the clients split it themselves
    ├── StreamInterruptedError         a connection to the event bus has ended; open a new one from the last position
    └── ReplayIdRejectedError          the event bus no longer knows the position
    AttentionError
    ├── SalesforceAuthFailedError      login rejected, or a fresh token not accepted
    ├── ValidationError                a rule of the org rejects the values
    │   └── AutomationError            a trigger or flow of the org has failed
    ├── RefusedError                   no permission, no storage, a duplicate: rejected for another business reason
    ├── RecordGoneError                the record is deleted or hidden
    └── ConfigurationError             a name, version or address in our settings does not match the org
        ├── MalformedRequestError     Salesforce cannot parse the call
        └── StreamRefusedError         the event bus rejects the subscription

`classify` maps Salesforce's error codes to these, by their classes in `closedwon.salesforce.codes`. Codes, HTTP
statuses and the form of the body decide; texts never do. A message quotes Salesforce's text only for codes whose text
contains no field value (`STRING_TOO_LONG`, for example, quotes the value). The texts of validation rules and flows are
written by the org's administrator for people, so they are quoted, shortened.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from http import HTTPStatus
from typing import Any, ClassVar, Final, NamedTuple

from closedwon.errors import (
    AttentionError,
    AttentionReason,
    BenignError,
    ClosedwonError,
    DoubtfulError,
    RetryError,
    UnknownOutcomeError,
)
from closedwon.salesforce.codes import CodeClass, class_of, quoted_classes

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


class FaultError(UnavailableError):
    """Salesforce's program has failed. One record may be enough to make a call of many fail."""


class ThrottledError(BenignError):
    """A limit is used up or the server is busy. `retry_after` is random, so that callers do not retry together."""

    def __init__(self, message: str, *, between: tuple[timedelta, timedelta]) -> None:
        """`between`: the shortest and the longest time to wait."""
        earliest, latest = between
        spread = random.random()  # noqa: S311 - no secret
        super().__init__(message, retry_after=earliest + (latest - earliest) * spread)


class DeliveryLimitError(ThrottledError):
    """The org's subscribers have received as many events as its edition allows in 24 hours."""


class MaintenanceError(ThrottledError):
    """The org is read-only, locked or moved for a time that Salesforce announces."""


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

    def __init__(self, message: str, *, is_salesforces: bool = True) -> None:
        """`is_salesforces`: the response has an error code; else it may be from a server in between."""
        super().__init__(message)
        self.is_salesforces = is_salesforces


class TooLargeError(RetryError):
    """The query or the call is too large or too slow for one transaction."""


class CallRefusedError(DoubtfulError):
    """The org refuses a call as a whole, so every order that needs such a call is refused: the org is checked."""


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

    def __init__(self, message: str, *, hint: str, code: str = "", fields: tuple[str, ...] = ()) -> None:
        """`message` contains no field values, `hint` is one sentence, `code` is Salesforce's error code.

        `fields` are those that Salesforce names, if it does.
        """
        super().__init__(message, reason=self.default_reason, hint=hint)
        self.code = code
        self.fields = fields


class SalesforceAuthFailedError(_SalesforceAttentionError):
    """Salesforce rejects our login, or the token that it has just issued."""

    default_reason = AttentionReason.SALESFORCE_AUTH_FAILED


class ValidationError(_SalesforceAttentionError):
    """A validation rule, a trigger, a picklist or a field's length rejects the values."""

    default_reason = AttentionReason.SALESFORCE_VALIDATION


class AutomationError(ValidationError):
    """A trigger, flow or process of the org has failed: for one record, or for too many in one transaction."""


class RefusedError(_SalesforceAttentionError):
    """Rejected for a business reason: permission, storage, a duplicate, or a code that is not known here."""

    default_reason = AttentionReason.SALESFORCE_REJECTED


class RecordGoneError(_SalesforceAttentionError):
    """The record is deleted, or the integration user may not see it."""

    default_reason = AttentionReason.RECORD_NOT_FOUND


class ConfigurationError(_SalesforceAttentionError):
    """A field, object, version or address in our settings does not match the org."""

    default_reason = AttentionReason.CONFIGURATION


class MalformedRequestError(ConfigurationError):
    """Salesforce cannot parse the call, because of one value in it for instance."""


class StreamRefusedError(ConfigurationError):
    """The event bus rejects the subscription, and will reject it again."""


def of_setting(error: ClosedwonError, *, hint: str) -> CallRefusedError:
    """The error of a call as a whole, where it says nothing about a record: retried for a while, then a setting's."""
    code = error.code if isinstance(error, _SalesforceAttentionError) else ""
    return CallRefusedError(ConfigurationError(str(error), hint=hint, code=code))


@contextmanager
def about_whole_call(size: int) -> Iterator[None]:
    """Raise `CallRefusedError` where a call for `size` records is refused as a whole: it says nothing about a record.

    A record's own refusal stands in the call's results. `TooLargeError` stays as it is while the call can be split.
    """
    try:
        yield
    except DoubtfulError as error:
        raise CallRefusedError(error.attention) from None
    except (RecordGoneError, RefusedError) as error:
        raise of_setting(
            error, hint="Check `orgs.url`, `orgs.api_version` and the integration user's rights; then send `retry`."
        ) from None
    except TooLargeError as error:
        if size > 1:
            raise
        raise of_setting(
            error, hint="Let the route's `select` ask for less, or the org's automation do less; then send `retry`."
        ) from None


class Refusal(NamedTuple):
    """An error as Salesforce reports it, in a REST error array or in a SaveResult."""

    status: int
    """The HTTP status."""
    code: str = ""
    """`errorCode` or `statusCode`; empty if the body was not Salesforce's."""
    text: str = ""
    fields: tuple[str, ...] = ()
    calls_are_used_up: bool | None = None
    """Whether the org has used its calls of 24 hours, as far as a response has said (`Sforce-Limit-Info`)."""

    @classmethod
    def read(cls, status: int, body: Any) -> Refusal:
        """Read the first error of a parsed body, and the fields of all; other bodies yield a refusal without a code."""
        entries = body if isinstance(body, list) and body else [body]
        entry = entries[0]
        if not isinstance(entry, dict):
            return cls(status)
        lists = [one["fields"] for one in entries if isinstance(one, dict) and isinstance(one.get("fields"), list)]
        return cls(
            status,
            str(entry.get("errorCode") or entry.get("statusCode") or ""),
            str(entry.get("message") or ""),
            tuple(dict.fromkeys(str(field) for fields in lists for field in fields)),
        )


def shortened(text: str) -> str:
    """Put a remote text on one line of at most 200 characters."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_QUOTE else line[: _LONGEST_QUOTE - 1] + "…"


SPLITS: Final = (TooLargeError, LockedError, FaultError, DoubtfulError, AutomationError, MalformedRequestError)
"""Errors of a call that need not be those of each of its records: fewer records are tried, and at last each alone."""


class _Permanent(NamedTuple):
    error: type[_SalesforceAttentionError]
    hint: str
    quoted: bool = True
    """Whether Salesforce's text contains no field values."""


_RULE: Final = _Permanent(
    ValidationError, "Correct the record, or the rule or trigger, in Salesforce; then send `retry`."
)
_NAMES: Final = _Permanent(
    ConfigurationError,
    "Correct the route's `object`, `select` or `write_back`, or let the integration user see the field; "
    "then send `retry`.",
)
_VERSION: Final = _Permanent(ConfigurationError, "Set `orgs.api_version` to a version that the org offers.")
_UNKNOWN: Final = _Permanent(
    RefusedError, "Look up the code in Salesforce's documentation, correct the cause, then send `retry`.", quoted=False
)

_PERMANENT: Final[Mapping[CodeClass | None, _Permanent]] = {
    CodeClass.RULE: _RULE,
    CodeClass.AUTOMATION: _RULE._replace(
        error=AutomationError,
        hint="Correct the record, or the flow or trigger that the message names, in Salesforce; then send `retry`.",
    ),
    CodeClass.VALUE: _Permanent(
        ValidationError,
        "Let the field accept the value (length, picklist entries, required or not) in Salesforce; then send `retry`.",
        quoted=False,
    ),
    CodeClass.DUPLICATE_VALUE: _Permanent(
        RefusedError, "Another record holds the value of a unique field: clear it there, then send `retry`."
    ),
    CodeClass.DUPLICATE_RULE: _Permanent(
        RefusedError, "Resolve the duplicate or relax the duplicate rule in Salesforce; then send `retry`."
    ),
    CodeClass.APPROVAL: _Permanent(
        RefusedError, "Unlock the record (approval process) in Salesforce; then send `retry`."
    ),
    CodeClass.ACCESS: _Permanent(
        RefusedError,
        "Let the integration user see and edit the record and its fields in Salesforce; then send `retry`.",
    ),
    CodeClass.STORAGE: _Permanent(RefusedError, "Free storage in the org, then send `retry`."),
    CodeClass.GONE: _Permanent(
        RecordGoneError,
        "Restore the record or share it with the integration user and send `retry`; or send `cancel`.",
    ),
    CodeClass.NAMES: _NAMES,
    CodeClass.REQUEST: _NAMES._replace(error=MalformedRequestError, quoted=False),
    CodeClass.API: _Permanent(
        ConfigurationError, "Let the org and the integration user use the API (edition, profile); then send `retry`."
    ),
    CodeClass.VERSION: _VERSION,
    CodeClass.LOGIN: _Permanent(
        SalesforceAuthFailedError,
        "Correct the integration user in Salesforce or `orgs.auth` in closedwon.toml; then send `retry`.",
    ),
}
_SERVER_ERROR: Final = "Salesforce reports a server error"
_TEMPORARY: Final[Mapping[CodeClass | None, Callable[[str], RetryError]]] = {
    CodeClass.LOCK: lambda code: LockedError(f"Salesforce: {code}, another transaction holds the record or its parent"),
    CodeClass.BUSY: lambda code: ThrottledError(f"Salesforce: {code}", between=MINUTES),
    CodeClass.MAINTENANCE: lambda code: MaintenanceError(
        f"Salesforce: {code}, the org is in maintenance", between=MINUTES
    ),
    CodeClass.TROUBLE: lambda code: UnavailableError(f"{_SERVER_ERROR}: {code}"),
    CodeClass.POSITION: lambda code: UnavailableError(f"Salesforce: {code}, a position in a result has expired"),
    CodeClass.FAULT: lambda code: FaultError(f"{_SERVER_ERROR}: {code}"),
}
_DOUBTFUL: Final[Mapping[CodeClass | None, _Permanent]] = {
    CodeClass.OTHERS_FAULT: _UNKNOWN,
    CodeClass.LIMIT: _UNKNOWN._replace(hint="Find the limit that the org has reached, then send `retry`."),
    CodeClass.FOREIGN: _UNKNOWN._replace(hint="Correct the automation of the org that fails so, then send `retry`."),
    CodeClass.ACCEPTED: _UNKNOWN,
    None: _UNKNOWN,
}
"""What a person is asked when it does not end by itself."""
_BY_STATUS: Final[Mapping[int, _Permanent]] = {
    HTTPStatus.NOT_FOUND: _Permanent(ConfigurationError, "Check `orgs.url` and `orgs.api_version` in closedwon.toml."),
    HTTPStatus.GONE: _VERSION,
}

_TOO_LARGE_STATUSES: Final = frozenset(
    {HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.REQUEST_URI_TOO_LONG, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE}
)
_BUSY_STATUSES: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.CONFLICT})
NO_ROUTING: Final = 420
"""Salesforce's edge has no routing to the instance (REST API guide, "Status Codes")."""


def classify(refusal: Refusal) -> ClosedwonError:
    """Map a refusal to an error: by the HTTP status where it says what to do, then by the class of the code.

    A response without a code is not Salesforce's own (its edge, a proxy), and says nothing about the record.
    """
    meaning = class_of(refusal.code)
    if meaning is CodeClass.AUTOMATION and CodeClass.LOCK in quoted_classes(refusal.text):
        meaning = CodeClass.LOCK
    if meaning is CodeClass.SESSION or refusal.status == HTTPStatus.UNAUTHORIZED:
        text = f"Salesforce: {_named(refusal)}, the session has expired or was revoked"
        return SessionExpiredError(text, is_salesforces=bool(refusal.code))
    if meaning is CodeClass.TOO_LARGE or refusal.status in _TOO_LARGE_STATUSES:
        return TooLargeError(f"Salesforce: {_named(refusal)}, the call is too large")
    temporary = _temporary(meaning, refusal)
    if temporary is not None:
        return temporary
    if meaning in _PERMANENT:
        return _attention(_PERMANENT[meaning], refusal)
    is_trouble = refusal.status == NO_ROUTING or refusal.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    by_status = _BY_STATUS.get(refusal.status)
    if by_status is None and (is_trouble or not refusal.code):
        return UnavailableError(f"{_SERVER_ERROR}: {_named(refusal)}")
    return DoubtfulError(_attention(by_status or _DOUBTFUL[meaning], refusal))


def _temporary(meaning: CodeClass | None, refusal: Refusal) -> RetryError | None:
    """The error of a refusal that ends by itself."""
    if refusal.status in _BUSY_STATUSES:
        return ThrottledError(f"Salesforce: HTTP {refusal.status}", between=SOON)
    if meaning is CodeClass.CALLS:
        return _calls_refused(refusal)
    if meaning in _TEMPORARY:
        return _TEMPORARY[meaning](refusal.code)
    return None


def _calls_refused(refusal: Refusal) -> ThrottledError:
    """One code has two meanings; what the org says about its calls distinguishes them."""
    if refusal.calls_are_used_up:
        text = f"Salesforce: {refusal.code}, the org has used up its API calls of 24 hours"
        return ThrottledError(text, between=HOURS)
    between = MINUTES if refusal.calls_are_used_up is None else SOON
    return ThrottledError(f"Salesforce: {refusal.code}, too many calls at the same time", between=between)


def _attention(rule: _Permanent, refusal: Refusal) -> _SalesforceAttentionError:
    message = f"Salesforce: {_named(refusal)}"
    if refusal.fields:
        message += f" on {', '.join(refusal.fields)}"
    if rule.quoted and refusal.text:
        message += f": {shortened(refusal.text)}"
    return rule.error(message, hint=rule.hint, code=refusal.code, fields=refusal.fields)


def _named(refusal: Refusal) -> str:
    return refusal.code or f"HTTP {refusal.status}"
