"""An order, its record's key, and what the tests of the ERP rules need beside them."""

from __future__ import annotations

from closedwon.erp.base import (
    Step,
)
from closedwon.model.erp import Origin
from tests.support.memory_erp import held, sold

ORDER = sold()


BY_HAND = held(idempotency_key=None, origin=None, modified_at=None)


class Steps:
    """Records the steps of a call."""

    def __init__(self) -> None:
        self.seen: list[Step] = []

    async def __call__(self, step: Step) -> None:
        self.seen.append(step)


def _whose(origin: Origin | None) -> str:
    """The clause about an order that no policy changes; without an origin, its creator is unknown."""
    return "the ERP does not say whether Closedwon made" if origin is None else "Closedwon did not make that order"
