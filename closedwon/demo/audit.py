"""What really happened, asked of Salesforce and of the ERP, never of Closedwon or Temporal.

Salesforce is asked by SOQL as a sales person's app, not as Closedwon's. Tryton is asked by its REST API, the light ERP
by the list of its admin. `reconcile` then compares; it does no input or output.

Times: a deal was won when the call that won it had returned, by our clock. It was written back at its SystemModstamp in
Salesforce, since the write-back is the last thing that happens to it; a later change could only make it look slower.
Both clocks are this machine's.
"""

from __future__ import annotations

import base64
import json
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Protocol

import aiohttp
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from closedwon.ids import OrgId, RecordId
from closedwon.localorg.client import OrgClient
from closedwon.model import ErpStatus

_FIELDS: Final = "Id, Name, Account.Name, Amount, CurrencyIsoCode, IsWon, ERP_Order_Number__c, SystemModstamp"
_PAGE: Final = 1000


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True)


class Deal(_Facts):
    """An Opportunity as Salesforce has it."""

    id: RecordId
    name: str
    account: str
    amount: Decimal
    currency: str
    won: bool
    number: str | None
    """The ERP's order number on the record."""
    modified_at: AwareDatetime


class BookedOrder(_Facts):
    """An order as the ERP has it."""

    key: str
    """The idempotency key, `<org id>:<record id>`."""
    number: str | None
    status: ErpStatus


class Counts(_Facts):
    """How many deals came how far. All is well when all won deals are ordered and written back, once each."""

    won: int
    ordered: int
    """Won deals whose order the ERP has taken."""
    written_back: int
    """Won deals that carry the number of their order in the ERP."""
    doubled: int
    """Orders too many: beyond the first of a deal, or of a deal that was not won."""
    lost: int
    """Won deals without an order."""

    @property
    def agree(self) -> bool:
        """Whether every won deal has exactly one order, and its number."""
        return self.won == self.ordered == self.written_back and self.doubled == self.lost == 0


class Summary(Counts):
    """The counts of one run with its pace."""

    median_s: float | None
    """Seconds from won to written back; None where nothing was written back."""
    p95_s: float | None
    all_runs: Counts = Field(description="Every deal that was ever won in this org.")


class ErpBooks(Protocol):
    """Somebody who can list the ERP's orders."""

    async def orders(self) -> list[BookedOrder]:
        """Every order with an idempotency key."""


class SalesforceBooks:
    """Asks the org by SOQL, as a sales person."""

    def __init__(self, org: OrgClient) -> None:
        """Ask through `org`."""
        self._org = org

    async def deals(self) -> list[Deal]:
        """Every Opportunity, in the order of creation, page by page."""
        found: list[Deal] = []
        while True:
            after = f"WHERE Id > '{found[-1].id}'" if found else ""
            page = await self._org.query(f"SELECT {_FIELDS} FROM Opportunity {after} ORDER BY Id LIMIT {_PAGE}")  # noqa: S608 - SOQL with an id
            found += [_deal(row) for row in page]
            if len(page) < _PAGE:
                return found


def _deal(row: Mapping[str, Any]) -> Deal:
    return Deal(
        id=RecordId(row["Id"]),
        name=row["Name"],
        account=row["Account"]["Name"],
        amount=Decimal(str(row["Amount"] or 0)),
        currency=row["CurrencyIsoCode"],
        won=row["IsWon"],
        number=row["ERP_Order_Number__c"],
        modified_at=datetime.fromisoformat(row["SystemModstamp"]),
    )


class LightBooks:
    """Asks the light ERP for the list that its admin sees."""

    def __init__(self, connection: Mapping[str, Any], http: aiohttp.ClientSession) -> None:
        """Take its `connection.json`."""
        self._url = f"{connection['url']}/_admin/orders"
        self._http = http

    async def orders(self) -> list[BookedOrder]:
        """Every order."""
        async with self._http.get(self._url) as answer:
            answer.raise_for_status()
            rows = (await answer.json())["orders"]
        return [
            BookedOrder(key=row["idempotency_key"], number=f"L{row['id']:06d}", status=ErpStatus(row["status"]))
            for row in rows
        ]


