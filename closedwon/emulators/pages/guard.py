"""Who may see a page and press its buttons.

A page that wins, deletes and kills is a target for every web site that the same browser visits:

- A form on another site can send a request, but does not know the token that each page contains.
- A site can let its own name resolve to this machine (DNS rebinding) and then read the page with the token, but the
  browser sends that name in the Host header. Only names of this machine are accepted.
- A site can show the page in a frame and let a person press what they do not see; the headers forbid frames.

The token is not a login: every process that can reach the port can read the page. So servers listen on loopback
unless a person names another address.
"""

from __future__ import annotations

import hmac
import secrets
import socket
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

LOOPBACK: Final = "127.0.0.1"
TOKEN: Final = "token"  # noqa: S105 - the name of a form field
_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_EVERYWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - not bound here
_READING: Final = frozenset({"GET", "HEAD"})
_OWN_SITE: Final = frozenset({"same-origin", "none"})
HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class PageGuard:
    """Checks the requests of one server's pages. Its `token` is new at each start of the server."""

    def __init__(self, host: str = LOOPBACK) -> None:
        """`host` is the address on which the server listens."""
        self.token = secrets.token_urlsafe(32)
        own = frozenset({host, socket.gethostname()}) - {""} - _EVERYWHERE
        self._names = _NAMES if is_loopback(host) else _NAMES | {name.lower() for name in own}

    def check_host(self, request: web.Request) -> None:
        """Raise `HTTPMisdirectedRequest` (421) unless the Host header has a name of this machine.

        The address at which the connection arrived is one, too.
        """
        name = _host_name(request.headers.get("Host", ""))
        local = request.transport.get_extra_info("sockname") if request.transport else None
        if name is None or name not in self._names | {str(local[0]) if local else ""}:
            raise web.HTTPMisdirectedRequest(
                text="This page is only shown under a name of this machine: open it at http://localhost with its port."
            )

    def check_site(self, request: web.Request) -> None:
        """Raise `HTTPForbidden` if a browser says that another site sends this request, unless it only reads.

        Links from other pages may be followed. Clients that are not browsers send no such header.
        """
        if request.method not in _READING and request.headers.get("Sec-Fetch-Site", "none") not in _OWN_SITE:
            raise web.HTTPForbidden(text="This request comes from another web site, and was not carried out.")

    async def form(self, request: web.Request) -> dict[str, str]:
        """The fields of a form without its token. Raises `HTTPForbidden` unless the token is the page's."""
        self.check_site(request)
        fields = {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
        token = fields.pop(TOKEN, "")
        if not hmac.compare_digest(token.encode(), self.token.encode()):
            raise web.HTTPForbidden(text="The token is missing or is from an earlier start. Reload the page.")
        return fields


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens on this address."""
    return host in _NAMES or host.startswith("127.")


def url_of(host: str, port: int) -> str:
    """The address of a server that listens on `host`, as this machine reaches it."""
    if is_loopback(host) or host in _EVERYWHERE:
        return f"http://localhost:{port}"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def warning(host: str) -> str:
    """What a person must know about a server that listens on `host`; "" for loopback."""
    if is_loopback(host):
        return ""
    return (
        f"Warning: {host} may be reached from other machines. Anyone who reaches this port can change everything here: "
        "it asks for no login."
    )


def _host_name(header: str) -> str | None:
    try:
        return urlsplit(f"//{header}").hostname
    except ValueError:
        return None
