"""The processes of a cluster: a member of one of Temporal's services, the UI, and the load balancer in front."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any, Final

from closedwon.demo.cluster.postgres import USER, Postgres
from closedwon.demo.cluster.programs import Programs
from closedwon.demo.parts import Part

_SHARDS: Final = 4
"""History shards, shared by the history processes. The number of an existing database cannot be changed."""


_ANSWER: Final = 2.0
"""Seconds for the first bytes of a server that serves."""
_HTTP2_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""How a client begins, with an empty SETTINGS frame; a server answers with its own (RFC 9113, section 3.4)."""
_DYNAMIC: Final = """\
frontend.namespaceRPS.visibility:
  - value: 100
limit.maxIDLength:
  - value: 255
"""
"""The values that deploy/temporal/README.md recommends."""


class Service(StrEnum):
    """A service of Temporal's server, as `--service` names it."""

    FRONTEND = "frontend"
    HISTORY = "history"
    MATCHING = "matching"
    WORKER = "worker"
    """Runs the schedules, among others; not to be confused with a worker of Closedwon."""


class Listener(Part):
    """A process that is ready when its first port takes connections."""

    async def is_ready(self) -> bool:
        """Whether it listens."""
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True


class Member(Part):
    """One process of one service. Its ports: of the ring in which the members find each other, of gRPC, of HTTP.

    A process that starts while PostgreSQL is away ends at once; in a cluster a supervisor starts it again.
    """

    passing = (*Part.passing, "no usable database connection")

    def __init__(self, service: Service, number: int, programs: Programs, data_dir: Path, **how: Any) -> None:
        """Its settings are a file in `data_dir`."""
        super().__init__(f"temporal-{service}-{number}", **how)
        self.service = service
        self._program = programs.path("temporal-server")
        self._settings = data_dir / f"{self.name}.yaml"
        self._dynamic = data_dir / "dynamic.yaml"

    @property
    def port_names(self) -> Sequence[str]:
        """The ring, gRPC and HTTP."""
        return (self.name, f"{self.name}-grpc", f"{self.name}-http")

    async def is_ready(self) -> bool:
        """Whether it speaks HTTP/2 at its gRPC port: its ports take connections before it has read the database."""
        try:
            async with asyncio.timeout(_ANSWER):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.grpc_port)
                try:
                    writer.write(_HTTP2_PREFACE)
                    return await reader.read(1) != b""
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False

    @property
    def grpc_port(self) -> int:
        """Where it is called."""
        return self._ports.get(self.port_names[1])

    def command(self) -> list[str]:
        """Its command, with settings for the ports of this start."""
        template = resources.files("closedwon.demo.cluster").joinpath("temporal.template.yaml").read_text("utf-8")
        own = {"grpcPort": self.grpc_port, "membershipPort": self.port, "httpPort": self._ports.get(self.port_names[2])}
        # The others, too: a process looks only for members of services that its settings name, at their own ports.
        services = {service: {"rpc": {**own, "bindOnIP": "127.0.0.1"}} for service in Service}
        values = {
            "services": json.dumps(services),
            "shards": _SHARDS,
            "user": USER,
            "postgres": self._ports.get(Postgres.NAME),
            "frontend": self._ports.get(BALANCER),
            "dynamic": self._dynamic,
        }
        self._settings.write_text(Template(template).substitute(values), encoding="utf-8")
        self._dynamic.write_text(_DYNAMIC, encoding="utf-8")
        words = ("--config-file", str(self._settings), "--allow-no-auth", "start", "--service", self.service)
        return [self._program, *words]


BALANCER: Final = "temporal"
"""Its port is the one at which the cluster is called: as a cluster's service has one name."""


class Balancer(Listener):
    """The one address of several frontends."""

    def __init__(self, frontends: Sequence[Member], **how: Any) -> None:
        """Pass connections on to these."""
        super().__init__(BALANCER, **how)
        self._frontends = frontends

    def command(self) -> list[str]:
        """Its command."""
        targets = [str(one.grpc_port) for one in self._frontends]
        return [sys.executable, "-m", "closedwon.demo.cluster.balancer", str(self.port), *targets]


class Ui(Listener):
    """Temporal's UI."""

    def __init__(self, programs: Programs, **how: Any) -> None:
        """Serve what the balancer's port gives."""
        super().__init__("temporal-ui", **how)
        self._programs = programs

    def command(self) -> list[str]:
        """Its command; address and port go by the environment."""
        self.environment |= {
            "TEMPORAL_ADDRESS": f"127.0.0.1:{self._ports.get(BALANCER)}",
            "TEMPORAL_UI_PORT": str(self.port),
            "TEMPORAL_DISABLE_NEWS_FETCH": "true",
        }
        settings = self._programs.ui_settings
        words = ("--root", str(settings.parent), "--config", settings.name, "--env", "docker", "start")
        return [self._programs.path("temporal-ui"), *words]
