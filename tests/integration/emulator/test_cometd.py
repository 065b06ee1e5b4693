"""CometD at the protocol level: replay, held polls, cookies, sessions and their errors."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from closedwon.emulators.salesforce import OrgConfig, SalesforceEmulator
from tests.integration.emulator.conftest import CHANNEL, Subscriber, Wire, events, held, names, publish

NO_CHANNEL = "400::The channel you requested to subscribe to does not exist"


async def test_handshake_connect_subscribe(subscriber: Subscriber) -> None:
    """The replies have the same fields as Salesforce's; the first connect is answered at once."""
    shake = await subscriber.handshake()
    assert shake == {
        "channel": "/meta/handshake",
        "ext": {"replay": True, "payload.format": True},
        "version": "1.0",
        "minimumVersion": "1.0",
        "supportedConnectionTypes": ["long-polling"],
        "clientId": subscriber.client_id,
        "successful": True,
        "id": "1",
    }
    first = (await subscriber.poll())[0]
    assert {"reconnect": "retry", "interval": 0, "timeout": 5000} == first["advice"]
    reply = await subscriber.subscribe(-1)
    assert (CHANNEL, True, "7") == (reply["subscription"], reply["successful"], reply["id"])


async def test_an_event_ends_the_held_poll(org: SalesforceEmulator, subscriber: Subscriber) -> None:
    """A won deal arrives in the held poll, in the form of a platform event."""
    record = org.seed(1)[0]
    await subscriber.start()
    poll = asyncio.create_task(subscriber.poll())
    await held(org)
    org.win(record)
    event, connect = await poll
    assert (CHANNEL, True) == (event["channel"], connect["successful"])
    payload = event["data"]["payload"]
    assert (record, org.sales_user) == (payload["Opportunity_Id__c"], payload["CreatedById"])
    assert payload["CreatedDate"].endswith("Z")
    assert len(event["data"]["schema"]) == 22
    assert {"EventUuid", "replayId"} == set(event["data"]["event"])


async def test_a_poll_without_events_ends_with_an_empty_response() -> None:
    """Without events, a poll is held for its time and then answered without events."""
    async with (
        SalesforceEmulator.running(config=OrgConfig(poll_timeout=timedelta(milliseconds=50))) as org,
        aiohttp.ClientSession(org.url) as http,
    ):
        subscriber = Subscriber(Wire(org, http))
        await subscriber.start()
        replies = await subscriber.poll()
        assert [True] == [one["successful"] for one in replies]


@pytest.mark.parametrize(
    ("replay", "expected"),
    [(None, ["new"]), (-1, ["new"]), (-2, ["a", "b", "c", "new"]), ("after a", ["b", "c", "new"])],
)
async def test_replay(org: SalesforceEmulator, subscriber: Subscriber, replay: Any, expected: list[str]) -> None:
    """-2 replays all retained events, -1 none, an id the events after it; all continue with new events."""
    publish(org, "a", "b", "c")
    first = org.bus.after(CHANNEL, 0, 1)[0].replay_id
    await subscriber.start(first if replay == "after a" else replay)
    publish(org, "new")
    replies = await subscriber.poll()
    assert expected == names(replies)
    ids = [one["data"]["event"]["replayId"] for one in events(replies)]
    assert sorted(set(ids)) == ids


@pytest.mark.parametrize("replay", [123, -3, "7", 1.5, None])
async def test_an_invalid_replay_id(org: SalesforceEmulator, subscriber: Subscriber, replay: Any) -> None:
    """An id that is not of a retained event gets the exact error text, two spaces included."""
    publish(org, "a")
    await subscriber.handshake()
    ext = {"replay": {CHANNEL: replay, "/event/Other__e": -1}}
    reply = await subscriber.send("subscribe", subscription=CHANNEL, ext=ext)
    assert not reply["successful"]
    assert reply["error"] == (
        f"400::The replayId {{{replay}}} you provided was invalid.  Please provide a valid ID, -2 to replay all "
        "events, or -1 to replay only new events."
    )


