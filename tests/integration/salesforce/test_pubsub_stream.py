"""The Pub/Sub API of a real Salesforce emulator, with everything that a real one does to its readers."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any, Final

import pytest
from grpc import StatusCode

from closedwon.emulators.salesforce import SalesforceEmulator
from closedwon.emulators.salesforce.config import PubSubConfig
from closedwon.emulators.salesforce.pubsub.errors import CallError
from closedwon.salesforce.api.auth import TokenSource
from closedwon.salesforce.bus.events import EARLIEST, LATEST
from closedwon.salesforce.bus.pubsub.stream import PubSubStream
from closedwon.salesforce.errors import ReplayIdRejectedError, StreamInterruptedError, StreamRefusedError
from closedwon.settings import Org
from tests.integration.salesforce.reading import CHANNEL, Reader, emulator, open_stream, publish, take
from tests.support.waiting import until

EVENT: Final = "Order_Requested__e"


def pubsub(**config: Any) -> AbstractAsyncContextManager[tuple[SalesforceEmulator, Org, TokenSource]]:
    """A running org that serves the Pub/Sub API in plain text, its settings and a login."""
    return emulator(pubsub=PubSubConfig(port=0, **config))


async def test_a_thousand_retained_events_arrive_in_order_with_their_fields() -> None:
    """A first start reads everything that is retained, once and in order, ten times the largest credit; then news."""
    async with pubsub() as (org, settings, tokens):
        uuids = publish(org, 1000)
        stream = open_stream(settings, tokens)
        await stream.subscribe(CHANNEL, EARLIEST)
        events = await take(stream, 1000)
        uuids += publish(org, 1)
        events += await take(stream, 1)
        await stream.close()

    assert uuids == [event.uuid for event in events]
    assert "deal 0" == (events[0].payload or {})["Opportunity_Id__c"]
    assert all(event.created_at is not None for event in events)
    assert len(uuids) == len({event.replay_id for event in events})


async def test_a_start_at_the_latest_position_sees_only_what_is_new() -> None:
    """LATEST skips what is retained."""
    async with pubsub() as (org, settings, tokens):
        publish(org, 3)
        stream = open_stream(settings, tokens)
        await stream.subscribe(CHANNEL, LATEST)
        await until(lambda: org.pubsub.subscriptions)
        uuids = publish(org, 2)
        events = await take(stream, 2)
        await stream.close()

    assert uuids == [event.uuid for event in events]


def lose_events(org: SalesforceEmulator) -> None:
    """The next response with events is lost."""
    org.faults.lose_events()
    publish(org, 1)


def cancel_calls(org: SalesforceEmulator) -> None:
    """The server ends each stream with the status CANCELLED."""
    for one in org.pubsub.subscriptions:
        one.end = CallError(StatusCode.CANCELLED, "", "cancelled")
    org.pubsub.wake()


def be_unavailable(org: SalesforceEmulator) -> None:
    """The stream is reset, and the next two calls are answered that the service is unavailable."""
    org.faults.pubsub_unavailable(times=2)
    org.pubsub.reset_streams()


TROUBLES: Final[dict[str, tuple[Callable[[SalesforceEmulator], object], int]]] = {
    "reset without trailers": (lambda org: org.pubsub.reset_streams(), 1),
    "cancelled by the server": (cancel_calls, 1),
    "clean end": (lambda org: org.pubsub.end_streams(), 1),
    "lost events": (lose_events, 1),
    "unavailable": (be_unavailable, 1),
    "revoked token": (lambda org: org.revoke_tokens(), 2),
}
"""Each with the number of logins that it needs, the first one included."""


@pytest.mark.parametrize("at_once", [True, False], ids=["empty response first", "no response first"])
@pytest.mark.parametrize("trouble", TROUBLES)
async def test_troubles_of_a_stream_lose_no_event(trouble: str, at_once: bool) -> None:  # noqa: FBT001
    """After each trouble a new stream goes on from the position that was reached, not from the first one."""
    strike, logins = TROUBLES[trouble]
    async with pubsub(answers_at_once=at_once) as (org, settings, tokens):
        reader = Reader(settings, tokens)
        uuids = publish(org, 3)
        await reader.read(uuids)
        await until(lambda: not org.pubsub.subscriptions)  # of the stream that has been closed
        reading = asyncio.create_task(reader.read_until(lambda: reader.troubles))
        await until(lambda: org.pubsub.subscriptions)
        strike(org)
        await reading
        uuids += publish(org, 3)
        await reader.read(uuids)

    seen = [uuid for uuid in reader.uuids if uuid in uuids]
    assert uuids == seen
    assert logins == tokens.logins


async def test_a_new_stream_begins_at_its_position_and_sends_nothing_twice() -> None:
    """Twenty resets with events between them: each event arrives exactly once, in order."""
    async with pubsub() as (org, settings, tokens):
        reader, uuids = Reader(settings, tokens), publish(org, 5)
        await reader.read(uuids)
        for _ in range(20):
            org.pubsub.reset_streams()
            uuids += publish(org, 5)
            await reader.read(uuids)

    assert uuids == reader.uuids


async def test_an_org_that_stops_and_starts_again_loses_no_event() -> None:
    """The server cancels its calls when it stops: the reader gets an error, comes back, and goes on."""
    async with pubsub() as (org, settings, tokens):
        reader, uuids = Reader(settings, tokens), publish(org, 2)
        await reader.read(uuids)
        await until(lambda: not org.pubsub.subscriptions)
        reading = asyncio.create_task(reader.read_until(lambda: reader.troubles))
        await until(lambda: org.pubsub.subscriptions)
        await org.stop()
        await reading
        await org.start()
        uuids += publish(org, 2)
        await reader.read(uuids)

    assert uuids == reader.uuids


async def test_a_stream_without_signs_of_life_ends() -> None:
    """No event and no keepalive for longer than `silence` is a dead connection; with keepalives it lives."""
    async with pubsub(keepalive="200ms") as (org, settings, tokens):
        stream = open_stream(settings, tokens, silence=timedelta(seconds=1))
        await stream.subscribe(CHANNEL, EARLIEST)
        batches = stream.batches()
        alive = [len((await anext(batches)).events) for _ in range(4)]
        org.faults.stop_keepalives()
        with pytest.raises(StreamInterruptedError, match="No response from the event bus for 1 s"):
            await take(stream, 1)
        await stream.close()

    assert [0] * 4 == alive


async def test_a_silent_death_in_the_middle_loses_no_event() -> None:
    """The connection stays open, but nothing arrives any more: what was published meanwhile is read afterwards."""
    async with pubsub(keepalive="200ms") as (org, settings, tokens):
        reader = Reader(settings, tokens, silence=timedelta(seconds=1))
        uuids = publish(org, 2)
        await reader.read(uuids)
        org.faults.mute()
        uuids += publish(org, 2)
        await reader.read_until(lambda: reader.troubles)
        org.faults.mute(on=False)
        await reader.read(uuids)

    assert uuids == reader.uuids


async def test_a_quiet_channel_yields_positions_that_do_not_expire() -> None:
    """The position of an empty response is later than that of the last event, and is taken to resume."""
    async with pubsub(keepalive="200ms") as (org, settings, tokens):
        reader = Reader(settings, tokens)
        await reader.read(publish(org, 1))
        before = reader.position
        org.publish_raw("/event/Other__e", {"payload": {}})
        await reader.read_until(lambda: reader.position != before)
        org.clock.advance(timedelta(hours=71))
        later = publish(org, 1)
        await reader.read(later)

    assert later == reader.uuids[1:]
    assert not [one for one in reader.troubles if isinstance(one, ReplayIdRejectedError)]


async def test_credit_is_renewed_before_it_is_used_up() -> None:
    """2,000 events to a fast reader: no stream is ended for lack of credit, and no more than 100 are outstanding."""
    async with pubsub(credit_timeout="1s") as (org, settings, tokens):
        reader = Reader(settings, tokens)
        outstanding: list[int] = []
        org.bus.listeners.append(lambda: outstanding.extend(one.credit for one in org.pubsub.subscriptions))
        uuids = publish(org, 1900)
        await reader.read(uuids)
        reading = asyncio.create_task(reader.read(uuids))
        uuids += publish(org, 100)
        await reading
        await reader.read(uuids)

    assert not reader.troubles
    assert uuids == reader.uuids
    assert max(outstanding, default=0) <= 100


async def test_a_slow_reader_keeps_its_stream_and_little_memory() -> None:
    """A reader that takes nothing for longer than the API waits for credit: the stream lives, and few events wait."""
    async with pubsub(credit_timeout="1s") as (org, settings, tokens):
        stream = PubSubStream(settings, tokens, most_waiting=150, without_credit=timedelta(seconds=0.3))
        await stream.subscribe(CHANNEL, EARLIEST)
        uuids = publish(org, 500)
        await until(lambda: [one.asked for one in org.pubsub.subscriptions if one.asked >= 8])
        sent = org.pubsub.events_sent
        events = await take(stream, 500)
        await stream.close()

    assert uuids == [event.uuid for event in events]
    assert sent < 300


@pytest.mark.parametrize("position", ["4711", "AAAAAAAAB-Q", "pubsub:", "pubsub:xyz"])
async def test_a_position_of_another_api_is_refused_without_a_call(position: str) -> None:
    """A position of CometD, or a damaged one, is treated as an expired one, and never becomes LATEST."""
    async with pubsub() as (org, settings, tokens):
        stream = open_stream(settings, tokens)
        with pytest.raises(ReplayIdRejectedError):
            await stream.subscribe(CHANNEL, position)
        await stream.close()
        assert not org.pubsub.trace_ids


async def test_an_expired_position_is_refused_and_the_retained_events_are_there() -> None:
    """After 72 hours a position is gone: that is said, with position and channel, and EARLIEST reads what is left."""
    async with pubsub() as (org, settings, tokens):
        reader = Reader(settings, tokens)
        await reader.read(publish(org, 3))
        org.clock.advance(timedelta(hours=73))
        retained = publish(org, 4)
        position = reader.position
        await reader.read_until(lambda: any(isinstance(trouble, ReplayIdRejectedError) for trouble in reader.troubles))
        fresh = Reader(settings, tokens)
        await fresh.read(retained)

    refused = reader.troubles[-1]
    assert isinstance(refused, ReplayIdRejectedError)
    assert (CHANNEL, position) == (refused.channel, refused.position)
    assert retained == fresh.uuids


async def test_events_of_any_shape_arrive_and_stop_nothing() -> None:
    """Bytes that no schema fits are an event without a payload, between good ones, with position and bytes."""
    async with pubsub() as (org, settings, tokens):
        before = publish(org, 1)
        strange: list[dict[str, Any]] = [{}, {"payload": "text"}, {"payload": None, "event": {}}]
        for data in strange:
            org.publish_raw(CHANNEL, data)
        after = publish(org, 1)
        reader = Reader(settings, tokens)
        await reader.read(before + after)

    assert [before[0], "", "", "", after[0]] == [uuid if uuid in before + after else "" for uuid in reader.uuids]
    assert [None] * 3 == [event.payload for event in reader.events[1:4]]
    assert all(event.replay_id and "bytes" in event.raw for event in reader.events[1:4])


async def test_a_schema_may_change_while_events_flow_and_is_fetched_once() -> None:
    """Each definition's schema is fetched once for all streams of the org; events of both are read."""
    async with pubsub() as (org, settings, tokens):
        reader = Reader(settings, tokens, schemas={})
        uuids = publish(org, 2)
        await reader.read(uuids)
        org.pubsub.change_schema(EVENT)
        uuids += publish(org, 2)
        await reader.read(uuids)
        org.pubsub.reset_streams()
        uuids += publish(org, 2)
        await reader.read(uuids)

    assert uuids == reader.uuids
    assert all(event.payload is not None for event in reader.events)
    assert 2 == org.pubsub.schema_calls


