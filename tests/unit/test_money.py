"""Amounts are written with the decimals of their currency, the same in every part of the product."""

from __future__ import annotations

from decimal import Decimal

import pytest

from closedwon.money import amount_text, minor_digits, minor_unit, money


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        ("20.000", "EUR", "20.00 EUR"),
        ("20", "EUR", "20.00 EUR"),
        ("1E+3", "EUR", "1000.00 EUR"),
        ("0", "EUR", "0.00 EUR"),
        ("0E+3", "EUR", "0.00 EUR"),
        ("-12.5", "EUR", "-12.50 EUR"),
        ("89.991", "EUR", "89.991 EUR"),
        ("31", "JPY", "31 JPY"),
        ("31.50", "JPY", "31.5 JPY"),
        ("31.2", "HUF", "31.20 HUF"),
        ("1.5", "KWD", "1.500 KWD"),
        ("1.5", "CLF", "1.5000 CLF"),
        ("1.5", "XXX", "1.50 XXX"),
        ("12345678901234567890123456789.12", "EUR", "12345678901234567890123456789.12 EUR"),
    ],
)
def test_an_amount_has_the_decimals_of_its_currency(amount: str, currency: str, expected: str) -> None:
    """More decimals are shown only where the amount has them: two amounts that differ never look the same."""
    assert expected == money(Decimal(amount), currency)
    assert expected == f"{amount_text(Decimal(amount), currency)} {currency}"


@pytest.mark.parametrize(
    ("currency", "digits", "unit"), [("EUR", 2, "0.01"), ("JPY", 0, "1"), ("TND", 3, "0.001"), ("UYW", 4, "0.0001")]
)
def test_the_smallest_unit_of_a_currency(currency: str, digits: int, unit: str) -> None:
    """By ISO 4217."""
    assert (digits, Decimal(unit)) == (minor_digits(currency), minor_unit(currency))
