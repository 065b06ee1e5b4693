"""Faults of CometD on demand: cut polls, lost responses, kicks, silence, restarts."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from closedwon.emulators.salesforce import SalesforceEmulator
from tests.integration.emulator.conftest import Subscriber, Wire, held, names, publish


async def test_a_cut_poll_loses_no_unsent_event(org: SalesforceEmulator, subscriber: Subscriber) -> None:
    """A connection that is cut without events in the response loses nothing: the session continues."""
    await subscriber.start()
    poll = asyncio.create_task(subscriber.poll())
    await held(org)
    assert org.cometd.cut_polls() == 1
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await poll
    publish(org, "a")
    assert ["a"] == names(await subscriber.poll())


async def test_a_lost_response_loses_its_events(org: SalesforceEmulator, subscriber: Subscriber) -> None:
    """Events in a lost response are not sent again, except by a new subscription from an earlier position."""
    publish(org, "before")
    position = org.bus.last_replay_id()
    await subscriber.start()
    org.faults.lose_events()
    publish(org, "lost")
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await subscriber.poll()
    publish(org, "next")
    assert ["next"] == names(await subscriber.poll())
    await subscriber.start(position)
    assert ["lost", "next"] == names(await subscriber.poll())


async def test_a_kicked_client(org: SalesforceEmulator, subscriber: Subscriber) -> None:
    """A kick is a disconnect by the server and a 403 with the advice to stop."""
    await subscriber.start()
    poll = asyncio.create_task(subscriber.poll())
    await held(org)
    org.cometd.kick()
    bye, refusal = await poll
    assert ("/meta/disconnect", "/meta/connect") == (bye["channel"], refusal["channel"])
    assert ("403::Unknown client", "none", "7") == (refusal["error"], refusal["advice"]["reconnect"], refusal["id"])
    assert refusal == (await subscriber.poll())[0]
    await subscriber.start()


async def test_cometd_faults_that_are_counted(org: SalesforceEmulator, wire: Wire, subscriber: Subscriber) -> None:
    """A REST-style 401, a busy server and broken JSON apply the given number of times."""
    org.faults.cometd_unauthorized()
    reply = await wire.call("POST", "/cometd/67.0", [{"channel": "/meta/handshake"}])
    assert (401, "INVALID_SESSION_ID") == (reply.status, reply.code)
    reason = "503::Server is too busy.  Please try your request again later."
    org.faults.cometd_error("/meta/handshake", "401::Authentication invalid", failure_reason=reason)
    busy = await subscriber.handshake()
    assert ("401::Authentication invalid", reason) == (busy["error"], busy["ext"]["sfdc"]["failureReason"])
    assert (await subscriber.handshake())["successful"]
    org.faults.broken_json()
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        await subscriber.poll()
    org.faults.advice_interval(1500)
    at_once = subscriber.connect(advice={"timeout": 0})
    assert (await wire.bayeux(at_once))[-1]["advice"]["interval"] == 1500


async def test_a_mute_server(org: SalesforceEmulator, subscriber: Subscriber) -> None:
    """A mute server does not respond until the fault ends, and then drops the held requests."""
    await subscriber.start()
    org.faults.mute()
    publish(org, "a")
    poll = asyncio.create_task(subscriber.poll())
    done, _ = await asyncio.wait([poll], timeout=0.2)
    assert not done
    org.faults.mute(on=False)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await poll


async def test_down_cuts_polls(org: SalesforceEmulator, subscriber: Subscriber) -> None:
    """When Salesforce goes down, held polls are cut."""
    await subscriber.start()
    poll = asyncio.create_task(subscriber.poll())
    await held(org)
    org.faults.down()
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await poll


async def test_after_a_restart_clients_are_unknown_and_events_are_kept(
    org: SalesforceEmulator, subscriber: Subscriber
) -> None:
    """After a restart on the same port, clients repeat the handshake and get every event, with their old tokens."""
    await subscriber.start()
    publish(org, "before")
    url = org.url
    await org.stop()
    await org.start()
    assert url == org.url
    assert (await subscriber.poll())[0]["error"] == "403::Unknown client"
    await subscriber.start(-2)
    assert ["before"] == names(await subscriber.poll())