async def test_an_event_whose_schema_is_not_found_is_passed_on() -> None:
    """The answer is about the schema: the event arrives without a payload, and the position stays valid."""
    async with pubsub() as (org, settings, tokens):
        org.faults.schema_not_found(times=1)
        reader, uuids = Reader(settings, tokens), publish(org, 2)
        await reader.read(uuids)
        uuids += publish(org, 1)
        await reader.read(uuids)

    assert uuids == reader.uuids
    assert [True, True, False] == [event.payload is None for event in reader.events]
    assert not reader.troubles


async def test_duplicates_of_the_bus_keep_their_id() -> None:
    """An event that was published twice has two positions and one EventUuid, by which it counts once."""
    async with pubsub() as (org, settings, tokens):
        org.faults.double_events()
        uuids = publish(org, 1)
        stream = open_stream(settings, tokens)
        await stream.subscribe(CHANNEL, EARLIEST)
        events = await take(stream, 2)
        await stream.close()

    assert uuids * 2 == [event.uuid for event in events]
    assert 2 == len({event.replay_id for event in events})


async def test_a_channel_that_does_not_exist_needs_a_person() -> None:
    """A typing error in the route's events is an error with a hint, when the stream subscribes."""
    async with pubsub() as (_, settings, tokens):
        stream = open_stream(settings, tokens)
        with pytest.raises(StreamRefusedError, match=r"topic\.not\.found") as raised:
            await stream.subscribe("/event/Typo__e", EARLIEST)
        await stream.close()

    assert "`events`" in raised.value.hint


