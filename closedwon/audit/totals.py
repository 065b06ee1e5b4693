"""How many orders have the total that was signed. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from closedwon.audit.facts import Facts
from closedwon.model import ErpOrder, ErpStatus, Order
from closedwon.names import RecordKey

_SMALLEST_UNIT: Final = Decimal("0.01")
"""Of an amount in an ERP that does not say how it rounds."""


def totals_right(facts: Facts, keys: Iterable[RecordKey]) -> int:
    """Count the won deals that have exactly one order, taken by the ERP, with the signed total.

    A deal whose order is made of messages does not count: what was signed cannot be read from its record.
    """
    right = 0
    for key in keys:
        deal, booked, _ = facts.of(key)
        live = [one.order for one in booked if one.order.status is not ErpStatus.CANCELLED]
        if deal is not None and deal.wanted and deal.order is not None and len(live) == 1:
            right += live[0].status.exists_as_order and has_signed_total(live[0], deal.order)
    return right


def has_signed_total(order: ErpOrder, asked: Order) -> bool:
    """Compare currency and total; each line may have been rounded by half a smallest unit.

    The signed total is the record's own (`order.total`), and the sum of its lines where the route reads none.
    """
    signed = asked.amount if asked.total is None else asked.total
    unit = _SMALLEST_UNIT if order.rounding is None else order.rounding
    return asked.currency == order.currency and abs(order.amount - signed) <= unit / 2 * len(asked.lines)
