"""What the errors of the Pub/Sub API mean, by code and by status."""

from __future__ import annotations

import pytest
from grpc import StatusCode

from closedwon.errors import AttentionError, ClosedwonError, DoubtfulError
from closedwon.salesforce.bus.pubsub.refusals import MEANINGS, SchemaNotFoundError, error_of
from closedwon.salesforce.errors import (
    DeliveryLimitError,
    ReplayIdRejectedError,
    SessionExpiredError,
    StreamInterruptedError,
    StreamRefusedError,
    ThrottledError,
)

PREFIX = "sfdc.platform.eventbus.grpc."


def error(status: StatusCode, code: str = "", call: str = "Subscribe") -> ClosedwonError:
    """Our error for a call that fails so."""
    return error_of(status, PREFIX + code if code else "", "text", call=call, channel="/event/X__e", position="p")


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (StatusCode.INTERNAL, "service.unavailable", StreamInterruptedError),
        (StatusCode.INTERNAL, "", StreamInterruptedError),
        (StatusCode.UNAVAILABLE, "", StreamInterruptedError),
        (StatusCode.UNAUTHENTICATED, "service.auth.error", SessionExpiredError),
        (StatusCode.UNAUTHENTICATED, "", SessionExpiredError),
        (StatusCode.INVALID_ARGUMENT, "subscription.fetch.replayid.corrupted", ReplayIdRejectedError),
        (StatusCode.INVALID_ARGUMENT, "subscription.fetch.replayid.validation.failed", ReplayIdRejectedError),
        (StatusCode.RESOURCE_EXHAUSTED, "subscription.limit.exceeded", DeliveryLimitError),
        (StatusCode.RESOURCE_EXHAUSTED, "service.protection.triggered", ThrottledError),
        (StatusCode.NOT_FOUND, "topic.not.found", StreamRefusedError),
        (StatusCode.PERMISSION_DENIED, "topic.meta.permission", StreamRefusedError),
        (StatusCode.PERMISSION_DENIED, "a.new.code", DoubtfulError),
        (StatusCode.INVALID_ARGUMENT, "", DoubtfulError),
        (StatusCode.INTERNAL, "a.new.code", StreamInterruptedError),
    ],
)
def test_code_and_status_decide(status: StatusCode, code: str, expected: type[ClosedwonError]) -> None:
    """A known code decides; without one the status does, and what is new never counts as permanent at once."""
    assert expected is type(error(status, code))


def test_an_invalid_argument_of_a_schema_does_not_touch_the_position() -> None:
    """An error of `GetSchema` is about the schema: no gap is opened, and no person is asked."""
    assert SchemaNotFoundError is type(error(StatusCode.INVALID_ARGUMENT, call="GetSchema"))
    assert SchemaNotFoundError is type(error(StatusCode.INVALID_ARGUMENT, "schema.validation.failed", "GetSchema"))


@pytest.mark.parametrize("code", MEANINGS)
def test_every_known_code_is_retried_or_has_a_hint(code: str) -> None:
    """No code ends a subscription without saying what a person can do."""
    found = error(StatusCode.INTERNAL, code)

    assert code in str(found)
    assert not isinstance(found, AttentionError) or found.hint
