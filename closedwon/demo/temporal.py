"""Temporal of a stack: what the development server and a cluster have in common, and the development server."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, UpdateNamespaceRequest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError

from closedwon import names
from closedwon.demo.parts import Part, Ports, program

NAMESPACE: Final = "default"
RETENTION: Final = Duration(seconds=7 * 86_400)
"""How long closed workflows are kept: the development server's own default is a day."""
API_PORT: Final = "temporal"
UI_PORT: Final = "temporal-ui"
_METRICS_PORT: Final = "temporal-metrics"
USUAL_PORTS: Final = {API_PORT: 7233, UI_PORT: 8233}


class Temporal(ABC):
    """What a stack needs of Temporal. Clients survive restarts of the server."""

    def __init__(self, ports: Ports) -> None:
        """Start nothing yet."""
        self._own_ports = ports
        self._client: Client | None = None

    @property
    def address(self) -> str:
        """Where its API is."""
        return f"localhost:{self._own_ports.get(API_PORT)}"

    @property
    def ui(self) -> str:
        """Where its UI is, in the namespace that we use."""
        return f"http://localhost:{self._own_ports.get(UI_PORT)}/namespaces/{NAMESPACE}"

    @property
    @abstractmethod
    def parts(self) -> Sequence[Part]:
        """Its processes."""

    @abstractmethod
    def by_hand(self, shorten: Callable[[Path], str]) -> str:
        """The command that serves the same data when the stack is stopped; paths as `shorten` writes them."""

    @abstractmethod
    async def start(self) -> None:
        """Start it and wait until it can be used. Raises `PartError`."""

    @abstractmethod
    async def stop(self) -> object:
        """Stop all its processes."""

    async def client(self) -> Client:
        """The client of this stack. Raises `RuntimeError` while no server answers."""
        if self._client is None:
            self._client = await Client.connect(
                self.address, namespace=NAMESPACE, data_converter=pydantic_data_converter
            )
        return self._client


class DevelopmentServer(Part, Temporal):
    """Temporal's development server on a file database."""

    def __init__(self, data_dir: Path, ports: Ports, **how: Any) -> None:
        """Keep its state in `data_dir`."""
        Temporal.__init__(self, ports)
        Part.__init__(self, "temporal", ports=ports, **how)
        self.database = data_dir / "temporal.db"
        self.search_attributes: Sequence[str] = names.SEARCH_ATTRIBUTES
        """Those that the server has from the beginning. Without any, Closedwon registers them, as in a cluster."""

    @property
    def port_names(self) -> Sequence[str]:
        """Its API, its UI and its metrics."""
        return (API_PORT, UI_PORT, _METRICS_PORT)

    @property
    def metrics_port(self) -> int:
        """Where it serves `/metrics`: what it counts as billed actions, among others."""
        return self._ports.get(_METRICS_PORT)

    @property
    def parts(self) -> Sequence[Part]:
        """Itself."""
        return (self,)

    def by_hand(self, shorten: Callable[[Path], str]) -> str:
        """The command without what only speed needs."""
        return f"temporal server start-dev --port {self.port} --db-filename {shorten(self.database)}"

    def command(self) -> list[str]:
        """WAL and NORMAL make it three times faster, and lose nothing when the process dies (only with the machine)."""
        return [
            program("temporal"), "server", "start-dev",
            "--ip", "127.0.0.1", "--port", str(self.port), "--ui-port", str(self._ports.get(UI_PORT)),
            "--metrics-port", str(self.metrics_port),
            "--db-filename", str(self.database),
            "--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=NORMAL",
            "--ui-disable-news-fetch", "--log-level", "error",
            *(word for name in self.search_attributes for word in ("--search-attribute", f"{name}=Keyword")),
        ]  # fmt: skip

    async def is_ready(self) -> bool:
        """Whether it answers and has made our namespace."""
        try:
            service = (await self.client()).workflow_service
            await service.describe_namespace(DescribeNamespaceRequest(namespace=NAMESPACE))
            keep = NamespaceConfig(workflow_execution_retention_ttl=RETENTION)
            await service.update_namespace(UpdateNamespaceRequest(namespace=NAMESPACE, config=keep))
        except (RuntimeError, RPCError):
            return False
        return True
