"""One call, on real sockets: its deadline, and what is said when it fails."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from closedwon.network import http as module
from closedwon.network.failures import FailureKind, NetworkError
from closedwon.network.http import Http
from tests.support.intake import Authority
from tests.support.network import ConnectProxy, Trickle, black_hole, tls_server
from tests.support.salesforce import serving
from tests.support.waiting import until

SHORT = timedelta(seconds=0.5)
HOST = "erp.example.com"


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    """A client with a short deadline."""
    async with Http(timeout=SHORT) as client:
        yield client


@pytest.fixture
async def patient() -> AsyncIterator[Http]:
    """A client whose deadline no test reaches."""
    async with Http(timeout=timedelta(minutes=5)) as client:
        yield client


def _server(pair: tuple[Path, Path, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair[0], pair[1])
    return context


async def _failure(http: Http, url: str) -> NetworkError:
    with pytest.raises(NetworkError) as failed:
        await http.call("GET", url)
    return failed.value


@asynccontextmanager
async def _behind_proxy(
    monkeypatch: pytest.MonkeyPatch, pair: tuple[Path, Path, str], credential: str = "", **proxy: object
) -> AsyncIterator[ConnectProxy]:
    """A server at `HOST`, which only the proxy of the environment knows."""
    async with tls_server(_server(pair), b'{"from": "behind"}') as port:
        connect = ConnectProxy({f"{HOST}:443": ("127.0.0.1", port)}, **proxy)  # type: ignore[arg-type]
        async with connect.serving() as address:
            monkeypatch.setenv("HTTPS_PROXY", f"http://{credential}{address}")
            yield connect


async def test_n2_the_deadline_is_for_the_whole_answer(http: Http) -> None:
    """A byte now and then does not keep a call alive; its connection is closed."""
    server = Trickle()
    async with server.serving() as url:
        began = time.monotonic()
        failed = await _failure(http, url)
        took = time.monotonic() - began
        await until(lambda: server.connections == 0)
    assert (FailureKind.NO_ANSWER, True) == (failed.kind, failed.was_sent)
    assert "localhost gave no whole answer within 0.5 s" == str(failed)
    assert SHORT.total_seconds() <= took


async def test_n8_a_host_that_takes_no_connection_ends_the_call_after_the_connect_timeout(
    monkeypatch: pytest.MonkeyPatch, patient: Http
) -> None:
    """Nothing was sent then."""
    monkeypatch.setattr(module, "CONNECT_TIMEOUT", timedelta(seconds=0.3))
    with black_hole() as port:
        failed = await _failure(patient, f"http://127.0.0.1:{port}")
    assert (FailureKind.CONNECT_TIMEOUT, False) == (failed.kind, failed.was_sent)
    assert "127.0.0.1 takes no connection in time" == str(failed)


async def test_n8_a_deadline_that_passes_before_there_is_a_connection_has_sent_nothing(http: Http) -> None:
    """The client's deadline may be shorter than the connect timeout; then, too, the outcome is known."""
    with black_hole() as port:
        failed = await _failure(http, f"http://127.0.0.1:{port}")
    assert (FailureKind.CONNECT_TIMEOUT, False) == (failed.kind, failed.was_sent)
    assert "127.0.0.1 takes no connection within 0.5 s" == str(failed)


async def test_n8_a_dead_first_address_does_not_delay_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next address is tried before the first one has failed: that would be after the connect timeout."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="here")

    real = socket.getaddrinfo
    async with serving({"GET /": answer}) as url:
        port = int(url.rpartition(":")[2])
        with black_hole("127.0.0.2", port):

            def two(host: str, *args: Any, **options: Any) -> object:
                if host != "two.localhost":
                    return real(host, *args, **options)
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in ("127.0.0.2", "127.0.0.1")]

            monkeypatch.setattr(socket, "getaddrinfo", two)
            async with Http(timeout=module.CONNECT_TIMEOUT * 0.8) as http:
                assert b"here" == (await http.call("GET", f"http://two.localhost:{port}/")).body


