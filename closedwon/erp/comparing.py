"""Whether an order in the ERP is the one that was sold. Pure functions; what follows from it is `base`'s business."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from closedwon.model import ErpOrder, Order

_WITHOUT_DECIMALS: Final = frozenset({
    "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF",
    "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF",
})  # fmt: skip
"""ISO 4217 currencies whose smallest unit is 1."""


def differs(found: ErpOrder, order: Order) -> bool:
    """Whether the ERP's order is another one than was sold: its total, its currency, or its lines as far as told."""
    if not same_total(found, order):
        return True
    if found.lines is None:
        return False
    had = sorted((line.product or "", line.quantity, line.unit_price) for line in found.lines)
    sold = sorted((line.product, line.quantity, line.unit_price) for line in order.lines)
    return len(had) != len(sold) or any(
        (product, quantity) != (other, as_many) or abs(price - asked) > _half_a_unit(order)
        for (product, quantity, price), (other, as_many, asked) in zip(had, sold, strict=True)
    )


def same_total(found: ErpOrder, order: Order) -> bool:
    """Whether total, currency and number of lines agree; each line may have been rounded to the smallest unit."""
    return (
        found.currency == order.currency
        and found.line_count == len(order.lines)
        and abs(found.amount - order.amount) <= _half_a_unit(order) * len(order.lines)
    )


def _half_a_unit(order: Order) -> Decimal:
    return Decimal("0.5") if order.currency in _WITHOUT_DECIMALS else Decimal("0.005")
