"""What the recovery cases share: a write of the stub ERP that is held back until the test releases it."""

from __future__ import annotations

from typing import Any

from closedwon.emulators.erp.stub import ErpFaults, StubErp
from tests.support.handoff import until
from tests.support.one_step import Steps

UNTIL_RELEASED = 3600.0
"""Seconds; longer than any test, which releases the held write itself."""


def hold_next(erp: StubErp, kind: str, **faults: Any) -> None:
    """Give the next write of this kind no answer, and let it take effect when it is released."""
    held = {"hold": 1, "hold_only": kind, "hold_for": UNTIL_RELEASED}
    erp.faults = ErpFaults.model_validate(erp.faults.model_dump() | held | faults)


async def release(world: Steps) -> None:
    """Let the held write take effect, and wait until it has."""
    assert 1 == world.stub.held
    world.stub.faults.hold_for = 0
    await until(lambda: not world.stub.held)
