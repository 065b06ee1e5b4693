"""An order that the record names is adopted only if it agrees; in every other case nothing is changed."""

from __future__ import annotations

from typing import Any

import pytest

from closedwon.erp.adopting import adopt
from closedwon.erp.base import DuplicateError, OrderExistsError, OthersOrderError, UnknownError
from closedwon.model.erp import ErpOrder, Origin
from closedwon.model.erp_calls import OnRecord
from tests.support.memory_erp import EARLY, MemoryErp, held, sold

ORDER = sold()
BY_HAND = held(idempotency_key=None, origin=None, modified_at=None)
OTHERS = "00D000000000001EAA:006000000000009AAA"


def said(number: str | None = "SO1", **fields: Any) -> OnRecord:
    """What the record shows."""
    return OnRecord(number=number, **fields)


@pytest.mark.parametrize("single_erp", [True, False])
@pytest.mark.parametrize("number_is_proven", [True, False])
async def test_an_order_that_agrees_is_claimed(single_erp: bool, number_is_proven: bool) -> None:  # noqa: FBT001
    """It gets the record's key, its modification time, and `adopted` as its origin."""
    erp = MemoryErp(BY_HAND)
    claimed = await adopt(erp, ORDER, said(single_erp=single_erp, number_is_proven=number_is_proven))
    assert held(origin=Origin.ADOPTED, modified_at=EARLY) == claimed == erp.orders["1"]
    assert ["claim"] == erp.writes


@pytest.mark.parametrize(
    ("orders", "on_record"),
    [
        ([BY_HAND], said(None)),
        ([BY_HAND], said(None, single_erp=False)),
        ([BY_HAND], said("SO2", number_is_proven=True)),
        ([held(idempotency_key=OTHERS)], said()),
        ([held(idempotency_key=OTHERS)], said(single_erp=False)),
    ],
    ids=["no number", "no number, several ERPs", "lost by the ERP", "another record's", "another record's, several"],
)
async def test_the_record_names_no_order_of_its_own(orders: list[ErpOrder], on_record: OnRecord) -> None:
    """An order can be created; the one that was named stays untouched."""
    erp = MemoryErp(*orders)
    assert await adopt(erp, ORDER, on_record) is None
    assert [] == erp.writes


@pytest.mark.parametrize(
    ("erp", "on_record", "message", "hint"),
    [
        (
            MemoryErp(BY_HAND),
            said(unproven_status="cancelled"),
            r"status field says 'cancelled', but ERP memory has no order under",
            "empty the record's status field",
        ),
        (MemoryErp(), said(None, unproven_status="not needed"), "'not needed'", "send `skip`"),
        (
            MemoryErp(BY_HAND, looks_up_numbers=False),
            said(),
            "order number SO1 already, but ERP memory has no order under the record's key, and cannot say whether",
            "send `resolve` with its number",
        ),
        (
            MemoryErp(BY_HAND),
            said("SO2", single_erp=False),
            "order number SO2 already.*nothing says whether another ERP has that one",
            "send `resolve` with its number",
        ),
        (
            MemoryErp(BY_HAND),
            said("so1"),
            "order number so1 already, but ERP memory has no order of that number and none under the record's key",
            "If the order exists, send `resolve` with its number as memory writes it",
        ),
        (
            MemoryErp(BY_HAND, stores_keys=False),
            said(),
            "ERP memory has that order, but it cannot store the record's key with it",
            "Send `resolve` with that number",
        ),
        (
            MemoryErp(held(sold(currency="USD"), idempotency_key=None)),
            said(),
            "number SO1 and ERP memory has that order without a record's key, but .*: it holds 25.00 USD",
            "make both agree",
        ),
        (
            MemoryErp(BY_HAND.model_copy(update={"customer": "C9", "order_date": None})),
            said(number_is_proven=True),
            "SO1, which Closedwon wrote itself, and .*: it is for another customer; the ERP does not say when",
            "make both agree",
        ),
    ],
)
async def test_a_person_decides_and_nothing_was_touched(
    erp: MemoryErp, on_record: OnRecord, message: str, hint: str
) -> None:
    """The message says what is known, the hint what can be sent."""
    before = dict(erp.orders)
    with pytest.raises(OrderExistsError, match=message) as caught:
        await adopt(erp, ORDER, on_record)
    assert hint in caught.value.hint
    assert (before, []) == (erp.orders, erp.writes)


async def test_a_key_that_is_not_indexed_yet_is_waited_for() -> None:
    """The order of that number has the record's key, though the look by key did not show it: look again."""
    erp = MemoryErp(held())
    with pytest.raises(UnknownError, match="order SO1 has the record's key, but the look-up by key misses it"):
        await adopt(erp, ORDER, said())
    assert [] == erp.writes


async def test_another_record_was_faster() -> None:
    """The order was given to another record between look and claim: this one has none."""
    erp = MemoryErp(BY_HAND)

    def given() -> None:
        raise OthersOrderError("another record's")

    erp.happens["claim"] = given
    assert await adopt(erp, ORDER, said()) is None


async def test_the_key_was_taken_meanwhile() -> None:
    """A parallel attempt has made this record's order: the caller looks for it."""
    erp = MemoryErp(BY_HAND)

    def taken() -> None:
        raise DuplicateError("taken")

    erp.happens["claim"] = taken
    with pytest.raises(DuplicateError):
        await adopt(erp, ORDER, said())


async def test_an_order_without_a_number_is_named_by_its_id() -> None:
    """Where the ERP does not repeat the number, the message still names an order."""
    erp = MemoryErp(BY_HAND, stores_keys=False)

    class Silent(MemoryErp):
        async def find_by_number(self, number: str) -> ErpOrder | None:
            found = await erp.find_by_number(number)
            return found and found.model_copy(update={"number": None})

    with pytest.raises(OrderExistsError, match="order number 1 already, and ERP memory"):
        await adopt(Silent(BY_HAND, stores_keys=False), ORDER, said())
