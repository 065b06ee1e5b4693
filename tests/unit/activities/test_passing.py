"""What one order meets and may pass by itself."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import timedelta

import pytest
from temporalio.testing import ActivityEnvironment

from activities import passing
from activities.holds import HeldError, Holds
from activities.passing import NotHereError, RefusalsOfErp, UnexplainedError, not_here
from closedwon.erp.errors import ErpAuthFailedError, RefusedForNowError, RejectedError, UnknownError
from closedwon.errors import AttentionError, AttentionReason
from closedwon.model.checks import FailedCheck
from closedwon.streaks import WHILE, Streaks

_REFUSED = ErpAuthFailedError("stub: 401", hint="Check the token.")
_FOR_NOW = RefusedForNowError(_REFUSED, timedelta(minutes=15))
_PAGE = RejectedError("stub: the ERP refuses with 400: no reason given", is_explained=False)


class _Process:
    """A process with a clock that a test moves."""

    def __init__(self) -> None:
        self.now, self.checks = 0.0, 0
        self.holds = Holds()
        self.holds.erp_in_doubt = self._check
        self.refusals = RefusalsOfErp(self.holds, Streaks(lambda: self.now))
        self.is_wrong = False

    async def _check(self, erp: str) -> None:
        self.checks += 1
        if self.is_wrong:
            failed = FailedCheck(check="erp", subject=erp, erp=erp, reason=_REFUSED.reason, text="401", hint="")
            self.holds.hold_erp(erp, failed)

    def waits(self, time: timedelta) -> None:
        self.now += time.total_seconds()

    async def meets(self, error: Exception | None) -> Exception | None:
        async def call() -> None:
            async with self.refusals.passing("stub"):
                if error is not None:
                    raise error

        return await _outcome(call)


async def _outcome(call: Callable[[], Coroutine[None, None, None]]) -> Exception | None:
    try:
        await ActivityEnvironment().run(call)
    except Exception as error:  # noqa: BLE001 - it is what is looked at
        return error
    return None


@pytest.mark.parametrize(("error", "kind"), [(_FOR_NOW, RefusedForNowError), (_PAGE, UnexplainedError)])
async def test_an_order_that_waited_for_days_has_a_while_of_its_own(error: Exception, kind: type[Exception]) -> None:
    """It begins when the order first meets the refusal; then a person is asked, even if other orders succeed."""
    process = _Process()
    for _ in range(3):
        assert isinstance(await process.meets(error), kind)
        process.waits(WHILE / 3)
    assert (error.refusal if isinstance(error, RefusedForNowError) else error) is await process.meets(error)


async def test_a_refusal_without_a_reason_is_tried_again_soon() -> None:
    """However long the route's intervals are: what is met after hours only is taken for a new trouble each time."""
    process = _Process()
    for left, pause in [(WHILE, timedelta(minutes=1)), (timedelta(seconds=20), timedelta(seconds=20))]:
        process.waits(timedelta(0) if left == WHILE else WHILE - left)
        error = await process.meets(_PAGE)
        assert isinstance(error, UnexplainedError)
        assert pause == error.retry_after


async def test_a_success_ends_the_while() -> None:
    """The next refusal is a new one."""
    process = _Process()
    await process.meets(_FOR_NOW)
    process.waits(WHILE)
    assert await process.meets(None) is None
    assert _FOR_NOW is await process.meets(_FOR_NOW)


async def test_an_erp_that_refuses_its_check_too_is_held() -> None:
    """The order waits with all the others."""
    process = _Process()
    process.is_wrong = True
    assert isinstance(await process.meets(_REFUSED), HeldError)


async def test_a_refusal_that_the_check_does_not_see_needs_a_person() -> None:
    """Looks work, the ERP's user may not create."""
    process = _Process()
    assert _REFUSED is await process.meets(_REFUSED)
    assert 1 == process.checks


@pytest.mark.parametrize("error", [RejectedError("no such product"), UnknownError("no answer")])
async def test_other_errors_are_as_they_are(error: Exception) -> None:
    """A business reason and an outage concern neither the check nor the while."""
    process = _Process()
    assert error is await process.meets(error)
    assert 0 == process.checks


async def test_a_name_that_this_worker_does_not_know_is_looked_for_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a while; then it is nowhere, and a person is asked."""
    now = 0.0
    monkeypatch.setattr(passing, "_STREAKS", Streaks(lambda: now))

    async def ask() -> None:
        raise not_here("ERP", "new", "erps")

    meanwhile = await _outcome(ask)
    assert isinstance(meanwhile, NotHereError)
    assert timedelta(minutes=1) == meanwhile.retry_after
    now = WHILE.total_seconds()
    error = await _outcome(ask)
    assert isinstance(error, AttentionError)
    assert AttentionReason.CONFIGURATION is error.reason
    assert "`erps`" in error.hint
