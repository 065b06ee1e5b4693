"""Why a system cannot be reached: name, route, refusal, time, certificate or proxy.

The clients report that they found no connection; this connects once more, a step at a time, and says which step fails.
It sends nothing but what the steps need: the request to a proxy, and the handshake of TLS.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from temporalio.service import TLSConfig

from closedwon.network.proxies import ProxySettingError, proxy_for
from closedwon.network.trust import TrustSettingError, client_context
from closedwon.temporal.target import read_target

_PORTS: Final = {"http": 80, "https": 443}
_TEMPORAL: Final = 7233
_DUAL_STACK: Final = 0.25
"""Seconds after which the next address of a name is tried, too: one of them may be dead."""


class Obstacle(StrEnum):
    """The step that fails."""

    NAME = "name"
    REFUSED = "refused"
    TIMEOUT = "time-out"
    CERTIFICATE = "certificate"
    PROXY = "proxy"

    def hint(self, setting: str) -> str:
        """What to do; `setting` is the key or the variable that has the address."""
        return _HINTS[self].format(setting=setting)


_HINTS: Final[Mapping[Obstacle, str]] = {
    Obstacle.NAME: "Correct the host in `{setting}`, or the name resolution (DNS) of this machine.",
    Obstacle.REFUSED: "Start it, or correct the port in `{setting}`; a firewall may refuse connections, too.",
    Obstacle.TIMEOUT: (
        "Check that it runs and is not overloaded, that `{setting}` is its address, and that a firewall lets this "
        "machine connect. If only a proxy may connect, set HTTPS_PROXY."
    ),
    Obstacle.CERTIFICATE: (
        "Renew the certificate of the server that `{setting}` names, or let this machine trust its authority "
        "(SSL_CERT_FILE)."
    ),
    Obstacle.PROXY: "Correct HTTPS_PROXY, or name the host of `{setting}` in NO_PROXY if it needs no proxy.",
}


class Endpoint(NamedTuple):
    """Where to connect."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    """None: without TLS."""
    server_name: str | None = None
    """The name that its certificate must have, if it is not `host`."""
    proxy: str | None = None
    """The address of the proxy in between, as HTTPS_PROXY has it."""

    @property
    def where(self) -> str:
        """For people."""
        return f"{self.host}:{self.port}"

    @classmethod
    def of(cls, url: str) -> Endpoint:
        """The endpoint of a URL of the settings, with the proxy that the environment names for it."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        is_tls = parts.scheme == "https"
        return cls(
            host,
            parts.port or _PORTS.get(parts.scheme, 443),
            _context() if is_tls else None,
            proxy=_proxy(url),
        )

    @classmethod
    def of_temporal(cls) -> Endpoint:
        """The endpoint of Temporal. Raises `TemporalUnavailableError` if its own settings are wrong."""
        config = read_target()
        host, _, number = config["target_host"].rpartition(":")
        port = int(number) if number.isdecimal() else _TEMPORAL
        tls = config["tls"]
        proxy = _proxy(f"https://{config['target_host']}")
        if not tls:
            return cls(host, port, proxy=proxy)
        context, name = _context(), None
        if isinstance(tls, TLSConfig):
            name = tls.domain
            if tls.server_root_ca_cert:
                context = ssl.create_default_context(cadata=tls.server_root_ca_cert.decode())
        return cls(host, port, context, server_name=name, proxy=proxy)


class Blocked(NamedTuple):
    """The step that fails, and what it says. No text of a remote system is in it, and no credential."""

    obstacle: Obstacle
    text: str


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for an address; None for an unusable one, which the clients report."""
    try:
        proxy = proxy_for(url)
    except ProxySettingError:
        return None
    return proxy.url if proxy is not None else None


def _context() -> ssl.SSLContext:
    """The context of the clients; if the authorities of the environment cannot be read, the machine's."""
    try:
        return client_context()
    except TrustSettingError:
        return ssl.create_default_context()


