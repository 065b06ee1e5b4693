"""TLS of intake's own: a connection is the HTTP server's only after its handshake.

asyncio's own TLS servers drop a client whose handshake fails without a word, so an operator would never learn that
Salesforce's certificate has changed. Here such clients are counted by reason and logged with their address.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from cryptography import x509
from temporalio.common import MetricCounter

from closedwon.settings import Tls
from workers.intake.delivery import IntakeError

_log = logging.getLogger(__name__)

_PATIENCE: Final = 10.0
"""Seconds that a handshake may take."""
_EXPIRED: Final = frozenset({9, 10})
"""X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL."""
_REASONS: Final = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "no-certificate",
    "HTTP_REQUEST": "plain-http",
    "NO_SHARED_CIPHER": "no-common-protocol",
    "UNSUPPORTED_PROTOCOL": "no-common-protocol",
}
"""OpenSSL's words, which differ from version to version, to the stable ones of the metric."""


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Read the files. Raises `IntakeError`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(tls.certificate, tls.key)
        if tls.client_ca is not None:
            context.load_verify_locations(tls.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (ssl.SSLError, OSError) as error:
        raise IntakeError(f"the files of intake.tls cannot be used: {error}") from error
    return context


def expiry(tls: Tls) -> datetime:
    """When the server's certificate expires. The file is one that `tls_context` could read."""
    return x509.load_pem_x509_certificate(tls.certificate.read_bytes()).not_valid_after_utc


class Handshake(asyncio.Protocol):
    """One connection from its first byte until its handshake is over."""

    def __init__(self, context: ssl.SSLContext, serve: Callable[[], asyncio.Protocol], failures: MetricCounter) -> None:
        """Take what serves a connection afterwards, and the counter of those that do not get so far."""
        self._context = context
        self._serve = serve
        self._failures = failures
        self._early = b""
        self._shaking: asyncio.Task[None] | None = None

    def connection_made(self, transport: Any) -> None:
        """Shake hands."""
        transport.pause_reading()  # what comes first is the handshake's, which begins a moment later
        self._shaking = asyncio.create_task(self._shake(transport))

    def data_received(self, data: bytes) -> None:
        """Keep what came in one packet with the end of the handshake."""
        self._early += data

    async def _shake(self, transport: Any) -> None:
        try:
            secured = await asyncio.get_running_loop().start_tls(
                transport, self, self._context, server_side=True, ssl_handshake_timeout=_PATIENCE
            )
        except OSError as error:  # with it `SSLError`, `TimeoutError` and `ConnectionError`
            self._failed(error, transport)
            return
        if secured is None or secured.is_closing():
            return  # it hung up in the same moment
        http = self._serve()
        secured.set_protocol(http)
        http.connection_made(secured)
        if self._early:
            http.data_received(self._early)

    def _failed(self, error: OSError, transport: asyncio.BaseTransport) -> None:
        reason = _reason(error)
        self._failures.add(1, {"reason": reason})
        # A load balancer that only looks whether the port is open hangs up every few seconds.
        level = logging.DEBUG if reason == "gone" else logging.WARNING
        peer = transport.get_extra_info("peername") or ("an unknown address",)
        _log.log(level, "TLS handshake with %s failed (%s)", peer[0], reason)


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "certificate-expired" if error.verify_code in _EXPIRED else "certificate-untrusted"
    if isinstance(error, ssl.SSLError):
        words = error.reason or ""
        return "refused-by-client" if "_ALERT_" in words else _REASONS.get(words, "other")
    # asyncio's own timeout of a handshake is a ConnectionAbortedError.
    return "slow" if isinstance(error, TimeoutError | ConnectionAbortedError) else "gone"
