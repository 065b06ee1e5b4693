"""Cases N5 to N8 for Temporal: proxy, authorities, a rotated client certificate, dead addresses."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from closedwon.emulators.erp.stub import StubErp
from closedwon.emulators.salesforce import SalesforceEmulator
from closedwon.network.failures import FailureKind, network_error_in
from closedwon.settings import Subscriber, TelemetrySettings
from closedwon.settings.encryption import Encryption
from closedwon.temporal.client import connect, namespace_id
from closedwon.temporal.target import TemporalUnavailableError
from tests.support.handoff import settings_for
from tests.support.intake import Authority
from tests.support.network import ConnectProxy, black_hole, pump
from tests.support.salesforce import ORG_ID
from tests.support.waiting import until
from workers import process, renewal
from workers.renewal import TargetWatch

PLAIN = Encryption(enabled=False)
HOST = "temporal.example.com"
Pair = tuple[Path, Path, str]


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """The authority of both sides, which the environment of this process names."""
    authority = Authority(tmp_path, "Corporate CA")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.file))
    return authority


class MutualTls:
    """Temporal behind mutual TLS: passes the connections on whose client certificate it accepts."""

    def __init__(self, ours: Authority, server: WorkflowEnvironment) -> None:
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ours.file))
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._context.set_alpn_protocols(["h2"])
        host, _, port = server.client.service_client.config.target_host.rpartition(":")
        self._target = host, int(port)
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.clients: list[str] = []
        """The common names of the clients that were accepted."""

    @asynccontextmanager
    async def serving(self, pair: Pair) -> AsyncIterator[MutualTls]:
        """Show the certificate of `pair`."""
        self._context.load_cert_chain(pair[0], pair[1])
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.cut()

    def cut(self) -> None:
        """End all connections, as a restart would."""
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        certificate = writer.get_extra_info("ssl_object").getpeercert()
        self.clients += [value for ((name, value),) in certificate["subject"] if name == "commonName"]
        there, back = await asyncio.open_connection(*self._target)
        self._open |= {writer, back}
        with suppress(ConnectionError):
            await asyncio.gather(pump(reader, back), pump(there, writer))


def _use(monkeypatch: pytest.MonkeyPatch, address: str, pair: Pair | None = None) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", address)
    if pair is not None:
        monkeypatch.setenv("TEMPORAL_TLS_CLIENT_CERT_PATH", str(pair[0]))
        monkeypatch.setenv("TEMPORAL_TLS_CLIENT_KEY_PATH", str(pair[1]))


async def _connect() -> Client:
    return await connect(PLAIN, patience=timedelta(0))


async def _failure() -> tuple[FailureKind, str]:
    with pytest.raises(TemporalUnavailableError) as failed:
        await _connect()
    why = network_error_in(failed.value)
    assert why is not None
    return why.kind, str(failed.value)


async def test_n5_temporal_is_reached_through_the_proxy(
    monkeypatch: pytest.MonkeyPatch, temporal_server: WorkflowEnvironment
) -> None:
    """Only the proxy knows the host; with its credential it is passed on, without one the error names the proxy."""
    host, _, port = temporal_server.client.service_client.config.target_host.rpartition(":")
    _use(monkeypatch, f"{HOST}:7233")
    proxy = ConnectProxy({f"{HOST}:7233": (host, int(port))}, user="me", password="p@ss")
    async with proxy.serving() as address:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:p%40ss@{address}")
        client = await _connect()
        assert await namespace_id(client)
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:wrong@{address}")
        kind, said = await _failure()
    assert {f"{HOST}:7233"} == set(proxy.asked)
    assert FailureKind.PROXY is kind
    assert f"the proxy answers 407 (proxy {address} of HTTPS_PROXY)" in said
    assert "wrong" not in said


async def test_n6_the_authorities_of_the_environment_count_for_temporal(
    monkeypatch: pytest.MonkeyPatch, temporal_server: WorkflowEnvironment, ours: Authority, tmp_path: Path
) -> None:
    """As for every other client; an authority that is missing, and an expired certificate, are named."""
    client = ours.issue("client")
    async with MutualTls(ours, temporal_server).serving(ours.issue("server")) as temporal:
        _use(monkeypatch, f"localhost:{temporal.port}", client)
        assert await namespace_id(await _connect())
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(Authority(tmp_path, "another").file))
        untrusted = await _failure()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ours.file))
    async with MutualTls(ours, temporal_server).serving(ours.issue("late", expired=True)) as temporal:
        _use(monkeypatch, f"localhost:{temporal.port}")
        expired = await _failure()
    assert (FailureKind.CERTIFICATE, FailureKind.CERTIFICATE) == (untrusted[0], expired[0])
    assert "not trusted here. If it is your own authority, set SSL_CERT_FILE" in untrusted[1]
    assert "its certificate has expired on 20" in expired[1]


async def test_n7_a_rotated_client_certificate_is_noticed_when_certificate_and_key_are_both_there(
    monkeypatch: pytest.MonkeyPatch, temporal_server: WorkflowEnvironment, ours: Authority
) -> None:
    """With half of the new pair nothing happens; with the whole of it the process connects again, by the new one."""
    old, new = ours.issue("old"), ours.issue("new")
    async with MutualTls(ours, temporal_server).serving(ours.issue("server")) as temporal:
        _use(monkeypatch, f"localhost:{temporal.port}", old)
        watch = TargetWatch(every=timedelta(seconds=0.05))
        watch.note()
        first = await _connect()
        changed = asyncio.create_task(watch.until_changed())
        old[0].write_bytes(new[0].read_bytes())
        with pytest.raises(TemporalUnavailableError, match="do not belong together"):
            await _connect()
        assert not changed.done()
        old[1].write_bytes(new[1].read_bytes())
        await until(changed.done)
        await changed
        assert await namespace_id(await _connect())
        del first
    assert {"old", "new"} == set(temporal.clients)


@pytest.mark.usefixtures("logging_as_before")
async def test_n7_a_running_process_connects_again_with_the_rotated_certificate(
    monkeypatch: pytest.MonkeyPatch, temporal_server: WorkflowEnvironment, ours: Authority
) -> None:
    """Without a restart, and before the old certificate has expired; then it stops as usual."""
    monkeypatch.setattr(renewal, "_EVERY", timedelta(seconds=0.2))
    old, new = ours.issue("old"), ours.issue("new")
    org = SimpleNamespace(org_id=ORG_ID, url="http://localhost:1", client_id="id", client_secret="no", pubsub_url=None)
    erp = SimpleNamespace(url="http://localhost:1", token="token")
    settings = settings_for([cast("SalesforceEmulator", org)], cast("StubErp", erp)).model_copy(
        update={"telemetry": TelemetrySettings(port=0), "subscriber": Subscriber()}
    )
    async with MutualTls(ours, temporal_server).serving(ours.issue("server")) as temporal:
        _use(monkeypatch, f"localhost:{temporal.port}", old)
        running = asyncio.create_task(process.run(settings, [process.Role.SUBSCRIBER]))
        try:
            await until(lambda: "old" in temporal.clients or running.done())
            for before, after in zip(old[:2], new[:2], strict=True):
                before.write_bytes(after.read_bytes())
            await until(lambda: "new" in temporal.clients or running.done())
            assert not running.done()
        finally:
            signal.raise_signal(signal.SIGTERM)
            await running
    assert "new" == temporal.clients[-1]


async def test_n7_an_expired_client_certificate_is_named(
    monkeypatch: pytest.MonkeyPatch, temporal_server: WorkflowEnvironment, ours: Authority
) -> None:
    """Temporal only ends the connection; our own file says why."""
    async with MutualTls(ours, temporal_server).serving(ours.issue("server")) as temporal:
        _use(monkeypatch, f"localhost:{temporal.port}", ours.issue("client", expired=True))
        _, said = await _failure()
    assert "our client certificate has expired on 20" in said


@pytest.mark.parametrize("tls", ["false", "true"])
async def test_n8_a_temporal_that_is_silent_ends_the_attempt(tls: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes connections and says nothing, in TLS not even a handshake; the SDK alone would wait on."""
    kept = []
    async with await asyncio.start_server(lambda *streams: kept.append(streams), "127.0.0.1", 0) as server:
        _use(monkeypatch, f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        monkeypatch.setenv("TEMPORAL_TLS", tls)
        with pytest.raises(TemporalUnavailableError, match=r"gave no answer within 0\.5 s") as failed:
            await connect(PLAIN, patience=timedelta(0), each=timedelta(seconds=0.5))
        for _, writer in kept:
            writer.close()
    why = network_error_in(failed.value)
    assert why is not None
    assert FailureKind.NO_ANSWER is why.kind


async def test_n8_a_temporal_that_takes_no_connection_ends_the_attempt_in_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The system's own time-out is two minutes."""
    with black_hole() as port:
        _use(monkeypatch, f"127.0.0.1:{port}")
        kind, said = await _failure()
    assert FailureKind.CONNECT_TIMEOUT is kind
    assert f"Temporal at 127.0.0.1:{port} cannot be reached: it takes no connection in time" in said
