"""Word of deals is lost in every way there is, and workers die while it is looked for: no order is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from closedwon import names, temporal
from closedwon.demo import Via
from tests.support.siege import Siege, siege

_HOUR = 3600.0
"""Seconds."""


async def _sweep_often(world: Siege, **sweep: object) -> None:
    """Give the route's sweeps a pace that suits a test, and let the worker take it over."""
    lines = "\n".join(f"{key} = {value}" for key, value in sweep.items())
    settings = world.stack.config.read_text()
    assert "interval = 60" in settings
    world.stack.config.write_text(settings.replace("interval = 60", lines))
    (worker,) = world.stack.workers
    await worker.restart()


async def _has_position(world: Siege) -> bool:
    return (await world.cursor()).replay_id is not None


async def _until_no_gap_is_open(world: Siege, closed: int) -> None:
    client = await world.client()

    async def covered() -> bool:
        query = "WorkflowId STARTS_WITH 'gap:' AND ExecutionStatus = 'Completed'"
        return (await client.count_workflows(query)).count >= closed and not [
            gap async for gap in temporal.open_gaps(client)
        ]

    await world.until(covered, f"{closed} gaps covered, and none open")


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("kills", [0, 2])
async def test_lost_events_and_a_moved_bus_lose_no_order(tmp_path: Path, kills: int) -> None:
    """One event of ten is lost, then the bus moves with a hundred on it; the sweeping worker dies: 300 orders."""
    async with siege(tmp_path, seconds=200) as world:
        (worker,), (subscriber,) = world.stack.workers, world.stack.subscribers
        await _sweep_often(world, interval=5, lag=1, overlap=60)
        deals = await world.add_deals(300)
        for place, deal in enumerate(deals[:200]):
            if place % 10 == 0:
                await world.people.admin("POST", "faults/drop-events", {"times": 1})
            await world.win(deal)
        await world.until(lambda: _has_position(world), "a position on the bus")
        await subscriber.kill()
        for deal in deals[200:]:
            await world.win(deal)
        await world.people.admin("POST", "faults/move-bus")
        await subscriber.start()
        for moment in sorted(world.chance.sample(range(185, 295), kills)):
            await world.until_started(moment)
            await world.kill(worker)
        await _until_no_gap_is_open(world, 1)
        await world.until(world.is_idle, "every order workflow at its end")
        await world.until_all_is_well(300)
        assert kills == world.kills[worker.name]


@pytest.mark.slow
@pytest.mark.timeout(340)
@pytest.mark.parametrize(("number", "kills"), [(100, 0), (300, 2)])
async def test_outbound_messages_that_have_expired_lose_no_order(tmp_path: Path, number: int, kills: int) -> None:
    """Everything of ours is down for longer than Salesforce keeps trying: a sweep finds all, though it is killed."""
    async with siege(tmp_path, seconds=300, via=Via.OUTBOUND) as world:
        (worker,), (intake,) = world.stack.workers, world.stack.intakes
        # The schedule's last sweep is of the true present, while the deals are of yesterday: it must look back to them.
        await _sweep_often(world, interval=2, lag=1, overlap='"P2D"')
        await world.until(lambda: _has_swept(world), "a first sweep")
        await worker.stop()
        await intake.stop()
        deals = await world.add_deals(number)
        await world.people.admin("POST", "clock", {"advance_s": -26 * _HOUR})
        for deal in deals:
            await world.win(deal)
        for _ in range(26):
            await world.people.admin("POST", "clock", {"advance_s": _HOUR})
            await world.written_back()  # sales people stay logged in
        await world.until(lambda: _have_expired(world, len(deals)), "every message given up")
        await intake.start()
        await worker.start()
        for moment in sorted(world.chance.sample(range(5, number - 5), kills)):
            await world.until_started(moment)
            await world.kill(worker)
        await _until_no_gap_is_open(world, 1)
        await world.until(world.is_idle, "every order workflow at its end")
        await world.until_all_is_well(number)
        assert kills == world.kills[worker.name]


async def _has_swept(world: Siege) -> bool:
    client = await world.client()
    query = f"WorkflowType = '{names.RECONCILIATION_WORKFLOW}' AND ExecutionStatus = 'Completed'"
    return (await client.count_workflows(query)).count > 0


async def _have_expired(world: Siege, number: int) -> bool:
    messages = await world.people.admin("GET", "messages")
    return len(messages) == number and all(message["failed"] for message in messages)
