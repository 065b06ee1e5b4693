"""The product as processes, for benchmarks: a stack whose deals lie on the bus before a subscriber reads them."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiohttp
from temporalio.client import Client, WorkflowExecution

from benchmarks.processes import processor_seconds
from closedwon import names
from closedwon.demo import TemporalKind
from closedwon.demo.parts import Part
from closedwon.demo.stack import Stack
from closedwon.demo.temporal import DevelopmentServer, Temporal
from closedwon.emulators.salesforce.client import OrgClient
from closedwon.emulators.salesforce.connection import Connection
from closedwon.ids import RecordId
from tests.support import actions

ORDERS: Final = f"WorkflowType = '{names.ORDER_WORKFLOW}'"
_POLL: Final = 0.5
"""Seconds: looking costs the server a little, so this is not too often."""
_PATIENCE: Final = 300.0
"""Seconds without progress until a benchmark fails."""


class _Stack(Stack):
    """The demo's stack with the product's own pace of heartbeats, and without sweeps, which would count as calls."""

    def _write_settings(self) -> None:
        super()._write_settings()
        text = self.config.read_text(encoding="utf-8")
        text = text.replace('interval = "1m"', 'interval = "30d"').replace('heartbeat_timeout = "5s"\n', "")
        self.config.write_text(text, encoding="utf-8")


class Used(NamedTuple):
    """What was used until a moment; differences are what a run has used."""

    at: float
    processor: Mapping[str, float]
    """Seconds by kind of process: server, worker, subscriber, org, erp."""
    actions: Counter[str]
    """Billed actions by kind, without the heartbeats of the readers, which come with time and not with orders."""
    salesforce: int
    """API calls."""
    erp: int
    """Calls."""

    def since(self, before: Used) -> Used:
        """What was used between two moments; `at` becomes seconds."""
        actions = Counter(self.actions)
        actions.subtract(before.actions)
        processor = {kind: seconds - before.processor.get(kind, 0) for kind, seconds in self.processor.items()}
        return Used(
            self.at - before.at, processor, +actions, self.salesforce - before.salesforce, self.erp - before.erp
        )


class World:
    """A running product; make it with `world`."""

    def __init__(self, stack: Stack, people: OrgClient, http: aiohttp.ClientSession, client: Client) -> None:
        """Of a started stack."""
        self.stack = stack
        self.people = people
        self.client = client
        self._http = http

    async def add(self, deals: int) -> list[RecordId]:
        """Add open Opportunities."""
        return [RecordId(one) for one in (await self.people.admin("POST", "seed", {"opportunities": deals}))["ids"]]

    async def win(self, deals: Sequence[RecordId]) -> None:
        """Win deals, one after the other."""
        for record in deals:
            await self.people.win(record)

    async def pile_up(self, deals: int) -> None:
        """Stop the subscribers and win deals: their events lie on the bus."""
        await asyncio.gather(*(subscriber.stop() for subscriber in self.stack.subscribers))
        await self.win(await self.add(deals))

    async def read_on(self) -> None:
        """Start the subscribers again."""
        await asyncio.gather(*(subscriber.start() for subscriber in self.stack.subscribers))

    async def used(self, *, at_rest: bool = True) -> Used:
        """What was used until now; without `at_rest` while work goes on, and with heartbeats among the actions."""
        kinds: dict[str, Sequence[Part]] = {
            "server": self.stack.temporal.parts,
            "worker": self.stack.workers,
            "subscriber": self.stack.subscribers,
            "org": (self.stack.org,),
            "erp": (self.stack.erp,),
        }
        processor = {kind: sum(processor_seconds(part.pid) for part in parts) for kind, parts in kinds.items()}
        at, state, erp = time.monotonic(), await self.people.admin("GET", "state"), await self.erp()
        return Used(
            at,
            processor,
            await (self.settled_actions() if at_rest else self.actions()),
            state["api_calls_total"],
            erp["calls"],
        )

    async def actions(self) -> Counter[str]:
        """Billed actions as the server has published them, which it does every second."""
        temporal = self.stack.temporal
        return (
            await actions.billed_actions(temporal.metrics_port)
            if isinstance(temporal, DevelopmentServer)
            else Counter()
        )

    async def settled_actions(self) -> Counter[str]:
        """Billed actions until now, when no more are made; without heartbeats, which a reader sends all the time."""
        settled = await settled_actions(self.stack.temporal)
        del settled[actions.HEARTBEAT]
        return settled

    async def erp(self) -> dict[str, int]:
        """How many calls the ERP has had, and how many orders it has."""
        async with self._http.get(f"{self.stack.erp.connection['url']}/_admin/state") as answer:
            return dict(await answer.json())

    async def set_erp_faults(self, **faults: Any) -> None:
        """Arm faults of the stub ERP."""
        async with self._http.post(f"{self.stack.erp.connection['url']}/_admin/faults", json=faults) as answer:
            answer.raise_for_status()

    async def assert_exactly_once(self, deals: int) -> None:
        """Fail unless each of so many won deals has its one order and its number: a wrong result is not a fast one."""
        report = await self.stack.audit()
        assert report.clean, report
        assert report.counts.won == deals, report.counts


@asynccontextmanager
async def world(
    *,
    workers: int = 1,
    subscribers: int = 1,
    environment: Mapping[str, str] | None = None,
    temporal: TemporalKind = TemporalKind.DEVELOPMENT,
) -> AsyncIterator[World]:
    """A stack on a Temporal server with a fresh database, the emulator and the stub ERP."""
    quiet = {"CLOSEDWON_TELEMETRY__LOG_LEVEL": "WARNING"}
    with tempfile.TemporaryDirectory(prefix="closedwon-bench-") as folder:
        stack = _Stack(
            Path(folder), workers=workers, subscribers=subscribers, temporal=temporal,
            environment=quiet | dict(environment or {}),
        )  # fmt: skip
        async with (
            stack,
            OrgClient.open(Connection.model_validate(stack.org.connection)) as people,
            aiohttp.ClientSession() as http,
        ):
            yield World(stack, people, http, await stack.temporal.client())


async def settled_actions(temporal: Temporal) -> Counter[str]:
    """Billed actions of a server when no more are made; empty for a cluster, which publishes no metrics."""
    if isinstance(temporal, DevelopmentServer):
        return await actions.settled_actions(temporal.metrics_port)
    return Counter()


async def until_closed(client: Client, query: str, number: int) -> list[WorkflowExecution]:
    """Wait until so many workflows have completed and return them in the order of their ends.

    Raises `TimeoutError` when none has completed for some minutes.
    """
    query = f"{query} AND ExecutionStatus = 'Completed'"
    await until_counted(client, query, number)
    found = [one async for one in client.list_workflows(query)]
    return sorted(found, key=lambda one: one.close_time or one.start_time)


async def until_counted(client: Client, query: str, number: int) -> None:
    """Wait until a query finds so many workflows. Raises `TimeoutError` when their number has not grown for minutes."""
    found, grew = -1, time.monotonic()
    while found < number:
        counted = (await client.count_workflows(query)).count
        if counted > found:
            found, grew = counted, time.monotonic()
        elif time.monotonic() - grew > _PATIENCE:
            raise TimeoutError(f"{found} of {number} workflows, and no more for {_PATIENCE} s: {query}")
        await asyncio.sleep(_POLL)
