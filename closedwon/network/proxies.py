"""Which proxy a call uses, by the environment: `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`, in upper or lower case.

Calls to loopback addresses never use one. The rules of `NO_PROXY` are those of requests: host suffixes, `host:port`,
IPv4 networks, `*`. Plain http is for loopback only, with one exception, a collector of traces, which uses `HTTP_PROXY`.
"""

from __future__ import annotations

import base64
from typing import NamedTuple
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment

from requests.utils import should_bypass_proxies

from closedwon.settings.values import is_loopback


class ProxySettingError(ValueError):
    """An environment variable for a proxy has an unusable value. The text names the variable, not the value."""


class Proxy(NamedTuple):
    """A proxy. Its address is without the credential, which is never shown."""

    url: str
    """`http://host:port` or `https://host:port`."""
    variable: str
    """The environment variable that names it."""
    user: str = ""
    password: str = ""

    @property
    def address(self) -> str:
        """`host:port`."""
        return urlsplit(self.url).netloc

    @property
    def headers(self) -> dict[str, str]:
        """The credential, for the CONNECT request; empty without one."""
        if not self.user:
            return {}
        pair = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return {"Proxy-Authorization": f"Basic {pair}"}


def proxy_for(url: str) -> Proxy | None:
    """Return the proxy for a call of `url`; None if it goes straight there. Raises `ProxySettingError`."""
    parts = urlsplit(url)
    settings = getproxies_environment()
    scheme = next((one for one in (parts.scheme, "all") if settings.get(one)), None)
    if scheme is None or is_loopback(parts.hostname or "") or should_bypass_proxies(url, None):
        return None
    return _read(settings[scheme], f"{scheme.upper()}_PROXY")


def _read(value: str, variable: str) -> Proxy:
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme not in {"http", "https"} or not host:
        raise ProxySettingError(
            f"{variable} is not the address of a proxy; write it like http://proxy.example.com:3128"
        )
    port = port or (443 if parts.scheme == "https" else 80)
    host = f"[{host}]" if ":" in host else host
    return Proxy(
        f"{parts.scheme}://{host}:{port}", variable, unquote(parts.username or ""), unquote(parts.password or "")
    )
