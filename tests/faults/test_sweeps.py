"""Notifications of deals are lost in every possible way, and workers die during the sweeps: no order is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from closedwon import names
from closedwon.demo import Via
from closedwon.temporal.sweeps import open_gaps
from tests.support.siege import Siege, siege

_HOUR = 3600.0
"""Seconds."""


async def _sweep_often(world: Siege, **sweep: str) -> None:
    """Give the route's sweeps a pace that suits a test, and let the worker take it over."""
    lines = "\n".join(f'{key} = "{value}"' for key, value in sweep.items())
    settings = world.stack.config.read_text()
    assert 'interval = "1m"' in settings
    world.stack.config.write_text(settings.replace('interval = "1m"', lines))
    (worker,) = world.stack.workers
    await worker.restart()


async def _has_position(world: Siege) -> bool:
    return (await world.cursor()).replay_id is not None


async def _until_no_gap_is_open(world: Siege, closed: int) -> None:
    client = await world.client()

    async def covered() -> bool:
        query = "WorkflowId STARTS_WITH 'gap:' AND ExecutionStatus = 'Completed'"
        return (await client.count_workflows(query)).count >= closed and not [gap async for gap in open_gaps(client)]

    await world.until(covered, f"{closed} gaps covered, and none open")


@pytest.mark.slow
async def test_lost_events_and_a_moved_bus_lose_no_order(tmp_path: Path) -> None:
    """One event of ten is lost, then the bus moves with fifty on it; the sweeping worker dies: 150 orders."""
    async with siege(tmp_path) as world:
        (worker,), (subscriber,) = world.stack.workers, world.stack.subscribers
        await _sweep_often(world, interval="5s", lag="1s", overlap="1m")
        deals = await world.add_deals(150)
        for place, deal in enumerate(deals[:100]):
            if place % 10 == 0:
                await world.people.admin("POST", "faults/drop-events", {"times": 1})
            await world.win(deal)
        await world.until(lambda: _has_position(world), "a position on the bus")
        await subscriber.kill()
        for deal in deals[100:]:
            await world.win(deal)
        await world.people.admin("POST", "faults/move-bus")
        await subscriber.start()
        for moment in sorted(world.chance.sample(range(92, 145), 2)):
            await world.until_started(moment)
            await world.kill(worker)
        await _until_no_gap_is_open(world, 1)
        await world.until(world.is_idle, "every order workflow at its end")
        await world.until_all_is_well(150)
        assert 2 == world.kills[worker.name]


@pytest.mark.slow
async def test_outbound_messages_that_have_expired_lose_no_order(tmp_path: Path) -> None:
    """Everything of ours is down for longer than Salesforce keeps trying: a sweep finds all, though it is killed."""
    async with siege(tmp_path, via=Via.OUTBOUND) as world:
        (worker,), (intake,) = world.stack.workers, world.stack.intakes
        # The schedule's last sweep is of the true present, while the deals are of yesterday: it must look back to them.
        await _sweep_often(world, interval="2s", lag="1s", overlap="2d")
        await world.until(lambda: _has_swept(world), "a first sweep")
        await worker.stop()
        await intake.stop()
        deals = await world.add_deals(150)
        await world.people.admin("POST", "clock", {"advance_seconds": -26 * _HOUR})
        for deal in deals:
            await world.win(deal)
        for _ in range(26):
            await world.people.admin("POST", "clock", {"advance_seconds": _HOUR})
            await world.written_back()  # sales people stay logged in
        await world.until(lambda: _have_expired(world, len(deals)), "every message expired")
        await intake.start()
        await worker.start()
        for moment in sorted(world.chance.sample(range(5, 145), 2)):
            await world.until_started(moment)
            await world.kill(worker)
        await _until_no_gap_is_open(world, 1)
        await world.until(world.is_idle, "every order workflow at its end")
        await world.until_all_is_well(150)
        assert 2 == world.kills[worker.name]


async def _has_swept(world: Siege) -> bool:
    client = await world.client()
    query = f"WorkflowType = '{names.SWEEP_WORKFLOW}' AND ExecutionStatus = 'Completed'"
    return (await client.count_workflows(query)).count > 0


async def _have_expired(world: Siege, number: int) -> bool:
    messages = await world.people.admin("GET", "messages")
    return len(messages) == number and all(message["failed"] for message in messages)
