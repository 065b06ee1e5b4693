"""A proxy between the real adapter and the real ERP that loses answers and holds requests back.

Both sides use plain HTTP, so the checks test the code that runs in production. A held request continues when it is
released, also if its sender has cancelled it, as in a queue, in another proxy or in a suspended worker. The proxy
listens on loopback only, because it passes the ERP's credential on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from http import HTTPStatus
from typing import Final, NamedTuple, Self
from urllib.parse import urlsplit

from aiohttp import web
from yarl import URL

from closedwon.network.failures import NetworkError
from closedwon.network.http import Http

_QUESTIONS: Final = frozenset({"fields_get", "get_access", "get_preferences", "on_change"})
"""Last path segments of POST requests that change nothing (Tryton's)."""
_HOP_BY_HOP: Final = frozenset(
    {"connection", "content-length", "host", "keep-alive", "te", "transfer-encoding", "upgrade"}
)
"""Headers that belong to one connection (RFC 9110, 7.6.1), and those that aiohttp sets itself."""


class _Seen(NamedTuple):
    method: str
    path: str
    body: bytes


class HeldRequest:
    """The next write, held back until `let_go`."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self._released = asyncio.Event()
        self._answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def wait(self) -> None:
        """Called by the proxy: the write has arrived."""
        self.arrived.set()
        await self._released.wait()

    def answered(self, status: int) -> None:
        """Called by the proxy with the status of the ERP's answer; 0 for none."""
        if not self._answered.done():
            self._answered.set_result(status)

    async def let_go(self) -> int:
        """Pass the write on; returns the status of the ERP's answer, 0 for none."""
        self._released.set()
        return await self._answered

    def abandon(self) -> None:
        """Pass the write on and do not wait for the answer."""
        self._released.set()


class Proxy:
    """A proxy before the ERP at `base`. Use `running`."""

    def __init__(self, base: str) -> None:
        parts = urlsplit(base)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._path = parts.path
        self.url = ""
        """The address to use instead of the ERP's."""
        self.statuses: list[int] = []
        """The statuses of the ERP's answers so far."""
        self._losing: set[_Seen] | None = None
        self._most = 0
        self._held: HeldRequest | None = None
        self._http: Http | None = None

    @classmethod
    @asynccontextmanager
    async def running(cls, base: str, longest: timedelta) -> AsyncIterator[Self]:
        """Run a proxy on a free port of loopback; a call of the ERP may take at most `longest`."""
        proxy = cls(base)
        application = web.Application(client_max_size=2**26)
        application.router.add_route("*", "/{path:.*}", proxy._forward)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await runner.setup()
        proxy._http = Http(timeout=longest, decompress=False)
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}{proxy._path}"
            yield proxy
        finally:
            await proxy._http.close()
            await runner.cleanup()

    @contextmanager
    def losing_answers(self, most: int = 10) -> Iterator[set[_Seen]]:
        """Cut the connection after the ERP has answered, once for each distinct write. Yields these writes.

        A write that is repeated with another body, e.g. with a newer version, is a distinct write. At `most` that many
        answers are lost.
        """
        lost: set[_Seen] = set()
        self._losing, self._most = lost, most
        try:
            yield lost
        finally:
            self._losing = None

    @contextmanager
    def holding(self) -> Iterator[HeldRequest]:
        """Hold the next write."""
        self._held = held = HeldRequest()
        try:
            yield held
        finally:
            self._held = None
            held.abandon()

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        seen = _Seen(request.method, request.path, await request.read())
        held = None
        if _is_write(seen):
            held, self._held = self._held, None
        if held is not None:
            await held.wait()
        try:
            response = await self._ask(request, seen)
        except NetworkError:
            response = None
        if held is not None:
            held.answered(0 if response is None else response.status)
        if response is None or self._loses(seen, response.status):
            if request.transport is not None:
                request.transport.abort()
            return web.Response()  # never sent
        return response

    async def _ask(self, request: web.Request, seen: _Seen) -> web.Response:
        assert self._http is not None
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP]
        url = URL(self._origin + request.raw_path, encoded=True)
        answer = await self._http.call(seen.method, url, data=seen.body or None, headers=headers)
        self.statuses.append(answer.status)
        kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP]
        return web.Response(status=answer.status, body=answer.body, headers=dict(kept))

    def _loses(self, seen: _Seen, status: int) -> bool:
        if self._losing is None or seen in self._losing or len(self._losing) >= self._most:
            return False
        if not _is_write(seen) or status >= HTTPStatus.BAD_REQUEST:
            return False
        self._losing.add(seen)
        return True


def _is_write(seen: _Seen) -> bool:
    return seen.method != "GET" and seen.path.rpartition("/")[2] not in _QUESTIONS
