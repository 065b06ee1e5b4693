"""Runs an org as a web server: in a test's event loop (`SalesforceEmulator.running`) or as a process (`serve`)."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from closedwon.emulators.pages import LOOPBACK, url_of
from closedwon.emulators.salesforce.app import build
from closedwon.emulators.salesforce.config import OrgConfig, read_config
from closedwon.emulators.salesforce.connection import (
    Connection,
    only_server,
    read_connection,
    write_connection,
    write_secret,
)
from closedwon.emulators.salesforce.data.seed import seed
from closedwon.emulators.salesforce.org import Credentials, EmulatedOrg
from closedwon.emulators.salesforce.pubsub.server import PubSubServer
from closedwon.ids import RecordId

DEFAULT_PORT = 8080
_KEY_FILE = "integration-key.pem"
_DATABASE = "org.sqlite3"
_CONFIG = "org.toml"
_MAX_LINE = 65_536
_STOP_GRACE_S = 2.0


class SalesforceEmulator(EmulatedOrg):
    """An `EmulatedOrg` with a web server on `localhost`: adds `url`, `start`, `stop`."""

    def __init__(
        self,
        *,
        config: OrgConfig | None = None,
        port: int = 0,
        path: Path | None = None,
        org_id: str | None = None,
        credentials: Credentials | None = None,
        private_key: str | None = None,
        host: str = LOOPBACK,
    ) -> None:
        """`port` 0 selects a free port, which stays the same after `stop` and `start`."""
        self._private_key = private_key
        public_key = _public_key(private_key) if private_key else None
        super().__init__(config=config, credentials=credentials, path=path, org_id=org_id, public_key=public_key)
        self._host, self._port = host, port
        streams = self.config.pubsub
        self.pubsub_server = (
            None if streams.port is None else PubSubServer(self.pubsub, port=streams.port, tls=streams.tls)
        )
        """None: the Pub/Sub API is not served."""
        self._runner: web.AppRunner | None = None
        self._sending: asyncio.Task[None] | None = None

    @classmethod
    @asynccontextmanager
    async def running(
        cls, *, config: OrgConfig | None = None, path: Path | None = None, org_id: str | None = None, port: int = 0
    ) -> AsyncIterator[SalesforceEmulator]:
        """A served org in this event loop, for `async with`. Without a `path`, its data is in memory."""
        org = cls(config=config, path=path, org_id=org_id, port=port)
        try:
            await org.start()
            yield org
        finally:
            await org.stop()
            org.store.close()

    @property
    def url(self) -> str:
        """The org's URL: a host name, because clients do not store cookies for IP addresses."""
        return url_of(self._host, self._port)

    @property
    def client_id(self) -> str:
        """Consumer key of the integration's app."""
        return self.credentials.client_id

    @property
    def client_secret(self) -> str:
        """Consumer secret of the integration's app."""
        return self.credentials.client_secret

    @property
    def private_key(self) -> str:
        """PEM of the key that signs the integration's assertions; generated at first use."""
        if self._private_key is None:
            self._private_key = new_private_key()
            self.set_public_key(_public_key(self._private_key))
        return self._private_key

    @property
    def pubsub_url(self) -> str | None:
        """The address of the Pub/Sub API; None where it is not served."""
        return self.pubsub_server.url if self.pubsub_server is not None else None

    async def start(self) -> None:
        """Listen. Raises `OSError` if the port is in use, `ValueError` if `host` is not an address of this machine."""
        if self.pubsub_server is not None:
            await self.pubsub_server.start()
        listener = socket.socket(socket.AF_INET6 if ":" in self._host else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self._host, self._port))
        except OSError as error:
            listener.close()
            if error.errno == errno.EADDRINUSE:
                raise
            raise ValueError(
                f"--host {self._host} is not an address of this machine; use 127.0.0.1, or 0.0.0.0 for all of them"
            ) from None
        self._port = listener.getsockname()[1]
        self._runner = web.AppRunner(
            build(self, self._host),
            access_log=None,
            handler_cancellation=True,  # a poll of a disconnected client must not consume events
            max_line_size=_MAX_LINE,
            max_field_size=_MAX_LINE,
            shutdown_timeout=_STOP_GRACE_S,
        )
        await self._runner.setup()
        await web.SockSite(self._runner, listener).start()
        self._sending = asyncio.create_task(self.courier.run(self.url))

    async def stop(self) -> None:
        """Stop listening and remove the sessions and streams; records, events and tokens are kept."""
        if self.pubsub_server is not None:
            await self.pubsub_server.stop()
        self.cometd.cut_polls()
        self.cometd.forget_clients()
        if self._sending is not None:
            self._sending.cancel()
            with suppress(asyncio.CancelledError):
                await self._sending
            self._sending = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def seed(self, opportunities: int, *, seed_number: int = 1, varied: bool = False) -> list[RecordId]:
        """Add open Opportunities with accounts, products and line items; return their ids. See `seed.seed`."""
        return seed(self, opportunities=opportunities, seed=seed_number, varied=varied)

    def connection(self, private_key_file: Path | None = None) -> Connection:
        """The content of `connection.json`."""
        return Connection(
            url=self.url,
            pubsub_url=self.pubsub_url,
            org_id=self.org_id,
            client_id=self.client_id,
            client_secret=self.client_secret,
            username=self.username,
            private_key_file=str(private_key_file) if private_key_file else None,
            sales_client_id=self.credentials.sales_client_id,
            sales_client_secret=self.credentials.sales_client_secret,
            admin_token=self.credentials.admin_token,
            pid=os.getpid(),
            password=self.credentials.password,
            refresh_token=self.credentials.refresh_token,
        )