async def test_expired_and_moved_replay_ids(org: SalesforceEmulator, subscriber: Subscriber) -> None:
    """After 72 hours, or after a move of the org, the id of an event is rejected; -2 still works."""
    publish(org, "old")
    old = org.bus.after(CHANNEL, 0, 1)[0].replay_id
    org.clock.advance(timedelta(hours=73))
    subscriber.wire.token = org.oauth.issue(org.integration_user)
    await subscriber.handshake()
    assert "400::The replayId" in (await subscriber.subscribe(old))["error"]
    publish(org, "kept")
    kept = org.bus.after(CHANNEL, 0, 1)[0].replay_id
    assert (await subscriber.subscribe(kept))["successful"]
    org.move_bus()
    assert (await subscriber.send("connect", connectionType="long-polling"))["error"] == "403::Unknown client"
    await subscriber.handshake()
    assert "400::The replayId" in (await subscriber.subscribe(kept))["error"]
    assert (await subscriber.subscribe(-2))["successful"]
    publish(org, "after the move")
    assert ["after the move"] == names(await subscriber.poll())


@pytest.mark.parametrize(
    ("channel", "error"),
    [
        ("/event/Nope__e", f"{NO_CHANNEL} {{/event/Nope__e}}"),
        ("/event/order_requested__e", f"{NO_CHANNEL} {{/event/order_requested__e}}"),
        ("/data/Order_Requested__e", f"{NO_CHANNEL} {{/data/Order_Requested__e}}"),
        ("/event/Opportunity", f"{NO_CHANNEL} {{/event/Opportunity}}"),
        ("event/Order_Requested__e", "400::Channel subscriptions must start with a leading '/'"),
        ("", "400::Channel name not specified"),
        (None, "400::Channel name not specified"),
        ("/meta/connect", "403::Restricted channel"),
    ],
)
async def test_channels_that_cannot_be_subscribed(subscriber: Subscriber, channel: Any, error: str) -> None:
    """A wrong channel is refused with the documented error."""
    await subscriber.handshake()
    reply = await subscriber.send("subscribe", subscription=channel)
    assert (False, error) == (reply["successful"], reply["error"])


async def test_sessions_expire_after_40_idle_seconds(org: SalesforceEmulator, subscriber: Subscriber) -> None:
    """A client without a request for more than 40 s is unknown and gets the advice to repeat the handshake."""
    await subscriber.start()
    org.clock.advance(timedelta(seconds=39))
    assert (await subscriber.subscribe(-1))["successful"]
    org.clock.advance(timedelta(seconds=41))
    reply = (await subscriber.poll())[0]
    assert ("403::Unknown client", {"reconnect": "handshake", "interval": 0}) == (reply["error"], reply["advice"])
    await subscriber.start()


async def test_a_held_poll_keeps_session_and_token(org: SalesforceEmulator, subscriber: Subscriber) -> None:
    """While a poll is held, neither session nor token expires, for any time."""
    await subscriber.start()
    poll = asyncio.create_task(subscriber.poll())
    await held(org)
    org.clock.advance(timedelta(hours=5))
    publish(org, "a")
    assert ["a"] == names(await poll)
    publish(org, "b")
    assert ["b"] == names(await subscriber.poll())


async def test_the_cookie_is_required(org: SalesforceEmulator, wire: Wire, subscriber: Subscriber) -> None:
    """A client without cookies gets an error; with the cookie the session works."""
    await subscriber.handshake()
    jar = {cookie.key: cookie.value for cookie in wire.http.cookie_jar}
    assert jar["BAYEUX_BROWSER"]
    async with aiohttp.ClientSession(org.url, cookie_jar=aiohttp.DummyCookieJar()) as http:
        forgetful = Wire(org, http)
        forgetful.token = wire.token
        reply = (await forgetful.bayeux(subscriber.connect()))[0]
    expected = f"400::Client {subscriber.client_id} has established a session, but no BAYEUX_BROWSER cookie present"
    assert expected == reply["error"]
    assert (await subscriber.poll())[0]["successful"]


