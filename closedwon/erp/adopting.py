"""Adopt an ERP order that was made by hand and that the Salesforce record names.

The order number on a record is text. People type it, and Salesforce copies it with the record. So it often names
another customer's order: a digit is mistyped, last year's deal is cloned, or a restored ERP assigns numbers again.

Therefore the order with that number is looked up without a side effect and compared in every respect that the ERP
knows; an unknown value counts as a difference. Only an order that agrees completely is claimed: it gets the record's
key. In every other case a person decides, and nothing was changed before.
"""

from __future__ import annotations

from closedwon.erp.comparing import differences
from closedwon.erp.errors import CannotLookUpError, OrderExistsError, OthersOrderError, UnknownError
from closedwon.erp.protocol import Erp
from closedwon.model.erp import ErpOrder, Origin
from closedwon.model.erp_calls import OnRecord
from closedwon.model.orders import Order


async def adopt(erp: Erp, order: Order, said: OnRecord) -> ErpOrder | None:
    """Claim the order that the record names, if it agrees completely. None: there is none, so one can be created.

    Call this only if the ERP has no order with the record's key. Raises `OrderExistsError`, with nothing changed, if a
    person must decide.
    """
    if said.unproven_status is not None:
        raise _may_be_declined(erp, said.unproven_status)
    if said.number is None:
        return None
    found = await _look_up(erp, said.number, said)
    if found is None:
        return None
    if found.idempotency_key == order.idempotency_key:
        raise UnknownError(f"{erp.name}: order {said.number} has the record's key, but the look-up by key misses it")
    if found.idempotency_key is not None:
        return None  # another record's order: the number was copied with that record
    if what := differences(found, order):
        raise _differs(erp, said, what)
    return await _claim(erp, order, found)


async def _look_up(erp: Erp, number: str, said: OnRecord) -> ErpOrder | None:
    try:
        found = await erp.find_by_number(number)
    except CannotLookUpError:
        raise _cannot_say(erp, number, "cannot say whether it has that one") from None
    if found is None and not said.single_erp:
        raise _cannot_say(erp, number, "nothing says whether another ERP has that one")
    if found is None and not said.number_is_proven:
        raise _is_unknown(erp, number)
    return found  # None: the ERP has lost the order


async def _claim(erp: Erp, order: Order, found: ErpOrder) -> ErpOrder | None:
    try:
        claimed = await erp.claim(found, order.idempotency_key, origin=Origin.ADOPTED, modified_at=order.modified_at)
    except OthersOrderError:
        return None  # another record has claimed it in the meantime
    if claimed is None:
        raise _cannot_keep_key(erp, found.number or found.id)
    return claimed


def _may_be_declined(erp: Erp, status: str) -> OrderExistsError:
    return OrderExistsError(
        f"The record's status field says {status!r}, but ERP {erp.name} has no order under the record's key, and "
        "nothing proves that this status is about this record: it may have been copied with another one",
        hint="To order, empty the record's status field and send `retry`; if no order is needed, send `skip`.",
    )


def _cannot_say(erp: Erp, number: str, why: str) -> OrderExistsError:
    return OrderExistsError(
        f"The record has order number {number} already, but ERP {erp.name} has no order under the record's key, and "
        f"{why}",
        hint="If that is this record's order, send `resolve` with its number. If the number was copied with another "
        "record, or mistyped, empty the record's number field and send `retry`.",
    )


def _is_unknown(erp: Erp, number: str) -> OrderExistsError:
    return OrderExistsError(
        f"The record has order number {number} already, but ERP {erp.name} has no order of that number and none under "
        "the record's key, and Closedwon did not write that number: it may be typed in another way than the ERP's",
        hint=f"If the order exists, send `resolve` with its number as {erp.name} writes it, or correct the record's "
        "number field and send `retry`; else empty that field and send `retry`, which orders.",
    )


def _differs(erp: Erp, said: OnRecord, what: list[str]) -> OrderExistsError:
    proven = ", which Closedwon wrote itself," if said.number_is_proven else ""
    return OrderExistsError(
        f"The record has order number {said.number}{proven} and ERP {erp.name} has that order without a record's key, "
        f"but it is not taken for this record's: {'; '.join(what)}",
        hint="If it is this record's order, make both agree and send `retry`, or send `resolve` with its "
        "number; else empty the record's number field and send `retry`, which orders.",
    )


def _cannot_keep_key(erp: Erp, number: str) -> OrderExistsError:
    return OrderExistsError(
        f"The record has order number {number} already, and ERP {erp.name} has that order, but it cannot store the "
        "record's key with it",
        hint="Send `resolve` with that number to take it; else empty the record's number field and send `retry`.",
    )
