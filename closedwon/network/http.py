"""One HTTP call with one deadline: `Http`, which every client uses.

The deadline is for the whole call: the wait for a connection, the connection, the request and all bytes of the answer.
A time limit between two bytes would be none: a server that sends a byte a second could hold a call for hours. When the
deadline passes, the connection is closed, and the caller goes on.

A host's addresses are tried side by side (RFC 8305), so that a dead first address, or IPv6 that leads nowhere, costs a
quarter of a second. A connection that is idle, or held by a long poll, sends TCP keep-alive probes: firewalls do not
forget it, and a dead one is noticed within a minute. A request is sent once, never repeated, unless it only reads.
"""

from __future__ import annotations

import asyncio
import json as jsons
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from types import SimpleNamespace, TracebackType
from typing import Any, Final, NamedTuple, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from multidict import CIMultiDictProxy
from yarl import URL

from closedwon.network.failures import FailureKind, NameServerError, NetworkError, explain, explain_certificate
from closedwon.network.peers import shown_by
from closedwon.network.proxies import Proxy, ProxySettingError, proxy_for
from closedwon.network.trust import ClientCertificate, ClientContexts, TrustSettingError, client_context

CONNECT_TIMEOUT: Final = timedelta(seconds=10)
"""For looking a name up, and then for a connection with its TLS handshake, to all addresses of a host together. Part of
the call's deadline."""
KEEP_ALIVE_AFTER: Final = 30
"""Seconds without a byte until the first probe; firewalls forget connections after a minute or more."""
_PROBE_EVERY: Final = 10
_PROBES: Final = 3
"""Seconds between two unanswered probes, and how many end a connection."""
_SAFE_TO_REPEAT: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Reply(NamedTuple):
    """A whole answer."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Whether the status is not an error."""
        return self.status < 400  # noqa: PLR2004 - the first error

    def json(self) -> Any:
        """The parsed body. Raises `ValueError` if it is not JSON."""
        return jsons.loads(self.body)


