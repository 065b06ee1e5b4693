"""Why a call got no answer, for people: name, refusal, time-out, certificate or proxy.

Texts name hosts, variables and certificates; never a path, a query, or a credential.
"""

from __future__ import annotations

import errno
import socket
import ssl
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from cryptography import x509

from closedwon.network.proxies import Proxy


class FailureKind(StrEnum):
    """Kinds of failures, by what a person would correct."""

    SETTING = "setting"
    """An environment variable of the network has an unusable value; nothing was tried."""
    NAME = "name"
    """The host's name has no address."""
    REFUSED = "refused"
    """The host, or a firewall, refuses the connection."""
    UNREACHABLE = "unreachable"
    """There is no way to the host's network."""
    CONNECT_TIMEOUT = "connect-timeout"
    """None of the host's addresses takes a connection in time."""
    CERTIFICATE = "certificate"
    """The server's certificate is not valid, or not trusted here."""
    TLS = "tls"
    """The TLS handshake fails for another reason, e.g. because the server wants a client certificate."""
    PROXY = "proxy"
    """The proxy cannot be reached, or refuses."""
    NO_ANSWER = "no-answer"
    """The deadline of the call passed before the whole answer was there."""
    BROKEN = "broken"
    """The connection ended before the whole answer was there, or what came is not HTTP."""


_BEFORE_SENDING: Final = frozenset(
    {
        FailureKind.SETTING,
        FailureKind.NAME,
        FailureKind.REFUSED,
        FailureKind.UNREACHABLE,
        FailureKind.CONNECT_TIMEOUT,
        FailureKind.CERTIFICATE,
        FailureKind.TLS,
        FailureKind.PROXY,
    }
)
_HINTS: Final = {
    FailureKind.SETTING: "Correct the environment variable, and restart the process.",
    FailureKind.NAME: "Check the name in the address, and the name server of this machine.",
    FailureKind.REFUSED: "See that the server runs, that its port is right, and that no firewall refuses it.",
    FailureKind.UNREACHABLE: "Check the routes and firewalls from this machine to it.",
    FailureKind.CONNECT_TIMEOUT: "See that it runs and that no firewall drops packets; behind a proxy set HTTPS_PROXY.",
    FailureKind.CERTIFICATE: "Have the certificate renewed or corrected.",
    FailureKind.TLS: "Compare TLS versions and client certificates of both sides.",
    FailureKind.PROXY: "Correct HTTPS_PROXY, or list the host in NO_PROXY, or have the proxy allow it.",
    FailureKind.NO_ANSWER: "It is slow or overloaded, or something on the way holds the answer back.",
    FailureKind.BROKEN: "Something on the way ends connections, or the address is not that of an HTTP server.",
}
_UNTRUSTED: Final = (
    "If it is your own authority, or that of a proxy that inspects TLS, set SSL_CERT_FILE to a PEM file of all "
    "authorities that are to be trusted."
)
_CLIENT: Final = "our client certificate"
_ABOUT_CLIENT: Final = (
    "Compare the certificate that is shown to it (`client_cert` of an ERP) with those that it accepts, and its end."
)
_NOT_YET, _EXPIRED = 9, 10
_NO_AUTHORITY: Final = frozenset({18, 19, 20, 21})
_OTHER_NAME: Final = frozenset({62, 64})
"""X509_V_ERR_… of OpenSSL."""
_NO_WAY: Final = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL})


class NetworkError(Exception):
    """A call got no answer. `str` is one sentence without a full stop, safe for logs and for Temporal."""

    def __init__(self, kind: FailureKind, text: str, *, hint: str = "") -> None:
        super().__init__(text)
        self.kind = kind
        self.hint = hint or _HINTS[kind]

    @property
    def was_sent(self) -> bool:
        """Whether the request may have been sent."""
        return self.kind not in _BEFORE_SENDING


class NameServerError(OSError):
    """No name server has answered in time."""


def network_error_in(error: BaseException | None) -> NetworkError | None:
    """Find the network's own error among the causes of one of ours."""
    while error is not None and not isinstance(error, NetworkError):
        error = error.__cause__ or error.__context__
    return error


def explain(
    error: BaseException, url: str, proxy: Proxy | None, seconds: float, *, during: FailureKind | None = None
) -> NetworkError:
    """Turn an error of aiohttp, or a `TimeoutError` after `seconds`, into ours. Not for certificates.

    `during` is what the call waited for when `seconds` had passed, if it was not the answer.
    """
    host = urlsplit(url).hostname or "the host"
    kind, text = (
        (_of_proxy(error, proxy, host) if proxy else None)
        or _of_connecting(error, host)
        or (
            _of_waiting(host, seconds, during)
            if isinstance(error, TimeoutError)
            else (FailureKind.BROKEN, f"the connection to {host} broke{_tls_reason(error)}")
            if isinstance(error, (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, OSError))
            else (FailureKind.BROKEN, f"{host} did not answer in HTTP")
        )
    )
    if proxy is not None and kind is not FailureKind.PROXY:
        text += f" (through the proxy {proxy.address} of {proxy.variable})"
    return NetworkError(kind, text, hint=_ABOUT_CLIENT if _CLIENT in text else "")