@pytest.mark.parametrize("form", ["Bearer {}", "OAuth {}", "{}"])
async def test_three_forms_of_the_token(wire: Wire, subscriber: Subscriber, form: str) -> None:
    """CometD accepts the token with Bearer, with OAuth and bare."""
    assert (await subscriber.handshake(headers={"Authorization": form.format(wire.token)}))["successful"]


@pytest.mark.parametrize(
    ("header", "reason"),
    [("Bearer 00D!wrong", "401::Authentication invalid"), ("", "401::Request requires authentication")],
)
async def test_handshake_without_valid_token(subscriber: Subscriber, header: str, reason: str) -> None:
    """The handshake is denied with the reason in ext.sfdc and the advice to stop."""
    reply = await subscriber.handshake(headers={"Authorization": header})
    assert ("403::Handshake denied", False) == (reply["error"], reply["successful"])
    assert {"failureReason": reason} == reply["ext"]["sfdc"]
    assert reply["ext"]["replay"] is True
    assert reply["advice"]["reconnect"] == "none"


async def test_revoked_tokens_end_the_held_poll(org: SalesforceEmulator, subscriber: Subscriber) -> None:
    """A revoked token ends the poll with 401 and the advice to stop; a new token continues the session."""
    await subscriber.start()
    poll = asyncio.create_task(subscriber.poll())
    await held(org)
    org.revoke_tokens()
    reply = (await poll)[0]
    assert ("401::Authentication invalid", {"reconnect": "none", "interval": 0}) == (reply["error"], reply["advice"])
    subscriber.wire.token = org.oauth.issue(org.integration_user)
    publish(org, "a")
    assert ["a"] == names(await subscriber.poll())


async def test_arrays_of_messages(org: SalesforceEmulator, subscriber: Subscriber) -> None:
    """Connect with subscribe, and disconnect with unsubscribe, are sent in one array; each gets a reply."""
    publish(org, "a")
    await subscriber.handshake()
    subscribe = subscriber.message("subscribe", subscription=CHANNEL, ext={"replay": {CHANNEL: -2}})
    replies = await subscriber.wire.bayeux(subscriber.connect(), subscribe)
    assert ["a"] == names(replies)
    assert {"/meta/connect", "/meta/subscribe", CHANNEL} == {one["channel"] for one in replies}
    bye = [subscriber.message("disconnect"), subscriber.message("unsubscribe", subscription=CHANNEL)]
    good_bye, unknown = await subscriber.wire.bayeux(*bye)
    assert (True, "403::Unknown client") == (good_bye["successful"], unknown["error"])
    assert org.cometd.clients == {}


async def test_unsubscribe_ends_the_delivery(org: SalesforceEmulator, subscriber: Subscriber) -> None:
    """After an unsubscribe, no events arrive."""
    await subscriber.start()
    assert (await subscriber.send("unsubscribe", subscription=CHANNEL))["successful"]
    publish(org, "a")
    assert [] == names(await subscriber.wire.bayeux(subscriber.connect(advice={"timeout": 0})))


async def test_disconnect_ends_the_held_poll(org: SalesforceEmulator, subscriber: Subscriber) -> None:
    """A disconnect ends the poll that is held at the same time."""
    await subscriber.start()
    poll = asyncio.create_task(subscriber.poll())
    await held(org)
    assert (await subscriber.send("disconnect"))["successful"]
    assert (await poll)[0]["error"] == "403::Unknown client"


async def test_a_second_poll_replaces_the_first(org: SalesforceEmulator, subscriber: Subscriber) -> None:
    """Of two polls of one session, the older ends, and only the newer gets events."""
    await subscriber.start()
    older = asyncio.create_task(subscriber.wire.call("POST", "/cometd/67.0", [subscriber.connect()]))
    await held(org)
    newer = asyncio.create_task(subscriber.poll())
    assert (await older).status == 500
    publish(org, "a")
    assert ["a"] == names(await newer)


