"""The arithmetic of the audit: what counts as won, ordered, written back, doubled and lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from closedwon.demo.audit import BookedOrder, Counts, Deal, count, percentile, summarise
from closedwon.ids import OrgId, RecordId
from closedwon.model import ErpStatus

ORG = OrgId("00D5g000004Kx1X")
OTHER_ORG = OrgId("00D5g000004Kx1Y")
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def deal(number: int, *, order: str | None = None, won: bool = True, after: float = 0) -> Deal:
    """Opportunity `number`, changed last `after` seconds past noon."""
    return Deal(
        id=RecordId(f"0065g00000Deal{number}"),
        name=f"Deal {number}",
        account="Nordwind",
        amount=Decimal(100),
        currency="EUR",
        won=won,
        number=order,
        modified_at=NOON + timedelta(seconds=after),
    )


def booked(
    number: int, order: str, *, status: ErpStatus = ErpStatus.CONFIRMED, org: OrgId = ORG, short: bool = False
) -> BookedOrder:
    """The ERP's order for Opportunity `number`."""
    record = deal(number).id
    return BookedOrder(key=f"{org}:{record.short if short else record}", number=order, status=status)


def counts(won: int, ordered: int, written_back: int, doubled: int, lost: int) -> Counts:
    """The expected counts, in the order of the summary."""
    return Counts(won=won, ordered=ordered, written_back=written_back, doubled=doubled, lost=lost)


def test_all_is_well_when_every_won_deal_has_its_one_order() -> None:
    """Open deals do not count, and an order that the ERP has moved on is still an order."""
    deals = [deal(1, order="S1"), deal(2, order="S2"), deal(3, won=False)]
    found = count(ORG, deals, [booked(1, "S1"), booked(2, "S2", status=ErpStatus.DONE)])

    assert counts(2, 2, 2, 0, 0) == found
    assert found.agree


@pytest.mark.parametrize(
    ("orders", "expected"),
    [
        ([], counts(1, 0, 0, 0, 1)),
        ([booked(1, "S1", status=ErpStatus.DRAFT)], counts(1, 0, 0, 0, 0)),
        ([booked(1, "S2")], counts(1, 1, 0, 0, 0)),
        ([booked(1, "S1"), booked(1, "S2")], counts(1, 1, 1, 1, 0)),
        ([booked(1, "S1"), booked(1, "S2", short=True)], counts(1, 1, 1, 1, 0)),
        ([booked(1, "S1"), booked(2, "S2")], counts(1, 1, 1, 1, 0)),
        ([booked(1, "S1", org=OTHER_ORG)], counts(1, 0, 0, 0, 1)),
    ],
    ids=[
        "no order is lost",
        "a draft is not ordered yet",
        "another order's number is not written back",
        "a second order is doubled",
        "a second order under the short id is doubled",
        "an order of a deal that was not won is doubled",
        "another org's order is not ours",
    ],
)
def test_whatever_does_not_agree_is_counted(orders: list[BookedOrder], expected: Counts) -> None:
    """One won deal with the number S1 on its record, and books of the ERP that tell another story."""
    found = count(ORG, [deal(1, order="S1")], orders)

    assert expected == found
    assert not found.agree


def test_a_run_is_counted_by_itself_and_beside_all_runs() -> None:
    """A mistake of an earlier run shows in the counts of all runs only."""
    deals = [deal(1, order="S1"), deal(2, order="S2", after=3)]
    orders = [booked(1, "S1"), booked(1, "S9"), booked(2, "S2")]

    summary = summarise(ORG, deals, orders, {deal(2).id: NOON})

    assert counts(1, 1, 1, 0, 0).model_dump().items() <= summary.model_dump().items()
    assert counts(2, 2, 2, 1, 0) == summary.all_runs
    assert {"won", "ordered", "written_back", "doubled", "lost", "median_s", "p95_s", "all_runs"} == set(
        summary.model_dump()
    )


def test_pace_is_from_the_win_to_the_last_change_of_written_back_deals() -> None:
    """Median and 95th percentile in seconds; a deal without a number has no pace."""
    deals = [deal(n, order=f"S{n}", after=n) for n in (1, 2, 3, 4)] + [deal(5, after=100)]
    won_at = dict.fromkeys((one.id for one in deals), NOON)

    summary = summarise(ORG, deals, [], won_at)

    assert (2.5, 4.0) == (summary.median_s, summary.p95_s)
    assert summarise(ORG, [deal(5)], [], {deal(5).id: NOON}).median_s is None


@pytest.mark.parametrize(("size", "expected"), [(1, 1), (19, 19), (20, 19), (100, 95)])
def test_the_95th_percentile_is_a_value_that_was_measured(size: int, expected: int) -> None:
    """At least 95 % of the values do not exceed it."""
    assert expected == percentile(range(1, size + 1), 95)
