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
    RejectedError,
    Step,
    UnknownError,
    find_or_create,
)
from closedwon.errors import AttentionReason
from closedwon.ids import OrgId, RecordId
from closedwon.model.erp import ErpOrder, ErpStatus, Origin
from closedwon.model.erp_calls import Handoff
from closedwon.model.orders import Customer, Order, OrderLine

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
    in_doubt_for = timedelta(0)

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
    """A deal without an order gets one, and the call succeeds only after the ERP shows it as confirmed."""
    erp = ScriptedErp()

    handoff = await find_or_create(erp, ORDER)

    assert not handoff.adopted
    assert ErpStatus.CONFIRMED is handoff.order.status
    assert ["find", "create", "created", "advance", "advanced", "find"] == erp.happened


@pytest.mark.parametrize("status", [ErpStatus.CONFIRMED, ErpStatus.PROCESSING, ErpStatus.DONE])
async def test_every_state_after_confirmed_is_a_success(status: ErpStatus) -> None:
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
    """If the ERP commits and the answer is lost, one look-up finds the order; no second order is created."""
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
    """If the key is taken by an order that is not visible yet, the call is retried."""
    erp = ScriptedErp({"create": [raising(DuplicateError("taken"))]})

    with pytest.raises(UnknownError):
        await find_or_create(erp, ORDER)


async def test_a_crash_between_commit_and_completion_makes_no_second_order() -> None:
    """If a caller dies directly after the ERP's commit, the next attempt adopts the order."""
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
    """An order with our key that is not what was sold is not changed; a person sees both totals."""
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
    ("currency", "price", "total", "agrees"),
    [
        ("EUR", "0.333", "1.00", True),
        ("EUR", "0.333", "1.01", False),
        ("JPY", "333.5", "1001", True),
        ("JPY", "333.5", "1002", False),
    ],
)
async def test_rounding_of_a_line_is_not_a_difference(currency: str, price: str, total: str, agrees: bool) -> None:  # noqa: FBT001
    """An ERP rounds each line to the smallest unit of the currency; more than that is a difference."""
    line = OrderLine(product="GC1040", quantity=Decimal(3), unit_price=Decimal(price))
    order = ORDER.model_copy(update={"currency": currency, "lines": (line,)})
    erp = ScriptedErp()
    erp.put(order, ErpStatus.DONE, Decimal(total))

    if agrees:
        assert (await find_or_create(erp, order)).adopted
    else:
        with pytest.raises(AmountDiffersError):
            await find_or_create(erp, order)


async def test_a_cancelled_order_is_not_replaced() -> None:
    """It was cancelled in the ERP: a person decides, and no second order is created."""
    erp = ScriptedErp()
    erp.put(status=ErpStatus.CANCELLED)

    with pytest.raises(RejectedError, match="SO1 of this record has been cancelled") as caught:
        await find_or_create(erp, ORDER)

    assert AttentionReason.ERP_REJECTED is caught.value.reason
    assert ["find"] == erp.happened


async def test_a_refusal_because_a_parallel_caller_was_faster_is_a_success() -> None:
    """When a step is refused but the order has moved on meanwhile, the new state counts, not the refusal."""
    erp = ScriptedErp()

    def confirmed_by_somebody() -> None:
        erp.put(status=ErpStatus.CONFIRMED)
        raise RejectedError("You can not call confirm")

    erp.script["advance"] = [confirmed_by_somebody]

    assert ErpStatus.CONFIRMED is (await find_or_create(erp, ORDER)).order.status


async def test_a_refusal_that_stands_needs_attention() -> None:
    """If a step is refused and the order's state is the same, a person sees the ERP's message."""
    erp = ScriptedErp({"advance": [raising(RejectedError("No warehouse"))]})

    with pytest.raises(RejectedError, match="No warehouse"):
        await find_or_create(erp, ORDER)


async def test_the_customer_is_not_quoted() -> None:
    """Texts of the customer or the deal are removed from the ERP's message before it is logged."""
    message = 'Party "Edge Communications" in Austin: "Generators for Edge" refused'
    erp = ScriptedErp({"create": [raising(RejectedError(message))]})

    with pytest.raises(RejectedError) as caught:
        await find_or_create(erp, ORDER)

    assert 'Party "…" in …: "…" refused' == str(caught.value)


@pytest.mark.parametrize(
    ("message", "expected"),
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
async def test_m7_what_is_quoted_is_found_in_every_form(message: str, expected: str) -> None:
    """White space is normalized before texts are compared; lines, free fields and a cut end count, too."""
    line = ORDER.lines[0].model_copy(update={"description": "first\tyear", "extra": {"for": "Acme and\nSons"}})
    order = ORDER.model_copy(update={"reference": "PO\t77  a", "extra": {"term": "Net 30 days"}, "lines": (line,)})
    erp = ScriptedErp({"create": [raising(RejectedError(message))]})

    with pytest.raises(RejectedError) as caught:
        await find_or_create(erp, order)

    assert expected == str(caught.value)


async def test_an_order_that_never_becomes_confirmed_is_retried() -> None:
    """An ERP that accepts every step without an effect causes neither an endless loop nor a success."""
    erp = ScriptedErp()

    def nothing_moved() -> None:
        erp.order = erp.order.model_copy(update={"status": ErpStatus.DRAFT}) if erp.order else None

    erp.script["advanced"] = [nothing_moved] * 10

    with pytest.raises(UnknownError, match="still draft"):
        await find_or_create(erp, ORDER)


async def test_busy_is_passed_on_without_another_call() -> None:
    """If the ERP asks to wait, the attempt ends without a look-up or a second call."""
    erp = ScriptedErp({"create": [raising(BusyError("busy"))]})

    with pytest.raises(BusyError):
        await find_or_create(erp, ORDER)

    assert ["find", "create"] == erp.happened
