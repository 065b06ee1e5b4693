"""Taking the ERP order that a person has named (`resolve`) for a record's order.

As in `adopting` the order is looked up and compared before it is touched. The difference: a person who has seen how it
differs may take it, and an ERP that cannot store the key does not stand in the way: the order is then known by its
number only, so that no policy ever changes or cancels it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from closedwon.erp.comparing import differences
from closedwon.erp.errors import DuplicateError, OthersOrderError, UnknownOrderError
from closedwon.erp.protocol import Erp
from closedwon.model import ErpOrder, ErpStatus, Frozen, Order, Origin

_NO_CURRENCY: Final = "XXX"
"""ISO 4217 for none: of an order that was taken by its number alone, the amount is not known."""


class Taken(Frozen):
    """What came of it. Nothing was changed in the ERP unless `order` is set."""

    order: ErpOrder | None = None
    differences: str | None = None
    """A sentence: how the order differs from what the record asks for."""
    keyless: bool = False
    """The ERP does not store the record's key with `order`."""


async def take_named(
    erp: Erp, number: str, idempotency_key: str, order: Order | None, *, accept_differences: bool = False
) -> Taken:
    """Give the order that people call `number` the record's key, if it agrees with `order`; None agrees with nothing.

    Raises `UnknownOrderError` if it is not there, is cancelled, or is another record's, and `CannotLookUpError` where
    the ERP cannot say.
    """
    found = await erp.find_by_number(number)
    if found is None:
        raise UnknownOrderError(f"{erp.name} has no order {number}")
    if found.idempotency_key not in {None, idempotency_key}:
        raise OthersOrderError(f"{erp.name}: order {number} is another record's")
    if found.status is ErpStatus.CANCELLED:
        raise UnknownOrderError(f"ERP order {number} has been cancelled in the ERP")
    if not accept_differences and order is None:
        return Taken(differences=f"Order {number} in ERP {erp.name} cannot be compared: the record was not read")
    if order is not None and not accept_differences and (what := differences(found, order)):
        return Taken(differences=f"Order {number} in ERP {erp.name} is not what the record asks for: {'; '.join(what)}")
    return await _claim(erp, found, idempotency_key, order)


async def _claim(erp: Erp, found: ErpOrder, idempotency_key: str, order: Order | None) -> Taken:
    modified_at = order.modified_at if order is not None else None
    try:
        claimed = await erp.claim(found, idempotency_key, origin=Origin.RESOLVED, modified_at=modified_at)
    except DuplicateError:
        # A cancelled order keeps the key: this one is known by its number. One that lives is seen by the next look.
        claimed = None
    return Taken(order=claimed or found, keyless=claimed is None)


def by_number_alone(number: str) -> ErpOrder:
    """An order that no ERP can show: taken because a person has named it."""
    return ErpOrder(
        id=number,
        number=number,
        status=ErpStatus.CONFIRMED,
        currency=_NO_CURRENCY,
        amount=Decimal(0),
        line_count=0,
    )
