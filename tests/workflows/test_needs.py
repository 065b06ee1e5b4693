"""When an order raises an alert: once for each need, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

from temporalio.testing import WorkflowEnvironment

from closedwon.erp.base import ErpAuthFailedError, RejectedError
from closedwon.names import OrderStage
from tests.support.servers import start_temporal
from tests.support.world import Held, erp_order, running


async def test_a_need_that_lasts_raises_one_alert_also_in_a_new_run() -> None:
    """Hundreds of messages about an order that the ERP refuses: each makes it look again, none is a new need."""
    limit: dict[str, Any] = {"limit.historyCount.suggestContinueAsNew": 60}
    async with await start_temporal(**limit) as server, running(server.client) as world:

        async def create(_request: object) -> Any:
            raise RejectedError("no")

        world.create = create
        handle = await world.notify()
        await world.until(lambda: len(world.needs) == 1)
        first_run = (await handle.describe()).run_id
        for number in range(60):
            await world.notify(f"m-{number}")

        async def is_another_run() -> bool:
            return (await handle.describe()).run_id != first_run

        await world.until(is_another_run)
        await world.until_stage(OrderStage.ATTENTION)
        await handle.signal("cancel")
        await handle.result()

    assert 1 == len(world.needs)


async def test_an_alert_that_is_just_being_raised_when_a_new_run_begins_is_the_same_alert() -> None:
    """Whether the run before has raised it is not known; under its own id it is delivered once."""
    limit: dict[str, Any] = {"limit.historyCount.suggestContinueAsNew": 60}
    async with await start_temporal(**limit) as server, running(server.client) as world:

        async def create(_request: object) -> Any:
            raise RejectedError("no")

        world.create, world.alert = create, Held(True)  # noqa: FBT003 - what raising an alert returns
        handle = await world.notify()
        await world.until(lambda: len(world.needs) == 1)
        await asyncio.gather(*(world.notify(f"m-{number}") for number in range(60)))
        await world.until(lambda: len(world.needs) == 2)
        world.alert.go_on.set()
        await world.until_stage(OrderStage.ATTENTION)
        await handle.signal("cancel")
        await handle.result()

    assert [world.needs[0].id] * 2 == [need.id for need in world.needs]


async def test_another_reason_is_another_need(temporal_server: WorkflowEnvironment) -> None:
    """So is the same reason after a command, and after the order was well in between."""
    async with running(temporal_server.client) as world:
        problems = [
            RejectedError("no"),
            ErpAuthFailedError("401", hint="Set the key."),
            ErpAuthFailedError("401", hint="Do."),
        ]

        async def create(_request: object) -> Any:
            if problems:
                raise problems.pop(0)
            return erp_order()

        world.create = create
        handle = await world.notify()
        await world.until(lambda: len(world.needs) == 1)
        await world.until_stage(OrderStage.ATTENTION)
        await world.notify("another")
        await world.until(lambda: len(world.needs) == 2)
        await world.until_stage(OrderStage.ATTENTION)
        await handle.signal("retry")
        await world.until(lambda: len(world.needs) == 3)
        await world.until_stage(OrderStage.ATTENTION)
        await handle.execute_update("retry")
        await handle.result()

    assert ["erp-rejected", "erp-auth-failed", "erp-auth-failed"] == [need.reason for need in world.needs]
    assert 3 == len({need.id for need in world.needs})
