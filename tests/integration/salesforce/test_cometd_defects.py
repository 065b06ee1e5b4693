"""Each known defect of the aiocometd family, provoked: the stream must still be correct.

aiocometd's reconnecting, re-authenticating and queueing lose events or hammer servers in these ways; each test is
named after the defect.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from aiohttp import web

from closedwon.salesforce.api.auth import TokenSource
from closedwon.salesforce.bus.events import EARLIEST, LATEST
from closedwon.salesforce.bus.streaming import CometdStream
from closedwon.salesforce.errors import (
    ConfigurationError,
    ReplayIdRejectedError,
    SalesforceAuthFailedError,
    StreamInterruptedError,
    ThrottledError,
)
from tests.integration.salesforce.reading import CHANNEL, Reader, emulator, publish, take
from tests.support.handoff import until
from tests.support.salesforce import CometdServer, Logins, org_at, serving
from tests.support.waiting import STALL


def rest_error(status: int, code: str) -> web.Response:
    """A REST-style error instead of Bayeux messages."""
    return web.json_response([{"message": "no", "errorCode": code}], status=status)


async def ended(stream: CometdStream) -> StreamInterruptedError:
    """Read to the end and return the error that ended the stream."""
    try:
        async with asyncio.timeout(STALL):
            async for _ in stream.batches():
                pass
    except StreamInterruptedError as error:
        return error
    finally:
        await stream.close()
    raise AssertionError


async def test_silent_lost_subscription() -> None:
    """A session or a position that the server forgot ends the stream with an error."""
    async with emulator() as (org, settings, tokens):
        reader = Reader(settings, tokens)
        await reader.read(publish(org, 3))
        stream = CometdStream(settings, tokens)
        await stream.subscribe(CHANNEL, reader.position)
        await until(lambda: org.cometd.held_polls)
        org.move_bus()

        assert "Unknown client" in str(await ended(stream))
        again = CometdStream(settings, tokens)
        with pytest.raises(ReplayIdRejectedError):
            await again.subscribe(CHANNEL, reader.position)
        await again.close()


async def test_lost_response() -> None:
    """Events in a response that never arrives are read again from the committed position."""
    async with emulator() as (org, settings, tokens):
        reader = Reader(settings, tokens)
        await reader.read(publish(org, 1))
        org.faults.lose_events()
        lost = publish(org, 5)
        await reader.read(lost)

    assert lost == reader.uuids[1:]
    assert 1 == len(reader.troubles)


async def test_advice_interval() -> None:
    """An advised interval is in milliseconds: 500 of them do not become 500 seconds without a poll."""
    async with emulator(poll_timeout="2s") as (org, settings, tokens):
        org.faults.advice_interval(500)
        stream = CometdStream(settings, tokens)
        await stream.subscribe(CHANNEL, LATEST)
        assert () == (await anext(stream.batches())).events
        uuids = publish(org, 1)
        async with asyncio.timeout(STALL):
            async for batch in stream.batches():
                if batch.events:
                    break
        await stream.close()

    assert uuids == [event.uuid for event in batch.events]


async def test_http_401_with_a_rest_style_body() -> None:
    """A 401 without Bayeux messages means a new login for the next connection, not a permanent KeyError."""
    async with emulator() as (org, settings, tokens):
        reader = Reader(settings, tokens)
        await reader.read(publish(org, 1))
        org.faults.cometd_unauthorized()
        await reader.read(publish(org, 1))

    assert ["Salesforce: INVALID_SESSION_ID, the session has expired or was revoked"] == [
        str(trouble) for trouble in reader.troubles
    ]
    assert 2 == tokens.logins


async def test_http_403_with_a_rest_style_body() -> None:
    """A 403 because of the configuration needs a person and is not repeated each second."""

    async def refuse(number: int, _: object) -> web.Response | None:
        return rest_error(403, "API_DISABLED_FOR_ORG") if number == 1 else None

    server = CometdServer({"connect": refuse})
    async with serving({**server.handlers, **Logins().handlers}) as url:
        stream = CometdStream(org_at(url), TokenSource(org_at(url)))
        await stream.subscribe(CHANNEL, EARLIEST)
        with pytest.raises(ConfigurationError, match="API_DISABLED_FOR_ORG"):
            await anext(stream.batches())
        await stream.close()

    assert 2 == server.requests["connect"]


async def test_broken_json() -> None:
    """A response that ends in the middle of its JSON text ends the connection and loses no event."""
    async with emulator() as (org, settings, tokens):
        reader = Reader(settings, tokens)
        await reader.read(publish(org, 1))
        org.faults.broken_json()
        uuids = publish(org, 5)
        await reader.read(uuids)

    assert uuids == [uuid for uuid in reader.uuids if uuid in set(uuids)]
    assert reader.troubles


async def test_authenticate_raising() -> None:
    """A rejected login is not repeated once a second by every stream that is opened."""
    refused = (400, {"error": "invalid_client", "error_description": "invalid client credentials"})
    logins = Logins(*[refused] * 50)
    async with serving(logins.handlers) as url:
        tokens = TokenSource(org_at(url), clock=lambda: 0.0)
        for _ in range(30):
            stream = CometdStream(org_at(url), tokens)
            with pytest.raises(SalesforceAuthFailedError):
                await stream.subscribe(CHANNEL, EARLIEST)
            await stream.close()

    assert 1 == len(logins.requests)


async def test_needless_login() -> None:
    """403::Unknown client, which is normal every few hours, needs a new session but no new login."""
    async with emulator() as (org, settings, tokens):
        reader = Reader(settings, tokens)
        await reader.read(publish(org, 1))
        for _ in range(3):
            stream = CometdStream(settings, tokens)
            await stream.subscribe(CHANNEL, reader.position)
            await until(lambda: org.cometd.held_polls)
            org.cometd.forget_clients()
            assert "Unknown client" in str(await ended(stream))

    assert 1 == tokens.logins


async def test_orphan() -> None:
    """When opening fails after the handshake, no connection continues in the background."""

    async def fail(*_: object) -> web.Response:
        return web.Response(status=503)

    server = CometdServer({"connect": fail})
    before = asyncio.all_tasks()
    async with serving({**server.handlers, **Logins().handlers}) as url:
        stream = CometdStream(org_at(url), TokenSource(org_at(url)))
        with pytest.raises(StreamInterruptedError, match="HTTP 503"):
            await stream.open()
        await stream.close()

    assert before == asyncio.all_tasks()
    assert {"handshake": 1, "connect": 1} == server.requests


async def test_reopen() -> None:
    """Each connection needs a new stream; a closed one fails at once instead of working in part."""
    async with emulator() as (org, settings, tokens):
        for _ in range(3):
            reader = Reader(settings, tokens)
            await reader.read(publish(org, 1))
        stream = CometdStream(settings, tokens)
        await stream.open()
        await stream.close()
        await stream.close()
        with pytest.raises(StreamInterruptedError, match="closed"):
            await stream.subscribe(CHANNEL, EARLIEST)


async def test_kick() -> None:
    """A client that Salesforce disconnects permanently opens a new session and continues."""
    async with emulator() as (org, settings, tokens):
        reader = Reader(settings, tokens)
        await reader.read(publish(org, 1))
        stream = CometdStream(settings, tokens)
        await stream.subscribe(CHANNEL, reader.position)
        await until(lambda: org.cometd.held_polls)
        org.cometd.kick()
        await ended(stream)
        uuids = publish(org, 2)
        await reader.read(uuids)

    assert uuids == reader.uuids[1:]


async def test_back_pressure_does_not_stop_the_polling() -> None:
    """While the reader is busy, polls keep the session alive."""
    server = CometdServer({}, hold=0.01)
    async with serving({**server.handlers, **Logins().handlers}) as url:
        stream = CometdStream(org_at(url), TokenSource(org_at(url)))
        await stream.subscribe(CHANNEL, EARLIEST)
        for number in range(20):
            server.events.put_nowait({"channel": CHANNEL, "data": {"event": {"replayId": number}}})
        await until(lambda: server.requests["connect"] > 40)
        events = await take(stream, 20)
        await stream.close()

    assert [str(number) for number in range(20)] == [event.replay_id for event in events]


async def test_back_pressure_has_a_bound() -> None:
    """When too many events wait, the connection ends; the reader gets all of them, then continues from there."""
    async with emulator() as (org, settings, tokens):
        uuids = publish(org, 1200)  # the org sends 500 at a time
        stream = CometdStream(settings, tokens, most_waiting=600)
        await stream.subscribe(CHANNEL, EARLIEST)
        await until(lambda: not org.cometd.clients)  # it has said goodbye, without having been read
        waited = await take(stream, 1000)
        assert "reader is too slow: 1000 events" in str(await ended(stream))
        position = waited[-1].replay_id
        assert position is not None
        reader = Reader(settings, tokens, position=position)
        await reader.read(uuids[1000:])

    assert uuids == [event.uuid for event in waited] + reader.uuids


async def test_deadlock() -> None:
    """Subscribing with replay -2 returns before anyone reads, for any number of retained events."""
    async with emulator() as (org, settings, tokens):
        uuids = publish(org, 5000)
        stream = CometdStream(settings, tokens)
        async with asyncio.timeout(STALL):
            await stream.subscribe(CHANNEL, EARLIEST)
        events = await take(stream, 5000)
        await stream.close()

    assert uuids == [event.uuid for event in events]


async def test_cancellation() -> None:
    """Cancelling a wait at the moment an event arrives does not lose it: 100 races with either winner."""
    cancelled = 0
    async with emulator() as (org, settings, tokens):
        stream = CometdStream(settings, tokens)
        await stream.subscribe(CHANNEL, EARLIEST)
        seen: list[str | None] = []
        uuids: list[str] = []
        batches = stream.batches()
        for race in range(100):
            waiting = asyncio.ensure_future(anext(batches))
            uuids += publish(org, 1)
            for _ in range(race):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait({waiting})
            cancelled += waiting.cancelled()
            batch = await anext(batches) if waiting.cancelled() else waiting.result()
            seen += [event.uuid for event in batch.events]
        await stream.close()

    assert uuids == seen
    assert 0 < cancelled < 100


async def test_close_at_a_silent_server() -> None:
    """Closing takes only a moment, even if the server never responds to the disconnect."""
    async with emulator() as (org, settings, tokens):
        stream = CometdStream(settings.model_copy(update={"timeout": timedelta(seconds=0.3)}), tokens)
        await stream.subscribe(CHANNEL, EARLIEST)
        await until(lambda: org.cometd.held_polls)
        org.faults.mute()
        async with asyncio.timeout(STALL):
            await stream.close()


async def test_half_open_network_while_polling() -> None:
    """The stream's own watchdog detects a server that holds a poll indefinitely."""
    async with emulator() as (org, settings, tokens):
        endless = settings.model_copy(update={"timeout": timedelta(seconds=10 * STALL)})
        stream = CometdStream(endless, tokens, silence=timedelta(seconds=0.3))
        await stream.subscribe(CHANNEL, EARLIEST)
        org.faults.mute()
        publish(org, 1)

        async with asyncio.timeout(STALL):  # a farewell to the dead server would take longer
            assert "No response from the event bus" in str(await ended(stream))


