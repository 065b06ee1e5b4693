"""Conversion between our models and Tryton's values: prices, and free fields by their definitions."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closedwon.erp.base import RejectedError
from closedwon.erp.tryton_values import Money, free_fields, price_decimals, unit_price
from closedwon.errors import AttentionReason
from closedwon.model.orders import OrderLine

CENTS = Money(1, Decimal("0.01"), 4)


def line(quantity: str, price: str, total: str | None = None) -> OrderLine:
    """A line of one product."""
    known = None if total is None else Decimal(total)
    return OrderLine(product="GC1040", quantity=Decimal(quantity), unit_price=Decimal(price), total=known)


def amount(quantity: Decimal, price: Decimal, unit: Decimal) -> Decimal:
    """As Tryton computes the amount of a line."""
    return (quantity * price / unit).quantize(Decimal(1), ROUND_HALF_EVEN) * unit


PRICES = {
    "without a total the price counts": (line("2", "5000.00"), "5000.00"),
    "trailing zeros are not decimals": (line("2", "0.12340000"), "0.1234"),
    "the deal's own price, where it makes the total": (line("2", "90.00", "180.00"), "90.00"),
    "a discount": (line("2", "100.00", "180.00"), "90"),
    "a third": (line("3", "33.33", "100.00"), "33.3333"),
    "noise, where the total decides": (line("3", "133.3300001", "399.99"), "133.33"),
    "a negative line": (line("1", "-50.00", "-50.00"), "-50.00"),
    "nothing for nothing": (line("0", "10.00", "0"), "10.00"),
}


@pytest.mark.parametrize("case", PRICES)
def test_the_price_makes_the_total(case: str) -> None:
    """The unit price that is sent makes Tryton's own amount of the line equal to what was signed."""
    sold, expected = PRICES[case]
    assert Decimal(expected) == unit_price(sold, CENTS)


@pytest.mark.parametrize("price", ["133.3300001", "16.009999999999998", "0.00125"])
def test_m3_a_price_with_too_many_decimals_names_them(price: str) -> None:
    """Where no total decides, the refusal names the decimals that Tryton keeps, and the function that rounds."""
    with pytest.raises(RejectedError, match="4 decimals") as caught:
        unit_price(line("2", price), CENTS)

    assert "round(…, 4)" in caught.value.hint
    assert price not in str(caught.value)


@pytest.mark.parametrize(
    "sold", [line("1000", "0.00", "0.01"), line("800", "0.00125", "1.00"), line("0", "10.00", "10.00")]
)
def test_a_total_that_no_price_makes_is_refused(sold: OrderLine) -> None:
    """A thousand pieces for one cent have no price of four decimals: a sentence says so."""
    with pytest.raises(RejectedError, match="No unit price with 4 decimals"):
        unit_price(sold, CENTS)


@given(
    quantity=st.integers(1, 5000),
    cents=st.integers(-(10**9), 10**9),
    unit=st.sampled_from(["0.01", "1", "0.05"]),
    decimals=st.integers(0, 6),
)
def test_a_price_is_right_or_refused(quantity: int, cents: int, unit: str, decimals: int) -> None:
    """Whatever was sold: the price makes the total by Tryton's own arithmetic, or none of its neighbours does."""
    rounding, total = Decimal(unit), Decimal(cents).scaleb(-2)
    sold, wanted = line(str(quantity), "0", str(total)), amount(Decimal(1), total, rounding)
    try:
        price = unit_price(sold, Money(1, rounding, decimals))
    except RejectedError:
        step = Decimal(1).scaleb(-decimals)
        near = (wanted / quantity).quantize(step)
        for other in (near - step, near, near + step):
            assert wanted != amount(Decimal(quantity), other, rounding)
    else:
        assert wanted == amount(Decimal(quantity), price, rounding)
        assert price == round(price, decimals)


def test_decimals_are_read_from_the_definition() -> None:
    """Tryton states them as an expression; one that depends on another field is not a known limit."""
    assert 4 == price_decimals({"digits": "[null, 4]"})
    assert price_decimals({"digits": '"currency"'}) is None
    assert price_decimals({}) is None


DEFINITIONS: dict[str, dict[str, Any]] = {
    kind: {"type": kind, "readonly": False}
    for kind in ("char", "text", "many2one", "integer", "numeric", "float", "boolean", "date", "one2many", "datetime")
}
DEFINITIONS["selection"] = {"type": "selection", "readonly": False, "selection": [[None, ""], ["a", "A"], ["b", "B"]]}
DEFINITIONS["computed"] = {"type": "selection", "readonly": False, "selection": "get_options"}
DEFINITIONS["readonly"] = {"type": "char", "readonly": True}
GOOD: list[tuple[str, str, Any]] = [
    ("char", "Net 30", "Net 30"),
    ("text", "two\nlines", "two\nlines"),
    ("many2one", "12", 12),
    ("integer", "-7", -7),
    ("numeric", "12.500", "12.5"),
    ("float", " 1.5 ", "1.5"),
    ("boolean", "True", True),
    ("boolean", "false", False),
    ("date", "2026-02-28", {"__class__": "date", "year": 2026, "month": 2, "day": 28}),
    ("selection", "b", "b"),
    ("computed", "anything", "anything"),
]
BAD = [
    ("many2one", "Net 30"),
    ("many2one", "-1"),
    ("many2one", "99999999999"),
    ("integer", "1.5"),
    ("integer", ""),
    ("numeric", "1e3"),
    ("numeric", "NaN"),
    ("numeric", "1,5"),
    ("float", "twelve"),
    ("boolean", "yes"),
    ("date", "2026-02-30"),
    ("date", "28.02.2026"),
    ("date", "20260228"),
    ("selection", "c"),
    ("selection", ""),
]


@pytest.mark.parametrize(("kind", "text", "expected"), GOOD)
def test_m8_a_fitting_text_becomes_its_kind(kind: str, text: str, expected: Any) -> None:
    """What the settings yield is text; Tryton gets an id, a number, a date, a truth value."""
    assert {kind: expected} == free_fields({kind: text}, DEFINITIONS, frozenset(), "order.extra")


@pytest.mark.parametrize(("kind", "text"), BAD)
def test_m8_a_misfit_names_field_kind_and_setting(kind: str, text: str) -> None:
    """A value of the wrong kind is a matter of the record or the mapping; it is not quoted."""
    with pytest.raises(RejectedError, match=rf"field {kind} \({kind}\) takes .*`order\.extra\.{kind}`") as caught:
        free_fields({kind: text}, DEFINITIONS, frozenset(), "order.extra")

    assert AttentionReason.MAPPING_FAILED is caught.value.reason
    assert len(text) < len("1.5") or text not in str(caught.value)


@pytest.mark.parametrize("name", ["one2many", "datetime", "readonly", "char", "nothing"])
def test_m8_a_field_that_cannot_be_set_is_a_setting(name: str) -> None:
    """Lists, read-only and unknown fields, and those that the order itself decides, are refused by name."""
    with pytest.raises(RejectedError, match=name) as caught:
        free_fields({name: "1"}, DEFINITIONS, frozenset({"char"}), "order.extra")

    assert AttentionReason.CONFIGURATION is caught.value.reason
    assert f"`order.extra.{name}`" in caught.value.hint
