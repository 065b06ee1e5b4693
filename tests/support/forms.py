"""A browser without JavaScript: reads a page, and sends its forms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import aiohttp
from lxml import html


class Shown(NamedTuple):
    """A page as a person without JavaScript gets it."""

    status: int
    text: str
    headers: Mapping[str, str]

    @property
    def words(self) -> str:
        """The text that can be read, with single blanks."""
        return " ".join("".join(map(str, html.fromstring(self.text).itertext())).split())

    @property
    def token(self) -> str:
        """The token that its forms send."""
        return str(html.fromstring(self.text).xpath("string(//input[@name='token']/@value)"))

    @property
    def links(self) -> list[str]:
        """The addresses that can be followed."""
        return [str(link.get("href")) for link in html.fromstring(self.text).iter("a")]


class Forms:
    """Requests to the pages of one server."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self._url = url
        self._http = http

    async def open(self, path: str = "/", **headers: str) -> Shown:
        """Read a page."""
        return await self._shown("GET", path, None, headers)

    async def press(self, action: str, **fields: str) -> Shown:
        """Send a form with the page's token, and read the page that is shown then."""
        token = (await self.open()).token
        return await self.send(action, {"token": token, **fields})

    async def send(self, action: str, fields: Mapping[str, str], **headers: str) -> Shown:
        """Send a form exactly as given."""
        return await self._shown("POST", f"/_page/do/{action}", dict(fields), headers)

    async def _shown(self, method: str, path: str, data: dict[str, str] | None, headers: Mapping[str, str]) -> Shown:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._http.request(method, self._url + path, data=data, headers=named) as response:
            return Shown(response.status, await response.text(), dict(response.headers))
