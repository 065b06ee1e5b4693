"""`find_or_create` against a scripted ERP: every outcome that a call to an ERP can have."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from closedwon.erp.base import (
    AmountDiffersError,
    BusyError,
    DuplicateError,
    Handoff,
    RejectedError,
    Step,
    UnknownError,
    find_or_create,
)
from closedwon.errors import AttentionReason
from closedwon.ids import OrgId, RecordId
from closedwon.model import Customer, ErpOrder, ErpStatus, Order, OrderLine, Origin

ORDER = Order(
    org=OrgId("00D000000000001"),
    record=RecordId("006000000000001"),
    name="Generators for Edge",
    customer=Customer(id=RecordId("001000000000001"), name="Edge Communications", city="Austin"),
    currency="EUR",
    lines=(OrderLine(product="GC1040", quantity=Decimal(2), unit_price=Decimal("5000.00")),),
)


class ScriptedErp:
    """Keeps one order in memory. `script` maps a call's name to what goes wrong with it, once each, in order."""

    name = "scripted"
    settle = timedelta(0)

    def __init__(self, script: dict[str, list[Callable[[], None]]] | None = None) -> None:
        self.script = script or {}
        self.happened: list[str] = []
        self.order: ErpOrder | None = None
        self.created = 0

    @property
    def calls(self) -> int:
        return len(self.happened)

    async def find(self, idempotency_key: str) -> ErpOrder | None:
        assert ORDER.idempotency_key == idempotency_key
        self._happens("find")
        return self.order

    async def find_many(self, keys: Sequence[str]) -> dict[str, list[ErpOrder]]:
        raise NotImplementedError

    def orders_since(self, org: OrgId, since: datetime) -> AsyncIterator[tuple[str, ErpOrder]]:
        raise NotImplementedError

    def orphans(self, since: datetime, until: datetime) -> AsyncIterator[RecordId]:
        raise NotImplementedError

    async def create(self, order: Order) -> ErpOrder:
        self._happens("create")
        if self.order is not None:
            raise DuplicateError("taken")
        self.put(order)
        self._happens("created")
        assert self.order is not None
        return self.order

    async def advance(self, found: ErpOrder) -> ErpOrder:
        self._happens("advance")
        self.order = found.model_copy(update={"status": ErpStatus.CONFIRMED})
        self._happens("advanced")
        return self.order

    async def find_by_number(self, number: str) -> ErpOrder | None:
        raise NotImplementedError

    async def claim(
        self, found: ErpOrder, idempotency_key: str, *, origin: Origin, modified_at: datetime | None
    ) -> ErpOrder | None:
        raise NotImplementedError

    async def amend(self, found: ErpOrder, order: Order) -> ErpOrder:
        raise NotImplementedError

    async def cancel(self, found: ErpOrder, *, modified_at: datetime | None) -> ErpOrder:
        raise NotImplementedError

    async def check(self) -> str:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError

    def put(self, order: Order = ORDER, status: ErpStatus = ErpStatus.DRAFT, amount: Decimal | None = None) -> None:
        self.created += 1
        self.order = ErpOrder(
            id="1",
            idempotency_key=order.idempotency_key,
            number="SO1",
            status=status,
            currency=order.currency,
            amount=order.amount if amount is None else amount,
            line_count=len(order.lines),
        )

    def _happens(self, call: str) -> None:
        self.happened.append(call)
        if events := self.script.get(call):
            events.pop(0)()


def raising(error: Exception) -> Callable[[], None]:
    """Make a script's event of an error."""

    def event() -> None:
        raise error

    return event


async def test_a_new_order_is_created_confirmed_and_looked_at() -> None:
    """A deal without an order gets one, and success is told only after the ERP has shown it confirmed."""
    erp = ScriptedErp()

    handoff = await find_or_create(erp, ORDER)

    assert not handoff.adopted
    assert ErpStatus.CONFIRMED is handoff.order.status
    assert ["find", "create", "created", "advance", "advanced", "find"] == erp.happened


