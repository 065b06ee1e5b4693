"""A webhook that receives alerts, over a real socket, and can be away for a while."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from closedwon.emulators.ports import free_port


class Receiver:
    """Keeps every alert with its headers. `start` and `stop` as often as a test likes; the port stays."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://localhost:{self.port}/hook"
        self.status = 204
        """What it answers."""
        self.is_mute = False
        """Takes calls and never answers them."""
        self.attempts = 0
        self.taken: list[dict[str, Any]] = []
        self.raw: list[bytes] = []
        self.headers: list[Mapping[str, str]] = []
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Be there."""
        app = web.Application()
        app.add_routes([web.post("/hook", self._take)])
        self._runner = web.AppRunner(app, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        """Be away: connections are refused."""
        assert self._runner is not None
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        self.attempts += 1
        if self.is_mute:
            await asyncio.get_running_loop().create_future()
        if self.status < 300:
            self.raw.append(await request.read())
            self.taken.append(json.loads(self.raw[-1]))
            self.headers.append(request.headers)
        return web.Response(status=self.status)
