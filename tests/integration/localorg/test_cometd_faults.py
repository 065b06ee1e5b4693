"""CometD as it goes wrong on demand: cut polls, lost answers, kicks, silence, restarts."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from closedwon.localorg import LocalOrg
from tests.integration.localorg.conftest import Subscriber, Wire, held, names, publish


async def test_a_cut_poll_loses_nothing_that_was_not_sent(org: LocalOrg, subscriber: Subscriber) -> None:
    """A connection cut while nothing was in the answer loses nothing: the session goes on."""
    await subscriber.start()
    poll = asyncio.create_task(subscriber.poll())
    await held(org)
    assert org.cometd.cut_polls() == 1
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await poll
    publish(org, "a")
    assert ["a"] == names(await subscriber.poll())


async def test_a_lost_response_loses_its_events(org: LocalOrg, subscriber: Subscriber) -> None:
    """Events in an answer that is lost on the way do not come again, except by a new subscription from before them."""
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


async def test_a_kicked_client(org: LocalOrg, subscriber: Subscriber) -> None:
    """A kick is a disconnect of the server's own and a 403 with the advice to stop."""
    await subscriber.start()
    poll = asyncio.create_task(subscriber.poll())
    await held(org)
    org.cometd.kick()
    bye, refusal = await poll
    assert ("/meta/disconnect", "/meta/connect") == (bye["channel"], refusal["channel"])
    assert ("403::Unknown client", "none", "7") == (refusal["error"], refusal["advice"]["reconnect"], refusal["id"])
    assert refusal == (await subscriber.poll())[0]
    await subscriber.start()


async def test_cometd_faults_that_are_counted(org: LocalOrg, wire: Wire, subscriber: Subscriber) -> None:
    """A REST-style 401, a busy server and broken JSON strike as often as asked, then no more."""
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


async def test_a_mute_server(org: LocalOrg, subscriber: Subscriber) -> None:
    """A mute server answers nothing until it is told to, and then drops what it kept."""
    await subscriber.start()
    org.faults.mute()
    publish(org, "a")
    poll = asyncio.create_task(subscriber.poll())
    done, _ = await asyncio.wait([poll], timeout=0.2)
    assert not done
    org.faults.mute(on=False)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await poll


async def test_down_cuts_polls(org: LocalOrg, subscriber: Subscriber) -> None:
    """When Salesforce goes down, held polls are cut."""
    await subscriber.start()
    poll = asyncio.create_task(subscriber.poll())
    await held(org)
    org.faults.down()
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await poll


async def test_a_restarted_org_knows_no_client_but_every_event(org: LocalOrg, subscriber: Subscriber) -> None:
    """After a restart on the same port clients shake hands again and find every event, with the tokens they have."""
    await subscriber.start()
    publish(org, "before")
    url = org.url
    await org.stop()
    await org.start()
    assert url == org.url
    assert (await subscriber.poll())[0]["error"] == "403::Unknown client"
    await subscriber.start(-2)
    assert ["before"] == names(await subscriber.poll())
