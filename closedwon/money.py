"""Amounts as people read them: with the digits of their currency, and no others.

`2.0 × 10.00` is shown as `20.00 EUR`, never `20.000 EUR`, which half of Europe reads as twenty thousand.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Final

_DIGITS: Final = {
    **dict.fromkeys(
        (
            "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF",
            "XOF", "XPF",
        ),
        0,
    ),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}  # fmt: skip
"""ISO 4217, list one: currencies whose smallest unit is not a hundredth."""
_EXACT: Final = 60
"""Digits: more than any sum of quantities and prices has, so that nothing is rounded on the way."""


def minor_digits(currency: str) -> int:
    """Digits after the point by ISO 4217."""
    return _DIGITS.get(currency, 2)


def smallest_unit(currency: str) -> Decimal:
    """The smallest unit of a currency by ISO 4217, such as 0.01."""
    return Decimal(1).scaleb(-minor_digits(currency))


def amount_text(amount: Decimal, currency: str) -> str:
    """Write an amount with its currency: `1,200.00 EUR`. More digits are shown only if the amount really has them."""
    with localcontext(prec=_EXACT):
        rounded = amount.quantize(smallest_unit(currency), rounding=ROUND_HALF_UP)
        return f"{rounded if rounded == amount else amount.normalize():,f} {currency}"
