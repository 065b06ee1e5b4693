"""An ERP that refuses connections, and breakers that look at it more often than in production."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from temporalio.client import Client

from closedwon.emulators.ports import free_port
from closedwon.erp.breaker import Entry, Pace, Phase
from closedwon.operations import erps
from tests.support.handoff import Handoff, until
from workers.breaker import Breaker
from workers.connections import Connections
from workers.looking import looking

PACE: Final = Pace(fails_for=2, failures=10, recently=60, objection=1, rest=5, step=2, look=0.1)
"""Seconds for minutes."""


@asynccontextmanager
async def breaking(world: Handoff, pace: Pace = PACE) -> AsyncIterator[Breaker]:
    """Run the breakers of a worker that `world` runs."""
    breaker = Breaker(world.client, world.connections.contacts, pace)
    async with looking({"see whether the ERPs are reached": breaker.look}, timedelta(seconds=pace.look)):
        yield breaker


class Outage:
    """The stub ERP refuses connections until it is back on the same port."""

    def __init__(self, world: Handoff) -> None:
        self._erp = world.erp
        self._port = int(world.erp.url.rpartition(":")[2])

    async def begin(self) -> None:
        await self._erp.stop_serving()

    async def end(self) -> None:
        await self._erp.start(self._port)


async def entry_of(world: Handoff, erp: str | None = "stub") -> Entry:
    """What the workers say about the ERP."""
    return (await erps.queue_of(world.client, erp)).breaker


async def until_phase(world: Handoff, phase: Phase) -> None:
    """Wait until the workers say so."""

    async def is_there() -> bool:
        return (await entry_of(world)).phase is phase

    await until(is_there, what=f"the phase {phase}")


@asynccontextmanager
async def cut_off(world: Handoff, pace: Pace = PACE) -> AsyncIterator[Connections]:
    """Run another worker of the same orders, which cannot connect to the ERP."""
    (erp,) = world.settings.erps
    nowhere = erp.model_copy(update={"url": f"http://localhost:{free_port()}"})
    address = world.client.service_client.config.target_host
    client = await Client.connect(address, data_converter=world.client.data_converter, identity="cut off")
    settings = world.settings.model_copy(update={"erps": (nowhere,)})
    other = Handoff(client, settings, world.orgs, world.erp)
    async with other.working(subscriber=False), breaking(other, pace):
        yield other.connections


class Entries(list[Entry]):
    """The entries that were seen, one after the other."""

    def __init__(self, world: Handoff) -> None:
        super().__init__()
        self._world = world

    async def observe(self) -> None:
        entry = await entry_of(self._world)
        if entry not in self:
            self.append(entry)

    def count_of(self, phase: Phase) -> int:
        return sum(entry.phase is phase for entry in self)


class Reopening(dict[float | None, int]):
    """How many calls the ERP got at each limit while it was opened again."""

    def __init__(self, world: Handoff) -> None:
        self._world = world
        self._calls = world.erp.calls
        self.began: dict[float | None, float] = {}

    async def observe(self) -> Entry:
        entry = await entry_of(self._world)
        now = self._world.erp.calls
        self[entry.limit] = self.get(entry.limit, 0) + now - self._calls
        self.began.setdefault(entry.limit, time.monotonic())
        self._calls = now
        return entry