class Http:
    """HTTP calls of one client, in one event loop. Opens connections at the first call; `close` it, or use a block."""

    def __init__(
        self,
        *,
        timeout: timedelta,
        cookies: bool = False,
        decompress: bool = True,
        certificate: ClientCertificate | None = None,
    ) -> None:
        """`timeout` is the deadline of each call; `cookies` keeps what servers set, as sessions need it.

        `certificate` is shown to servers that ask for one.
        """
        self._contexts = client_context if certificate is None else ClientContexts(certificate).current
        self._timeout = timeout
        self._cookies = cookies
        self._decompress = decompress
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Use it in a block, and close it at its end."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        await self.close()

    async def call(
        self,
        method: str,
        url: str | URL,
        *,
        params: Any = None,
        data: Any = None,
        json: Any = None,
        headers: Mapping[str, str] | list[tuple[str, str]] | None = None,
        deadline: timedelta | None = None,
    ) -> Reply:
        """Send a request and return the whole answer, whatever its status. Follows no redirect.

        `deadline` replaces the client's for this call. Raises `NetworkError` if there is no whole answer in time.
        """
        address = str(url)
        seconds = (deadline or self._timeout).total_seconds()
        proxy, context = self._rules(address)
        progress = _Progress()
        try:
            async with asyncio.timeout(seconds):
                async with self._open().request(
                    method,
                    url,
                    params=params,
                    data=data,
                    json=json,
                    headers=headers,
                    allow_redirects=False,
                    ssl=context,
                    proxy=proxy.url if proxy is not None else None,
                    proxy_headers=proxy.headers if proxy is not None else None,
                    trace_request_ctx=progress,
                ) as response:
                    body = await response.read()
                return Reply(response.status, response.headers, body, response.reason or "")
        except aiohttp.ClientConnectorCertificateError as error:
            reason, cause = error.certificate_error, error
        except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
            raise explain(error, address, proxy, seconds, during=progress.waits_for) from error
        shown = await shown_by(self._open(), address, proxy)
        raise explain_certificate(_as_certificate_error(reason), address, proxy, shown) from cause

    async def certificate_of(self, url: str) -> x509.Certificate | None:
        """Return the certificate that the server at an https address shows, valid or not; None if none within seconds.

        Raises `NetworkError` for an unusable setting of the network only.
        """
        proxy, _ = self._rules(url)
        return await shown_by(self._open(), url, proxy)

    async def close(self) -> None:
        """Close all connections; calls that are under way end with `NetworkError`. A later call opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _rules(self, url: str) -> tuple[Proxy | None, ssl.SSLContext]:
        try:
            return proxy_for(url), self._contexts()
        except ProxySettingError as error:
            raise NetworkError(FailureKind.SETTING, str(error)) from error
        except TrustSettingError as error:
            raise NetworkError(FailureKind.SETTING, str(error), hint=error.hint) from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(socket_factory=_new_socket, resolver=_Resolver()),
                cookie_jar=aiohttp.CookieJar(unsafe=True) if self._cookies else aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT.total_seconds()),
                auto_decompress=self._decompress,
                middlewares=(_once,),
                trace_configs=[_traces()],
                trust_env=False,
            )
        return self._session


def _as_certificate_error(error: Exception) -> ssl.CertificateError:
    return error if isinstance(error, ssl.CertificateError) else ssl.CertificateError(str(error))


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Send a write once. aiohttp repeats a PUT if the connection breaks, and one of both requests may arrive late."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        if request.method in _SAFE_TO_REPEAT:
            raise
        raise aiohttp.ClientPayloadError(type(error).__name__) from error


class _Progress:
    """How far a call is."""

    waits_for: FailureKind | None = None
    """What has failed if the deadline passes now, and nothing was sent; None otherwise."""


def _traces() -> aiohttp.TraceConfig:
    """Let aiohttp note the progress of each call."""

    def note(kind: FailureKind | None) -> Callable[[aiohttp.ClientSession, SimpleNamespace, Any], Awaitable[None]]:
        async def noted(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: Any) -> None:
            if context.trace_request_ctx is not None:
                context.trace_request_ctx.waits_for = kind

        return noted

    traces = aiohttp.TraceConfig()
    traces.on_connection_create_start.append(note(FailureKind.CONNECT_TIMEOUT))
    traces.on_dns_resolvehost_start.append(note(FailureKind.NAME))
    traces.on_dns_resolvehost_end.append(note(FailureKind.CONNECT_TIMEOUT))
    traces.on_connection_create_end.append(note(None))
    return traces


def _new_socket(address: Any) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    values = {
        "TCP_KEEPIDLE" if hasattr(socket, "TCP_KEEPIDLE") else "TCP_KEEPALIVE": KEEP_ALIVE_AFTER,
        "TCP_KEEPINTVL": _PROBE_EVERY,
        "TCP_KEEPCNT": _PROBES,
    }
    for name, value in values.items():
        with suppress(OSError, AttributeError):  # not every system has all of them
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made


class _Resolver(AbstractResolver):
    """Looks names up in a thread that no one waits for: a dead name server would delay the end of the process."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses in the order of the system's preference. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[Any]] = loop.create_future()

        def note(addresses: list[Any], error: OSError | None) -> None:
            if found.done():
                return
            if error is None:
                found.set_result(addresses)
            else:
                found.set_exception(error)

        def look_up() -> None:
            addresses: list[Any] = []
            failure: OSError | None = None
            try:
                addresses = socket.getaddrinfo(
                    host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
                )
            except OSError as error:
                failure = error
            except UnicodeError:
                failure = OSError(None, "it is not a valid name")
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(note, addresses, failure)

        threading.Thread(target=look_up, name=f"name-{host}", daemon=True).start()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT.total_seconds()):
                addresses = await found
        except TimeoutError:
            raise NameServerError from None
        return [
            ResolveResult(
                hostname=host,
                host=address[0] if len(address) < 4 or not address[3] else f"{address[0]}%{address[3]}",  # noqa: PLR2004
                port=address[1],
                family=of,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for of, _, protocol, _, address in addresses
        ]

    async def close(self) -> None:
        """Nothing to release."""
