"""An ERP in memory, for unit tests of the rules around ERPs: several orders, and every write is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from closedwon.erp.base import CannotLookUpError, DuplicateError, OthersOrderError, StaleError, TooLateError
from closedwon.ids import OrgId, RecordId
from closedwon.model.erp import ErpLine, ErpOrder, ErpStatus, Origin
from closedwon.model.orders import Customer, Order, OrderLine

ORG = OrgId("00D000000000001")
EARLY = datetime(2026, 11, 3, 9, 0, tzinfo=UTC)
LATE = datetime(2026, 11, 4, 9, 0, tzinfo=UTC)
DRAFT, CONFIRMED, CANCELLED = ErpStatus.DRAFT, ErpStatus.CONFIRMED, ErpStatus.CANCELLED


def sold(**changes: Any) -> Order:
    """An order of two lines in EUR, 25.00 in all."""
    order = Order(
        org=ORG,
        record=RecordId("006000000000001"),
        name="Generators",
        customer=Customer(id=RecordId("001000000000001"), name="Edge"),
        currency="EUR",
        lines=(
            OrderLine(product="A", quantity=Decimal(2), unit_price=Decimal(10)),
            OrderLine(product="B", quantity=Decimal(1), unit_price=Decimal(5)),
        ),
        created_at=EARLY,
        modified_at=EARLY,
    )
    return order.model_copy(update=changes)


def held(order: Order | None = None, /, **changes: Any) -> ErpOrder:
    """That order as the ERP has it: confirmed, made by Closedwon, its lines the other way round."""
    order = order or sold()
    found = ErpOrder(
        id="1",
        idempotency_key=order.idempotency_key,
        number="SO1",
        status=CONFIRMED,
        currency=order.currency,
        amount=order.amount,
        line_count=len(order.lines),
        lines=tuple(
            ErpLine(product=line.product, quantity=line.quantity, unit_price=line.unit_price)
            for line in reversed(order.lines)
        ),
        customer=order.customer.reference,
        order_date=date(2026, 11, 3),
        origin=Origin.CREATED,
        modified_at=order.modified_at,
    )
    return found.model_copy(update=changes)


class MemoryErp:
    """Keeps orders by id. `happens` maps a call to what is done right before it, and an `after-…` right after it."""

    name = "memory"
    in_doubt_for = timedelta(seconds=3)

    def __init__(self, *orders: ErpOrder, stores_keys: bool = True, looks_up_numbers: bool = True) -> None:
        self.orders = {order.id: order for order in orders}
        self.writes: list[str] = []
        self.looks: list[str] = []
        self.happens: dict[str, Callable[[], None]] = {}
        self._stores_keys = stores_keys
        self._looks_up_numbers = looks_up_numbers

    @property
    def calls(self) -> int:
        return len(self.writes) + len(self.looks)

    async def find(self, idempotency_key: str) -> ErpOrder | None:
        self._look("find")
        return next((order for order in self.orders.values() if order.idempotency_key == idempotency_key), None)

    async def find_by_number(self, number: str) -> ErpOrder | None:
        self._look("find_by_number")
        if not self._looks_up_numbers:
            raise CannotLookUpError("not by number")
        return next((order for order in self.orders.values() if order.number == number), None)

    async def find_many(self, keys: Sequence[str]) -> dict[str, list[ErpOrder]]:
        orders = self.orders.values()
        return {key: found for key in keys if (found := [order for order in orders if order.idempotency_key == key])}

    async def orders_since(self, org: OrgId, since: datetime) -> AsyncIterator[tuple[str, ErpOrder]]:
        del since
        for order in self.orders.values():
            if (key := order.idempotency_key) is not None and key.startswith(org):
                yield key, order

    async def orphans(self, since: datetime, until: datetime) -> AsyncIterator[RecordId]:
        del since, until
        for reference in sorted({order.customer for order in self.orders.values() if order.customer}):
            yield RecordId(reference)

    async def create(self, order: Order) -> ErpOrder:
        if any(other.idempotency_key == order.idempotency_key for other in self.orders.values()):
            raise DuplicateError("the key is taken")
        name = str(len(self.orders) + 1)
        made = held(order, id=name, number=f"SO{name}", status=DRAFT)
        return self._write("create", made)

    async def advance(self, found: ErpOrder) -> ErpOrder:
        return self._write("advance", self._current(found), status=CONFIRMED)

    async def amend(self, found: ErpOrder, order: Order) -> ErpOrder:
        current = self._current(found)
        return self._write("amend", held(order, id=current.id, number=current.number, status=DRAFT))

    async def cancel(self, found: ErpOrder, *, modified_at: datetime | None) -> ErpOrder:
        current = self._current(found)
        if current.status is ErpStatus.DONE:
            raise TooLateError("it is done")
        changes: dict[str, Any] = {"modified_at": modified_at} if modified_at else {}
        return self._write("cancel", current, status=CANCELLED, **changes)

    async def claim(
        self, found: ErpOrder, idempotency_key: str, *, origin: Origin, modified_at: datetime | None
    ) -> ErpOrder | None:
        current = self._current(found)
        if not self._stores_keys:
            return None
        if current.idempotency_key not in {None, idempotency_key}:
            raise OthersOrderError("another record's")
        if any(o.idempotency_key == idempotency_key and o.id != current.id for o in self.orders.values()):
            raise DuplicateError("the key is taken")
        return self._write("claim", current, idempotency_key=idempotency_key, origin=origin, modified_at=modified_at)

    async def check(self) -> str:
        return "in memory"

    async def close(self) -> None:
        """Nothing is open."""

    def _current(self, found: ErpOrder) -> ErpOrder:
        current = self.orders[found.id]
        if current.version != found.version:
            raise StaleError("changed")
        return current

    def _look(self, call: str) -> None:
        self.looks.append(call)
        self._happen(call)

    def _write(self, call: str, order: ErpOrder, **changes: Any) -> ErpOrder:
        self._happen(call)
        self.writes.append(call)
        written = self.orders[order.id] = order.model_copy(update=changes)
        self._happen(f"after-{call}")
        return self.orders.get(order.id, written)

    def _happen(self, call: str) -> None:
        if (event := self.happens.pop(call, None)) is not None:
            event()
