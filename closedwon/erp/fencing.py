"""Writes that must not come too late: by an attempt that was given up, or on the ground of an old look.

Amending and cancelling do not commute. An attempt that was held up somewhere (a slow look, a paused machine, a lost
connection to Temporal) may have been replaced meanwhile; what it then writes overwrites what its successor did. A
version (`If-Match`) stops it in the ERP where the ERP has versions. Everywhere else, `FencedErp` asks two things right
before each write: is this attempt still the one that counts, and is the look that it is based on young enough?

What is left without versions is a request that is under way already and takes effect late. Nothing here can stop it, so
the guard is informed of every write without a definite answer, and the workflow looks once more when `Erp.settle` is
over.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final, Protocol, TypeVar

from closedwon.erp.errors import DuplicateError, StaleError, is_definite
from closedwon.erp.protocol import Erp, ErpWrapper
from closedwon.model import ErpOrder, Order, Origin

_Answer = TypeVar("_Answer")


class WriteGuard(Protocol):
    """Says whether the present attempt may still write. One per attempt."""

    async def before_write(self) -> None:
        """Raise `LostAttemptError` unless this attempt is still the one that Temporal counts on."""

    def looked(self) -> None:
        """A look at the ERP begins."""

    def needs_new_look(self) -> bool:
        """Whether the newest look is too old to base a write on."""

    def unanswered(self) -> None:
        """A write was given up without a definite answer: it may still take effect."""


class _Unguarded:
    """For callers that are not attempts of anything: tests, and `closedwon erp certify`."""

    async def before_write(self) -> None:
        """Allow it."""

    def looked(self) -> None:
        """Not kept."""

    def needs_new_look(self) -> bool:
        """Never."""
        return False

    def unanswered(self) -> None:
        """Not kept."""


UNGUARDED: Final[WriteGuard] = _Unguarded()


class FencedErp(ErpWrapper):
    """Asks the guard before each write, and informs it of looks and of writes without an answer."""

    def __init__(self, erp: Erp, guard: WriteGuard) -> None:
        """Put `guard` before the writes of `erp`."""
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
            raise DuplicateError(f"{self.name}: the order was made meanwhile")
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
        """Raise `StaleError` if the look is old and the order is not what it was; one look, however long it takes."""
        if not self._guard.needs_new_look():
            return
        if found.idempotency_key is not None:
            now = await self.find(found.idempotency_key)
        else:
            now = await self.find_by_number(found.number or "")
        if now != found:
            raise StaleError(f"{self.name}: order {found.number or found.id} has changed since it was looked at")

    async def _write(self, call: Callable[[], Awaitable[_Answer]]) -> _Answer:
        await self._guard.before_write()
        with self._answered():
            return await call()

    @contextmanager
    def _answered(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:  # a cancelled call is one without an answer, too
            if not is_definite(error):
                self._guard.unanswered()
            raise
