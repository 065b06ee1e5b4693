"""Amending, reopening, cancelling, and what an older notification may not do: rule by rule, in memory."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from closedwon.erp.base import (
    AmountDiffersError,
    Cancelled,
    CustomerDiffersError,
    DuplicateError,
    Handoff,
    NotMadeByUsError,
    NotOursError,
    OnRecord,
    OrderExistsError,
    RejectedError,
    StaleError,
    Step,
    TooLateError,
    TotalDiffersError,
    UnknownError,
    amend_to,
    cancel_order,
    find_or_create,
)
from closedwon.errors import ClosedwonError
from closedwon.model import Customer, ErpOrder, ErpStatus, Order, OrderLine, Origin
from tests.support.memory_erp import CANCELLED, DRAFT, EARLY, LATE, MemoryErp, held, sold

ORDER = sold()
KEY = ORDER.idempotency_key
LESS = sold(lines=ORDER.lines[:1])
"""What was ordered before the record was changed."""
BY_HAND = held(idempotency_key=None, origin=None, modified_at=None)
BOTH = pytest.mark.parametrize("call", [find_or_create, amend_to])


class Steps:
    """Writes down the steps of a call."""

    def __init__(self) -> None:
        self.seen: list[Step] = []

    async def __call__(self, step: Step) -> None:
        self.seen.append(step)


def raising(error: ClosedwonError) -> Callable[[], None]:
    """Make an event of an error."""

    def event() -> None:
        raise error

    return event


# Any call that orders.


@BOTH
async def test_lines_that_do_not_add_up_are_not_even_looked_for(call: Any) -> None:
    """The deal contradicts itself: nothing is asked of the ERP."""
    erp = MemoryErp()
    with pytest.raises(TotalDiffersError):
        await call(erp, sold(total=Decimal(26)))
    assert 0 == erp.calls


@BOTH
async def test_a_new_order_takes_one_create_and_one_advance(call: Any) -> None:
    """It is made by us, confirmed, and every point of danger is passed once."""
    erp, steps = MemoryErp(), Steps()
    assert Handoff(order=held(status=ErpStatus.CONFIRMED), adopted=False) == await call(erp, ORDER, on_step=steps)
    assert ["create", "advance"] == erp.writes
    assert ["before-create", "after-create", "after-advance"] == steps.seen


@BOTH
@pytest.mark.parametrize("remembers", [True, False])
async def test_an_order_that_agrees_is_left_alone(call: Any, remembers: bool) -> None:  # noqa: FBT001
    """Also with `remembers`: the ERP knows this notification's time already."""
    erp = MemoryErp(held())
    assert Handoff(order=held(), adopted=True) == await call(erp, ORDER, remembers=remembers)
    assert [] == erp.writes


@BOTH
@pytest.mark.parametrize(
    ("order", "kept", "writes"),
    [
        (held(), EARLY, 1),
        (held(origin=Origin.ADOPTED), EARLY, 1),
        (held(origin=None), EARLY, 0),
        (held(modified_at=None), None, 0),
    ],
    ids=["ours", "adopted", "origin is not kept", "time is not kept"],
)
async def test_a_newer_time_is_stored_where_the_erp_keeps_one(
    call: Any, order: ErpOrder, kept: Any, writes: int
) -> None:
    """So that an older notification cannot revert the order; only with `remembers`, and the origin stays."""
    erp = MemoryErp(order)
    assert kept == (await call(erp, sold(modified_at=LATE))).order.modified_at
    found = (await call(erp, sold(modified_at=LATE), remembers=True)).order
    assert (LATE if writes else kept, order.origin) == (found.modified_at, found.origin)
    assert ["claim"] * writes == erp.writes
    await call(erp, sold(modified_at=None), remembers=True)
    assert ["claim"] * writes == erp.writes


@BOTH
@pytest.mark.parametrize("status", list(ErpStatus))
@pytest.mark.parametrize("changes", [{}, {"amount": Decimal(1)}, {"customer": "C9"}])
async def test_an_older_notification_leaves_the_order_as_it_is(
    call: Any, status: ErpStatus, changes: dict[str, Any]
) -> None:
    """In every state, whatever it holds."""
    found = held(status=status, modified_at=LATE, **changes)
    erp = MemoryErp(found)
    assert Handoff(order=found, adopted=True, kept=True) == await call(erp, ORDER, remembers=True)
    assert [] == erp.writes


