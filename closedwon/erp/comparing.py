"""Whether an order in the ERP is the one that was sold. Pure functions; `base` and the audit decide what follows.

Two amounts agree when they differ by at most half a smallest unit per line, since either side may have rounded each
line once. The unit is the ERP's own rounding of that currency where it says so, else that of ISO 4217: HUF kept
without decimals gives a wider tolerance than ISO, JPY kept with two decimals a narrower one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from closedwon.model import ErpLine, ErpOrder, ErpStatus, Order, OrderLine
from closedwon.money import minor_unit, money

_COARSEST: Final = Decimal(1)
"""A whole unit of a currency: a coarser rounding is not believed, since every amount would agree with every other."""
_A_DAY: Final = timedelta(days=1)
"""`created_at` is in UTC, the ERP's dates are in its own time zone."""


def total_agrees(order: Order) -> bool:
    """Whether the lines add up to the total that was signed; true where none is known."""
    return order.total is None or abs(order.total - order.amount) <= _tolerance(
        minor_unit(order.currency), len(order.lines)
    )


def differs(found: ErpOrder, order: Order) -> bool:
    """Whether the ERP's order is another one than was sold: its total, its currency, or its lines as far as known."""
    return not same_total(found, order) or bool(_unlike_products(found, order))


def same_total(found: ErpOrder, order: Order) -> bool:
    """Whether total, currency and number of lines agree."""
    return (
        found.currency == order.currency
        and found.line_count == len(order.lines)
        and abs(found.amount - order.amount) <= _tolerance(_unit(found), len(order.lines))
    )


def other_customer(found: ErpOrder, order: Order) -> bool:
    """Whether the ERP's order is known to be for another customer; what the ERP leaves out is not known."""
    return found.customer is not None and found.customer != order.customer.reference


def is_from_before(found: ErpOrder, order: Order) -> bool:
    """Whether the ERP's order is known to have been placed before the record was created."""
    if found.order_date is None or order.created_at is None:
        return False
    return found.order_date < order.created_at.date() - _A_DAY


def differences(found: ErpOrder, order: Order) -> list[str]:
    """What keeps the ERP's order from being adopted for `order`, each as a clause about "it"; empty: all agrees.

    What is not known counts as a difference. Amounts, dates and product codes are quoted; a customer never is.
    """
    return [
        *(["it is cancelled"] if found.status is ErpStatus.CANCELLED else []),
        *_customer_difference(found, order),
        *_amount_differences(found, order),
        *_date_difference(found, order),
    ]


def _customer_difference(found: ErpOrder, order: Order) -> list[str]:
    if found.customer is None:
        return ["the ERP does not say for which customer it is"]
    return ["it is for another customer"] if other_customer(found, order) else []


def _amount_differences(found: ErpOrder, order: Order) -> list[str]:
    differing = []
    if not same_total(found, order):
        differing.append(
            f"it holds {money(found.amount, found.currency)} on {found.line_count} line(s), and the record "
            f"{money(order.amount, order.currency)} on {len(order.lines)} line(s)"
        )
    if found.lines is None:
        differing.append("the ERP does not show its lines")
    elif products := _unlike_products(found, order):
        differing.append(f"product, quantity or price differs in the lines of {', '.join(products)}")
    return differing


def _date_difference(found: ErpOrder, order: Order) -> list[str]:
    if found.order_date is None:
        return ["the ERP does not say when it was placed"]
    if order.created_at is None:
        return ["it is not known when the record was created"]
    if is_from_before(found, order):
        made = order.created_at.date()
        return [f"it was placed on {found.order_date}, before the record was created on {made}"]
    return []


class _Line(NamedTuple):
    product: str
    quantity: Decimal
    amount: Decimal

    @classmethod
    def of(cls, line: ErpLine | OrderLine) -> _Line:
        return cls(line.product or "", line.quantity, line.amount)


def _unlike_products(found: ErpOrder, order: Order) -> list[str]:
    """The products whose lines differ, sorted; empty where the ERP shows no lines. Lines may be in any order."""
    if found.lines is None:
        return []
    half = _tolerance(_unit(found), 1)
    had, sold = _by_product(_Line.of(line) for line in found.lines), _by_product(_Line.of(line) for line in order.lines)
    return sorted(
        {
            product or "(none)"
            for product, quantity in had.keys() | sold.keys()
            if not _agree(had[product, quantity], sold[product, quantity], half)
        }
    )


def _by_product(lines: Iterable[_Line]) -> defaultdict[tuple[str, Decimal], list[Decimal]]:
    grouped: defaultdict[tuple[str, Decimal], list[Decimal]] = defaultdict(list)
    for line in lines:
        grouped[line.product, line.quantity].append(line.amount)
    return grouped


def _agree(had: list[Decimal], sold: list[Decimal], half: Decimal) -> bool:
    return len(had) == len(sold) and all(
        abs(amount - asked) <= half for amount, asked in zip(sorted(had), sorted(sold), strict=True)
    )


def _unit(found: ErpOrder) -> Decimal:
    """The ERP's smallest unit of the order's currency, where it is one that can be believed, else that of ISO 4217."""
    if found.rounding is not None and 0 < found.rounding <= _COARSEST:
        return found.rounding
    return minor_unit(found.currency)


def _tolerance(unit: Decimal, lines: int) -> Decimal:
    return unit / 2 * lines
