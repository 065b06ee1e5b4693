"""Decides who may call intake, by address and client certificate, before the body is read.

A proxy's headers about the client count only if the proxy's own address is listed: anyone can write such a header.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import re
import ssl
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote_to_bytes

from aiohttp import web
from cryptography import x509
from cryptography.x509.oid import NameOID

from closedwon.intake.delivery import IntakeError, MessageRefusedError
from closedwon.settings import ForwardedCertificate, Intake, Tls
from closedwon.settings.exposure import NetworksError, networks_in, plain_fingerprint

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_FORWARDED_FOR: Final = "X-Forwarded-For"
_HOST: Final = re.compile(r"^(?:\[([^\[\]]+)\]|([^:\[\]]+))(?::\d{1,5})?$")
"""An address as some proxies write it: with a port (`192.0.2.1:5678`), in brackets (`[2001:db8::1]:5678`)."""


class Access:
    """The rules of one server."""

    def __init__(self, intake: Intake, of_routes: Iterable[str] = ()) -> None:
        """Read the list of networks. `of_routes`: fingerprints of further certificates that are allowed.

        Raises `IntakeError` if the file is not a list of networks.
        """
        try:
            self._allowed = (*intake.allow, *(networks_in(intake.allow_file) if intake.allow_file else ()))
        except NetworksError as error:
            raise IntakeError(str(error)) from error
        self._of_routes = frozenset(map(plain_fingerprint, of_routes))
        self._proxies = intake.proxies
        self._tls = intake.tls
        self._forwarded = intake.forwarded_certificate

    def check(self, request: web.Request) -> _Address | None:
        """Return the sender's address. Raises `MessageRefusedError` unless the sender is allowed."""
        peer = _address(request.remote or "")
        is_proxy = peer is not None and _within(peer, self._proxies)
        client = self._behind(request, peer) if is_proxy else peer
        if self._allowed and (client is None or not _within(client, self._allowed)):
            raise MessageRefusedError(HTTPStatus.FORBIDDEN, "address", "this address is not on the allow list")
        if self._tls is not None and (self._tls.client_subjects or self._tls.client_fingerprints):
            self._check_certificate(_of_connection(request), self._tls)
        if self._forwarded is not None:
            self._check_certificate(self.certificate(request), self._forwarded)
        return client

    def certificate(self, request: web.Request) -> bytes | None:
        """Return the client's certificate in DER form: from a proxy's header if configured, else the connection's.

        With `forwarded_certificate`, the connection's certificate is the proxy's own and does not identify an org.
        """
        if self._forwarded is None:
            return _of_connection(request)
        peer = _address(request.remote or "")
        is_proxy = peer is not None and _within(peer, self._proxies)
        forwarded = request.headers.getall(self._forwarded.header, []) if is_proxy else []
        # Of two headers, the sender may have written either.
        return _certificate(forwarded[0]) if len(forwarded) == 1 else None

    def _check_certificate(self, der: bytes | None, wanted: Tls | ForwardedCertificate) -> None:
        """Compare name or fingerprint: all orgs share Salesforce's default client certificate."""
        if der is not None:
            if hashlib.sha256(der).hexdigest() in {
                *map(plain_fingerprint, wanted.client_fingerprints),
                *self._of_routes,
            }:
                return
            if wanted.client_subjects and not _common_names(der).isdisjoint(wanted.client_subjects):
                return
        raise MessageRefusedError(HTTPStatus.FORBIDDEN, "certificate", "this client certificate is not allowed")

    def _behind(self, request: web.Request, peer: _Address | None) -> _Address | None:
        """Return the client behind our proxies. Each proxy appends its peer: only the end of the list is reliable."""
        client = peer
        for hop in reversed(",".join(request.headers.getall(_FORWARDED_FOR, [])).split(",")):
            text = hop.strip().strip('"')
            if not text:  # an empty entry of a list means nothing (RFC 9110, section 5.6.1)
                continue
            found = _address(_HOST.sub(r"\1\2", text))
            if found is None and not self._allowed:  # e.g. `unknown`: nothing depends on who it is
                break
            if found is None:
                raise MessageRefusedError(
                    HTTPStatus.BAD_REQUEST,
                    "bad-proxy-header",
                    f"{_FORWARDED_FOR} contains an entry that is not an IP address",
                )
            client = found
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


def _certificate(text: str) -> bytes | None:
    """Read the DER form: base64 between colons (RFC 9440), or PEM, percent-encoded (nginx, AWS load balancers)."""
    try:
        if text.startswith(":") and text.endswith(":"):
            return base64.b64decode(text[1:-1], validate=True)
        return ssl.PEM_cert_to_DER_cert(unquote_to_bytes(text).decode("ascii").strip())
    except (ValueError, binascii.Error):
        return None


def _address(text: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # On a dual-stack socket, the address of an IPv4 client is ::ffff:192.0.2.1.
    return getattr(address, "ipv4_mapped", None) or address


def _within(address: _Address, networks: Iterable[_Network]) -> bool:
    return any(address in network for network in networks)
