"""What is read out of an activity that ended for good, and what a person is asked."""

from __future__ import annotations

import itertools

import pytest
from temporalio import exceptions
from temporalio.exceptions import ActivityError, ApplicationError, RetryState, TimeoutType

from closedwon.errors import AttentionReason
from closedwon.model.erp import ErpOrder
from closedwon.model.order_state import Problem
from closedwon.model.snapshot import Declined, Deleted, Hidden, NotWanted, RecordSnapshot, Wanted
from tests.support.memory_erp import held, sold
from workflows.problems import (
    contradiction,
    hidden,
    only_named,
    order_differs,
    order_exists,
    order_gone,
    order_lost,
    problem_of,
    unqualified,
    without_verdict,
)

PROBLEM = Problem(reason=AttentionReason.ERP_REJECTED, message="No such product", hint="Create it")


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


@pytest.mark.parametrize("details", [(), ("text",), ({"reason": "of-a-later-version", "message": "m", "hint": "c"},)])
def test_details_that_are_not_a_problem(details: tuple[object, ...]) -> None:
    """Temporal's tools can fail an activity with anything: that is a problem, too, and no error of the workflow."""
    by_hand = problem_of(failed(ApplicationError("stopped", *details), RetryState.NON_RETRYABLE_FAILURE))
    assert AttentionReason.UNEXPECTED_ERROR is by_hand.reason
    assert "The step create_order-1 was failed by hand" in by_hand.message
    assert by_hand.message.endswith(" Last: stopped")
    assert "send `retry`" in by_hand.hint
    passed = problem_of(failed(ApplicationError("busy", *details)))
    assert AttentionReason.RETRIES_EXHAUSTED is passed.reason
    assert "Retried for as long as the route allows (its `retry_for`). Last: busy" == passed.message


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
    assert AttentionReason.RETRIES_EXHAUSTED is found.reason
    assert f"(its `retry_for`).{last}" == found.message[-len(f"(its `retry_for`).{last}") :]


def test_an_order_of_a_record_that_no_longer_asks_for_one() -> None:
    """Deleted, no longer won, or not known: three reasons to ask, three sentences, and the order's number in each."""
    for order in (held(), held(number=None)):
        number = order.number or "1"
        deleted, reopened, unknown = (
            unqualified(snapshot, order)
            for snapshot in (Deleted(), NotWanted(may_have_order=True), NotWanted(is_certain=False))
        )
        assert (AttentionReason.RECORD_DELETED, AttentionReason.NO_LONGER_QUALIFIES) == (
            deleted.reason,
            reopened.reason,
        )
        assert AttentionReason.NO_LONGER_QUALIFIES is unknown.reason
        assert f"The record was deleted, but ERP order {number} exists (confirmed)" == deleted.message
        assert f"The record no longer qualifies, but ERP order {number} exists (confirmed)" == reopened.message
        assert f"The record yields no value for `qualify`, but ERP order {number} exists (confirmed)" == unknown.message
        assert "Send `cancel`" in deleted.hint
        assert "win the deal again" in reopened.hint
        assert unknown.hint.startswith("Correct `qualify`")
        assert "`cancel`" not in unknown.hint


@pytest.mark.parametrize(("order", "number"), [(held(), "SO1"), (held(number=None), "1")])
def test_an_order_that_stands_in_the_way(order: ErpOrder, number: str) -> None:
    """It is named, by its number or else by the ERP's own id."""
    found = order_exists(order)
    assert AttentionReason.ORDER_EXISTS is found.reason
    assert f"The ERP has order {number} of this record" == found.message
    assert f"continue with order {number}" in found.hint


def test_each_problem_says_what_can_be_sent() -> None:
    """Two commands at least, in back quotes."""
    named, differs = only_named("SO1"), order_differs("SO1", "it is for another customer")
    assert (AttentionReason.NO_LONGER_QUALIFIES, AttentionReason.ORDER_DIFFERS) == (named.reason, differs.reason)
    assert "ERP order SO1 was not used: it is for another customer" == differs.message
    assert "shows the order number SO1" in named.message
    assert "`skip`" in named.hint
    assert all(command in differs.hint for command in ("`retry`", "`resolve`", "`accept_differences`"))


def test_problems_can_be_distinguished() -> None:
    """No two have the same sentence."""
    problems = [
        only_named("1"), order_exists(held()), order_differs("1", "x"), unqualified(Deleted(), held()),
        unqualified(NotWanted(), held()), unqualified(NotWanted(is_certain=False), held()), order_gone(held()),
        order_lost(held()), hidden(), without_verdict("r"), contradiction(Deleted()),
    ]  # fmt: skip
    assert all(one.message != other.message for one, other in itertools.combinations(problems, 2))


@pytest.mark.parametrize(("order", "number"), [(held(), "SO1"), (held(number=None), "1")])
def test_an_order_that_is_not_there_any_more(order: ErpOrder, number: str) -> None:
    """Gone or cancelled: it is named in message and hint, by its number or else by the ERP's own id."""
    gone, lost = order_gone(order), order_lost(order)
    assert [AttentionReason.UNKNOWN_ORDER] * 2 == [gone.reason, lost.reason]
    assert gone.message.startswith(f"ERP order {number} of this record was followed, but the ERP no longer has")
    assert gone.hint.startswith(f"Restore order {number} in the ERP, then send `retry`")
    assert all(command in gone.hint for command in ("`retry`", "`cancel`", "`resolve`"))
    assert lost.message.startswith(f"ERP order {number} of this record was to be kept, but it is cancelled")
    assert lost.hint.startswith(f"Take order {number} back to draft or confirmed in the ERP, then send `retry`")
    assert "send `cancel`" in lost.hint


@pytest.mark.parametrize(
    ("newest", "last"),
    [
        (Wanted(order=sold(), erp="a"), "asks for an order"),
        (NotWanted(), "asks for none"),
        (NotWanted(is_certain=False), "asks for none"),
        (Declined(note="it was closed"), "asks for none"),
        (Deleted(), "asks for none"),
        (Hidden(), "asks for none"),
    ],
)
def test_two_notifications_that_contradict_each_other(newest: RecordSnapshot, last: str) -> None:
    """A person reads what the last one asks for, and that a newer one decides."""
    found = contradiction(newest)
    assert AttentionReason.INVALID_MESSAGE is found.reason
    assert f"(the last to arrive {last})" in found.message
    assert found.hint.startswith("Save the record in Salesforce again")
    assert all(command in found.hint for command in ("`cancel`", "`skip`", "`resolve`"))


def test_what_is_not_known_of_a_record() -> None:
    """Whether it needs an order, or whether it is there at all: both say what a person can do."""
    verdict, unseen = without_verdict("won-deals"), hidden()
    assert (AttentionReason.MAPPING_FAILED, AttentionReason.RECORD_NOT_FOUND) == (verdict.reason, unseen.reason)
    assert verdict.message.startswith("`qualify` of route 'won-deals' yields no value")
    assert "`qualify` of route 'won-deals'" in verdict.hint
    assert all(command in verdict.hint for command in ("`retry`", "`skip`"))
    assert "cannot read it" in unseen.message
    assert all(command in unseen.hint for command in ("`retry`", "`skip`", "`cancel`", "`resolve`"))
