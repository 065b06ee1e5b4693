"""Convert between our models and the values of Tryton's REST API. Pure functions without I/O.

Tryton answers a value of the wrong kind with a bare 500, which looks like a fault of the server. So every free field is
checked here against the field's definition (`fields_get`) before it is sent. This module also chooses the price of a
line, because Tryton does not store the total of a line. It computes `quantity * unit_price`, rounded to the currency.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation, localcontext
from typing import Any, Final, NamedTuple

from closedwon.erp.errors import RejectedError
from closedwon.erp.tryton_api import Record
from closedwon.errors import AttentionReason
from closedwon.model.erp import ErpLine, ErpOrder, ErpStatus, Origin
from closedwon.model.orders import OrderLine

SALE_FIELDS: Final = (
    "state",
    "number",
    "external_id",
    "external_origin",
    "external_modified_at",
    "external_version",
    "untaxed_amount",
    "currency.code",
    "currency.rounding",
    "party.code",
    "sale_date",
    "create_date",
    "reference",
    "shipping_date",
    "lines.type",
    "lines.product.code",
    "lines.product.sale_uom",
    "lines.quantity",
    "lines.unit",
    "lines.unit_price",
    "lines.amount",
)
"""The fields of a sale that `order` reads."""
OWN_SALE_FIELDS: Final = frozenset({
    "company", "currency", "description", "lines", "number", "party", "reference", "sale_date", "shipping_date",
    "state", "external_id", "external_origin", "external_modified_at", "external_version",
})  # fmt: skip
"""Fields of a sale that `order.extra` must not set, because they come from the order itself."""
OWN_LINE_FIELDS: Final = frozenset({
    "description", "product", "quantity", "sale", "taxes", "type", "unit", "unit_price",
})  # fmt: skip
"""The same for a line and `order.lines.extra`."""
_PARTS: Final = ("year", "month", "day", "hour", "minute", "second", "microsecond")
_PRECISION: Final = 60
"""Digits of intermediate results: more than a quantity and a total have together."""
_NO_LIMIT: Final = 10
"""Decimals of a computed price if Tryton states no limit."""


class ProductFacts(NamedTuple):
    """The values of a product that a line needs. The API adds neither unit nor taxes by itself."""

    id: int
    unit: int
    taxes: list[int]


class Money(NamedTuple):
    """How Tryton stores amounts: the currency's id, its smallest unit, and the decimals of a unit price."""

    currency: int
    rounding: Decimal
    price_decimals: int | None


def order(sale: Record, base_url: str) -> ErpOrder:
    """Convert a sale (with `SALE_FIELDS`) to an `ErpOrder`. `base_url` is the database's address."""
    server, _, database = base_url.rpartition("/")
    lines = [line for line in sale["lines"] if line["type"] == "line"]
    modified_at = sale["external_modified_at"]
    return ErpOrder(
        id=str(sale["id"]),
        idempotency_key=sale["external_id"] or None,
        number=sale["number"],
        status=ErpStatus(sale["state"]),
        currency=sale["currency"]["code"],
        amount=_decimal(sale["untaxed_amount"]),
        line_count=len(lines),
        lines=tuple(_erp_line(line) for line in lines),
        url=f"{server}/#{database}/model/sale.sale/{sale['id']}",  # the web client's address of a record
        customer=(sale["party"] or {}).get("code") or None,
        order_date=_as_date(sale["sale_date"] or sale["create_date"]),
        reference=sale["reference"] or "",
        delivery_date=_as_date(sale["shipping_date"]) if sale["shipping_date"] else "",
        rounding=_decimal(sale["currency"]["rounding"]),
        origin=Origin(sale["external_origin"]) if sale["external_origin"] else None,
        modified_at=None if modified_at is None else _as_datetime(modified_at),
        version=sale["external_version"],
    )


def line(sold: OrderLine, product: ProductFacts, money: Money, free: Record) -> Record:
    """Return the values of a new line. Raises `RejectedError` if Tryton cannot store the line's price or total."""
    return free | {
        "product": product.id,
        "unit": product.unit,
        "quantity": number(sold.quantity),
        "unit_price": number(unit_price(sold, money)),
        "taxes": [["add", product.taxes]],
        "description": sold.description,
    }


def unit_price(sold: OrderLine, money: Money) -> Decimal:
    """Choose the price from which Tryton computes the signed total of the line: the deal's own price, if it does.

    Raises `RejectedError` if the price has too many decimals and there is no total, or if no price with that number of
    decimals gives the total.
    """
    decimals = money.price_decimals
    if sold.total is None:
        if not _fits(sold.unit_price, decimals):
            raise RejectedError(
                f"The unit price of product {sold.product} has more than the {decimals} decimals that Tryton keeps",
                hint=f"Map `order.lines.total`, or round the price in the route with `round(…, {decimals})`; then send "
                "`retry`.",
            )
        return sold.unit_price
    quantity = Decimal(str(float(sold.quantity)))  # Tryton stores a float
    with localcontext(prec=_PRECISION):
        total = _rounded(sold.total, money.rounding)
        candidates = [sold.unit_price] if _fits(sold.unit_price, decimals) else []
        if quantity:
            step = Decimal(1).scaleb(-(_NO_LIMIT if decimals is None else decimals))
            # The nearest price has the smallest error: if it fails, every other price fails.
            candidates.append((total / quantity).quantize(step, ROUND_HALF_EVEN))
        for price in candidates:
            if _rounded(quantity * price, money.rounding) == total:
                return price
    raise RejectedError(
        f"No unit price with {decimals} decimals gives the total of the line with product {sold.product}: Tryton "
        "computes it from quantity and unit price",
        hint="Split the line in Salesforce, or let Tryton keep more decimals of prices (`price_decimal` in the section "
        "[product] of its configuration); then send `retry`.",
    )


