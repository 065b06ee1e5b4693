"""A proxy that loses replies: what is behind it has done its work and committed, and the caller gets no reply."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web


class LosingProxy:
    """Stands before Tryton. A write is known by its last step: `sale.sale` (create), `quote`, `confirm`."""

    def __init__(self, target: str, http: aiohttp.ClientSession) -> None:
        self.url = ""
        self._target = target
        self._http = http
        self._armed: dict[str, asyncio.Future[None]] = {}

    @classmethod
    @asynccontextmanager
    async def before(cls, target: str) -> AsyncIterator[LosingProxy]:
        """A proxy before the server at `target`."""
        async with aiohttp.ClientSession() as http:
            proxy = cls(target, http)
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", proxy._pass_on)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            proxy.url = f"http://localhost:{runner.addresses[0][1]}"
            try:
                yield proxy
            finally:
                await runner.cleanup()

    async def lose_next(self, write: str) -> None:
        """Wait until the next successful write of this kind has been done and its reply dropped."""
        self._armed[write] = asyncio.get_running_loop().create_future()
        await self._armed[write]

    async def _pass_on(self, request: web.Request) -> web.Response:
        headers = {name: value for name, value in request.headers.items() if name not in {"Host", "Content-Length"}}
        body = await request.read()
        try:
            async with self._http.request(
                request.method, self._target + request.raw_path, data=body, headers=headers
            ) as reply:
                content = await reply.read()
        except aiohttp.ClientError:
            return _cut(request)
        armed = self._armed.pop(_write(request.path, body), None) if request.method == "POST" and reply.ok else None
        if armed is not None:
            armed.set_result(None)
            return _cut(request)
        return web.Response(status=reply.status, body=content, headers={"Content-Type": reply.content_type})


def _write(path: str, body: bytes) -> str:
    """`external_change` of our Tryton module carries out several steps; the last one names it."""
    last = path.rpartition("/")[2]
    return str(json.loads(body)["steps"][-1]) if last == "external_change" else last


def _cut(request: web.Request) -> web.Response:
    """Drop the connection; what is returned goes nowhere."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
