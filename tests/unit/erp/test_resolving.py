"""Whether the order that a person has named becomes the record's."""

from __future__ import annotations

from decimal import Decimal

import pytest

from closedwon.erp.base import CannotLookUpError, OthersOrderError, RejectedError, UnknownOrderError
from closedwon.erp.errors import SeveralErpsError
from closedwon.erp.resolving import by_number_alone, look_up_named, only_candidate, take_found
from closedwon.model.erp import ErpOrder, ErpStatus, Origin
from closedwon.model.erp_calls import Taken
from closedwon.model.orders import Order
from tests.support.memory_erp import CANCELLED, DRAFT, EARLY, MemoryErp, held, sold

ORDER = sold()
KEY = ORDER.idempotency_key
NOTHING = "the record asks for no order, or cannot be read"
BY_HAND = held(idempotency_key=None, origin=None, modified_at=None)
UNLIKE = BY_HAND.model_copy(update={"customer": "C9"})
RESOLVED = {"origin": Origin.RESOLVED, "idempotency_key": KEY}


async def take_named(
    erp: MemoryErp, number: str, key: str, order: Order | None, *, accept_differences: bool = False
) -> Taken:
    """Look the order up and take it, as for a record that may have its order in one ERP only."""
    found = await look_up_named(erp, number, key)
    return await take_found(erp, found, key, order, accept_differences=accept_differences)


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
    """The person confirms it; its amount is unknown and has no currency."""
    assert ErpOrder(
        id="SO7", number="SO7", status=ErpStatus.CONFIRMED, currency="XXX", amount=Decimal(0), line_count=0
    ) == by_number_alone("SO7")


async def test_what_cannot_be_compared_is_not_taken() -> None:
    """The record was never read, so the order cannot be compared; nothing is changed until a person accepts that."""
    erp = MemoryErp(BY_HAND)
    taken = await take_named(erp, "SO1", KEY, None)
    assert (None, []) == (taken.order, erp.writes)
    assert "cannot be compared" in str(taken.differences)
    await take_found(erp, BY_HAND, KEY, None, accept_differences=True)
    assert ["claim"] == erp.writes


@pytest.mark.parametrize("status", list(ErpStatus))
async def test_a_draft_or_quotation_is_confirmed(status: ErpStatus) -> None:
    """After it has the key; what is confirmed or beyond is taken as it is."""
    erp = MemoryErp(BY_HAND.model_copy(update={"status": status}))
    if status is CANCELLED:
        with pytest.raises(UnknownOrderError, match="order SO1 has been cancelled"):
            await take_named(erp, "SO1", KEY, ORDER, accept_differences=True)
        assert [] == erp.writes
        return
    is_order = status not in {ErpStatus.DRAFT, ErpStatus.QUOTATION}
    expected = BY_HAND.model_copy(
        update={**RESOLVED, "modified_at": EARLY, "status": status if is_order else ErpStatus.CONFIRMED}
    )
    assert Taken(order=expected) == await take_named(erp, "SO1", KEY, ORDER)
    assert (["claim"] if is_order else ["claim", "advance"]) == erp.writes


@pytest.mark.parametrize(("number", "name"), [("SO1", "SO1"), (None, "1")])
async def test_a_draft_that_cannot_have_the_key_is_left_to_people(number: str | None, name: str) -> None:
    """After the confirmation it could not be found again, so nothing is changed."""
    draft = BY_HAND.model_copy(update={"status": DRAFT, "number": number})
    erp = MemoryErp(draft, stores_keys=False)
    with pytest.raises(RejectedError, match=f"Order {name} in ERP memory is a draft") as caught:
        await take_found(erp, draft, KEY, ORDER)
    assert f"Confirm order {name} in the ERP, then send `retry`." == caught.value.hint
    assert [] == erp.writes


async def test_an_order_without_a_number_is_named_by_its_id() -> None:
    """In what a person reads about it."""
    unnamed = UNLIKE.model_copy(update={"number": None})
    differing = await take_found(MemoryErp(unnamed), unnamed, KEY, ORDER)
    unread = await take_found(MemoryErp(unnamed), unnamed, KEY, None)
    assert "Order 1 in ERP memory is not what the record asks for: it is for another customer" == differing.differences
    assert f"Order 1 in ERP memory cannot be compared: {NOTHING}" == unread.differences


@pytest.mark.parametrize("order", [ORDER, None])
def test_the_only_erp_with_an_order_of_that_number_is_meant(order: Order | None) -> None:
    """Whether it agrees is seen when it is taken."""
    assert "a" == only_candidate({"a": UNLIKE}, "SO1", order)


def test_of_several_erps_the_only_order_that_agrees_is_meant() -> None:
    """In whatever order they were asked."""
    for shown in ({"a": UNLIKE, "b": BY_HAND}, {"b": BY_HAND, "a": UNLIKE}, {"a": UNLIKE, "b": BY_HAND, "c": UNLIKE}):
        assert "b" == only_candidate(shown, "SO1", ORDER)


@pytest.mark.parametrize(
    ("shown", "order", "what"),
    [
        ({"a": BY_HAND, "b": BY_HAND}, ORDER, "in a all agrees; in b all agrees"),
        ({"a": UNLIKE, "b": UNLIKE}, ORDER, "in a it is for another customer; in b it is for another customer"),
        ({"a": BY_HAND, "b": BY_HAND}, None, f"in a {NOTHING}; in b {NOTHING}"),
    ],
)
def test_a_number_in_several_erps_is_not_guessed(shown: dict[str, ErpOrder], order: Order | None, what: str) -> None:
    """None agrees, more than one does, or there is nothing to compare with."""
    with pytest.raises(SeveralErpsError, match=f"a and b have an order SO1 each, .*: {what}$"):
        only_candidate(shown, "SO1", order)
