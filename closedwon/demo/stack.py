"""`Stack`: the whole world on one laptop, part by part. Which parts there are, how each is started, when it is ready.

    async with Stack(data_dir, erp=ErpKind.STUB, workers=2) as stack:
        await stack.workers[0].kill()
        await stack.workers[0].start()

In the data dir: `closedwon.toml` and `env` (to run single parts by hand), `ports.json`, `logs/<part>.log`,
`temporal.db`, and a directory with `connection.json` for the org and for the ERP. A second stack on the same data dir
goes on where the first one stopped.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shlex
import sys
from asyncio.subprocess import PIPE
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from string import Template
from types import TracebackType
from typing import Any, Final, Self, TextIO

import aiohttp

from closedwon.audit.compare import AuditReport
from closedwon.demo import ErpKind, Stream, TemporalKind, Via
from closedwon.demo.cluster.cluster import Cluster
from closedwon.demo.parts import Guard, Part, PartError, Ports, lock_data_dir, make_data_dir, program, together
from closedwon.demo.temporal import NAMESPACE, USUAL_PORTS, DevelopmentServer
from closedwon.emulators.erp import connection

_CHANNELS: Final = {
    Via.EVENT: 'events = ["/event/Order_Requested__e"]',
    Via.OUTBOUND: "outbound = {}",
    Via.CALLOUT: 'callouts = { keys = [{ env = "DEMO_CALLOUT_KEY" }] }',
}
"""What the route says of its channel."""
_ANSWER: Final = aiohttp.ClientTimeout(total=20)
"""A process gives up each of its own checks after five seconds."""
_EVER: Final = datetime(2000, 1, 1, tzinfo=UTC)
_PUBSUB: Final = "pubsub"
"""The name of the port of the org's Pub/Sub API."""
_INTAKE: Final = "intake"
"""The name of the port on which intake takes messages; the part's own port is that of its metrics."""
_PAGE: Final = "page"
_USUAL_PORTS: Final = USUAL_PORTS | {_PAGE: 8234}


class Server(Part):
    """The Salesforce emulator or a stub ERP: ready when it has written `connection.json` with its own process id."""

    def __init__(self, name: str, words: Sequence[str], data_dir: Path, **how: Any) -> None:
        """Run `closedwon <words>` on `data_dir`."""
        super().__init__(name, **how)
        self._words = words
        self.data_dir = data_dir
        self.connection: dict[str, Any] = {}
        """Its address and credentials, once it is ready."""

    def command(self) -> list[str]:
        """Its command with port and data dir."""
        return [program("closedwon"), *self._words, "--data-dir", str(self.data_dir), "--port", str(self.port)]

    async def is_ready(self) -> bool:
        """Whether this process, not an earlier one, says that it serves."""
        self.connection = connection.read(self.data_dir)
        return self.connection.get("pid") == self.pid


class Closedwon(Part):
    """A process of Closedwon itself: ready when its own `/readyz` says so."""

    def __init__(self, name: str, command: str, config: Path, **how: Any) -> None:
        """`command` is one of `run`, `worker` and `subscriber`."""
        super().__init__(name, **how)
        self._command = command
        self._config = config

    def command(self) -> list[str]:
        """Its command; the port for metrics and health goes by the environment."""
        self.environment["CLOSEDWON_TELEMETRY__PORT"] = str(self.port)
        return [program("closedwon"), self._command, "--config", str(self._config)]

    async def is_ready(self) -> bool:
        """Whether it is connected to Temporal and works."""
        try:
            async with aiohttp.request("GET", f"http://localhost:{self.port}/readyz", timeout=_ANSWER) as response:
                self.says = await response.text()
                return response.ok
        except (aiohttp.ClientError, TimeoutError) as error:
            self.says = f"no answer, {type(error).__name__}"
            return False


