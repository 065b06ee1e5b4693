"""What every ERP adapter offers. An adapter is a thin client: a few calls, no retries, no state but look-ups.

Every order that an adapter returns carries the idempotency key that the ERP keeps with it, and the facts of `ErpOrder`
as far as the ERP knows them; `checking` believes no answer without the key that was asked for. No Temporal here, no
HTTP, and nothing that only one ERP needs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from closedwon.ids import OrgId, RecordId
from closedwon.model import ErpOrder, Order, Origin


class Erp(Protocol):
    """One configured ERP. Every call may raise `AuthFailedError`, `RejectedError` and the `RetryError`s of `errors`.

    A write that names an order (`advance`, `amend`, `cancel`, `claim`) raises `StaleError` and changes nothing if the
    order's version is not that of `found` any more, wherever the ERP has versions.
    """

    name: str
    settle: timedelta
    """How long a call that got no answer may still take effect."""

    @property
    def calls(self) -> int:
        """Requests sent to the ERP so far."""

    async def find(self, idempotency_key: str) -> ErpOrder | None:
        """Look the order up by its idempotency key. Raises `WrongAnswerError` if the ERP shows several."""

    async def find_by_number(self, number: str) -> ErpOrder | None:
        """Look the order up that people call `number`, whatever its key; no side effect. None: no such order.

        Raises `CannotLookUpError` where this ERP cannot, and `WrongAnswerError` if it shows several.
        """

    async def find_many(self, keys: Sequence[str]) -> dict[str, list[ErpOrder]]:
        """Look orders up by their idempotency keys, as many in one call as a URL holds.

        A key without an order is left out; one with two orders is a duplicate that the ERP's constraint should prevent.
        """

    def orders_since(self, org: OrgId, since: datetime) -> AsyncIterator[tuple[str, ErpOrder]]:
        """List every order of `org`'s records that was made or changed since then, with its idempotency key.

        Page by page, in an order that changes do not disturb.
        """

    def orphans(self, since: datetime, until: datetime) -> AsyncIterator[RecordId]:
        """List the customers (Accounts) that were made for an order in this time, and have none.

        Empty where the adapter does not make customers. An order on its way has its customer made first.
        """

    async def create(self, order: Order) -> ErpOrder:
        """Create the order, perhaps only as a draft. Raises `DuplicateError` when the key is taken.

        The ERP stores the key, `Origin.CREATED` and `order.modified_at` in the same transaction.
        """

    async def advance(self, found: ErpOrder) -> ErpOrder:
        """Take the order to confirmed or beyond; state-guarded, so safe to repeat."""

    async def amend(self, found: ErpOrder, order: Order) -> ErpOrder:
        """Make the order hold the lines, currency and texts of `order`; a cancelled one is taken up again.

        The customer stays; `order.modified_at` is stored. The order may be a draft afterwards, to be advanced. The call
        says what the order must be, not what changes, so it is safe to repeat. Raises `TooLateToAmendError` when the
        ERP has begun to process the order, and `CannotAmendError` when it never could.
        """

    async def cancel(self, found: ErpOrder, *, modified_at: datetime | None) -> ErpOrder:
        """Cancel the order, and store `modified_at` if given. Raises `TooLateError` once the ERP processes it."""

    async def claim(
        self, found: ErpOrder, idempotency_key: str, *, origin: Origin, modified_at: datetime | None
    ) -> ErpOrder | None:
        """Store key, origin and modification time with the order that was looked at: it is the record's one order.

        Also used on an order that has this key already, to store a newer `modified_at`. Safe to repeat. None: this ERP
        cannot store a key. Raises `OthersOrderError` if the order has another key, and `DuplicateError` if another
        order has this one; neither changes anything.
        """

    async def check(self) -> str:
        """Connect and say in one line what was found, for `closedwon config check`."""

    async def close(self) -> None:
        """Release connections."""


class ErpWrapper:
    """Passes every call on to another `Erp`; the base of those that check or fence them."""

    def __init__(self, erp: Erp) -> None:
        """Stand before `erp`."""
        self._erp = erp
        self.name = erp.name
        self.settle = erp.settle

    @property
    def calls(self) -> int:
        """Requests sent to the ERP so far."""
        return self._erp.calls

    async def find(self, idempotency_key: str) -> ErpOrder | None:
        """See `Erp`."""
        return await self._erp.find(idempotency_key)

    async def find_by_number(self, number: str) -> ErpOrder | None:
        """See `Erp`."""
        return await self._erp.find_by_number(number)

    async def find_many(self, keys: Sequence[str]) -> dict[str, list[ErpOrder]]:
        """See `Erp`."""
        return await self._erp.find_many(keys)

    def orders_since(self, org: OrgId, since: datetime) -> AsyncIterator[tuple[str, ErpOrder]]:
        """See `Erp`."""
        return self._erp.orders_since(org, since)

    def orphans(self, since: datetime, until: datetime) -> AsyncIterator[RecordId]:
        """See `Erp`."""
        return self._erp.orphans(since, until)

    async def create(self, order: Order) -> ErpOrder:
        """See `Erp`."""
        return await self._erp.create(order)

    async def advance(self, found: ErpOrder) -> ErpOrder:
        """See `Erp`."""
        return await self._erp.advance(found)

    async def amend(self, found: ErpOrder, order: Order) -> ErpOrder:
        """See `Erp`."""
        return await self._erp.amend(found, order)

    async def cancel(self, found: ErpOrder, *, modified_at: datetime | None) -> ErpOrder:
        """See `Erp`."""
        return await self._erp.cancel(found, modified_at=modified_at)

    async def claim(
        self, found: ErpOrder, idempotency_key: str, *, origin: Origin, modified_at: datetime | None
    ) -> ErpOrder | None:
        """See `Erp`."""
        return await self._erp.claim(found, idempotency_key, origin=origin, modified_at=modified_at)

    async def check(self) -> str:
        """See `Erp`."""
        return await self._erp.check()

    async def close(self) -> None:
        """See `Erp`."""
        await self._erp.close()
