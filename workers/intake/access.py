"""Who may speak to intake: decided by address and by client certificate, before anything of the body is read.

What a proxy says about the client counts only when the proxy's own address is a listed one: anybody can write a header.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import ssl
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote_to_bytes

from aiohttp import web
from cryptography import x509
from cryptography.x509.oid import NameOID

from closedwon.settings import ForwardedCertificate, Intake, Tls
from closedwon.settings.exposure import NetworksError, networks_in, plain_fingerprint
from workers.intake.delivery import IntakeError, RefusedError

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_FORWARDED_FOR: Final = "X-Forwarded-For"
_FORWARDED_PROTO: Final = "X-Forwarded-Proto"


class Access:
    """The rules of one server."""

    def __init__(self, intake: Intake, of_routes: Iterable[str] = ()) -> None:
        """Read the list of networks. Certificates whose fingerprints are `of_routes` are let in, too.

        Raises `IntakeError` for a file that is no such list.
        """
        try:
            self._allowed = (*intake.allow, *(networks_in(intake.allow_file) if intake.allow_file else ()))
        except NetworksError as error:
            raise IntakeError(str(error)) from error
        self._of_routes = frozenset(map(plain_fingerprint, of_routes))
        self._proxies = intake.proxies
        self._tls = intake.tls
        self._forwarded = intake.forwarded_certificate

    def check(self, request: web.Request) -> None:
        """Raise `RefusedError` unless the sender may speak."""
        peer = _address(request.remote or "")
        is_proxy = peer is not None and _within(peer, self._proxies)
        client = self._behind(request, peer) if is_proxy else peer
        if self._allowed and (client is None or not _within(client, self._allowed)):
            raise RefusedError(HTTPStatus.FORBIDDEN, "address", "this address is not on the allow list")
        if self._tls is not None and (self._tls.client_subjects or self._tls.client_fingerprints):
            self._check_certificate(_of_connection(request), self._tls)
        if self._forwarded is not None:
            self._check_certificate(self.certificate(request), self._forwarded)

    def certificate(self, request: web.Request) -> bytes | None:
        """Return the client's certificate in DER form: as a listed proxy tells it, else as the connection has it.

        Where proxies tell certificates, that of the connection is the proxy's own and proves no org.
        """
        if self._forwarded is None:
            return _of_connection(request)
        peer = _address(request.remote or "")
        is_proxy = peer is not None and _within(peer, self._proxies)
        told = request.headers.getall(self._forwarded.header, []) if is_proxy else []
        # Two of them: one is the sender's own, and nothing says which.
        return _certificate(told[0]) if len(told) == 1 else None

    def as_called(self, request: web.Request) -> web.Request:
        """Return the request as its sender has made it: by https, where one of our proxies has ended TLS."""
        peer = _address(request.remote or "")
        is_told = peer is not None and _within(peer, self._proxies) and request.headers.get(_FORWARDED_PROTO) == "https"
        return request.clone(scheme="https") if is_told else request

    def _check_certificate(self, der: bytes | None, wanted: Tls | ForwardedCertificate) -> None:
        """Salesforce's default client certificate is shared by all orgs: ask for a name or a fingerprint."""
        if der is not None:
            if hashlib.sha256(der).hexdigest() in {
                *map(plain_fingerprint, wanted.client_fingerprints),
                *self._of_routes,
            }:
                return
            if wanted.client_subjects and not _common_names(der).isdisjoint(wanted.client_subjects):
                return
        raise RefusedError(HTTPStatus.FORBIDDEN, "certificate", "this client certificate is not let in")

    def _behind(self, request: web.Request, peer: _Address | None) -> _Address | None:
        """Return who speaks through our proxies: each adds at the end whom it hears, so the end is what we believe."""
        hops = ",".join(request.headers.getall(_FORWARDED_FOR, []))
        client = peer
        for hop in reversed(hops.split(",") if hops else ()):
            client = _address(hop.strip())
            if client is None:
                raise RefusedError(
                    HTTPStatus.BAD_REQUEST, "bad-proxy-header", f"{_FORWARDED_FOR} holds something that is no address"
                )
            if not _within(client, self._proxies):
                break
        return client


def _of_connection(request: web.Request) -> bytes | None:
    secured = request.get_extra_info("ssl_object")
    return secured.getpeercert(binary_form=True) if secured else None


def _common_names(der: bytes) -> set[str]:
    try:
        subject = x509.load_der_x509_certificate(der).subject
    except ValueError:
        return set()
    return {str(part.value) for part in subject.get_attributes_for_oid(NameOID.COMMON_NAME)}


def _certificate(told: str) -> bytes | None:
    """Read the DER form: base64 between colons (RFC 9440), or PEM, percent-encoded (nginx, AWS load balancers)."""
    try:
        if told.startswith(":") and told.endswith(":"):
            return base64.b64decode(told[1:-1], validate=True)
        return ssl.PEM_cert_to_DER_cert(unquote_to_bytes(told).decode("ascii").strip())
    except (ValueError, binascii.Error):
        return None


def _address(text: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # On a socket for both families an IPv4 client looks like ::ffff:192.0.2.1.
    return getattr(address, "ipv4_mapped", None) or address


def _within(address: _Address, networks: Iterable[_Network]) -> bool:
    return any(address in network for network in networks)
