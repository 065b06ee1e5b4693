"""The plan, the settings and the outcomes of a certification, as its tests read them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
from aiohttp import web

from closedwon.certify import (
    CertificationReport,
    CheckOutcome,
    Plan,
)
from closedwon.emulators.erp.stub import StubErp
from closedwon.settings import RestErp
from tests.integration.erp.worlds import rest_settings

NO_PRODUCT: Final = "CLOSEDWON-NO-SUCH-PRODUCT"
"""The product of the check `unknown-product`: the stub ERP takes every product that it is not to refuse."""


def plan(**changes: Any) -> Plan:
    """Products that both ERPs have."""
    return Plan(products=("GC1040", "SL9080")).model_copy(update=changes)


def settings_of(stub: StubErp) -> RestErp:
    """The stub ERP, as in closedwon.toml."""
    return rest_settings(stub.url, stub.token)


def outcomes(report: CertificationReport) -> dict[str, CheckOutcome]:
    """By check."""
    return {result.name: result.outcome for result in report.checks}


def failed(report: CertificationReport) -> dict[str, str]:
    """What was seen, by check that has failed."""
    return {result.name: result.facts for result in report.checks if result.outcome is CheckOutcome.FAILED}


class Facade:
    """A facade before the stub ERP. This one passes everything on."""

    def __init__(self, stub: StubErp) -> None:
        self.stub = stub
        self.in_flight = 0

    def request(self, request: web.Request, headers: dict[str, str], query: dict[str, str]) -> web.Response | None:
        """Change headers or query of a request, or answer it."""

    async def answer(self, _request: web.Request, answer: web.Response) -> web.Response:
        """Change the answer."""
        return answer

    @asynccontextmanager
    async def running(self) -> AsyncIterator[RestErp]:
        """Its settings, as in closedwon.toml."""
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._forward)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with aiohttp.ClientSession() as self.http:
            yield settings_of(self.stub).model_copy(update={"url": f"http://127.0.0.1:{runner.addresses[0][1]}"})
        await runner.cleanup()

    async def _forward(self, request: web.Request) -> web.Response:
        names = ("Authorization", "Content-Type", "Idempotency-Key", "If-Match")
        headers = {name: request.headers[name] for name in names if name in request.headers}
        query = dict(request.query) if "after" in request.query else {}
        if (answer := self.request(request, headers, query)) is not None:
            return answer
        self.in_flight += 1
        try:
            return await self.answer(request, await self.ask(request, headers, query))
        finally:
            self.in_flight -= 1

    async def ask(self, request: web.Request, headers: dict[str, str], query: dict[str, str]) -> web.Response:
        """Ask the stub ERP."""
        url = self.stub.url + (request.path if query else request.path_qs)
        body = await request.read()
        async with self.http.request(
            request.method, url, headers=headers, params=query or None, data=body or None
        ) as response:
            return web.Response(status=response.status, body=await response.read(), content_type=response.content_type)
