"""Case R8: an ERP has another name by now; what is open finds its order in it, and nothing waits for the old name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from closedwon import names
from closedwon.facts.waits import waits
from closedwon.ids import RecordId
from closedwon.model.erp import ErpStatus
from tests.support.handoff import Handoff, handoff, until
from tests.support.sweeps import AT_ONCE, begin
from workflows import activity_runner, sweep


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
    for module in (activity_runner, sweep):
        monkeypatch.setattr(module, "TAKEN_WITHIN", timedelta(seconds=2))


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


async def test_r8_a_sweep_that_waits_at_the_old_name_asks_under_the_new_one() -> None:
    """Otherwise it would wait indefinitely, and no later sweep of its route would begin."""
    async with handoff(sweep=AT_ONCE) as world:
        world.org.seed(1)
        async with world.working(subscriber=False):
            (record,) = await world.win(1)
            await world.until_written_back(record)
            world.erp.faults.down = True
            sweeping = await begin(world)

            async def asks() -> bool:
                return any(wait.failure for wait in await waits(world.client, sweeping.id))

            await until(asks)
        world.erp.faults.down = False
        async with _renamed(world):
            found = await sweeping.result()
        assert (1, 1, 0) == (found.found, found.right, found.started)
