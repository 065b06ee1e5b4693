"""Take the ERP order that a person has named (command `resolve`) as a record's order.

As in `adopting`, the order is looked up and compared before anything is changed. There are two differences. A person
who has seen the differences may accept them. And the ERP need not be able to store the key: then the order is known by
its number only, and no policy ever changes or cancels it.

If several ERPs may have the order, all of them are asked for the number before anything is changed. Each ERP assigns
its own numbers, so the same number may be another customer's order in another ERP.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from closedwon.erp.advancing import advance_order
from closedwon.erp.comparing import differences
from closedwon.erp.errors import DuplicateError, OthersOrderError, RejectedError, SeveralErpsError, UnknownOrderError
from closedwon.erp.protocol import Erp
from closedwon.model.erp import ErpOrder, ErpStatus, Origin
from closedwon.model.erp_calls import Taken
from closedwon.model.orders import Order

_NOTHING_ASKED: Final = "the record asks for no order, or cannot be read"
_NO_CURRENCY: Final = "XXX"
"""ISO 4217 for "no currency": the amount of an order that was taken by its number only is unknown."""


async def look_up_named(erp: Erp, number: str, idempotency_key: str) -> ErpOrder:
    """Return the order with this number; nothing is changed.

    Raises `UnknownOrderError` if the ERP does not have it, or it is cancelled or another record's, and
    `CannotLookUpError` if the ERP cannot look orders up by number.
    """
    found = await erp.find_by_number(number)
    if found is None:
        raise UnknownOrderError(f"{erp.name} has no order {number}")
    if found.idempotency_key not in {None, idempotency_key}:
        raise OthersOrderError(f"{erp.name}: order {number} is another record's")
    if found.status is ErpStatus.CANCELLED:
        raise UnknownOrderError(f"ERP order {number} has been cancelled in the ERP")
    return found


def only_candidate(shown: Mapping[str, ErpOrder], number: str, order: Order | None) -> str:
    """Name the ERP whose order with this number is the record's: the only one, or the only one that agrees.

    Raises `SeveralErpsError` if none or several agree. It does not matter whether the person accepts differences: the
    person has named a number, not an ERP.
    """
    if len(shown) == 1:
        return next(iter(shown))
    differing = {
        name: differences(found, order) if order is not None else [_NOTHING_ASKED] for name, found in shown.items()
    }
    agreeing = [name for name, what in differing.items() if not what]
    if len(agreeing) != 1:
        raise SeveralErpsError(number, differing)
    return agreeing[0]


async def take_found(
    erp: Erp, found: ErpOrder, idempotency_key: str, order: Order | None, *, accept_differences: bool = False
) -> Taken:
    """Store the record's key with `found` (of `look_up_named`) if it agrees with `order`, and confirm it if needed.

    An `order` of None never agrees. Raises `RejectedError` for a draft that the ERP does not confirm, or whose key it
    cannot store.
    """
    number = found.number or found.id
    if not accept_differences and order is None:
        return Taken(differences=f"Order {number} in ERP {erp.name} cannot be compared: {_NOTHING_ASKED}")
    if order is not None and not accept_differences and (what := differences(found, order)):
        return Taken(differences=f"Order {number} in ERP {erp.name} is not what the record asks for: {'; '.join(what)}")
    taken = await _claim(erp, found, idempotency_key, order)
    if taken.order is None or taken.order.status.exists_as_order:
        return taken
    if taken.keyless:
        raise RejectedError(
            f"Order {number} in ERP {erp.name} is a {found.status.value}, and the ERP cannot store the record's key "
            "with it, so it cannot be confirmed from here",
            hint=f"Confirm order {number} in the ERP, then send `retry`.",
        )
    return taken.model_copy(update={"order": await advance_order(erp, taken.order, idempotency_key)})


async def _claim(erp: Erp, found: ErpOrder, idempotency_key: str, order: Order | None) -> Taken:
    modified_at = order.modified_at if order is not None else None
    try:
        claimed = await erp.claim(found, idempotency_key, origin=Origin.RESOLVED, modified_at=modified_at)
    except DuplicateError:
        # A cancelled order has the key, so this one is known by its number only. The next look-up finds any other.
        claimed = None
    return Taken(order=claimed or found, keyless=claimed is None)


def by_number_alone(number: str) -> ErpOrder:
    """Make the order that no ERP can show, because a person has named its number."""
    return ErpOrder(
        id=number,
        number=number,
        status=ErpStatus.CONFIRMED,
        currency=_NO_CURRENCY,
        amount=Decimal(0),
        line_count=0,
    )
