"""The event bus of a real Salesforce emulator, with everything that a real one does to its readers."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from closedwon.emulators.salesforce import Connection, SalesforceEmulator, read_connection
from closedwon.salesforce.api.auth import TokenSource
from closedwon.salesforce.bus.events import EARLIEST, LATEST
from closedwon.salesforce.bus.streaming import CometdStream
from closedwon.salesforce.errors import ReplayIdRejectedError, StreamRefusedError
from tests.integration.salesforce.reading import CHANNEL, Reader, emulator, publish, take
from tests.support.handoff import until
from tests.support.salesforce import org_at


async def test_five_thousand_retained_events_arrive_in_order() -> None:
    """A first start reads everything that is retained, once and in the order of the bus, then what is new."""
    async with emulator() as (org, settings, tokens):
        uuids = publish(org, 5000)
        stream = CometdStream(settings, tokens)
        await stream.subscribe(CHANNEL, EARLIEST)
        events = await take(stream, 5000)
        uuids += publish(org, 1)
        events += await take(stream, 1)
        await stream.close()

    assert uuids == [event.uuid for event in events]
    assert {f"deal {number}" for number in range(5000)} == {(e.payload or {})["Opportunity_Id__c"] for e in events}


async def test_a_start_at_the_latest_position_sees_only_what_is_new() -> None:
    """LATEST skips what is retained."""
    async with emulator() as (org, settings, tokens):
        publish(org, 3)
        stream = CometdStream(settings, tokens)
        await stream.subscribe(CHANNEL, LATEST)
        uuids = publish(org, 2)
        events = await take(stream, 2)
        await stream.close()

    assert uuids == [event.uuid for event in events]


async def test_an_idle_channel_gives_signs_of_life() -> None:
    """Every empty poll is an empty batch."""
    async with emulator(poll_timeout="500ms") as (_, settings, tokens):
        stream = CometdStream(settings, tokens)
        await stream.subscribe(CHANNEL, EARLIEST)
        batches = stream.batches()

        assert [0, 0, 0] == [len((await anext(batches)).events) for _ in range(3)]
        await stream.close()


async def test_twenty_cuts_with_lost_responses_lose_no_event() -> None:
    """Twenty times a response with events is lost on the way, or a held poll is cut: nothing is missing, in order."""
    async with emulator() as (org, settings, tokens):
        reader = Reader(settings, tokens)
        uuids = publish(org, 10)
        await reader.read(uuids)
        for cut in range(20):
            if cut % 2:
                org.faults.lose_events()
            else:
                reading = asyncio.create_task(reader.read_until(lambda: len(reader.troubles) > cut))  # noqa: B023
                await until(lambda: org.cometd.held_polls)
                org.cometd.cut_polls()
                await reading
            published = publish(org, 7)
            uuids += published
            await reader.read(published)

    assert uuids == list(dict.fromkeys(reader.uuids))
    assert 20 == len(reader.troubles)
    assert 1 == tokens.logins


def refuse_by_http(org: SalesforceEmulator) -> None:
    """The next request is answered 401 with a REST body."""
    org.faults.cometd_unauthorized()
    org.cometd.recheck_polls()


def break_json(org: SalesforceEmulator) -> None:
    """The next answer ends in the middle."""
    org.faults.broken_json()
    org.cometd.recheck_polls()


TROUBLES: dict[str, tuple[Callable[[SalesforceEmulator], object], int]] = {
    "unknown client": (lambda org: org.cometd.forget_clients(), 1),
    "kick": (lambda org: org.cometd.kick(), 1),
    "cut": (lambda org: org.cometd.cut_polls(), 1),
    "revoked tokens": (lambda org: org.revoke_tokens(), 2),
    "401 by HTTP": (refuse_by_http, 2),
    "broken JSON": (break_json, 1),
}
"""Each with the number of logins that it needs, the first one included."""


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_routine_troubles_lose_no_event(trouble: str) -> None:
    """After each trouble a new connection goes on from the committed position, with a new login only where needed."""
    strike, logins = TROUBLES[trouble]
    async with emulator() as (org, settings, tokens):
        reader = Reader(settings, tokens)
        uuids = publish(org, 3)
        await reader.read(uuids)
        reading = asyncio.create_task(reader.read_until(lambda: reader.troubles))
        await until(lambda: org.cometd.held_polls)
        strike(org)
        await reading
        uuids += publish(org, 3)
        await reader.read(uuids)

    assert uuids == list(dict.fromkeys(reader.uuids))
    assert logins == tokens.logins


async def test_an_expired_replay_id_is_refused_and_the_retained_events_are_there() -> None:
    """After 72 hours a position is gone: that is said, with position and channel, and EARLIEST reads what is left."""
    async with emulator() as (org, settings, tokens):
        reader = Reader(settings, tokens)
        await reader.read(publish(org, 3))
        org.clock.advance(timedelta(hours=73))
        retained = publish(org, 4)
        position = reader.position
        await reader.read_until(lambda: any(isinstance(trouble, ReplayIdRejectedError) for trouble in reader.troubles))
        fresh = Reader(settings, tokens)
        await fresh.read(retained)

    expired, refused = reader.troubles
    assert "401::Authentication invalid" in str(expired)  # a token does not live that long either
    assert isinstance(refused, ReplayIdRejectedError)
    assert (CHANNEL, position) == (refused.channel, refused.position)
    assert retained == fresh.uuids


async def test_a_position_of_another_transport_is_refused() -> None:
    """An opaque position that CometD cannot know is treated as an expired one."""
    stream = CometdStream(org_at("http://localhost:1"), TokenSource(org_at("http://localhost:1")))

    with pytest.raises(ReplayIdRejectedError):
        await stream.subscribe(CHANNEL, "AAAAAAAAB-Q")
    await stream.close()


async def test_a_channel_that_does_not_exist_needs_a_person() -> None:
    """A typing error in the route's events is an error with a hint."""
    async with emulator() as (org, settings, tokens):
        stream = CometdStream(settings, tokens)
        with pytest.raises(StreamRefusedError, match="does not exist") as raised:
            await stream.subscribe("/event/Typo__e", EARLIEST)
        await stream.close()
        assert not org.cometd.clients  # a goodbye was said: no session is left that counts against the limit

    assert "`events`" in raised.value.hint


