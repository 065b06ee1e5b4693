"""The certificate that a server shows: to say whose it is if it is not accepted, and when it expires.

The look trusts nothing and sends nothing: it ends in the TLS handshake, as soon as the certificate is there. It uses
the same proxy as the calls.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import Any, Final

import aiohttp
from cryptography import x509
from yarl import URL

from closedwon.network.proxies import Proxy

_LONGEST: Final = 5.0
"""Seconds."""


class _SeenError(ssl.SSLError):
    """Ends the handshake."""

    certificate: bytes


class _Looking(ssl.SSLObject):
    """A TLS connection that ends when it has seen the certificate."""

    def do_handshake(self) -> None:
        super().do_handshake()
        seen = _SeenError("seen")
        seen.certificate = self.getpeercert(binary_form=True) or b""
        raise seen


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.sslobject_class = _Looking
    return context


async def shown_by(session: aiohttp.ClientSession, url: str, proxy: Proxy | None) -> x509.Certificate | None:
    """Return the certificate of the server at an https address; None if it shows none within seconds."""
    rules: dict[str, Any] = {}
    if proxy is not None:
        rules = {"proxy": proxy.url, "proxy_headers": proxy.headers}
    try:
        async with asyncio.timeout(_LONGEST):
            await session.get(URL(url).origin(), ssl=_context(), **rules)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        seen = _seen_in(error)
        if seen is not None:
            with suppress(ValueError):
                return x509.load_der_x509_certificate(seen.certificate)
    return None


def _seen_in(error: BaseException | None) -> _SeenError | None:
    while error is not None and not isinstance(error, _SeenError):
        inner = getattr(error, "os_error", None)
        error = inner if isinstance(inner, _SeenError) else error.__cause__ or error.__context__
    return error
