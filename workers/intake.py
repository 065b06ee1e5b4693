"""The server that Salesforce calls with outbound messages: `POST /outbound/<route>`.

A message is judged as a whole before anything starts. `Ack true` is given only when Temporal has accepted every
notification; in any other case Salesforce gets a SOAP Fault and sends again for 24 hours. Health and metrics are on
another port.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import logging
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from temporalio.client import Client
from temporalio.service import RPCError

from closedwon import mapping, temporal
from closedwon.errors import ClosedwonError
from closedwon.ids import RecordId
from closedwon.model import Channel, Message, OrderStart
from closedwon.salesforce import outbound
from closedwon.salesforce.outbound import Notification, OutboundMessage, OutboundMessageError
from closedwon.salesforce.soap import FaultCode
from closedwon.settings import Intake, Route, Settings, Tls
from closedwon.telemetry import Metrics

_log = logging.getLogger(__name__)

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_XML: Final = "text/xml"


class IntakeError(ClosedwonError):
    """The server cannot start."""


class _RefusedError(Exception):
    """A request that is turned away before it is read. `reason` is a stable word of the metric."""

    def __init__(self, status: HTTPStatus, reason: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.reason = reason


class IntakeServer:
    """Listens, checks who speaks, hands over."""

    def __init__(self, settings: Settings, intake: Intake, client: Client, metrics: Metrics) -> None:
        """Take the client that makes messages durable."""
        self._settings = settings
        self._intake = intake
        self._client = client
        self._metrics = metrics
        self._routes = {route.name: route for route in settings.routes if route.outbound}
        self._at_work = 0
        self._runner: web.AppRunner | None = None
        self.address = ""

    async def start(self) -> None:
        """Open the port. Raises `IntakeError` with the cure."""
        app = web.Application(middlewares=[self._guard], client_max_size=self._intake.largest_body)
        app.router.add_post("/outbound/{route}", self._outbound)
        self._runner = web.AppRunner(app, access_log=None, auto_decompress=False, lingering_time=1.0)
        await self._runner.setup()
        tls = _tls_context(self._intake.tls) if self._intake.tls else None
        site = web.TCPSite(self._runner, self._intake.host, self._intake.port, ssl_context=tls)
        try:
            await site.start()
        except OSError as error:
            raise IntakeError(
                f"intake.port {self._intake.port} on {self._intake.host} cannot be opened ({error.strerror}); set "
                "intake.host and intake.port to an address of this machine and a free port."
            ) from error
        self.address = f"{'https' if tls else 'http'}://{self._intake.host}:{self._runner.addresses[0][1]}"
        _log.info("intake at %s/outbound/<route>, routes: %s", self.address, ", ".join(self._routes) or "none")

    async def stop(self) -> None:
        """Close the port; what is being answered is answered."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        if self._at_work >= self._intake.concurrent_requests:
            return self._refuse(
                _RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "busy", "too many requests at once; send again")
            )
        self._at_work += 1
        try:
            self._check_address(request)
            self._check_certificate(request)
            self._check_body(request)
            return await handler(request)
        except _RefusedError as error:
            return self._refuse(error)
        except web.HTTPRequestEntityTooLarge:
            return self._refuse(
                _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large", "the body is larger than allowed")
            )
        finally:
            self._at_work -= 1

    def _refuse(self, error: _RefusedError) -> web.Response:
        self._metrics.messages.add(1, {"channel": Channel.OUTBOUND_MESSAGE, "outcome": error.reason})
        _log.warning("a request was refused (%s): %s", error.reason, error)
        return web.Response(body=outbound.fault("Client", str(error)), status=error.status, content_type=_XML)

    def _check_address(self, request: web.Request) -> None:
        peer = ipaddress.ip_address((request.remote or "0.0.0.0").partition("%")[0])  # noqa: S104 - nowhere, not all
        forwarded = request.headers.get("X-Forwarded-For")
        if forwarded and any(peer in network for network in self._intake.proxies):
            try:
                peer = ipaddress.ip_address(forwarded.rpartition(",")[2].strip())
            except ValueError:
                raise _RefusedError(
                    HTTPStatus.BAD_REQUEST, "bad-proxy-header", "X-Forwarded-For holds no address"
                ) from None
        if self._intake.allow and not any(peer in network for network in self._intake.allow):
            raise _RefusedError(HTTPStatus.FORBIDDEN, "address", "this address is not on the allow list")

    def _check_certificate(self, request: web.Request) -> None:
        tls = self._intake.tls
        if tls is None or not (tls.client_subjects or tls.client_fingerprints):
            return
        secured = request.get_extra_info("ssl_object")
        certificate = secured.getpeercert() if secured else None
        names = {value for part in (certificate or {}).get("subject", ()) for key, value in part if key == "commonName"}
        der = secured.getpeercert(binary_form=True) if secured else None
        print_ = hashlib.sha256(der).hexdigest() if der else ""
        wanted = {one.replace(":", "").lower() for one in tls.client_fingerprints}
        if not (names & set(tls.client_subjects) or print_ in wanted):
            raise _RefusedError(HTTPStatus.FORBIDDEN, "certificate", "this client certificate is not let in")

    def _check_body(self, request: web.Request) -> None:
        if request.headers.get("Content-Encoding", "identity") != "identity":
            raise _RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "encoding", "compressed bodies are not taken")
        if (request.content_length or 0) > self._intake.largest_body:
            raise _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large", "the body is larger than allowed")

    async def _outbound(self, request: web.Request) -> web.Response:
        route = self._routes.get(request.match_info["route"])
        if route is None:
            raise _RefusedError(
                HTTPStatus.NOT_FOUND, "no-route", "no route of this name takes outbound messages; see `routes.outbound`"
            )
        try:
            async with asyncio.timeout(self._intake.deadline.total_seconds()):
                message = outbound.parse(await request.read(), request.charset)
                self._judge(route, message)
                await self._accept(route, message)
        except OutboundMessageError as error:
            return self._fault(error.code, "malformed", str(error), error.notification_ids)
        except TimeoutError:
            return self._fault("Server", "too-slow", "not durable in time; send again", ())
        except RPCError as error:
            return self._fault("Server", "temporal", f"not durable ({error.status.name}); send again", ())
        self._count("accepted", len(message.notifications))
        return web.Response(body=outbound.ack(accepted=True), content_type=_XML, charset="utf-8")

    def _judge(self, route: Route, message: OutboundMessage) -> None:
        """Raise `OutboundMessageError` unless every notification can be taken; nothing has started by then."""
        ids = tuple(message_id.id for message_id in message.notifications)
        if message.org != self._settings.org(route.org).id:
            raise OutboundMessageError(
                f"OrganizationId {message.org} is not the org of route {route.name!r}", notification_ids=ids
            )
        if message.object not in (None, route.object):
            raise OutboundMessageError(
                f"route {route.name!r} takes {route.object}, not {message.object}", notification_ids=ids
            )
        for notification in message.notifications:
            if notification.fields is not None and notification.record is None:
                raise OutboundMessageError(
                    f"notification {notification.id} has no field Id; add it to the outbound message",
                    notification_ids=ids,
                )

    async def _accept(self, route: Route, message: OutboundMessage) -> None:
        """Start or signal every record's workflow at once; return when all are durable."""
        await asyncio.gather(
            *(
                self._start(route, message, notification, notification.record)
                for notification in message.notifications
                if notification.record is not None  # else it was deleted before delivery: there is nothing to look at
            )
        )

    async def _start(
        self, route: Route, message: OutboundMessage, notification: Notification, record: RecordId
    ) -> None:
        fields: dict[str, Any] = dict(notification.fields or {})
        await temporal.start_order(
            self._client,
            OrderStart(org=message.org, record=record, route=route.name, pace=self._settings.pace(route)),
            Message(
                id=notification.id,
                channel=Channel.OUTBOUND_MESSAGE,
                received_at=datetime.now(UTC),
                payload=fields if route.source == "event" else None,
                modified_at=_time(fields.get("SystemModstamp")),
            ),
            summary=mapping.summary_of(route, fields),
        )

    def _fault(self, code: FaultCode, outcome: str, text: str, notification_ids: tuple[str, ...]) -> web.Response:
        self._count(outcome, max(len(notification_ids), 1))
        _log.warning("no ack (%s): %s; notifications: %s", outcome, text, ", ".join(notification_ids) or "unknown")
        # HTTP 500 belongs to a Fault (SOAP 1.1, section 6.2); to Salesforce anything but 2xx means: send again.
        return web.Response(body=outbound.fault(code, text), status=500, content_type=_XML, charset="utf-8")

    def _count(self, outcome: str, messages: int) -> None:
        self._metrics.messages.add(messages, {"channel": Channel.OUTBOUND_MESSAGE, "outcome": outcome})


def _tls_context(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(tls.certificate, tls.key)
        if tls.client_ca is not None:
            context.load_verify_locations(tls.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (ssl.SSLError, OSError) as error:
        raise IntakeError(f"the files of intake.tls cannot be used: {error}") from error
    return context


def _time(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else None
