"""The mapping of Salesforce's error codes to our errors."""

from __future__ import annotations

from datetime import timedelta

import pytest

from closedwon.errors import (
    AttentionError,
    AttentionReason,
    BenignError,
    DoubtfulError,
    RetryError,
    UnknownOutcomeError,
)
from closedwon.salesforce import errors
from closedwon.salesforce.errors import Refusal, classify

PERMANENT = [
    ("FIELD_CUSTOM_VALIDATION_EXCEPTION", errors.ValidationError, AttentionReason.SALESFORCE_VALIDATION),
    ("REQUIRED_FIELD_MISSING", errors.ValidationError, AttentionReason.SALESFORCE_VALIDATION),
    ("STRING_TOO_LONG", errors.ValidationError, AttentionReason.SALESFORCE_VALIDATION),
    ("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", errors.ValidationError, AttentionReason.SALESFORCE_VALIDATION),
    ("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", errors.AutomationError, AttentionReason.SALESFORCE_VALIDATION),
    ("CANNOT_EXECUTE_FLOW_TRIGGER", errors.AutomationError, AttentionReason.SALESFORCE_VALIDATION),
    ("INVALID_CROSS_REFERENCE_KEY", errors.RefusedError, AttentionReason.SALESFORCE_REJECTED),
    ("INSUFFICIENT_ACCESS_OR_READONLY", errors.RefusedError, AttentionReason.SALESFORCE_REJECTED),
    ("INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY", errors.RefusedError, AttentionReason.SALESFORCE_REJECTED),
    ("STORAGE_LIMIT_EXCEEDED", errors.RefusedError, AttentionReason.SALESFORCE_REJECTED),
    ("DUPLICATE_VALUE", errors.RefusedError, AttentionReason.SALESFORCE_REJECTED),
    ("DUPLICATES_DETECTED", errors.RefusedError, AttentionReason.SALESFORCE_REJECTED),
    ("ENTITY_IS_DELETED", errors.RecordGoneError, AttentionReason.RECORD_NOT_FOUND),
    ("NOT_FOUND", errors.RecordGoneError, AttentionReason.RECORD_NOT_FOUND),
    ("INVALID_FIELD", errors.ConfigurationError, AttentionReason.CONFIGURATION),
    ("INVALID_TYPE", errors.ConfigurationError, AttentionReason.CONFIGURATION),
    ("MALFORMED_QUERY", errors.ConfigurationError, AttentionReason.CONFIGURATION),
    ("JSON_PARSER_ERROR", errors.MalformedRequestError, AttentionReason.CONFIGURATION),
    ("MALFORMED_ID", errors.MalformedRequestError, AttentionReason.CONFIGURATION),
    ("API_DISABLED_FOR_ORG", errors.ConfigurationError, AttentionReason.CONFIGURATION),
    ("API_CURRENTLY_DISABLED", errors.ConfigurationError, AttentionReason.CONFIGURATION),
    (
        "INVALID_OPERATION_WITH_EXPIRED_PASSWORD",
        errors.SalesforceAuthFailedError,
        AttentionReason.SALESFORCE_AUTH_FAILED,
    ),
    ("INVALID_LOGIN", errors.SalesforceAuthFailedError, AttentionReason.SALESFORCE_AUTH_FAILED),
]


@pytest.mark.parametrize(("code", "kind", "reason"), PERMANENT)
def test_a_permanent_error_needs_attention(code: str, kind: type, reason: AttentionReason) -> None:
    """It has the code, the stable reason, and a hint."""
    error = classify(Refusal(400, code))

    assert isinstance(error, AttentionError)
    assert kind is type(error)
    assert reason == error.reason
    assert code in str(error)
    assert error.hint


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (Refusal(400, "UNABLE_TO_LOCK_ROW"), errors.LockedError),
        (Refusal(400, "QUERY_TIMEOUT"), errors.TooLargeError),
        (Refusal(500, "OPERATION_TOO_LARGE"), errors.TooLargeError),
        (Refusal(400, "EXCEEDED_ID_LIMIT"), errors.TooLargeError),
        (Refusal(414), errors.TooLargeError),
        (Refusal(431), errors.TooLargeError),
        (Refusal(401, "INVALID_SESSION_ID"), errors.SessionExpiredError),
        (Refusal(401), errors.SessionExpiredError),
        (Refusal(403, "TXN_SECURITY_METERING_ERROR"), errors.ThrottledError),
        (Refusal(429), errors.ThrottledError),
        (Refusal(503, "SERVER_UNAVAILABLE"), errors.UnavailableError),
        (Refusal(500, "UNKNOWN_EXCEPTION"), errors.FaultError),
        (Refusal(200, "ORG_IN_MAINTENANCE"), errors.MaintenanceError),
        (Refusal(200, "SERVICE_UNAVAILABLE"), errors.UnavailableError),
        (Refusal(400), errors.UnavailableError),
        (Refusal(403), errors.UnavailableError),
        *((Refusal(status), errors.UnavailableError) for status in (420, 500, 502, 503, 504)),
    ],
)
def test_a_temporary_error_is_retried(refusal: Refusal, kind: type) -> None:
    """It is a RetryError of the right kind."""
    error = classify(refusal)

    assert isinstance(error, RetryError)
    assert kind is type(error)


