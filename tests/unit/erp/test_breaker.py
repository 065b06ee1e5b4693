"""The rules by which workers limit the queue of an ERP that none of them can connect to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from closedwon.erp.breaker import PROBE, STEPS, Change, Entry, Pace, Phase, next_change
from closedwon.erp.contact import Contact
from closedwon.erp.errors import BusyError, RejectedError, UnknownError, UnreachableError

_DECISION = Path("docs/decisions/0030-workers-agree-on-a-breaker-without-a-process-that-decides.md")
_PACE = Pace()
_WORDS = {10: "ten"}
_SUSPECTED = Entry(None, "suspected: a worker cannot connect", "worker-1")
_DENIED = Entry(None, "denied: another worker reaches the ERP", "worker-2")
_PROBING = Entry(PROBE, "no worker can connect to the ERP", "worker-1")


class _Worker:
    """What one worker sees, on a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100_000.0
        self.contact = Contact(lambda: self.now)

    def fails(self, seconds: float, calls: int = 20) -> None:
        """Only failures for some time, the first and the last call at its ends."""
        for _ in range(calls - 1):
            self.contact.failed()
            self.now += seconds / (calls - 1)
        self.contact.failed()

    def reaches(self) -> None:
        self.contact.reached()
        self.now += 0.1

    def next(self, entry: Entry, seen_for: float = 0) -> Change | None:
        return next_change(entry, seen_for, self.contact, self.now, _PACE)

    def writes(self, entry: Entry, seen_for: float = 0) -> Phase | None:
        """The phase of what it writes."""
        change = self.next(entry, seen_for)
        return None if change is None else Entry(change.limit, change.text).phase


def _failing() -> _Worker:
    worker = _Worker()
    worker.fails(_PACE.fails_for + 1)
    return worker


def test_a_worker_that_cannot_connect_for_a_while_suspects_the_erp() -> None:
    """By itself it does no more."""
    assert Phase.SUSPECTED is _failing().writes(Entry())


@pytest.mark.parametrize(("seconds", "calls"), [(_PACE.fails_for - 1, 20), (_PACE.fails_for, _PACE.failures - 1)])
def test_a_short_time_or_a_few_failures_are_not_enough(seconds: float, calls: int) -> None:
    """An ERP that is restarted, or a few orders that wait, change nothing."""
    worker = _Worker()
    worker.fails(seconds, calls)
    assert worker.writes(Entry()) is None


def test_failures_of_long_ago_say_nothing() -> None:
    """The worker had no call since."""
    worker = _failing()
    worker.now += _PACE.recently + 1
    assert worker.writes(Entry()) is None


@pytest.mark.parametrize("answer", ["answered", "reached"])
def test_one_call_that_finds_a_connection_ends_a_row_of_failures(answer: str) -> None:
    """All calls must fail."""
    worker = _failing()
    getattr(worker.contact, answer)()
    worker.contact.failed()
    assert worker.writes(Entry()) is None


def test_a_worker_that_reaches_the_erp_denies_the_suspicion() -> None:
    """The network of the other one is cut."""
    worker = _Worker()
    worker.reaches()
    assert Phase.DENIED is worker.writes(_SUSPECTED, seen_for=1)


def test_a_success_before_the_suspicion_denies_nothing() -> None:
    """The ERP may have died since."""
    worker = _Worker()
    worker.reaches()
    assert worker.writes(_SUSPECTED) is None


def test_a_success_at_the_moment_of_the_suspicion_denies_nothing() -> None:
    """Which of both came first is not known."""
    worker = _Worker()
    worker.contact.reached()
    assert worker.writes(_SUSPECTED) is None


def test_a_worker_whose_last_call_failed_denies_nothing() -> None:
    """It has reached the ERP since the suspicion, and cannot any more."""
    worker = _Worker()
    worker.reaches()
    worker.contact.failed()
    assert worker.writes(_SUSPECTED, seen_for=1) is None


def test_what_no_worker_denies_in_time_limits_the_queue() -> None:
    """One attempt in ten seconds."""
    worker = _failing()
    assert worker.writes(_SUSPECTED, seen_for=_PACE.objection - 1) is None
    change = worker.next(_SUSPECTED, seen_for=_PACE.objection)
    assert change is not None
    assert PROBE == change.limit


def test_a_worker_without_failures_does_not_limit_the_queue() -> None:
    """Nor one that had no call at all."""
    assert _Worker().writes(_SUSPECTED, seen_for=3600) is None


def test_an_old_suspicion_is_asked_about_again() -> None:
    """The worker that wrote it is gone; those that run now have had no time to deny it."""
    assert Phase.SUSPECTED is _failing().writes(_SUSPECTED, seen_for=3600)


def test_after_a_denial_the_others_are_left_alone_for_a_while() -> None:
    """A worker with a cut network asks about once a minute."""
    worker = _failing()
    assert worker.writes(_DENIED, seen_for=_PACE.rest - 1) is None
    assert Phase.SUSPECTED is worker.writes(_DENIED, seen_for=_PACE.rest)