def _of_proxy(error: BaseException, proxy: Proxy, host: str) -> tuple[FailureKind, str] | None:
    match error:
        case aiohttp.ClientHttpProxyError(status=407):
            what = f"wants another credential for {host}"
        case aiohttp.ClientHttpProxyError():
            what = f"answers {error.status} for {host}"
        case aiohttp.ClientConnectorDNSError():
            what = "cannot be reached: its name has no address"
        case aiohttp.ClientProxyConnectionError():
            what = f"cannot be reached: {_why(error.os_error)}"
        case aiohttp.ConnectionTimeoutError():
            what = "takes no connection in time"
        case _:
            return None
    return FailureKind.PROXY, f"the proxy {proxy.address} of {proxy.variable} {what}"


def _of_connecting(error: BaseException, host: str) -> tuple[FailureKind, str] | None:
    match error:
        case aiohttp.ClientConnectorDNSError(os_error=cause) if _is_silence(cause):
            return FailureKind.NAME, f"no name server answers for {host}"
        case aiohttp.ClientConnectorDNSError():
            return FailureKind.NAME, f"the name {host} has no address"
        case aiohttp.ClientConnectorSSLError():
            what = getattr(error.os_error, "reason", None) or _why(error.os_error)
            return FailureKind.TLS, f"the TLS handshake with {host} fails: {what}"
        case aiohttp.ConnectionTimeoutError():
            return FailureKind.CONNECT_TIMEOUT, f"{host} takes no connection in time"
        case aiohttp.ClientConnectorError():
            return _refusal(error.os_error, host)
        case _:
            return None


def _of_waiting(host: str, seconds: float, during: FailureKind | None) -> tuple[FailureKind, str]:
    match during:
        case FailureKind.NAME:
            return during, f"no name server answers for {host} within {seconds:g} s"
        case FailureKind.CONNECT_TIMEOUT:
            return during, f"{host} takes no connection within {seconds:g} s"
        case _:
            return FailureKind.NO_ANSWER, f"{host} gave no whole answer within {seconds:g} s"


def explain_certificate(
    error: ssl.CertificateError, url: str, proxy: Proxy | None, shown: x509.Certificate | None
) -> NetworkError:
    """Say what is wrong with a server's certificate. `shown` is the one that it showed to a second look."""
    host = urlsplit(url).hostname or "the host"
    by_proxy = f", through the proxy {proxy.address}" if proxy is not None else ""
    code = getattr(error, "verify_code", 0)
    said = str(getattr(error, "verify_message", "") or error).rstrip(".")
    whose = f" ({_name(shown.subject)}, issued by {_name(shown.issuer)}{by_proxy})" if shown is not None else by_proxy
    hint = ""
    if code == _EXPIRED:
        at = shown.not_valid_after_utc if shown is not None else None
        since = (
            f"has expired on {at:%Y-%m-%d %H:%M} UTC"
            if at is not None and at <= datetime.now(UTC)
            else ("is not valid: one of its authorities has expired")
        )
        text = f"the certificate of {host} {since}{whose}"
        hint = "Have it renewed; if it is valid, correct the clock of this machine."
    elif code == _NOT_YET:
        text = f"the certificate of {host} is not valid yet{whose}"
        hint = "Correct the clock of this machine, or have the certificate replaced."
    elif code in _NO_AUTHORITY:
        text = f"the certificate of {host} is from an authority that is not trusted here: {said}{whose}"
        hint = _UNTRUSTED
    elif code in _OTHER_NAME:
        text = f"the certificate of {host} is for other names{_names(shown)}{whose}"
        hint = "Correct the address in the settings, or have the certificate replaced."
    else:
        text = f"the certificate of {host} is not accepted: {said}{whose}"
    return NetworkError(FailureKind.CERTIFICATE, text, hint=hint)


def _refusal(error: OSError, host: str) -> tuple[FailureKind, str]:
    if isinstance(error, ConnectionRefusedError) or error.errno == errno.ECONNREFUSED:
        return FailureKind.REFUSED, f"{host} refuses the connection"
    if isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
        return FailureKind.CONNECT_TIMEOUT, f"{host} takes no connection in time"
    kind = FailureKind.UNREACHABLE if error.errno in _NO_WAY else FailureKind.REFUSED
    return kind, f"{host} cannot be reached: {_why(error)}"


def _why(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no connection in time"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return (error.strerror or type(error).__name__).lower().partition("[errno")[0].strip() or type(error).__name__


def _is_silence(error: OSError) -> bool:
    return isinstance(error, NameServerError) or error.errno == socket.EAI_AGAIN


def _tls_reason(error: BaseException | None) -> str:
    """What the other side says in TLS when it ends the connection, e.g. that it wants a certificate.

    With TLS 1.3 it says so only after the handshake, as the client sees it: the request may have been sent by then.
    """
    while error is not None:
        if isinstance(error, ssl.SSLError) and error.reason:
            about = f"it wants {_CLIENT}, or another one: " if _about_certificate(error.reason) else ""
            return f": {about}{error.reason.replace('_', ' ').lower()}"
        error = error.__cause__ or error.__context__
    return ""


def _about_certificate(reason: str) -> bool:
    """Whether it is an alert about our certificate (RFC 8446, 6.2), by the name that OpenSSL gives it."""
    return "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason)


def _name(name: x509.Name) -> str:
    return name.rfc4514_string() or "without a name"


def _names(shown: x509.Certificate | None) -> str:
    if shown is None:
        return ""
    try:
        names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ""
    return ": " + ", ".join(str(one.value) for one in names)
