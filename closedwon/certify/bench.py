"""What checks work with: the ERP directly and through the proxy, test orders, and the ways a check can end.

All test orders belong to one made-up org, so their keys never meet those of a real one; and to one customer, so an ERP
gets one made-up customer, however often it is certified. Every key is noted before anything is sent under it.
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

from closedwon.certify.proxy import Proxy
from closedwon.erp.comparing import differs, other_customer
from closedwon.erp.errors import BusyError
from closedwon.erp.protocol import Erp, ErpWrapper
from closedwon.errors import RetryError
from closedwon.ids import InvalidIdError, OrgId, RecordId
from closedwon.model import Currency, Customer, ErpOrder, ErpStatus, Frozen, Order, OrderLine, Origin
from closedwon.money import money
from closedwon.settings import RestErp, TrytonErp

TEST_ORG: Final = OrgId("00DCLOSEDWON000")
"""No org has this id: instances of Salesforce are numbered otherwise."""
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
_LONGEST_PAUSE: Final = 60.0
"""Seconds."""

_Result = TypeVar("_Result")


class FailedError(Exception):
    """The check has failed; the text says what was seen."""


class NotOfferedError(Exception):
    """The ERP does not offer what is checked."""

    def __init__(self, facts: str, consequence: str) -> None:
        """`consequence` says what Closedwon does without it."""
        super().__init__(facts)
        self.consequence = consequence


class Plan(Frozen):
    """What an operator decides."""

    products: tuple[Annotated[str, Field(min_length=1)], ...] = Field(min_length=1)
    customer: Customer = TEST_CUSTOMER
    currency: Currency = "EUR"
    by_hand: str | None = None
    """The number of an order that somebody has made for this purpose; it gets a test key."""


def customer_from(text: str) -> Customer:
    """The customer of an Account id or, for any other text, of a number in the ERP."""
    try:
        account = RecordId(text)
    except InvalidIdError:
        account = None
    if account is not None and account.prefix == "001":
        return TEST_CUSTOMER.model_copy(update={"id": account})
    return TEST_CUSTOMER.model_copy(update={"number": text})


def _pause(error: RetryError) -> float:
    asked = error.retry_after.total_seconds() if error.retry_after else _PAUSE
    return min(max(asked, _PAUSE), _LONGEST_PAUSE)


class PatientErp(ErpWrapper):
    """Repeats what the ERP refuses for now without having done anything (429), and notes how long answers take."""

    def __init__(self, erp: Erp) -> None:
        """Measure `erp`."""
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
        settings: RestErp | TrytonErp,
        open_with: Callable[[RestErp | TrytonErp, int | None], Erp],
        proxy: Proxy,
    ) -> None:
        """`open_with` makes an adapter for settings and, if it is not None, a size of pages."""
        self.plan = plan
        self.settings = settings
        self.proxy = proxy
        self.started_at = datetime.now(UTC)
        self.keys: dict[str, Order] = {}
        """Everything that may have been created, in this order."""
        self._open_with = open_with
        self._opened: list[Erp] = []
        self.erp = PatientErp(self.open(settings))
        """The ERP directly."""
        self.proxied = self.open(settings.model_copy(update={"url": proxy.url}))
        """The ERP through `proxy`."""
        self._sample: tuple[Order, ErpOrder] | None = None

    def open(self, settings: RestErp | TrytonErp, page: int | None = None) -> Erp:
        """One more adapter, closed in the end."""
        erp = self._open_with(settings, page)
        self._opened.append(erp)
        return erp

    async def close(self) -> None:
        """Close all adapters."""
        for erp in self._opened:
            await erp.close()

    def order(self, lines: Sequence[OrderLine] | None = None, **changes: Any) -> Order:
        """A new order of a made-up record; its key is noted."""
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
            created_at=now,
            modified_at=now.replace(microsecond=now.microsecond // 1000 * 1000),
        ).model_copy(update=changes)
        self.keys[order.idempotency_key] = order
        return order

    def unused_key(self) -> str:
        """A key that no order has."""
        return f"{TEST_ORG}:{RecordId(f'006{uuid.uuid4().hex[:12]}')}"

    def changed(self, order: Order, quantity: int) -> Order:
        """The same record a little later: one line, with another quantity."""
        lines = (line(self.plan.products[0], str(quantity), "40.00"),)
        return later(order, quantity).model_copy(update={"lines": lines})

    async def made(self, order: Order | None = None) -> tuple[Order, ErpOrder]:
        """A new order, as the ERP shows it; perhaps a draft."""
        order = order or self.order()
        await self.erp.create(order)
        return order, await self.shown(order.idempotency_key)

    async def shown(self, key: str) -> ErpOrder:
        """The order with this key. Raises `FailedError` if the ERP shows none."""
        found = await self.erp.find(key)
        if found is None:
            raise FailedError(f"the look-up by key does not find an order that was made (key {key})")
        return found

    async def sample(self) -> tuple[Order, ErpOrder]:
        """One order for the checks of what an answer holds; made by the first of them."""
        if self._sample is None:
            self._sample = await self.made()
        return self._sample

    async def until_done(
        self, attempt: Callable[[], Awaitable[_Result]], attempts: int = _ATTEMPTS
    ) -> tuple[_Result, int]:
        """What Temporal does: attempt after attempt while the error says that this helps. Also returns how many."""
        for count in range(1, attempts):
            try:
                return await attempt(), count
            except RetryError as error:
                await asyncio.sleep(_pause(error))
        return await attempt(), attempts


def line(product: str, quantity: str, unit_price: str, **changes: Any) -> OrderLine:
    """One line."""
    return OrderLine(product=product, quantity=Decimal(quantity), unit_price=Decimal(unit_price)).model_copy(
        update=changes
    )


def later(order: Order, seconds: int) -> Order:
    """The same content, which was true some seconds later."""
    assert order.modified_at is not None
    return order.model_copy(update={"modified_at": order.modified_at + timedelta(seconds=seconds)})


def require(condition: object, otherwise: str) -> None:
    """Raise `FailedError` unless `condition` holds."""
    if not condition:
        raise FailedError(otherwise)


def require_content(found: ErpOrder, order: Order, where: str) -> None:
    """Raise `FailedError` unless customer, currency, total and lines are what was asked for."""
    require(not other_customer(found, order), f"{where} names another customer than the order was sent for")
    require(
        not differs(found, order),
        f"{where} holds {money(found.amount, found.currency)} on {found.line_count} line(s), not the "
        f"{money(order.amount, order.currency)} on {len(order.lines)} line(s) that were sent, or other products, "
        "quantities or totals",
    )


def require_same(one: ErpOrder, other: ErpOrder, where: str) -> None:
    """Raise `FailedError` unless both are the same order with the same content, in whatever state."""
    passing = {"status", "version", "url"}
    unlike = sorted(
        name for name in ErpOrder.model_fields if name not in passing and getattr(one, name) != getattr(other, name)
    )
    require(not unlike, f"{where}: {', '.join(unlike)} differ(s)")


def require_moment(found: ErpOrder, order: Order, where: str) -> None:
    """Raise `FailedError` if the ERP keeps times of modification and has not stored that of `order`.

    A cut-off fraction of a second is harmless; a later time would hide newer messages.
    """
    kept, sent = found.modified_at, order.modified_at
    assert sent is not None
    require(
        kept is None or sent - timedelta(seconds=1) < kept <= sent,
        f"{where} has the time of modification {kept} instead of {sent}",
    )


def require_status(found: ErpOrder, status: ErpStatus, where: str) -> None:
    """Raise `FailedError` for another status."""
    require(found.status is status, f"{where} is {found.status.value}, not {status.value}")
