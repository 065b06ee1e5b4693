"""Running the checks, tidying up, and reporting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from time import monotonic
from typing import Final

from closedwon.certify import content, faults, lookups, orders
from closedwon.certify.bench import TEST_ORG, Bench, FailedError, NotOfferedError, Plan
from closedwon.certify.check import Check
from closedwon.certify.lookups import by_hand, timings
from closedwon.certify.proxy import Proxy
from closedwon.certify.report import Left, Outcome, Report, Result
from closedwon.erp import open_erp
from closedwon.erp.base import cancel_order
from closedwon.erp.comparing import other_customer
from closedwon.erp.errors import AuthFailedError, RejectedError, UnknownError, UnreachableError
from closedwon.errors import AttentionReason, ClosedwonError
from closedwon.model import ErpOrder, ErpStatus, Order
from closedwon.settings import RestErp, TrytonErp

CHECKS: Final = (*orders.ALL, *content.ALL, *faults.ALL, *lookups.ALL[:-1], by_hand, lookups.ALL[-1])
"""In the order in which they run: time is last."""
_LONGEST: Final = timedelta(minutes=10)
"""Of one check."""
_TRIES: Final = 2
"""To cancel an order in the end; what resists is named in the report."""

OnProgress = Callable[[Check | None, Result | None], None]
"""Called with each check that begins, and with each result; with neither, when tidying up begins."""


class UnfitPlanError(ClosedwonError):
    """The ERP refuses an order with the products, the customer or the currency of the plan."""

    def __init__(self, refusal: RejectedError) -> None:
        """`refusal` is of a test order, so it holds no customer data."""
        super().__init__(
            f"The ERP refuses the first test order: {refusal}. Name products, a customer and a currency that it has "
            "(--product, --customer, --currency)"
        )


def no_progress(_check: Check | None, _result: Result | None) -> None:
    """Show nothing."""


async def certify(
    settings: RestErp | TrytonErp, plan: Plan, *, only: Sequence[str] = (), on_progress: OnProgress = no_progress
) -> Report:
    """Run the checks, or `only` those named, against the ERP; cancel what they have made.

    Raises `UnreachableError`, `UnknownError` or `AuthFailedError` when the ERP cannot be asked at all, and
    `UnfitPlanError` when it refuses the first order; nothing was created then.
    """
    checks = [each for each in CHECKS if (each.name in only or not only) and (each is not by_hand or plan.by_hand)]
    async with Proxy.running(settings.url, settings.timeout + timedelta(minutes=2)) as proxy:
        bench = Bench(plan, settings, open_erp, proxy)
        try:
            await _try_first(bench)
            results = await _run(bench, checks, on_progress)
            on_progress(None, None)
            cancelled, left = await _tidy_up(bench)
        finally:
            await bench.close()
    return Report(
        erp=settings.name,
        kind=settings.kind,
        org=TEST_ORG,
        started_at=bench.started_at,
        timeout_seconds=settings.timeout.total_seconds(),
        checks=tuple(results),
        partial=bool(only) or len(results) < len(checks),
        timings=tuple(timings(bench)),
        cancelled=cancelled,
        left=tuple(left),
    )


async def _try_first(bench: Bench) -> None:
    """Raise what says that nothing can be checked. Anything else is the business of a check."""
    try:
        if await bench.erp.find(bench.unused_key()) is None:
            await bench.sample()
    except RejectedError as error:
        if error.reason in {AttentionReason.UNKNOWN_PRODUCT, AttentionReason.ERP_REJECTED}:
            raise UnfitPlanError(error) from error
    except (AuthFailedError, UnreachableError):
        raise
    except (ClosedwonError, FailedError) as error:
        if isinstance(error, UnknownError) and not bench.keys:
            raise


async def _run(bench: Bench, checks: Sequence[Check], on_progress: OnProgress) -> list[Result]:
    results = []
    for each in checks:
        on_progress(each, None)
        result = await _outcome(bench, each)
        on_progress(each, result)
        results.append(result)
        if each.is_dangerous and result.outcome is Outcome.FAILED:
            break
    return results


async def _outcome(bench: Bench, each: Check) -> Result:
    began, outcome, consequence = monotonic(), Outcome.FAILED, None
    try:
        async with asyncio.timeout(_LONGEST.total_seconds()):
            facts = await each.run(bench)
        outcome = Outcome.OK
    except NotOfferedError as error:
        outcome, facts, consequence = Outcome.NOT_OFFERED, str(error), error.consequence
    except (FailedError, ClosedwonError) as error:
        facts = str(error)
    except TimeoutError:
        facts = f"it has not ended within {_LONGEST.total_seconds():.0f} s"
    return Result(
        name=each.name,
        promise=each.promise,
        outcome=outcome,
        facts=facts,
        consequence=consequence,
        seconds=round(monotonic() - began, 2),
    )


async def _tidy_up(bench: Bench) -> tuple[int, list[Left]]:
    """Cancel what was made; returns how many orders that were, and what could not be cancelled."""
    cancelled, left = 0, []
    for key, order in bench.keys.items():
        found, why = None, None
        try:
            found = await bench.erp.find(key)
            why = await _cancel(bench, order, found) if found else None
        except ClosedwonError as error:
            why = str(error)
        if why is not None:
            left.append(Left(idempotency_key=key, number=found.number if found else None, why=why))
        elif found is not None:
            cancelled += 1
    return cancelled, left


async def _cancel(bench: Bench, order: Order, found: ErpOrder) -> str | None:
    """Cancel the order. Returns why it is left, None if it is not."""
    if other_customer(found, order):  # an ERP that answers wrongly: this may be a real order
        return "it is for another customer"
    if found.status in {ErpStatus.PROCESSING, ErpStatus.DONE}:
        return f"it is {found.status.value}"
    await bench.until_done(lambda: cancel_order(bench.erp, order.idempotency_key), attempts=_TRIES)
    return None
