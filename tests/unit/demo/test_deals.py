"""The summary of a demo's run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from closedwon.audit.compare import AuditReport, Counts, Finding, FindingKind
from closedwon.demo.deals import DemoDeal, SalesforceRecords, percentile, summarise
from closedwon.emulators.salesforce.client import OrgClient
from closedwon.ids import OrgId, RecordId
from closedwon.model.orders import idempotency_key

ORG = OrgId("00D5g000004Kx1X")
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def deal(number: int, *, order: str | None = None, won: bool = True, after: float = 0) -> DemoDeal:
    """Opportunity `number`, changed last `after` seconds past noon."""
    return DemoDeal(
        id=RecordId(f"0065g00000Deal{number}"),
        name=f"Deal {number}",
        account="Nordwind",
        amount=Decimal(100),
        currency="EUR",
        won=won,
        number=order,
        modified_at=NOON + timedelta(seconds=after),
    )


def report(won: int, *, clean: bool = True) -> AuditReport:
    """What the audit counted."""
    counts = Counts(won=won, ordered=won, written_back=won)
    wrong = Finding(
        kind=FindingKind.DUPLICATE_ORDER,
        org=ORG,
        record=deal(1).id,
        route=None,
        salesforce="won",
        erp="S1; S2",
        workflow="completed",
    )
    right = won if clean else 0
    return AuditReport(
        since=NOON, until=NOON, counts=counts, settled=counts, totals_right=right, findings=() if clean else (wrong,)
    )


def test_a_run_is_counted_by_itself_and_beside_all_runs() -> None:
    """A mistake of an earlier run shows in the counts of all runs only, and says that not all is well."""
    summary = summarise(report(1), report(2, clean=False), [deal(2, order="S2", after=3)], {deal(2).id: NOON})

    assert (1, 1, 2, False) == (summary.won, summary.totals_right, summary.all_runs.won, summary.clean)
    assert {
        "won", "ordered", "written_back", "cancelled", "duplicates", "waiting", "missing", "totals_right", "median_s",
        "p95_s", "all_runs", "clean",
    } == set(summary.model_dump())  # fmt: skip


def test_pace_is_from_the_win_to_the_last_change_of_written_back_deals() -> None:
    """Median and 95th percentile in seconds; a deal without a number has no pace."""
    deals = [deal(n, order=f"S{n}", after=n) for n in (1, 2, 3, 4)] + [deal(5, after=100)]
    won_at = dict.fromkeys((one.id for one in deals), NOON)

    summary = summarise(report(5), report(5), deals, won_at)

    assert (2.5, 4.0) == (summary.median_s, summary.p95_s)
    assert summarise(report(1), report(1), [deal(5)], {deal(5).id: NOON}).median_s is None


@pytest.mark.parametrize(("size", "expected"), [(1, 1), (19, 19), (20, 19), (100, 95)])
def test_the_95th_percentile_is_a_value_that_was_measured(size: int, expected: int) -> None:
    """At least 95 % of the values do not exceed it."""
    assert expected == percentile(range(1, size + 1), 95)


async def test_a_number_that_was_copied_with_its_record_is_not_the_deals_own() -> None:
    """A clone shows the number, status and key of its original until it has an order of its own."""
    original, clone, unkeyed = (RecordId(f"0065g00000Deal{number}") for number in (1, 2, 3))
    keys = {original: idempotency_key(ORG, original), clone: idempotency_key(ORG, original), unkeyed: None}

    class People(OrgClient):
        """Salesforce with three deals that all show one number."""

        def __init__(self) -> None:
            """Talk to no org."""
            self.org_id = ORG

        async def query(self, soql: str) -> list[dict[str, Any]]:
            """The three."""
            assert "ERP_Order_Key__c" in soql
            row = {"Name": "Deal", "Account": {"Name": "A\tB"}, "Amount": 1.5, "CurrencyIsoCode": "EUR", "IsWon": True}
            row |= {"ERP_Order_Number__c": "S1", "ERP_Order_Status__c": "confirmed", "SystemModstamp": NOON.isoformat()}
            return [{**row, "Id": record, "ERP_Order_Key__c": key} for record, key in keys.items()]

    deals = {one.id: one for one in await SalesforceRecords(People()).deals()}

    assert [("S1", "confirmed"), (None, None), ("S1", "confirmed")] == [
        (deals[one].number, deals[one].status) for one in (original, clone, unkeyed)
    ]
    assert [False, True, False] == [deals[one].on_its_way for one in (original, clone, unkeyed)]
