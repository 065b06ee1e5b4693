"""Bare Temporal as processes: the same server as the product's with a fresh database, and one worker process."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from temporalio.client import Client

from benchmarks.processes import processor_seconds
from closedwon.demo import TemporalKind
from closedwon.demo.cluster.cluster import Cluster
from closedwon.demo.parts import Guard, Part, Ports
from closedwon.demo.temporal import DevelopmentServer, Temporal

_MODULE: Final = "benchmarks.bare_workflow"


class BareWorker(Part):
    """One worker process with the SDK's defaults: the sandbox is on."""

    def __init__(self, server: Temporal, **how: Any) -> None:
        """Of this server."""
        super().__init__("bare-worker", **how)
        self._server = server

    def command(self) -> list[str]:
        """The worker."""
        return [sys.executable, "-m", _MODULE, "worker", self._server.address]

    async def is_ready(self) -> bool:
        """Whether it polls."""
        return "ready" in self.last_lines()


class BareTemporal:
    """A server with a fresh database and a worker; make it with `bare_temporal`."""

    def __init__(self, server: Temporal, worker: BareWorker, client: Client) -> None:
        """Of running processes."""
        self.server = server
        self.worker = worker
        self.client = client

    def processor(self) -> dict[str, float]:
        """Seconds of processor time of the server and of the worker until now."""
        server = sum(processor_seconds(part.pid) for part in self.server.parts)
        return {"server": server, "worker": processor_seconds(self.worker.pid)}

    async def start(self, orders: int, kind: str) -> float:
        """Start workflows by a process of its own; the seconds of processor time that it has used."""
        words = ("-m", _MODULE, "starter", self.server.address, str(orders), kind)
        process = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
        assert process.returncode == 0
        return float(output)


@asynccontextmanager
async def bare_temporal(kind: TemporalKind = TemporalKind.DEVELOPMENT) -> AsyncIterator[BareTemporal]:
    """The same server as the product's, and nothing else on it."""
    with tempfile.TemporaryDirectory(prefix="closedwon-bare-") as name:
        folder, guard = Path(name), Guard()
        ports = Ports(folder / "ports.json")
        how: dict[str, Any] = {"log_dir": folder, "ports": ports, "guard": guard}
        server: Temporal = (Cluster if kind is TemporalKind.CLUSTER else DevelopmentServer)(folder, **how)
        if isinstance(server, DevelopmentServer):
            server.search_attributes = ()
        worker = BareWorker(server, **how)
        guard.start()
        try:
            await server.start()
            await worker.start()
            yield BareTemporal(server, worker, await server.client())
        finally:
            await worker.stop()
            await server.stop()
            guard.close()
            ports.release()
