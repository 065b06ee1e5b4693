"""Whether this process can connect to an ERP: what its newest calls say. For the breaker (`closedwon.erp.breaker`).

Every call of an adapter has one of three results:

- *failed*: no connection (`UnreachableError`: refused, unknown host, TLS, a timeout while connecting);
- *answered*: the ERP, or a proxy before it, took the connection, but its answer proves nothing: 5xx, 503 and 429, no
  answer in time, or a refusal that concerns every order (401, 403, 404, off the contract). It ends a row of failures,
  and it does not show that the ERP works;
- *reached*: any other answer, also a refusal of the order.

A refusal that concerns every order becomes `RefusedForNowError` for a while, if the ERP has worked before
(`closedwon.erp.refusals`).
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TypeVar

from closedwon.erp.errors import (
    BusyError,
    RefusedForNowError,
    UnknownError,
    UnreachableError,
    UnusableAnswerError,
    WrongAnswerError,
    concerns_erp,
)
from closedwon.erp.protocol import Erp, ErpWrapper
from closedwon.erp.refusals import Call, Refusals
from closedwon.errors import AttentionError
from closedwon.ids import OrgId
from closedwon.model.erp import ErpOrder, Origin
from closedwon.model.orders import Order

_Answer = TypeVar("_Answer")


class Contact:
    """The calls of this process to one ERP. Times are seconds of `clock`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Know of no call yet."""
        self._clock = clock
        self.failures = 0
        """Calls that failed to connect since the last one that did not."""
        self.failing_since = 0.0
        """When the first of these failures ended."""
        self.failed_at = 0.0
        """When the last of them ended."""
        self.reached_at: float | None = None
        """When the ERP last gave an answer that shows that it works; None: never in this process."""
        self.refusals = Refusals(clock)

    def failed(self) -> None:
        """Record that a call found no connection."""
        self.failed_at = self._clock()
        if not self.failures:
            self.failing_since = self.failed_at
        self.failures += 1

    def answered(self) -> None:
        """Record that a call found a connection, and no more."""
        self.failures = 0

    def reached(self) -> None:
        """Record an answer."""
        self.failures = 0
        self.reached_at = self._clock()

    @contextmanager
    def call(self, kind: Call) -> Iterator[None]:
        """Record the result of a block that calls the ERP. Raises `RefusedForNowError` for some refusals."""
        try:
            yield
        except UnreachableError:
            self.failed()
            raise
        except (BusyError, UnknownError):
            self.answered()
            raise
        except Exception as error:
            if isinstance(error, AttentionError) and concerns_erp(error):
                self.answered()
                left = self.refusals.refused(kind, is_answer=isinstance(error, UnusableAnswerError))
                if left:
                    raise RefusedForNowError(error, left) from None
                raise
            self.reached()
            if not isinstance(error, WrongAnswerError):
                self.refusals.accepted(kind)
            raise
        self.reached()
        self.refusals.accepted(kind)


class WatchedErp(ErpWrapper):
    """Records in a `Contact` how the calls to an ERP end."""

    def __init__(self, erp: Erp, contact: Contact) -> None:
        super().__init__(erp)
        self._contact = contact

    async def find(self, idempotency_key: str) -> ErpOrder | None:
        """See `Erp`."""
        return await self._watch("look", super().find(idempotency_key))

    async def find_by_number(self, number: str) -> ErpOrder | None:
        """See `Erp`."""
        return await self._watch("look", super().find_by_number(number))

    async def find_many(self, keys: Sequence[str]) -> dict[str, list[ErpOrder]]:
        """See `Erp`."""
        return await self._watch("look", super().find_many(keys))

    async def orders_since(self, org: OrgId, since: datetime) -> AsyncIterator[tuple[str, ErpOrder]]:
        """See `Erp`."""
        with self._contact.call("look"):
            async for found in super().orders_since(org, since):
                yield found

    async def create(self, order: Order) -> ErpOrder:
        """See `Erp`."""
        return await self._watch("create", super().create(order))

    async def advance(self, found: ErpOrder) -> ErpOrder:
        """See `Erp`."""
        return await self._watch("advance", super().advance(found))

    async def amend(self, found: ErpOrder, order: Order) -> ErpOrder:
        """See `Erp`."""
        return await self._watch("amend", super().amend(found, order))

    async def cancel(self, found: ErpOrder, *, modified_at: datetime | None) -> ErpOrder:
        """See `Erp`."""
        return await self._watch("cancel", super().cancel(found, modified_at=modified_at))

    async def claim(
        self, found: ErpOrder, idempotency_key: str, *, origin: Origin, modified_at: datetime | None
    ) -> ErpOrder | None:
        """See `Erp`."""
        return await self._watch("claim", super().claim(found, idempotency_key, origin=origin, modified_at=modified_at))

    async def check(self) -> str:
        """See `Erp`."""
        return await self._watch("look", super().check())

    async def _watch(self, kind: Call, call: Awaitable[_Answer]) -> _Answer:
        with self._contact.call(kind):
            return await call
