"""Amounts and currencies: the decimals of a currency, and how an amount is written for people.

This module does not use orders, records or settings.
"""

from __future__ import annotations

from decimal import Context, Decimal
from typing import Final

_MINOR_DIGITS: Final = {
    **dict.fromkeys(
        [
            "BIF",
            "CLP",
            "DJF",
            "GNF",
            "ISK",
            "JPY",
            "KMF",
            "KRW",
            "PYG",
            "RWF",
            "UGX",
            "UYI",
            "VND",
            "VUV",
            "XAF",
            "XOF",
            "XPF",
        ],
        0,
    ),
    **dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3),
    **dict.fromkeys(["CLF", "UYW"], 4),
}
"""Decimals by ISO 4217, for currencies that do not have two."""
_EXACT: Final = Context(prec=200)
"""More digits than the product of any two numbers that a mapping accepts."""


def minor_digits(currency: str) -> int:
    """Return the decimals that amounts of this currency have, by ISO 4217; two for an unknown one."""
    return _MINOR_DIGITS.get(currency, 2)


def minor_unit(currency: str) -> Decimal:
    """Return the smallest amount of this currency, such as 0.01."""
    return Decimal(1).scaleb(-minor_digits(currency))


def amount_text(amount: Decimal, currency: str) -> str:
    """Write an amount with the decimals of its currency, as in `1234.50`; with more only if it has more.

    The point is the only separator, because a separator of thousands is a decimal mark in other countries.
    """
    plain = amount.normalize(_EXACT)
    exponent = plain.as_tuple().exponent
    decimals = max(minor_digits(currency), -exponent if isinstance(exponent, int) else 0)
    return f"{plain:.{decimals}f}"


def money(amount: Decimal, currency: str) -> str:
    """Write an amount with its currency, as in `1234.50 EUR`."""
    return f"{amount_text(amount, currency)} {currency}"
