"""What the checks work with: the ERP, directly and through the proxy, test orders, and assertions.

All test orders belong to one made-up org, so their keys never equal those of a real org. They belong to one customer,
so repeated certifications create only one customer in the ERP. Every key is recorded before it is sent.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from time import monotonic
from typing import Annotated, Any, Final, TypeVar

from pydantic import Field

from closedwon.certify.check import CertificationCheck, FailedError, require
from closedwon.certify.proxy import Proxy
from closedwon.erp.comparing import differs, other_customer
from closedwon.erp.errors import BusyError
from closedwon.erp.protocol import Erp, ErpWrapper
from closedwon.errors import RetryError
from closedwon.ids import InvalidIdError, OrgId, RecordId
from closedwon.model.base import Currency, Frozen
from closedwon.model.erp import ErpOrder, ErpStatus, Origin
from closedwon.model.orders import Customer, Order, OrderLine
from closedwon.money import money
from closedwon.settings import ErpSettings

TEST_ORG: Final = OrgId("00DCLOSEDWON000")
"""No org has this id: Salesforce numbers its instances differently."""
TEST_CUSTOMER: Final = Customer(
    id=RecordId("001CLOSEDWON000"),
    name="Closedwon Prüfkunde Ærø 株式会社 & 🧪",
    street="1 “Test” Street <b>",
    city="Zürich",
    postal_code="8001",
    country="CH",
)
_ATTEMPTS: Final = 10
"""An ERP that loses the answer to each write once needs five."""
_PAUSE: Final = 0.2
"""Seconds between attempts, unless the ERP asks for more."""
_MAXIMUM_PAUSE: Final = 60.0
"""Seconds."""

_Result = TypeVar("_Result")


class Plan(Frozen):
    """The operator's choices."""

    products: tuple[Annotated[str, Field(min_length=1)], ...] = Field(min_length=1)
    customer: Customer = TEST_CUSTOMER
    currency: Currency = "EUR"
    by_hand: str | None = None
    """The number of an order that somebody has created for this purpose; it gets a test key."""


def customer_from(text: str) -> Customer:
    """Return the customer with an Account id or, for any other text, with a number in the ERP."""
    try:
        account = RecordId(text)
    except InvalidIdError:
        account = None
    if account is not None and account.prefix == "001":
        return TEST_CUSTOMER.model_copy(update={"id": account})
    return TEST_CUSTOMER.model_copy(update={"number": text})


def _pause(error: RetryError) -> float:
    asked = error.retry_after.total_seconds() if error.retry_after else _PAUSE
    return min(max(asked, _PAUSE), _MAXIMUM_PAUSE)


class PatientErp(ErpWrapper):
    """Repeats calls that the ERP refuses temporarily without an effect (429), and measures the time of answers."""

    def __init__(self, erp: Erp) -> None:
        super().__init__(erp)
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)

    async def find(self, idempotency_key: str) -> ErpOrder | None:
        """See `Erp`."""
        return await self._patiently(lambda: self._erp.find(idempotency_key), "find")

    async def create(self, order: Order) -> ErpOrder:
        """See `Erp`."""
        return await self._patiently(lambda: self._erp.create(order), "create")

    async def advance(self, found: ErpOrder) -> ErpOrder:
        """See `Erp`."""
        return await self._patiently(lambda: self._erp.advance(found), "confirm")

    async def find_many(self, keys: Sequence[str]) -> dict[str, list[ErpOrder]]:
        """See `Erp`."""
        return await self._patiently(lambda: self._erp.find_many(keys))

    async def find_by_number(self, number: str) -> ErpOrder | None:
        """See `Erp`."""
        return await self._patiently(lambda: self._erp.find_by_number(number))

    async def amend(self, found: ErpOrder, order: Order) -> ErpOrder:
        """See `Erp`."""
        return await self._patiently(lambda: self._erp.amend(found, order))

    async def cancel(self, found: ErpOrder, *, modified_at: datetime | None) -> ErpOrder:
        """See `Erp`."""
        return await self._patiently(lambda: self._erp.cancel(found, modified_at=modified_at))

    async def claim(
        self, found: ErpOrder, idempotency_key: str, *, origin: Origin, modified_at: datetime | None
    ) -> ErpOrder | None:
        """See `Erp`."""
        return await self._patiently(
            lambda: self._erp.claim(found, idempotency_key, origin=origin, modified_at=modified_at)
        )

    async def _patiently(self, call: Callable[[], Awaitable[_Result]], measured: str | None = None) -> _Result:
        for _ in range(_ATTEMPTS):
            began = monotonic()
            try:
                result = await call()
            except BusyError as error:
                if error.may_have_happened:
                    raise
                await asyncio.sleep(_pause(error))
            else:
                if measured:
                    self.seconds[measured].append(monotonic() - began)
                return result
        return await call()


