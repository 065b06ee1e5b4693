"""A proxy between the adapter and a real Tryton that can forget what is asked, hold a request back, or lose an answer.

A request that is held goes on to Tryton when it is released, whether or not its sender has given it up meanwhile: as
in a queue, a proxy or a frozen worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from aiohttp import ClientSession, web

from closedwon.erp.tryton import TrytonAdapter
from tests.integration.erp.worlds import TrytonProcess

Params = list[tuple[str, str]]


class Hooks:
    """What happens to requests on their way. This one passes everything on."""

    async def before(self, _path: str, _body: str, params: Params) -> Params:
        """Take the last part of the path, the body and the parameters of a request; return its parameters."""
        return params

    def after(self, body: str, answer: str) -> None:
        """Take the body of a request and of Tryton's answer to it."""


class Held(Hooks):
    """Holds the first request with `text` in its body until its sender has given it up and others have acted."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._arrived = asyncio.Event()
        self._released = asyncio.Event()
        self._answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._body: str | None = None

    async def before(self, _path: str, body: str, params: Params) -> Params:
        """Wait, once."""
        if self._text in body and self._body is None:
            self._body = body
            self._arrived.set()
            await self._released.wait()
        return params

    def after(self, body: str, answer: str) -> None:
        """Keep what Tryton said to the late request."""
        if body is self._body:
            self._answer.set_result(answer)

    async def give_up(self, attempt: asyncio.Task[object]) -> None:
        """End the attempt once its request has been sent and not answered."""
        await self._arrived.wait()
        attempt.cancel()
        with suppress(asyncio.CancelledError):
            await attempt

    async def arrive(self) -> str:
        """Let the request go on; returns Tryton's answer to it."""
        self._released.set()
        return await self._answer


@asynccontextmanager
async def behind_proxy(tryton: TrytonProcess, hooks: Hooks) -> AsyncIterator[TrytonAdapter]:
    """An adapter whose requests pass `hooks` before Tryton gets them."""

    async def forward(request: web.Request) -> web.Response:
        body = await request.text()
        params = await hooks.before(request.path.rpartition("/")[2], body, list(request.query.items()))
        wanted = ("Authorization", "Content-Type", "X-Tryton-Context")
        headers = {name: request.headers[name] for name in wanted if name in request.headers}
        url = tryton.facts["url"].rpartition("/")[0] + request.path
        async with session.request(request.method, url, params=params, data=body, headers=headers) as answer:
            text = await answer.text()
            hooks.after(body, text)
            return web.Response(status=answer.status, text=text, content_type=answer.content_type)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", forward)
    runner = web.AppRunner(application)  # unlike aiohttp's TestServer it goes on when the sender hangs up
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/erp"
    adapter = TrytonAdapter(tryton.settings.model_copy(update={"url": url}))
    try:
        async with ClientSession() as session:
            yield adapter
    finally:
        await adapter.close()
        await runner.cleanup()