def test_the_outcome_after_a_server_error_is_unknown() -> None:
    """After a 5xx it is unknown whether the update was made."""
    assert isinstance(classify(Refusal(502)), UnknownOutcomeError)


def test_a_lock_inside_a_triggers_failure_is_a_lock() -> None:
    """A trigger that could not lock a row fails with its own code, but waiting helps."""
    text = "Quote: execution of AfterUpdate caused by: System.DmlException: UNABLE_TO_LOCK_ROW, unable to obtain"

    assert isinstance(classify(Refusal(400, "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", text)), errors.LockedError)


def test_a_code_quoted_by_a_rule_changes_nothing() -> None:
    """Only an automation fails because of another error; the text of a rule may have any content."""
    for code in ("FIELD_CUSTOM_VALIDATION_EXCEPTION", "SOMETHING_NEW"):
        assert not isinstance(classify(Refusal(400, code, "no UNABLE_TO_LOCK_ROW here")), errors.LockedError)


def test_a_401_without_a_code_may_be_from_a_server_in_between() -> None:
    """The error says so, for a fresh token that is not accepted either."""
    for refusal, expected in ((Refusal(401), False), (Refusal(401, "INVALID_SESSION_ID"), True)):
        error = classify(refusal)
        assert isinstance(error, errors.SessionExpiredError)
        assert (expected, None) == (error.is_salesforces, error.retry_after)


def test_an_unknown_code_with_a_server_error_is_a_server_error() -> None:
    """So is one of Salesforce's edge, which has a status of its own."""
    for status in (420, 500):
        assert isinstance(classify(Refusal(status, "SOMETHING_NEW")), errors.UnavailableError)
    assert isinstance(classify(Refusal(421, "SOMETHING_NEW")), DoubtfulError)


def test_the_daily_limit_waits_an_hour_and_the_concurrent_limit_seconds() -> None:
    """REQUEST_LIMIT_EXCEEDED has two meanings, distinguished by the org's count of calls; neither raises an alert."""
    daily = classify(Refusal(403, "REQUEST_LIMIT_EXCEEDED", "Limite dépassée.", calls_are_used_up=True))
    short = classify(Refusal(403, "REQUEST_LIMIT_EXCEEDED", "Limite dépassée.", calls_are_used_up=False))

    assert isinstance(daily, BenignError)
    assert isinstance(short, BenignError)
    assert daily.retry_after is not None
    assert short.retry_after is not None
    assert timedelta(minutes=30) <= daily.retry_after <= timedelta(hours=2)
    assert timedelta(seconds=1) <= short.retry_after <= timedelta(minutes=1)


def test_a_new_code_is_doubtful_and_then_a_persons_matter() -> None:
    """It is not permanent because it is unknown; what a person is asked later is known from the start."""
    error = classify(Refusal(400, "SOMETHING_NEW", "Jane", ("A__c",)))

    assert isinstance(error, DoubtfulError)
    assert isinstance(error.attention, errors.RefusedError)
    assert ("SOMETHING_NEW", ("A__c",)) == (error.attention.code, error.attention.fields)
    assert AttentionReason.SALESFORCE_REJECTED == error.attention.reason
    assert "Look up the code" in error.attention.hint


def test_p3_the_text_of_a_flow_is_quoted_like_that_of_a_rule() -> None:
    """In any language: it names the flow."""
    text = 'No podemos guardar este registro porque se produjo un error en el proceso "Asignacion de Lead".'
    error = classify(Refusal(400, "CANNOT_EXECUTE_FLOW_TRIGGER", text))

    assert f"Salesforce: CANNOT_EXECUTE_FLOW_TRIGGER: {text}" == str(error)
    assert isinstance(error, errors.ValidationError)
    assert "the flow or trigger that the message names" in error.hint


