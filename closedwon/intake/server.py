"""The server: its port, its limits, and the dispatch of requests. Health and metrics are on another port."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from typing import Any, Final, NoReturn

from aiohttp import web
from temporalio.client import Client

from activities.holds import Holds
from closedwon.intake.access import Access
from closedwon.intake.callouts import CalloutEndpoint
from closedwon.intake.connections import Connections, Door
from closedwon.intake.delivery import (
    Delivery,
    IntakeError,
    MessageRefusedError,
    OnDurable,
    answer_until,
    nothing,
)
from closedwon.intake.erp import ErpChanges
from closedwon.intake.limits import CALLER, Caller, Limits, busy, sender
from closedwon.intake.origin import NOTHING_HERE, Paths
from closedwon.intake.outbound import OutboundMessages
from closedwon.intake.sessions import Sessions
from closedwon.intake.tls import Handshake, ServerTls
from closedwon.model.routes import Channel
from closedwon.settings import Intake, Settings, warnings
from closedwon.telemetry.bounded import BoundedLog
from closedwon.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_http_log = logging.getLogger(f"{__name__}.http")

_LINGER: Final = 1.0
"""Seconds to read the rest of a refused request, so that its sender sees the answer."""
_IDLE: Final = 75.0
"""Seconds that a connection may stay open without a whole request, even if headers arrive byte by byte. Longer than
proxies keep idle connections (mostly 60 s); otherwise a proxy could send into a connection that was just closed."""
_APEX: Final = 8.0
"""Maximum seconds to answer a callout: Apex waits 10 s by default, and the network takes time, too."""


def _without_quotes(record: logging.LogRecord) -> bool:
    """Log only the kind of error: aiohttp's text quotes the request that it could not parse."""
    kind = (record.exc_info or (None,))[0]
    if kind is None:
        return True
    record.msg, record.exc_info = f"{record.msg}: {kind.__name__}", None
    return _unparseable.admits("unparseable request")


_unparseable = BoundedLog(_http_log)
_http_log.addFilter(_without_quotes)


