"""For how long a refusal that concerns the ERP is tried again before a person is asked."""

from __future__ import annotations

from datetime import timedelta

import pytest

from closedwon.erp.contact import Contact
from closedwon.erp.errors import (
    ErpAuthFailedError,
    RefusedForNowError,
    RejectedError,
    TooLargeForErpError,
    UnusableAnswerError,
    WrongAnswerError,
    concerns_erp,
    is_definite,
)
from closedwon.erp.refusals import UNPROVEN, Call
from closedwon.errors import AttentionReason
from closedwon.streaks import WHILE

_REFUSED = ErpAuthFailedError("x: GET /orders answered 401", hint="Check the token.")
_OFF = UnusableAnswerError("x: off the contract", reason=AttentionReason.CONFIGURATION)


def _end_with(error: Exception | None) -> None:
    if error is not None:
        raise error


class _Worker:
    """One process before an ERP, on a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.contact = Contact(lambda: self.now)

    def meets(self, error: Exception | None, call: Call = "look") -> Exception | None:
        """What a call ends with if the ERP answers so."""
        try:
            with self.contact.call(call):
                _end_with(error)
        except Exception as ended:  # noqa: BLE001 - it is what is looked at
            return ended
        return None

    def lets_pass(self, time: timedelta) -> None:
        self.now += time.total_seconds()


@pytest.mark.parametrize("refusal", [_REFUSED, _OFF])
def test_what_has_worked_is_tried_again_for_a_while(refusal: Exception) -> None:
    """From the first refusal on, whichever order meets the next ones; then the refusal is final."""
    worker = _Worker()
    worker.meets(None)
    for _ in range(15):
        assert isinstance(worker.meets(refusal), RefusedForNowError)
        worker.lets_pass(WHILE / 15)
    assert refusal is worker.meets(refusal)


def test_what_has_never_worked_needs_a_person_at_once() -> None:
    """A wrong token in new settings."""
    assert _REFUSED is _Worker().meets(_REFUSED)


def test_a_right_that_was_never_used_is_tried_again_for_a_minute() -> None:
    """Looks work, but the ERP's user may not create: most probably it never could."""
    worker = _Worker()
    worker.meets(None)
    assert isinstance(worker.meets(_REFUSED, "create"), RefusedForNowError)
    worker.lets_pass(UNPROVEN)
    assert _REFUSED is worker.meets(_REFUSED, "create")


def test_an_answer_off_the_contract_needs_a_person_unless_the_same_call_has_worked() -> None:
    """A facade that looks up right and has never created anything is wrong, and not being deployed."""
    worker = _Worker()
    worker.meets(None)
    assert _OFF is worker.meets(_OFF, "create")


@pytest.mark.parametrize("answer", [None, RejectedError("no such product")])
def test_a_success_or_a_business_reason_ends_it(answer: Exception | None) -> None:
    """Both show that credential and path are good; the next refusal is a new one."""
    worker = _Worker()
    worker.meets(None)
    worker.meets(_REFUSED)
    worker.lets_pass(WHILE)
    worker.meets(answer)
    assert isinstance(worker.meets(_REFUSED), RefusedForNowError)


def test_the_success_of_another_call_ends_nothing() -> None:
    """Looks that work must not hide that every creation is refused."""
    worker = _Worker()
    worker.meets(None)
    worker.meets(_REFUSED, "create")
    worker.lets_pass(UNPROVEN)
    worker.meets(None)
    assert _REFUSED is worker.meets(_REFUSED, "create")


def test_a_refusal_of_long_ago_does_not_count() -> None:
    """The order that met it was cancelled, and no other one has called since."""
    worker = _Worker()
    worker.meets(None)
    worker.meets(_REFUSED)
    worker.lets_pass(2 * WHILE)
    assert isinstance(worker.meets(_REFUSED), RefusedForNowError)


def test_a_refusal_shows_neither_that_the_erp_works_nor_that_it_is_away() -> None:
    """A proxy answers 404 for a dead ERP: for the breaker, it is like a 503."""
    worker = _Worker()
    worker.contact.failed()
    worker.meets(_REFUSED)
    assert (0, None) == (worker.contact.failures, worker.contact.reached_at)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (_REFUSED, True),
        (_OFF, True),
        (RejectedError("x", reason=AttentionReason.CONFIGURATION), True),
        (RejectedError("x"), False),
        (TooLargeForErpError("x", "413"), False),
        (WrongAnswerError("x", "the look-up", "is another's"), False),
    ],
)
def test_which_refusals_concern_the_erp(error: Exception, *, expected: bool) -> None:
    """Credential, right, address and contract; not the order's own content."""
    assert expected is concerns_erp(error)


def test_a_refusal_for_now_is_as_definite_as_the_refusal() -> None:
    """A 401 has no later effect; an answer off the contract says nothing about the write."""
    now = timedelta(minutes=1)
    assert is_definite(RefusedForNowError(_REFUSED, now))
    assert not is_definite(RefusedForNowError(_OFF, now))
