"""A deal, its order and its workflow, as the audit's unit tests compare them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from closedwon.audit.compare import (
    AuditedDeal,
    AuditedWorkflow,
    ErpEntry,
    Facts,
    FindingKind,
    disagreements,
)
from closedwon.ids import OrgId, RecordId
from closedwon.mapping.write_back import Proof
from closedwon.model.erp import ErpOrder, ErpStatus
from closedwon.model.orders import Customer, Order, OrderLine
from closedwon.model.outcomes import EndedOrder, OrderResult
from closedwon.names import OrderStage, RecordKey

KEY = RecordKey(OrgId("00D5g000004Kx1X"), RecordId("0065g00000Deal1"))


NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


WRITES_BACK = frozenset({"number", "status"})


def sold(*prices: str) -> Order:
    """One of each product at these prices."""
    return Order(
        org=KEY.org,
        record=KEY.record,
        name="Ten generators",
        customer=Customer(id=RecordId("001000000000001"), name="Edge"),
        currency="EUR",
        lines=tuple(OrderLine(product="GC", quantity=Decimal(1), unit_price=Decimal(price)) for price in prices),
    )


def deal(**changes: Any) -> AuditedDeal:
    """A won deal of 100 EUR that shows its order, S1."""
    facts: dict[str, Any] = {
        "route": "won-deals",
        "modified_at": NOON,
        "wanted": True,
        "order": sold("50.00", "50.00"),
        "writes_back": WRITES_BACK,
        "number": "S1",
        "status": "confirmed",
        "proof": Proof.OWN,
    }
    return AuditedDeal(**facts | changes)


def order(number: str = "S1", *, erp: str = "erp", **changes: Any) -> ErpEntry:
    """Its order."""
    facts: dict[str, Any] = {
        "id": number,
        "number": number,
        "status": ErpStatus.CONFIRMED,
        "currency": "EUR",
        "amount": Decimal("100.00"),
        "line_count": 2,
    }
    return ErpEntry(erp=erp, key="key", order=ErpOrder(**facts | changes))


def flow(stage: OrderStage = OrderStage.COMPLETED, status: str = "completed", **changes: Any) -> AuditedWorkflow:
    """Its workflow, which has ended well."""
    return AuditedWorkflow(status=status, stage=stage, started_at=NOON, **{"number": "S1", **changes})


def facts_of(salesforce: AuditedDeal | None, entries: list[ErpEntry], workflow: AuditedWorkflow | None = None) -> Facts:
    """What the three systems have about one record."""
    return Facts(
        {KEY: salesforce} if salesforce else {}, {KEY: entries} if entries else {}, {KEY: workflow} if workflow else {}
    )


def kinds(facts: Facts, *, young: datetime = NOON) -> list[FindingKind]:
    """The findings that are not under way."""
    return [one.kind for one in disagreements(facts, [KEY], young=young)[0]]


OPEN = {"wanted": False, "order": None, "number": None, "status": None}


EARLY, LATE = NOON - timedelta(hours=1), NOON


CANCELLED = ErpStatus.CANCELLED


def then(modified_at: datetime | None = LATE, **how: Any) -> AuditedWorkflow:
    """Its workflow, which has ended with the order as of a moment."""
    return flow(ended=OrderResult(order=EndedOrder(id="S1", modified_at=modified_at), **how))


def ended(stage: OrderStage = OrderStage.COMPLETED, status: str = "completed", **how: Any) -> AuditedWorkflow:
    """Its workflow, of which is known how it has ended."""
    return flow(stage, status, ended=OrderResult(**how), number=None)
