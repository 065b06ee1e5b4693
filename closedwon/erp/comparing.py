"""Compare an order in the ERP with the order that was sold. Pure functions; `base` and the audit decide what follows.

Two amounts agree if they differ by at most half a smallest unit per line, because either side may have rounded each
line once. A line whose amount is a whole multiple of the unit cannot have been changed by rounding, so it does not
count. The unit is the ERP's own rounding of that currency if the ERP states it, else the unit of ISO 4217: HUF without
decimals gives a wider tolerance than ISO, JPY with two decimals a narrower one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal, localcontext
from typing import Final, NamedTuple

from closedwon.model.erp import ErpLine, ErpOrder, ErpStatus, Origin
from closedwon.model.orders import Order, OrderHead, OrderLine
from closedwon.money import minor_unit, money

_COARSEST: Final = Decimal(1)
"""A whole unit of a currency. A coarser rounding is ignored, because all amounts would agree with each other."""
_DIGITS: Final = 100
"""Enough for the exact quotient of any amount and any unit that an ERP may answer with (`ErpNumber`)."""
_A_DAY: Final = timedelta(days=1)
"""`created_at` is in UTC, the ERP's dates are in its own time zone."""


def total_agrees(order: Order) -> bool:
    """Whether the lines add up to the signed total; True if none is known.

    Salesforce rounds the total of each line, and the deal's amount only once. So a line's own total may have been
    rounded even though it is a whole multiple of the unit now.
    """
    if order.total is None:
        return True
    unit = minor_unit(order.currency)
    rounded = sum(
        line.amount != 0 and (line.total is not None or not _is_multiple(line.amount, unit)) for line in order.lines
    )
    return abs(order.total - order.amount) <= unit / 2 * max(rounded, 1)


def differs(found: ErpOrder, order: Order) -> bool:
    """Whether the ERP's order differs from what was sold.

    Compares total and currency and, if known, lines, the customer's order number and the dates.
    """
    return not same_total(found, order) or bool(unlike_products(found, order) or unlike_terms(found, order))


def unlike_terms(found: ErpOrder, order: Order) -> list[str]:
    """Name the terms that differ: the customer's order number and the dates.

    Compares only values that the record has and the ERP shows. An order made by hand has dates of its own, which did
    not matter when it was adopted.
    """
    if found.origin in (Origin.ADOPTED, Origin.RESOLVED):
        return []
    pairs = (
        ("the customer's order number", _one_line(found.reference), _one_line(order.reference)),
        ("the order date", found.order_date, order.order_date),
        ("the delivery date", found.delivery_date, order.delivery_date),
    )
    return [name for name, kept, asked in pairs if kept is not None and asked is not None and kept != asked]


def _one_line(text: str | None) -> str | None:
    return None if text is None else " ".join(text.split())


def same_total(found: ErpOrder, order: Order) -> bool:
    """Whether total, currency and number of lines agree."""
    return (
        found.currency == order.currency
        and found.line_count == len(order.lines)
        and abs(found.amount - order.amount) <= _tolerance(_unit(found), order)
    )


def other_customer(found: ErpOrder, order: Order) -> bool:
    """Whether the ERP's order is known to be for another customer. False if the ERP does not name the customer."""
    return found.customer is not None and found.customer != order.customer.reference


def is_from_before(found: ErpOrder, created_at: datetime | None) -> bool:
    """Whether the ERP's order is known to have been placed before the record was created."""
    if found.order_date is None or created_at is None:
        return False
    return found.order_date < created_at.date() - _A_DAY


def differs_from_head(found: ErpOrder, head: OrderHead) -> bool:
    """Whether the ERP's order cannot be that of a record whose lines are unknown; see `OrderHead`."""
    return (
        found.customer not in (None, head.customer)
        or found.currency != head.currency
        or (head.total is not None and abs(found.amount - head.total) > _unit(found) / 2 * found.line_count)
        or is_from_before(found, head.created_at)
    )


def differences(found: ErpOrder, order: Order) -> list[str]:
    """List what prevents the ERP's order from being adopted for `order`, as clauses about "it". Empty: all agrees.

    An unknown value counts as a difference. Clauses quote amounts, dates and product codes, never a customer.
    """
    return [
        *(["it is cancelled"] if found.status is ErpStatus.CANCELLED else []),
        *_customer_difference(found, order),
        *_amount_differences(found, order),
        *_unit_difference(found),
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
    elif products := unlike_products(found, order):
        differing.append(f"product, quantity or price differs in the lines of {', '.join(products)}")
    return differing


def _unit_difference(found: ErpOrder) -> list[str]:
    products = sorted({line.product or "(none)" for line in found.lines or () if line.other_unit})
    return [f"it counts {', '.join(products)} in another unit than they are sold in"] if products else []


def _date_difference(found: ErpOrder, order: Order) -> list[str]:
    if found.order_date is None:
        return ["the ERP does not say when it was placed"]
    if order.created_at is None:
        return ["it is not known when the record was created"]
    if is_from_before(found, order.created_at):
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


def unlike_products(found: ErpOrder, order: Order) -> list[str]:
    """The products whose lines differ, sorted; empty where the ERP shows no lines. Lines may be in any order."""
    if found.lines is None:
        return []
    half = _unit(found) / 2
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
    """The ERP's smallest unit of the order's currency if it is plausible, else that of ISO 4217.

    It is not plausible if an amount of this order is finer.
    """
    unit = found.rounding
    if unit is None or not 0 < unit <= _COARSEST:
        return minor_unit(found.currency)
    kept = [found.amount, *(line.total for line in found.lines or () if line.total is not None)]
    return unit if all(_is_multiple(amount, unit) for amount in kept) else minor_unit(found.currency)


def _tolerance(unit: Decimal, order: Order) -> Decimal:
    """The largest difference that the ERP's rounding can cause: half a unit for each line that rounding can change.

    At least half a unit, because the total itself may be unrounded. Two rounded totals differ by a whole unit or agree.
    """
    rounded = sum(not _is_multiple(line.amount, unit) for line in order.lines)
    return unit / 2 * max(rounded, 1)


def _is_multiple(amount: Decimal, unit: Decimal) -> bool:
    with localcontext(prec=_DIGITS):
        return amount % unit == 0
