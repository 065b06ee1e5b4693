"""How soon a reader of the event bus is tried again after it has failed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.failures import errors_as_failures
from activities.subscription import InterruptedWhileAliveError, growing_intervals
from closedwon.errors import AttentionError, AttentionReason, RetryError


def _failure(error: Exception, attempt: int) -> ApplicationError:
    with pytest.raises(ApplicationError) as caught, growing_intervals(attempt), errors_as_failures():
        raise error
    return caught.value


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 1), (2, 2), (4, 8), (5, 10), (100_000, 10)])
@pytest.mark.parametrize("error", [RetryError("no answer"), ValueError("a defect")])
def test_an_org_that_does_not_answer_is_asked_ever_more_rarely(error: Exception, attempt: int, seconds: int) -> None:
    """The retry policy does not do it: its interval is also that after the crash of a reader."""
    failure = _failure(error, attempt)
    assert timedelta(seconds=seconds) == failure.next_retry_delay
    assert type(error).__name__ == failure.type
    assert not failure.non_retryable


def test_a_failure_keeps_the_delay_that_it_asks_for() -> None:
    """A connection that had worked is opened again at once, and its failure raises no alarm."""
    failure = _failure(InterruptedWhileAliveError("closed"), 1000)
    assert failure.next_retry_delay is not None
    assert timedelta(seconds=2) > failure.next_retry_delay
    assert ApplicationErrorCategory.BENIGN == failure.category


def test_what_needs_a_person_is_not_retried() -> None:
    """The workflow rests, and raises an alert."""
    failure = _failure(AttentionError("refused", reason=AttentionReason.SALESFORCE_AUTH_FAILED, hint="log in"), 1)
    assert failure.non_retryable
    assert 1 == len(failure.details)