async def test_r9_a_name_server_that_does_not_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, patient: Http
) -> None:
    """It counts as connecting; the thread that asks it ends with the process."""
    monkeypatch.setattr(module, "CONNECT_TIMEOUT", SHORT)
    release = asyncio.Event()
    loop = asyncio.get_running_loop()
    threads: list[bool] = []

    def dead(*_: object, **__: object) -> object:
        import threading  # noqa: PLC0415 - only here

        threads.append(threading.current_thread().daemon)
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", dead)
    failed = await _failure(patient, "https://erp.example.com")
    release.set()
    assert (FailureKind.NAME, "no name server answers for erp.example.com") == (failed.kind, str(failed))
    assert [True] == threads


async def test_connections_send_keep_alive_probes(monkeypatch: pytest.MonkeyPatch, patient: Http) -> None:
    """So that firewalls do not forget them, and a dead one is noticed."""
    made: list[socket.socket] = []

    def note(address: object) -> socket.socket:
        made.append(new(address))
        return made[-1]

    async def answer(_: web.Request) -> web.Response:
        options = {
            name: made[0].getsockopt(level, getattr(socket, name))
            for level, name in ((socket.SOL_SOCKET, "SO_KEEPALIVE"), (socket.IPPROTO_TCP, "TCP_KEEPIDLE"))
        }
        return web.json_response(options)

    new = module._new_socket
    monkeypatch.setattr(module, "_new_socket", note)
    async with serving({"GET /": answer}) as url:
        options = (await patient.call("GET", url)).json()
    assert {"SO_KEEPALIVE": 1, "TCP_KEEPIDLE": 30} == options


async def test_refused_and_unknown_are_distinguished(patient: Http, unused_tcp_port: int) -> None:
    """A name without an address, and a port where no server listens."""
    refused = await _failure(patient, f"http://localhost:{unused_tcp_port}")
    unknown = await _failure(patient, "https://no-such-host.invalid/secret")
    assert (FailureKind.REFUSED, "localhost refuses the connection") == (refused.kind, str(refused))
    assert (FailureKind.NAME, "the name no-such-host.invalid has no address") == (unknown.kind, str(unknown))


async def test_a_broken_connection_may_have_carried_the_request(patient: Http) -> None:
    """The outcome of such a call is unknown."""

    async def cut(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with serving({"POST /": cut}) as url:
        with pytest.raises(NetworkError) as failed:
            await patient.call("POST", url, json={})
    assert (FailureKind.BROKEN, True) == (failed.value.kind, failed.value.was_sent)


async def test_n5_calls_go_through_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, ours: Authority, trusted: Path, patient: Http
) -> None:
    """With its credential; loopback and `NO_PROXY` do not."""
    del trusted
    pair = ours.issue("behind", host=HOST)
    async with _behind_proxy(monkeypatch, pair, "me:p%40ss@", user="me", password="p@ss") as proxy:
        reply = await patient.call("GET", f"https://{HOST}/")
    assert ({"from": "behind"}, [f"{HOST}:443"]) == (reply.json(), proxy.asked)


@pytest.mark.parametrize(
    ("credential", "proxy", "said"),
    [
        ("me:wrong@", {"user": "me", "password": "right"}, f"wants another credential for {HOST}"),
        ("", {"status": 403}, f"answers 403 for {HOST}"),
    ],
)
async def test_n5_a_proxy_that_refuses_is_named(
    monkeypatch: pytest.MonkeyPatch,
    ours: Authority,
    patient: Http,
    credential: str,
    proxy: dict[str, object],
    said: str,
) -> None:
    """The text says who refuses what, and shows no credential."""
    pair = ours.issue("behind", host=HOST)
    async with _behind_proxy(monkeypatch, pair, credential, **proxy) as connect:
        failed = await _failure(patient, f"https://{HOST}/")
    assert (FailureKind.PROXY, False) == (failed.kind, failed.was_sent)
    assert str(failed).endswith(f" of HTTPS_PROXY {said}")
    assert "me:" not in str(failed)
    assert connect.asked
    assert "HTTPS_PROXY" in failed.hint


