"""Taking an ERP order that was made by hand for a record's order: look, compare, and only then touch.

A number on a record is text that people type and that is copied with the record. A number that names another
customer's order is not rare: a digit is mistyped, last year's deal is cloned, an ERP was restored and gives numbers
away a second time. So the order of that number is looked up without a side effect and compared in every respect that
the ERP knows; what is not known counts as a difference. Only what agrees completely is claimed, that is, gets the
record's key. Everything else is a person's decision, and nothing was changed when the person is asked.
"""

from __future__ import annotations

from closedwon.erp.comparing import differences
from closedwon.erp.errors import CannotLookUpError, OrderExistsError, OthersOrderError, UnknownError
from closedwon.erp.protocol import Erp
from closedwon.model import ErpOrder, Frozen, Order, Origin


class OnRecord(Frozen):
    """What the Salesforce record says about its order, of which `find` knows nothing yet."""

    number: str | None = None
    """The order number that the record shows: Closedwon's own, typed, or copied with the record."""
    number_is_proven: bool = False
    """Closedwon wrote that number itself. It is compared like any other: the ERP may have been restored since."""
    unproven_status: str | None = None
    """The record says that its order was declined, and nothing proves that this is about this record."""
    is_only: bool = True
    """No other ERP may have the order."""


async def adopt(erp: Erp, order: Order, said: OnRecord) -> ErpOrder | None:
    """Claim the order that the record names if it agrees completely; None: there is none, so one can be created.

    To be called when the ERP has no order under the record's key. Raises `OrderExistsError` with nothing changed where
    a person must decide.
    """
    if said.unproven_status is not None:
        raise _may_be_declined(erp, said.unproven_status)
    if said.number is None:
        return None
    found = await _look_up(erp, said.number, is_only=said.is_only)
    if found is None:
        return None
    if found.idempotency_key == order.idempotency_key:
        raise UnknownError(f"{erp.name}: order {said.number} has the record's key, but is not found by it yet")
    if found.idempotency_key is not None:
        return None  # another record's order: the number was copied with that record
    if what := differences(found, order):
        raise _differs(erp, said, what)
    return await _claim(erp, order, found)


async def _look_up(erp: Erp, number: str, *, is_only: bool) -> ErpOrder | None:
    try:
        found = await erp.find_by_number(number)
    except CannotLookUpError:
        raise _cannot_say(erp, number, "cannot say whether it has that one") from None
    if found is None and not is_only:
        raise _cannot_say(erp, number, "nothing says whether another ERP has that one")
    return found  # None: the number was copied from another system, or the ERP has lost the order


async def _claim(erp: Erp, order: Order, found: ErpOrder) -> ErpOrder | None:
    try:
        claimed = await erp.claim(found, order.idempotency_key, origin=Origin.ADOPTED, modified_at=order.modified_at)
    except OthersOrderError:
        return None  # it was given to another record a moment ago
    if claimed is None:
        raise _cannot_keep_key(erp, found.number or found.id)
    return claimed


def _may_be_declined(erp: Erp, status: str) -> OrderExistsError:
    return OrderExistsError(
        f"The record's status field says {status!r}, but ERP {erp.name} has no order under the record's key, and "
        "nothing proves that this status is about this record: it may have been copied with another one",
        cure="To order, empty the record's status field and send `retry`; if no order is needed, send `skip`.",
    )


def _cannot_say(erp: Erp, number: str, why: str) -> OrderExistsError:
    return OrderExistsError(
        f"The record has order number {number} already, but ERP {erp.name} has no order under the record's key, and "
        f"{why}",
        cure="If that order exists, send `resolve` with its number; else empty the record's number field and send "
        "`retry`.",
    )


def _differs(erp: Erp, said: OnRecord, what: list[str]) -> OrderExistsError:
    proven = ", which Closedwon wrote itself," if said.number_is_proven else ""
    return OrderExistsError(
        f"The record has order number {said.number}{proven} and ERP {erp.name} has that order without a record's key, "
        f"but it is not taken for this record's: {'; '.join(what)}",
        cure="If it is this record's order, make both agree and send `retry`, or send `resolve` with its "
        "number; else empty the record's number field and send `retry`, which orders.",
    )


def _cannot_keep_key(erp: Erp, number: str) -> OrderExistsError:
    return OrderExistsError(
        f"The record has order number {number} already, and ERP {erp.name} has that order, but it cannot store the "
        "record's key with it",
        cure="Send `resolve` with that number to take it; else empty the record's number field and send `retry`.",
    )
