"""Creating, amending and reopening orders, rule by rule, against an ERP in memory."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from closedwon.erp.base import (
    AmountDiffersError,
    CustomerDiffersError,
    DuplicateError,
    NotMadeByUsError,
    OnRecord,
    OrderExistsError,
    RejectedError,
    SameMomentError,
    StaleError,
    TotalDiffersError,
    UndatedError,
    UnknownError,
    WrongAnswerError,
    amend_to,
    find_or_create,
)
from closedwon.errors import ClosedwonError
from closedwon.model.erp import ErpOrder, ErpStatus, Origin
from closedwon.model.erp_calls import Handoff
from closedwon.model.orders import Customer, Order, OrderLine
from tests.support.memory_erp import CANCELLED, DRAFT, EARLY, LATE, MemoryErp, held, sold
from tests.unit.erp.cases import BY_HAND, ORDER, Steps, _whose

LESS = sold(lines=ORDER.lines[:1])
"""What was ordered before the record was changed."""


BOTH = pytest.mark.parametrize("call", [find_or_create, amend_to])


def raising(error: ClosedwonError) -> Callable[[], None]:
    """Make an event that raises an error."""

    def event() -> None:
        raise error

    return event


@BOTH
async def test_lines_that_do_not_add_up_cause_no_call(call: Any) -> None:
    """The deal contradicts itself, so the ERP is not called."""
    erp = MemoryErp()
    with pytest.raises(TotalDiffersError):
        await call(erp, sold(total=Decimal(26)))
    assert 0 == erp.calls


@BOTH
async def test_a_new_order_takes_one_create_and_one_advance(call: Any) -> None:
    """The order is created and confirmed, and each step is passed once."""
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
    """In every state and with any content."""
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
    """A person decided against it in the ERP, so its content is not compared."""
    for changes in ({}, {"amount": Decimal(1)}, {"customer": "C9"}):
        for number, name in (("SO1", "SO1"), (None, "1")):
            erp = MemoryErp(held(status=CANCELLED, number=number, **changes))
            with pytest.raises(
                RejectedError, match=f"order {name} of this record has been cancelled in the ERP"
            ) as caught:
                await call(erp, ORDER)
            assert "back to draft" in caught.value.hint
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
        await call(erp, ORDER, said=OnRecord(number="SO1", single_erp=False))
    assert [] == erp.writes
    await call(erp, ORDER, said=OnRecord(number="SO1", number_is_proven=True))
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
    ("error", "message"), [(DuplicateError("taken"), "reports a duplicate key"), (UnknownError("lost"), "^lost$")]
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
    # the memory ERP itself also rejects the second order; the event simulates an ERP that does
    assert Handoff(order=own, adopted=True) == await call(erp, ORDER, said=OnRecord(number="SO1"))
    assert BY_HAND == erp.orders["1"]


@pytest.mark.parametrize("error", [RejectedError("no"), StaleError("changed")])
async def test_a_refused_step_that_a_parallel_caller_took_is_a_success(error: ClosedwonError) -> None:
    """The state that the ERP shows counts."""
    erp = MemoryErp(held(status=DRAFT))
    erp.happens["advance"] = lambda: (erp.orders.update({"1": held()}), raising(error)())[1]
    assert held() == (await find_or_create(erp, ORDER)).order


@pytest.mark.parametrize("error", [RejectedError("no"), StaleError("changed")])
async def test_a_refused_step_that_no_caller_took_is_an_error(error: ClosedwonError) -> None:
    """The error of the step is raised."""
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
    """Draft, quotation, confirmed, and one more step for a parallel caller."""
    slow = Slow(DRAFT, ErpStatus.QUOTATION, ErpStatus.QUOTATION, ErpStatus.CONFIRMED)
    assert held() == (await find_or_create(slow, ORDER)).order
    slower = Slow(DRAFT, *[ErpStatus.QUOTATION] * 3, ErpStatus.CONFIRMED)
    with pytest.raises(UnknownError, match="order SO1 is still quotation after it was advanced"):
        await find_or_create(slower, ORDER)
    assert 3 == len(slower.writes)


@pytest.mark.parametrize("reopen", [True, False])
@pytest.mark.parametrize("said", [OnRecord(), OnRecord(number="SO1", single_erp=False)])
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
    with pytest.raises(NotMadeByUsError, match=f"{_whose(origin)}.*, so Closedwon does not change it"):
        await amend_to(erp, ORDER)
    erp = MemoryErp(held(origin=origin, status=CANCELLED))
    with pytest.raises(RejectedError, match="has been cancelled in the ERP"):
        await amend_to(erp, ORDER, reopen=True)
    assert [] == erp.writes


@pytest.mark.parametrize("status", [ErpStatus.CONFIRMED, CANCELLED])
async def test_an_order_of_another_customer_is_neither_amended_nor_reopened(status: ErpStatus) -> None:
    """The customer is compared before the origin."""
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


@pytest.mark.parametrize("found", [held(LESS), held(status=CANCELLED)], ids=["changed", "to be reopened"])
async def test_without_a_time_nothing_is_amended_or_reopened(found: ErpOrder) -> None:
    """As for cancelling by a policy."""
    order = sold(modified_at=None)
    erp = MemoryErp(found)
    with pytest.raises(UndatedError):
        await amend_to(erp, order, reopen=True, remembers=True)
    assert [] == erp.writes
    erp = MemoryErp(found.model_copy(update={"modified_at": None}))
    await amend_to(erp, order, reopen=True, remembers=True)
    assert "amend" in erp.writes


@pytest.mark.parametrize("found", [held(LESS), held(status=CANCELLED)], ids=["changed", "to be reopened"])
async def test_for_another_notification_of_the_same_second_nothing_is_amended_or_reopened(found: ErpOrder) -> None:
    """Nothing says which of both is newer; where notifications cannot be late, the record was read after it."""
    erp = MemoryErp(found)
    with pytest.raises(SameMomentError, match="contradicts another one of the same second"):
        await amend_to(erp, sold(modified_at=found.modified_at), reopen=True, remembers=True)
    assert [] == erp.writes
    await amend_to(erp, sold(modified_at=found.modified_at), reopen=True)
    assert "amend" in erp.writes


def test_the_test_data_has_several_lines() -> None:
    """Their order differs from the ERP's."""
    assert [line.product for line in ORDER.lines] == [line.product for line in reversed(held().lines or ())]
    assert isinstance(ORDER, Order)
    assert all(isinstance(line, OrderLine) for line in ORDER.lines)


@BOTH
async def test_an_erp_that_does_not_store_the_newer_time_keeps_its_order(call: Any) -> None:
    """The order is unchanged."""
    erp = MemoryErp(held(), stores_keys=False)
    assert held() == (await call(erp, sold(modified_at=LATE), remembers=True)).order


@BOTH
async def test_a_new_order_must_have_the_time_that_was_sent(call: Any) -> None:
    """A time that the ERP invented would hide a later change."""
    erp = MemoryErp()
    erp.happens["after-create"] = lambda: erp.orders.update({"1": held(status=DRAFT, modified_at=LATE)})
    with pytest.raises(WrongAnswerError, match="a creation has another modification time than was sent"):
        await call(erp, ORDER)
