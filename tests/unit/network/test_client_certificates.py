"""The certificate that a call shows to a server that wants to know who calls, on real sockets."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import SecretStr, ValidationError

from closedwon.erp.errors import UnknownError
from closedwon.erp.rest import RestAdapter
from closedwon.network import trust
from closedwon.network.failures import FailureKind, NetworkError
from closedwon.network.http import Http
from closedwon.network.trust import ClientCertificate
from closedwon.settings import RestErp
from tests.support.intake import Authority
from tests.support.network import tls_server

_PATIENT = timedelta(minutes=5)
Pair = tuple[Path, Path, str]


def _shown(pair: Pair) -> ClientCertificate:
    return ClientCertificate(pair[0], pair[1], "`client_cert` and `client_key` of erps[stub]")


@asynccontextmanager
async def _asking(server: Authority, clients: Authority) -> AsyncIterator[str]:
    """An ERP that accepts clients of one authority only, and answers with the name in their certificate."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (((_, name),),) = writer.get_extra_info("peercert")["subject"]
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(name)}\r\n\r\n{name}".encode())
        writer.close()

    there = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=_context(server, clients))
    try:
        yield f"https://localhost:{there.sockets[0].getsockname()[1]}/"
    finally:
        there.close()


def _context(server: Authority, clients: Authority) -> ssl.SSLContext:
    certificate, key, _ = server.issue("erp")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(clients.file))
    context.load_cert_chain(certificate, key)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@contextmanager
def _refusing(context: ssl.SSLContext) -> Iterator[str]:
    """A server that says in TLS why it refuses a client, as most do; those of asyncio say nothing."""

    def refuse(connection: socket.socket) -> None:
        secured = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with suppress(ssl.SSLError):
            secured.do_handshake()
        plain = socket.socket(fileno=secured.detach())
        plain.shutdown(socket.SHUT_WR)
        while plain.recv(4096):
            pass
        plain.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve_two() -> None:
            for _ in range(2):
                refuse(listener.accept()[0])

        thread = threading.Thread(target=serve_two)
        thread.start()
        yield f"https://localhost:{listener.getsockname()[1]}/"
        thread.join()


@pytest.mark.usefixtures("trusted")
async def test_a_renewed_client_certificate_counts_for_the_next_call(
    ours: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One whose key is not there yet changes nothing, and is logged once."""
    clients = Authority(tmp_path, "clients")
    used, renewed = clients.issue("used"), clients.issue("renewed")
    async with _asking(ours, clients) as url, Http(timeout=_PATIENT, certificate=_shown(used)) as http:
        seen = [(await http.call("GET", url)).body]
        used[0].write_bytes(renewed[0].read_bytes())
        with caplog.at_level(logging.WARNING):
            seen += [(await http.call("GET", url)).body for _ in range(2)]
        used[1].write_bytes(renewed[1].read_bytes())
        seen.append((await http.call("GET", url)).body)
    assert [b"used"] * 3 + [b"renewed"] == seen
    assert 1 == sum("the key is not that of the certificate" in one.getMessage() for one in caplog.records)


@pytest.mark.usefixtures("trusted")
async def test_an_erp_is_shown_the_certificate_of_its_settings(ours: Authority, tmp_path: Path) -> None:
    """With its token; without the certificate it has not answered."""
    clients = Authority(tmp_path, "clients")
    certificate, key, _ = clients.issue('{"orders": []}')
    async with _asking(ours, clients) as url:
        erp = RestErp(
            kind="rest",
            name="stub",
            url=url.rstrip("/"),
            token=SecretStr("token"),
            client_cert=certificate,
            client_key=key,
        )
        for settings, answers in ((erp, True), (erp.model_copy(update={"client_cert": None}), False)):
            adapter = RestAdapter(settings)
            try:
                with nullcontext() if answers else pytest.raises(UnknownError):
                    assert "accepts the token" in await adapter.check()
            finally:
                await adapter.close()


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"client_key": None}, "set both, or none"), ({"url": "http://localhost:1"}, "needs an https:// address")],
)
def test_half_a_certificate_is_refused_with_the_settings(changes: dict[str, object], said: str) -> None:
    """The files themselves are read by the processes that call the ERP only."""
    whole: dict[str, object] = {
        "kind": "rest",
        "name": "stub",
        "url": "https://erp.example.com",
        "client_cert": "a.crt",
    }
    whole |= {"client_key": "a.key", "token": SecretStr("t")}
    RestErp.model_validate(whole)
    with pytest.raises(ValidationError, match=said):
        RestErp.model_validate({**whole, **changes})


@pytest.mark.usefixtures("trusted")
async def test_a_server_that_wants_another_certificate_or_any_is_named(ours: Authority, tmp_path: Path) -> None:
    """The hint is about the certificate, not about a broken connection."""
    clients, strangers = Authority(tmp_path, "clients"), Authority(tmp_path, "strangers")
    with _refusing(_context(ours, clients)) as url:
        for certificate in (None, _shown(strangers.issue("stranger"))):
            async with Http(timeout=_PATIENT, certificate=certificate) as http:
                with pytest.raises(NetworkError, match="localhost") as refused:
                    await http.call("POST", url)  # a GET would be repeated
            assert "client_cert" in refused.value.hint


@pytest.mark.parametrize("case", ["missing", "encrypted", "not PEM"])
async def test_files_that_cannot_be_used_are_named_with_their_setting(tmp_path: Path, case: str) -> None:
    """Nothing is sent, and no passphrase is asked for at a terminal."""
    pair = Authority(tmp_path, "clients").issue("used")
    if case == "missing":
        pair[1].unlink()
    elif case == "encrypted":
        key = load_pem_private_key(pair[1].read_bytes(), password=None)
        secret = serialization.BestAvailableEncryption(b"secret")
        form = serialization.PrivateFormat.PKCS8
        pair[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, secret))
    else:
        pair[1].write_text("no key", encoding="utf-8")
    async with Http(timeout=_PATIENT, certificate=_shown(pair)) as http:
        with pytest.raises(NetworkError, match=r"erps\[stub\] .* cannot be used") as refused:
            await http.call("GET", "https://localhost:1/")
    assert (FailureKind.SETTING, False) == (refused.value.kind, refused.value.was_sent)
    assert "Correct `client_cert` and `client_key` of erps[stub]." == refused.value.hint
    assert {"missing": "cannot be read", "encrypted": "passphrase", "not PEM": "PEM"}[case] in str(refused.value)


async def test_n6_an_authority_that_is_added_to_the_machines_counts_for_the_next_call(
    ours: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with `update-ca-certificates`: without any variable of ours, and without a restart."""
    usual = tmp_path / "usual.pem"
    usual.write_bytes(Authority(tmp_path, "usual").file.read_bytes())
    monkeypatch.setattr(trust, "DEFAULT_CA_BUNDLE_PATH", str(usual))
    certificate, key, _ = ours.issue("erp")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    async with tls_server(context) as port, Http(timeout=_PATIENT) as http:
        with pytest.raises(NetworkError, match="not trusted here"):
            await http.call("GET", f"https://localhost:{port}/")
        with usual.open("ab") as more:
            more.write(ours.file.read_bytes())
        assert 200 == (await http.call("GET", f"https://localhost:{port}/")).status
