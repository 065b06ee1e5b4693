"""Advance an order until the ERP shows it as confirmed or beyond."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from closedwon.erp.errors import RejectedError, StaleError, UnknownError
from closedwon.erp.protocol import Erp
from closedwon.model.erp import ErpOrder, ErpStatus

_ADVANCES: Final = 3
"""Rounds of one step and one look-up. An order needs at most two steps; the third allows for a parallel caller."""


async def _nothing() -> None:
    """Do nothing."""


def _as_it_is(_found: ErpOrder) -> None:
    """Compare nothing."""


async def advance_order(
    erp: Erp,
    found: ErpOrder,
    idempotency_key: str,
    *,
    compare: Callable[[ErpOrder], None] = _as_it_is,
    on_advanced: Callable[[], Awaitable[None]] = _nothing,
) -> ErpOrder:
    """Advance the order with this key, one step at a time, until the ERP shows it as confirmed or beyond.

    The answer to a step is not proof, so the order is read again after each step. The new state also goes to `compare`,
    because another writer may have changed the order in the meantime. Raises `RejectedError` for a cancelled order, and
    `UnknownError` for one that is gone or does not advance.
    """
    for _ in range(_ADVANCES):
        if found.status is ErpStatus.CANCELLED:
            raise _cancelled(found)
        if found.status.exists_as_order:
            return found
        refusal: RejectedError | StaleError | None = None
        try:
            await erp.advance(found)
        except (RejectedError, StaleError) as error:
            refusal = error  # a parallel caller may have taken this step already
        await on_advanced()
        now = await erp.find(idempotency_key)
        if now is None:
            raise UnknownError(f"ERP order {found.number or found.id} is gone after it was advanced")
        if refusal is not None and now.status is found.status:
            raise refusal
        compare(now)
        found = now
    if found.status.exists_as_order:
        return found
    raise UnknownError(f"ERP order {found.number or found.id} is still {found.status.value} after it was advanced")


def _cancelled(found: ErpOrder) -> RejectedError:
    return RejectedError(
        f"ERP order {found.number or found.id} of this record has been cancelled in the ERP",
        hint="Set that order back to draft in the ERP and send `retry`, or send `cancel` if the order is not wanted.",
    )
