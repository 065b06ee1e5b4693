"""An order whose payloads are encrypted; its recorded history shows later versions what this one has written."""

from __future__ import annotations

from typing import Any

from temporalio.testing import WorkflowEnvironment

from closedwon.erp.base import RejectedError
from closedwon.names import OrderStage
from tests.support.encryption import GOLDEN_KEY, keyed, with_keys
from tests.support.world import erp_order, running


async def test_an_encrypted_order_goes_through_attention_to_its_end(
    temporal_server: WorkflowEnvironment,
) -> None:
    """Inputs, results, signals and the failure of a step are read back by the workflow, encrypted as they are."""
    async with running(with_keys(temporal_server.client, keyed(GOLDEN_KEY))) as world:
        fixed = False

        async def create(_request: object) -> Any:
            if not fixed:
                raise RejectedError("no such product")
            return erp_order()

        world.create = create
        handle = await world.notify(payload={"Name": "Generators for Edge"}, session="sealed")
        await world.until_stage(OrderStage.ATTENTION)
        await world.until(lambda: len(world.written) == 1)
        fixed = True
        await handle.signal("retry", "it is there now")
        outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage
    assert "no such product" == world.written[0].error
