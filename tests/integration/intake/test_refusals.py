"""Requests that intake refuses: each has its answer, its count and its log entry, without field values."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import Any

import aiohttp
import pytest
from temporalio.runtime import MetricBuffer, Runtime, TelemetryConfig
from yarl import URL

from closedwon.ids import RecordId
from tests.support.handoff import handoff, until
from tests.support.intake import PROVEN, PROVEN_ROUTE, deliver, intake, soap_message

_ACK = "<Ack>true</Ack>"
_SECRET = "4711 Confidential Street"
_EVENT: dict[str, Any] = {"outbound": PROVEN, "events": (), "source": "event", "select": None, "payload": "@"}


def _counts(buffer: MetricBuffer) -> Counter[str]:
    counts: Counter[str] = Counter()
    for update in buffer.retrieve_updates():
        if update.metric.name == "closedwon_messages":
            counts[str(update.attributes["outcome"])] += int(update.value)
    return counts


def _with_field(body: bytes, name: str, value: str) -> bytes:
    return body.replace(b"</sObject>", f"<sf:{name}>{value}</sf:{name}></sObject>".encode())


async def _hang_up(address: str) -> None:
    host, port = address.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"POST /outbound/{PROVEN_ROUTE} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{_SECRET}".encode())
    await writer.drain()
    await asyncio.sleep(0)
    writer.close()
    await writer.wait_closed()


async def _speak_no_http(address: str) -> bytes:
    host, port = address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST /outbound/{PROVEN_ROUTE} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{_SECRET}\r\n".encode()
    )
    answer = await reader.readline()
    writer.close()
    return answer


async def test_every_refusal_is_counted_by_its_reason_and_logged_without_values(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An operator sees which kind increases and which notifications it affects, and never a customer's data."""
    caplog.set_level(logging.INFO)
    buffer = MetricBuffer(10_000)
    meter = Runtime(telemetry=TelemetryConfig(metrics=buffer)).metric_meter
    seen: Counter[str] = Counter()

    def was_counted(reason: str) -> bool:
        seen.update(_counts(buffer))
        return seen[reason] > 0

    async with (
        handoff(**_EVENT) as world,
        intake(world, meter) as address,
        intake(world, meter, records_per_second=0.1) as strict,
    ):
        good = _with_field(soap_message(world.org.org_id, ["006000000000001AAA"]), "Street__c", _SECRET)
        await deliver(address, good, route=PROVEN_ROUTE)
        await deliver(address, good.replace(b"006000000000001AAA", b"006000000000001AAB"), route=PROVEN_ROUTE)
        await deliver(address, good.replace(world.org.org_id.encode(), b"00D000000000009"), route=PROVEN_ROUTE)
        await deliver(address, good, route="unknown")
        await deliver(address, good, route="won-0/else/where")
        await deliver(address, _with_field(good, "Long__c", _SECRET * 200_000), route=PROVEN_ROUTE)
        await deliver(address, _with_field(good, "Long__c", _SECRET * 100_000), route=PROVEN_ROUTE)
        await deliver(strict, good, route=PROVEN_ROUTE)
        await deliver(strict, good, route=PROVEN_ROUTE)
        await _hang_up(address)
        answer = await _speak_no_http(address)
        await until(lambda: was_counted("gone"))

    assert b" 400 " in answer
    expected = {
        "accepted": 2,
        "malformed": 1,
        "org": 1,
        "no-route": 2,
        "too-large": 1,
        "unfit": 1,
        "rate": 1,
        "gone": 1,
    }
    assert expected == seen
    assert "04l000000000001AAA" in caplog.text
    assert _SECRET not in caplog.text


async def test_a_sender_cannot_add_lines_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """The called address is logged as received, with its line breaks encoded."""
    async with handoff(outbound={}, events=()) as world, intake(world) as address, aiohttp.ClientSession() as http:
        await http.post(URL(f"{address}/outbound/x%0Aforged", encoded=True), data=b"<nonsense>")

    assert "/outbound/x%0Aforged" in caplog.text
    assert "\nforged" not in caplog.text


async def test_requests_beyond_the_rate_limit_are_not_parsed() -> None:
    """The limit of the address applies before the body is parsed."""
    async with handoff(outbound={}, events=()) as world, intake(world, records_per_second=0.8) as address:
        answers = [await deliver(address, b"<nonsense>") for _ in range(3)]

        assert [500, 500, 429] == [status for status, _ in answers]
        assert "records_per_second" in answers[-1][1]


async def test_a_record_that_is_too_large_for_temporal_is_refused_permanently() -> None:
    """The fault says so, so that it is not sent again, and nothing else of the message starts."""
    async with handoff(**_EVENT) as world, intake(world) as address:
        for size in (1_950_000, 3_000_000):
            body = soap_message(world.org.org_id, ["006000000000001AAA", "006000000000002AAA"])
            start, end = body.rsplit(b"</sObject>", 1)
            long = b"<sf:Long__c>" + b"x" * size + b"</sf:Long__c></sObject>"
            status, answer = await deliver(address, start + long + end, route=PROVEN_ROUTE)

            assert 422 == status
            assert "soapenv:Client" in answer
            assert "fewer fields" in answer
            assert [] == await world.begun("006000000000001AAA", "006000000000002AAA")


async def test_a_route_can_refuse_records_that_do_not_qualify() -> None:
    """By default, the message is accepted and its workflow ends as not needed; with `refuse` nothing starts."""
    for policy, status, started in (("ack", 200, True), ("refuse", 500, False)):
        route = {**_EVENT, "outbound": {**PROVEN, "unqualified": policy}, "qualify": "IsWon == 'true'"}
        async with handoff(**route) as world, intake(world) as address:
            lost = _with_field(soap_message(world.org.org_id, ["006000000000001AAA"]), "IsWon", "false")
            won = _with_field(soap_message(world.org.org_id, ["006000000000002AAA"]), "IsWon", "true")
            answered, why = await deliver(address, lost, route=PROVEN_ROUTE)
            has_begun = await world.has_begun(RecordId("006000000000001AAA"))
            _, taken = await deliver(address, won, route=PROVEN_ROUTE)

            assert status == answered
            assert started is has_begun
            assert ("does not qualify" in why) is (policy == "refuse")
            assert _ACK in taken


async def test_the_response_time_is_measured_for_acknowledged_and_refused_requests() -> None:
    """Slow responses are visible before Salesforce times out; requests for the WSDL do not count."""
    buffer = MetricBuffer(10_000)
    meter = Runtime(telemetry=TelemetryConfig(metrics=buffer)).metric_meter
    async with handoff(outbound={}, events=()) as world, intake(world, meter) as address:
        await deliver(address, soap_message(world.org.org_id, ["006000000000001AAA"]))
        await deliver(address, b"nonsense")
        async with aiohttp.request("GET", f"{address}/outbound/won-0?wsdl") as answer:
            assert 200 == answer.status

    measured = [update for update in buffer.retrieve_updates() if update.metric.name == "closedwon_ack_latency"]
    assert [("outbound-message", "acknowledged"), ("outbound-message", "refused")] == [
        (update.attributes["channel"], update.attributes["outcome"]) for update in measured
    ]