class Stack:
    """Temporal, the Salesforce emulator, an ERP and Closedwon's processes; see the module's text.

    `workers` are processes `closedwon worker` beside `subscribers` processes `closedwon subscriber`, or, with no
    subscribers, processes `closedwon run` that do both. `environment` is given to Closedwon's processes, for settings
    (`CLOSEDWON_SUBSCRIBER__HEARTBEAT_TIMEOUT=2s`). Raises `PartError` when a part does not start.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        erp: ErpKind = ErpKind.STUB,
        workers: int = 1,
        subscribers: int = 0,
        via: Via = Via.EVENT,
        stream: Stream = Stream.COMETD,
        temporal: TemporalKind = TemporalKind.DEVELOPMENT,
        environment: Mapping[str, str] | None = None,
        usual_ports: bool = False,
    ) -> None:
        """Start nothing yet. With `usual_ports` a new data dir takes Temporal's usual ports where they are free."""
        self.data_dir = make_data_dir(data_dir)
        self.erp_kind = erp
        self._via = via
        self._stream = stream
        self._callout_key = secrets.token_urlsafe(32)
        self.config = self.data_dir / "closedwon.toml"
        self._environment = {"CLOSEDWON_TELEMETRY__LOG_FORMAT": "console"} | dict(environment or {})
        self._lock: TextIO | None = None
        self._ports = ports = Ports(self.data_dir / "ports.json")
        if usual_ports:
            ports.suggest(_USUAL_PORTS)
        self._guard = Guard()
        how: dict[str, Any] = {"log_dir": self.data_dir / "logs", "ports": ports, "guard": self._guard}
        self.temporal = (Cluster if temporal is TemporalKind.CLUSTER else DevelopmentServer)(self.data_dir, **how)
        self.org = Server("org", ["org", "serve"], self.data_dir / "org", **how)
        self.erp = Server("erp", ["test-erp", erp], self.data_dir / erp, **how)
        if erp is ErpKind.TRYTON:
            self.erp.patience = 300  # the first start builds a database
        alone = subscribers == 0 and via is Via.EVENT
        self.workers = [
            Closedwon(f"worker-{number}", "run" if alone else "worker", self.config, **how)
            for number in range(1, workers + 1)
        ]
        self.intakes = [] if via is Via.EVENT else [Closedwon("intake-1", "intake", self.config, **how)]
        self.subscribers = [
            Closedwon(f"subscriber-{number}", "subscriber", self.config, **how) for number in range(1, subscribers + 1)
        ]

    @property
    def parts(self) -> tuple[Part, ...]:
        """All of them, in the order in which they depend on each other."""
        return (*self.temporal.parts, self.org, self.erp, *self.processes)

    @property
    def processes(self) -> tuple[Closedwon, ...]:
        """Those of Closedwon itself."""
        return (*self.workers, *self.subscribers, *self.intakes)

    async def __aenter__(self) -> Self:
        """Start everything."""
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop everything."""
        await self.stop()

    async def start(self) -> None:
        """Start the servers side by side, then Closedwon's processes."""
        self._lock = lock_data_dir(self.data_dir)
        self._guard.start()
        self._ports.replace_taken([_PAGE])
        if self.intakes:
            self._ports.replace_taken([_INTAKE])
            self._write_org_settings(self._push_settings())
        elif self._stream is Stream.PUBSUB:
            self._ports.replace_taken([_PUBSUB])
            self._write_org_settings(["[pubsub]", f"port = {self._ports.get(_PUBSUB)}"])
        await together(*(server.start() for server in (self.temporal, self.org, self.erp)))
        self._write_settings()
        await together(*(part.start() for part in self.processes))

    async def stop(self) -> None:
        """Stop Closedwon's processes first: they finish what they have begun. Then the servers."""
        await asyncio.gather(*(part.stop() for part in self.processes))
        await asyncio.gather(*(server.stop() for server in (self.temporal, self.org, self.erp)))
        self._guard.close()
        self._ports.release()
        if self._lock is not None:
            self._lock.close()

    def check(self) -> None:
        """Raise `PartError` if a part has ended without being stopped."""
        for part in self.parts:
            part.check()

    async def audit(self, since: datetime = _EVER) -> AuditReport:
        """What `closedwon audit` says of everything that was changed since then, this very moment included.

        Raises `PartError` when it says nothing.
        """
        command = (program("closedwon"), "audit", "--since", since.isoformat(), "--lag", "0s", "--json")
        process = await asyncio.create_subprocess_exec(
            *command, stdout=PIPE, stderr=PIPE, env=os.environ | self.child_environment()
        )
        said, problem = await process.communicate()
        if not said:
            raise PartError(f"closedwon audit has failed: {problem.decode(errors='replace').strip()[-1000:]}")
        return AuditReport.model_validate_json(said)

    def child_environment(self) -> dict[str, str]:
        """What Closedwon's processes, and people who run single parts by hand, need in their environment.

        Temporal's configuration file is turned off: a person's own one may lead to another server.
        """
        secret = {ErpKind.TRYTON: "key", ErpKind.STUB: "token"}[self.erp_kind]
        return self._environment | {
            "TEMPORAL_ADDRESS": self.temporal.address,
            "TEMPORAL_NAMESPACE": NAMESPACE,
            "TEMPORAL_CONFIG_FILE": os.devnull,
            "CLOSEDWON_CONFIG": str(self.config),
            "CLOSEDWON_METRICS": " ".join(f"http://localhost:{part.port}/metrics" for part in self.processes),
            "DEMO_ORG_SECRET": self.org.connection["client_secret"],
            "DEMO_ERP_SECRET": self.erp.connection[secret],
            "DEMO_CALLOUT_KEY": self._callout_key,
        }

    def _write_settings(self) -> None:
        """Write `closedwon.toml` and, with the secrets, `env`, and give both to Closedwon's processes."""
        org, erp = self.org.connection, self.erp.connection
        template = Template(resources.files("closedwon.demo").joinpath("closedwon.template.toml").read_text("utf-8"))
        self.config.write_text(
            template.substitute(
                org_id=org["org_id"],
                org_url=org["url"],
                stream=_stream_settings(self._stream, org),
                client_id=org["client_id"],
                erp=self.erp_kind,
                erp_kind=erp["kind"],
                erp_url=erp["url"],
                erp_secret="key" if self.erp_kind is ErpKind.TRYTON else "token",
                channel=_CHANNELS[self._via],
                intake=f"[intake]\nport = {self._intake_port}\n" if self.intakes else "",
            ),
            encoding="utf-8",
        )
        environment = self.child_environment()
        for part in self.processes:
            part.environment |= environment
        file = self.data_dir / "env"
        file.touch(mode=0o600)
        path = f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH\n"
        lines = (f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
        file.write_text(path + "".join(lines), encoding="utf-8")

    @property
    def page_port(self) -> int:
        """Where the demo's page is served."""
        return self._ports.get(_PAGE)

    @property
    def _intake_port(self) -> int:
        return self._ports.get(_INTAKE)

    def _push_settings(self) -> list[str]:
        """Let the org push every deal that is won, changed or reopened to intake, and publish no event."""
        table, path = ("outbound_messages", "outbound") if self._via is Via.OUTBOUND else ("callouts", "callouts")
        lines = ["flows = []", "", f"[[{table}]]", 'name = "won-deals"', 'field = "IsWon"', "becomes = true"]
        lines.append('or_changes = ["IsWon", "Amount", "AccountId"]')
        lines.append(f'endpoint = "http://localhost:{self._intake_port}/{path}/won-deals"')
        if self._via is Via.CALLOUT:
            lines.append(f'key = "{self._callout_key}"')
        return lines

    def _write_org_settings(self, lines: Sequence[str]) -> None:
        self.org.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self.org.data_dir / "org.toml"
        file.touch(mode=0o600)
        file.write_text("\n".join([*lines, ""]), encoding="utf-8")


def _stream_settings(stream: Stream, org: Mapping[str, Any]) -> str:
    """What `[[orgs]]` says of the way in which events are read."""
    return f'stream = "{stream}"' + (f'\npubsub_url = "{org["pubsub_url"]}"' if stream is Stream.PUBSUB else "")
