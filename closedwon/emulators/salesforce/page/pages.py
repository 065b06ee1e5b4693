"""Maps the requests of the org's page to views and actions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from aiohttp import web

from closedwon.emulators.pages import LOOPBACK, Notice, PageSite
from closedwon.emulators.pages.site import PREFIX, STATIC
from closedwon.emulators.salesforce.errors import ApiError
from closedwon.emulators.salesforce.org import EmulatedOrg
from closedwon.emulators.salesforce.page import views
from closedwon.emulators.salesforce.page.actions import ACTIONS, arm

_log = logging.getLogger(__name__)
_LIVE: Final = f"{PREFIX}live"
_DO: Final = f"{PREFIX}do/"
_RECORD: Final = "/lightning/r/Opportunity/"
"""The path of a deal's page, followed by its id and `/view`, as in a real org."""
_VIEW: Final = "/view"


class OrgPages:
    """The pages of one org."""

    def __init__(self, org: EmulatedOrg, faults: Mapping[str, Callable[..., Any]], *, host: str = LOOPBACK) -> None:
        """`faults` are the functions that arm them, by name; `host` is the address on which the org listens."""
        self._org = org
        self._faults = faults
        self._site = PageSite(__package__, host=host, record_path=_RECORD, record_view=_VIEW)

    @staticmethod
    def has(path: str) -> bool:
        """Whether a request for this path is for these pages."""
        return path == "/" or path.startswith((PREFIX, _RECORD))

    async def handle(self, request: web.Request, path: str) -> web.Response:
        """Answer one request. Raises `HTTPException` for those that are refused."""
        self._site.guard.check_host(request)
        if request.method == "POST" and path.startswith(_DO):
            return await self._act(request, path.removeprefix(_DO))
        if request.method not in {"GET", "HEAD"}:
            raise web.HTTPMethodNotAllowed(request.method, ["GET"])
        if path.startswith(STATIC):
            return self._site.static(path.removeprefix(STATIC))
        if path == "/":
            part = self._site.live("live.html", **views.live(self._org))
            forms = views.fault_forms(self._faults)
            return self._site.page("org.html", org_id=self._org.org_id, live=part, faults=forms)
        if path == _LIVE:
            return self._site.part(request, "live.html", **views.live(self._org))
        if path.startswith(_RECORD):
            return self._deal(request, path.removeprefix(_RECORD).removesuffix(_VIEW))
        raise web.HTTPNotFound

    def _deal(self, request: web.Request, record: str) -> web.Response:
        found = views.deal(self._org, record)
        if found is None:
            raise web.HTTPNotFound(text="This org has no such Opportunity.")
        if "seen" in request.query:
            return self._site.part(request, "deal_live.html", **found)
        part = self._site.live("deal_live.html", **found)
        return self._site.page("deal.html", org_id=self._org.org_id, live=part, **found)

    async def _act(self, request: web.Request, name: str) -> web.Response:
        form = await self._site.guard.form(request)
        notice, record = self._carry_out(name, form)
        goes_to = f"{_RECORD}{record}{_VIEW}" if views.deal(self._org, record) else "/"
        return self._site.after(request, notice, goes_to, "live.html", **views.live(self._org))

    def _carry_out(self, name: str, form: Mapping[str, str]) -> tuple[Notice, str]:
        """What was done, and the record to show. Raises `HTTPNotFound` for an unknown action."""
        record = form.get("record", "")
        if name != "fault" and name not in ACTIONS:
            raise web.HTTPNotFound
        try:
            done = arm(self._faults, form) if name == "fault" else ACTIONS[name](self._org, form)
        except ApiError as error:
            return Notice(f"The org refuses: {error}", is_error=True), record
        except KeyError as error:
            return Notice(f"The field {error} is missing", is_error=True), record
        except (ValueError, TypeError) as error:
            return Notice(f"Not done: {error}", is_error=True), record
        _log.info("page: %s", name)
        return (Notice(done), record) if isinstance(done, str) else (Notice(done.text), done.record)
