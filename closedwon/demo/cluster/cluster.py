"""`Cluster`: the parts of a Temporal cluster in the order in which they are started, its schema and its namespace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.service import RPCError, RPCStatusCode

from closedwon.demo.cluster import programs
from closedwon.demo.cluster.postgres import USER, Postgres
from closedwon.demo.cluster.processes import Balancer, Member, Service, Ui
from closedwon.demo.parts import Guard, Part, PartError, Ports, lock_data_dir, make_data_dir, together
from closedwon.demo.temporal import NAMESPACE, RETENTION, USUAL_PORTS, Temporal
from closedwon.tasks import StoppedError, stopping_on_signals

DATABASES: Final = {"temporal": "postgresql/v12/temporal", "temporal_visibility": "postgresql/v12/visibility"}
"""Temporal's databases, with the names of their schemas in its schema tool."""
_EACH: Final = 2
_POLL: Final = 0.1
_NOT_YET: Final = {RPCStatusCode.NOT_FOUND, RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED}


class Cluster(Temporal):
    """PostgreSQL, two processes of each service, a load balancer before the frontends, and the UI."""

    def __init__(self, data_dir: Path, ports: Ports, **how: Any) -> None:
        """Start nothing yet. Raises `PartError` if Go or PostgreSQL is missing."""
        super().__init__(ports)
        how["ports"] = ports
        self._programs = programs.find()
        self.data_dir = data_dir / "cluster"
        self.postgres = Postgres(self._programs, self.data_dir, **how)
        self.members = [
            Member(service, number, self._programs, self.data_dir, **how)
            for service in Service
            for number in range(1, _EACH + 1)
        ]
        self.balancer = Balancer(self.of(Service.FRONTEND), **how)
        self.ui_server = Ui(self._programs, **how)

    def of(self, service: Service) -> Sequence[Member]:
        """The processes of one service."""
        return [one for one in self.members if one.service is service]

    @property
    def parts(self) -> Sequence[Part]:
        """All its processes, in the order in which they need each other."""
        return (self.postgres, *self.members, self.balancer, self.ui_server)

    def by_hand(self, shorten: Callable[[Path], str]) -> str:
        """One command for all its processes."""
        return f"closedwon test-temporal --data-dir {shorten(self.data_dir.parent)}"

    async def start(self) -> None:
        """Build what is not built, make databases and namespace where there are none, and start everything."""
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        await programs.build(self._programs)
        await self.postgres.start()
        await self._make_databases()
        first, *others = self.members
        await first.start()  # alone: the first process on a new database writes what must not be written twice
        await together(*(part.start() for part in (*others, self.balancer, self.ui_server)))
        await self._make_namespace()

    async def stop(self) -> None:
        """Stop everything, the database last."""
        await asyncio.gather(*(part.stop() for part in (self.ui_server, self.balancer, *self.members)))
        await self.postgres.stop()

    def check(self) -> None:
        """Raise `PartError` if a process has ended without being stopped."""
        for part in self.parts:
            part.check()

    async def _make_databases(self) -> None:
        """Once per data directory. What a broken first start has left is made again: it has never been used."""
        done = self.data_dir / "schema"
        if done.exists():
            return
        for database, schema in DATABASES.items():
            await self.postgres.query(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')
            await self.postgres.query(f'CREATE DATABASE "{database}"')
            await self._schema_tool(database, "setup-schema", "-v", "0.0")
            await self._schema_tool(database, "update-schema", "--schema-name", schema)
        done.write_text(f"{programs.SERVER_VERSION}\n", encoding="utf-8")

    async def _schema_tool(self, database: str, *words: str) -> None:
        where = ("--ep", "127.0.0.1", "-p", str(self.postgres.port), "-u", USER, "--pl", "postgres12", "--db", database)
        process = await asyncio.create_subprocess_exec(
            self._programs.path("temporal-sql-tool"), *where, *words,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate()
        if process.returncode:
            raise PartError(f"temporal-sql-tool {words[0]} has failed:\n{output.decode(errors='replace')[-1000:]}")

    async def _make_namespace(self) -> None:
        """Register it once the frontends serve."""
        wanted = RegisterNamespaceRequest(
            namespace=NAMESPACE, workflow_execution_retention_period=RETENTION, description="Made by Closedwon"
        )
        while True:
            self.check()
            try:
                await (await self.client()).workflow_service.register_namespace(wanted)
            except RPCError as error:
                if error.status is RPCStatusCode.ALREADY_EXISTS:
                    return
                if error.status not in _NOT_YET:
                    raise
            except RuntimeError:  # no frontend answers
                pass
            await asyncio.sleep(_POLL)


async def serve(data_dir: Path, say: Callable[[str], None]) -> None:
    """Run a cluster alone until Ctrl-C or SIGTERM. Raises `PartError`."""
    with suppress(StoppedError), stopping_on_signals():
        await _serve(data_dir, say)
    say("Everything is stopped.")


async def _serve(data_dir: Path, say: Callable[[str], None]) -> None:
    data_dir = make_data_dir(data_dir)
    lock = lock_data_dir(data_dir)
    ports, guard = Ports(data_dir / "ports.json"), Guard()
    ports.suggest(USUAL_PORTS)
    cluster = Cluster(data_dir, ports, log_dir=data_dir / "logs", guard=guard)
    await programs.build(programs.find(), say)
    guard.start()
    try:
        say("Starting PostgreSQL and Temporal")
        await cluster.start()
        say(f"Temporal at {cluster.address}, its UI at {cluster.ui}, logs in {data_dir / 'logs'}. Ctrl-C stops it.")
        while True:
            cluster.check()
            await asyncio.sleep(1)
    finally:
        await cluster.stop()
        guard.close()
        ports.release()
        lock.close()
