"""An answer about another order is never taken for this one: every call, every way to be wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

import pytest

from closedwon.erp.base import Erp, WrongAnswerError, checked, only_one
from closedwon.ids import OrgId
from closedwon.model import ErpOrder, Order, Origin
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
    assert FOUND == await CALLS[call](checked(WrongErp(FOUND)))


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("key", "problem"),
    [(None, "an order without an idempotency key"), (OTHER_KEY, "an order with another idempotency key")],
)
async def test_an_order_with_another_key_is_not_believed(call: str, key: str | None, problem: str) -> None:
    """The message names the ERP, the call, and what is wrong."""
    with pytest.raises(
        WrongAnswerError, match=f"^memory: the ERP's answer to {call} has {problem}; it is not believed"
    ):
        await CALLS[call](checked(WrongErp(held(idempotency_key=key))))


@pytest.mark.parametrize("call", WRITES_TO_ONE)
async def test_the_answer_to_a_write_is_about_the_order_that_was_written(call: str) -> None:
    """An order with the right key and another id is one order too many."""
    with pytest.raises(WrongAnswerError, match=f"{call} is about another order"):
        await CALLS[call](checked(WrongErp(held(id="2"))))


async def test_an_order_that_was_found_by_its_number_has_that_number() -> None:
    """Its key is the caller's business: an order that was made by hand has none."""
    by_hand = held(idempotency_key=None)
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
    """A facade that finds the cancelled one of last year has not made an order."""
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
    assert (erp.name, erp.settle, 1, "in memory") == (once.name, once.settle, once.calls, await once.check())
    assert [ORDER.customer.id] == [record async for record in once.orphans(EARLY, EARLY)]
