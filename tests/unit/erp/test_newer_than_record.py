"""Whether the ERP's order is newer than a notification, or than a record that was read just now."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from closedwon.erp.base import (
    AmountDiffersError,
    DuplicateError,
    NewerThanRecordError,
    RejectedError,
    SameMomentError,
    UndatedError,
    amend_to,
    cancel_order,
    check_newer,
    find_or_create,
    is_newer,
)
from closedwon.errors import AttentionReason
from closedwon.model.erp import ErpStatus
from tests.support.memory_erp import CANCELLED, DRAFT, EARLY, LATE, MemoryErp, held, sold

ORDER = sold()
KEY = ORDER.idempotency_key
BOTH = pytest.mark.parametrize("call", [find_or_create, amend_to])
LATER = held(sold(lines=ORDER.lines[:1]), modified_at=LATE)


@BOTH
async def test_no_order_is_newer_than_a_record_that_was_read_just_now(call: Any) -> None:
    """If an order claims to be newer and differs from the record, a person is asked."""
    erp = MemoryErp(LATER)
    with pytest.raises(NewerThanRecordError) as caught:
        await call(erp, ORDER, is_read=True)
    assert (AttentionReason.ERP_ANSWER_WRONG, []) == (caught.value.reason, erp.writes)


@BOTH
async def test_an_order_that_agrees_may_have_any_time(call: Any) -> None:
    """It agrees with the record, so it is confirmed without asking a person."""
    erp = MemoryErp(held(status=DRAFT, modified_at=LATE))
    result = await call(erp, ORDER, is_read=True)
    assert (False, ErpStatus.CONFIRMED) == (result.kept, result.order.status)


async def test_a_time_that_the_erp_has_rounded_up_to_the_second_is_not_newer() -> None:
    """The order is changed as the record asks."""
    found = held(sold(lines=ORDER.lines[:1]), modified_at=EARLY + timedelta(seconds=0.9))
    erp = MemoryErp(found)
    await amend_to(erp, ORDER, is_read=True)
    assert ["amend", "advance"] == erp.writes


async def test_a_policy_cancels_an_order_whose_time_the_erp_has_rounded_up() -> None:
    """Less than a second is rounding for a record that was read just now, but not for a notification."""
    found = held(modified_at=EARLY + timedelta(seconds=0.9))
    erp = MemoryErp(found)
    kept = await cancel_order(erp, KEY, by_policy=True, modified_at=EARLY)
    assert (found, True, []) == (kept.order, kept.kept, erp.writes)
    gone = await cancel_order(erp, KEY, by_policy=True, modified_at=EARLY, is_read=True)
    assert (False, True, ["cancel"]) == (gone.kept, gone.has_lived, erp.writes)


async def test_a_time_that_the_erp_invented_never_ends_a_policy_silently() -> None:
    """The record no longer qualifies, and the order is not cancelled: a person decides."""
    erp = MemoryErp(LATER)
    with pytest.raises(NewerThanRecordError):
        await cancel_order(erp, KEY, by_policy=True, modified_at=EARLY, is_read=True)
    kept = await cancel_order(erp, KEY, by_policy=True, modified_at=EARLY)
    assert (True, []) == (kept.kept, erp.writes)


TICK, SECOND = timedelta(microseconds=1), timedelta(seconds=1)


@pytest.mark.parametrize(
    ("kept", "notified", "read"),
    [
        (EARLY - SECOND, False, False),
        (EARLY - TICK, False, False),
        (EARLY, False, False),
        (EARLY + TICK, True, False),
        (EARLY + SECOND - TICK, True, False),
        (EARLY + SECOND, True, True),
        (EARLY + SECOND + TICK, True, True),
        (LATE, True, True),
        (None, False, False),
    ],
)
def test_an_order_is_newer_by_its_time(kept: datetime | None, *, notified: bool, read: bool) -> None:
    """Than a notification by any moment; than a record that was read by a whole second, which no ERP rounds away."""
    found = held(modified_at=kept)
    assert notified is is_newer(found, EARLY) is is_newer(found, EARLY, is_read=False)
    assert read is is_newer(found, EARLY, is_read=True)
    assert not is_newer(found, None)
    assert not is_newer(found, None, is_read=True)


@pytest.mark.parametrize(
    ("kept", "notified", "error", "of_a_deletion"),
    [
        (None, None, None, None),
        (None, EARLY, None, None),
        (EARLY, None, UndatedError, UndatedError),
        (EARLY, EARLY, SameMomentError, None),
        (EARLY, EARLY + TICK, None, None),
        (EARLY, EARLY - TICK, None, None),
    ],
)
def test_a_change_needs_a_time_of_its_own(
    kept: datetime | None,
    notified: datetime | None,
    error: type[Exception] | None,
    of_a_deletion: type[Exception] | None,
) -> None:
    """If the ERP stores times; a deletion is the last change of its second."""
    for is_deleted, expected in ((False, error), (True, of_a_deletion)):
        if expected is None:
            check_newer(held(modified_at=kept), notified, is_deleted=is_deleted)
        else:
            with pytest.raises(expected) as caught:
                check_newer(held(modified_at=kept), notified, is_deleted=is_deleted)
            assert expected is type(caught.value)


@BOTH
@pytest.mark.parametrize("is_read", [True, False])
async def test_a_cancelled_order_of_a_later_time_is_not_replaced(call: Any, *, is_read: bool) -> None:
    """For a notification it is kept as it is; for a record that was read a person is asked about the cancellation."""
    found = held(sold(lines=ORDER.lines[:1]), status=CANCELLED, modified_at=LATE)
    erp = MemoryErp(found)
    if is_read:
        with pytest.raises(RejectedError, match="order SO1 of this record has been cancelled"):
            await call(erp, ORDER, is_read=True)
    else:
        result = await call(erp, ORDER)
        assert (found, True, True) == (result.order, result.adopted, result.kept)
    assert [] == erp.writes


@BOTH
async def test_an_order_of_a_later_time_that_appears_while_it_is_created(call: Any) -> None:
    """It is compared like an existing order with the record that was read just now."""
    for found, is_right in ((held(modified_at=LATE), True), (LATER, False)):
        erp = MemoryErp()
        erp.happens["create"] = lambda erp=erp, found=found: _appears(erp, found)  # type: ignore[misc]
        if is_right:
            result = await call(erp, ORDER, is_read=True)
            assert (found, True, False) == (result.order, result.adopted, result.kept)
        else:
            with pytest.raises(NewerThanRecordError):
                await call(erp, ORDER, is_read=True)
        assert [] == erp.writes


def _appears(erp: MemoryErp, found: Any) -> None:
    erp.orders["1"] = found
    raise DuplicateError("taken")


@BOTH
@pytest.mark.parametrize(
    ("kept", "asked", "is_new"),
    [
        (EARLY, EARLY, True),
        (EARLY, LATE, False),
        (EARLY, None, False),
        (None, EARLY, False),
        (None, None, False),
    ],
)
async def test_a_difference_in_an_order_that_was_there_is_new_if_both_are_of_one_time(
    call: Any, kept: datetime | None, asked: datetime | None, *, is_new: bool
) -> None:
    """Made of this very state of the record, and yet another order; of an older state, it was simply not changed."""
    erp = MemoryErp(held(amount=Decimal(20), origin=None, modified_at=kept))
    changes = {"amends": False} if call is amend_to else {}
    with pytest.raises(AmountDiffersError) as caught:
        await call(erp, sold(modified_at=asked), **changes)
    assert is_new is caught.value.is_new
    assert [] == erp.writes


@BOTH
@pytest.mark.parametrize("modified_at", [EARLY, None])
async def test_a_difference_in_an_order_that_was_just_made_is_new(call: Any, modified_at: datetime | None) -> None:
    """Whether the ERP keeps times or not: nothing was there before."""
    erp = MemoryErp()
    erp.happens["after-create"] = lambda: erp.orders.update(
        {"1": held(id="1", status=DRAFT, amount=Decimal(20), modified_at=modified_at)}
    )
    with pytest.raises(AmountDiffersError) as caught:
        await call(erp, ORDER)
    assert caught.value.is_new
    assert ["create"] == erp.writes
