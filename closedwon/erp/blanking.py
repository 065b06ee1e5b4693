"""Taking what the ERP quotes of the customer and the deal out of its refusals: they end in logs and in Temporal's UI.

An ERP's words reach us in one line and cut to a length (`closedwon.erp.http.quote`), so texts are compared with their
white space normalized, and a text that was cut in the middle at the end of the message is found, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from closedwon.erp.errors import RejectedError
from closedwon.model import Order

_TELLING: Final = 3
"""Characters; blanking anything shorter would only make the message unreadable."""
_BLANK: Final = "…"


@contextmanager
def blanked(order: Order) -> Iterator[None]:
    """Blank the texts of `order` in a `RejectedError`; product codes, amounts and keys stay."""
    try:
        yield
    except RejectedError as error:
        message = without(str(error), _texts(order))
        raise RejectedError(message, reason=error.reason, cure=error.cure) from error.__cause__


def without(message: str, texts: list[str]) -> str:
    """`message` with each of `texts` blanked, in whatever case, also where its end was cut off."""
    for text in sorted(texts, key=len, reverse=True):
        message = re.sub(re.escape(text), _BLANK, message, flags=re.IGNORECASE)
    return _without_cut_end(message, texts)


def _without_cut_end(message: str, texts: list[str]) -> str:
    if not message.endswith(_BLANK):
        return message
    kept = message.removesuffix(_BLANK)
    longest = max(
        (
            length
            for text in texts
            for length in range(_TELLING, len(text))
            if kept.lower().endswith(text[:length].lower())
        ),
        default=0,
    )
    return kept[: len(kept) - longest] + _BLANK


def _texts(order: Order) -> list[str]:
    customer = order.customer
    given = [
        *(customer.name, customer.street, customer.city, customer.postal_code, order.name, order.reference),
        *order.extra.values(),
        *(line.description for line in order.lines),
        *(text for line in order.lines for text in line.extra.values()),
    ]
    texts = (" ".join(text.split()) for text in given if text)
    return [text for text in texts if len(text) >= _TELLING]
