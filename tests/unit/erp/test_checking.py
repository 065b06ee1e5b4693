"""An answer about another order is rejected: every call, every kind of wrong answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from closedwon.erp.base import Erp, WrongAnswerError, checked, only_one
from closedwon.ids import OrgId
from closedwon.model.erp import ErpOrder, Origin
from closedwon.model.orders import Order
from tests.support.memory_erp import CANCELLED, EARLY, ORG, MemoryErp, held, sold

ORDER = sold()
KEY = ORDER.idempotency_key
OTHER_KEY = f"{KEY[:-4]}9AAA"
FOUND = held()


class WrongErp(MemoryErp):
    """Answers every question about one order with `answer`."""

    def __init__(self, answer: ErpOrder | None) -> None:
        super().__init__()
        self.answer: Any = answer

    async def find(self, idempotency_key: str) -> ErpOrder | None:
        del idempotency_key
        return self.answer  # type: ignore[no-any-return]

    async def find_by_number(self, number: str) -> ErpOrder | None:
        del number
        return self.answer  # type: ignore[no-any-return]

    async def find_many(self, keys: Sequence[str]) -> dict[str, list[ErpOrder]]:
        return {key: [held(id="0"), self.answer] for key in keys}

    async def orders_since(self, org: OrgId, since: datetime) -> AsyncIterator[tuple[str, ErpOrder]]:
        del since
        yield f"{org}:006000000000001AAA", self.answer

    async def create(self, order: Order) -> ErpOrder:
        del order
        return self.answer  # type: ignore[no-any-return]

    async def advance(self, found: ErpOrder) -> ErpOrder:
        del found
        return self.answer  # type: ignore[no-any-return]

    async def amend(self, found: ErpOrder, order: Order) -> ErpOrder:
        del found, order
        return self.answer  # type: ignore[no-any-return]

    async def cancel(self, found: ErpOrder, *, modified_at: datetime | None) -> ErpOrder:
        del found
        assert EARLY == modified_at
        return self.answer  # type: ignore[no-any-return]

    async def claim(
        self, found: ErpOrder, idempotency_key: str, *, origin: Origin, modified_at: datetime | None
    ) -> ErpOrder | None:
        del found, idempotency_key
        assert (Origin.ADOPTED, EARLY) == (origin, modified_at)
        return self.answer  # type: ignore[no-any-return]


async def _many(erp: Erp) -> ErpOrder:
    return (await erp.find_many([KEY]))[KEY][-1]


async def _listed(erp: Erp) -> ErpOrder:
    ((_, order),) = [item async for item in erp.orders_since(ORG, EARLY)]
    return order


CALLS: dict[str, Callable[[Erp], Awaitable[ErpOrder | None]]] = {
    "the look-up by key": lambda erp: erp.find(KEY),
    "the look-up of several keys": _many,
    "the listing": _listed,
    "a creation": lambda erp: erp.create(ORDER),
    "a confirmation": lambda erp: erp.advance(FOUND),
    "a change": lambda erp: erp.amend(FOUND, ORDER),
    "a cancellation": lambda erp: erp.cancel(FOUND, modified_at=EARLY),
    "a claim": lambda erp: erp.claim(FOUND, KEY, origin=Origin.ADOPTED, modified_at=EARLY),
}
WRITES_TO_ONE = ["a confirmation", "a change", "a cancellation", "a claim"]


@pytest.mark.parametrize("call", CALLS)
async def test_the_right_answer_is_passed_on(call: str) -> None:
    """As it came."""
    answer = held(origin=Origin.ADOPTED) if call == "a claim" else FOUND
    assert answer == await CALLS[call](checked(WrongErp(answer)))


@pytest.mark.parametrize("call", ["a creation", "a change", "a cancellation", "a claim"])
async def test_a_time_that_was_not_sent_is_not_believed(call: str) -> None:
    """It would hide later changes. A time without fractions of a second, or no time at all, is accepted."""
    origin = Origin.ADOPTED if call == "a claim" else Origin.CREATED
    for kept in (None, EARLY, EARLY + timedelta(seconds=0.999)):
        answer = held(origin=origin, modified_at=kept)
        assert answer == await CALLS[call](checked(WrongErp(answer)))
    for made_up in (EARLY + timedelta(seconds=1), EARLY - timedelta(hours=1)):
        with pytest.raises(WrongAnswerError, match=f"{call} has another modification time than was sent"):
            await CALLS[call](checked(WrongErp(held(origin=origin, modified_at=made_up))))


@pytest.mark.parametrize(
    ("call", "origin"),
    [("a creation", Origin.ADOPTED), ("a claim", Origin.CREATED), ("a claim", Origin.RESOLVED)],
)
async def test_an_origin_that_was_not_sent_is_not_believed(call: str, origin: Origin) -> None:
    """It would let a policy cancel orders that people made. Without an origin, no policy cancels."""
    with pytest.raises(WrongAnswerError, match=f"{call} has another origin than was sent"):
        await CALLS[call](checked(WrongErp(held(origin=origin))))
    assert held(origin=None) == await CALLS[call](checked(WrongErp(held(origin=None))))


async def test_an_order_without_a_key_has_no_origin() -> None:
    """A facade that gives every order an origin would soon give one to an order that people have made."""
    with pytest.raises(WrongAnswerError, match="has an origin for an order without an idempotency key"):
        await checked(WrongErp(held(idempotency_key=None))).find_by_number("SO1")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("key", "problem"),
    [(None, "an order without an idempotency key"), (OTHER_KEY, "an order with another idempotency key")],
)
async def test_an_order_with_another_key_is_not_believed(call: str, key: str | None, problem: str) -> None:
    """The message names the ERP, the call, and what is wrong."""
    with pytest.raises(WrongAnswerError, match=f"^memory: the ERP's answer to {call} has {problem}; it is not used"):
        await CALLS[call](checked(WrongErp(held(idempotency_key=key))))


@pytest.mark.parametrize("call", WRITES_TO_ONE)
async def test_the_answer_to_a_write_is_about_the_order_that_was_written(call: str) -> None:
    """An order with the right key and another id is a duplicate."""
    with pytest.raises(WrongAnswerError, match=f"{call} is about another order"):
        await CALLS[call](checked(WrongErp(held(id="2"))))


async def test_an_order_that_was_found_by_its_number_has_that_number() -> None:
    """Its key is the caller's business: an order that was made by hand has none."""
    by_hand = held(idempotency_key=None, origin=None)
    assert by_hand == await checked(WrongErp(by_hand)).find_by_number("SO1")
    for wrong in (held(number="SO2"), held(number=None)):
        with pytest.raises(WrongAnswerError, match="the look-up by number has an order with another number"):
            await checked(WrongErp(wrong)).find_by_number("SO1")


