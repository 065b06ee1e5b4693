"""What is read out of an activity that ended for good, and what a person is asked."""

from __future__ import annotations

import itertools

import pytest
from temporalio import exceptions
from temporalio.exceptions import ActivityError, ApplicationError, RetryState, TimeoutType

from closedwon.errors import AttentionReason
from closedwon.model import ErpOrder
from closedwon.order_state import Problem
from closedwon.snapshot import Deleted, NotWanted
from tests.support.memory_erp import held
from workflows.problems import only_named, order_differs, order_exists, problem_of, unqualified

PROBLEM = Problem(reason=AttentionReason.ERP_REJECTED, message="No such product", cure="Create it")


def failed(cause: BaseException | None, state: RetryState | None = RetryState.TIMEOUT) -> ActivityError:
    """An activity that ended for good."""
    error = ActivityError(
        "failed", scheduled_event_id=1, started_event_id=2, identity="", activity_type="create_order",
        activity_id="create_order-1", retry_state=state,
    )  # fmt: skip
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("state", [RetryState.NON_RETRYABLE_FAILURE, RetryState.TIMEOUT, None])
def test_a_problem_is_read_as_it_was_written(state: RetryState | None) -> None:
    """Whatever ended the activity: the details count."""
    assert PROBLEM == problem_of(failed(ApplicationError("x", PROBLEM.model_dump(mode="json")), state))
    assert PROBLEM == problem_of(failed(ApplicationError("x", PROBLEM.model_dump(mode="json"), "more"), state))


@pytest.mark.parametrize("details", [(), ("text",), ({"reason": "of-a-later-version", "message": "m", "cure": "c"},)])
def test_details_that_are_no_problem(details: tuple[object, ...]) -> None:
    """Temporal's tools can fail an activity with anything: that is a problem, too, and no error of the workflow."""
    by_hand = problem_of(failed(ApplicationError("stopped", *details), RetryState.NON_RETRYABLE_FAILURE))
    assert AttentionReason.UNFORESEEN is by_hand.reason
    assert "The step create_order-1 was failed by hand" in by_hand.message
    assert by_hand.message.endswith(" Last: stopped")
    assert "send `retry`" in by_hand.cure
    passed = problem_of(failed(ApplicationError("busy", *details)))
    assert AttentionReason.HORIZON_PASSED is passed.reason
    assert "Retried for as long as the route allows (its horizon). Last: busy" == passed.message


@pytest.mark.parametrize(
    ("cause", "last"),
    [
        (None, ""),
        (
            exceptions.TimeoutError("timed out", type=TimeoutType.HEARTBEAT, last_heartbeat_details=[]),
            " Last: timed out",
        ),
    ],
)
@pytest.mark.parametrize("state", [RetryState.TIMEOUT, RetryState.MAXIMUM_ATTEMPTS_REACHED, None])
def test_a_step_that_ran_out_of_time(cause: BaseException | None, last: str, state: RetryState | None) -> None:
    """With what it said last, if anything."""
    found = problem_of(failed(cause, state))
    assert AttentionReason.HORIZON_PASSED is found.reason
    assert f"(its horizon).{last}" == found.message[-len(f"(its horizon).{last}") :]


def test_an_order_of_a_record_that_no_longer_asks_for_one() -> None:
    """Deleted, no longer won, or not known: three reasons to ask, three sentences, and the order's number in each."""
    for order in (held(), held(number=None)):
        number = order.number or "1"
        deleted, unwon, unknown = (
            unqualified(snapshot, order)
            for snapshot in (Deleted(), NotWanted(may_have_order=True), NotWanted(is_certain=False))
        )
        assert (AttentionReason.RECORD_DELETED, AttentionReason.DEAL_UNWON) == (deleted.reason, unwon.reason)
        assert AttentionReason.DEAL_UNWON is unknown.reason
        assert f"The record was deleted, but ERP order {number} exists (confirmed)" == deleted.message
        assert f"The record no longer qualifies, but ERP order {number} exists (confirmed)" == unwon.message
        assert f"The record yields no value for `qualify`, but ERP order {number} exists (confirmed)" == unknown.message
        assert "Send `cancel`" in deleted.cure
        assert "win the deal again" in unwon.cure
        assert unknown.cure.startswith("Correct `qualify`")
        assert "`cancel`" not in unknown.cure


@pytest.mark.parametrize(("order", "number"), [(held(), "SO1"), (held(number=None), "1")])
def test_an_order_that_stands_in_the_way(order: ErpOrder, number: str) -> None:
    """It is named, by its number or else by the ERP's own id."""
    found = order_exists(order)
    assert AttentionReason.ORDER_EXISTS is found.reason
    assert f"The ERP has order {number} of this record" == found.message
    assert f"continue with order {number}" in found.cure


def test_each_problem_says_what_can_be_sent() -> None:
    """Two commands at least, in back quotes."""
    named, differs = only_named("SO1"), order_differs("SO1", "it is for another customer")
    assert (AttentionReason.DEAL_UNWON, AttentionReason.ORDER_DIFFERS) == (named.reason, differs.reason)
    assert "ERP order SO1 was not used: it is for another customer" == differs.message
    assert "shows the order number SO1" in named.message
    assert "`skip`" in named.cure
    assert all(command in differs.cure for command in ("`retry`", "`resolve`", "`accept_differences`"))


def test_problems_can_be_told_apart() -> None:
    """No two have the same sentence."""
    problems = [only_named("1"), order_exists(held()), order_differs("1", "x"), unqualified(Deleted(), held())]
    assert all(one.message != other.message for one, other in itertools.combinations(problems, 2))
