"""An org that runs out of API calls: orders wait, visibly, and none is lost."""

from __future__ import annotations

import asyncio

from closedwon.emulators.salesforce import OrgConfig, SalesforceEmulator
from closedwon.ids import RecordId
from closedwon.names import OrderStage
from tests.support.handoff import Handoff, handoff, until
from tests.support.metrics import Gauges
from workers.usage import report_usage


async def test_an_order_that_waits_for_a_call_says_so_and_goes_on() -> None:
    """Near the limit the second order of a minute is a pending activity with a plain reason; with calls it goes on."""
    async with (
        SalesforceEmulator.running(config=OrgConfig(daily_api_requests=1_000)) as org,
        handoff(orgs=[org]) as world,
        world.working(),
    ):
        org.api_calls["others"] = 960
        org.seed(2)
        (first,) = org.win_next(1)
        await world.until_written_back(first)
        (second,) = org.win_next(1)
        await until(lambda: _waits(world, second))
        assert {"sweeps-wait": 0, "longer-batches": 1, "orders-wait": 1} == await _saving(world)

        org.api_calls.clear()
        await world.connections.salesforce[org.org_id].look_at_usage()
        await world.order(second).signal("retry")
        await world.until_written_back(second)
        assert OrderStage.COMPLETED is (await world.order(second).result()).stage
        assert {"sweeps-wait": 0, "longer-batches": 0, "orders-wait": 0} == await _saving(world)


async def _waits(world: Handoff, record: RecordId) -> bool:
    if await world.stage(record) is None:
        return False
    pending = (await world.order(record).describe()).raw_description.pending_activities
    return any("above 95 % of them orders share one call a minute" in one.last_failure.message for one in pending)


async def _saving(world: Handoff) -> dict[str, float | None]:
    gauges = Gauges()
    report = asyncio.create_task(report_usage(world.connections, world.settings, gauges.metrics))
    labels = [{"org": "org-0", "measure": measure} for measure in ("sweeps-wait", "longer-batches", "orders-wait")]
    await until(lambda: gauges.get("salesforce_api_saving", labels[-1]) is not None)
    report.cancel()
    return {one["measure"]: gauges.get("salesforce_api_saving", one) for one in labels}