@BOTH
async def test_an_order_of_another_customer_is_refused(call: Any) -> None:
    """Before anything is changed, though total and lines agree."""
    erp = MemoryErp(held(customer="C9", status=DRAFT))
    with pytest.raises(CustomerDiffersError, match="order SO1 of this record is for another customer"):
        await call(erp, ORDER)
    assert [] == erp.writes


@BOTH
async def test_a_cancelled_order_is_refused_whatever_it_holds(call: Any) -> None:
    """Somebody decided against it in the ERP; its content is not compared."""
    for changes in ({}, {"amount": Decimal(1)}, {"customer": "C9"}):
        for number, name in (("SO1", "SO1"), (None, "1")):
            erp = MemoryErp(held(status=CANCELLED, number=number, **changes))
            with pytest.raises(
                RejectedError, match=f"order {name} of this record has been cancelled in the ERP"
            ) as caught:
                await call(erp, ORDER)
            assert "back to draft" in caught.value.cure
            assert [] == erp.writes


@BOTH
async def test_an_order_by_hand_is_adopted_and_confirmed(call: Any) -> None:
    """The one that the record names."""
    erp = MemoryErp(BY_HAND.model_copy(update={"status": DRAFT}))
    result = await call(erp, ORDER, said=OnRecord(number="SO1"))
    assert Handoff(order=held(origin=Origin.ADOPTED), adopted=True) == result
    assert ["claim", "advance"] == erp.writes


@BOTH
async def test_t2_a_number_that_another_erp_may_know_makes_no_second_order(call: Any) -> None:
    """With several ERPs a number that this one does not know is a person's decision, with every policy."""
    erp = MemoryErp()
    with pytest.raises(OrderExistsError, match="nothing says whether another ERP has that one"):
        await call(erp, ORDER, said=OnRecord(number="SO1", is_only=False))
    assert [] == erp.writes
    await call(erp, ORDER, said=OnRecord(number="SO1", is_only=True))
    assert ["create", "advance"] == erp.writes


@BOTH
@pytest.mark.parametrize(("modified_at", "kept"), [(EARLY, False), (LATE, True), (None, False)])
@pytest.mark.parametrize("error", [DuplicateError("taken"), UnknownError("lost")])
async def test_an_order_that_appears_while_it_is_created(
    call: Any, error: ClosedwonError, *, modified_at: Any, kept: bool
) -> None:
    """A parallel attempt's, or our own whose answer was lost: it is compared as any other, and a newer one is kept."""
    erp = MemoryErp()
    erp.happens["create"] = lambda: (erp.orders.update({"1": held(modified_at=modified_at)}), raising(error)())[1]
    assert Handoff(order=held(modified_at=modified_at), adopted=True, kept=kept) == await call(erp, ORDER)


@BOTH
@pytest.mark.parametrize(
    ("error", "message"), [(DuplicateError("taken"), "exists already"), (UnknownError("lost"), "^lost$")]
)
async def test_an_order_that_does_not_appear(call: Any, error: ClosedwonError, message: str) -> None:
    """The outcome is unknown: the next attempt looks again."""
    erp = MemoryErp()
    erp.happens["create"] = raising(error)
    with pytest.raises(UnknownError, match=message):
        await call(erp, ORDER)


@BOTH
async def test_the_key_was_taken_between_look_and_claim(call: Any) -> None:
    """Then the record's own order is used, and the one by hand stays."""
    erp = MemoryErp(BY_HAND)
    own = held(id="2", number="SO2")
    erp.happens["claim"] = lambda: (erp.orders.update({"2": own}), raising(DuplicateError("taken"))())[1]
    # the memory ERP itself sees the second order, too: the event stands for an ERP that does
    assert Handoff(order=own, adopted=True) == await call(erp, ORDER, said=OnRecord(number="SO1"))
    assert BY_HAND == erp.orders["1"]


# Advancing.


@pytest.mark.parametrize("error", [RejectedError("no"), StaleError("changed")])
async def test_a_refused_step_that_somebody_else_took_is_success(error: ClosedwonError) -> None:
    """What the ERP shows counts."""
    erp = MemoryErp(held(status=DRAFT))
    erp.happens["advance"] = lambda: (erp.orders.update({"1": held()}), raising(error)())[1]
    assert held() == (await find_or_create(erp, ORDER)).order


@pytest.mark.parametrize("error", [RejectedError("no"), StaleError("changed")])
async def test_a_refused_step_that_nobody_took_is_an_error(error: ClosedwonError) -> None:
    """The very one."""
    erp = MemoryErp(held(status=DRAFT))
    erp.happens["advance"] = raising(error)
    with pytest.raises(type(error), match=f"^{error}$"):
        await find_or_create(erp, ORDER)


