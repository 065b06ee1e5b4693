"""What the errors of the Pub/Sub API mean: a gRPC status and trailers in, one of our errors out. No I/O here.

The code in the trailer `error-code` decides, never the text; without a known code, the status does. What has no code
does not come from the API itself (a proxy, a load balancer, maintenance), and is always tried again from the same
position. Source: Pub/Sub API guide, "Error Codes".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final

from grpc import StatusCode

from closedwon.errors import ClosedwonError, DoubtfulError
from closedwon.salesforce.errors import (
    HOURS,
    MINUTES,
    DeliveryLimitError,
    ReplayIdRejectedError,
    SessionExpiredError,
    StreamInterruptedError,
    StreamRefusedError,
    ThrottledError,
    shortened,
)

_PREFIX: Final = "sfdc.platform.eventbus.grpc."


class Meaning(StrEnum):
    """What is done about an error."""

    TRY_AGAIN = "try again"
    """Open a new stream at the same position."""
    NEW_TOKEN = "new token"  # noqa: S105 - not a secret
    """The same, with a new login."""
    SLOWER = "slower"
    """The same, minutes later."""
    LIMIT = "limit"
    """The org's delivery limit is reached: a gap, and the next reader in an hour."""
    POSITION = "position"
    """A gap, and a subscription from the earliest retained event."""
    SETTING = "setting"
    """A person must correct a setting or a right, if it lasts."""
    NO_SCHEMA = "no schema"
    """The schema is unknown: the event is parked. It says nothing about the position."""


MEANINGS: Final[Mapping[str, Meaning]] = {
    "service.unavailable": Meaning.TRY_AGAIN,
    "service.auth.error": Meaning.NEW_TOKEN,
    "service.auth.headers.invalid": Meaning.SETTING,
    "service.auth.refresh.invalid": Meaning.NEW_TOKEN,
    "service.protection.stream.limit.triggered": Meaning.SLOWER,
    "service.protection.triggered": Meaning.SLOWER,
    "service.tenant.license": Meaning.SETTING,
    "concurrent.client.limit.exceeded": Meaning.SLOWER,
    "topic.not.found": Meaning.SETTING,
    "topic.meta.permission": Meaning.SETTING,
    "topic.api.unavailable": Meaning.TRY_AGAIN,
    "topic.validation.empty": Meaning.SETTING,
    "schema.meta.permission": Meaning.SETTING,
    "schema.api.unavailable": Meaning.TRY_AGAIN,
    "schema.not.found": Meaning.NO_SCHEMA,
    "schema.validation.failed": Meaning.NO_SCHEMA,
    "subscription.fetch.replayid.corrupted": Meaning.POSITION,
    "subscription.fetch.replayid.validation.failed": Meaning.POSITION,
    "subscription.fetch.replay.repeated": Meaning.TRY_AGAIN,
    "subscription.limit.exceeded": Meaning.LIMIT,
    "subscription.fetch.overflow": Meaning.TRY_AGAIN,
    "subscription.fetch.requested.events.invalid": Meaning.SETTING,
    "subscription.fetch.topic.mismatch": Meaning.SETTING,
    "subscription.fetch.request.invalid": Meaning.SETTING,
    "subscription.topic.cannot.subscribe": Meaning.SETTING,
    "subscription.internal.error": Meaning.TRY_AGAIN,
}
"""By the code without its prefix. Codes of calls that are not made here (managed subscriptions, publishing) are
missing: they are treated by their status, as new ones are."""

_BY_STATUS: Final[Mapping[StatusCode, Meaning]] = {
    StatusCode.UNAUTHENTICATED: Meaning.NEW_TOKEN,
    StatusCode.PERMISSION_DENIED: Meaning.SETTING,
    StatusCode.NOT_FOUND: Meaning.SETTING,
    StatusCode.INVALID_ARGUMENT: Meaning.SETTING,
    StatusCode.UNIMPLEMENTED: Meaning.SETTING,
    StatusCode.RESOURCE_EXHAUSTED: Meaning.SLOWER,
}
_TEMPORARY: Final[Mapping[Meaning, Callable[[str], ClosedwonError]]] = {
    Meaning.TRY_AGAIN: lambda said: StreamInterruptedError(f"The Pub/Sub API has ended {said}"),
    Meaning.NEW_TOKEN: lambda said: SessionExpiredError(f"The Pub/Sub API does not accept the token of {said}"),
    Meaning.SLOWER: lambda said: ThrottledError(f"The Pub/Sub API limits requests: {said}", between=MINUTES),
    Meaning.LIMIT: lambda said: DeliveryLimitError(f"The event bus has reached its daily limit: {said}", between=HOURS),
}
_HINT: Final = (
    "Check the route's `events` (the channel exists), `orgs.id`, `orgs.pubsub_url`, and that the integration user may "
    "read the event's object."
)


class SchemaNotFoundError(StreamInterruptedError):
    """The API does not know a schema that an event names."""


def meaning_of(status: StatusCode, code: str) -> Meaning:
    """Return what an error means; `code` is the trailer `error-code`, empty if there is none."""
    known = MEANINGS.get(code.removeprefix(_PREFIX))
    return known or _BY_STATUS.get(status, Meaning.TRY_AGAIN)


def error_of(status: StatusCode, code: str, text: str, *, call: str, channel: str, position: str) -> ClosedwonError:
    """Return our error for a failed call. `text` is Salesforce's, which contains no field values."""
    said = shortened(f"{code.removeprefix(_PREFIX) or status.name}: {text}")
    meaning = meaning_of(status, code)
    if meaning is Meaning.NO_SCHEMA or (call == "GetSchema" and status is StatusCode.INVALID_ARGUMENT):
        return SchemaNotFoundError(f"The Pub/Sub API has no such schema: {said}")
    if meaning is Meaning.POSITION:
        return ReplayIdRejectedError(channel, position, said)
    if meaning is Meaning.SETTING:
        refused = StreamRefusedError(f"The Pub/Sub API rejects {call}: {said}", hint=_HINT)
        return refused if code.removeprefix(_PREFIX) in MEANINGS else DoubtfulError(refused)
    return _TEMPORARY[meaning](f"{call}: {said}")