async def test_events_of_any_shape_arrive_and_stop_nothing() -> None:
    """Broken events are events: between good ones, in order, each with its replay id and all that came."""
    async with emulator() as (org, settings, tokens):
        before = publish(org, 1)
        strange: list[dict[str, Any]] = [
            {},
            {"payload": "text"},
            {"payload": None, "event": {}},
            {"payload": {"CreatedDate": "never"}},
        ]
        replay_ids = [str(org.publish_raw(CHANNEL, data)) for data in strange]
        after = publish(org, 1)
        reader = Reader(settings, tokens)
        await reader.read(before + after)

    assert [before[0], *[""] * 4, after[0]] == [uuid if uuid in before + after else "" for uuid in reader.uuids]
    assert replay_ids == [event.replay_id for event in reader.events[1:5]]
    assert [None, None, None, {"CreatedDate": "never"}] == [event.payload for event in reader.events[1:5]]


async def test_an_org_killed_and_started_again_loses_no_event(tmp_path: Path) -> None:
    """SIGKILL to the org in the middle of reading, three times: what was published before and after is all read."""
    server = Server(tmp_path)
    connection = await server.start()
    settings = org_at(
        connection.url, org_id=connection.org_id, client_id=connection.client_id, secret=connection.client_secret
    )
    reader = Reader(settings, TokenSource(settings))
    numbers = itertools.count()
    published: list[str] = []
    for _ in range(3):
        published += [await server.publish(connection, next(numbers)) for _ in range(5)]
        await server.kill()
        reading = asyncio.create_task(reader.read_until(lambda: len(set(deals(reader))) == len(published)))  # noqa: B023
        await until(lambda: reader.troubles)
        await server.start()
        await reading
    await server.kill()

    assert published == list(dict.fromkeys(deals(reader)))


def deals(reader: Reader) -> list[str]:
    """What the events say."""
    return [str((event.payload or {}).get("Opportunity_Id__c")) for event in reader.events]


class Server:
    """A Salesforce emulator as a process of its own, on one data directory and one port."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> Connection:
        """Start it and wait until it is ready."""
        earlier = read_connection(self._data_dir)
        code = (
            "import asyncio, pathlib, sys; from closedwon.emulators.salesforce import serve; "
            f"asyncio.run(serve(pathlib.Path(sys.argv[1]), port={None if earlier else 0}))"
        )
        self._process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, str(self._data_dir))
        pid = self._process.pid
        await until(lambda: (found := read_connection(self._data_dir)) is not None and found.pid == pid)
        connection = read_connection(self._data_dir)
        assert connection is not None
        return connection

    async def kill(self) -> None:
        """Kill it without a warning."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    async def publish(self, connection: Connection, number: int) -> str:
        """Publish an event and return what it says."""
        deal = f"deal {number}"
        data = {"payload": {"Opportunity_Id__c": deal}, "event": {}}
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                f"{connection.url}/_admin/events",
                data=json.dumps({"channel": CHANNEL, "data": data}),
                headers={"Authorization": f"Bearer {connection.admin_token}"},
            ) as response,
        ):
            assert response.ok
        return deal
