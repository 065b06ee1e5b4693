"""What an attempt knows of itself and of the one before it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from temporalio.client import AsyncActivityCancelledError, Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import ActivityEnvironment

from activities import attempts
from activities.attempts import Attempt, ask_temporal
from activities.heartbeats import HEARTBEAT_TIMEOUT
from closedwon.erp.errors import LostAttemptError

SCHEDULED = datetime(2026, 11, 3, 9, 0, tzinfo=UTC)
EARLIER = SCHEDULED - timedelta(minutes=5)


def environment(
    *,
    attempt: int = 1,
    details: tuple[Any, ...] = (),
    started: datetime | None = None,
    first_scheduled: datetime = SCHEDULED,
) -> ActivityEnvironment:
    """An attempt that Temporal has begun now, or at `started`."""
    surroundings = ActivityEnvironment()
    surroundings.info = replace(
        surroundings.info,
        attempt=attempt,
        heartbeat_details=details,
        scheduled_time=first_scheduled,
        current_attempt_scheduled_time=SCHEDULED,
        started_time=started or datetime.now(UTC),
    )
    return surroundings


def ended(attempt: int, in_doubt_since: datetime | None = None, **fields: Any) -> tuple[dict[str, Any]]:
    """What an attempt has stated at its end."""
    since = in_doubt_since.isoformat() if in_doubt_since else None
    return ({"attempt": attempt, "ended": True, "in_doubt_since": since} | fields,)


@pytest.mark.parametrize(
    ("attempt", "details", "expected"),
    [
        (1, (), None),
        (2, ended(1), None),
        (2, ended(1, EARLIER), EARLIER),
        (2, (), SCHEDULED),
        (2, ("something else",), SCHEDULED),
        (3, ended(1), SCHEDULED),
        (3, ended(1, EARLIER), SCHEDULED),
        (3, ended(2), None),
        (3, ended(3), SCHEDULED),
        (2, ended(1, ended=False), SCHEDULED),
        (2, ({"attempt": 1, "ended": True},), SCHEDULED),
    ],
)
def test_only_the_statement_of_the_attempt_before_is_believed(
    attempt: int, details: tuple[Any, ...], expected: datetime | None
) -> None:
    """No statement, or one of an older attempt, counts as doubt since this attempt was scheduled."""
    assert expected == environment(attempt=attempt, details=details).run(lambda: Attempt().in_doubt_since)


@pytest.mark.parametrize("off", [timedelta(hours=1), timedelta(hours=-1), timedelta(minutes=-2)])
def test_r6_a_doubt_begins_by_temporals_clock(off: timedelta) -> None:
    """The time until which it lasts is compared with Temporal's: behind it, no one would wait for the late effect."""
    started = datetime.now(UTC) - off

    def doubt() -> datetime | None:
        attempt = Attempt()
        attempt.unanswered()
        return attempt.in_doubt_since

    since = environment(started=started).run(doubt)
    assert since is not None
    assert started <= since < started + timedelta(minutes=1)


def test_a_doubt_does_not_begin_before_a_busy_worker_has_begun_the_attempt() -> None:
    """Temporal gave the attempt out some seconds earlier: by that the in-doubt time would be over too soon."""

    def doubt() -> datetime | None:
        attempt = Attempt()
        attempt.unanswered()
        return attempt.in_doubt_since

    now = datetime.now(UTC)
    since = environment(started=now - timedelta(seconds=20)).run(doubt)
    assert since is not None
    assert now <= since


@pytest.mark.parametrize("details", [(), ended(1), ended(4)])
def test_after_a_reset_of_the_activity_nothing_is_believed(details: tuple[Any, ...]) -> None:
    """Temporal counts from 1 again, so the attempt directly before is not known: it may have written."""
    reset = environment(details=details, first_scheduled=EARLIER)
    assert SCHEDULED == reset.run(lambda: Attempt().in_doubt_since)


@pytest.mark.parametrize("doubt", [True, False])
def test_what_is_stated_at_the_end_is_what_the_next_attempt_reads(doubt: bool) -> None:  # noqa: FBT001
    """A write without an answer is carried on; an attempt without one says that there is none."""
    stated: list[Any] = []
    first = environment()
    first.on_heartbeat = lambda *details: stated.extend(details)

    def fail() -> datetime | None:
        attempt = Attempt()
        if doubt:
            attempt.unanswered()
        attempt.record_end()
        return attempt.in_doubt_since

    since = first.run(fail)

    assert doubt is (since is not None)
    assert since == environment(attempt=2, details=tuple(stated)).run(lambda: Attempt().in_doubt_since)


