"""One world of real processes in which all histories are played side by side: starting, stopping and querying it.

Temporal, a Salesforce emulator, two stub ERPs, and processes `closedwon worker`, `subscriber` and `intake`; see
`routes` for what they do.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from closedwon import names
from closedwon.demo.parts import Guard, Part, PartError, Ports, together
from closedwon.demo.stack import Closedwon, Server
from closedwon.demo.temporal import NAMESPACE, DevelopmentServer
from closedwon.emulators.salesforce.client import OrgClient
from closedwon.emulators.salesforce.connection import Connection
from closedwon.ids import OrgId, RecordId
from closedwon.model.sweeps import SweepStart
from closedwon.names import OrderStage
from closedwon.temporal.errors import PASSING
from closedwon.temporal.sweeps import start_sweep
from tests.property.configuration import CALLOUT_KEY_ENV, ERP, PATH_SECRET_ENV, PROCESSES, org_settings, route_settings
from tests.property.routes import ERPS

_log = logging.getLogger(__name__)
_ROOT = Path(__file__).parents[2]
_RESTING = frozenset({OrderStage.ATTENTION, OrderStage.CANCELLED, OrderStage.NOT_NEEDED, OrderStage.FOLLOWING})
_AWAY = (aiohttp.ClientError, TimeoutError, OSError)
API = "/services/data/v67.0"


class Process(Closedwon):
    """A process of Closedwon, whole or without one rule."""

    without: str | None = None
    patience = 180.0  # beside a world under load

    async def start(self) -> None:
        """Start it, as a supervisor does: one that hangs is reported, and started once more."""
        try:
            await super().start()
        except PartError as error:
            _log.error("%s", error)
            await super().start()

    def command(self) -> list[str]:
        """The product's own command, or the test's entry point where a rule is removed."""
        usual = super().command()
        if self.without is None:
            return usual
        return [sys.executable, "-m", "tests.property.process", self._command, self.without]


class World:
    """Make it with `world`."""

    def __init__(self, data_dir: Path, *, without: str | None = None, workers: int = 2) -> None:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.data_dir = data_dir
        self.config = data_dir / "closedwon.toml"
        self._guard = Guard()
        self._ports = ports = Ports(data_dir / "ports.json")
        how: dict[str, Any] = {"log_dir": data_dir / "logs", "ports": ports, "guard": self._guard}
        self.temporal = DevelopmentServer(data_dir, **how)
        self.org = Server("org", ["org", "serve"], data_dir / "org", **how)
        self.erps = {name: Server(name, ["test-erp", "stub"], data_dir / name, **how) for name in ERPS}
        self.workers = [Process(f"worker-{number}", "worker", self.config, **how) for number in range(1, workers + 1)]
        self.subscriber = Process("subscriber", "subscriber", self.config, **how)
        self.intake = Process("intake", "intake", self.config, **how)
        for process in self.processes:
            process.without = without
        self.callout_key = secrets.token_urlsafe(32)
        self.path_secret = secrets.token_urlsafe(32)

    @property
    def servers(self) -> Sequence[Part]:
        """The systems that Closedwon calls."""
        return (self.temporal, self.org, *self.erps.values())

    @property
    def processes(self) -> Sequence[Process]:
        """Closedwon's own processes."""
        return (*self.workers, self.subscriber, self.intake)

    async def start(self) -> None:
        """Start everything."""
        self._guard.start()
        self.org.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.org.data_dir / "org.toml").write_text(org_settings(), encoding="utf-8")
        await together(*(part.start() for part in self.servers))
        self._write_settings()
        await together(*(part.start() for part in self.processes))

    async def stop(self) -> None:
        """Kill everything that still runs: all state has been read by now."""
        for group in (self.processes, self.servers):
            await asyncio.gather(*(part.kill() for part in group))
        self._guard.close()

    def environment(self) -> dict[str, str]:
        """The environment variables of Closedwon's processes."""
        tokens = {f"PROPERTY_TOKEN_{name}": str(erp.connection["token"]) for name, erp in self.erps.items()}
        return tokens | {
            "TEMPORAL_ADDRESS": self.temporal.address,
            "TEMPORAL_NAMESPACE": NAMESPACE,
            "TEMPORAL_CONFIG_FILE": os.devnull,
            "CLOSEDWON_CONFIG": str(self.config),
            "PYTHONPATH": str(_ROOT),
            "PROPERTY_ORG_SECRET": self.org.connection["client_secret"],
            CALLOUT_KEY_ENV: self.callout_key,
            PATH_SECRET_ENV: self.path_secret,
        }

    def _write_settings(self) -> None:
        org = self.org.connection
        text = PROCESSES.format(
            org_id=org["org_id"],
            org_url=org["url"],
            client_id=org["client_id"],
            erps="".join(ERP.format(name=name, url=erp.connection["url"]) for name, erp in self.erps.items()),
            intake_port=self._ports.get("intake-http"),
        )
        self.config.write_text(text + route_settings(), encoding="utf-8")
        for process in self.processes:
            process.environment |= self.environment()

    @property
    def intake_url(self) -> str:
        """Where intake listens."""
        return f"http://localhost:{self._ports.get('intake-http')}"

    @property
    def org_id(self) -> OrgId:
        """The emulator's id."""
        return OrgId(self.org.connection["org_id"])