async def test_each_call_has_a_trace_id_that_the_log_names(caplog: pytest.LogCaptureFixture) -> None:
    """Salesforce's support finds a call by `x-client-trace-id`: each has its own, and the log has all of them."""
    caplog.set_level(logging.INFO)
    async with pubsub() as (org, settings, tokens):
        reader = Reader(settings, tokens)
        await reader.read(publish(org, 1))

    logged = re.findall(r"x-client-trace-id (\S+)", caplog.text)
    assert ["", ""] != org.pubsub.trace_ids
    assert org.pubsub.trace_ids == logged
    assert len(logged) == len(set(logged)) == 3  # GetTopic, GetSchema, Subscribe


async def test_tls_is_verified_by_the_authorities_of_the_environment(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate of an unknown authority is refused; with `SSL_CERT_FILE` the stream reads."""
    async with pubsub(tls=True) as (org, settings, tokens):
        assert org.pubsub_server is not None
        stream = open_stream(settings, tokens)
        with pytest.raises(StreamInterruptedError, match=r"(?i)certificate|handshake|ssl"):
            await stream.subscribe(CHANNEL, EARLIEST)
        await stream.close()
        authority = tmp_path / "authority.pem"
        authority.write_bytes(org.pubsub_server.certificate)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        reader, uuids = Reader(settings, tokens), publish(org, 2)
        await reader.read(uuids)

    assert uuids == reader.uuids


async def test_what_refuses_a_connection_is_an_interruption() -> None:
    """An address without a server: the error is one to retry, within the org's timeout."""
    async with pubsub() as (_, settings, tokens):
        stream = open_stream(settings.model_copy(update={"pubsub_url": "http://localhost:1"}), tokens)
        with pytest.raises(StreamInterruptedError, match="UNAVAILABLE"):
            await stream.subscribe(CHANNEL, EARLIEST)
        await stream.close()