def test_throttled_callers_do_not_retry_together() -> None:
    """The time to wait is random."""
    times = {errors.ThrottledError("busy", between=errors.MINUTES).retry_after for _ in range(20)}

    assert len(times) > 1


def test_a_retired_version_is_a_configuration_error() -> None:
    """A 500 with UNSUPPORTED_API_VERSION is; 404 and 410 without a code are after a while."""
    for refusal in (Refusal(500, "UNSUPPORTED_API_VERSION"), Refusal(410), Refusal(404)):
        error = classify(refusal)
        error = error.attention if isinstance(error, DoubtfulError) else error
        assert isinstance(error, errors.ConfigurationError)
        assert "orgs." in error.hint


def test_the_text_of_a_validation_rule_is_quoted_shortened() -> None:
    """The administrator's text and the field's name are on one line of limited length."""
    error = classify(Refusal(400, "FIELD_CUSTOM_VALIDATION_EXCEPTION", "No order\nin August. " * 40, ("Stage__c",)))

    assert "on Stage__c: No order in August." in str(error)
    assert len(str(error)) < 300


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("STRING_TOO_LONG", "ERP Status: data value too large: Jane Doe, 5th Avenue (max length=10)"),
        ("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", "bad value for restricted picklist field: Jane Doe"),
        ("JSON_PARSER_ERROR", "Cannot deserialize instance of double from VALUE_STRING value Jane Doe"),
        ("SOMETHING_NEW", "Jane Doe"),
    ],
)
def test_no_message_contains_a_field_value(code: str, text: str) -> None:
    """Salesforce's text is not quoted if it contains the value."""
    assert "Jane" not in str(classify(Refusal(400, code, text)))


def test_error_bodies_of_any_form_are_read() -> None:
    """They are REST arrays, SaveResult errors, or not from Salesforce at all."""
    assert Refusal(400, "A", "b", ("c",)) == Refusal.read(
        400, [{"errorCode": "A", "message": "b", "fields": ["c"]}, {"errorCode": "Z", "message": ""}]
    )
    several = [{"errorCode": "A", "fields": ["c", "d"]}, "strange", {"fields": 3}, {"fields": ["d", "e"]}]
    assert Refusal(400, "A", "", ("c", "d", "e")) == Refusal.read(400, several)
    assert Refusal(400, "A", "b") == Refusal.read(400, {"statusCode": "A", "message": "b"})
    strange: tuple[object, ...] = (None, [], "<html>", [1], {}, [{"fields": 3}])
    for body in strange:
        assert Refusal(502) == Refusal.read(502, body)


def test_an_attention_error_keeps_salesforces_code_and_hint() -> None:
    """The code is a search term, the hint names the place to change."""
    error = classify(Refusal(400, "ENTITY_IS_LOCKED"))
    assert isinstance(error, errors.RefusedError)
    assert ("ENTITY_IS_LOCKED", "Salesforce: ENTITY_IS_LOCKED") == (error.code, str(error))
    assert "approval process" in error.hint


@pytest.mark.parametrize(("length", "expected"), [(199, "x" * 199), (200, "x" * 200), (201, "x" * 199 + "…")])
def test_a_remote_text_is_at_most_200_characters_long(length: int, expected: str) -> None:
    """It is on one line, with an ellipsis at the cut."""
    assert expected == errors.shortened("x" * length)
    assert "a b c" == errors.shortened(" a\n b\t c ")


@pytest.mark.parametrize(
    ("between", "least", "most"),
    [
        (errors.SOON, timedelta(seconds=5), timedelta(seconds=30)),
        (errors.MINUTES, timedelta(minutes=1), timedelta(minutes=3)),
        (errors.HOURS, timedelta(minutes=45), timedelta(minutes=90)),
    ],
)
def test_the_time_to_wait_is_between_two_times(
    monkeypatch: pytest.MonkeyPatch, between: tuple[timedelta, timedelta], least: timedelta, most: timedelta
) -> None:
    """It is uniformly distributed."""
    for chance, expected in ((0.0, least), (0.5, (least + most) / 2), (1.0, most)):
        monkeypatch.setattr("closedwon.salesforce.errors.random.random", lambda chance=chance: chance)
        assert expected == errors.ThrottledError("busy", between=between).retry_after


