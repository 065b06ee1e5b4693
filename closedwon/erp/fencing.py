"""Fencing: stop writes of attempts that were replaced, and writes that are based on outdated data.

The problem. Amending and cancelling do not commute: the order of two writes decides the result. An attempt may stall
between reading an order and writing to it (a slow answer, a suspended machine, a lost connection to Temporal). Temporal
then starts another attempt, which does its work. If the first attempt wakes up and writes, it overwrites the newer
result. Cancelling the stalled process is not enough, because a suspended process does not notice.

Three defenses, from the strongest to the weakest:

 1. A version. Where the ERP has versions, each write carries the version that was read (`If-Match`), and the ERP
    refuses the write if the order has changed: `StaleError`. This also stops a request that is already on its way.
 2. A check directly before each write (`WriteGuard.before_write`): is this attempt still the current one? If not, or if
    Temporal cannot be asked, nothing is written: `LostAttemptError`.
 3. A second look-up directly before a write whose data is too old (`WriteGuard.needs_new_look`): if the order has
    changed, nothing is written: `StaleError`.

What remains, only where the ERP has no versions: a request that has left the process may take effect later, after a
newer write. Nothing here can stop it. Therefore the guard is notified of every write that ended without a definite
answer (`WriteGuard.unanswered`, see `errors.is_definite`). The workflow then compares the order once more, after
`Erp.in_doubt_for`, when a late effect is no longer possible.

A creation needs no version: the unique key makes a late one fail if there is an order by then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final, Protocol, TypeVar

from closedwon.erp.errors import DuplicateError, StaleError, is_definite
from closedwon.erp.protocol import Erp, ErpWrapper
from closedwon.model.erp import ErpOrder, Origin
from closedwon.model.orders import Order

_Answer = TypeVar("_Answer")


class WriteGuard(Protocol):
    """Decides whether the current attempt may still write. One instance per attempt."""

    async def before_write(self) -> None:
        """Raise `LostAttemptError` unless this attempt is still Temporal's current one."""

    def looked(self) -> None:
        """Record that a look-up begins."""

    def needs_new_look(self) -> bool:
        """Whether the newest look-up is too old to base a write on."""

    def unanswered(self) -> None:
        """Record that a write ended without a definite answer: it may still take effect."""


class _Unguarded:
    """Allows every write, for callers outside of Temporal activities: tests, and `closedwon erp certify`."""

    async def before_write(self) -> None:
        """Allow the write."""

    def looked(self) -> None:
        """Do nothing."""

    def needs_new_look(self) -> bool:
        """Return False: no look-up is too old."""
        return False

    def unanswered(self) -> None:
        """Do nothing."""


UNGUARDED: Final[WriteGuard] = _Unguarded()


class FencedErp(ErpWrapper):
    """Asks the guard before each write, and notifies it of look-ups and of writes without a definite answer."""

    def __init__(self, erp: Erp, guard: WriteGuard) -> None:
        super().__init__(erp)
        self._guard = guard

    async def find(self, idempotency_key: str) -> ErpOrder | None:
        """See `Erp`."""
        self._guard.looked()
        return await super().find(idempotency_key)

    async def find_by_number(self, number: str) -> ErpOrder | None:
        """See `Erp`."""
        self._guard.looked()
        return await super().find_by_number(number)

    async def create(self, order: Order) -> ErpOrder:
        """See `Erp`."""
        if self._guard.needs_new_look() and await self.find(order.idempotency_key) is not None:
            raise DuplicateError(f"{self.name}: another attempt has created the order")
        return await self._write(lambda: self._erp.create(order))

    async def advance(self, found: ErpOrder) -> ErpOrder:
        """See `Erp`."""
        await self._look_again(found)
        return await self._write(lambda: self._erp.advance(found))

    async def amend(self, found: ErpOrder, order: Order) -> ErpOrder:
        """See `Erp`."""
        await self._look_again(found)
        return await self._write(lambda: self._erp.amend(found, order))

    async def cancel(self, found: ErpOrder, *, modified_at: datetime | None) -> ErpOrder:
        """See `Erp`."""
        await self._look_again(found)
        return await self._write(lambda: self._erp.cancel(found, modified_at=modified_at))

    async def claim(
        self, found: ErpOrder, idempotency_key: str, *, origin: Origin, modified_at: datetime | None
    ) -> ErpOrder | None:
        """See `Erp`."""
        await self._look_again(found)
        return await self._write(
            lambda: self._erp.claim(found, idempotency_key, origin=origin, modified_at=modified_at)
        )

    async def _look_again(self, found: ErpOrder) -> None:
        """Raise `StaleError` if the last look-up is too old and the order has changed since. At most one look-up."""
        if not self._guard.needs_new_look():
            return
        if found.idempotency_key is not None:
            now = await self.find(found.idempotency_key)
        else:
            now = await self.find_by_number(found.number or "")
        if now != found:
            raise StaleError(f"{self.name}: order {found.number or found.id} has changed since it was read")

    async def _write(self, call: Callable[[], Awaitable[_Answer]]) -> _Answer:
        await self._guard.before_write()
        with self._answered():
            return await call()

    @contextmanager
    def _answered(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:  # also `CancelledError`: a cancelled call has no answer
            if not is_definite(error):
                self._guard.unanswered()
            raise
