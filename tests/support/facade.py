"""A facade in front of the stub ERP that a test can let do anything: a proxy with one hook."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from closedwon.emulators.erp.stub import StubErp

Hook = Callable[["Facade", web.Request, bytes], Awaitable[web.StreamResponse | None]]


class Facade:
    """Forwards to the stub ERP what its hook does not answer."""

    def __init__(self, stub: StubErp, hook: Hook) -> None:
        self.stub, self.hook = stub, hook
        self.token, self.url = stub.token, ""
        self.tasks: set[asyncio.Task[Any]] = set()

    async def forward(self, method: str, path: str, body: bytes, headers: Any) -> tuple[int, bytes]:
        """Send to the ERP; status and body."""
        kept = {name: headers[name] for name in ("Authorization", "Idempotency-Key", "If-Match") if name in headers}
        kept["Content-Type"] = "application/json"
        async with aiohttp.request(method, self.stub.url + path, data=body or None, headers=kept) as answer:
            return answer.status, await answer.read()

    def later(self, seconds: float, method: str, path: str, body: bytes, headers: Any) -> None:
        """Let it take effect later."""

        async def go() -> None:
            await asyncio.sleep(seconds)
            await self.forward(method, path, body, headers)

        task = asyncio.create_task(go())
        self.tasks.add(task)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        answer = await self.hook(self, request, body)
        if answer is not None:
            return answer
        status, content = await self.forward(request.method, request.path_qs, body, request.headers)
        return web.Response(status=status, body=content, content_type="application/json")


@asynccontextmanager
async def facade(stub: StubErp, hook: Hook) -> AsyncIterator[Facade]:
    """Serve it."""
    there = Facade(stub, hook)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", there.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    there.url = f"http://localhost:{runner.addresses[0][1]}"
    try:
        yield there
    finally:
        for task in there.tasks:
            task.cancel()
        await runner.cleanup()