async def test_what_is_seen_after_a_step_is_compared_and_must_be_there() -> None:
    """Another order, a cancelled one and none are not success."""
    cases: list[tuple[ErpOrder | None, type[ClosedwonError]]] = [
        (held(amount=Decimal(1)), AmountDiffersError),
        (held(customer="C9"), CustomerDiffersError),
        (held(status=CANCELLED), RejectedError),
        (None, UnknownError),
    ]
    for seen, error in cases:
        erp = MemoryErp(held(status=DRAFT))
        erp.happens["after-advance"] = lambda erp=erp, seen=seen: (  # type: ignore[misc]
            erp.orders.update({"1": seen}) if seen else erp.orders.clear()
        )
        with pytest.raises(error):
            await find_or_create(erp, ORDER)


class Slow(MemoryErp):
    """Each step takes an order one state on."""

    def __init__(self, *states: ErpStatus) -> None:
        super().__init__(held(status=states[0]))
        self.states = list(states[1:])

    async def advance(self, found: ErpOrder) -> ErpOrder:
        return self._write("advance", self._current(found), status=self.states.pop(0))


async def test_three_steps_are_enough_and_more_are_not_taken() -> None:
    """Draft, quotation, confirmed; with one to spare for a parallel caller."""
    slow = Slow(DRAFT, ErpStatus.QUOTATION, ErpStatus.QUOTATION, ErpStatus.CONFIRMED)
    assert held() == (await find_or_create(slow, ORDER)).order
    slower = Slow(DRAFT, *[ErpStatus.QUOTATION] * 3, ErpStatus.CONFIRMED)
    with pytest.raises(UnknownError, match="order SO1 is still quotation after it was advanced"):
        await find_or_create(slower, ORDER)
    assert 3 == len(slower.writes)


# Amending and reopening.


@pytest.mark.parametrize("reopen", [True, False])
@pytest.mark.parametrize("said", [OnRecord(), OnRecord(number="SO1", is_only=False)])
async def test_an_order_of_ours_is_amended(reopen: bool, said: OnRecord) -> None:  # noqa: FBT001
    """To what the record asks for now, confirmed again; the one write is followed by a look."""
    erp, steps = MemoryErp(held(LESS)), Steps()
    changed = sold(modified_at=LATE)
    result = await amend_to(erp, changed, reopen=reopen, said=said, on_step=steps)
    assert Handoff(order=held(changed), adopted=True) == result
    assert ["amend", "advance"] == erp.writes
    assert ["after-amend", "after-advance"] == steps.seen


@pytest.mark.parametrize("reopen", [True, False])
async def test_without_amends_a_difference_is_refused(reopen: bool) -> None:  # noqa: FBT001
    """And nothing is changed."""
    erp = MemoryErp(held(LESS))
    with pytest.raises(AmountDiffersError, match=r"order SO1 holds 20\.00 EUR on 1 line"):
        await amend_to(erp, ORDER, amends=False, reopen=reopen)
    assert [] == erp.writes


@pytest.mark.parametrize("amends", [True, False])
@pytest.mark.parametrize("found", [held(status=CANCELLED), held(LESS, status=CANCELLED)], ids=["same", "other"])
async def test_a_cancelled_order_of_ours_is_reopened(amends: bool, found: ErpOrder) -> None:  # noqa: FBT001
    """With what the record asks for now."""
    erp = MemoryErp(found)
    assert Handoff(order=held(), adopted=True) == await amend_to(erp, ORDER, amends=amends, reopen=True)
    assert ["amend", "advance"] == erp.writes


@pytest.mark.parametrize("origin", [None, Origin.ADOPTED, Origin.RESOLVED])
async def test_what_closedwon_did_not_make_is_neither_amended_nor_reopened(origin: Origin | None) -> None:
    """A person changes it; the message says why."""
    erp = MemoryErp(held(LESS, origin=origin))
    with pytest.raises(NotMadeByUsError, match="Closedwon did not make that order, so it does not change it"):
        await amend_to(erp, ORDER)
    erp = MemoryErp(held(origin=origin, status=CANCELLED))
    with pytest.raises(RejectedError, match="has been cancelled in the ERP"):
        await amend_to(erp, ORDER, reopen=True)
    assert [] == erp.writes


@pytest.mark.parametrize("status", [ErpStatus.CONFIRMED, CANCELLED])
async def test_an_order_of_another_customer_is_neither_amended_nor_reopened(status: ErpStatus) -> None:
    """Whose order it is comes before who made it."""
    for origin in Origin:
        erp = MemoryErp(held(LESS, customer="C9", status=status, origin=origin))
        with pytest.raises(CustomerDiffersError):
            await amend_to(erp, ORDER, reopen=True)
        assert [] == erp.writes


