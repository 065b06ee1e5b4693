"""A served org in the test's event loop, and a minimal client that shows the exact messages."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, NamedTuple

import aiohttp
import pytest

from closedwon.emulators.salesforce import OrgConfig, SalesforceEmulator
from tests.support.waiting import STALL

CHANNEL = "/event/Order_Requested__e"
API = "/services/data/v67.0"


class Reply(NamedTuple):
    """An HTTP answer, read."""

    status: int
    body: Any
    headers: Any

    @property
    def code(self) -> str:
        """The errorCode of a REST error list."""
        assert isinstance(self.body, list), self.body
        return str(self.body[0]["errorCode"])


class Wire:
    """Raw HTTP to an org, logged in."""

    def __init__(self, org: SalesforceEmulator, http: aiohttp.ClientSession) -> None:
        """Send over `http`."""
        self.org = org
        self.http = http
        self.token = org.oauth.issue(org.integration_user)

    async def call(self, method: str, path: str, body: Any = None, **arguments: Any) -> Reply:
        """One request with a bearer token; `body` is sent as JSON."""
        headers = {"Authorization": f"Bearer {self.token}"} | arguments.pop("headers", {})
        async with self.http.request(method, path, json=body, headers=headers, **arguments) as response:
            text = await response.text()
            parsed = json.loads(text) if response.content_type == "application/json" and text else text or None
            return Reply(response.status, parsed, response.headers)

    async def rest(self, method: str, path: str, body: Any = None, **arguments: Any) -> Reply:
        """A call below the newest version."""
        return await self.call(method, API + path, body, **arguments)

    async def admin(self, method: str, path: str, body: Any = None) -> Reply:
        """A call of the administration."""
        headers = {"Authorization": f"Bearer {self.org.credentials.admin_token}"}
        return await self.call(method, f"/_admin/{path}", body, headers=headers)

    async def bayeux(self, *messages: dict[str, Any], version: str = "67.0", **arguments: Any) -> list[dict[str, Any]]:
        """A CometD request and its replies."""
        reply = await self.call("POST", f"/cometd/{version}", list(messages), **arguments)
        assert reply.status == 200, reply
        found: list[dict[str, Any]] = reply.body
        return found


class Subscriber:
    """A minimal CometD client: handshake, subscribe, poll."""

    def __init__(self, wire: Wire) -> None:
        """Send over `wire`."""
        self.wire = wire
        self.client_id = ""

    async def handshake(self, **arguments: Any) -> dict[str, Any]:
        """Do the handshake."""
        types = ["websocket", "long-polling", "in-process"]
        message = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": types, "id": "1"}
        reply = (await self.wire.bayeux(message, **arguments))[0]
        self.client_id = reply.get("clientId", "")
        return reply

    def message(self, name: str, **fields: Any) -> dict[str, Any]:
        """A message of this session."""
        return {"channel": f"/meta/{name}", "clientId": self.client_id, "id": "7", **fields}

    async def send(self, name: str, **fields: Any) -> dict[str, Any]:
        """Send one message and return its reply."""
        return (await self.wire.bayeux(self.message(name, **fields)))[-1]

    async def subscribe(self, replay: Any = None, channel: Any = CHANNEL) -> dict[str, Any]:
        """Subscribe from a replay position."""
        ext = {} if replay is None else {"ext": {"replay": {channel: replay}}}
        return await self.send("subscribe", subscription=channel, **ext)

    def connect(self, **fields: Any) -> dict[str, Any]:
        """A connect message."""
        return self.message("connect", connectionType="long-polling", **fields)

    async def poll(self, **arguments: Any) -> list[dict[str, Any]]:
        """One connect request: events and the reply."""
        return await self.wire.bayeux(self.connect(), **arguments)

    async def start(self, replay: Any = -1) -> None:
        """Do the handshake, connect for the first time and subscribe."""
        assert (await self.handshake())["successful"]
        assert (await self.poll())[-1]["successful"]
        assert (await self.subscribe(replay))["successful"]


def events(replies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events among replies."""
    return [reply for reply in replies if "data" in reply]


async def held(org: SalesforceEmulator, count: int = 1) -> None:
    """Wait until polls are held."""
    async with asyncio.timeout(STALL):
        await org.cometd.until_held(count)


def names(replies: list[dict[str, Any]]) -> list[str]:
    """The Account_Name__c of each event among replies."""
    return [one["data"]["payload"]["Account_Name__c"] for one in events(replies)]


def publish(org: SalesforceEmulator, *names_: str) -> None:
    """Publish events that are distinguished by a name."""
    for name in names_:
        org.publish("Order_Requested__e", Account_Name__c=name)


@pytest.fixture
async def org() -> AsyncIterator[SalesforceEmulator]:
    """A served org in memory, with a short poll."""
    async with SalesforceEmulator.running(config=OrgConfig(poll_timeout=timedelta(seconds=5))) as running:
        yield running


@pytest.fixture
async def wire(org: SalesforceEmulator) -> AsyncIterator[Wire]:
    """A raw client of the org."""
    async with aiohttp.ClientSession(org.url) as http:
        yield Wire(org, http)


@pytest.fixture
def subscriber(wire: Wire) -> Subscriber:
    """A bare CometD client of the org."""
    return Subscriber(wire)