def price_decimals(definition: Mapping[str, Any]) -> int | None:
    """Return the decimals that a numeric field allows, from its definition; None: no limit is known."""
    try:
        digits = json.loads(definition["digits"])
        return int(digits[1])
    except (KeyError, IndexError, TypeError, ValueError):
        return None  # the limit depends on another field, or there is none


def free_fields(given: Mapping[str, str], known: Mapping[str, Record], own: frozenset[str], setting: str) -> Record:
    """Convert free fields to Tryton's values. `known` has the definitions, `setting` is e.g. `order.extra`.

    Raises `RejectedError` with reason `configuration` for a field that cannot be set this way, and `mapping-failed` for
    a value of the wrong kind. The message names field, expected kind and setting, never the value.
    """
    return {name: _free_field(name, text, known.get(name), own, f"{setting}.{name}") for name, text in given.items()}


def number(value: Decimal) -> str:
    """Write a number as text, without trailing zeros: Tryton counts them as digits. It refuses inexact floats."""
    return format(value.normalize(), "f")


def day(value: date | None) -> Record | None:
    """Convert a date."""
    return None if value is None else {"__class__": "date", "year": value.year, "month": value.month, "day": value.day}


def moment(value: datetime) -> Record:
    """Convert a time to UTC without a zone, as Tryton stores its own times."""
    utc = value.astimezone(UTC)
    return {"__class__": "datetime"} | {part: getattr(utc, part) for part in _PARTS}


def _free_field(name: str, text: str, definition: Record | None, own: frozenset[str], setting: str) -> Any:
    if definition is None:
        raise _unusable(f"Tryton has no field {name}", setting)
    if name in own:
        raise _unusable(f"Tryton's field {name} is set from the order itself", setting)
    kind = definition["type"]
    if definition["readonly"] or kind not in _KINDS:
        raise _unusable(f"Tryton's field {name} ({kind}) cannot be set by a free field", setting)
    wanted, convert = _KINDS[kind]
    if kind == "selection" and isinstance(definition["selection"], list):  # else Tryton computes its options
        options = {key for key, _label in definition["selection"] if key}
        wanted, convert = f"one of {', '.join(sorted(map(str, options)))}", _one_of(options)
    try:
        return convert(text.strip())
    except (ValueError, InvalidOperation):
        raise RejectedError(
            f"Tryton's field {name} ({kind}) takes {wanted}, but `{setting}` yields something else",
            reason=AttentionReason.MAPPING_FAILED,
            hint=f"Correct `{setting}` of the route, or the record; then send `retry`.",
        ) from None


def _unusable(what: str, setting: str) -> RejectedError:
    return RejectedError(
        what,
        reason=AttentionReason.CONFIGURATION,
        hint=f"Correct `{setting}` of the route, then send `retry`.",
    )


def _boolean(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()] if text.lower() in {"true", "false"} else _misfit()


def _misfit() -> Any:
    raise ValueError


def _integer(text: str) -> int:
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,15}", text) else _misfit()


def _id(text: str) -> int:
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else _misfit()


def _plain(text: str) -> str:
    """Convert a plain number to exact text; unlike `Decimal`, refuse `1e3` and `NaN`."""
    return number(Decimal(text)) if re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", text) else _misfit()


def _day(text: str) -> Record | None:
    return day(date.fromisoformat(text)) if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) else _misfit()


def _one_of(options: set[Any]) -> Callable[[str], str]:
    return lambda text: text if text in options else _misfit()


_KINDS: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "char": ("a text", str),
    "text": ("a text", str),
    "selection": ("one of its options", str),
    "many2one": ("the id of a record, a whole number", _id),
    "integer": ("a whole number", _integer),
    "numeric": ("a number", _plain),
    "float": ("a number", _plain),
    "boolean": ("true or false", _boolean),
    "date": ("a date such as 2026-01-31", _day),
}


def _erp_line(line: Record) -> ErpLine:
    product = line["product"] or {}
    return ErpLine(
        product=product.get("code"),
        quantity=Decimal(str(line["quantity"])),
        unit_price=_decimal(line["unit_price"]),
        total=_decimal(line["amount"]),
        other_unit=bool(product) and line["unit"] != product["sale_uom"],
    )


def _decimal(value: Record) -> Decimal:
    return Decimal(value["decimal"])


def _as_date(value: Record) -> date:
    return date(value["year"], value["month"], value["day"])


def _as_datetime(value: Record) -> datetime:
    known = {part: value[part] for part in _PARTS}
    return datetime(**known, tzinfo=UTC)


def _fits(value: Decimal, decimals: int | None) -> bool:
    exponent = value.normalize().as_tuple().exponent
    return decimals is None or (isinstance(exponent, int) and -exponent <= decimals)


def _rounded(amount: Decimal, unit: Decimal) -> Decimal:
    """Round half to even, as Tryton's currency does."""
    return (amount / unit).quantize(Decimal(1), ROUND_HALF_EVEN) * unit if unit else amount