@asynccontextmanager
async def world(data_dir: Path, *, without: str | None = None) -> AsyncIterator[Talk]:
    """Start a world, and yield the way to talk to it; the end stops it."""
    made = World(data_dir, without=without)
    try:
        await made.start()
        async with (
            OrgClient.open(Connection.model_validate(made.org.connection)) as people,
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as http,
        ):
            yield Talk(made, people, http, await made.temporal.client())
    finally:
        await made.stop()


class Talk:
    """What people, the test and other systems say to the parts of a world."""

    def __init__(self, world: World, people: OrgClient, http: aiohttp.ClientSession, client: Client) -> None:
        self.world = world
        self.people = people
        self.http = http
        self.client = client

    # Salesforce

    async def composite(self, requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Several writes as one transaction; their bodies. Fails where the org refuses."""
        numbered = [{"referenceId": f"r{place}", **each} for place, each in enumerate(requests)]
        answer = await self.people._rest("POST", "/composite", json={"allOrNone": True, "compositeRequest": numbered})
        parts: list[dict[str, Any]] = answer["compositeResponse"]
        assert all(part["httpStatusCode"] < 300 for part in parts), parts
        return [part["body"] for part in parts]

    async def publish(self, event: str, fields: dict[str, Any]) -> None:
        """Publish a platform event."""
        await self.people._rest("POST", f"/sobjects/{event}", json=fields)

    async def delete(self, object_name: str, record: RecordId) -> None:
        """Put a record into the recycle bin."""
        await self.people._rest("DELETE", f"/sobjects/{object_name}/{record}")

    # ERPs

    async def erp_orders(self, erp: str, key: str) -> list[dict[str, Any]]:
        """The orders of an ERP under a key, read past the contract, whose answers may be wrong on purpose."""
        listed = (await self.ask_erp(erp, "/_admin/orders"))["orders"]
        return [order for order in listed if order["idempotency_key"] == key]

    async def ask_erp(self, erp: str, path: str, *, json: Any = None, **options: Any) -> Any:
        """Ask an ERP, or post `json` to it, until it answers: it may be killed meanwhile."""
        url = self.world.erps[erp].connection["url"] + path
        while True:
            try:
                async with self.http.request(
                    "POST" if json is not None else "GET", url, json=json, **options
                ) as answer:
                    if answer.status < 500:
                        assert answer.ok, (url, answer.status, await answer.text())
                        return await answer.json()
            except _AWAY:
                pass
            await asyncio.sleep(0.1)

    # Intake

    async def push(self, path: str, body: bytes, headers: dict[str, str]) -> int:
        """Post to intake once; its status, or 0 where it does not answer."""
        try:
            async with self.http.post(self.world.intake_url + path, data=body, headers=headers) as answer:
                await answer.read()
                return answer.status
        except _AWAY:
            return 0

    # Temporal

    async def sweep(self, route: str, since: datetime) -> None:
        """Sweep a route, and wait for the end of the sweep."""
        until, org = datetime.now(UTC), self.world.org_id
        workflow_id = names.sweep_workflow_id(org, route, since, until)
        start = SweepStart(org=org, route=route, since=since, until=until)
        await start_sweep(self.client, start, workflow_id)
        await self.client.get_workflow_handle(workflow_id).result()

    async def workflow_state(self, record: RecordId) -> WorkflowState | None:
        """The state of a record's workflow, strongly consistent; None if there is no workflow."""
        handle = self.client.get_workflow_handle(names.order_workflow_id(self.world.org_id, record))
        found = None
        while found is None:
            try:
                found = await handle.describe()
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return None
                if error.status not in PASSING:
                    raise
        attributes = {name: str(values[0]) for name, values in found.search_attributes.items() if values}
        raw = found.raw_description
        is_open = found.status is WorkflowExecutionStatus.RUNNING
        is_busy = bool(raw.pending_activities) or raw.HasField("pending_workflow_task")
        stage = attributes.get(names.ORDER_STAGE)
        rests = not is_open or (stage in _RESTING and not is_busy)
        waits = is_open and stage == OrderStage.ATTENTION
        return WorkflowState(
            rests=rests,
            stage=stage,
            reason=attributes.get(names.ATTENTION_REASON) if waits else None,
            mark=(found.run_id, found.history_length),
            status=found.status.name if found.status else "",
        )


class WorkflowState:
    """The state of a workflow; `mark` changes with every event of its history."""

    def __init__(
        self, *, rests: bool, stage: str | None, reason: str | None, mark: tuple[str | None, int], status: str
    ) -> None:
        self.rests = rests
        self.stage = stage
        self.reason = reason
        self.mark = mark
        self.status = status
