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
from pathlib import Path
from typing import Final
from urllib.parse import unquote_to_bytes

from aiohttp import web
from cryptography import x509
from cryptography.x509.oid import NameOID

from closedwon.settings import ForwardedCertificate, Intake, Tls
from workers.intake.delivery import IntakeError, RefusedError

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_FORWARDED_FOR: Final = "X-Forwarded-For"
_FORWARDED_PROTO: Final = "X-Forwarded-Proto"


class Access:
    """The rules of one server."""

    def __init__(self, intake: Intake) -> None:
        """Read the list of networks. Raises `IntakeError` for a file that is no such list."""
        self._allowed = (*intake.allow, *(_networks(intake.allow_file) if intake.allow_file else ()))
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
            secured = request.get_extra_info("ssl_object")
            _check_certificate(secured.getpeercert(binary_form=True) if secured else None, self._tls)
        if self._forwarded is not None:
            told = request.headers.getall(self._forwarded.header, []) if is_proxy else []
            # Two of them: one is the sender's own, and nobody knows which.
            _check_certificate(_certificate(told[0]) if len(told) == 1 else None, self._forwarded)

    def as_called(self, request: web.Request) -> web.Request:
        """Return the request as its sender has made it: by https, where one of our proxies has ended TLS."""
        peer = _address(request.remote or "")
        is_told = peer is not None and _within(peer, self._proxies) and request.headers.get(_FORWARDED_PROTO) == "https"
        return request.clone(scheme="https") if is_told else request

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


def _check_certificate(der: bytes | None, wanted: Tls | ForwardedCertificate) -> None:
    """Salesforce's default client certificate is shared by all orgs: ask for a name or a fingerprint."""
    if der is not None:
        if hashlib.sha256(der).hexdigest() in {one.replace(":", "").lower() for one in wanted.client_fingerprints}:
            return
        if wanted.client_subjects and not _common_names(der).isdisjoint(wanted.client_subjects):
            return
    raise RefusedError(HTTPStatus.FORBIDDEN, "certificate", "this client certificate is not let in")


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


def _networks(file: Path) -> list[_Network]:
    """Read one network or address a line; `#` begins a comment."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise IntakeError(f"intake.allow_file {file} cannot be read: {type(error).__name__}") from error
    networks = []
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if text:
            try:
                networks.append(ipaddress.ip_network(text))
            except ValueError as error:
                raise IntakeError(f"intake.allow_file {file}, line {number}: {error}") from None
    if not networks:  # an empty list would let in everybody
        raise IntakeError(f"intake.allow_file {file} names no network; put one a line, as in 13.108.0.0/14")
    return networks


def _address(text: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # On a socket for both families an IPv4 client looks like ::ffff:192.0.2.1.
    return getattr(address, "ipv4_mapped", None) or address


def _within(address: _Address, networks: Iterable[_Network]) -> bool:
    return any(address in network for network in networks)
