"""Whether an order has the total that was signed."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from closedwon.audit.compare import AuditedDeal, ErpEntry, Facts
from closedwon.audit.totals import totals_right
from closedwon.model.erp import ErpStatus
from tests.unit.audit.cases import KEY, deal, order, sold


def facts(one: AuditedDeal, *entries: ErpEntry) -> Facts:
    """About one record."""
    return Facts({KEY: one}, {KEY: [*entries]}, {})


def signed(total: str | None, *prices: str, currency: str = "EUR") -> AuditedDeal:
    """A won deal that says its total."""
    asked = sold(*prices)
    total_price = None if total is None else Decimal(total)
    return deal(order=asked.model_copy(update={"total": total_price, "currency": currency}))


@pytest.mark.parametrize(
    ("one", "erp", "expected"),
    [
        (signed("180.00", "100.00", "100.00"), {"amount": "180.00"}, 1),
        (signed("180.00", "100.00", "100.00"), {"amount": "200.00"}, 0),
        (signed("180.00", "100.00", "100.00"), {"amount": "180.01"}, 1),
        (signed("180.00", "100.00", "100.00"), {"amount": "179.98"}, 0),
        (signed("180.00", "180.00"), {"amount": "180.01"}, 0),
        (signed("31.20", "10.40", "10.40", "10.40"), {"amount": "31", "rounding": Decimal(1)}, 1),
        (signed("31.20", "10.40", "20.80"), {"amount": "33", "rounding": Decimal(1)}, 0),
        (signed("180.02", "90.005", "90.005"), {"amount": "180.00"}, 1),
        (signed("180.02", "90.005", "90.005"), {"amount": "179.99"}, 0),
        (signed("180.00", "90.00", "90.00", currency="USD"), {"amount": "180.00"}, 0),
        (signed("180.00", "90.00", "90.00"), {"amount": "180.00", "currency": "USD"}, 0),
        (signed(None, "100.00", "80.00"), {"amount": "180.00"}, 1),
        (signed("180.00", "90.00", "90.00"), {"amount": "180.00", "status": ErpStatus.DRAFT}, 0),
        (signed("180.00", "90.00", "90.00"), {"amount": "180.00", "status": ErpStatus.CANCELLED}, 0),
    ],
)
def test_a_total_is_right_within_half_a_unit_a_line(one: AuditedDeal, erp: dict[str, Any], expected: int) -> None:
    """In the unit of the ERP, for the one order that it has taken; either may round a line the other way."""
    assert expected == totals_right(facts(one, order(**erp | {"amount": Decimal(erp["amount"])})), [KEY])


@pytest.mark.parametrize(
    "found",
    [
        facts(signed("100.00", "100.00")),
        facts(signed("100.00", "100.00"), order(), order("S2")),
        facts(deal(wanted=False), order()),
        facts(deal(wanted=None, order=None), order()),
        facts(deal(order=None, problem="no lines"), order()),
        Facts({}, {KEY: [order()]}, {}),
    ],
)
def test_what_has_no_one_order_has_no_right_total(found: Facts) -> None:
    """No order, two, or none that the record could be compared with."""
    assert 0 == totals_right(found, [KEY])
