"""The processes that hold the breaker of an ERP die, one after the other: what is left opens it."""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from closedwon.erp.breaker import Phase
from closedwon.settings import Retry, Settings
from tests.faults import breaking_worker
from tests.support.breaker import Outage, entry_of, until_phase
from tests.support.handoff import Handoff, handoff

_SECOND = timedelta(seconds=1)
_NAMES = ("first", "second", "third")


def _keep(settings: Settings, file: Path) -> Path:
    """Write settings for the worker processes."""
    file.write_bytes(pickle.dumps(settings))
    return file


@asynccontextmanager
async def _workers(world: Handoff, file: Path) -> AsyncIterator[dict[str, Process]]:
    """Run worker processes with these settings, by the identities by which Temporal knows them."""
    environment = os.environ | {"TEMPORAL_ADDRESS": world.client.service_client.config.target_host}
    running = {
        name: await asyncio.create_subprocess_exec(
            sys.executable, breaking_worker.__file__, str(file), name, stdin=PIPE, env=environment
        )
        for name in _NAMES
    }
    try:
        yield running
    finally:
        for process in running.values():
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _kill_holder(world: Handoff, running: dict[str, Process]) -> str:
    """Kill the process that has written the newest entry."""
    holder = (await entry_of(world)).by
    process = running.pop(holder)
    process.kill()
    await process.wait()
    return holder


@pytest.mark.slow
async def test_the_breaker_is_opened_by_the_process_that_is_left(tmp_path: Path) -> None:
    """Killed with SIGKILL: the process that has limited the queue, and the one that has begun to open it."""
    async with handoff() as world:
        retry = Retry(initial_interval=_SECOND, maximum_interval=_SECOND)
        world.settings = world.settings.model_copy(update={"retry": retry})
        world.org.seed(30)
        outage = Outage(world)
        await outage.begin()
        won = await world.win(30)
        async with _workers(world, _keep(world.settings, tmp_path / "settings")) as running:
            await until_phase(world, Phase.PROBING)
            killed = [await _kill_holder(world, running)]
            await outage.end()
            await until_phase(world, Phase.STEP)
            killed.append(await _kill_holder(world, running))
            await until_phase(world, Phase.OPEN)
            await world.until_written_back(*won)

            (left,) = running
            assert {*_NAMES} - {left} == {*killed}
            assert left == (await entry_of(world)).by
        assert 30 == len(world.erp.orders())
