"""Networks that misbehave, on real sockets: hosts that take no connection, that trickle, or that a proxy hides."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress

Address = tuple[str, int]


@contextmanager
def black_hole(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A port that takes no connection, and refuses none: what an address behind a firewall that drops packets does.

    Its queue of connections is full, so that the kernel drops every further request for one.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(0)
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)  # noqa: FBT003 - the socket's own parameter
            with suppress(BlockingIOError):
                filler.connect(listener.getsockname())
            fillers.append(filler)
        try:
            yield listener.getsockname()[1]
        finally:
            for filler in fillers:
                filler.close()


class Trickle:
    """Answers every request byte by byte, for as long as anyone waits. `connections` are those that are open now."""

    def __init__(self, body: bytes = b"{" + b" " * 100_000 + b"}", every: float = 0.1) -> None:
        """`every`: seconds between two bytes."""
        self.requests = 0
        self.connections = 0
        self._head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        self._body = body
        self._every = every

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve on a free port of localhost; yields the address."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield f"http://localhost:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            self.requests += 1
            writer.write(self._head)
            for byte in self._body:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(self._every)
        self.connections -= 1
        writer.close()


class ConnectProxy:
    """A proxy for HTTPS. It knows other hosts than the name server does, so that a test may use any name."""

    def __init__(self, hosts: Mapping[str, Address], *, user: str = "", password: str = "", status: int = 200) -> None:
        """`hosts` by `host:port`. With another `status` than 200 every request is refused."""
        self.asked: list[str] = []
        """The hosts that were asked for."""
        self._hosts = hosts
        self._status = status
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._wanted = f"Basic {pair}" if user else ""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve on a free port of loopback; yields `host:port`."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            host = head.split()[1]
            self.asked.append(host)
            status = self._status if self._wanted in head else 407
            if status == 200 and host not in self._hosts:
                status = 502
            writer.write(f"HTTP/1.1 {status} .\r\n\r\n".encode())
            if status == 200:
                there, back = await asyncio.open_connection(*self._hosts[host])
                await asyncio.gather(pump(reader, back), pump(there, writer))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes, until one side ends."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


@asynccontextmanager
async def tls_server(context: ssl.SSLContext, body: bytes = b"{}") -> AsyncIterator[int]:
    """Answers every HTTPS request with `body`; yields the port on loopback."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
