"""Case N4: intake's own certificate is renewed while it runs, and so are the authorities of its clients."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from temporalio.common import MetricMeter

from closedwon.intake.delivery import IntakeError
from closedwon.intake.tls import Handshake, ServerTls
from closedwon.settings import Tls
from closedwon.telemetry.metrics import Metrics
from tests.support.intake import Authority

Pair = tuple[Path, Path, str]


class Greeting(asyncio.Protocol):
    """Says hello after the handshake."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"hello")
        transport.close()


@asynccontextmanager
async def _serving(tls: ServerTls) -> AsyncIterator[int]:
    serve = partial(Handshake, tls, Greeting, Metrics(MetricMeter.noop).tls_failures)
    server = await asyncio.get_running_loop().create_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def _greeted(port: int, authority: Authority, pair: Pair | None = None) -> bool:
    context = ssl.create_default_context(cafile=str(authority.file))
    if pair is not None:
        context.load_cert_chain(pair[0], pair[1])
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
        try:
            return await reader.read() == b"hello"
        finally:
            writer.close()
    except (ssl.SSLError, ConnectionError):
        return False


def _ignore(_: datetime) -> None:
    """When a certificate ends."""


def _replace(old: Pair, new: Pair) -> None:
    for before, after in zip(old[:2], new[:2], strict=True):
        before.write_bytes(after.read_bytes())


async def test_n4_a_renewed_certificate_counts_for_the_next_handshake(tmp_path: Path) -> None:
    """The files are read again when they change, and the end of the new certificate is reported."""
    ours = Authority(tmp_path, "ours")
    used = ours.issue("used", expired=True)
    ends: list[datetime] = []
    tls = ServerTls(Tls(certificate=used[0], key=used[1]), ends.append)
    async with _serving(tls) as port:
        expired = await _greeted(port, ours)
        _replace(used, ours.issue("renewed"))
        renewed = await _greeted(port, ours)
    assert (False, True) == (expired, renewed)
    assert [-1, 1] == [round((at - datetime.now(UTC)) / timedelta(days=1)) for at in ends]


async def test_n4_a_half_made_renewal_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A new certificate without its key is logged once; the old pair serves until the new one is whole."""
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    used, new = ours.issue("used"), theirs.issue("new")
    tls = ServerTls(Tls(certificate=used[0], key=used[1]), _ignore)
    async with _serving(tls) as port:
        used[0].write_bytes(new[0].read_bytes())
        with caplog.at_level(logging.INFO):
            still = [await _greeted(port, ours) for _ in range(2)]
        used[1].write_bytes(new[1].read_bytes())
        whole = await _greeted(port, theirs)
    assert ([True, True], True) == (still, whole)
    assert 1 == sum("stays in use" in record.getMessage() for record in caplog.records)


async def test_n4_a_replaced_client_ca_counts_for_the_next_handshake(tmp_path: Path) -> None:
    """Clients of the new authority are let in, those of the old one are not any more."""
    ours, old, new = Authority(tmp_path, "ours"), Authority(tmp_path, "old"), Authority(tmp_path, "new")
    used = ours.issue("used")
    tls = ServerTls(Tls(certificate=used[0], key=used[1], client_ca=old.file), _ignore)
    pairs = old.issue("client"), new.issue("client")
    async with _serving(tls) as port:
        before = [await _greeted(port, ours, pair) for pair in pairs]
        old.file.write_bytes(new.file.read_bytes())
        after = [await _greeted(port, ours, pair) for pair in pairs]
    assert ([True, False], [False, True]) == (before, after)


def test_files_that_cannot_be_used_at_the_start_are_named(tmp_path: Path) -> None:
    """Intake does not start."""
    certificate, _, _ = Authority(tmp_path, "ours").issue("used")
    with pytest.raises(IntakeError, match=r"the files of intake\.tls cannot be used"):
        ServerTls(Tls(certificate=certificate, key=certificate), _ignore)


def test_p10_a_key_with_a_passphrase_is_named_as_such(tmp_path: Path) -> None:
    """OpenSSL would ask for it at the terminal, and intake would hang, at its start or when the file is replaced."""
    certificate, key, _ = Authority(tmp_path, "ours").issue("used")
    encrypted = load_pem_private_key(key.read_bytes(), password=None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    key.write_bytes(encrypted)
    with pytest.raises(IntakeError, match="encrypted with a passphrase"):
        ServerTls(Tls(certificate=certificate, key=key), _ignore)
