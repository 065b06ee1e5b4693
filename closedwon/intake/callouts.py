"""`POST /callouts/<route>` and `/callouts/<route>/soap`: callouts from Apex. `202` only when every record is durable.

Every request is signed (`closedwon.salesforce.push.signature`); the signature is checked before the body is parsed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

from aiohttp import web

from closedwon import names
from closedwon.intake.delivery import Delivery, MessageRefusedError
from closedwon.intake.limits import CALLER, Caller, Limits
from closedwon.salesforce.push import callout, callout_contract, soap
from closedwon.salesforce.push.callout import Accepted, AcceptedRecord, CalloutError, CalloutRequest
from closedwon.salesforce.push.signature import SeenSignatures, SignatureError, verify
from closedwon.settings import Route
from closedwon.telemetry.bounded import BoundedLog

_log = logging.getLogger(__name__)

_RETRY_AFTER: Final = "5"
"""Seconds. A Queueable that is enqueued again runs after about this time."""
_TEMPORARY: Final = frozenset({HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS})
_PROBLEM: Final = "application/problem+json"


class CalloutEndpoint:
    """Answers for the routes that accept callouts."""

    def __init__(self, routes: dict[str, Route], delivery: Delivery, limits: Limits) -> None:
        """`routes`: those that accept callouts, by name."""
        self._limits = limits
        self._routes = routes
        self._delivery = delivery
        self._log = BoundedLog(_log)
        self.address = ""
        """The address of intake for senders; empty before the server has started."""
        self._seen = SeenSignatures()

    async def take_json(self, request: web.Request) -> web.Response:
        """Answer a JSON call."""
        try:
            accepted = await self._take(request, lambda body: callout.parse_json(body, request.headers))
        except CalloutError as error:
            self._note(request, error)
            return web.Response(body=error.json_body(), status=error.status, content_type=_PROBLEM)
        return web.Response(body=accepted.json_body(), status=HTTPStatus.ACCEPTED, content_type="application/json")

    async def take_soap(self, request: web.Request) -> web.Response:
        """Answer a SOAP call."""
        try:
            accepted = await self._take(request, lambda body: callout.parse_soap(body, request.charset))
        except CalloutError as error:
            self._note(request, error)
            return _soap(error.soap_body(), HTTPStatus.INTERNAL_SERVER_ERROR)
        return _soap(accepted.soap_body(), HTTPStatus.OK)

    async def describe(self, request: web.Request) -> web.Response:
        """Serve the WSDL of the SOAP form."""
        return _soap(callout_contract.wsdl(f"{self.address}/callouts/{self._route(request).name}/soap"), HTTPStatus.OK)

    async def openapi(self, _request: web.Request) -> web.Response:
        """Serve the OpenAPI document of the JSON form."""
        return web.json_response(callout_contract.openapi())

    def refuse(self, request: web.Request, error: MessageRefusedError) -> web.Response:
        """Refuse a request, in the form of the call: SOAP or JSON."""
        headers = {"Retry-After": _RETRY_AFTER} if error.status in _TEMPORARY else {}
        if request.path.endswith("/soap"):
            code: soap.FaultCode = "Server" if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "Client"
            return _soap(soap.fault(code, str(error)), HTTPStatus.INTERNAL_SERVER_ERROR, headers)
        body = callout.problem_body(error.status, str(error))
        return web.Response(body=body, status=error.status, content_type=_PROBLEM, headers=headers)

    async def _take(self, request: web.Request, parse: Callable[[bytes], CalloutRequest]) -> Accepted:
        route = self._route(request)
        body = await request.read()
        caller = self._proven(route, request, body)
        with self._delivery.admitted(caller, route, body):
            with self._delivery.parsing(caller, route, body) as count:
                call = parse(body)
                count(len(call.items))
            notifications = [
                self._delivery.notification(item.record, item.id, dict(item.payload or {}) or None)
                for item in call.items
            ]
            try:
                self._delivery.check_org(route, call.org)
                await self._delivery.deliver(caller, route, notifications)
            except MessageRefusedError as error:
                error.ids = tuple(each.record for each in notifications)  # the caller's own ids may contain anything
                raise
        return Accepted(
            accepted=tuple(
                AcceptedRecord(
                    record_id=each.record, id=each.id, workflow_id=names.order_workflow_id(call.org, each.record)
                )
                for each in notifications
            )
        )

    def _note(self, request: web.Request, error: CalloutError) -> None:
        """Count and log a malformed call. Only the caller gets the list of wrong places."""
        self._delivery.count("malformed")
        self._log.warning("malformed", "callout to %s is malformed (%s): %s", request.path, error.status.value, error)

    def _proven(self, route: Route, request: web.Request, body: bytes) -> Caller:
        """Return the caller, whose signature proves its org. Raises `MessageRefusedError`."""
        keys = route.callouts.keys if route.callouts is not None else ()
        caller = request[CALLER]
        try:
            verify(request.headers, body, keys, datetime.now(UTC), self._seen, path=f"/callouts/{route.name}")
        except SignatureError as error:
            self._limits.charge_garbage(caller, len(body))
            raise MessageRefusedError(HTTPStatus.UNAUTHORIZED, error.reason, str(error)) from None
        return caller._replace(is_proven=True)

    def check(self, name: str) -> Route:
        """Return the route of this name. Raises `MessageRefusedError` if it does not accept callouts."""
        route = self._routes.get(name)
        if route is None:
            raise MessageRefusedError(
                HTTPStatus.NOT_FOUND, "no-route", "no route of this name accepts callouts; see `routes.callouts`"
            )
        return route

    def _route(self, request: web.Request) -> Route:
        return self.check(request.match_info["route"])


def _soap(body: bytes, status: HTTPStatus, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=body, status=status, headers={"Content-Type": soap.MEDIA_TYPE, **(headers or {})})
