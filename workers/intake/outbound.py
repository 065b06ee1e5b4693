"""`POST /outbound/<route>`: SOAP outbound messages. `Ack true` only when every notification is durable.

Salesforce knows only "acknowledged" and "send again for 24 hours", so everything else is a SOAP Fault, which says what
is wrong to whoever looks at the delivery status in Setup.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from closedwon.errors import ClosedwonError
from closedwon.salesforce import outbound
from closedwon.salesforce.contract import Contract
from closedwon.salesforce.outbound import OutboundMessage, OutboundMessageError
from closedwon.settings import Route
from workers.intake.delivery import Delivery, IntakeError, RefusedError, Word

_log = logging.getLogger(__name__)

_WITHOUT_CONTRACT: Final = {"Name": "xsd:string", "Amount": "xsd:double", "SystemModstamp": "xsd:dateTime"}
"""What the served WSDL shows for a route that names none: an example, since any fields are taken."""


class OutboundMessages:
    """Answers for the routes that take outbound messages."""

    def __init__(self, routes: dict[str, Route], delivery: Delivery, seconds: float) -> None:
        """Read the routes' contracts. Raises `IntakeError` for a WSDL that is none."""
        self._routes = routes
        self._delivery = delivery
        self._seconds = seconds
        self._contracts = {
            route.name: _contract(route.outbound.wsdl)
            for route in routes.values()
            if route.outbound is not None and route.outbound.wsdl is not None
        }

    async def take(self, request: web.Request) -> web.Response:
        """Answer one message."""
        route = self._route(request)
        try:
            message = outbound.parse(await request.read(), request.charset)
            self._judge(route, message)
        except OutboundMessageError as error:
            ids = ", ".join(error.notification_ids) or "unknown"
            _log.warning("outbound message to route %s is malformed: %s; notifications: %s", route.name, error, ids)
            self._delivery.count("malformed", max(len(error.notification_ids), 1))
            return _answer(outbound.fault(error.code, str(error)), HTTPStatus.INTERNAL_SERVER_ERROR)
        words = [
            Word(found.record, found.id, dict(found.fields or {}))
            for found in message.notifications
            if found.record is not None  # else it was deleted before delivery: there is nothing to look at
        ]
        await self._delivery.deliver(route, message.org, words, seconds=self._seconds)
        return _answer(outbound.ack(accepted=True), HTTPStatus.OK)

    async def describe(self, request: web.Request) -> web.Response:
        """Serve the contract as a WSDL."""
        route = self._route(request)
        contract = self._contracts.get(route.name) or Contract(object=route.object, fields=_WITHOUT_CONTRACT)
        return _answer(contract.wsdl(str(request.url.with_query(None))), HTTPStatus.OK)

    def refuse(self, error: RefusedError) -> web.Response:
        """Tell a caller that a request is not taken; a Fault comes with HTTP 500 (SOAP 1.1, section 6.2) or worse."""
        status = HTTPStatus.INTERNAL_SERVER_ERROR if error.reason == "not-durable" else error.status
        code: Any = "Server" if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "Client"
        return _answer(outbound.fault(code, str(error)), status)

    def _route(self, request: web.Request) -> Route:
        route = self._routes.get(request.match_info["route"])
        if route is None:
            raise RefusedError(
                HTTPStatus.NOT_FOUND, "no-route", "no route of this name takes outbound messages; see `routes.outbound`"
            )
        return route

    def _judge(self, route: Route, message: OutboundMessage) -> None:
        """Raise unless every notification can be taken; nothing has started by then."""
        self._delivery.check_org(route, message.org)
        ids = tuple(found.id for found in message.notifications)
        if message.object not in (None, route.object):
            raise OutboundMessageError(
                f"route {route.name!r} takes {route.object}, not {message.object}", notification_ids=ids
            )
        for found in message.notifications:
            if found.fields is not None and found.record is None:
                raise OutboundMessageError(
                    f"notification {found.id} has no field Id; add it to the outbound message", notification_ids=ids
                )
        contract = self._contracts.get(route.name)
        if contract is not None:
            contract.check(message)


def _contract(path: Path) -> Contract:
    try:
        return Contract.read(path.read_bytes())
    except ClosedwonError as error:
        raise IntakeError(f"routes.outbound.wsdl {path}: {error}") from error


def _answer(body: bytes, status: HTTPStatus) -> web.Response:
    return web.Response(body=body, status=status, headers={"Content-Type": outbound.MEDIA_TYPE})