class TrytonBooks:
    """Asks Tryton by its REST API for the sales with an external ID."""

    def __init__(self, connection: Mapping[str, Any], http: aiohttp.ClientSession) -> None:
        """Take its `connection.json`."""
        self._url = f"{connection['url']}/rest/model/sale.sale"
        self._headers = {"Authorization": f"Bearer {connection['key']}"}
        self._http = http

    async def orders(self) -> list[BookedOrder]:
        """Every sale, page by page."""
        found: list[BookedOrder] = []
        while True:
            page = await self._page(len(found) // _PAGE)
            found += [
                BookedOrder(
                    key=row["external_id"],
                    number=row["number"],
                    status=ErpStatus.CANCELLED if row["state"] == "cancelled" else ErpStatus(row["state"]),
                )
                for row in page
            ]
            if len(page) < _PAGE:
                return found

    async def _page(self, number: int) -> list[dict[str, Any]]:
        query = {
            "d": _base64([["external_id", "!=", None]]),
            "o": _base64([["id", "ASC"]]),
            "s": str(_PAGE),
            "p": str(number),
        }
        fields = [("f", field) for field in ("external_id", "number", "state")]
        async with self._http.get(self._url, params=[*query.items(), *fields], headers=self._headers) as answer:
            answer.raise_for_status()
            rows: list[dict[str, Any]] = await answer.json()
            return rows


def _base64(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


def count(
    org: OrgId, deals: Iterable[Deal], orders: Iterable[BookedOrder], *, only: set[RecordId] | None = None
) -> Counts:
    """Compare the two sets of books, for all deals of `org` or for `only` some.

    Keys are compared by record, so a key with the 15-character id of a record that has another one counts as doubled.
    """
    booked: dict[RecordId, list[BookedOrder]] = {}
    for order in orders:
        owner, _, record = order.key.partition(":")
        if OrgId(owner) == org:
            booked.setdefault(RecordId(record), []).append(order)
    scope = {deal.id: deal for deal in deals if deal.won and (only is None or deal.id in only)}
    taken = [deal for deal in scope.values() if any(order.status.exists_as_order for order in booked.get(deal.id, ()))]
    written = [deal for deal in taken if deal.number and deal.number in {order.number for order in booked[deal.id]}]
    relevant = Counter({record: len(them) for record, them in booked.items() if only is None or record in only})
    return Counts(
        won=len(scope),
        ordered=len(taken),
        written_back=len(written),
        doubled=sum(number - (record in scope) for record, number in relevant.items()),
        lost=sum(deal not in booked for deal in scope),
    )


def seconds(deals: Iterable[Deal], won_at: Mapping[RecordId, datetime]) -> list[float]:
    """How long each deal took from won to written back, the quickest first; only deals with a number count."""
    return sorted(
        max((deal.modified_at - won_at[deal.id]).total_seconds(), 0.0)
        for deal in deals
        if deal.number and deal.id in won_at
    )


def summarise(
    org: OrgId, deals: Sequence[Deal], orders: Sequence[BookedOrder], won_at: Mapping[RecordId, datetime]
) -> Summary:
    """The summary of the run in which the deals of `won_at` were won."""
    taken = seconds(deals, won_at)
    return Summary(
        **count(org, deals, orders, only=set(won_at)).model_dump(),
        median_s=round(statistics.median(taken), 2) if taken else None,
        p95_s=round(percentile(taken, 95), 2) if taken else None,
        all_runs=count(org, deals, orders),
    )


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The smallest value that at least `percent` of the (ordered, not empty) values do not exceed."""
    return ordered[-(-len(ordered) * percent // 100) - 1]
