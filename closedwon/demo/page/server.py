"""Serves the demo's page on loopback, in the demo's own process."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Self
from urllib.parse import quote

import aiohttp
from aiohttp import web

from closedwon import names
from closedwon.demo import ErpKind
from closedwon.demo.page.killing import Killer
from closedwon.demo.page.three import ThreeSystems
from closedwon.demo.parts import PartError, State
from closedwon.demo.stack import Stack
from closedwon.emulators.pages import LOOPBACK, Notice, PageSite
from closedwon.emulators.pages.site import PREFIX, STATIC
from closedwon.emulators.salesforce.client import OrgClient, OrgRefusedError
from closedwon.emulators.salesforce.connection import Connection
from closedwon.ids import RecordId
from closedwon.temporal.visibility import of_type

_COUNTS: Final = frozenset({"1", "10"})
_SEEDED: Final = 20


class DemoPage:
    """The page of one stack, while it is served."""

    def __init__(self, stack: Stack) -> None:
        """The stack must have been started."""
        self._stack = stack
        self._three = ThreeSystems(stack)
        self._killer = Killer(stack, self._three)
        self._connection = Connection.model_validate(stack.org.connection)
        erp = stack.erp.connection["url"]
        self._site = PageSite(
            __package__,
            host=LOOPBACK,
            org_url=stack.org.connection["url"],
            temporal_url=f"{stack.temporal.ui}/workflows?query={quote(of_type(names.ORDER_WORKFLOW))}",
            erp_name=stack.erp_kind.words.removeprefix("the ").capitalize().replace("erp", "ERP"),
            erp_url=erp if stack.erp_kind is ErpKind.STUB else erp.rpartition("/")[0],
        )

    @classmethod
    @asynccontextmanager
    async def served(cls, stack: Stack) -> AsyncIterator[Self]:
        """Serve the page of a started stack for a block. Raises `PartError` if its port was taken meanwhile."""
        page = cls(stack)
        runner = web.AppRunner(page.application(), access_log=None, shutdown_timeout=1)
        await runner.setup()
        try:
            try:
                await web.TCPSite(runner, LOOPBACK, stack.page_port).start()
            except OSError as error:
                raise PartError(f"The demo's page cannot be served: {error.strerror}") from None
            yield page
        finally:
            await page._killer.close()
            await runner.cleanup()
            await page._three.close()

    def application(self) -> web.Application:
        """The web application."""
        app = web.Application(middlewares=[self._checked])
        app.add_routes([
            web.get("/", self._page),
            web.get(f"{PREFIX}live", self._live),
            web.get(f"{STATIC}{{name}}", self._static),
            web.post(f"{PREFIX}do/{{action:win|kill}}", self._act),
        ])  # fmt: skip
        return app

    def check(self) -> None:
        """Raise `PartError` if a worker that was killed did not start again."""
        self._killer.check()

    @web.middleware
    async def _checked(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self._site.guard.check_host(request)
        response: web.StreamResponse = await handler(request)
        return response

    async def _page(self, _request: web.Request) -> web.Response:
        return self._site.page("demo.html", live=self._site.live("demo_live.html", **await self._values()))

    async def _live(self, request: web.Request) -> web.Response:
        return self._site.part(request, "demo_live.html", **await self._values())

    async def _static(self, request: web.Request) -> web.Response:
        return self._site.static(request.match_info["name"])

    async def _act(self, request: web.Request) -> web.Response:
        form = await self._site.guard.form(request)
        if request.match_info["action"] == "kill":
            done = self._killer.kill()
            notice = Notice("" if done else "The worker is dead already", is_error=not done)
        else:
            notice = await self._win(form)
        return self._site.after(request, notice, "/", "demo_live.html", **await self._values())

    async def _win(self, form: Mapping[str, str]) -> Notice:
        """Win one deal, or the oldest open ones; add open deals if there are too few."""
        try:
            async with OrgClient.open(self._connection) as people:
                if "record" in form:
                    deals = [await people.deal(RecordId(form["record"]))]
                else:
                    count = int(form["count"]) if form.get("count") in _COUNTS else 1
                    deals = await people.open_deals(count)
                    if len(deals) < count:
                        seed = {"opportunities": _SEEDED, "seed": secrets.randbelow(10**6), "varied": True}
                        await people.admin("POST", "seed", seed)
                        deals = await people.open_deals(count)
                for deal in deals:
                    await people.win(deal.id)
        except (OrgRefusedError, ValueError) as error:
            return Notice(f"Salesforce refuses: {error}", is_error=True)
        except (aiohttp.ClientError, TimeoutError):
            return Notice("Salesforce does not answer", is_error=True)
        return Notice(f"Won: {deals[0].name}" if len(deals) == 1 else f"Won {len(deals)} deals")

    async def _values(self) -> dict[str, Any]:
        return {
            "picture": await self._three.picture(),
            "processes": [
                {"name": one.name, "pid": one.pid, "state": one.state.value, "is_ready": one.state is State.READY}
                for one in self._stack.processes
            ],
            "story": self._killer.story,
            "is_proved": self._killer.is_proved,
            "is_busy": self._killer.is_busy,
        }