@pytest.mark.parametrize(
    ("age", "asked"),
    [
        (timedelta(0), 0),
        (HEARTBEAT_TIMEOUT / 2 - timedelta(seconds=2), 0),
        (HEARTBEAT_TIMEOUT / 2 + timedelta(seconds=1), 1),
        (timedelta(days=1), 1),
    ],
)
async def test_an_old_proof_is_renewed_before_a_write_and_a_young_one_is_not(age: timedelta, asked: int) -> None:
    """The first proof is the start of the attempt by Temporal's clock: a task may lie about in a paused worker."""
    proofs: list[None] = []

    async def prove() -> None:
        proofs.append(None)

    async def write_twice() -> None:
        attempt = Attempt(prove)
        await attempt.before_write()
        await attempt.before_write()

    await environment(started=datetime.now(UTC) - age).run(write_twice)

    assert asked == len(proofs)


async def test_a_failed_proof_prevents_the_write() -> None:
    """The write is not sent, and the next one is not either."""

    async def prove() -> None:
        raise LostAttemptError("lost")

    async def write_twice() -> None:
        attempt = Attempt(prove)
        for _ in range(2):
            with pytest.raises(LostAttemptError):
                await attempt.before_write()

    await environment(started=datetime.now(UTC) - timedelta(minutes=1)).run(write_twice)


class Clocks:
    """The two clocks of a worker, as far ahead as a test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monotonic, self.wall = 100.0, SCHEDULED
        monkeypatch.setattr("activities.attempts.time.monotonic", lambda: self.monotonic)
        monkeypatch.setattr(attempts, "datetime", self)

    def now(self, _zone: object) -> datetime:
        return self.wall


@pytest.mark.parametrize(
    ("monotonic", "wall", "is_old"),
    [
        (0, 0, False),
        (10, 10, False),
        (10.001, 0, True),
        (0, 10.001, True),
        (0, -3600, False),
        (11, -3600, True),
    ],
)
def test_an_old_look_is_made_again(
    monkeypatch: pytest.MonkeyPatch, monotonic: float, wall: float, *, is_old: bool
) -> None:
    """Older than the heartbeat timeout by either clock: one stops while a machine sleeps, the other can be set back."""
    clocks = Clocks(monkeypatch)

    def look_and_wait() -> tuple[bool, bool]:
        attempt = Attempt()
        before = attempt.needs_new_look()
        attempt.looked()
        clocks.monotonic += monotonic
        clocks.wall += timedelta(seconds=wall)
        return before, attempt.needs_new_look()

    assert (False, is_old) == environment(started=SCHEDULED).run(look_and_wait)


@pytest.mark.parametrize(("waited", "asked"), [(5.0, 0), (5.001, 1)])
async def test_a_proof_lasts_for_half_the_heartbeat_timeout(
    monkeypatch: pytest.MonkeyPatch, waited: float, asked: int
) -> None:
    """Counted from before Temporal was asked: its answer may have been long on its way."""
    clocks, proofs = Clocks(monkeypatch), list[None]()

    async def prove() -> None:
        proofs.append(None)
        clocks.monotonic += 3

    async def write() -> list[int]:
        attempt = Attempt(prove)
        clocks.monotonic += waited
        await attempt.before_write()
        first = len(proofs)
        clocks.monotonic += 2.001  # with the three of the answer: beyond the half
        await attempt.before_write()
        return [first, len(proofs)]

    assert [asked, asked + 1] == await environment(started=SCHEDULED).run(write)


class Temporal:
    """Answers a heartbeat, or does not."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error
        self.timeouts: list[timedelta] = []

    def get_async_activity_handle(self, *, task_token: bytes) -> Temporal:
        assert b"test" == task_token
        return self

    async def heartbeat(self, *, rpc_timeout: timedelta) -> None:
        self.timeouts.append(rpc_timeout)
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize(
    ("error", "is_ours"),
    [
        (None, True),
        (AsyncActivityCancelledError(None), True),
        (RPCError("gone", RPCStatusCode.NOT_FOUND, b""), False),
        (RPCError("away", RPCStatusCode.UNAVAILABLE, b""), False),
    ],
)
async def test_n1_an_attempt_is_ours_only_if_temporal_says_so(error: Exception | None, *, is_ours: bool) -> None:
    """A stop that is asked for is an answer, too; no answer within half the heartbeat timeout is none."""
    temporal = Temporal(error)
    surroundings = ActivityEnvironment(cast("Client", temporal))
    if is_ours:
        await surroundings.run(ask_temporal)
    else:
        with pytest.raises(LostAttemptError, match=r"attempt 1 still counts \((NOT_FOUND|UNAVAILABLE)\); nothing was"):
            await surroundings.run(ask_temporal)
    assert [HEARTBEAT_TIMEOUT / 2] == temporal.timeouts == [timedelta(seconds=5)]
