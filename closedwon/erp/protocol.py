"""The interface of every ERP adapter. An adapter is a thin client: no retries, and no state but cached look-ups.

Every order that an adapter returns carries the idempotency key that the ERP stores with it, and the fields of
`ErpOrder` that the ERP knows. `checking` rejects answers without the requested key. No Temporal, no HTTP and nothing
that only one ERP needs belongs here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from closedwon.ids import OrgId, RecordId
from closedwon.model.erp import ErpOrder, Origin
from closedwon.model.orders import Order


class Erp(Protocol):
    """One configured ERP. Every call may raise `ErpAuthFailedError`, `RejectedError` and a `RetryError` of `errors`.

    If the ERP has versions, a write to an order (`advance`, `amend`, `cancel`, `claim`) raises `StaleError` and changes
    nothing if the order's version is no longer that of `found`.
    """

    name: str
    in_doubt_for: timedelta
    """How long a call that got no answer may still take effect."""

    @property
    def calls(self) -> int:
        """Requests sent to the ERP so far."""

    async def find(self, idempotency_key: str) -> ErpOrder | None:
        """Look the order up by its idempotency key. Raises `WrongAnswerError` if the ERP shows several."""

    async def find_by_number(self, number: str) -> ErpOrder | None:
        """Look the order up by its number, whatever its key, without a side effect. None: no such order.

        Raises `CannotLookUpError` if this ERP cannot do that, and `WrongAnswerError` if it shows several.
        """

    async def find_many(self, keys: Sequence[str]) -> dict[str, list[ErpOrder]]:
        """Look orders up by their idempotency keys, with as many keys in one call as fit into a URL.

        A key without an order is omitted. A key with two orders is a duplicate, which the ERP should prevent.
        """

    def orders_since(self, org: OrgId, since: datetime) -> AsyncIterator[tuple[str, ErpOrder]]:
        """List every order of `org`'s records that was created or changed since then, with its idempotency key.

        Reads page by page, in a sort order that concurrent changes do not affect.
        """

    def orphans(self, since: datetime, until: datetime) -> AsyncIterator[RecordId]:
        """List the customers (Accounts) that were created for an order in this period and have no order.

        Empty if the adapter does not create customers. The customer of an order in progress is created first.
        """

    async def create(self, order: Order) -> ErpOrder:
        """Create the order, perhaps only as a draft. Raises `DuplicateError` if another order has the key.

        The ERP stores the key, `Origin.CREATED` and `order.modified_at` in the same transaction.
        """

    async def advance(self, found: ErpOrder) -> ErpOrder:
        """Advance the order to confirmed or beyond. A repeated call changes nothing."""

    async def amend(self, found: ErpOrder, order: Order) -> ErpOrder:
        """Replace lines, currency and texts by those of `order`; reopen a cancelled order.

        The customer stays, and `order.modified_at` is stored. The order may be a draft afterwards. The call states what
        the order must be, not what changes, so it is safe to repeat. Raises `TooLateToAmendError` if the ERP processes
        the order already, and `CannotAmendError` if this ERP cannot change orders at all.
        """

    async def cancel(self, found: ErpOrder, *, modified_at: datetime | None) -> ErpOrder:
        """Cancel the order, and store `modified_at` if given. Raises `TooLateError` if the ERP processes it already."""

    async def claim(
        self, found: ErpOrder, idempotency_key: str, *, origin: Origin, modified_at: datetime | None
    ) -> ErpOrder | None:
        """Store key, origin and modification time with `found`: it becomes the record's order.

        Also used on an order that already has this key, to store a newer `modified_at`. Safe to repeat. None: this ERP
        cannot store a key. Raises `OthersOrderError` if the order has another key, and `DuplicateError` if another
        order has this key; nothing is changed then.
        """

    async def check(self) -> str:
        """Connect, and describe the result in one line for `closedwon config check`."""

    async def close(self) -> None:
        """Release connections."""


class ErpWrapper:
    """Passes every call on to another `Erp`; the base class of wrappers that check or fence calls."""

    def __init__(self, erp: Erp) -> None:
        self._erp = erp
        self.name = erp.name
        self.in_doubt_for = erp.in_doubt_for

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