@pytest.mark.parametrize("status", [ErpStatus.CONFIRMED, ErpStatus.PROCESSING, ErpStatus.DONE])
async def test_every_state_after_confirmed_is_success(status: ErpStatus) -> None:
    """An order that the ERP has taken further is adopted with a single call."""
    erp = ScriptedErp()
    erp.put(status=status)

    assert Handoff(order=erp.order, adopted=True) == await find_or_create(erp, ORDER)
    assert ["find"] == erp.happened


@pytest.mark.parametrize("status", [ErpStatus.DRAFT, ErpStatus.QUOTATION])
async def test_an_order_left_half_way_is_taken_on(status: ErpStatus) -> None:
    """What an attempt that died left as a draft or a quotation is confirmed, not made again."""
    erp = ScriptedErp()
    erp.put(status=status)

    handoff = await find_or_create(erp, ORDER)

    assert handoff.adopted
    assert ErpStatus.CONFIRMED is handoff.order.status
    assert 1 == erp.created


async def test_a_lost_answer_is_found_in_the_same_attempt() -> None:
    """When the ERP commits and the answer is lost, one look finds the order; nothing is created twice."""
    erp = ScriptedErp({"created": [raising(UnknownError("lost"))]})

    handoff = await find_or_create(erp, ORDER)

    assert handoff.adopted
    assert 1 == erp.created


async def test_an_unknown_outcome_without_an_order_is_left_to_the_next_attempt() -> None:
    """When it is not visible after an unknown outcome, nothing is created blindly; the next attempt looks first."""
    erp = ScriptedErp({"create": [raising(UnknownError("lost"))]})

    with pytest.raises(UnknownError):
        await find_or_create(erp, ORDER)
    assert ["find", "create", "find"] == erp.happened

    assert not (await find_or_create(erp, ORDER)).adopted
    assert 1 == erp.created


async def test_a_duplicate_is_found_and_adopted() -> None:
    """When a parallel caller is faster, the ERP's constraint says so and its order is adopted."""
    erp = ScriptedErp()

    async def somebody_is_faster(step: Step) -> None:
        if step == "before-create":
            erp.put()

    assert (await find_or_create(erp, ORDER, on_step=somebody_is_faster)).adopted
    assert 1 == erp.created


async def test_a_duplicate_that_cannot_be_seen_is_retried() -> None:
    """A key that is taken by an order which is not visible yet is no reason to give up."""
    erp = ScriptedErp({"create": [raising(DuplicateError("taken"))]})

    with pytest.raises(UnknownError):
        await find_or_create(erp, ORDER)


async def test_a_crash_between_commit_and_completion_makes_no_second_order() -> None:
    """Whoever dies right after the ERP's commit, whatever remembers nothing of it, the next attempt adopts."""
    erp = ScriptedErp()

    async def die(step: Step) -> None:
        if step == "after-create":
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await find_or_create(erp, ORDER, on_step=die)

    assert (await find_or_create(erp, ORDER)).adopted
    assert 1 == erp.created


@pytest.mark.parametrize(
    "difference",
    [{"amount": Decimal("9999.00")}, {"currency": "USD"}, {"line_count": 2}],
    ids=["amount", "currency", "lines"],
)
async def test_an_order_that_differs_is_not_adopted(difference: dict[str, object]) -> None:
    """What stands under our key but is not what was sold waits for a person, untouched, with both totals named."""
    erp = ScriptedErp()
    erp.put()
    assert erp.order is not None
    erp.order = erp.order.model_copy(update=difference)

    with pytest.raises(AmountDiffersError) as caught:
        await find_or_create(erp, ORDER)

    assert AttentionReason.AMOUNT_DIFFERS is caught.value.reason
    assert "10000.00 EUR on 1 line(s)" in str(caught.value)
    assert ["find"] == erp.happened


@pytest.mark.parametrize(
    ("currency", "price", "booked", "agrees"),
    [
        ("EUR", "0.333", "1.00", True),
        ("EUR", "0.333", "1.01", False),
        ("JPY", "333.5", "1001", True),
        ("JPY", "333.5", "1002", False),
    ],
)
async def test_rounding_of_a_line_is_no_difference(currency: str, price: str, booked: str, agrees: bool) -> None:  # noqa: FBT001
    """An ERP rounds each line to the smallest unit of the currency; more than that is a difference."""
    line = OrderLine(product="GC1040", quantity=Decimal(3), unit_price=Decimal(price))
    order = ORDER.model_copy(update={"currency": currency, "lines": (line,)})
    erp = ScriptedErp()
    erp.put(order, ErpStatus.DONE, Decimal(booked))

    if agrees:
        assert (await find_or_create(erp, order)).adopted
    else:
        with pytest.raises(AmountDiffersError):
            await find_or_create(erp, order)


