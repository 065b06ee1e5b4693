"""Outbound messages over real sockets: acknowledged when durable, and never before."""

from __future__ import annotations

import asyncio
import gzip
import time
from datetime import timedelta
from typing import Any

import pytest

from closedwon.ids import RecordId
from closedwon.model.messages import Message
from tests.support.handoff import handoff
from tests.support.intake import PROVEN, PROVEN_ROUTE, deliver, intake, soap_message
from tests.support.servers import start_temporal

_ACK = "<Ack>true</Ack>"


@pytest.mark.parametrize("deals", [1, 2, 100])
async def test_every_notification_of_a_message_becomes_an_order(deals: int) -> None:
    """One ack for all, and then one order each, whose number is written back."""
    async with handoff(outbound={}, events=()) as world, world.working(subscriber=False), intake(world) as address:
        world.org.seed(deals)
        won = world.org.win_next(deals)
        status, answer = await deliver(address, soap_message(world.org.org_id, won))
        await world.until_written_back(*won)

        assert 200 == status
        assert _ACK in answer
        assert deals == len(world.erp.orders())


async def test_one_bad_notification_of_a_hundred_starts_nothing() -> None:
    """The message is rejected as a whole: a fault with the reason, and no partial effect."""
    async with handoff(outbound={}, events=()) as world, world.working(subscriber=False), intake(world) as address:
        world.org.seed(99)
        won = world.org.win_next(99)
        status, answer = await deliver(address, soap_message(world.org.org_id, [*won, "006000000000001AAB"]))
        begun = await world.begun(*won, "006000000000001AAA")

        assert 500 == status
        assert "faultstring" in answer
        assert "checksum" in answer
        assert [] == begun


async def test_duplicates_in_one_message_in_another_and_after_the_end_make_one_order() -> None:
    """A lost ack, a message that is sent again hours later, the same record twice: all are harmless."""
    async with handoff(outbound={}, events=()) as world, world.working(subscriber=False), intake(world) as address:
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        body = soap_message(world.org.org_id, [record, record.short])
        answers = await asyncio.gather(*(deliver(address, body) for _ in range(10)))
        await world.until_written_back(record)
        await world.order(record).result()
        answers.append(await deliver(address, soap_message(world.org.org_id, [record], first=7)))
        await world.order(record).result()

        assert {200} == {status for status, _ in answers}
        assert 1 == len(world.erp.orders())


async def test_no_ack_while_temporal_is_down_and_the_same_message_is_accepted_later() -> None:
    """The answer makes Salesforce send again, well before its time-out; nothing is lost."""
    async with await start_temporal() as server, handoff(temporal_server=server, outbound={}, events=()) as world:
        world.org.seed(1)
        won = world.org.win_next(1)
        body = soap_message(world.org.org_id, won)
        async with intake(world, deadline=timedelta(seconds=2)) as address:
            await server.shutdown()
            began = time.monotonic()
            status, answer = await deliver(address, body)
            took = time.monotonic() - began

        assert 500 == status
        assert _ACK not in answer
        assert "send again" in answer
        assert took < 60  # Salesforce waits for a minute


@pytest.mark.parametrize(
    ("org", "route", "object_name", "complaint"),
    [
        ("00D000000000009", "won-0", "Opportunity", "is not the org of route"),
        (None, "won-0", "Account", "accepts Opportunity"),
        (None, "unknown", "Opportunity", "this address does not exist"),
    ],
)
async def test_a_message_of_another_org_object_or_route_gets_a_fault_with_the_reason(
    org: str | None, route: str, object_name: str, complaint: str
) -> None:
    """Nothing starts."""
    async with handoff(outbound={}, events=()) as world, intake(world) as address:
        body = soap_message(org or world.org.org_id, ["006000000000001AAA"], object_name=object_name)
        status, answer = await deliver(address, body, route=route)

        assert status >= 400
        assert complaint in answer
        assert [] == await world.begun("006000000000001AAA")


async def test_requests_beyond_the_limits_are_refused_before_they_are_read() -> None:
    """A large body, a compressed one, a slow one: each has its answer."""
    async with (
        handoff(outbound={}, events=()) as world,
        intake(world, largest_body=10_000, concurrent_requests=2, deadline=timedelta(seconds=1)) as address,
    ):
        message = soap_message(world.org.org_id, ["006000000000001AAA"])
        large, _ = await deliver(address, b"<a>" + b"x" * 20_000 + b"</a>")
        bomb, _ = await deliver(address, gzip.compress(message), headers={"Content-Encoding": "gzip"})
        host, port = address.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /outbound/won-0 HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n<")
        slow = await reader.readline()
        writer.close()

        assert 413 == large
        assert 415 == bomb
        assert b"HTTP/1.1 408 Request Timeout\r\n" == slow


async def test_a_message_about_a_deleted_record_is_acknowledged_and_starts_nothing() -> None:
    """Salesforce sends a notification without data, so there is no record to read."""
    async with handoff(outbound={}, events=()) as world, intake(world) as address:
        body = soap_message(world.org.org_id, ["006000000000001AAA"])
        start, end = body.index(b"<sObject"), body.index(b"</Notification>")
        status, answer = await deliver(address, body[:start] + body[end:])

        assert 200 == status
        assert _ACK in answer
        assert [] == await world.begun("006000000000001AAA")


async def test_a_route_can_create_the_order_from_the_message() -> None:
    """With source = "event", the fields of the message are the payload; otherwise no field is passed on."""
    for source, goes_along in (("event", True), ("record", False)):
        async with handoff(outbound=PROVEN, events=(), source=source) as world, intake(world) as address:
            record = RecordId("006000000000001")
            await deliver(address, soap_message(world.org.org_id, [record]), route=PROVEN_ROUTE)
            history = await world.order(record).fetch_history()
            (signal,) = [
                event.workflow_execution_signaled_event_attributes
                for event in history.events
                if event.HasField("workflow_execution_signaled_event_attributes")
            ]
            message = Message.model_validate_json(signal.input.payloads[0].data)

            assert ({"Id": record} if goes_along else None) == message.payload


async def test_an_order_from_message_texts_uses_the_newest_message() -> None:
    """As in docs/configure/channels.md: all values are texts; a late older message changes nothing."""
    order = {
        "name": "Name",
        "currency": "'EUR'",
        "customer": {"id": "AccountId", "name": "Account_Name__c"},
        "lines": {"each": "[@]", "product": "Product_Code__c", "quantity": "'1'", "unit_price": "Amount"},
    }
    qualify = "IsWon == 'true' && to_number(Amount) > `0`"
    route: dict[str, Any] = {"source": "event", "payload": "@", "qualify": qualify, "order": order}
    async with handoff(outbound=PROVEN, events=(), **route) as world, intake(world) as address:
        (record,) = world.org.seed(1)
        fields = {"AccountId": "001000000000001", "Account_Name__c": "Edge", "Product_Code__c": "GC1040"}
        for second, amount in ((2, "120.5"), (1, "99.0")):
            sent = {**fields, "IsWon": "true", "Amount": amount, "SystemModstamp": f"2026-11-03T10:00:0{second}.000Z"}
            values = "".join(f"<sf:{name}>{value}</sf:{name}>" for name, value in {"Name": "Roof", **sent}.items())
            body = soap_message(world.org.org_id, [record], first=second)
            body = body.replace(b"</sObject>", f"{values}</sObject>".encode())
            await deliver(address, body, route=PROVEN_ROUTE)
        async with world.working(subscriber=False):
            await world.until_written_back(record)

        assert ["120.50"] == [str(ordered["amount"]) for ordered in world.erp.orders()]