@pytest.mark.parametrize("step", ["handshake", "connect", "subscribe"])
async def test_half_open_network_while_opening(step: str) -> None:
    """A server that does not respond while a connection is opened ends in the org's time-out."""

    async def silent(*_: object) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    server = CometdServer({step: silent})
    async with serving({**server.handlers, **Logins().handlers}) as url:
        stream = CometdStream(org_at(url, timeout=0.3), TokenSource(org_at(url)))
        with pytest.raises(StreamInterruptedError, match=r"no whole answer within 0.3 s"):
            await stream.subscribe(CHANNEL, EARLIEST)
        await stream.close()


async def test_cookies() -> None:
    """The session's cookie is kept for an IP address, too."""
    async with emulator() as (org, settings, tokens):
        by_number = settings.model_copy(update={"url": settings.url.replace("localhost", "127.0.0.1")})
        reader = Reader(by_number, tokens)
        await reader.read(publish(org, 3))

    assert [] == reader.troubles


async def test_handshake_loop() -> None:
    """The advice to repeat the handshake leads to one new connection of the supervisor, not to a loop."""

    async def again(number: int, _: object) -> web.Response | None:
        advice = {"reconnect": "handshake", "interval": 0}
        reply = {"channel": "/meta/connect", "id": "1", "successful": True, "advice": advice}
        return web.json_response([reply]) if number == 0 else None

    server = CometdServer({"connect": again})
    async with serving({**server.handlers, **Logins().handlers}) as url:
        stream = CometdStream(org_at(url), TokenSource(org_at(url)))
        with pytest.raises(StreamInterruptedError, match="advice handshake"):
            await stream.subscribe(CHANNEL, EARLIEST)
        await stream.close()

    assert 1 == server.requests["handshake"]


async def test_a_busy_server_is_not_mistaken_for_a_lost_login() -> None:
    """`ext.sfdc.failureReason` 503 next to a 401 means a wait of minutes and no new login."""
    async with emulator() as (org, settings, tokens):
        stream = CometdStream(settings, tokens)
        org.faults.cometd_error(
            "/meta/subscribe",
            "401::Authentication invalid",
            failure_reason="503::Server is too busy.  Please try your request again later.",
        )
        with pytest.raises(ThrottledError, match="too busy"):
            await stream.subscribe(CHANNEL, EARLIEST)
        await stream.close()
        token = await tokens.token()

    assert 1 == tokens.logins
    assert token is await tokens.token()
