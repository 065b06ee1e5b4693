"""Run the checks, delete what they created, and report; also after Ctrl-C, which ends the run between two awaits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from closedwon.certify.check import CertificationCheck, outcome_of
from closedwon.certify.org import pushes, reading
from closedwon.certify.org.bench import DEAL, OrgBench, OrgPlan, UnfitOrgError
from closedwon.certify.org.cleaning import REMAINS, LeftRecord, clean_up
from closedwon.certify.report import CheckOutcome, Report, Result
from closedwon.tasks import pause

CHECKS: Final[tuple[CertificationCheck[OrgBench], ...]] = (*reading.ALL, *pushes.ALL)
"""In the order in which they run."""

_T = TypeVar("_T")
OnProgress = Callable[[CertificationCheck[OrgBench] | None, Result | None], None]
"""Called with each check that begins, and with each result; with two times None when the cleaning begins."""


class OrgReport(Report):
    """The complete result for an org."""

    org: str
    id: str
    about: str
    """The kind of org, and who won the deals."""
    route: str
    interrupted: bool
    deleted: int
    """Test deals that are gone."""
    left: tuple[LeftRecord, ...]
    remains: tuple[str, ...]
    """What no one can delete: sentences."""


def no_progress(_check: CertificationCheck[OrgBench] | None, _result: Result | None) -> None:
    """Show nothing."""


async def certify(plan: OrgPlan, *, only: Sequence[str] = (), on_progress: OnProgress = no_progress) -> OrgReport:
    """Run all checks, or `only` the named ones, and delete what they have created.

    A first cancellation ends the checks, not the cleaning, also if it comes during the cleaning; the report then says
    `interrupted`. A second one ends all. Raises `UnfitOrgError` and the
    errors of `closedwon.salesforce.errors` if the person's token or the org is not fit; nothing was created then.
    """
    if plan.route.object != DEAL:
        raise UnfitOrgError(
            f"route {plan.route.name} is about {plan.route.object}; only routes about {DEAL} are checked"
        )
    checks = [each for each in CHECKS if each.name in only or not only]
    results: list[Result] = []
    bench, interrupted = OrgBench(plan), False
    try:
        await bench.meet()
        try:
            await _run(bench, checks, results, on_progress)
        except asyncio.CancelledError:
            interrupted = True
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
        finally:
            on_progress(None, None)
            (deleted, left), was_cancelled = await _to_the_end(clean_up(bench), forgives=not interrupted)
            interrupted |= was_cancelled
    finally:
        await bench.close()
    return OrgReport(
        started_at=bench.started_at,
        checks=tuple(results),
        partial=len(results) < len(CHECKS),
        org=plan.org.name,
        id=plan.org.id,
        about=bench.about,
        route=plan.route.name,
        interrupted=interrupted,
        deleted=deleted,
        left=tuple(left),
        remains=REMAINS if bench.deals else (),
    )


async def _to_the_end(work: Coroutine[Any, Any, _T], *, forgives: bool) -> tuple[_T, bool]:
    """The result of `work`, and whether a cancellation came meanwhile: if it `forgives`, a first one is survived."""
    running = asyncio.ensure_future(work)
    try:
        if not forgives:
            return await running, False
        try:
            return await asyncio.shield(running), False
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
            return await running, True
    finally:
        running.cancel()


async def _run(
    bench: OrgBench, checks: Sequence[CertificationCheck[OrgBench]], results: list[Result], on_progress: OnProgress
) -> None:
    for each in checks:
        on_progress(each, None)
        result = await outcome_of(each, bench)
        await pause(0)  # the call that an interruption has ended may have kept it to itself, and the check then failed
        on_progress(each, result)
        results.append(result)
        if each.is_dangerous and result.outcome is CheckOutcome.FAILED:
            break
