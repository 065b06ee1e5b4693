"""The meaning of CometD responses."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from closedwon.errors import AttentionError, DoubtfulError, RetryError
from closedwon.salesforce import errors
from closedwon.salesforce.bus.bayeux import read_answer, refusal

HANDSHAKE, CONNECT, SUBSCRIBE = "/meta/handshake", "/meta/connect", "/meta/subscribe"
SUBSCRIPTION = {"channel": SUBSCRIBE, "subscription": "/event/X__e", "ext": {"replay": {"/event/X__e": 42}}}
REPLAY_ID = (
    "400::The replayId {42} you provided was invalid.  Please provide a valid ID, -2 to replay all events, "
    "or -1 to replay only new events."
)


def failed(channel: str, error: str, reason: str | None = None) -> dict[str, Any]:
    """An unsuccessful reply."""
    reply: dict[str, Any] = {"channel": channel, "successful": False, "error": error}
    return reply if reason is None else {**reply, "ext": {"sfdc": {"failureReason": reason}, "replay": True}}


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (failed(CONNECT, "401::Authentication invalid"), errors.SessionExpiredError),
        (failed(CONNECT, "401:/meta/connect,x:Authentication invalid"), errors.SessionExpiredError),
        (failed(SUBSCRIBE, REPLAY_ID.replace("::", ":/event/X__e:")), errors.ReplayIdRejectedError),
        (failed(HANDSHAKE, "403:x:Handshake denied"), errors.SessionExpiredError),
        (failed(HANDSHAKE, "403::Handshake denied", "401::Authentication invalid"), errors.SessionExpiredError),
        (
            failed(HANDSHAKE, "403::Handshake denied", "401::Request requires authentication"),
            errors.SessionExpiredError,
        ),
        (failed(HANDSHAKE, "403::Handshake denied"), errors.SessionExpiredError),
        (failed(CONNECT, "403::Unknown client"), errors.StreamInterruptedError),
        (failed(SUBSCRIBE, "403::Unknown client"), errors.StreamInterruptedError),
        (failed(SUBSCRIBE, "403::Client has not completed handshake"), errors.StreamInterruptedError),
        (failed(CONNECT, "402::Something new"), errors.StreamInterruptedError),
        (failed(CONNECT, ""), errors.StreamInterruptedError),
        (failed(SUBSCRIBE, REPLAY_ID), errors.ReplayIdRejectedError),
        (failed(SUBSCRIBE, "400::El canal o la posición no existe"), DoubtfulError),
        (failed(SUBSCRIBE, "403::Límite diario de eventos alcanzado"), DoubtfulError),
        (failed(HANDSHAKE, "403::Handshake denied", "403::User not enabled for streaming"), DoubtfulError),
        (failed(SUBSCRIBE, "403:denied_by_security_policy:create_denied"), errors.StreamRefusedError),
        (failed(SUBSCRIBE, "404::Unknown channel"), errors.StreamRefusedError),
        (failed(HANDSHAKE, "400::Unsupported API version, only versions '37.0' and above"), errors.StreamRefusedError),
    ],
)
def test_every_documented_refusal_has_its_meaning(reply: dict[str, Any], kind: type) -> None:
    """Each refusal in the Streaming API guide maps to the error that determines the reaction."""
    assert kind is type(refusal(reply, SUBSCRIPTION))


def test_p2_a_channel_that_is_refused_without_a_position_is_wrong() -> None:
    """Without a replay id, 400 means the channel: a person is asked at once."""
    error = refusal(
        failed(SUBSCRIBE, "400::El canal no existe"), {**SUBSCRIPTION, "ext": {"replay": {"/event/X__e": -2}}}
    )

    assert isinstance(error, errors.StreamRefusedError)


@pytest.mark.parametrize(
    ("reply", "at_least", "at_most"),
    [
        # Next to any other `error`, even one that looks like a lost login.
        (failed(CONNECT, "401::Authentication invalid", "503::Server is too busy.  Please try again later."), 60, 300),
        (failed(CONNECT, "503:/meta/connect:Server is too busy."), 60, 300),
        (
            failed(
                HANDSHAKE,
                "403::Handshake denied",
                "403::To protect all customers from excessive use and Denial of Service attacks",
            ),
            60,
            300,
        ),
        (failed(HANDSHAKE, "403::Handshake denied", "403::Organization concurrent user limit exceeded"), 60, 300),
        (failed(CONNECT, "403::Organization total events daily limit exceeded"), 1800, 7200),
    ],
)
def test_a_limit_of_the_bus_sets_the_time_to_wait(reply: dict[str, Any], at_least: int, at_most: int) -> None:
    """A busy server means minutes, a used-up daily limit about an hour, without a login and without an alert."""
    error = refusal(reply, SUBSCRIPTION)

    assert isinstance(error, errors.ThrottledError)
    assert error.retry_after is not None
    assert timedelta(seconds=at_least) <= error.retry_after <= timedelta(seconds=at_most)


def test_the_error_of_a_rejected_replay_id_names_it() -> None:
    """The error names channel and position and quotes Salesforce."""
    error = refusal(failed(SUBSCRIBE, REPLAY_ID), SUBSCRIPTION)

    assert isinstance(error, errors.ReplayIdRejectedError)
    assert ("/event/X__e", "42") == (error.channel, error.position)
    assert "you provided was invalid" in str(error)


def test_messages_are_read_with_any_http_status() -> None:
    """Salesforce may send Bayeux messages with any status."""
    messages = [failed(CONNECT, "401::Authentication invalid")]

    for status in (200, 400, 401, 403, 500):
        assert messages == read_answer(status, json.dumps(messages).encode())


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (
            401,
            b'[{"message":"Session expired or invalid","errorCode":"INVALID_SESSION_ID"}]',
            errors.SessionExpiredError,
        ),
        (403, b'[{"message":"x","errorCode":"INVALID_SESSION_ID"}]', errors.SessionExpiredError),
        (403, b'[{"message":"TotalRequests Limit","errorCode":"REQUEST_LIMIT_EXCEEDED"}]', errors.ThrottledError),
        (403, b'[{"message":"x","errorCode":"API_DISABLED_FOR_ORG"}]', errors.ConfigurationError),
        (401, b"", errors.SessionExpiredError),
        (401, b'[{"error":"401:a,b:Authentication invalid","successful":false}]', errors.SessionExpiredError),
        (401, b'[{"error":"Unauthorized","successful":false}]', errors.SessionExpiredError),
        (401, b'[{"error":"403::Unknown client","successful":false}]', errors.SessionExpiredError),
        (401, b'[{"error":"503::Server is too busy","successful":false}]', errors.ThrottledError),
        (503, b"<html>Service Unavailable</html>", errors.UnavailableError),
        (404, b"<html>Not Found</html>", DoubtfulError),
        (404, b'[{"message":"x","errorCode":"NOT_FOUND"}]', errors.CallRefusedError),
        (403, b'[{"message":"x","errorCode":"INSUFFICIENT_ACCESS"}]', errors.CallRefusedError),
        (302, b"", errors.ConfigurationError),
        (400, b'[{"error":"400::API version in the URI is mandatory.","successful":false}]', errors.StreamRefusedError),
        (200, b'[{"channel":"/meta/conn', errors.StreamInterruptedError),
        (200, b"<html>Log in</html>", errors.StreamInterruptedError),
        (200, b'{"channel":"/meta/connect"}', errors.StreamInterruptedError),
        (200, b'[{"successful":true}]', errors.StreamInterruptedError),
        (200, b'[{"channel":7}]', errors.StreamInterruptedError),
        (200, b'[["channel"]]', errors.StreamInterruptedError),
        (200, b'[{"channel":"/meta/connect","advice":"retry"}]', errors.StreamInterruptedError),
        (200, b'[{"channel":"/meta/connect","successful":"yes"}]', errors.StreamInterruptedError),
    ],
)
def test_other_responses_raise_our_own_errors(status: int, body: bytes, kind: type) -> None:
    """REST errors, HTML and broken JSON never raise KeyError or JSONDecodeError."""
    with pytest.raises((RetryError, AttentionError)) as raised:
        read_answer(status, body)
    assert kind is type(raised.value)