async def test_no_order_is_an_answer() -> None:
    """To both look-ups, and to a claim that the ERP cannot store."""
    erp = checked(WrongErp(None))
    assert await erp.find(KEY) is None
    assert await erp.find_by_number("SO1") is None
    assert await erp.claim(FOUND, KEY, origin=Origin.ADOPTED, modified_at=EARLY) is None


async def test_a_new_order_is_not_cancelled() -> None:
    """A facade that answers with last year's cancelled order has not created one."""
    with pytest.raises(WrongAnswerError, match="a creation has a cancelled order"):
        await checked(WrongErp(held(status=CANCELLED))).create(ORDER)


async def test_answers_about_several_orders() -> None:
    """Only keys that were asked for, and only this org's."""
    assert {KEY: [FOUND]} == await checked(MemoryErp(FOUND, held(id="2", idempotency_key=None))).find_many([KEY, "x"])

    class More(MemoryErp):
        async def find_many(self, keys: Sequence[str]) -> dict[str, list[ErpOrder]]:
            return {**await super().find_many(keys), OTHER_KEY: []}

        async def orders_since(self, org: OrgId, since: datetime) -> AsyncIterator[tuple[str, ErpOrder]]:
            del org, since
            yield OTHER_KEY.replace("00D", "00E"), held(idempotency_key=OTHER_KEY.replace("00D", "00E"))

    with pytest.raises(WrongAnswerError, match="several keys has an order with a key that was not asked for"):
        await checked(More(FOUND)).find_many([KEY])
    with pytest.raises(WrongAnswerError, match="the listing has an order of another org"):
        await _listed(checked(More(FOUND)))


def test_one_key_has_one_order() -> None:
    """None, one, or a wrong answer."""
    assert only_one("a", "the look-up by key", []) is None
    assert FOUND == only_one("a", "the look-up by key", [FOUND])
    with pytest.raises(WrongAnswerError, match=r"^a: the ERP's answer to the look-up by key shows 2 orders instead"):
        only_one("a", "the look-up by key", [FOUND, FOUND])


async def test_a_checked_erp_is_still_that_erp() -> None:
    """Checking twice is checking once; everything else is passed on."""
    erp = MemoryErp(FOUND)
    once = checked(erp)
    assert once is checked(once)
    await once.find(KEY)
    assert (erp.name, erp.in_doubt_for, 1, "in memory") == (
        once.name,
        once.in_doubt_for,
        once.calls,
        await once.check(),
    )
    assert [ORDER.customer.id] == [record async for record in once.orphans(EARLY, EARLY)]
