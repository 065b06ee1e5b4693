"""An alert outlives the worker that raised it, and a receiver that is away."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from closedwon import names
from tests.support.receiver import Receiver
from tests.support.siege import siege

_DEALS = 5


@pytest.mark.slow
async def test_every_need_is_told_although_the_receiver_is_away_and_the_worker_is_killed(tmp_path: Path) -> None:
    """Five orders need a person, nobody takes alerts, the worker dies; then each is told under an id of its own."""
    receiver = Receiver()
    alerts = json.dumps({"webhook": receiver.url})
    async with siege(tmp_path, seconds=100, environment={"CLOSEDWON_ALERTS": alerts}) as world:
        await world.refuse_orders(_DEALS)
        for deal in await world.add_deals(_DEALS):
            await world.win(deal)
        client = await world.client()

        async def all_are_open() -> bool:
            query = f"WorkflowType = '{names.ALERT_WORKFLOW}' AND ExecutionStatus = 'Running'"
            return (await client.count_workflows(query)).count == _DEALS

        await world.until(all_are_open, "an alert under way for each order")
        await world.kill(world.stack.workers[0])
        await receiver.start()
        await world.until(lambda: len(receiver.taken) >= _DEALS, "an alert for each order")

        assert set(world.deals) == {alert["record"] for alert in receiver.taken}
        assert _DEALS == len({alert["id"] for alert in receiver.taken})
        await receiver.stop()
