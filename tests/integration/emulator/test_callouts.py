"""Callouts of the Salesforce emulator: from a trigger, a batch job and a page, signed and retried like Apex."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
from pydantic import SecretStr

from closedwon.salesforce.push import signature
from tests.integration.emulator.conftest import Wire
from tests.integration.emulator.receiving import KEY, called, pushing, receiver_at, until_settled, until_tried


async def test_a_won_deal_triggers_a_signed_callout() -> None:
    """The product accepts the signature; the call has one record with an id of its own."""
    async with receiver_at() as receiver, pushing(called(receiver)) as org:
        (record,) = org.win_next(1)
        await until_settled(org)

        (call,) = receiver.calls
        (item,) = call.items
        assert (org.org_id, record) == (call.org, item.record)
        assert item.payload is not None
        assert "Closed Won" == item.payload["StageName"]
        headers = receiver.headers[0]
        path = "/call"
        seen = signature.SeenSignatures()
        signature.verify(headers, receiver.bodies[0], [SecretStr(KEY)], datetime.now(UTC), seen, path=path)
        assert headers["User-Agent"].startswith("SFDC-Callout/")


async def test_a_failed_call_is_repeated_with_the_same_id() -> None:
    """The Queueable enqueues itself again until the answer is 202."""
    async with receiver_at() as receiver, pushing(called(receiver)) as org:
        receiver.call_status = 503
        org.win_next(1)
        await until_tried(org, [1])
        assert "HTTP 503: as scripted" == org.outbox.queued()[0].problem

        receiver.call_status = 202
        org.clock.advance(timedelta(minutes=1))
        await until_settled(org)
        first, second = receiver.calls
        assert first.items[0].id == second.items[0].id


async def test_a_permanently_refused_call_fails_at_once() -> None:
    """It is on the failed list, with the text of the response."""
    async with receiver_at() as receiver, pushing(called(receiver)) as org:
        receiver.call_status = 422
        org.win_next(1)
        await until_tried(org, [1])

        (failed,) = org.outbox.queued()
        assert (1, "HTTP 422: as scripted") == (failed.failed, failed.problem)


async def test_the_soap_form_is_accepted() -> None:
    """The same record by SOAP; the call succeeds when the answer is a submitResponse."""
    async with receiver_at() as receiver:
        by_soap = called(receiver, endpoint=f"{receiver.url}soap", soap=True)
        async with pushing(by_soap) as org:
            (record,) = org.win_next(1)
            await until_settled(org)

        (item,) = receiver.calls[0].items
        assert record == item.record
        assert item.payload is not None
        assert "Closed Won" == item.payload["StageName"]
        signature.verify(
            receiver.headers[0],
            receiver.bodies[0],
            [SecretStr(KEY)],
            datetime.now(UTC),
            signature.SeenSignatures(),
            path="",
        )


async def _admin(wire: Wire, path: str, **body: Any) -> Any:
    reply = await wire.admin("POST", path, body)
    assert 200 == reply.status, reply
    return reply.body


async def test_page_trigger_and_batch_by_the_administration() -> None:
    """A page gets its answer at once; a trigger queues one call; a batch job queues all won deals, many per call."""
    async with receiver_at() as receiver, pushing() as org, aiohttp.ClientSession(org.url) as http:
        wire = Wire(org, http)
        won = org.win_next(3)
        await _admin(wire, "definitions", **called(receiver, scope=2).model_dump(mode="json"))
        page = await _admin(wire, "callouts/page", definition="called", record=won[0][:15])
        receiver.call_status = 422
        refused = await _admin(wire, "callouts/page", definition="called", record=won[0])
        assert [] == org.outbox.queued()
        receiver.call_status = 202
        queued = await _admin(wire, "callouts/trigger", definition="called", record=won[1])
        await until_settled(org)
        batch = await _admin(wire, "callouts/batch", definition="called")
        await until_settled(org)

        assert (202, "") == (page["status"], page["problem"])
        assert "HTTP 422: as scripted" == refused["problem"]
        assert queued["id"] == receiver.calls[2].items[0].id
        assert {"queued": 3} == batch
        assert [won[:2], won[2:]] == [[item.record for item in call.items] for call in receiver.calls[3:]]


async def test_the_administration_refuses_invalid_arguments() -> None:
    """An undefined name, an unknown object, an invalid id, a notification that no longer exists."""
    async with receiver_at() as receiver, pushing() as org, aiohttp.ClientSession(org.url) as http:
        wire = Wire(org, http)
        definition = called(receiver).model_dump(mode="json")
        await _admin(wire, "definitions", **definition)
        for path, body in (
            ("callouts/page", {"definition": "missing", "record": "006000000000001AAA"}),
            ("callouts/trigger", {"definition": "called", "record": "006"}),
            ("callouts/batch", {"definition": "missing"}),
            ("endpoints", {"definition": "missing", "endpoint": "http://localhost:9/"}),
            ("endpoints", {"definition": "called", "endpoint": "localhost"}),
            ("definitions", {**definition, "on": "Nothing__c"}),
            ("definitions", {**definition, "fields": ["Nothing__c"]}),
            ("definitions", {**definition, "key": "short"}),
            ("messages", {"id": "04l000000000001AAA", "action": "retry"}),
            ("messages", {"id": "04l000000000001AAA", "action": "delete"}),
        ):
            assert 400 == (await wire.admin("POST", path, body)).status, (path, body)
        (listed,) = (await wire.admin("GET", "definitions")).body
        assert "called" == listed["name"]
        assert "key" not in listed
