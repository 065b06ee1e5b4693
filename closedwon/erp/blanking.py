"""Remove customer data from an ERP's refusals, because they appear in logs and in Temporal's UI.

`closedwon.erp.http.quote` puts the ERP's message into one line and cuts it. So texts are compared with normalized white
space, and a text that was cut off at the end of the message is found as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from closedwon.erp.errors import RejectedError
from closedwon.model.orders import Order

_SHORTEST: Final = 3
"""Characters. Replacing shorter texts would destroy the message and protect nothing."""
_BLANK: Final = "…"


@contextmanager
def blanked(order: Order) -> Iterator[None]:
    """Replace the texts of `order` in a `RejectedError`; product codes, amounts and keys stay."""
    try:
        yield
    except RejectedError as error:
        error.args = (without(str(error), _texts(order)),)  # the same error: its type says more than its text
        raise


def without(message: str, texts: list[str]) -> str:
    """Return `message` with each of `texts` replaced by "…", ignoring case, also if its end was cut off."""
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
            for length in range(_SHORTEST, len(text))
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
    return [text for text in texts if len(text) >= _SHORTEST]
