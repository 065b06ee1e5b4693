"""Commands to one order, as operators send them."""

from __future__ import annotations

from typing import Any

from temporalio.client import WorkflowHandle

from closedwon.erp.base import RejectedError
from closedwon.model.commands import CommandAnswer
from closedwon.model.outcomes import OrderOutcome
from closedwon.names import OrderStage
from tests.support.world import World
from workflows.order import OrderWorkflow

Handle = WorkflowHandle[OrderWorkflow, OrderOutcome]


async def ask(handle: Handle, name: str, given: object = None) -> CommandAnswer:
    """Send a command as an update, which is answered."""
    answer: CommandAnswer = await handle.execute_update(name, given, result_type=CommandAnswer)
    return answer


async def rejected(world: World) -> Handle:
    """An order that needs attention before the ERP has taken it."""

    async def create(_request: object) -> Any:
        raise RejectedError("no")

    world.create = create
    handle = await world.notify()
    await world.until_stage(OrderStage.ATTENTION)
    await world.until(lambda: len(world.written) == 1)
    return handle
