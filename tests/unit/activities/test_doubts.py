"""Errors that may be permanent are retried for a quarter of an hour, then a person is asked."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities import failures
from activities.doubts import Doubts
from activities.failures import errors_as_failures
from closedwon.errors import ClosedwonError, DoubtfulError, RetryError
from closedwon.salesforce.errors import CallRefusedError, ConfigurationError, Refusal, classify
from closedwon.streaks import WHILE


class Clock:
    """Seconds that a test advances."""

    now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the doubts of this process."""
    clock = Clock()
    monkeypatch.setattr(failures, "_doubts", Doubts(clock))
    return clock


def failure_of(error: ClosedwonError, *, local: bool = False) -> ApplicationError:
    """What an attempt that raises `error` reports to Temporal."""
    environment = ActivityEnvironment()
    environment.info = replace(environment.default_info(), is_local=local)

    def attempt() -> None:
        with errors_as_failures():
            raise error

    with pytest.raises(ApplicationError) as raised:
        environment.run(attempt)
    return raised.value


def test_p2_an_unknown_code_is_retried_for_a_quarter_of_an_hour(clock: Clock) -> None:
    """With growing pauses of at most two minutes; then a person is asked, with code and hint."""
    error = classify(Refusal(400, "SOMETHING_NEW"))
    pauses = []
    while not (failure := failure_of(error)).non_retryable:
        assert failure.next_retry_delay is not None
        pauses.append(failure.next_retry_delay)
        clock.now += failure.next_retry_delay.total_seconds()

    assert WHILE == sum(pauses, timedelta())
    assert [1, 1, 2, 4, 8, 16, 32, 64, 120, 120] == [pause.total_seconds() for pause in pauses[:10]]
    assert 15 >= len(pauses)
    assert ("RefusedError", "salesforce-rejected") == (failure.type, failure.details[0].reason)
    assert "SOMETHING_NEW" in str(failure)


def test_a_doubt_of_a_moment_after_a_long_outage_asks_no_person(clock: Clock) -> None:
    """Only the time in doubt counts, not that of other trouble."""
    failure_of(classify(Refusal(503)))
    clock.now += 7200

    assert not failure_of(classify(Refusal(400, "SOMETHING_NEW"))).non_retryable


def test_a_success_ends_the_doubt(clock: Clock) -> None:
    """The next doubt has the whole time again."""
    error = classify(Refusal(400, "SOMETHING_NEW"))
    failure_of(error)
    clock.now += WHILE.total_seconds() - 1

    def succeed() -> None:
        with errors_as_failures():
            pass

    ActivityEnvironment().run(succeed)
    clock.now += 2

    assert timedelta(seconds=1) == failure_of(error).next_retry_delay


def test_a_local_activity_leaves_the_doubt_to_its_regular_one(clock: Clock) -> None:
    """It fails without asking a person, whatever the time."""
    error = classify(Refusal(400, "SOMETHING_NEW"))
    failure_of(error, local=True)
    clock.now += WHILE.total_seconds()

    failure = failure_of(error, local=True)
    assert isinstance(error, RetryError)
    assert (False, ()) == (failure.non_retryable, failure.details)


def test_a_doubt_of_a_later_day_is_a_new_one(clock: Clock) -> None:
    """Another worker may have ended the earlier one, and a long-lived workflow repeats the ids of its activities."""
    error = classify(Refusal(400, "SOMETHING_NEW"))
    failure_of(error)
    clock.now += timedelta(days=1).total_seconds()

    assert timedelta(seconds=1) == failure_of(error).next_retry_delay


def test_every_doubt_has_one_name_in_temporal() -> None:
    """A pending activity says by it that Salesforce refuses; `doctor` reads it, whatever kind of doubt it is."""
    with pytest.raises(ApplicationError) as raised, errors_as_failures():
        raise CallRefusedError(ConfigurationError("x", hint="y"))
    assert DoubtfulError.__name__ == raised.value.type