async def test_n5_a_proxy_that_is_away_is_named(
    monkeypatch: pytest.MonkeyPatch, patient: Http, unused_tcp_port: int
) -> None:
    """It is not the host that refuses the connection."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{unused_tcp_port}")
    failed = await _failure(patient, f"https://{HOST}/")
    said = f"the proxy 127.0.0.1:{unused_tcp_port} of HTTPS_PROXY cannot be reached: connection refused"
    assert (FailureKind.PROXY, said) == (failed.kind, str(failed))


async def test_n6_an_expired_certificate_is_described(ours: Authority, trusted: Path, patient: Http) -> None:
    """Since when, whose, and by which authority."""
    del trusted
    async with tls_server(_server(ours.issue("late", expired=True))) as port:
        failed = await _failure(patient, f"https://localhost:{port}")
    assert FailureKind.CERTIFICATE is failed.kind
    assert str(failed).startswith("the certificate of localhost has expired on 20")
    assert str(failed).endswith(" UTC (CN=late, issued by CN=Corporate CA)")


async def test_n6_an_unknown_authority_is_described(
    monkeypatch: pytest.MonkeyPatch, ours: Authority, tmp_path: Path, patient: Http
) -> None:
    """OpenSSL's own message, the authority that is missing, and where to add it; also behind a proxy."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(Authority(tmp_path, "another").file))
    async with _behind_proxy(monkeypatch, ours.issue("inspected", host=HOST)):
        failed = await _failure(patient, f"https://{HOST}")
    said = (
        f"the certificate of {HOST} is from an authority that is not trusted here: unable to get local issuer "
        "certificate (CN=inspected, issued by CN=Corporate CA, through the proxy 127.0.0.1:"
    )
    assert str(failed).startswith(said)
    assert (FailureKind.CERTIFICATE, False) == (failed.kind, failed.was_sent)
    assert "set SSL_CERT_FILE" in failed.hint


async def test_a_certificate_for_another_name_is_described(ours: Authority, trusted: Path, patient: Http) -> None:
    """The names that it is for."""
    del trusted
    async with tls_server(_server(ours.issue("other", host=HOST))) as port:
        failed = await _failure(patient, f"https://localhost:{port}")
    said = f"the certificate of localhost is for other names: {HOST} (CN=other, issued by CN=Corporate CA)"
    assert (FailureKind.CERTIFICATE, said) == (failed.kind, str(failed))


async def test_n6_an_authority_that_is_added_counts_for_the_next_connection(
    monkeypatch: pytest.MonkeyPatch, ours: Authority, tmp_path: Path, patient: Http
) -> None:
    """The process need not be restarted. A file that is damaged later takes nothing away."""
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(Authority(tmp_path, "another").file.read_bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    async with tls_server(_server(ours.issue("fine"))) as port:
        failed = await _failure(patient, f"https://localhost:{port}")
        bundle.write_bytes(bundle.read_bytes() + ours.file.read_bytes())
        added = await patient.call("GET", f"https://localhost:{port}")
        bundle.write_text("no certificate at all")
        damaged = await patient.call("GET", f"https://localhost:{port}")
    assert FailureKind.CERTIFICATE is failed.kind
    assert (200, 200) == (added.status, damaged.status)


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "cannot be read: No such file"), ("empty", "it is not a list of certificates in PEM form")],
)
async def test_authorities_that_cannot_be_read_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, patient: Http, content: str | None, said: str
) -> None:
    """The variable, the file and the reason."""
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_text(content)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    failed = await _failure(patient, f"https://{HOST}")
    assert FailureKind.SETTING is failed.kind
    assert f"REQUESTS_CA_BUNDLE ({bundle})" in str(failed)
    assert said in str(failed)
