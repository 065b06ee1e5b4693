"""Compute the price of a record's lines exactly, from unit price, discount and total. Pure functions.

A route may map up to three values of a line: unit price, discount, and the total that was signed. The total has
priority. If all three are mapped, they must agree within half a smallest unit of the currency, because Salesforce
rounds each line once.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal, Inexact
from typing import Final, NamedTuple

from closedwon.errors import AttentionError, AttentionReason
from closedwon.mapping.reader import MappingError, Reader, lines_of_text, unfit
from closedwon.model.orders import OrderLine
from closedwon.money import amount_text, minor_unit, money
from closedwon.settings import Discount

_EXACT: Final = Context(prec=200, traps=[Inexact])
"""Enough for the product of any numbers that a reader accepts: 36 digits each."""
_DIVIDING: Final = Context(prec=60, rounding=ROUND_HALF_EVEN)
_PRICE_DECIMALS: Final = Decimal("1E-10")
"""A unit price that is computed as a quotient is rounded to this; then the line's total counts."""
_HUNDRED: Final = Decimal(100)


class UnusualAmountError(AttentionError):
    """A quantity is not positive, a total is negative, or a discount too large, and the route does not allow it."""

    def __init__(self, what: str, allow: str) -> None:
        """`what` describes the problem; `allow` is the value of `order.allow` that permits it."""
        super().__init__(
            what,
            reason=AttentionReason.UNUSUAL_AMOUNT,
            hint=f'Correct the record, or allow it in the route (order.allow = ["{allow}"], then restart the workers); '
            "then send `retry`.",
        )


class LineDiffersError(AttentionError):
    """Unit price, discount and total of a line do not agree. `place` counts lines from 1."""

    def __init__(self, place: int, total: Decimal, computed: Decimal, currency: str) -> None:
        super().__init__(
            f"line {place} says {amount_text(total, currency)}, "
            f"quantity x price less discount gives {amount_text(computed, currency)}",
            reason=AttentionReason.AMOUNT_DIFFERS,
            hint="Correct the line in Salesforce, or `order.lines` of the route (then restart the workers); then send "
            "`retry`.",
        )


def lines_of(reader: Reader, currency: str) -> tuple[OrderLine, ...]:
    """Make the lines of an order. Raises `MappingError`, `UnusualAmountError` or `LineDiffersError`."""
    return tuple(_line(line, place, currency) for place, line in enumerate(each_line(reader), 1))


def amount_of(reader: Reader, currency: str) -> Decimal:
    """Return the sum of the lines; products and texts may be missing. Raises the errors of `lines_of`."""
    prices = (_price(line, place, currency) for place, line in enumerate(each_line(reader), 1))
    return sum((price.amount for price in prices), Decimal(0))


def each_line(reader: Reader) -> list[Reader]:
    """Open one reader per line. Raises `MappingError` unless there is at least one line."""
    expression = reader.route.order.lines.each
    lines = reader.value("order.lines.each", expression)
    if not isinstance(lines, list) or not lines:
        raise MappingError(reader.route, "order.lines.each", unfit(expression, lines, "a list of at least one line"))
    return [Reader(reader.route, line, f" on {expression}[{place}]") for place, line in enumerate(lines)]


class _Price(NamedTuple):
    quantity: Decimal
    unit_price: Decimal
    list_price: Decimal | None
    discount_percent: Decimal | None
    total: Decimal | None

    @property
    def amount(self) -> Decimal:
        return _EXACT.multiply(self.quantity, self.unit_price) if self.total is None else self.total


def _line(line: Reader, place: int, currency: str) -> OrderLine:
    mapping = line.route.order.lines
    product = line.need(line.text, "order.lines.product", mapping.product)
    return OrderLine(
        product=product,
        description=line.text("order.lines.description", mapping.description, lines_of_text),
        extra=line.texts("order.lines.extra", mapping.extra),
        **_price(line, place, currency)._asdict(),
    )