@pytest.mark.parametrize(
    ("refusal", "between"),
    [
        (Refusal(429), errors.SOON),
        (Refusal(409), errors.SOON),
        (Refusal(403, "TXN_SECURITY_METERING_ERROR"), errors.MINUTES),
        (Refusal(403, "REQUEST_LIMIT_EXCEEDED", calls_are_used_up=True), errors.HOURS),
        (Refusal(403, "REQUEST_LIMIT_EXCEEDED", calls_are_used_up=False), errors.SOON),
        (Refusal(403, "REQUEST_LIMIT_EXCEEDED"), errors.MINUTES),
    ],
)
def test_each_limit_has_its_own_time_to_wait(refusal: Refusal, between: tuple[timedelta, timedelta]) -> None:
    """Seconds for concurrent calls, minutes for a busy server, an hour for a daily limit."""
    error = classify(refusal)
    assert isinstance(error, errors.ThrottledError)
    assert error.retry_after is not None
    assert between[0] <= error.retry_after <= between[1]


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (Refusal(499), errors.UnavailableError),
        (Refusal(400, "SOMETHING", "concurrent"), DoubtfulError),
        (Refusal(503, "SOMETHING"), errors.UnavailableError),
        (Refusal(419), errors.UnavailableError),
        (Refusal(421), errors.UnavailableError),
        (Refusal(413), errors.TooLargeError),
        (Refusal(500, "INVALID_FIELD"), errors.ConfigurationError),
        (Refusal(500, "UNSUPPORTED_API_VERSION"), errors.ConfigurationError),
        (Refusal(400, "SERVER_UNAVAILABLE"), errors.UnavailableError),
        (Refusal(401, "SERVER_UNAVAILABLE"), errors.SessionExpiredError),
        (Refusal(401, "ENTITY_IS_LOCKED"), errors.SessionExpiredError),
        (Refusal(413, "ENTITY_IS_LOCKED"), errors.TooLargeError),
        (Refusal(200, "INVALID_SESSION_ID"), errors.SessionExpiredError),
        (Refusal(404, "NOT_FOUND"), errors.RecordGoneError),
        (Refusal(404), DoubtfulError),
        (Refusal(410, "SOMETHING"), DoubtfulError),
    ],
)
def test_code_and_status_count_in_this_order(refusal: Refusal, kind: type) -> None:
    """An expired session, the size of the call, a known code, a server error, and then the status."""
    assert kind is type(classify(refusal))


def test_the_text_of_an_unknown_code_is_not_quoted_but_its_fields_are() -> None:
    """The text may contain a value."""
    assert "Salesforce: NEW on A, B" == str(classify(Refusal(400, "NEW", "Jane", ("A", "B"))))
    assert "Salesforce: INVALID_FIELD on A: no such column" == str(
        classify(Refusal(400, "INVALID_FIELD", "no such column", ("A",)))
    )
    assert "Salesforce: INVALID_FIELD" == str(classify(Refusal(400, "INVALID_FIELD")))


def test_other_errors_state_their_subject() -> None:
    """They are a rejected position of the event bus, and the wrong org."""
    rejected = errors.ReplayIdRejectedError("/event/A", "-2", "The replay id {1}\nwas corrupted")
    assert ("/event/A", "-2") == (rejected.channel, rejected.position)
    assert "/event/A cannot be read from replay id -2: The replay id {1} was corrupted" == str(rejected)
    wrong = errors.WrongOrgError("prod", "https://a", found="00D1", wanted="00D2", retry_after=timedelta(seconds=9))
    assert "https://a is org 00D1, but `orgs.id` of 'prod' says 00D2" == str(wrong)
    assert timedelta(seconds=9) == wrong.retry_after
    assert "`orgs.id` or `orgs.url`" in wrong.hint


@pytest.mark.parametrize(
    ("refusal", "message"),
    [
        (Refusal(401, "INVALID_SESSION_ID"), "Salesforce: INVALID_SESSION_ID, the session has expired or was revoked"),
        (Refusal(401), "Salesforce: HTTP 401, the session has expired or was revoked"),
        (Refusal(413), "Salesforce: HTTP 413, the call is too large"),
        (Refusal(400, "QUERY_TIMEOUT"), "Salesforce: QUERY_TIMEOUT, the call is too large"),
        (Refusal(503, "SERVER_UNAVAILABLE"), "Salesforce reports a server error: SERVER_UNAVAILABLE"),
        (Refusal(503), "Salesforce reports a server error: HTTP 503"),
        (Refusal(429, "X"), "Salesforce: HTTP 429"),
        (Refusal(409), "Salesforce: HTTP 409"),
    ],
)
def test_a_temporary_error_names_its_code_or_status(refusal: Refusal, message: str) -> None:
    """An operator can search for it."""
    assert message == str(classify(refusal))
