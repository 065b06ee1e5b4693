"""The web application of an org: dispatches HTTP requests to the parts of the org. No decisions here.

One handler takes every path, because real clients also request `//services/...`. Lost responses and cut polls are
dropped connections: the transport is aborted without a response.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from aiohttp import web

from closedwon.emulators.pages import LOOPBACK
from closedwon.emulators.salesforce.admin import Admin
from closedwon.emulators.salesforce.api.calls import ApiRequest, ApiResponse, split_path, versions
from closedwon.emulators.salesforce.api.oauth import OAuthError, bearer
from closedwon.emulators.salesforce.bus import bayeux, cometd
from closedwon.emulators.salesforce.errors import ApiError, not_found, session_invalid
from closedwon.emulators.salesforce.faults import Fault
from closedwon.emulators.salesforce.org import EmulatedOrg
from closedwon.emulators.salesforce.page import OrgPages

_log = logging.getLogger(__name__)

_MAX_URI = 16_384
_MAX_BODY = 50 * 1024 * 1024
_NO_STORE = {"Cache-Control": "no-store"}


def build(org: EmulatedOrg, host: str = LOOPBACK) -> web.Application:
    """The application that serves `org` at the address `host`."""
    app = web.Application(client_max_size=_MAX_BODY)
    app.router.add_route("*", "/{path:.*}", _Dispatcher(org, host).handle)
    return app


class _Dispatcher:
    """Passes each request to the part of the org that handles it."""

    def __init__(self, org: EmulatedOrg, host: str) -> None:
        self._org = org
        self._admin = Admin(org)
        self._pages = OrgPages(org, self._admin.faults, host=host)
        self._parts: tuple[tuple[str, Callable[[web.Request, str], Awaitable[web.StreamResponse]]], ...] = (
            ("/services/oauth2/", self._oauth),
            ("/services/data", self._rest),
            ("/cometd", self._cometd),
        )

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = "/" + request.path.lstrip("/")
        if path.startswith("/_admin"):
            return await self._admin.handle(request, path)
        if self._pages.has(path):
            return await self._pages.handle(request, path)
        if (stopped := self._stopped()) is not None:
            return stopped
        for prefix, part in self._parts:
            if path.startswith(prefix):
                return await part(request, path)
        return _refused(not_found())

    def _stopped(self) -> web.Response | None:
        """The response of a fault that stands before the whole org, or None."""
        if self._org.faults.is_down:
            down = ApiError("SERVER_UNAVAILABLE", "Service Unavailable")
            return web.json_response(down.rest_body(), status=down.status)
        if self._org.faults.is_unauthorized:
            return _page(401, "Unauthorized")
        return _page(400, "Access Declined") if self._org.faults.strikes(Fault.EDGE_PAGE) else None

    # OAuth

    async def _oauth(self, request: web.Request, path: str) -> web.Response:
        name = path.removeprefix("/services/oauth2/").rstrip("/")
        if name == "userinfo":
            return self._userinfo(request)
        if request.method != "POST" or name not in {"token", "revoke"}:
            return _refused(not_found())
        form = {key: str(value) for key, value in (await request.post()).items()}
        if name == "revoke":
            known = self._org.oauth.revoke(form.get("token", ""))
            self._org.cometd.recheck_polls()
            return web.Response(status=200 if known else 400)
        try:
            authorization = request.headers.get("Authorization")
            body = self._org.oauth.grant(form, authorization=authorization, origin=_origin(request))
        except OAuthError as error:
            return web.json_response(error.body, status=400, headers=_NO_STORE)
        return web.json_response(body, headers=_NO_STORE)

    def _userinfo(self, request: web.Request) -> web.Response:
        token = bearer(request.headers.get("Authorization"))
        if token is None:
            return web.Response(status=403, text="Missing_OAuth_Token")
        user_id = self._org.oauth.user_of(token)
        row = self._org.store.get("User", user_id) if user_id else None
        if row is None:
            return web.Response(status=403, text="Bad_OAuth_Token")
        origin = _origin(request)
        return web.json_response(
            {
                "sub": f"{origin}/id/{self._org.org_id}/{user_id}",
                "user_id": user_id,
                "organization_id": self._org.org_id,
                "preferred_username": row["Username"],
                "name": row["Name"],
                "email": row["Email"],
                "active": bool(row["IsActive"]),
                "urls": {"rest": f"{origin}/services/data/v{{version}}/"},
            }
        )

    # REST

    async def _rest(self, request: web.Request, path: str) -> web.Response:
        if path.rstrip("/") == "/services/data":
            return web.json_response(versions())
        body = await request.read()
        # Nothing awaits before the call has run: it is atomic, even if its response is held back.
        before = self._org.records.commits
        answer = self._answer(request, path, body)
        locked = self._org.records.locks.taken()
        if self._org.records.commits > before and self._org.faults.strikes(Fault.LOST_ANSWER):
            _drop(request)
        if answer.status >= HTTPStatus.BAD_REQUEST:
            _log.info("%s %s: response %s %s", request.method, path, answer.status, answer.body[0]["errorCode"])
        if locked and self._org.faults.slow_write_seconds > 0:
            with self._org.records.locks.holding(locked):
                await asyncio.sleep(self._org.faults.slow_write_seconds)
        used = f"api-usage={self._org.api_calls.total()}/{self._org.config.daily_api_requests}"
        headers = {**answer.headers, "Sforce-Limit-Info": used}
        if answer.body is None:
            return web.Response(status=answer.status, headers=headers)
        if isinstance(answer.body, str):
            return web.Response(text=answer.body, content_type="text/csv", headers=headers)
        return web.json_response(answer.body, status=answer.status, headers=headers)

    def _answer(self, request: web.Request, path: str, body: bytes) -> ApiResponse:
        try:
            user = self._user(request)
            version, below = split_path(path)
            self._org.api_calls[self._org.rest.template(request.method, below)] += 1
            self._org.faults.refuse_call()
        except ApiError as error:
            return ApiResponse(error.status, error.rest_body())
        call = ApiRequest(
            method=request.method,
            path=below,
            version=version,
            user=user,
            query=request.query,
            headers=request.headers,
            body=body,
        )
        return self._org.rest.call(call)

    def _user(self, request: web.Request) -> str:
        if len(request.raw_path) > _MAX_URI:
            raise ApiError("URI_TOO_LONG", "URI Too Long")
        user = self._org.oauth.user_of(bearer(request.headers.get("Authorization")))
        if user is None:
            raise session_invalid()
        return user

    # CometD

    async def _cometd(self, request: web.Request, path: str) -> web.Response:
        faults = self._org.faults
        if faults.strikes(Fault.COMETD_UNAUTHORIZED):
            return _refused(session_invalid())
        version = path.removeprefix("/cometd").strip("/").removeprefix("replay/")
        if (error := bayeux.version_error(version)) is not None:
            return web.json_response([{"error": error, "successful": False}], status=400)
        body = await request.read()
        if len(body) > bayeux.MAX_BODY:
            too_big = {"error": "413::Maximum Request Size Exceeded", "successful": False}
            return web.json_response([too_big], status=413)
        messages = _messages(body)
        if messages is None:
            return web.json_response([{"error": "400::Invalid message", "successful": False}], status=400)
        return await self._replies(request, float(version), messages)

    async def _replies(self, request: web.Request, version: float, messages: list[dict[str, Any]]) -> web.Response:
        faults = self._org.faults
        token = bearer(request.headers.get("Authorization"), raw_allowed=True)
        asked = cometd.Request(version, token, request.cookies.get(bayeux.COOKIE))
        try:
            replies = await self._org.cometd.answer(asked, messages)
        except cometd.CutPoll:
            _drop(request)
            return web.Response()
        except cometd.DuplicatePoll:
            return web.Response(status=500)  # CometD's duplicateMetaConnectHttpResponseCode
        if any("data" in reply for reply in replies) and faults.strikes(Fault.LOST_EVENTS):
            _drop(request)
        if faults.is_mute:
            await faults.until_audible()
            _drop(request)
        text = json.dumps(replies)
        if faults.strikes(Fault.BROKEN_JSON):
            text = text[: len(text) // 2]
        response = web.Response(text=text, content_type="application/json")
        self._set_cookie(response, asked, replies)
        return response

    def _set_cookie(self, response: web.Response, asked: cometd.Request, replies: list[dict[str, Any]]) -> None:
        for reply in replies:
            client = self._org.cometd.clients.get(str(reply.get("clientId")))
            if reply.get("channel") == "/meta/handshake" and client is not None and client.browser != asked.browser:
                response.set_cookie(bayeux.COOKIE, client.browser, path="/", httponly=True)


def _messages(body: bytes) -> list[dict[str, Any]] | None:
    """The Bayeux messages of a body; a single one needs no list."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return None
    messages = parsed if isinstance(parsed, list) else [parsed]
    return messages if messages and all(isinstance(message, dict) for message in messages) else None


def _drop(request: web.Request) -> None:
    """Abort the connection: a later response does not arrive."""
    if request.transport is not None:
        request.transport.abort()


def _page(status: int, title: str) -> web.Response:
    """A page of what stands before an org: it is not JSON and has no error code."""
    text = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
    return web.Response(status=status, text=text, content_type="text/html")


def _origin(request: web.Request) -> str:
    return str(request.url.origin())


def _refused(error: ApiError) -> web.Response:
    return web.json_response(error.rest_body(), status=error.status)
