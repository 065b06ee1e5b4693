"""Run the checks, cancel what they created, and report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from closedwon.certify import content, faults, lookups, orders
from closedwon.certify.bench import TEST_ORG, Bench, Plan
from closedwon.certify.check import CertificationCheck, FailedError, outcome_of
from closedwon.certify.lookups import by_hand, timings
from closedwon.certify.proxy import Proxy
from closedwon.certify.report import CertificationReport, CheckOutcome, Left, Result
from closedwon.erp import open_erp
from closedwon.erp.base import cancel_order
from closedwon.erp.comparing import other_customer
from closedwon.erp.errors import ErpAuthFailedError, RejectedError, UnknownError, UnreachableError
from closedwon.errors import AttentionReason, ClosedwonError
from closedwon.model.erp import ErpOrder, ErpStatus
from closedwon.model.orders import Order
from closedwon.settings import ErpSettings

CHECKS: Final = (*orders.ALL, *content.ALL, *faults.ALL, *lookups.ALL[:-1], by_hand, lookups.ALL[-1])
"""In the order in which they run; `time` is last, because it uses the times of all calls."""
_TRIES: Final = 2
"""Attempts to cancel an order at the end; the report names orders that are left."""

OnProgress = Callable[[CertificationCheck[Bench] | None, Result | None], None]
"""Called with each check that begins, and with each result; with two times None when the cancelling begins."""


class UnfitPlanError(ClosedwonError):
    """The ERP refuses an order with the products, the customer or the currency of the plan."""

    def __init__(self, refusal: RejectedError) -> None:
        """`refusal` is about a test order, so it contains no customer data."""
        super().__init__(
            f"The ERP refuses the first test order: {refusal}. Name products, a customer and a currency that it has "
            "(--product, --customer, --currency)"
        )


def no_progress(_check: CertificationCheck[Bench] | None, _result: Result | None) -> None:
    """Show nothing."""


async def certify(
    settings: ErpSettings, plan: Plan, *, only: Sequence[str] = (), on_progress: OnProgress = no_progress
) -> CertificationReport:
    """Run all checks, or `only` the named ones, against the ERP, and cancel the orders that they have created.

    Raises `UnreachableError`, `UnknownError` or `ErpAuthFailedError` if no call succeeds, and `UnfitPlanError` if the
    ERP refuses the first order; nothing was created then.
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
    return CertificationReport(
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
    """Raise the errors that make every check impossible. The checks report all other errors."""
    try:
        if await bench.erp.find(bench.unused_key()) is None:
            await bench.sample()
    except RejectedError as error:
        if error.reason in {AttentionReason.UNKNOWN_PRODUCT, AttentionReason.ERP_REJECTED}:
            raise UnfitPlanError(error) from error
    except (ErpAuthFailedError, UnreachableError):
        raise
    except (ClosedwonError, FailedError) as error:
        if isinstance(error, UnknownError) and not bench.keys:
            raise


async def _run(bench: Bench, checks: Sequence[CertificationCheck[Bench]], on_progress: OnProgress) -> list[Result]:
    results = []
    for each in checks:
        on_progress(each, None)
        result = await outcome_of(each, bench)
        on_progress(each, result)
        results.append(result)
        if each.is_dangerous and result.outcome is CheckOutcome.FAILED:
            break
    return results


async def _tidy_up(bench: Bench) -> tuple[int, list[Left]]:
    """Cancel the created orders; return the number of cancelled orders, and the orders that are left."""
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
    """Cancel the order. Returns the reason if it must be left, else None."""
    if other_customer(found, order):  # a wrong answer of the ERP: this may be a real order
        return "it is for another customer"
    if found.status in {ErpStatus.PROCESSING, ErpStatus.DONE}:
        return f"it is {found.status.value}"
    await bench.until_done(lambda: cancel_order(bench.erp, order.idempotency_key), attempts=_TRIES)
    return None
