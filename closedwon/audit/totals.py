"""Count the orders that have the signed total. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from closedwon.audit.facts import Facts
from closedwon.erp.comparing import same_total, total_agrees
from closedwon.model.erp import ErpOrder, ErpStatus
from closedwon.model.orders import Order
from closedwon.names import RecordKey

_SMALLEST_UNIT: Final = Decimal("0.01")
"""Of an amount in an ERP that does not state its rounding."""


def totals_right(facts: Facts, keys: Iterable[RecordKey]) -> int:
    """Count the won deals that have exactly one order, confirmed in the ERP, with the signed total.

    A deal whose order comes from messages does not count, because its record does not contain the signed total.
    """
    right = 0
    for key in keys:
        deal, entries, _ = facts.of(key)
        live = [one.order for one in entries if one.order.status is not ErpStatus.CANCELLED]
        if deal is not None and deal.wanted and deal.order is not None and len(live) == 1:
            right += live[0].status.exists_as_order and _has_signed_total(live[0], deal.order)
    return right


def _has_signed_total(order: ErpOrder, asked: Order) -> bool:
    """Compare currency and total; each line may have been rounded by half a smallest unit.

    The signed total is the record's own (`order.total`), or the sum of its lines if the route reads none. An order is
    also right if it agrees with the lines and the lines agree with that total: the ERP may round a line down that
    Salesforce has rounded up.
    """
    signed = asked.amount if asked.total is None else asked.total
    unit = _SMALLEST_UNIT if order.rounding is None else order.rounding
    is_near = abs(order.amount - signed) <= unit / 2 * len(asked.lines)
    return asked.currency == order.currency and (is_near or (total_agrees(asked) and same_total(order, asked)))
