"""An answer is believed only if it is about the order that was asked for. Here, once, for all adapters.

A facade that forgets a filter, a stale cache, a proxy that mixes up two replies: each answers with a perfectly good
order of another record. Taken for this record's, it is written back, amended or cancelled, and the record's own order
is never made. So every order in an answer must carry the key that was asked for; the answer to a write must be about
the order that was written; and one key has one order.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import NoReturn

from closedwon.erp.errors import WrongAnswerError
from closedwon.erp.protocol import Erp, ErpWrapper
from closedwon.ids import OrgId
from closedwon.model import ErpOrder, ErpStatus, Order, Origin


def only_one(erp: str, call: str, orders: Sequence[ErpOrder]) -> ErpOrder | None:
    """The one order of an answer, None if it has none. Raises `WrongAnswerError` if it has several."""
    if len(orders) > 1:
        raise WrongAnswerError(erp, call, f"shows {len(orders)} orders instead of one")
    return orders[0] if orders else None


def checked(erp: Erp) -> Erp:
    """`erp`, with every answer checked; safe to apply twice."""
    return erp if isinstance(erp, CheckedErp) else CheckedErp(erp)


class CheckedErp(ErpWrapper):
    """Raises `WrongAnswerError` for each answer that does not carry what was asked for."""

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
        return created

    async def advance(self, found: ErpOrder) -> ErpOrder:
        """See `Erp`."""
        return self._same("a confirmation", await super().advance(found), found, found.idempotency_key)

    async def amend(self, found: ErpOrder, order: Order) -> ErpOrder:
        """See `Erp`."""
        return self._same("a change", await super().amend(found, order), found, order.idempotency_key)

    async def cancel(self, found: ErpOrder, *, modified_at: datetime | None) -> ErpOrder:
        """See `Erp`."""
        cancelled = await super().cancel(found, modified_at=modified_at)
        return self._same("a cancellation", cancelled, found, found.idempotency_key)

    async def claim(
        self, found: ErpOrder, idempotency_key: str, *, origin: Origin, modified_at: datetime | None
    ) -> ErpOrder | None:
        """See `Erp`."""
        claimed = await super().claim(found, idempotency_key, origin=origin, modified_at=modified_at)
        return None if claimed is None else self._same("a claim", claimed, found, idempotency_key)

    def _same(self, call: str, answered: ErpOrder, found: ErpOrder, key: str | None) -> ErpOrder:
        if answered.id != found.id:
            self._refuse(call, "is about another order")
        self._check_key(call, answered, key)
        return answered

    def _check_key(self, call: str, answered: ErpOrder, key: str | None) -> None:
        if answered.idempotency_key is None:
            self._refuse(call, "has an order without an idempotency key")
        if answered.idempotency_key != key:
            self._refuse(call, "has an order with another idempotency key")

    def _refuse(self, call: str, problem: str) -> NoReturn:
        raise WrongAnswerError(self.name, call, problem)
