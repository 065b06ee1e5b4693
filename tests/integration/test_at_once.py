"""The straight way of an order on real parts: what it costs, and what is seen when it is not straight."""

from __future__ import annotations

import pytest
from temporalio.testing import WorkflowEnvironment

from closedwon.names import OrderStage
from tests.support.cost import markers
from tests.support.handoff import Handoff, handoff


def _calls(world: Handoff) -> int:
    return world.connections.salesforce[world.org.org_id].calls


async def test_an_order_alone_costs_two_salesforce_calls(temporal_server: WorkflowEnvironment) -> None:
    """One to read and one to write, within the tasks of its workflow."""
    async with handoff(temporal_server=temporal_server) as world, world.working(subscriber=False):
        world.org.seed(2)
        (first,) = await world.win(1)  # the login is its
        await world.order(first).result()
        before = _calls(world)
        (record,) = await world.win(1)
        await world.order(record).result()
        made = _calls(world) - before
        history = await world.order(record).fetch_history()

    assert 2 == made
    assert (2, 15) == (markers(history), len(history.events))


@pytest.mark.parametrize("stage", [OrderStage.LOADING, OrderStage.WRITING_BACK])
async def test_a_salesforce_that_is_down_is_waited_for_visibly(
    temporal_server: WorkflowEnvironment, stage: OrderStage
) -> None:
    """The list shows which of both waits, the pending activity why; `retry` tries again at once."""
    async with handoff(temporal_server=temporal_server) as world, world.working(subscriber=False):
        world.org.seed(1)
        if stage is OrderStage.LOADING:
            world.org.faults.down()
        else:
            world.org.faults.lock_rows(1000)
        (record,) = await world.win(1)
        await world.until_stage(record, stage)
        (pending,) = (await world.order(record).describe()).raw_description.pending_activities
        world.org.faults.clear()
        await world.order(record).signal("retry")
        outcome = await world.order(record).result()

        assert {OrderStage.LOADING: "load-order", OrderStage.WRITING_BACK: "write-back"}[stage] == pending.activity_id
        assert OrderStage.COMPLETED is outcome.stage
        assert world.erp.orders()[0]["number"] == world.number_of(record)
