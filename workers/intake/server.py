"""The server: its port, its TLS, and who may speak to it. Health and metrics are on another port."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import logging
import ssl
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from aiohttp import web
from temporalio.client import Client

from closedwon.model import Channel
from closedwon.settings import Intake, Settings, Tls
from closedwon.telemetry import Metrics
from workers.intake.callouts import Callouts
from workers.intake.delivery import Delivery, IntakeError, Rates, RefusedError
from workers.intake.outbound import OutboundMessages

_log = logging.getLogger(__name__)

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_LINGER: Final = 1.0
"""Seconds to read the rest of a request that was refused, so that its sender sees the answer."""


class IntakeServer:
    """Listens, checks who speaks, hands over."""

    def __init__(self, settings: Settings, intake: Intake, client: Client, metrics: Metrics) -> None:
        """Take the client that makes messages durable. Raises `IntakeError` for a contract that is none."""
        self._intake = intake
        outbound = {route.name: route for route in settings.routes if route.outbound is not None}
        callouts = {route.name: route for route in settings.routes if route.callouts is not None}
        seconds = intake.deadline.total_seconds()
        rates = Rates(intake.requests_per_second)
        self._deliveries = {
            channel: Delivery(settings, client, metrics, channel, rates)
            for channel in (Channel.OUTBOUND_MESSAGE, Channel.CALLOUT)
        }
        self._outbound = OutboundMessages(outbound, self._deliveries[Channel.OUTBOUND_MESSAGE], seconds)
        self._callouts = Callouts(callouts, self._deliveries[Channel.CALLOUT], seconds)
        self._routes = sorted({*outbound, *callouts})
        self._at_work = 0
        self._runner: web.AppRunner | None = None
        self.address = ""
        """Where it listens, once started."""

    async def start(self) -> None:
        """Open the port. Raises `IntakeError` with the cure."""
        app = web.Application(middlewares=[self._guard], client_max_size=self._intake.largest_body)
        app.router.add_post("/outbound/{route}", self._outbound.take)
        app.router.add_post("/outbound/{route}/tombstones", self._outbound.take_tombstones)
        app.router.add_get("/outbound/{route}", self._outbound.describe)
        app.router.add_post("/callouts/{route}", self._callouts.take_json)
        app.router.add_post("/callouts/{route}/soap", self._callouts.take_soap)
        app.router.add_get("/callouts/{route}/soap", self._callouts.describe)
        app.router.add_get("/openapi.json", self._callouts.openapi)
        self._runner = web.AppRunner(app, access_log=None, auto_decompress=False, lingering_time=_LINGER)
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
        _log.info("intake at %s, for the routes %s", self.address, ", ".join(self._routes) or "(none)")

    async def stop(self) -> None:
        """Close the port; what is being answered is answered."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Turn away who may not speak, before the body is read; bound number, size and time of the rest."""
        self._at_work += 1
        try:
            self._check_room()
            self._check_address(request)
            self._check_certificate(request)
            self._check_body(request)
            async with asyncio.timeout(self._intake.deadline.total_seconds() + _LINGER):
                return await handler(request)
        except RefusedError as error:
            return self._refuse(request, error)
        except web.HTTPRequestEntityTooLarge:
            return self._refuse(request, _too_large())
        except TimeoutError:
            slow = RefusedError(HTTPStatus.REQUEST_TIMEOUT, "slow", "the body did not arrive in time; send again")
            return self._refuse(request, slow)
        finally:
            self._at_work -= 1

    def _refuse(self, request: web.Request, error: RefusedError) -> web.Response:
        is_callout = request.path.startswith("/callouts")
        self._deliveries[Channel.CALLOUT if is_callout else Channel.OUTBOUND_MESSAGE].count(error.reason)
        _log.warning("request to %s refused (%s): %s", request.path, error.reason, error)
        return self._callouts.refuse(request, error) if is_callout else self._outbound.refuse(error)

    def _check_room(self) -> None:
        if self._at_work > self._intake.concurrent_requests:
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "busy", "too many requests at once; send again")

    def _check_address(self, request: web.Request) -> None:
        peer = ipaddress.ip_address((request.remote or "0.0.0.0").partition("%")[0])  # noqa: S104 - nowhere, not all
        forwarded = request.headers.get("X-Forwarded-For")
        if forwarded and any(peer in network for network in self._intake.proxies):
            try:
                peer = ipaddress.ip_address(forwarded.rpartition(",")[2].strip())
            except ValueError:
                raise RefusedError(
                    HTTPStatus.BAD_REQUEST, "bad-proxy-header", "X-Forwarded-For holds no address"
                ) from None
        if self._intake.allow and not any(peer in network for network in self._intake.allow):
            raise RefusedError(HTTPStatus.FORBIDDEN, "address", "this address is not on the allow list")

    def _check_certificate(self, request: web.Request) -> None:
        """Salesforce's default client certificate is shared by all orgs: ask for a name or a fingerprint."""
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
            raise RefusedError(HTTPStatus.FORBIDDEN, "certificate", "this client certificate is not let in")

    def _check_body(self, request: web.Request) -> None:
        if request.headers.get("Content-Encoding", "identity") != "identity":
            raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "encoding", "compressed bodies are not taken")
        if (request.content_length or 0) > self._intake.largest_body:
            raise _too_large()


def _too_large() -> RefusedError:
    return RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large", "the body is larger than allowed")


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
