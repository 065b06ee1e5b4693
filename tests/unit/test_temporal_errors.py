"""The tables of Temporal's own errors, walked line by line."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from temporalio import exceptions
from temporalio.exceptions import ActivityError, ApplicationError, FailureError, RetryState, ServerError, TimeoutType
from temporalio.service import RPCError, RPCStatusCode

from closedwon.errors import AttentionReason
from closedwon.intake.delivery import NotDurableError, _refusal
from closedwon.temporal.client import is_passing
from closedwon.temporal.errors import ANSWERS, FAILURES, PASSING, Remedy
from workflows.problems import problem_of

_MADE: dict[type[FailureError], Callable[[], FailureError]] = {
    ServerError: lambda: ServerError("Complete result exceeds size limit.", non_retryable=True),
    exceptions.TimeoutError: lambda: exceptions.TimeoutError(
        "timed out", type=TimeoutType.SCHEDULE_TO_CLOSE, last_heartbeat_details=[]
    ),
    ApplicationError: lambda: ApplicationError("stopped"),
    exceptions.CancelledError: lambda: exceptions.CancelledError("cancelled"),
    exceptions.TerminatedError: lambda: exceptions.TerminatedError("terminated"),
}


def test_every_code_of_grpc_has_a_line() -> None:
    """All but OK, each with its reason."""
    assert set(RPCStatusCode) - {RPCStatusCode.OK} == set(ANSWERS)
    assert all(answer.why for answer in ANSWERS.values())


@pytest.mark.parametrize("code", ANSWERS)
def test_no_code_makes_a_notification_final(code: RPCStatusCode) -> None:
    """Intake answers 503, so that the sender sends again; what is final is known by the size, and not by a code."""
    refused = _refusal(RPCError("exceeds limit", code, b""))
    assert isinstance(refused, NotDurableError)
    assert 503 == refused.status


@pytest.mark.parametrize(("code", "answer"), ANSWERS.items())
def test_a_start_waits_for_what_passes(code: RPCStatusCode, answer: object) -> None:
    """A process that registers repeats it for a minute, also where a search attribute is not known yet."""
    assert answer
    expected = ANSWERS[code].remedy in {Remedy.REPEAT, Remedy.FIND_CAUSE}
    assert expected is is_passing(RPCError("x", code, b""))
    assert (ANSWERS[code].remedy is Remedy.REPEAT) is (code in PASSING)


@pytest.mark.parametrize("kind", FAILURES)
def test_each_failure_that_temporal_writes_becomes_a_problem(kind: type[FailureError]) -> None:
    """With the reason and the hint of the table, and the failure's own text."""
    error = ActivityError(
        "failed", scheduled_event_id=1, started_event_id=2, identity="", activity_type="load_order",
        activity_id="load-order", retry_state=RetryState.NON_RETRYABLE_FAILURE,
    )  # fmt: skip
    error.__cause__ = _MADE[kind]()
    problem = problem_of(error)
    written = FAILURES[kind]
    assert (written.reason, written.hint) == (problem.reason, problem.hint)
    assert problem.message.startswith(written.why.format(step="load-order"))
    assert str(error.__cause__) in problem.message


def test_a_result_that_is_too_large_was_not_failed_by_hand() -> None:
    """The server writes it as a failure of its own."""
    assert AttentionReason.MAPPING_FAILED is FAILURES[ServerError].reason