class Bench:
    """One run of the checks against one ERP."""

    def __init__(
        self,
        plan: Plan,
        settings: ErpSettings,
        open_with: Callable[[ErpSettings, int | None], Erp],
        proxy: Proxy,
    ) -> None:
        """`open_with` makes an adapter for settings and, if it is not None, a page size."""
        self.plan = plan
        self.settings = settings
        self.proxy = proxy
        self.started_at = datetime.now(UTC)
        self.keys: dict[str, Order] = {}
        """All orders that may have been created, in the order of creation."""
        self._open_with = open_with
        self._opened: list[Erp] = []
        self.erp = PatientErp(self.open(settings))
        """The ERP directly."""
        self.proxied = self.open(settings.model_copy(update={"url": proxy.url}))
        """The ERP through `proxy`."""
        self._sample: tuple[Order, ErpOrder] | None = None

    def open(self, settings: ErpSettings, page: int | None = None) -> Erp:
        """Open another adapter; `close` closes it."""
        erp = self._open_with(settings, page)
        self._opened.append(erp)
        return erp

    async def close(self) -> None:
        """Close all adapters."""
        for erp in self._opened:
            await erp.close()

    def order(self, lines: Sequence[OrderLine] | None = None, **changes: Any) -> Order:
        """Make a new order of a made-up record, and record its key."""
        products, now = self.plan.products, datetime.now(UTC)
        usual = (line(products[0], "2", "50.00"), line(products[-1], "1", "12.00"))
        order = Order(
            org=TEST_ORG,
            record=RecordId(f"006{uuid.uuid4().hex[:12]}"),
            name="Closedwon certification: Prüfauftrag 🧪",
            customer=self.plan.customer,
            currency=self.plan.currency,
            lines=tuple(lines or usual),
            reference="closedwon erp certify",
            order_date=now.date(),
            delivery_date=now.date() + timedelta(days=14),
            created_at=now,
            modified_at=now.replace(microsecond=now.microsecond // 1000 * 1000),
        ).model_copy(update=changes)
        self.keys[order.idempotency_key] = order
        return order

    def unused_key(self) -> str:
        """Return a key that no order has."""
        return f"{TEST_ORG}:{RecordId(f'006{uuid.uuid4().hex[:12]}')}"

    def changed(self, order: Order, quantity: int) -> Order:
        """Return a later state of the record: one line, with another quantity, order number and delivery date."""
        changes = {
            "lines": (line(self.plan.products[0], str(quantity), "40.00"),),
            "reference": f"closedwon erp certify, {quantity}",
            "delivery_date": datetime.now(UTC).date() + timedelta(days=14 + quantity),
        }
        return later(order, quantity).model_copy(update=changes)

    async def made(self, order: Order | None = None) -> tuple[Order, ErpOrder]:
        """Create an order, and return it as the ERP shows it; perhaps a draft."""
        order = order or self.order()
        await self.erp.create(order)
        return order, await self.shown(order.idempotency_key)

    async def shown(self, key: str) -> ErpOrder:
        """Return the order with this key. Raises `FailedError` if the ERP shows none."""
        found = await self.erp.find(key)
        if found is None:
            raise FailedError(f"the look-up by key does not find an order that was created (key {key})")
        return found

    async def sample(self) -> tuple[Order, ErpOrder]:
        """Return the order that the checks of an answer's content share; the first call creates it."""
        if self._sample is None:
            self._sample = await self.made()
        return self._sample

    async def until_done(
        self, attempt: Callable[[], Awaitable[_Result]], attempts: int = _ATTEMPTS
    ) -> tuple[_Result, int]:
        """Repeat the attempt after each `RetryError`, as Temporal does. Also returns the number of attempts."""
        for count in range(1, attempts):
            try:
                return await attempt(), count
            except RetryError as error:
                await asyncio.sleep(_pause(error))
        return await attempt(), attempts


def line(product: str, quantity: str, unit_price: str, **changes: Any) -> OrderLine:
    """Make one line."""
    return OrderLine(product=product, quantity=Decimal(quantity), unit_price=Decimal(unit_price)).model_copy(
        update=changes
    )


def later(order: Order, seconds: int) -> Order:
    """Return the same content with a later time."""
    assert order.modified_at is not None
    return order.model_copy(update={"modified_at": order.modified_at + timedelta(seconds=seconds)})


def require_content(found: ErpOrder, order: Order, where: str) -> None:
    """Raise `FailedError` unless customer, currency, total, lines and terms are those of `order`."""
    require(not other_customer(found, order), f"{where} names another customer than the order was sent for")
    require(
        not differs(found, order),
        f"{where} holds {money(found.amount, found.currency)} on {found.line_count} line(s), not the "
        f"{money(order.amount, order.currency)} on {len(order.lines)} line(s) that were sent, or other products, "
        "quantities, totals, order numbers or dates",
    )


def require_same(one: ErpOrder, other: ErpOrder, where: str) -> None:
    """Raise `FailedError` unless both are the same order with the same content; their states may differ."""
    passing = {"status", "version", "url"}
    unlike = sorted(
        name for name in ErpOrder.model_fields if name not in passing and getattr(one, name) != getattr(other, name)
    )
    require(not unlike, f"{where}: {', '.join(unlike)} differ(s)")


def require_moment(found: ErpOrder, order: Order, where: str) -> None:
    """Raise `FailedError` if the ERP stores modification times, but not that of `order`.

    A missing fraction of a second is harmless; a later time would hide newer notifications.
    """
    kept, sent = found.modified_at, order.modified_at
    assert sent is not None
    require(
        kept is None or sent - timedelta(seconds=1) < kept <= sent,
        f"{where} has the modification time {kept} instead of {sent}",
    )


def require_status(found: ErpOrder, status: ErpStatus, where: str) -> None:
    """Raise `FailedError` for another status."""
    require(found.status is status, f"{where} is {found.status.value}, not {status.value}")


def check(
    name: str, promise: str, *, is_dangerous: bool = False
) -> Callable[[Callable[[Bench], Awaitable[str]]], CertificationCheck[Bench]]:
    """Turn a function into a check of an ERP."""
    return lambda run: CertificationCheck(name, promise, run, is_dangerous)
