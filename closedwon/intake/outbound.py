"""`POST /outbound/<route>`: SOAP outbound messages. `Ack true` only when every notification is durable.

Salesforce distinguishes only "acknowledged" and "send again for 24 hours". So every other answer is a SOAP Fault, whose
text an administrator sees as the delivery status in Setup.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from activities.holds import HeldError, Holds
from closedwon.acceptance import Notification
from closedwon.errors import ClosedwonError
from closedwon.intake.delivery import Delivery, IntakeError, MessageRefusedError
from closedwon.intake.limits import CALLER
from closedwon.intake.origin import NOTHING_HERE, check_origin, endpoint
from closedwon.intake.sessions import Sessions
from closedwon.mapping.orders import MappingError, deleted_record_of, event_record, qualifies
from closedwon.salesforce.bus.events import aware
from closedwon.salesforce.push import outbound
from closedwon.salesforce.push.contract import Contract
from closedwon.salesforce.push.outbound import OutboundMessage, OutboundMessageError
from closedwon.settings import Route, Tombstone
from closedwon.telemetry.bounded import BoundedLog

_log = logging.getLogger(__name__)

_WITHOUT_CONTRACT: Final = {"Name": "xsd:string", "Amount": "xsd:double", "SystemModstamp": "xsd:dateTime"}
"""The WSDL that is served for a route without one: an example, because such a route accepts any fields."""


class OutboundMessages:
    """Answers for the routes that accept outbound messages."""

    def __init__(self, routes: dict[str, Route], delivery: Delivery, sessions: Sessions, holds: Holds) -> None:
        """Read the routes' contracts. Raises `IntakeError` for a file that is not a WSDL."""
        self._holds = holds
        self._routes = routes
        self._sessions = sessions
        self._delivery = delivery
        self._log = BoundedLog(_log)
        self.address = ""
        """The address of intake for senders; empty before the server has started."""
        self._contracts = {
            route.name: _contract(route.outbound.wsdl)
            for route in routes.values()
            if route.outbound is not None and route.outbound.wsdl is not None
        }

    async def take(self, request: web.Request) -> web.Response:
        """Answer one message about records."""
        return await self._take(request, self._route(request), self._notifications)

    async def take_tombstones(self, request: web.Request) -> web.Response:
        """Answer one message about deleted records."""
        route = self._route(request)
        tombstone = route.outbound.tombstone if route.outbound is not None else None
        if tombstone is None:
            raise MessageRefusedError(
                HTTPStatus.NOT_FOUND,
                "no-route",
                "this route does not accept tombstones; see `routes.outbound.tombstone`",
            )
        return await self._take(request, route, partial(self._deletions, tombstone))

    async def _take(
        self, request: web.Request, route: Route, parse: Callable[[Route, OutboundMessage], list[Notification]]
    ) -> web.Response:
        """Answer one message. `parse` raises to refuse it as a whole, before any workflow has started."""
        ids: tuple[str, ...] = ()
        caller = request[CALLER]
        body = await request.read()
        try:
            with self._delivery.admitted(caller, route, body):
                with self._delivery.parsing(caller, route, body) as count:
                    message = outbound.parse(body, request.charset)
                    ids = tuple(found.id for found in message.notifications)
                    self._delivery.check_org(route, message.org)
                    count(len(ids))
                await self._delivery.deliver(caller, route, parse(route, message))
        except OutboundMessageError as error:
            ids = ids or error.notification_ids
            self._log.warning(
                "malformed",
                "outbound message to route %s is malformed: %s; %s",
                route.name,
                error,
                ", ".join(ids) or "no readable ids",
            )
            self._delivery.count("malformed", max(len(ids), 1))
            return _answer(outbound.fault(error.code, str(error)), HTTPStatus.INTERNAL_SERVER_ERROR)
        except MessageRefusedError as error:
            error.ids = ids
            raise
        return _answer(outbound.ack(accepted=True), HTTPStatus.OK)

    async def describe(self, request: web.Request) -> web.Response:
        """Serve the contract as a WSDL."""
        route = self._route(request)
        contract = self._contracts.get(route.name) or Contract(object=route.object, fields=_WITHOUT_CONTRACT)
        return _answer(contract.wsdl(endpoint(self.address, route)), HTTPStatus.OK)

    def check_origin(self, request: web.Request, certificate: bytes | None) -> bool:
        """Return whether path and certificate prove the route's org. Does not read the body.

        Raises `MessageRefusedError` unless they fit the route.
        """
        check_origin(self._routes, request, certificate)
        route = self._route(request)
        is_proven = route.outbound is not None and route.outbound.proves_org
        if not is_proven:
            try:
                self._holds.check_push(route)
            except HeldError:
                raise MessageRefusedError(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    "held",
                    "this route is on hold (the log of intake says why); send again",
                ) from None
        return is_proven

    def refuse(self, error: MessageRefusedError) -> web.Response:
        """Refuse a request with a Fault. Its status is 500 for a temporary failure (SOAP 1.1, section 6.2)."""
        status = HTTPStatus.INTERNAL_SERVER_ERROR if error.reason == "not-durable" else error.status
        code: Any = "Server" if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "Client"
        return _answer(outbound.fault(code, str(error)), status)

    def _route(self, request: web.Request) -> Route:
        route = self._routes.get(request.match_info["route"])
        if route is None:
            raise MessageRefusedError(HTTPStatus.NOT_FOUND, "no-route", NOTHING_HERE)
        return route

    def _notifications(self, route: Route, message: OutboundMessage) -> list[Notification]:
        if message.object not in (None, route.object):
            raise OutboundMessageError(f"route {route.name!r} accepts {route.object}, not {message.object}")
        contract = self._contracts.get(route.name)
        if contract is not None:
            contract.check(message)
        if route.outbound is not None and route.outbound.unqualified == "refuse":
            _check_qualified(route, message)
        session = self._sessions.sealed(route, message)
        return [
            self._delivery.notification(found.record, found.id, dict(found.fields or {}) or None, session=session)
            for found in message.notifications
            if found.record is not None  # otherwise it was deleted before delivery: there is no record to read
        ]

    def _deletions(self, tombstone: Tombstone, route: Route, message: OutboundMessage) -> list[Notification]:
        if message.object not in (None, tombstone.object):
            raise OutboundMessageError(
                f"route {route.name!r} accepts tombstones of {tombstone.object}, not {message.object}"
            )
        try:
            return [
                self._delivery.notification(
                    deleted_record_of(route, tombstone, found.fields),
                    found.id,
                    modified_at=aware(found.fields.get("SystemModstamp")),
                    deleted=True,
                )
                for found in message.notifications
                if found.fields is not None  # otherwise the tombstone itself was deleted, with its data
            ]
        except ClosedwonError as error:
            raise OutboundMessageError(str(error)) from None


def _check_qualified(route: Route, message: OutboundMessage) -> None:
    for found in message.notifications:
        if found.fields is None:
            continue
        try:
            qualified = qualifies(route, event_record(route, dict(found.fields)))
        except MappingError as error:
            raise OutboundMessageError(f"notification {found.id}: {error}") from None
        if not qualified:
            raise OutboundMessageError(
                f"notification {found.id} does not qualify (route {route.name!r}, `qualify`); correct the condition "
                "of the outbound message"
            )


def _contract(path: Path) -> Contract:
    try:
        return Contract.read(path.read_bytes())
    except ClosedwonError as error:
        raise IntakeError(f"routes.outbound.wsdl {path}: {error}") from error


def _answer(body: bytes, status: HTTPStatus) -> web.Response:
    return web.Response(body=body, status=status, headers={"Content-Type": outbound.MEDIA_TYPE})
