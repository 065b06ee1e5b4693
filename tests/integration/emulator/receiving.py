"""An org that pushes to a receiver of the test's own."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from closedwon.emulators.salesforce import OrgConfig, SalesforceEmulator
from closedwon.emulators.salesforce.config import CalloutDefinition, OutboundDefinition
from closedwon.salesforce.push import callout, outbound
from tests.support.handoff import until

FIELDS = ("Id", "Name", "Amount", "StageName")
KEY = "a key that both ends know, made for one test"


class Receiver:
    """Receives pushes, reads them with the product's own parsers, and gives scripted answers."""

    def __init__(self) -> None:
        self.messages: list[outbound.OutboundMessage] = []
        self.calls: list[callout.CalloutRequest] = []
        self.bodies: list[bytes] = []
        self.headers: list[Any] = []
        self.peers: list[str] = []
        self.status, self.body = 200, outbound.ack(accepted=True)
        self.call_status = 202
        self.open = asyncio.Event()
        self.open.set()
        self.url = ""

    async def take_message(self, request: web.Request) -> web.Response:
        """Read an outbound message."""
        peer = request.transport.get_extra_info("peercert") if request.transport else None
        self.peers.append(str(peer["subject"][0][0][1]) if peer else "")
        self.bodies.append(await request.read())
        self.messages.append(outbound.parse(self.bodies[-1]))
        await self.open.wait()
        return web.Response(body=self.body, status=self.status, content_type="text/xml")

    async def redirect(self, _request: web.Request) -> web.Response:
        """Redirect the caller to the endpoint of messages, keeping the method."""
        return web.Response(status=307, headers={"Location": self.url})

    async def take_call(self, request: web.Request) -> web.Response:
        """Read a callout."""
        self.headers.append(request.headers)
        self.bodies.append(await request.read())
        self.calls.append(callout.parse_json(self.bodies[-1], request.headers))
        return web.json_response({"detail": "as scripted"}, status=self.call_status)

    async def take_soap(self, request: web.Request) -> web.Response:
        """Read a callout in its SOAP form."""
        self.headers.append(request.headers)
        self.bodies.append(await request.read())
        self.calls.append(callout.parse_soap(self.bodies[-1]))
        return web.Response(body=callout.Accepted(accepted=()).soap_body(), content_type="text/xml")

    @property
    def records(self) -> list[list[str | None]]:
        """The records of each message."""
        return [[one.record for one in message.notifications] for message in self.messages]


@asynccontextmanager
async def receiver_at(tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """A receiver on a free port."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/", receiver.take_message)
    app.router.add_post("/moved", receiver.redirect)
    app.router.add_post("/call", receiver.take_call)
    app.router.add_post("/soap", receiver.take_soap)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    receiver.url = f"{'https' if tls else 'http'}://localhost:{runner.addresses[0][1]}/"
    try:
        yield receiver
    finally:
        receiver.open.set()
        await runner.cleanup()


def won(endpoint: str, **changes: Any) -> OutboundDefinition:
    """The definition of most tests."""
    return OutboundDefinition.model_validate({"name": "won", "endpoint": endpoint, "fields": FIELDS, **changes})


def called(receiver: Receiver, **changes: Any) -> CalloutDefinition:
    """A callout to the receiver."""
    settings = {"name": "called", "endpoint": f"{receiver.url}call", "fields": FIELDS, "key": KEY, **changes}
    return CalloutDefinition.model_validate(settings)


@asynccontextmanager
async def receiving(path: Path | None = None, **config: object) -> AsyncIterator[tuple[SalesforceEmulator, Receiver]]:
    """An org that sends to a receiver of our own."""
    async with receiver_at() as receiver:
        settings = OrgConfig.model_validate({"outbound_messages": (won(receiver.url),), **config})
        async with SalesforceEmulator.running(config=settings, path=path) as org:
            yield org, receiver


@asynccontextmanager
async def pushing(
    *definitions: OutboundDefinition | CalloutDefinition, path: Path | None = None, **config: object
) -> AsyncIterator[SalesforceEmulator]:
    """An org with definitions of the test's own and three open deals."""
    messages = tuple(one for one in definitions if isinstance(one, OutboundDefinition))
    calls = tuple(one for one in definitions if isinstance(one, CalloutDefinition))
    settings = OrgConfig.model_validate({"outbound_messages": messages, "callouts": calls, **config})
    async with SalesforceEmulator.running(config=settings, path=path) as org:
        org.seed(3)
        yield org


async def until_settled(org: SalesforceEmulator) -> None:
    """Wait until nothing waits and nothing has failed."""
    await until(lambda: not org.outbox.queued())


async def until_tried(org: SalesforceEmulator, attempts: Sequence[int]) -> None:
    """Wait until the queued notifications were tried so often."""
    await until(lambda: list(attempts) == [one.attempts for one in org.outbox.queued()])
