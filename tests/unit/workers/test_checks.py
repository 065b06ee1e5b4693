"""The rounds of the safety checks, without Temporal: what breaks, and what comes side by side."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, cast

import pytest
from temporalio.client import Client
from temporalio.common import MetricMeter
from temporalio.service import RPCError, RPCStatusCode

from activities.holds import HeldError, Holds
from closedwon.errors import AttentionError, AttentionReason, DoubtfulError, RetryError
from closedwon.telemetry.metrics import Metrics
from workers.checks import Checks, checking
from workers.running_checks import RunningCheck


class _Temporal:
    """A Temporal that answers no request with anything but `error`; without one it takes every report."""

    identity = "a test"

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    def get_workflow_handle(self, _workflow_id: str) -> _Temporal:
        return self

    async def signal(self, _name: str) -> None:
        await asyncio.sleep(0)
        if self._error is not None:
            raise self._error

    async def start_workflow(self, *_arguments: object, **_options: object) -> None:
        await self.signal("")

    async def describe(self) -> None:
        raise self._error or RPCError("not found", RPCStatusCode.NOT_FOUND, b"")


def _checks(
    run: Callable[[], Awaitable[object]],
    error: Exception | None,
    *,
    holds: Holds | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Checks:
    client = cast("Client", cast("Any", _Temporal(error)))
    check = RunningCheck("erp", None, "stub", run)
    return Checks(client, [(check,)], holds or Holds(), Metrics(MetricMeter.noop), clock=clock)


_OUTAGE = RPCError("unavailable", RPCStatusCode.UNAVAILABLE, b"")


async def test_a_round_and_a_recheck_of_one_erp_come_one_after_the_other() -> None:
    """Neither breaks the other, also while Temporal takes no report."""
    running = most = 0

    async def run() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    checks = _checks(run, _OUTAGE)
    await asyncio.gather(checks.round(), checks.recheck_erp("stub"))
    assert 1 == most
    assert not checks.all_is_known


@pytest.mark.parametrize("error", [_OUTAGE, KeyError("a mistake of ours")])
async def test_rounds_go_on_after_one_that_breaks(error: Exception) -> None:
    """Otherwise what is held once would be held until a restart."""
    runs: asyncio.Queue[None] = asyncio.Queue()

    async def run() -> None:
        runs.put_nowait(None)

    async def at_once(_time: timedelta) -> None:
        await asyncio.sleep(0)

    async with asyncio.timeout(10), checking(_checks(run, error), wait=at_once):
        for _ in range(3):
            await runs.get()


async def test_rounds_go_on_after_a_break_outside_of_any_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the mistake is."""
    rounds: asyncio.Queue[None] = asyncio.Queue()

    async def broken() -> None:
        rounds.put_nowait(None)
        if rounds.qsize() > 1 or broken_once:
            raise KeyError("a mistake of ours")
        broken_once.append(True)

    broken_once: list[bool] = []

    async def at_once(_time: timedelta) -> None:
        await asyncio.sleep(0)

    async def passes() -> None: ...

    checks = _checks(passes, _OUTAGE)
    monkeypatch.setattr(checks, "round", broken)
    async with asyncio.timeout(10), checking(checks, wait=at_once):
        for _ in range(3):
            await rounds.get()


async def test_what_a_recheck_holds_between_two_rounds_is_checked_again_soon() -> None:
    """Its orders go on some seconds after the cause is gone, not after the pause of a quarter of an hour."""
    is_wrong = False
    pauses: asyncio.Queue[tuple[timedelta, asyncio.Event]] = asyncio.Queue()

    async def run() -> None:
        if is_wrong:
            raise AttentionError("stub: 401", reason=AttentionReason.CONFIGURATION, hint="Check the token.")

    async def wait(time: timedelta) -> None:
        over = asyncio.Event()
        pauses.put_nowait((time, over))
        await over.wait()

    checks = _checks(run, None)
    async with asyncio.timeout(10), checking(checks, wait=wait):
        assert timedelta(minutes=15) == (await pauses.get())[0]
        is_wrong = True
        await checks.recheck_erp("stub")
        for seconds in (10, 20):
            pause, over = await pauses.get()
            assert timedelta(seconds=seconds) == pause
            over.set()
        is_wrong = False
        pause, over = await pauses.get()
        over.set()
        assert timedelta(minutes=15) == (await pauses.get())[0]


class _Doubted:
    """A check that is refused so that it may end by itself, and a clock that a test advances."""

    def __init__(self) -> None:
        self.now = 0.0
        self.error: Exception | None = DoubtfulError(
            AttentionError("HTTP 404", reason=AttentionReason.CONFIGURATION, hint="Check the address.")
        )
        self.holds = Holds()
        self.checks = _checks(self._run, None, holds=self.holds, clock=lambda: self.now)

    async def _run(self) -> None:
        if self.error is not None:
            raise self.error

    async def round(self, at_minute: float) -> bool:
        """Make a round; return whether orders are held after it."""
        self.now = 60 * at_minute
        await self.checks.round()
        try:
            self.holds.check_erp("stub")
        except HeldError as error:
            assert "HTTP 404" in str(error)  # noqa: PT017 - it is one of two outcomes
            return True
        return False


async def test_a_refusal_that_may_end_by_itself_holds_after_ten_minutes() -> None:
    """Before the 15 minutes of an order are over; until then the result is unknown, and the check is repeated soon."""
    there = _Doubted()
    assert [False, False, True] == [await there.round(minute) for minute in (0, 9, 10)]
    there.error = None
    assert not await there.round(11)


async def test_a_refusal_that_ends_for_a_moment_begins_again() -> None:
    """A doubt of an hour ago is over; an outage in between says nothing of it, for or against."""
    there = _Doubted()
    refusal = there.error
    assert not await there.round(0)
    there.error = RetryError("no answer")
    assert not await there.round(11)
    there.error = refusal
    assert await there.round(12)
    there.error = None
    assert not await there.round(13)
    there.error = refusal
    assert [False, True] == [await there.round(minute) for minute in (14, 24)]
