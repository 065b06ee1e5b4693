"""A deploy while orders wait: two builds of the code, each in a process of its own, and a way back."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import pytest
from temporalio.client import Client

from closedwon import names
from closedwon.ids import RecordId
from closedwon.names import OrderStage
from tests.support.builds import BUILD, next_build, promote
from tests.support.siege import Siege, siege


class _Order:
    """One order, asked of Temporal."""

    def __init__(self, world: Siege, client: Client, record: RecordId) -> None:
        self._world, self._client, self._record = world, client, record
        self._handle = client.get_workflow_handle(world.workflow_id(record))

    @classmethod
    async def refused(cls, world: Siege, record: RecordId) -> Self:
        """Win a deal whose order the ERP refuses, and wait until it needs attention."""
        await world.refuse_orders(1)
        await world.win(record)
        order = cls(world, await world.client(), record)
        await order.until(OrderStage.ATTENTION)
        return order

    async def retry(self) -> None:
        await self._handle.signal(names.SIGNAL_RETRY)

    async def until(self, stage: OrderStage) -> None:
        query = f"{names.SALESFORCE_RECORD_ID} = '{self._record}' AND {names.ORDER_STAGE} = '{stage}'"

        async def stands() -> bool:
            return bool((await self._client.count_workflows(query)).count)

        await self._world.until(stands, f"an order at the stage {stage}")

    async def until_it_cannot_be_replayed(self) -> None:
        async def fails() -> bool:
            return "workflow_task_failed_event_attributes" in await self._events()

        await self._world.until(fails, "a build that does not know what another one has done")

    async def rests(self) -> int:
        return (await self._events()).count("timer_started_event_attributes")

    async def _events(self) -> list[str | None]:
        return [event.WhichOneof("attributes") for event in (await self._handle.fetch_history()).events]


@pytest.mark.slow
async def test_orders_that_wait_for_days_survive_a_deploy_and_the_way_back(tmp_path: Path) -> None:
    """Open orders go over to the new build and back to the old one; what only the new one can read waits for it."""
    async with siege(tmp_path, workers=2, subscribers=0, environment={BUILD: "1"}) as world:
        _, new = world.stack.workers
        promote(world, "1")
        deals = await world.add_deals(4)
        upgraded = await _Order.refused(world, deals[0])
        kept = await _Order.refused(world, deals[1])

        new.environment |= {BUILD: "2", "PYTHONPATH": str(next_build(tmp_path / "next"))}
        await new.restart()
        promote(world, "2")
        await upgraded.retry()
        await upgraded.until(OrderStage.COMPLETED)
        begun_on_new = await _Order.refused(world, deals[2])

        promote(world, "1")
        await kept.retry()
        await kept.until(OrderStage.COMPLETED)
        await begun_on_new.retry()
        await begun_on_new.until_it_cannot_be_replayed()

        promote(world, "2")
        await begun_on_new.until(OrderStage.COMPLETED)
        await world.win(deals[3])
        await world.until_all_is_well(4)

        assert await upgraded.rests() == 0 == await kept.rests()
        assert await begun_on_new.rests() == 2
