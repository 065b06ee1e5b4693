"""Renders pages and their parts, serves the static files, and keeps the message that the next page shows."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from aiohttp import web
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from closedwon.emulators.pages.guard import HEADERS, LOOPBACK, PageGuard

_HERE: Final = "closedwon.emulators.pages"
_TYPES: Final = {"style.css": "text/css", "htmx.min.js": "text/javascript", "page.js": "text/javascript"}
PREFIX: Final = "/_page/"
STATIC: Final = f"{PREFIX}static/"


class Notice(NamedTuple):
    """What the last action did, in a sentence."""

    text: str
    is_error: bool = False


class PageSite:
    """The pages of one server. `package` has their templates."""

    def __init__(self, package: str, *, host: str = LOOPBACK, **shared: Any) -> None:
        """`shared` values are known to every template."""
        self.guard = PageGuard(host)
        self._jinja = Environment(
            loader=ChoiceLoader([PackageLoader(package), PackageLoader(_HERE)]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._jinja.filters["web_address"] = web_address
        self._jinja.globals.update(shared, token=self.guard.token, prefix=PREFIX)
        self._notice = Notice("")

    def page(self, template: str, *, status: int = 200, **values: Any) -> web.Response:
        """A whole page; it shows the message of the last action once."""
        notice, self._notice = self._notice, Notice("")
        return self._html(self._render(template, notice=notice, **values), status)

    def part(self, request: web.Request, template: str, **values: Any) -> web.Response:
        """The answer to a poll: 204 while the part is as the browser shows it (`seen` in the query)."""
        text, version = self._versioned(template, values)
        return web.Response(status=204, headers=HEADERS) if request.query.get("seen") == version else self._html(text)

    def live(self, template: str, **values: Any) -> str:
        """The same part within a whole page."""
        return self._versioned(template, values)[0]

    def after(self, request: web.Request, notice: Notice, goes_to: str, template: str, **values: Any) -> web.Response:
        """The answer to a button: the part and the message for htmx, the page at `goes_to` for other browsers."""
        if "HX-Request" not in request.headers:
            return self.redirect(notice, goes_to)
        text = self.live(template, **values) + self._render("notice.html", notice=notice, swaps=True)
        return self._html(text)

    def redirect(self, notice: Notice, goes_to: str) -> web.Response:
        """Show the page at `goes_to` with a message."""
        self._notice = notice
        return web.Response(status=303, headers={**HEADERS, "Location": goes_to})

    def static(self, name: str) -> web.Response:
        """A static file. Raises `HTTPNotFound`."""
        if name not in _TYPES:
            raise web.HTTPNotFound
        content = resources.files(_HERE).joinpath("static", name).read_bytes()
        headers = {**HEADERS, "Cache-Control": "max-age=60"}
        return web.Response(body=content, content_type=_TYPES[name], charset="utf-8", headers=headers)

    def _versioned(self, template: str, values: dict[str, Any]) -> tuple[str, str]:
        version = hashlib.sha256(self._render(template, version="", **values).encode()).hexdigest()[:16]
        return self._render(template, version=version, **values), version

    def _render(self, template: str, **values: Any) -> str:
        return self._jinja.get_template(template).render(**values)

    def _html(self, text: str, status: int = 200) -> web.Response:
        return web.Response(text=text, content_type="text/html", status=status, headers=HEADERS)


def web_address(text: object) -> str:
    """The text if a browser may follow it as a link, else "": an address from outside may be `javascript:...`."""
    try:
        parts = urlsplit(str(text or ""))
    except ValueError:
        return ""
    return str(text) if parts.scheme in {"http", "https"} and parts.hostname else ""
