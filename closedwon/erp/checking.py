"""Check that an ERP's answer is about the order that was asked for; for all adapters.

A facade may forget a filter, a cache may be stale, a proxy may mix up two replies. Each of them returns a valid order
of another record. If Closedwon accepted it, it would write it back, amend it or cancel it, and never create the
record's own order. So every order in an answer must carry the requested key, the answer to a write must be about the
order that was written, and one key has one order.

Closedwon sends `origin` and `modified_at`, and the ERP only stores them. A facade that invents them (a default of its
database, the time of its own row) would let a policy cancel an order that people made, or hide a change. So the answer
to a write must repeat the values that were sent, or omit them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Final, NoReturn

from closedwon.erp.errors import WrongAnswerError
from closedwon.erp.protocol import Erp, ErpWrapper
from closedwon.ids import OrgId
from closedwon.model.erp import ErpOrder, ErpStatus, Origin
from closedwon.model.orders import Order

_A_SECOND: Final = timedelta(seconds=1)
"""An ERP may store times without fractions."""


def only_one(erp: str, call: str, orders: Sequence[ErpOrder]) -> ErpOrder | None:
    """Return the only order of an answer; None if it has none. Raises `WrongAnswerError` if it has several."""
    if len(orders) > 1:
        raise WrongAnswerError(erp, call, f"shows {len(orders)} orders instead of one")
    return orders[0] if orders else None


def checked(erp: Erp) -> Erp:
    """Wrap `erp` so that every answer is checked. Wrapping twice has no further effect."""
    return erp if isinstance(erp, CheckedErp) else CheckedErp(erp)


class CheckedErp(ErpWrapper):
    """Raises `WrongAnswerError` for an answer that is not about the requested order."""

    async def find(self, idempotency_key: str) -> ErpOrder | None:
        """See `Erp`."""
        found = await super().find(idempotency_key)
        if found is not None:
            self._check_key("the look-up by key", found, idempotency_key)
        return found

    async def find_by_number(self, number: str) -> ErpOrder | None:
        """See `Erp`."""
        found = await super().find_by_number(number)
        if found is not None and found.number != number:
            self._refuse("the look-up by number", "has an order with another number")
        if found is not None and found.idempotency_key is None and found.origin is not None:
            self._refuse("the look-up by number", "has an origin for an order without an idempotency key")
        return found

    async def find_many(self, keys: Sequence[str]) -> dict[str, list[ErpOrder]]:
        """See `Erp`."""
        found = await super().find_many(keys)
        asked, call = set(keys), "the look-up of several keys"
        for key, orders in found.items():
            if key not in asked:
                self._refuse(call, "has an order with a key that was not asked for")
            for order in orders:
                self._check_key(call, order, key)
        return found

    async def orders_since(self, org: OrgId, since: datetime) -> AsyncIterator[tuple[str, ErpOrder]]:
        """See `Erp`."""
        call = "the listing"
        async for key, order in super().orders_since(org, since):
            if not key.startswith(f"{org}:"):
                self._refuse(call, "has an order of another org")
            self._check_key(call, order, key)
            yield key, order

    async def create(self, order: Order) -> ErpOrder:
        """See `Erp`."""
        created = await super().create(order)
        self._check_key("a creation", created, order.idempotency_key)
        if created.status is ErpStatus.CANCELLED:
            self._refuse("a creation", "has a cancelled order")
        self._check_echo("a creation", created, order.modified_at, origin=Origin.CREATED)
        return created

    async def advance(self, found: ErpOrder) -> ErpOrder:
        """See `Erp`."""
        return self._same("a confirmation", await super().advance(found), found, found.idempotency_key)

    async def amend(self, found: ErpOrder, order: Order) -> ErpOrder:
        """See `Erp`."""
        amended = self._same("a change", await super().amend(found, order), found, order.idempotency_key)
        self._check_echo("a change", amended, order.modified_at)
        return amended

    async def cancel(self, found: ErpOrder, *, modified_at: datetime | None) -> ErpOrder:
        """See `Erp`."""
        cancelled = await super().cancel(found, modified_at=modified_at)
        self._same("a cancellation", cancelled, found, found.idempotency_key)
        self._check_echo("a cancellation", cancelled, modified_at)
        return cancelled

    async def claim(
        self, found: ErpOrder, idempotency_key: str, *, origin: Origin, modified_at: datetime | None
    ) -> ErpOrder | None:
        """See `Erp`."""
        claimed = await super().claim(found, idempotency_key, origin=origin, modified_at=modified_at)
        if claimed is None:
            return None
        self._same("a claim", claimed, found, idempotency_key)
        self._check_echo("a claim", claimed, modified_at, origin=origin)
        return claimed

    def _same(self, call: str, answered: ErpOrder, found: ErpOrder, key: str | None) -> ErpOrder:
        if answered.id != found.id:
            self._refuse(call, "is about another order")
        self._check_key(call, answered, key)
        return answered

    def _check_echo(
        self, call: str, answered: ErpOrder, modified_at: datetime | None, *, origin: Origin | None = None
    ) -> None:
        if origin is not None and answered.origin not in (None, origin):
            self._refuse(call, "has another origin than was sent")
        kept = answered.modified_at
        if kept is not None and modified_at is not None and abs(kept - modified_at) >= _A_SECOND:
            self._refuse(call, "has another modification time than was sent")

    def _check_key(self, call: str, answered: ErpOrder, key: str | None) -> None:
        if answered.idempotency_key is None:
            self._refuse(call, "has an order without an idempotency key")
        if answered.idempotency_key != key:
            self._refuse(call, "has an order with another idempotency key")

    def _refuse(self, call: str, problem: str) -> NoReturn:
        raise WrongAnswerError(self.name, call, problem)