async def blocked(endpoint: Endpoint, *, patience: float) -> Blocked | None:
    """Connect and hang up; return what fails, or None if nothing does. Takes `patience` seconds at most.

    A server that accepts a connection and then says nothing is not found here: it is found by the question to it.
    """
    step = _Steps(endpoint)
    try:
        async with asyncio.timeout(patience):
            await step.take_all()
    except TimeoutError:
        return Blocked(step.obstacle or Obstacle.TIMEOUT, f"{step.doing} got no answer within {patience:g} s")
    except (OSError, asyncio.IncompleteReadError, _ProxyError) as error:  # of OSError: names, and all of TLS
        return step.blocked_by(error)
    finally:
        step.close()
    return None


class _ProxyError(Exception):
    """The proxy does not let us through."""


class _Steps:
    """One connection, and which step of it is being taken."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._writer: asyncio.StreamWriter | None = None
        proxy = urlsplit(endpoint.proxy) if endpoint.proxy is not None else None
        self._host = endpoint.host if proxy is None else proxy.hostname or ""
        self._port = endpoint.port if proxy is None else proxy.port or _PORTS.get(proxy.scheme, 80)
        self.obstacle = None if proxy is None else Obstacle.PROXY
        """What a failure of this step means, whatever it is."""
        self.doing = f"the connection to {'the proxy ' if proxy is not None else ''}{self._host}:{self._port}"

    async def take_all(self) -> None:
        await self._connect()
        if self._endpoint.proxy is not None:
            await self._ask_proxy()
        if self._endpoint.tls is not None:
            await self._shake_hands(self._endpoint.tls)

    def blocked_by(self, error: Exception) -> Blocked:
        where = self._endpoint.where
        match error:
            case ssl.SSLCertVerificationError():
                text = f"the certificate of {where} is not valid: {error.verify_message}"
                return Blocked(Obstacle.CERTIFICATE, text)
            case ssl.SSLError():
                why = (error.reason or "no common protocol").lower().replace("_", " ")
                return Blocked(Obstacle.CERTIFICATE, f"the TLS handshake with {where} fails: {why}")
            case socket.gaierror():
                text = f"the name {self._host} is not known to this machine's DNS"
                return Blocked(self.obstacle or Obstacle.NAME, text)
            case _ProxyError():
                return Blocked(Obstacle.PROXY, str(error))
            case _:
                return Blocked(self.obstacle or Obstacle.REFUSED, f"{self.doing} {_reason(error)}")

    async def _connect(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(
            self._host, self._port, happy_eyeballs_delay=_DUAL_STACK
        )

    async def _ask_proxy(self) -> None:
        """Ask the proxy for a connection, without credentials: 407 says that it works, and wants some."""
        assert self._writer is not None
        where = self._endpoint.where
        self._writer.write(f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n\r\n".encode())
        self.doing = f"the proxy {self._host}:{self._port}, asked for {where},"
        head = await self._reader.readuntil(b"\r\n\r\n")
        status = head.split(b" ", 2)[1][:3].decode("ascii", "replace") if b" " in head else "?"
        if status != "200":
            raise _ProxyError(
                f"the proxy {self._host}:{self._port} refuses a connection to {where} with status {status}"
            )
        self.obstacle = None

    async def _shake_hands(self, context: ssl.SSLContext) -> None:
        assert self._writer is not None
        self.doing = f"the TLS handshake with {self._endpoint.where}"
        name = self._endpoint.server_name or self._endpoint.host
        await self._writer.start_tls(context, server_hostname=name)

    def close(self) -> None:
        if self._writer is not None:
            with suppress(OSError):
                self._writer.transport.abort()


def _reason(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error):
        return "is refused"
    if isinstance(error, OSError) and not isinstance(error, ConnectionError) and error.strerror:
        return f"fails: {error.strerror.lower()}"
    return "is closed at once"
