"""Receives outbound messages and callouts in the place of intake, acknowledges and keeps those about the test deals.

Listens where intake does, so stop intake before. What is about another record is answered with an error and not kept:
the org sends it again, to intake. The checks look at what arrived.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final, NamedTuple, Self
from urllib.parse import unquote

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from closedwon.certify.org.bench import UnfitOrgError
from closedwon.errors import ClosedwonError
from closedwon.ids import OrgId, RecordId
from closedwon.mapping.orders import deleted_record_of
from closedwon.salesforce.push import callout, outbound
from closedwon.settings import Intake, Route

_CALLOUTS: Final = "/callouts"


class Arrived(NamedTuple):
    """One request."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    charset: str | None
    certificate: bytes | None
    """The client's, in DER form."""

    def names(self, record: str) -> bool:
        """Whether the body names a record."""
        return record.encode() in self.body


class Own(NamedTuple):
    """What a run may acknowledge: everything else waits for intake."""

    org: OrgId
    route: Route
    deals: AbstractSet[RecordId]
    """Of the run; grows while it listens."""

    def covers(self, arrived: Arrived) -> bool:
        """Whether it comes from the org and names records of the run only; false for what cannot be read."""
        try:
            org, records = self._read(arrived)
        except ClosedwonError:
            return False
        return org == self.org and all(record in self.deals for record in records)

    def _read(self, arrived: Arrived) -> tuple[OrgId, list[RecordId | None]]:
        if arrived.path.startswith(_CALLOUTS):
            is_soap = arrived.path.endswith("/soap")
            call = (
                callout.parse_soap(arrived.body, arrived.charset)
                if is_soap
                else callout.parse_json(arrived.body, arrived.headers)
            )
            return call.org, [item.record for item in call.items]
        message = outbound.parse(arrived.body, arrived.charset)
        tombstone = self.route.outbound.tombstone if self.route.outbound is not None else None
        if tombstone is None or not arrived.path.endswith("/tombstones"):
            return message.org, [one.record for one in message.notifications]
        return message.org, [
            deleted_record_of(self.route, tombstone, one.fields or {}) for one in message.notifications
        ]


class Listener:
    """One port, for one check."""

    def __init__(self, intake: Intake, own: Own, *, asks_certificate: bool) -> None:
        self._intake = intake
        self._own = own
        self._asks = asks_certificate
        self._arrived: list[Arrived] = []
        self._changed = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def running(cls, intake: Intake, own: Own, *, asks_certificate: bool = False) -> AsyncIterator[Self]:
        """Listen for a block. Raises `UnfitOrgError` if the port or the certificate cannot be used."""
        listener = cls(intake, own, asks_certificate=asks_certificate)
        app = web.Application(client_max_size=intake.largest_body)
        app.router.add_post("/{path:.*}", listener._take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, intake.host, intake.port, ssl_context=listener._tls()).start()
            yield listener
        except OSError as error:
            raise UnfitOrgError(
                f"cannot listen on {intake.host}:{intake.port} ({error.strerror or error}); stop intake first, or "
                "correct [intake]"
            ) from error
        finally:
            await runner.cleanup()

    async def wait(self, matches: Callable[[Arrived], bool], seconds: float) -> Arrived | None:
        """Return the first request that matches; None if none has come after `seconds`."""
        until = asyncio.get_running_loop().time() + seconds
        while True:
            self._changed.clear()
            for one in self._arrived:
                if matches(one):
                    return one
            try:
                async with asyncio.timeout_at(until):
                    await self._changed.wait()
            except TimeoutError:
                return None

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        certificate = self._certificate(request)
        arrived = Arrived(request.path, request.headers, body, request.charset, certificate)
        if not self._own.covers(arrived):
            return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, text="not about a test deal: send it again")
        self._arrived.append(arrived)
        self._changed.set()
        if request.path.startswith(_CALLOUTS):
            return web.json_response({"accepted": []}, status=HTTPStatus.ACCEPTED)
        return web.Response(body=outbound.ack(accepted=True), content_type="text/xml", charset="utf-8")

    def _certificate(self, request: web.Request) -> bytes | None:
        forwarded = self._intake.forwarded_certificate
        if forwarded is not None:
            return _read_certificate(request.headers.get(forwarded.header, ""))
        connection = request.transport.get_extra_info("ssl_object") if request.transport is not None else None
        return connection.getpeercert(binary_form=True) if connection is not None else None

    def _tls(self) -> ssl.SSLContext | None:
        tls = self._intake.tls
        if tls is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(tls.certificate, tls.key)
        if self._asks and tls.client_ca is not None:
            context.verify_mode = ssl.CERT_OPTIONAL
            context.load_verify_locations(tls.client_ca)
        return context


def _read_certificate(header: str) -> bytes | None:
    """Read a certificate that a proxy forwards: as in RFC 9440, or as percent-encoded PEM."""
    try:
        if header.startswith(":"):
            return base64.b64decode(header.strip(":"), validate=True)
        return x509.load_pem_x509_certificate(unquote(header).encode()).public_bytes(Encoding.DER)
    except ValueError:
        return None