async def test_a_disconnected_client_loses_no_events(org: SalesforceEmulator, subscriber: Subscriber) -> None:
    """Events after a client dropped its poll wait for its next one."""
    await subscriber.start()
    poll = asyncio.create_task(subscriber.poll())
    await held(org)
    poll.cancel()
    await held(org, 0)
    publish(org, "a")
    assert ["a"] == names(await subscriber.poll())


async def test_thousands_of_events_come_in_order(org: SalesforceEmulator, subscriber: Subscriber) -> None:
    """All events of a backlog are delivered in order, in several responses."""
    with org.records.transaction():
        publish(org, *map(str, range(2100)))
    await subscriber.start(-2)
    found: list[str] = []
    answers = 0
    while len(found) < 2100:
        found += names(await subscriber.poll())
        answers += 1
    assert [str(number) for number in range(2100)] == found
    assert answers > 1


async def test_two_subscribers_each_get_all(org: SalesforceEmulator, wire: Wire) -> None:
    """Every subscriber gets every event, from its own position."""
    one, other = Subscriber(wire), Subscriber(wire)
    await one.start()
    publish(org, "a", "b")
    await other.start(-2)
    assert ["a", "b"] == names(await one.poll()) == names(await other.poll())


async def test_old_endpoints_have_no_event_uuid(org: SalesforceEmulator, subscriber: Subscriber) -> None:
    """Below version 52.0 an event has no EventUuid."""
    await subscriber.start()
    publish(org, "a")
    event = (await subscriber.poll(version="48.0"))[0]
    assert {"replayId"} == set(event["data"]["event"])


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("/cometd", 400, "400::API version in the URI is mandatory. URI format: '/cometd/67.0'"),
        ("/cometd/", 400, "400::API version in the URI is mandatory. URI format: '/cometd/67.0'"),
        ("/cometd/36.0", 400, "400::Unsupported API version. Only API versions '37.0' and above are supported."),
        ("/cometd/abc", 400, "400::Unsupported API version. Only API versions '37.0' and above are supported."),
    ],
)
async def test_versions_in_the_uri(wire: Wire, path: str, status: int, error: str) -> None:
    """A missing or old version in the URI gets the documented error."""
    reply = await wire.call("POST", path, [{"channel": "/meta/handshake"}])
    assert (status, True) == (reply.status, reply.body[0]["error"].startswith(error))


async def test_invalid_transports_and_sizes_are_refused(
    org: SalesforceEmulator, wire: Wire, subscriber: Subscriber
) -> None:
    """Other transports, bodies over 32 768 bytes, and invalid Bayeux messages are refused; a double slash is not."""
    message = {"channel": "/meta/handshake", "supportedConnectionTypes": ["websocket"]}
    assert (await wire.bayeux(message))[0]["error"] == "400::Invalid connection type websocket"
    await subscriber.handshake()
    other = await subscriber.send("connect", connectionType="callback-polling")
    assert other["error"] == "400::Invalid connection type callback-polling"
    big = await wire.call("POST", "/cometd/67.0", [{"channel": "/meta/handshake", "ext": "x" * 32_768}])
    assert (413, "413::Maximum Request Size Exceeded") == (big.status, big.body[0]["error"])
    assert (await wire.call("POST", "/cometd/67.0", data=b"nonsense")).status == 400
    assert (await wire.call("POST", "/cometd/67.0", [])).status == 400
    assert (await wire.bayeux({"channel": "/event/Order_Requested__e", "data": {}}))[0]["error"].startswith("403::")
    double = await wire.call("POST", f"{org.url}//cometd/67.0", [{"channel": "/meta/connect"}])
    assert double.body[0]["error"] == "403::Unknown client"
