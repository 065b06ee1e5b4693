"""Temporal's database is replaced by an empty one under running processes: they register again what it lacks."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import pytest
from temporalio.service import RPCError

from closedwon import names
from closedwon.demo.stack import Stack
from closedwon.demo.temporal import DevelopmentServer
from closedwon.operations import doctor
from closedwon.settings import load_settings
from closedwon.temporal.search_attributes import missing_search_attributes
from tests.support.siege import Siege, siege

_QUICK = {"CLOSEDWON_TELEMETRY__OBSERVE_EVERY": "1s"}
_SWEEP = 'interval = "1h"\nlag = "1s"\noverlap = "1s"\nlookback = "1s"'
"""Only the sweep of a gap looks back; the scheduled one finds nothing that was won before Temporal came back."""


@pytest.mark.slow
@pytest.mark.parametrize("search_attributes", [names.SEARCH_ATTRIBUTES, ()], ids=["known", "unknown"])
async def test_an_empty_temporal_is_filled_by_the_processes_that_run(
    tmp_path: Path, search_attributes: Sequence[str]
) -> None:
    """Deals won before, during and after, and orders that waited for a person: one order each, and nothing to do."""

    def prepare(stack: Stack) -> None:
        _server(stack).search_attributes = search_attributes

    async with siege(tmp_path, environment=_QUICK, prepare=prepare) as world:
        (worker,) = world.stack.workers
        world.stack.config.write_text(world.stack.config.read_text("utf-8").replace('interval = "1m"', _SWEEP))
        await worker.restart()
        pids = [part.pid for part in world.stack.processes]
        deals = await world.add_deals(40)
        await world.sell(deals[:10])
        await world.until(lambda: _are_written_back(world, 10), "ten orders")
        await world.refuse_orders(3)
        await world.sell(deals[10:13])
        await world.until(lambda: _need_attention(world, 3), "three orders that wait for a person")
        seen = await _looks(world)
        await world.until(lambda: _has_looked(world, seen), "another look of the worker")

        await world.sell(deals[13:20])  # on their way
        server = _server(world.stack)
        await server.kill()
        await world.people.admin("POST", "faults/move-bus")  # the bus has forgotten all that was published
        await world.sell(deals[20:30])
        _delete(server.database)
        await server.start()
        await world.sell(deals[30:])

        await world.until_all_is_well(40)
        await world.until(lambda: _has_read(world, 20), "a reader that has read what the bus still knew")
        await world.until(lambda: _is_healthy(world), "nothing that the doctor finds")
        client = await world.client()
        assert () == await missing_search_attributes(client)
        assert {"sweep", "audit"} == {one.id.partition(":")[0] async for one in await client.list_schedules()}
        assert [] == await world.complaints()
        assert pids == [part.pid for part in world.stack.processes]
        assert all([await part.is_ready() for part in world.stack.processes])
        assert 2 == (await _restored(world, worker.port))["schedule"]
        assert 1 == (await _restored(world, world.stack.subscribers[0].port))["subscription"]


def _server(stack: Stack) -> DevelopmentServer:
    assert isinstance(stack.temporal, DevelopmentServer)
    return stack.temporal


def _delete(database: Path) -> None:
    """With the files beside it that belong to it."""
    for file in database.parent.glob(f"{database.name}*"):
        file.unlink()


async def _are_written_back(world: Siege, number: int) -> bool:
    return await world.written_back() == number


async def _has_read(world: Siege, events: int) -> bool:
    return (await world.cursor()).count >= events


async def _need_attention(world: Siege, number: int) -> bool:
    return len(await world.complaints()) == number


async def _metrics(world: Siege, port: int) -> str:
    async with world.http.get(f"http://localhost:{port}/metrics") as answer:
        return await answer.text()


async def _looks(world: Siege) -> str:
    """When the worker has last looked at Temporal, once it has counted what waits for a person."""
    text = await _metrics(world, world.stack.workers[0].port)
    counted = re.search(r'closedwon_open_orders{.*stage="attention".*} 3', text)
    found = re.search(r"closedwon_observed_timestamp_seconds{.*} (\S+)", text)
    return found[1] if counted and found else ""


async def _has_looked(world: Siege, seen: str) -> bool:
    return await _looks(world) not in {"", seen}


async def _restored(world: Siege, port: int) -> dict[str, int]:
    found = re.findall(r'closedwon_restored_total{.*what="([^"]+)".*} (\d+)', await _metrics(world, port))
    return {what: int(number) for what, number in found}


async def _is_healthy(world: Siege) -> bool:
    with patch.dict(os.environ, world.stack.child_environment()):
        try:
            found = await doctor.examine(load_settings(world.stack.config))
        except RPCError:
            return False
    world.note(f"doctor: {found}")
    return not found