async def test_an_amendment_that_is_lost_at_once_is_noticed() -> None:
    """Another writer overwrote it: what the ERP shows then differs, and is refused, not amended in a loop."""
    erp = MemoryErp(held(LESS))
    erp.happens["after-amend"] = lambda: erp.orders.update({"1": held(LESS)})
    with pytest.raises(AmountDiffersError):
        await amend_to(erp, ORDER)
    assert ["amend"] == erp.writes


@BOTH
async def test_the_customer_is_never_quoted(call: Any) -> None:
    """Whatever the ERP answers."""
    order = sold(customer=Customer(id=ORDER.customer.id, name="ACME SECRET"))
    erp = MemoryErp(held(LESS))
    erp.happens["find"] = raising(RejectedError("no place for ACME SECRET"))
    with pytest.raises(RejectedError, match="no place for") as caught:
        await call(erp, order)
    assert "ACME" not in str(caught.value)


# Cancelling.


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
    """A policy asks."""
    erp = MemoryErp(held(origin=origin))
    with pytest.raises(NotOursError, match="order SO1 bears this record's key, but Closedwon did not make it"):
        await cancel_order(erp, KEY, by_policy=True, modified_at=LATE)
    assert [] == erp.writes
    assert (await cancel_order(erp, KEY)).has_lived
    assert ["cancel"] == erp.writes


async def test_a_policy_cancels_nothing_that_a_newer_notification_made() -> None:
    """The notification that took the deal back was overtaken; a person's command counts whenever it comes."""
    newer = held(modified_at=LATE, origin=Origin.ADOPTED)
    erp = MemoryErp(newer)
    result = await cancel_order(erp, KEY, by_policy=True, modified_at=EARLY)
    assert (Cancelled(order=newer, has_lived=True, kept=True), []) == (result, erp.writes)
    assert not (await cancel_order(erp, KEY, modified_at=EARLY)).kept
    assert CANCELLED is erp.orders["1"].status


@pytest.mark.parametrize("modified_at", [EARLY, None])
async def test_a_notification_of_the_same_time_or_without_one_is_not_older(modified_at: Any) -> None:
    """Only what is certainly older is held back."""
    assert (await cancel_order(MemoryErp(held()), KEY, by_policy=True, modified_at=modified_at)).has_lived
    assert not (await find_or_create(MemoryErp(held()), sold(modified_at=modified_at))).kept


async def test_a_cancellation_that_the_erp_does_not_show_is_unknown() -> None:
    """An answer is no proof."""
    erp = MemoryErp(held())
    erp.happens["after-cancel"] = lambda: erp.orders.update({"1": held(number=None)})
    with pytest.raises(UnknownError, match="order 1 is still confirmed after it was cancelled"):
        await cancel_order(erp, KEY)


async def test_what_cannot_be_cancelled_any_more() -> None:
    """The ERP's refusal is passed on."""
    with pytest.raises(TooLateError):
        await cancel_order(MemoryErp(held(status=ErpStatus.DONE)), KEY)


def test_the_test_data_has_several_lines() -> None:
    """In another order than the ERP's."""
    assert [line.product for line in ORDER.lines] == [line.product for line in reversed(held().lines or ())]
    assert isinstance(ORDER, Order)
    assert all(isinstance(line, OrderLine) for line in ORDER.lines)


@BOTH
async def test_an_erp_that_does_not_store_the_newer_time_keeps_its_order(call: Any) -> None:
    """The order is what it was."""
    erp = MemoryErp(held(), stores_keys=False)
    assert held() == (await call(erp, sold(modified_at=LATE), remembers=True)).order


async def test_a_policy_never_stores_an_older_time() -> None:
    """The cancelled order was made of something newer: that stays known."""
    found = held(status=CANCELLED, modified_at=LATE)
    erp = MemoryErp(found)
    assert Cancelled(order=found) == await cancel_order(erp, KEY, by_policy=True, modified_at=EARLY)
    assert [] == erp.writes


@BOTH
async def test_what_was_just_made_is_taken_on_whatever_time_the_erp_shows(call: Any) -> None:
    """Only an order that was found can be newer than its own notification."""
    erp = MemoryErp()
    erp.happens["after-create"] = lambda: erp.orders.update({"1": held(status=DRAFT, modified_at=LATE)})
    result = await call(erp, ORDER)
    assert (False, False, ErpStatus.CONFIRMED) == (result.adopted, result.kept, result.order.status)
