"""What a CometD connection does and does not do, against servers that are strange in one way each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from aiohttp import web

from closedwon.salesforce.api.auth import TokenSource
from closedwon.salesforce.bus.events import EARLIEST
from closedwon.salesforce.bus.streaming import CometdStream
from closedwon.salesforce.errors import ConfigurationError, StreamInterruptedError
from tests.integration.salesforce.reading import CHANNEL, take
from tests.support.handoff import until
from tests.support.salesforce import CometdServer, Logins, org_at, serving


@asynccontextmanager
async def stream_to(server: CometdServer) -> AsyncIterator[CometdStream]:
    """A stream to a served `server`; steps that are never answered time out after a second."""
    async with serving({**server.handlers, **Logins().handlers}) as url:
        org = org_at(url, timeout=1.0)
        stream = CometdStream(org, TokenSource(org))
        try:
            yield stream
        finally:
            await stream.close()


def event(number: int) -> dict[str, Any]:
    """An event message."""
    return {"channel": CHANNEL, "data": {"event": {"replayId": number}}}


async def test_events_that_come_with_the_subscription_are_first() -> None:
    """No poll is held while the subscription is made, so that its answer and a poll's cannot overtake each other."""

    async def slow_with_events(_: int, message: dict[str, Any]) -> web.Response:
        server.events.put_nowait(event(4))
        with suppress(TimeoutError):
            await until(server.events.empty, stall=0.2)
        return web.json_response([event(1), event(2), event(3), server.reply(message)])

    server = CometdServer({"subscribe": slow_with_events})
    async with stream_to(server) as stream:
        await stream.subscribe(CHANNEL, EARLIEST)
        events = await take(stream, 4)

    assert ["1", "2", "3", "4"] == [event.replay_id for event in events]


async def test_the_first_poll_asks_to_be_answered_at_once() -> None:
    """A server that would hold the first poll does not delay the subscription."""

    async def hold_unless_asked(number: int, message: dict[str, Any]) -> None:
        if number == 0 and message.get("advice") != {"timeout": 0}:
            await asyncio.Event().wait()

    async with stream_to(CometdServer({"connect": hold_unless_asked})) as stream:
        await stream.subscribe(CHANNEL, EARLIEST)


async def test_a_disconnect_without_a_reason_ends_the_stream() -> None:
    """A server's own /meta/disconnect is the end, even beside a good answer; the events before it are kept."""

    async def goodbye(number: int, message: dict[str, Any]) -> web.Response | None:
        farewell = {"channel": "/meta/disconnect", "successful": True}
        return web.json_response([event(1), farewell, server.reply(message)]) if number else None

    server = CometdServer({"connect": goodbye})
    async with stream_to(server) as stream:
        await stream.subscribe(CHANNEL, EARLIEST)
        events = await take(stream, 1)
        with pytest.raises(StreamInterruptedError, match="/meta/disconnect"):
            await anext(stream.batches())

    assert ["1"] == [event.replay_id for event in events]


async def test_the_token_does_not_follow_a_redirect() -> None:
    """An org that redirects is a matter of configuration; the other address sees nothing."""
    other = CometdServer({})
    async with serving(other.handlers) as elsewhere:

        async def redirect(*_: object) -> web.Response:
            return web.Response(status=307, headers={"Location": f"{elsewhere}/cometd/67.0"})

        async with stream_to(CometdServer({"handshake": redirect})) as stream:
            with pytest.raises(ConfigurationError, match="redirects"):
                await stream.open()

    assert not other.requests


async def test_closing_ends_who_still_opens() -> None:
    """A task that waits for a connection that another task closes gets an error, not a cancellation."""

    async def silent(*_: object) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    server = CometdServer({"connect": silent})
    async with stream_to(server) as stream:
        opening = asyncio.create_task(stream.open())
        await until(lambda: server.requests["connect"])
        await stream.close()
        with pytest.raises(StreamInterruptedError, match="closed"):
            await opening


async def test_a_cancelled_opening_is_cancelled() -> None:
    """A caller who is cancelled while connecting sees its cancellation, and closing works afterwards."""

    async def silent(*_: object) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    server = CometdServer({"handshake": silent})
    async with stream_to(server) as stream:
        opening = asyncio.create_task(stream.open())
        await until(lambda: server.requests["handshake"])
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
