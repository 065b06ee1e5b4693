"""Which order that a person has named becomes the record's."""

from __future__ import annotations

from decimal import Decimal

import pytest

from closedwon.erp.base import CannotLookUpError, OthersOrderError, UnknownOrderError
from closedwon.erp.resolving import Taken, by_number_alone, take_named
from closedwon.model import ErpOrder, ErpStatus, Order, Origin
from tests.support.memory_erp import CANCELLED, EARLY, MemoryErp, held, sold

ORDER = sold()
KEY = ORDER.idempotency_key
BY_HAND = held(idempotency_key=None, origin=None, modified_at=None)
UNLIKE = BY_HAND.model_copy(update={"customer": "C9"})
RESOLVED = {"origin": Origin.RESOLVED, "idempotency_key": KEY}


@pytest.mark.parametrize(
    ("found", "order", "accept", "expected"),
    [
        (BY_HAND, ORDER, False, BY_HAND.model_copy(update={**RESOLVED, "modified_at": EARLY})),
        (BY_HAND, ORDER, True, BY_HAND.model_copy(update={**RESOLVED, "modified_at": EARLY})),
        (BY_HAND, None, True, BY_HAND.model_copy(update=RESOLVED)),
        (UNLIKE, ORDER, True, UNLIKE.model_copy(update={**RESOLVED, "modified_at": EARLY})),
        (held(), ORDER, False, held().model_copy(update=RESOLVED)),
    ],
    ids=["agrees", "agrees, accepted", "not compared, accepted", "unlike, accepted", "its own already"],
)
async def test_the_named_order_gets_the_key(
    found: ErpOrder,
    order: Order | None,
    accept: bool,  # noqa: FBT001
    expected: ErpOrder,
) -> None:
    """With `resolved` as its origin, and the time of what it was compared with."""
    erp = MemoryErp(found)
    assert Taken(order=expected) == await take_named(erp, "SO1", KEY, order, accept_differences=accept)
    assert ["claim"] == erp.writes


async def test_an_order_that_differs_is_shown_and_left_alone() -> None:
    """Every difference is named; nothing was changed."""
    erp = MemoryErp(UNLIKE.model_copy(update={"order_date": None}))
    assert Taken(
        differences="Order SO1 in ERP memory is not what the record asks for: it is for another customer; "
        "the ERP does not say when it was placed"
    ) == await take_named(erp, "SO1", KEY, ORDER)
    assert [] == erp.writes


@pytest.mark.parametrize(
    ("found", "number", "error", "message"),
    [
        (BY_HAND, "SO2", UnknownOrderError, "memory has no order SO2"),
        (BY_HAND.model_copy(update={"status": CANCELLED}), "SO1", UnknownOrderError, "order SO1 has been cancelled"),
        (held(idempotency_key=f"{KEY}9"), "SO1", OthersOrderError, "order SO1 is another record's"),
    ],
)
@pytest.mark.parametrize("accept", [True, False])
async def test_an_order_that_cannot_be_the_records_is_refused(
    found: ErpOrder,
    number: str,
    error: type[UnknownOrderError],
    message: str,
    accept: bool,  # noqa: FBT001
) -> None:
    """Whatever the person accepts."""
    erp = MemoryErp(found)
    with pytest.raises(UnknownOrderError, match=message) as caught:
        await take_named(erp, number, KEY, ORDER, accept_differences=accept)
    assert error is type(caught.value)
    assert [] == erp.writes


async def test_an_erp_that_cannot_look_up_says_so() -> None:
    """The caller asks the person."""
    with pytest.raises(CannotLookUpError):
        await take_named(MemoryErp(BY_HAND, looks_up_numbers=False), "SO1", KEY, ORDER)


@pytest.mark.parametrize(
    "erp",
    [
        MemoryErp(BY_HAND, stores_keys=False),
        MemoryErp(BY_HAND, held(id="2", number="SO0", status=CANCELLED)),
    ],
    ids=["cannot store keys", "a cancelled order keeps the key"],
)
async def test_an_order_that_cannot_get_the_key_is_taken_by_its_number(erp: MemoryErp) -> None:
    """It is marked, so that no policy changes or cancels it."""
    assert Taken(order=BY_HAND, keyless=True) == await take_named(erp, "SO1", KEY, ORDER)
    assert [] == erp.writes


def test_an_order_that_no_erp_can_show() -> None:
    """Confirmed by the person's word; its amount is not known, and in no currency."""
    assert ErpOrder(
        id="SO7", number="SO7", status=ErpStatus.CONFIRMED, currency="XXX", amount=Decimal(0), line_count=0
    ) == by_number_alone("SO7")


async def test_what_cannot_be_compared_is_not_taken() -> None:
    """The record was never read: nothing says whose the order is, so nothing changes until a person accepts that."""
    erp = MemoryErp(BY_HAND)
    taken = await take_named(erp, "SO1", KEY, None)
    assert (None, []) == (taken.order, erp.writes)
    assert "cannot be compared" in str(taken.differences)