async def test_a_cancelled_order_is_not_replaced() -> None:
    """Somebody cancelled it in the ERP: a person decides, and no second order appears."""
    erp = ScriptedErp()
    erp.put(status=ErpStatus.CANCELLED)

    with pytest.raises(RejectedError, match="SO1 of this record has been cancelled") as caught:
        await find_or_create(erp, ORDER)

    assert AttentionReason.ERP_REJECTED is caught.value.reason
    assert ["find"] == erp.happened


async def test_a_refusal_because_somebody_was_faster_is_success() -> None:
    """When a step is refused but the order has moved on meanwhile, the new state counts, not the refusal."""
    erp = ScriptedErp()

    def confirmed_by_somebody() -> None:
        erp.put(status=ErpStatus.CONFIRMED)
        raise RejectedError("You can not call confirm")

    erp.script["advance"] = [confirmed_by_somebody]

    assert ErpStatus.CONFIRMED is (await find_or_create(erp, ORDER)).order.status


async def test_a_refusal_that_stands_needs_attention() -> None:
    """When a step is refused and the order has not moved, the ERP's words reach a person."""
    erp = ScriptedErp({"advance": [raising(RejectedError("No warehouse"))]})

    with pytest.raises(RejectedError, match="No warehouse"):
        await find_or_create(erp, ORDER)


async def test_the_customer_is_not_quoted() -> None:
    """Words of the ERP that repeat the customer or the deal lose them before they reach a log."""
    words = 'Party "Edge Communications" in Austin: "Generators for Edge" refused'
    erp = ScriptedErp({"create": [raising(RejectedError(words))]})

    with pytest.raises(RejectedError) as caught:
        await find_or_create(erp, ORDER)

    assert 'Party "…" in …: "…" refused' == str(caught.value)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("No party EDGE COMMUNICATIONS", "No party …"),
        ("Field PO number: PO 77 a is wrong", "Field PO number: … is wrong"),
        ("Term Net 30 days, line first year", "Term …, line …"),
        ("Warehouse of Acme and Sons", "Warehouse of …"),
        ("The record of Edge Commun…", "The record of …"),
        ("The record of Ed…", "The record of Ed…"),
        ("There is no product GC1040", "There is no product GC1040"),
    ],
)
async def test_m7_what_is_quoted_is_found_in_every_form(words: str, expected: str) -> None:
    """White space is normalized before texts are compared; lines, free fields and a cut end count, too."""
    line = ORDER.lines[0].model_copy(update={"description": "first\tyear", "extra": {"for": "Acme and\nSons"}})
    order = ORDER.model_copy(update={"reference": "PO\t77  a", "extra": {"term": "Net 30 days"}, "lines": (line,)})
    erp = ScriptedErp({"create": [raising(RejectedError(words))]})

    with pytest.raises(RejectedError) as caught:
        await find_or_create(erp, order)

    assert expected == str(caught.value)


async def test_an_order_that_never_becomes_confirmed_is_retried() -> None:
    """An ERP that accepts every step and moves nothing does not hold the caller in a loop, nor count as success."""
    erp = ScriptedErp()

    def nothing_moved() -> None:
        erp.order = erp.order.model_copy(update={"status": ErpStatus.DRAFT}) if erp.order else None

    erp.script["advanced"] = [nothing_moved] * 10

    with pytest.raises(UnknownError, match="still draft"):
        await find_or_create(erp, ORDER)


async def test_busy_goes_through_untouched() -> None:
    """An ERP that asks for patience gets it: no look, no second try in the same attempt."""
    erp = ScriptedErp({"create": [raising(BusyError("busy"))]})

    with pytest.raises(BusyError):
        await find_or_create(erp, ORDER)

    assert ["find", "create"] == erp.happened
