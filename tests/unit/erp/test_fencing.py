"""Which writes are sent, and which are in doubt afterwards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from decimal import Decimal

import pytest

from closedwon.erp.base import (
    BusyError,
    DuplicateError,
    Erp,
    ErpAuthFailedError,
    LostAttemptError,
    RejectedError,
    StaleError,
    UnknownError,
    UnreachableError,
    WrongAnswerError,
    fenced,
)
from closedwon.erp.errors import UnusableAnswerError
from closedwon.errors import ClosedwonError
from closedwon.ids import OrgId, RecordId
from closedwon.model.erp import ErpOrder, ErpStatus, Origin
from closedwon.model.orders import Customer, Order, OrderLine
from tests.support.memory_erp import MemoryErp, held

ORDER = Order(
    org=OrgId("00D000000000001"),
    record=RecordId("006000000000001"),
    name="Generators for Edge",
    customer=Customer(id=RecordId("001000000000001"), name="Edge Communications"),
    currency="EUR",
    lines=(OrderLine(product="GC1040", quantity=Decimal(2), unit_price=Decimal(5000)),),
)
FOUND = ErpOrder(
    id="1",
    idempotency_key=ORDER.idempotency_key,
    number="SO1",
    status=ErpStatus.DRAFT,
    currency="EUR",
    amount=Decimal(10000),
    line_count=1,
)


class OneOrderErp:
    """Has one order or none, and records the writes that arrive; each raises `error`, if there is one."""

    name = "one"

    def __init__(self, order: ErpOrder | None, error: BaseException | None = None) -> None:
        self.order = order
        self.error = error
        self.written: list[str] = []
        self.in_doubt_for = None

    async def find(self, _key: str) -> ErpOrder | None:
        return self.order

    async def find_by_number(self, _number: str) -> ErpOrder | None:
        return self.order

    async def create(self, _order: Order) -> ErpOrder:
        return self._write("create")

    async def advance(self, _found: ErpOrder) -> ErpOrder:
        return self._write("advance")

    async def amend(self, _found: ErpOrder, _order: Order) -> ErpOrder:
        return self._write("amend")

    async def cancel(self, _found: ErpOrder, *, modified_at: datetime | None) -> ErpOrder:
        assert modified_at is None
        return self._write("cancel")

    async def claim(
        self, _found: ErpOrder, idempotency_key: str, *, origin: Origin, modified_at: datetime | None
    ) -> ErpOrder:
        assert (idempotency_key, origin, modified_at) == (ORDER.idempotency_key, Origin.ADOPTED, None)
        return self._write("claim")

    def _write(self, what: str) -> ErpOrder:
        self.written.append(what)
        if self.error is not None:
            raise self.error
        return FOUND


class ScriptedGuard:
    """A guard with the answers of the test."""

    def __init__(self, *, lost: bool = False, old: bool = False) -> None:
        self._lost = lost
        self._old = old
        self.looks = 0
        self.doubts = 0

    async def before_write(self) -> None:
        if self._lost:
            raise LostAttemptError("lost")

    def looked(self) -> None:
        self.looks += 1

    def needs_new_look(self) -> bool:
        return self._old

    def unanswered(self) -> None:
        self.doubts += 1


WRITES: dict[str, Callable[[Erp], Awaitable[object]]] = {
    "create": lambda erp: erp.create(ORDER),
    "advance": lambda erp: erp.advance(FOUND),
    "amend": lambda erp: erp.amend(FOUND, ORDER),
    "cancel": lambda erp: erp.cancel(FOUND, modified_at=None),
    "claim": lambda erp: erp.claim(FOUND, ORDER.idempotency_key, origin=Origin.ADOPTED, modified_at=None),
}
every_write = pytest.mark.parametrize("write", WRITES)


@every_write
async def test_an_attempt_that_was_lost_writes_nothing(write: str) -> None:
    """Another attempt continues, and it is known that this one has sent nothing."""
    erp, guard = OneOrderErp(FOUND), ScriptedGuard(lost=True)

    with pytest.raises(LostAttemptError):
        await WRITES[write](fenced(erp, guard))  # type: ignore[arg-type]

    assert ([], 0) == (erp.written, guard.doubts)


async def test_every_look_is_reported_to_the_guard() -> None:
    """By key and by number: what is written next is based on it."""
    guard = ScriptedGuard()
    erp = fenced(OneOrderErp(FOUND), guard)  # type: ignore[arg-type]
    await erp.find(ORDER.idempotency_key)
    await erp.find_by_number("SO1")
    assert 2 == guard.looks


@every_write
async def test_a_young_look_is_not_repeated(write: str) -> None:
    """The usual write needs no additional call."""
    erp, guard = OneOrderErp(None), ScriptedGuard()

    await WRITES[write](fenced(erp, guard))  # type: ignore[arg-type]

    assert ([write], 0, 0) == (erp.written, guard.looks, guard.doubts)


@every_write
async def test_an_old_look_is_repeated_before_the_write(write: str) -> None:
    """An unchanged order is written once."""
    erp, guard = OneOrderErp(None if write == "create" else FOUND), ScriptedGuard(old=True)

    await WRITES[write](fenced(erp, guard))  # type: ignore[arg-type]

    assert ([write], 1) == (erp.written, guard.looks)


@every_write
@pytest.mark.parametrize("change", [{"status": ErpStatus.CONFIRMED}, {"amount": Decimal(1)}, {"version": "2"}])
async def test_what_changed_since_an_old_look_is_not_overwritten(write: str, change: dict[str, object]) -> None:
    """The next attempt begins with a look-up of its own."""
    erp, guard = OneOrderErp(FOUND.model_copy(update=change)), ScriptedGuard(old=True)

    with pytest.raises(DuplicateError if write == "create" else StaleError):
        await WRITES[write](fenced(erp, guard))  # type: ignore[arg-type]

    assert ([], 0) == (erp.written, guard.doubts)


@every_write
@pytest.mark.parametrize(
    ("error", "doubts"),
    [
        (UnknownError("timeout"), 1),
        (BusyError("503", may_have_happened=True), 1),
        (RuntimeError("unexpected-error"), 1),
        (KeyboardInterrupt(), 1),
        (BusyError("429"), 0),
        (UnreachableError("refused"), 0),
        (StaleError("412"), 0),
        (DuplicateError("409"), 0),
        (RejectedError("422"), 0),
        (ErpAuthFailedError("401", hint=""), 0),
        (WrongAnswerError("erp", "a call", "is wrong"), 1),
        (UnusableAnswerError("202 {}"), 1),
    ],
    ids=str,
)
async def test_a_write_is_in_doubt_without_a_definite_answer(write: str, error: BaseException, doubts: int) -> None:
    """A refusal, a 412, a failed connection is definite; a time-out, a 503 and a wrong answer are not."""
    erp, guard = OneOrderErp(FOUND, error), ScriptedGuard()

    with pytest.raises((ClosedwonError, RuntimeError, KeyboardInterrupt)):
        await WRITES[write](fenced(erp, guard))  # type: ignore[arg-type]

    assert ([write], doubts) == (erp.written, guard.doubts)


@pytest.mark.parametrize(("number", "name"), [("SO1", "SO1"), (None, "1")])
async def test_an_order_that_changed_is_named(number: str | None, name: str) -> None:
    """By its number, or else by the ERP's own id."""
    looked_at = FOUND.model_copy(update={"number": number})
    erp = fenced(OneOrderErp(FOUND.model_copy(update={"amount": Decimal(1)})), ScriptedGuard(old=True))  # type: ignore[arg-type]
    with pytest.raises(StaleError, match=f"one: order {name} has changed since it was read"):
        await erp.advance(looked_at)


async def test_an_order_without_a_key_is_looked_at_by_its_number() -> None:
    """The one that was looked at, and no other."""
    by_hand = held(idempotency_key=None, origin=None)
    others = [held(id="2", number="", idempotency_key=None), held(id="3", number="SO3", idempotency_key="x")]
    memory = MemoryErp(*others, by_hand)
    claimed = await fenced(memory, ScriptedGuard(old=True)).claim(
        by_hand, ORDER.idempotency_key, origin=Origin.ADOPTED, modified_at=None
    )
    assert (["find_by_number"], "1") == (memory.looks, claimed and claimed.id)
