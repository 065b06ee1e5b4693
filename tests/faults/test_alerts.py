"""An alert outlives the worker that raised it, and a receiver that is away."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.receiver import Receiver
from tests.support.siege import siege

_DEALS = 5


@pytest.mark.slow
async def test_an_alert_arrives_although_the_receiver_is_mute_and_the_worker_is_killed(tmp_path: Path) -> None:
    """Five orders need a person for one cause, the worker dies while it waits for an answer; one alert arrives."""
    receiver = Receiver()
    receiver.is_mute = True
    await receiver.start()
    alerts = json.dumps({"webhook": receiver.url})
    async with siege(tmp_path, environment={"CLOSEDWON_ALERTS": alerts}) as world:
        await world.refuse_orders(_DEALS)
        for deal in await world.add_deals(_DEALS):
            await world.win(deal)
        await world.until(lambda: receiver.attempts >= 1, "a call under way")
        await world.kill(world.stack.workers[0])
        receiver.is_mute = False
        await world.until(lambda: bool(receiver.taken), "an alert")

        (alert,) = receiver.taken
        assert alert["record"] in world.deals
        await receiver.stop()
