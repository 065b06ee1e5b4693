"""Intake's own TLS: the HTTP server gets a connection only after the handshake.

asyncio's TLS servers drop a client silently when its handshake fails, so an operator would not learn that Salesforce's
certificate has changed. This module counts such clients by reason and logs their addresses.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from cryptography import x509
from temporalio.common import MetricCounter

from closedwon.files import stamps
from closedwon.intake.delivery import IntakeError
from closedwon.network.trust import without_passphrase
from closedwon.settings import Tls

_log = logging.getLogger(__name__)

_LOOK_EVERY: Final = 60.0
"""Seconds between two looks at the files without a handshake."""
_HANDSHAKE_TIMEOUT: Final = 10.0
"""Maximum seconds of a handshake."""
_EXPIRED: Final = frozenset({9, 10})
"""X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL."""
_REASONS: Final = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "no-certificate",
    "HTTP_REQUEST": "plain-http",
    "NO_SHARED_CIPHER": "no-common-protocol",
    "UNSUPPORTED_PROTOCOL": "no-common-protocol",
}
"""OpenSSL's reasons, which differ from version to version, to the stable values of the metric."""


class ServerTls:
    """The TLS context of the server. Its files are read again when they change: a renewed certificate needs no restart.

    Files that do not fit, as in the middle of a renewal, change nothing: what was read before stays.
    """

    def __init__(self, tls: Tls, expires_at: Callable[[datetime], None]) -> None:
        """Read the files; `expires_at` is called with the end of each certificate. Raises `IntakeError`."""
        self._tls = tls
        self._expires_at = expires_at
        self._files = [path for path in (tls.certificate, tls.key, tls.client_ca) if path is not None]
        self._seen = stamps(self._files)
        self._context = self._read()

    def context(self) -> ssl.SSLContext:
        """The context for the next handshake."""
        now = stamps(self._files)
        if now != self._seen:
            self._seen = now
            try:
                self._context = self._read()
            except IntakeError as error:
                _log.error("%s; what was read before stays in use", error)
            else:
                _log.info("the files of intake.tls were read again")
        return self._context

    async def keep_watching(self) -> NoReturn:
        """Look at the files even while no client connects, so that metric and log are true."""
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            self.context()

    def _read(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self._tls.certificate, self._tls.key, password=without_passphrase)
            if self._tls.client_ca is not None:
                context.load_verify_locations(self._tls.client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
            certificate = x509.load_pem_x509_certificate(self._tls.certificate.read_bytes())
        except (ssl.SSLError, OSError, ValueError) as error:
            raise IntakeError(f"the files of intake.tls cannot be used: {error}") from error
        self._expires_at(certificate.not_valid_after_utc)
        if certificate.not_valid_after_utc <= datetime.now(UTC):
            _log.error("the certificate of intake.tls has expired: Salesforce refuses it")
        return context


class Handshake(asyncio.Protocol):
    """One connection, from its first byte to the end of the handshake."""

    def __init__(self, tls: ServerTls, serve: Callable[[], asyncio.Protocol], failures: MetricCounter) -> None:
        """`serve` creates the protocol after the handshake; `failures` counts failed handshakes by reason."""
        self._context = tls.context()
        self._serve = serve
        self._failures = failures
        self._early = b""
        self._handshake: asyncio.Task[None] | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the handshake."""
        transport.pause_reading()  # the first bytes belong to the handshake, which starts a moment later
        self._handshake = asyncio.create_task(self._run(transport))

    def data_received(self, data: bytes) -> None:
        """Keep data that arrived in one packet with the end of the handshake."""
        self._early += data

    async def _run(self, transport: Any) -> None:
        try:
            secured = await asyncio.get_running_loop().start_tls(
                transport, self, self._context, server_side=True, ssl_handshake_timeout=_HANDSHAKE_TIMEOUT
            )
        except OSError as error:  # with it `SSLError`, `TimeoutError` and `ConnectionError`
            self._failed(error, transport)
            return
        if secured is None or secured.is_closing():
            return  # the client closed the connection in the same moment
        http = self._serve()
        secured.set_protocol(http)
        http.connection_made(secured)
        if self._early:
            http.data_received(self._early)

    def _failed(self, error: OSError, transport: asyncio.BaseTransport) -> None:
        reason = _reason(error)
        self._failures.add(1, {"reason": reason})
        # A load balancer's check of the port opens and closes a connection every few seconds.
        level = logging.DEBUG if reason == "gone" else logging.WARNING
        peer = transport.get_extra_info("peername") or ("an unknown address",)
        _log.log(level, "TLS handshake with %s failed (%s)", peer[0], reason)


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "certificate-expired" if error.verify_code in _EXPIRED else "certificate-untrusted"
    if isinstance(error, ssl.SSLError):
        cause = error.reason or ""
        return "refused-by-client" if "_ALERT_" in cause else _REASONS.get(cause, "other")
    # asyncio's own timeout of a handshake is a ConnectionAbortedError.
    return "slow" if isinstance(error, TimeoutError | ConnectionAbortedError) else "gone"