async def serve(
    data_dir: Path,
    *,
    port: int | None = None,
    host: str = LOOPBACK,
    memory: bool = False,
    org_id: str | None = None,
    on_ready: Callable[[SalesforceEmulator], None] | None = None,
) -> None:
    """Serve the org of `data_dir` at the address `host` until SIGTERM or SIGINT.

    Keeps the credentials, the id and the port of an earlier run. Raises `OSError` if the port is in use, and
    `ValueError` if the directory belongs to another org, another process serves it, or `host` is not an address of this
    machine.
    """
    os.umask(0o077)  # SQLite's other files contain tokens, too
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)  # noqa: ASYNC240 - before anything is served
    with only_server(data_dir):
        await _serve(data_dir, on_ready, host=host, port=port, org_id=org_id, memory=memory)


async def _serve(
    data_dir: Path,
    on_ready: Callable[[SalesforceEmulator], None] | None,
    *,
    host: str,
    port: int | None,
    org_id: str | None,
    memory: bool,
) -> None:
    earlier = read_connection(data_dir)
    key_file = data_dir / _KEY_FILE
    if not key_file.exists():
        write_secret(key_file, new_private_key())
    org = SalesforceEmulator(
        port=_port(port, earlier),
        host=host,
        private_key=key_file.read_text(encoding="utf-8"),
        config=read_config(data_dir / _CONFIG),
        credentials=_credentials(earlier),
        path=None if memory else data_dir / _DATABASE,
        org_id=org_id or (earlier.org_id if earlier and memory else None),
    )
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await org.start()
    write_connection(data_dir, org.connection(key_file))
    if on_ready is not None:
        on_ready(org)
    await stopped.wait()
    await org.stop()
    org.store.close()


def new_private_key() -> str:
    """A new RSA key as PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _public_key(private_key: str) -> str:
    key = serialization.load_pem_private_key(private_key.encode(), password=None)
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def _port(wanted: int | None, earlier: Connection | None) -> int:
    if wanted is not None:
        return wanted
    return int(earlier.url.rpartition(":")[2]) if earlier else DEFAULT_PORT


def _credentials(earlier: Connection | None) -> Credentials:
    if earlier is None:
        return Credentials.generate()
    fresh = Credentials.generate()
    return Credentials(
        client_id=earlier.client_id,
        client_secret=earlier.client_secret,
        sales_client_id=earlier.sales_client_id,
        sales_client_secret=earlier.sales_client_secret,
        admin_token=earlier.admin_token,
        password=earlier.password or fresh.password,
        refresh_token=earlier.refresh_token or fresh.refresh_token,
    )
