"""The smallest unit of each currency by ISO 4217, and amounts as people read them. Pure functions."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

_DIGITS: Final = {
    digits: frozenset(codes.split())
    for digits, codes in {
        0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
        3: "BHD IQD JOD KWD LYD OMR TND",
        4: "CLF UYW",
    }.items()
}
"""Digits after the point of the currencies that do not have two; ISO 4217, list one."""
_USUAL: Final = 2


def digits(currency: str) -> int:
    """How many digits after the point ISO 4217 gives the currency; two for one that it does not know."""
    return next((number for number, codes in _DIGITS.items() if currency in codes), _USUAL)


def minor_unit(currency: str) -> Decimal:
    """The smallest unit of the currency, such as 0.01."""
    return Decimal(1).scaleb(-digits(currency))


def money(amount: Decimal, currency: str) -> str:
    """The amount with the currency's own digits, or with more where it has more: `20.00 EUR`, `0.333 EUR`, `31 JPY`."""
    exact = amount.normalize()
    exponent = exact.as_tuple().exponent
    decimals = max(digits(currency), -exponent if isinstance(exponent, int) else 0)
    return f"{exact:.{decimals}f} {currency}"
