"""The org's deals as a sales person's app sees them, and how quickly those of one run came back with their number.

Whether every deal has its one order is for `closedwon.audit` to say.

Times: a deal was won when the call that won it had returned, by our clock. It was written back at its SystemModstamp in
Salesforce, since the write-back is the last thing that happens to it; a later change could only make it look slower.
Both clocks are this machine's.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from pydantic import AwareDatetime, Field

from closedwon.audit.compare import AuditReport, Counts
from closedwon.emulators.salesforce.client import OrgClient
from closedwon.ids import OrgId, RecordId
from closedwon.model.base import Frozen
from closedwon.model.orders import idempotency_key

_FIELDS: Final = (
    "Id, Name, Account.Name, Amount, CurrencyIsoCode, IsWon, ERP_Order_Number__c, ERP_Order_Status__c, "
    "ERP_Order_Key__c, SystemModstamp"
)
_PAGE: Final = 1000


class DemoDeal(Frozen):
    """An Opportunity as Salesforce has it."""

    id: RecordId
    name: str
    account: str
    amount: Decimal
    currency: str
    won: bool
    number: str | None
    """The ERP's order number on the record; None where it was copied with the record."""
    status: str | None = None
    """Likewise."""
    modified_at: AwareDatetime

    @property
    def on_its_way(self) -> bool:
        """Whether it is won, and nothing has come of that yet."""
        return self.won and self.number is None and self.status is None


class Summary(Counts):
    """The counts of one run with its pace."""

    totals_right: int
    """Won deals whose order has the total that Salesforce says was signed."""
    median_s: float | None
    """Seconds from won to written back; None where nothing was written back."""
    p95_s: float | None
    all_runs: Counts = Field(description="Every deal that was ever won in this org.")
    clean: bool
    """Whether the audit of all runs has found nothing that disagrees."""


class SalesforceRecords:
    """Asks the org by SOQL, as a sales person."""

    def __init__(self, org: OrgClient) -> None:
        """Ask through `org`."""
        self._org = org

    async def deals(self) -> list[DemoDeal]:
        """Every Opportunity, in the order of creation, page by page."""
        found: list[DemoDeal] = []
        while True:
            after = f"WHERE Id > '{found[-1].id}'" if found else ""
            page = await self._org.query(f"SELECT {_FIELDS} FROM Opportunity {after} ORDER BY Id LIMIT {_PAGE}")  # noqa: S608 - SOQL with an id
            found += [_deal(row, self._org.org_id) for row in page]
            if len(page) < _PAGE:
                return found


def _deal(row: Mapping[str, Any], org: OrgId) -> DemoDeal:
    record, key = RecordId(row["Id"]), row["ERP_Order_Key__c"]
    is_own = key in (None, idempotency_key(org, record))
    return DemoDeal(
        id=record,
        name=row["Name"],
        account=row["Account"]["Name"],
        amount=Decimal(str(row["Amount"] or 0)),
        currency=row["CurrencyIsoCode"],
        won=row["IsWon"],
        number=row["ERP_Order_Number__c"] if is_own else None,
        status=row["ERP_Order_Status__c"] if is_own else None,
        modified_at=datetime.fromisoformat(row["SystemModstamp"]),
    )


def seconds(deals: Iterable[DemoDeal], won_at: Mapping[RecordId, datetime]) -> list[float]:
    """How long each deal took from won to written back, the quickest first; only deals with a number count."""
    return sorted(
        max((deal.modified_at - won_at[deal.id]).total_seconds(), 0.0)
        for deal in deals
        if deal.number and deal.id in won_at
    )


def summarise(
    run: AuditReport, all_runs: AuditReport, deals: Sequence[DemoDeal], won_at: Mapping[RecordId, datetime]
) -> Summary:
    """The summary of the run in which the deals of `won_at` were won, and which the audit `run` is about."""
    taken = seconds(deals, won_at)
    return Summary(
        **run.counts.model_dump(),
        totals_right=run.totals_right,
        median_s=round(statistics.median(taken), 2) if taken else None,
        p95_s=round(percentile(taken, 95), 2) if taken else None,
        all_runs=all_runs.counts,
        clean=all_runs.clean,
    )


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The smallest value that at least `percent` of the (ordered, not empty) values do not exceed."""
    return ordered[-(-len(ordered) * percent // 100) - 1]
