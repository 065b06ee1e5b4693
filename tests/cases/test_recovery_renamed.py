"""Case R8: an ERP has another name by now; what is open finds its order in it, and nothing waits for the old name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from closedwon import names
from closedwon.ids import RecordId
from closedwon.model.erp import ErpStatus
from tests.support.handoff import Handoff, handoff
from workflows import activity_runner


@asynccontextmanager
async def _renamed(world: Handoff) -> AsyncIterator[None]:
    """Workers whose settings have another name for the ERP."""
    (erp,), (route,) = world.settings.erps, world.settings.routes
    world.settings = world.settings.model_copy(
        update={
            "erps": (erp.model_copy(update={"name": "renamed"}),),
            "routes": (route.model_copy(update={"erp": "renamed"}),),
        }
    )
    async with world.working(subscriber=False):
        yield


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity_runner, "_TAKEN_WITHIN", timedelta(seconds=2))


async def test_r8_a_cancellation_finds_the_order_under_the_new_name() -> None:
    """The deal is lost again while the ERP has the old name; an operator cancels the order under the new one."""
    async with handoff() as world:
        async with world.working():
            record = await world.reopened_deal()
        async with _renamed(world):
            await world.order(record).signal(names.SIGNAL_CANCEL)
            await world.order(record).result()
        (order,) = world.erp.orders()
        assert ErpStatus.CANCELLED == order["status"]


async def test_r8_what_waits_at_the_old_name_can_be_skipped_or_tried_again() -> None:
    """No worker polls the old queue: `skip` ends one order, `retry` reads the other record and goes on."""
    async with handoff() as world:
        world.org.seed(2)
        async with world.working(subscriber=False):
            world.erp.faults.down = True
            skipped, tried = await world.win(2)
            for record in (skipped, tried):
                await world.until_stage(record, names.OrderStage.ORDERING)
        world.erp.faults.down = False
        async with _renamed(world):
            await world.order(tried).signal(names.SIGNAL_RETRY)
            await world.until_written_back(tried)
            await world.order(skipped).signal(names.SIGNAL_SKIP)
            outcome = await world.order(RecordId(skipped)).result()
        assert names.OrderStage.NOT_NEEDED is outcome.stage
        assert 1 == len(world.erp.orders())
