"""Salesforce for tests: settings of an org at an address, and small servers that misbehave in one named way each."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from aiohttp import web
from pydantic import SecretStr

from closedwon.ids import OrgId
from closedwon.settings import ClientCredentials, JwtBearer, Org

ORG_ID = OrgId("00D000000000001")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Misbehaviour = Callable[[int, dict[str, Any]], Awaitable[web.StreamResponse | None]]


def org_at(
    url: str,
    *,
    org_id: str = ORG_ID,
    client_id: str = "the-client",
    secret: str = "the-secret",  # noqa: S107
    timeout: float = 10.0,
) -> Org:
    """Settings of an org at `url`, with client credentials; `timeout` in seconds."""
    auth = ClientCredentials(flow="client-credentials", client_id=client_id, client_secret=SecretStr(secret))
    return Org(name="test", id=OrgId(org_id), url=url, auth=auth, timeout=timedelta(seconds=timeout))


def with_jwt(
    org: Org, private_key: str, *, username: str = "integration@example.com", client_id: str = "the-client"
) -> Org:
    """The same org with the JWT bearer flow."""
    auth = JwtBearer(flow="jwt-bearer", client_id=client_id, username=username, private_key=SecretStr(private_key))
    return org.model_copy(update={"auth": auth})


@asynccontextmanager
async def serving(handlers: Mapping[str, Handler]) -> AsyncIterator[str]:
    """Serve `{"METHOD /path": handler}` on a free port of localhost and yield the address."""
    app = web.Application()
    for where, handler in handlers.items():
        method, _, path = where.partition(" ")
        app.router.add_route(method, path, handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, handler_cancellation=True)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "localhost", 0)
        await site.start()
        yield f"http://localhost:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class Logins:
    """A token endpoint that counts. It answers what `answers` says, in turn; after that, fresh tokens of `org`."""

    def __init__(self, *answers: tuple[int, Any], org: str = ORG_ID) -> None:
        """Take (HTTP status, JSON body) pairs."""
        self.answers = list(answers)
        self._identity = f"https://login.salesforce.com/id/{org}/005000000000001AAA"
        self.requests: list[tuple[Mapping[str, str], Mapping[str, str]]] = []
        """Headers and form of every request."""

    @property
    def handlers(self) -> dict[str, Handler]:
        """For `serving`."""
        return {"POST /services/oauth2/token": self._answer}

    async def _answer(self, request: web.Request) -> web.Response:
        form = {key: str(value) for key, value in (await request.post()).items()}
        self.requests.append((dict(request.headers), form))
        fresh = {
            "access_token": f"00D!token-{len(self.requests)}",
            "instance_url": "https://instance.example.com",
            "id": self._identity,
        }
        status, body = self.answers.pop(0) if self.answers else (200, fresh)
        return web.json_response(body, status=status)


class CometdServer:
    """A CometD server with one subscriber in mind. `misbehave` may answer a request in its place.

    Its key is a meta channel (`connect`, ...), its value gets the number of the request on that channel, from 0, and
    the message, and returns the answer, or None to behave. Polls are held until `events` are there, at most for
    `hold` seconds.
    """

    def __init__(self, misbehave: Mapping[str, Misbehaviour], *, hold: float = 60.0) -> None:
        """Serve with `serving({**server.handlers, **logins.handlers})`."""
        self.requests: Counter[str] = Counter()
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._hold = hold
        self._misbehave = misbehave

    @property
    def handlers(self) -> dict[str, Handler]:
        """For `serving`."""
        return {"POST /cometd/67.0": self._answer}

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        (message,) = await request.json()
        name = message["channel"].removeprefix("/meta/")
        number = self.requests[name]
        self.requests[name] += 1
        misbehaviour = self._misbehave.get(name)
        strange = await misbehaviour(number, message) if misbehaviour else None
        return strange or web.json_response([*await self._events(name, number), self.reply(message)])

    async def _events(self, name: str, number: int) -> list[dict[str, Any]]:
        if name != "connect" or number == 0:
            return []
        try:
            async with asyncio.timeout(self._hold):
                return [await self.events.get()]
        except TimeoutError:
            return []

    @staticmethod
    def reply(message: dict[str, Any]) -> dict[str, Any]:
        """The successful reply to a message."""
        reply = {"channel": message["channel"], "id": message["id"], "clientId": "the-session", "successful": True}
        if message["channel"] == "/meta/handshake":
            return {**reply, "version": "1.0", "supportedConnectionTypes": ["long-polling"], "ext": {"replay": True}}
        if message["channel"] == "/meta/subscribe":
            return {**reply, "subscription": message["subscription"]}
        return {**reply, "advice": {"reconnect": "retry", "interval": 0, "timeout": 110_000}}
