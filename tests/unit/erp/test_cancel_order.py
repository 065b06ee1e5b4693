"""Cancelling orders: what a person and what a policy may cancel, and what an older notification must not do."""

from __future__ import annotations

from typing import Any

import pytest

from closedwon.erp.base import (
    Cancelled,
    NotOursError,
    SameMomentError,
    TooLateError,
    UndatedError,
    UnknownError,
    cancel_order,
    find_or_create,
)
from closedwon.model.erp import ErpStatus, Origin
from tests.support.memory_erp import CANCELLED, EARLY, LATE, MemoryErp, held, sold
from tests.unit.erp.cases import BY_HAND, ORDER, Steps, _whose

KEY = ORDER.idempotency_key


@pytest.mark.parametrize("by_policy", [True, False])
async def test_an_order_of_ours_is_cancelled(by_policy: bool) -> None:  # noqa: FBT001
    """Once, with the time of the notification, after the point of danger."""
    erp, steps = MemoryErp(held()), Steps()
    result = await cancel_order(erp, KEY, by_policy=by_policy, modified_at=LATE, on_step=steps)
    assert Cancelled(order=held(status=CANCELLED, modified_at=LATE), has_lived=True) == result
    assert (["cancel"], ["before-cancel"]) == (erp.writes, steps.seen)


@pytest.mark.parametrize("by_policy", [True, False])
async def test_there_is_nothing_to_cancel(by_policy: bool) -> None:  # noqa: FBT001
    """None under the key, or one that is cancelled already: of that a policy stores the newer time."""
    assert Cancelled(order=None) == await cancel_order(MemoryErp(BY_HAND), KEY, by_policy=by_policy, modified_at=LATE)
    found = held(status=CANCELLED)
    erp = MemoryErp(found)
    newer = found.model_copy(update={"modified_at": LATE}) if by_policy else found
    assert Cancelled(order=newer) == await cancel_order(erp, KEY, by_policy=by_policy, modified_at=LATE)
    assert ["claim"] * by_policy == erp.writes


@pytest.mark.parametrize("origin", [None, Origin.ADOPTED, Origin.RESOLVED])
async def test_only_a_person_cancels_what_closedwon_did_not_make(origin: Origin | None) -> None:
    """A policy raises an error, so that a person decides."""
    erp = MemoryErp(held(origin=origin))
    with pytest.raises(NotOursError, match=f"order SO1 has this record's key, but {_whose(origin)}"):
        await cancel_order(erp, KEY, by_policy=True, modified_at=LATE)
    assert [] == erp.writes
    assert (await cancel_order(erp, KEY)).has_lived
    assert ["cancel"] == erp.writes


async def test_a_policy_cancels_nothing_that_a_newer_notification_made() -> None:
    """The notification is older than the order; a person's command is always carried out."""
    newer = held(modified_at=LATE, origin=Origin.ADOPTED)
    erp = MemoryErp(newer)
    result = await cancel_order(erp, KEY, by_policy=True, modified_at=EARLY)
    assert (Cancelled(order=newer, has_lived=True, kept=True), []) == (result, erp.writes)
    assert not (await cancel_order(erp, KEY, modified_at=EARLY)).kept
    assert CANCELLED is erp.orders["1"].status


@pytest.mark.parametrize("modified_at", [EARLY, None])
async def test_a_notification_of_the_same_time_or_without_one_is_not_older(modified_at: Any) -> None:
    """Only a notification that is certainly older is ignored."""
    assert (await cancel_order(MemoryErp(held()), KEY, by_policy=True, modified_at=modified_at)).has_lived
    assert not (await find_or_create(MemoryErp(held()), sold(modified_at=modified_at))).kept


@pytest.mark.parametrize("modified_at", [EARLY, None])
async def test_without_a_time_a_policy_cancels_only_where_notifications_cannot_be_late(modified_at: Any) -> None:
    """With `remembers` it may be older than the order, if the ERP keeps the order's time; else it cancels."""
    erp = MemoryErp(held(modified_at=modified_at))
    if modified_at is None:
        assert (await cancel_order(erp, KEY, by_policy=True, remembers=True)).has_lived
        return
    with pytest.raises(UndatedError, match="order SO1 is not changed"):
        await cancel_order(erp, KEY, by_policy=True, remembers=True)
    assert [] == erp.writes
    assert (await cancel_order(erp, KEY, remembers=True)).has_lived


async def test_a_policy_cancels_nothing_of_the_same_second_unless_the_record_was_deleted() -> None:
    """A deletion is the last change of a record."""
    erp = MemoryErp(held(modified_at=EARLY))
    with pytest.raises(SameMomentError):
        await cancel_order(erp, KEY, by_policy=True, modified_at=EARLY, remembers=True)
    assert [] == erp.writes
    deleted = await cancel_order(erp, KEY, by_policy=True, modified_at=EARLY, remembers=True, is_deleted=True)
    assert deleted.has_lived


async def test_a_cancellation_that_the_erp_does_not_show_is_unknown() -> None:
    """An answer is not a proof."""
    erp = MemoryErp(held())
    erp.happens["after-cancel"] = lambda: erp.orders.update({"1": held(number=None)})
    with pytest.raises(UnknownError, match="order 1 is still confirmed after it was cancelled"):
        await cancel_order(erp, KEY)


async def test_an_order_that_can_no_longer_be_cancelled() -> None:
    """The ERP's refusal is passed on."""
    with pytest.raises(TooLateError):
        await cancel_order(MemoryErp(held(status=ErpStatus.DONE)), KEY)


async def test_a_policy_never_stores_an_older_time() -> None:
    """The cancelled order keeps its newer time."""
    found = held(status=CANCELLED, modified_at=LATE)
    erp = MemoryErp(found)
    assert Cancelled(order=found) == await cancel_order(erp, KEY, by_policy=True, modified_at=EARLY)
    assert [] == erp.writes