def test_the_queue_opens_in_steps() -> None:
    """Each with a success, and for some time; the first one at once."""
    limits: list[float | None] = []
    worker, entry = _Worker(), _PROBING
    while entry.limit is not None:
        worker.reaches()
        change = worker.next(entry, seen_for=1)
        if limits:
            assert change is None
            change = worker.next(entry, seen_for=_PACE.step)
        assert change is not None
        entry = Entry(change.limit, change.text)
        limits.append(entry.limit)
    assert [*STEPS, None] == limits
    assert Phase.OPEN is entry.phase


def test_while_the_erp_is_probed_a_failure_changes_nothing() -> None:
    """Nor does an answer that does not show that the ERP works."""
    worker = _failing()
    assert worker.writes(_PROBING, seen_for=3600) is None
    worker.contact.answered()
    assert worker.writes(_PROBING, seen_for=3600) is None


def test_a_step_in_which_all_fails_goes_back() -> None:
    """Only after a time in which any worker that reaches the ERP would have gone on."""
    long_enough = 2 * _PACE.step + _PACE.objection
    worker = _Worker()
    worker.fails(1, calls=2)
    step = Entry(STEPS[0], "steps")
    assert worker.writes(step, seen_for=long_enough - 1) is None
    assert Phase.PROBING is worker.writes(step, seen_for=long_enough)
    assert _Worker().writes(step, seen_for=3600) is None  # no calls: nothing is known


def _answered(worker: _Worker) -> None:
    worker.contact.failed()
    worker.contact.answered()


def _failed_before(worker: _Worker) -> None:
    worker.contact.failed()
    worker.now += 7200


def _reached_meanwhile(worker: _Worker) -> None:
    worker.reaches()
    worker.contact.failed()


@pytest.mark.parametrize("sees", [_answered, _failed_before, _reached_meanwhile])
def test_a_step_goes_back_for_nothing_but_failures_within_it(sees: Callable[[_Worker], None]) -> None:
    """An answer of any kind, failures of the time before, and a success that another one followed do not count."""
    worker = _Worker()
    sees(worker)
    assert worker.writes(Entry(STEPS[0], "steps"), seen_for=3600) is None


def test_a_step_goes_back_although_the_erp_was_reached_before_it() -> None:
    """It has died again."""
    worker = _Worker()
    worker.reaches()
    worker.now += 3600
    worker.contact.failed()
    assert Phase.PROBING is worker.writes(Entry(STEPS[0], "steps"), seen_for=3600)


@pytest.mark.parametrize(
    "sentence",
    [
        f"fails for {_PACE.fails_for} seconds and {_WORDS[_PACE.failures]} calls",
        f"not denied for {_PACE.objection} seconds",
        f"becomes a limit of one attempt every {_WORDS[round(1 / PROBE)]} seconds",
        f"in steps of {_PACE.step} seconds: {', '.join(f'{step:g}' for step in STEPS)} a second, no limit",
        f"one request per ERP every {_PACE.look} seconds",
    ],
)
def test_the_times_are_those_of_the_decision(sentence: str) -> None:
    """Operators plan by them, and so do the computed costs of an outage."""
    assert sentence in _DECISION.read_text(encoding="utf-8")


def test_a_limit_is_read_as_temporal_keeps_it() -> None:
    """In single precision."""
    assert Phase.PROBING is Entry(0.10000000149011612).phase
    assert Phase.PROBING is Entry(PROBE / 2).phase
    assert Phase.STEP is Entry(STEPS[0]).phase
    assert ["not reached", "reopening, at most 5/s", ""] == [Entry(one).status for one in (PROBE, 5.0, None)]


def test_equal_entries_of_different_times_are_two() -> None:
    """The same sentence, written again, begins a new time."""
    assert Entry(since=datetime(2026, 12, 1, tzinfo=UTC)) != Entry(since=datetime(2026, 12, 2, tzinfo=UTC))


@pytest.mark.parametrize(
    ("error", "failures", "is_reached"),
    [
        (UnreachableError("refused"), 2, False),
        (UnknownError("500"), 0, False),
        (BusyError("503", retry_after=None, may_have_happened=True), 0, False),
        (RejectedError("no such product"), 0, True),
        (None, 0, True),
    ],
)
def test_what_a_call_says_about_the_connection(error: Exception | None, failures: int, *, is_reached: bool) -> None:
    """A refusal of the order shows that the ERP works; a 5xx shows only that something listens."""
    contact = Contact()
    contact.failed()

    def call() -> None:
        with contact.call("create"):
            if error is not None:
                raise error

    if error is None:
        call()
    else:
        with pytest.raises(type(error)):
            call()
    assert (failures, is_reached) == (contact.failures, contact.reached_at is not None)