class IntakeServer:
    """Listens, checks callers and limits, and dispatches requests."""

    def __init__(
        self,
        settings: Settings,
        intake: Intake,
        client: Client,
        metrics: Metrics,
        *,
        on_durable: OnDurable = nothing,
        holds: Holds | None = None,
    ) -> None:
        """`client` makes messages durable; `holds` are set by the running checks.

        Raises `IntakeError` for a contract that cannot be read.
        """
        self._intake = intake
        outbound = {route.name: route for route in settings.routes if route.outbound is not None}
        callouts = {route.name: route for route in settings.routes if route.callouts is not None}
        of_routes = [one for route in outbound.values() if route.outbound for one in route.outbound.client_fingerprints]
        self._access = Access(intake, of_routes)
        self._warnings = warnings(settings.model_copy(update={"intake": intake}))
        self._limits = Limits(intake)
        self._bounded = BoundedLog(_log)
        self._connections = Connections(intake.connections)
        self._deliveries = {
            channel: Delivery(settings, client, metrics, channel, self._limits, on_durable)
            for channel in (Channel.OUTBOUND_MESSAGE, Channel.CALLOUT)
        }
        self._outbound = OutboundMessages(
            outbound, self._deliveries[Channel.OUTBOUND_MESSAGE], Sessions(settings), holds or Holds()
        )
        self._callouts = CalloutEndpoint(callouts, self._deliveries[Channel.CALLOUT], self._limits)
        self._erp_changes = ErpChanges({erp.name: erp for erp in settings.erps}, client, self._limits)
        self._routes = sorted({*outbound, *callouts})
        self._paths = Paths([*self._routes, *(erp.name for erp in settings.erps)])
        self._metrics = metrics
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None
        self._watching: asyncio.Task[NoReturn] | None = None
        self.address = ""
        """The URL of the server; empty before `start`."""

    async def start(self) -> None:
        """Open the port. Raises `IntakeError`, whose text includes a hint."""
        app = web.Application(middlewares=[self._guard], client_max_size=self._intake.largest_body)
        for path in ("/outbound/{route}", "/outbound/{route}/{secret}"):
            app.router.add_post(f"{path}/tombstones", self._outbound.take_tombstones)
            app.router.add_post(path, self._outbound.take)
            app.router.add_get(path, self._outbound.describe)
        app.router.add_post("/callouts/{route}", self._callouts.take_json)
        app.router.add_post("/callouts/{route}/soap", self._callouts.take_soap)
        app.router.add_get("/callouts/{route}/soap", self._callouts.describe)
        app.router.add_post("/erp/{erp}", self._erp_changes.take)
        app.router.add_get("/openapi.json", self._callouts.openapi)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            auto_decompress=False,
            lingering_time=_LINGER,
            keepalive_timeout=_IDLE,
            logger=_http_log,
        )
        await self._runner.setup()
        serve: Any = self._runner.server
        if self._intake.tls is not None:
            ends = self._metrics.certificate_expires_at
            labels = {"link": "intake", "side": "ours"}
            tls = ServerTls(self._intake.tls, lambda at: ends.set(at.timestamp(), labels))
            serve = partial(Handshake, tls, serve, self._metrics.tls_failures)
            self._watching = asyncio.create_task(tls.keep_watching())
        serve = partial(Door, self._connections, serve)
        host, port = self._intake.host, self._intake.port
        try:
            self._listener = await asyncio.get_running_loop().create_server(serve, host, port, backlog=128)
        except OSError as error:
            raise IntakeError(
                f"intake.port {port} on {host} cannot be opened ({error.strerror}); set "
                "intake.host and intake.port to an address of this machine and a free port."
            ) from error
        port = self._listener.sockets[0].getsockname()[1]
        self.address = f"{'https' if self._intake.tls else 'http'}://{host}:{port}"
        # Not what a Host header says: a contract must not send messages to wherever its reader likes.
        for endpoint in (self._outbound, self._callouts):
            endpoint.address = self._intake.url or self.address
        for warning in self._warnings:
            _log.warning("%s", warning)
        _log.info("intake at %s, for the routes %s", self.address, ", ".join(self._routes) or "(none)")

    async def stop(self) -> None:
        """Close the port. Waits for the requests that are being answered."""
        if self._watching is not None:
            self._watching.cancel()
        if self._listener is not None:
            self._listener.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Refuse callers before the body is read; limit number, size and time of the other requests."""
        began = time.monotonic()
        peer = request.get_extra_info("peername")
        self._connections.began(peer)
        accepted = False
        try:
            response = await self._answer(request, handler)
            accepted = response.status < HTTPStatus.BAD_REQUEST and request.method == "POST"
        finally:
            self._connections.ended(peer, accepted=accepted)
        response.headers["X-Content-Type-Options"] = "nosniff"  # no browser makes a page of what a sender wrote
        if request.method == "POST":
            labels = {"channel": _channel(request), "outcome": "acknowledged" if accepted else "refused"}
            self._metrics.ack_latency.record(timedelta(seconds=time.monotonic() - began), labels)
        return response

    async def _answer(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        try:
            _check_path(request)
            address = sender(self._access.check(request))
            is_proven = self._check_route(request)
            caller = Caller(request.path.split("/", 2)[1], address, is_proven)
            self._check_form(request, caller)
            request[CALLER] = caller
            await self._read(request, caller)
            return await handler(request)
        except MessageRefusedError as error:
            return self._refuse(request, error)
        except Exception as error:  # noqa: BLE001 - on any error the request is not durable
            # Frames only: the text of an unexpected exception may contain field values.
            frames = "".join(traceback.format_tb(error.__traceback__))
            if self._bounded.admits("failed"):
                _log.error("request to %s failed with %s\n%s", self._paths.shown(request), type(error).__name__, frames)
            failed = MessageRefusedError(
                HTTPStatus.INTERNAL_SERVER_ERROR, "failed", "intake failed (see its log); send again"
            )
            return self._refuse(request, failed)

    def _check_route(self, request: web.Request) -> bool:
        """Raise `MessageRefusedError` for an unknown route; return whether path and certificate prove its org."""
        found = request.match_info
        if "erp" in found:
            self._erp_changes.check(found["erp"])
        elif _is_outbound(request):
            return self._outbound.check_origin(request, self._access.certificate(request))
        elif "route" in found:
            self._callouts.check(found["route"])
        return False

    async def _read(self, request: web.Request, caller: Caller) -> None:
        """Read the body, which the request object then stores, and set the deadline of the answer."""
        seconds = self._intake.deadline.total_seconds()
        if _channel(request) is Channel.CALLOUT:
            seconds = min(seconds, _APEX)
        until = asyncio.get_running_loop().time() + seconds
        answer_until.set(until)
        try:
            async with asyncio.timeout_at(until) as timeout:
                with self._limits.reading(caller, timeout):
                    await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise _too_large() from None
        except TimeoutError:
            if asyncio.get_running_loop().time() < until:  # another one took its place
                raise busy() from None
            raise MessageRefusedError(
                HTTPStatus.REQUEST_TIMEOUT, "slow", "the body did not arrive in time; send again"
            ) from None
        except ConnectionError:
            raise MessageRefusedError(HTTPStatus.BAD_REQUEST, "gone", "the sender closed the connection") from None

    def _refuse(self, request: web.Request, error: MessageRefusedError) -> web.Response:
        channel = _channel(request)
        self._deliveries[channel].count(error.reason)
        about = f"; {', '.join(error.ids)}" if error.ids else ""
        text = "request to %s refused (%s): %s%s"
        self._bounded.warning(f"{channel} {error.reason}", text, self._paths.shown(request), error.reason, error, about)
        return self._callouts.refuse(request, error) if channel is Channel.CALLOUT else self._outbound.refuse(error)

    def _check_form(self, request: web.Request, caller: Caller) -> None:
        if request.headers.get("Content-Encoding", "identity") != "identity":
            raise MessageRefusedError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "encoding", "compressed bodies are not supported"
            )
        if (request.content_length or 0) > self._limits.largest_body(caller):
            raise _too_large()


def _check_path(request: web.Request) -> None:
    unfit = request.match_info.http_exception
    if unfit is not None:
        raise MessageRefusedError(HTTPStatus(unfit.status), "no-route", NOTHING_HERE)


def _is_outbound(request: web.Request) -> bool:
    """Whether the path has the form of the paths of outbound messages."""
    resource = request.match_info.route.resource
    return resource is not None and resource.canonical.startswith("/outbound/")


def _channel(request: web.Request) -> Channel:
    """The channel, which decides the form of the answer. ERPs get the same form as Apex."""
    return Channel.CALLOUT if request.path.startswith(("/callouts", "/erp")) else Channel.OUTBOUND_MESSAGE


def _too_large() -> MessageRefusedError:
    return MessageRefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large", "the body is larger than allowed")