def _price(line: Reader, place: int, currency: str) -> _Price:
    mapping = line.route.order.lines
    quantity = line.need(line.number, "order.lines.quantity", mapping.quantity)
    _check_quantity(line, place, quantity)
    total = line.number("order.lines.total", mapping.total) if mapping.total else None
    if mapping.unit_price is None:
        total = line.need(line.number, "order.lines.total", mapping.total or "")
        return _Price(quantity, _quotient(line, total, quantity), None, None, total)
    price = line.number("order.lines.unit_price", mapping.unit_price)
    if price is None and total is not None:
        return _Price(quantity, _quotient(line, total, quantity), None, None, total)
    price = line.need(line.number, "order.lines.unit_price", mapping.unit_price)
    table = mapping.discount_table
    if table is None:
        return _without_discount(line, quantity, price, total)
    percent, off = _discount(line, table)
    _check_discount(line, place, _EXACT.multiply(quantity, price), off, currency)
    net, computed = _less_discount(line, quantity, price, percent, off)
    if total is not None and abs(_EXACT.subtract(total, computed)) > minor_unit(currency) / 2:
        raise LineDiffersError(place, total, computed, currency)
    if total is None and _EXACT.multiply(quantity, net) != computed:
        total = computed  # the unit price is rounded, so the total is needed for the signed amount
    return _Price(quantity, net, price if percent or off else None, percent or None, total)


def _without_discount(line: Reader, quantity: Decimal, price: Decimal, total: Decimal | None) -> _Price:
    """Price a line without a mapped discount; a total other than quantity times price contains an unmapped one."""
    if total is None or total == _EXACT.multiply(quantity, price):
        return _Price(quantity, price, None, None, total)
    return _Price(quantity, _quotient(line, total, quantity), price, None, total)


def _less_discount(
    line: Reader, quantity: Decimal, price: Decimal, percent: Decimal | None, off: Decimal
) -> tuple[Decimal, Decimal]:
    """Return unit price and total after the discount."""
    if percent is not None:
        net = _EXACT.multiply(price, _EXACT.divide(_HUNDRED - percent, _HUNDRED))
        return net, _EXACT.multiply(quantity, net)
    computed = _EXACT.subtract(_EXACT.multiply(quantity, price), off)
    return _quotient(line, computed, quantity) if off else price, computed


def _discount(line: Reader, table: Discount) -> tuple[Decimal | None, Decimal]:
    """Read the line's discount as a percentage, or else as an amount; no value means no discount."""
    value = line.number("order.lines.discount", table.expression) or Decimal(0)
    if value < 0 or (table.percent is not None and value > _HUNDRED):
        wanted = "a percentage from 0 to 100" if table.percent is not None else "an amount of at least 0"
        raise line.error("order.lines.discount", f"the expression {table.expression!r} gives a number, not {wanted}")
    return (value, Decimal(0)) if table.percent is not None else (None, value)


def _quotient(line: Reader, total: Decimal, quantity: Decimal) -> Decimal:
    """Divide a total by a quantity, exactly or to ten decimals."""
    if not quantity:
        if total:
            raise line.error("order.lines.total", "a line of quantity 0 has a total that is not 0")
        return Decimal(0)
    price = _DIVIDING.divide(total, quantity)
    return price if _EXACT.multiply(price, quantity) == total else price.quantize(_PRICE_DECIMALS, context=_DIVIDING)


def _check_quantity(line: Reader, place: int, quantity: Decimal) -> None:
    kind = "zero-quantity" if not quantity else "negative-quantity"
    if quantity <= 0 and kind not in line.route.order.allow:
        raise UnusualAmountError(f"line {place} has a quantity of {quantity.normalize():f}", kind)


def _check_discount(line: Reader, place: int, gross: Decimal, off: Decimal, currency: str) -> None:
    """Limit a discount to the amount of its line. Otherwise the other lines could hide that this line is negative."""
    if off > abs(gross) and "negative-total" not in line.route.order.allow:
        what = f"line {place} takes {money(off, currency)} off {money(gross, currency)}"
        raise UnusualAmountError(what, "negative-total")
