"""Floods from senders that prove nothing: their cost is bounded, and others notice nothing."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr
from temporalio.testing import WorkflowEnvironment

from closedwon import names
from closedwon.ids import RecordId
from closedwon.settings import RestErp, Webhook
from closedwon.temporal.orders import BEHIND_PROVEN
from tests.support.handoff import Handoff, handoff, until
from tests.support.intake import PROVEN, PROVEN_ROUTE, deliver, intake, soap_message
from tests.support.servers import start_temporal

_KEY = "a key of one org, made for this one test 4711"
_BOTH: dict[str, Any] = {"outbound": PROVEN, "callouts": {"keys": [SecretStr(_KEY)]}, "events": ()}
_BARE: dict[str, Any] = {**_BOTH, "outbound": {}}


def _invented(first: int, count: int) -> list[str]:
    return [RecordId(f"006{number:012d}") for number in range(first, first + count)]


async def _call(address: str, org: str, record: str) -> int:
    """Post one signed callout; its status."""
    body = json.dumps({"org": org, "records": [{"recordId": record, "id": f"n-{record}"}]}).encode()
    at = str(int(time.time()))
    digest = hmac.new(_KEY.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/json",
        "X-Closedwon-Timestamp": at,
        "X-Closedwon-Signature": f"v1={digest}",
    }
    async with aiohttp.request("POST", f"{address}/callouts/won-0", data=body, headers=headers) as answer:
        return answer.status


@asynccontextmanager
async def _slow(address: str, path: str, count: int) -> AsyncIterator[list[asyncio.StreamReader]]:
    """Connections whose requests have a body that never comes."""
    host, port = address.removeprefix("http://").split(":")
    opened = [await asyncio.open_connection(host, int(port)) for _ in range(count)]
    for _, writer in opened:
        writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n<".encode())
    try:
        yield [reader for reader, _ in opened]
    finally:
        for _, writer in opened:
            writer.close()


@pytest.fixture(scope="module")
async def temporal() -> AsyncIterator[WorkflowEnvironment]:
    """One Temporal server for all worlds; each test names records of its own."""
    async with await start_temporal() as server:
        yield server


@pytest.fixture(scope="module")
async def proven(temporal: WorkflowEnvironment) -> AsyncIterator[Handoff]:
    """A world whose messages and callouts prove their org."""
    async with handoff(temporal_server=temporal, **_BOTH) as world:
        yield world


@pytest.fixture(scope="module")
async def bare(temporal: WorkflowEnvironment) -> AsyncIterator[Handoff]:
    """A world whose messages prove nothing; its callouts do."""
    async with handoff(temporal_server=temporal, **_BARE, grace="0s") as world:
        yield world


async def test_a1_invented_records_cost_few_calls_of_the_org(bare: Handoff) -> None:
    """Messages with a hundred invented records each: reads and looks into the recycle bin share their calls."""
    async with bare.working(subscriber=False), intake(bare) as address:
        records = _invented(1000, 120)
        for at in range(0, 120, 60):
            status, _ = await deliver(address, soap_message(bare.org.org_id, records[at : at + 60]))
            assert 200 == status
        client = bare.connections.salesforce[bare.org.org_id]

        async def waiting() -> int:
            stages = await asyncio.gather(*(bare.stage(RecordId(each)) for each in records))
            return stages.count(names.OrderStage.ATTENTION)

        async def all_wait() -> bool:
            return await waiting() == 120

        await until(all_wait, progress=lambda: client.calls, what="120 orders that need attention")

        assert 40 > client.calls


async def test_a1_new_records_of_unproven_senders_are_bounded(bare: Handoff) -> None:
    """Per org and per address; records that are known cost nothing, and proven senders are not counted."""
    async with intake(bare, unproven_records_per_hour=20, proxies=["127.0.0.1"]) as address:

        async def send(first: int, who: str) -> int:
            body = soap_message(bare.org.org_id, _invented(first, 10))
            return (await deliver(address, body, headers={"X-Forwarded-For": who}))[0]

        statuses = [await send(first, "203.0.113.1") for first in (1, 11, 1)]
        others = [await send(first, f"203.0.113.{first}") for first in (31, 41)]
        call = await _call(address, bare.org.org_id, _invented(90, 1)[0])

        assert [200, 429, 200] == statuses
        assert [200, 429] == others
        assert 202 == call
        assert [] == await bare.begun(*_invented(11, 10), *_invented(41, 10))


async def test_a1_orders_of_unproven_senders_stand_behind_those_of_proven_ones(bare: Handoff) -> None:
    """Hundreds of invented records wait for each other; the tasks of an honest deal are taken first."""
    invented, honest = _invented(200, 2)
    async with intake(bare) as address:
        assert 200 == (await deliver(address, soap_message(bare.org.org_id, [invented])))[0]
        assert 202 == await _call(address, bare.org.org_id, honest)
    keys = []
    for record in (invented, honest):
        described = await bare.order(RecordId(record)).describe()
        keys.append(described.raw_description.workflow_execution_info.priority.priority_key)
    assert [BEHIND_PROVEN.priority_key, 0] == keys  # 0: the default, which is 3
    assert 3 < keys[0]


async def test_a1_the_bucket_counts_records(proven: Handoff) -> None:
    """A message of thirty records takes what thirty messages of one take."""
    async with intake(proven, records_per_second=1) as address:
        statuses = [
            (await deliver(address, soap_message(proven.org.org_id, _invented(1, 30)), route=PROVEN_ROUTE))[0]
            for _ in range(2)
        ]
        assert [200, 429] == statuses


async def test_a2_garbage_on_one_channel_does_not_refuse_signed_calls_of_another(bare: Handoff) -> None:
    """500 posts without a proof empty the sender's own bucket; callouts and proven messages go on."""
    async with intake(bare, records_per_second=20) as address:
        garbage = [(await deliver(address, b"<nonsense>"))[0] for _ in range(60)]
        async with aiohttp.ClientSession() as http:
            for _ in range(60):
                await http.post(f"{address}/callouts/won-0", data=b"{}", headers={"X-Closedwon-Signature": "v1=1"})
        honest = await _call(address, bare.org.org_id, _invented(1, 1)[0])

        assert {500, 429} == set(garbage)
        assert 202 == honest


@pytest.mark.parametrize("path", ["/nowhere", "/outbound/unknown", "/callouts/unknown", "/erp/unknown"])
async def test_a2_an_unknown_path_is_answered_before_its_body_comes(proven: Handoff, path: str) -> None:
    """64 bodies that never come take no place."""
    async with (
        intake(proven) as address,
        _slow(address, path, 64) as readers,
    ):
        answers = await asyncio.gather(*(reader.readline() for reader in readers))
        status = await _call(address, proven.org.org_id, _invented(1, 1)[0])

        assert {b"HTTP/1.1 404 Not Found\r\n"} == set(answers)
        assert 202 == status


@pytest.mark.parametrize("path", [f"/outbound/{PROVEN_ROUTE}", "/callouts/won-0"])
async def test_a2_bodies_that_never_come_refuse_no_honest_request(proven: Handoff, path: str) -> None:
    """They are more than all places together, and come from the address of the honest sender."""
    async with intake(proven) as address, _slow(address, path, 200):
        message = soap_message(proven.org.org_id, _invented(1, 1))
        calls = [await _call(address, proven.org.org_id, _invented(number, 1)[0]) for number in range(10)]
        messages = [(await deliver(address, message, route=PROVEN_ROUTE))[0] for _ in range(10)]

        assert {202} == set(calls)
        assert {200} == set(messages)


async def test_a2_idle_connections_cannot_take_all_files(proven: Handoff, caplog: pytest.LogCaptureFixture) -> None:
    """Further ones close the longest idle; an honest sender gets its answer, and the log stays short."""
    caplog.set_level(logging.INFO)
    async with intake(proven, connections=50) as address:
        host, port = address.removeprefix("http://").split(":")
        async with aiohttp.ClientSession() as honest:
            message = soap_message(proven.org.org_id, _invented(1, 1))
            statuses = []
            opened = []
            for number in range(220):
                opened.append(await asyncio.open_connection(host, int(port)))
                if number % 20 == 0:
                    async with honest.post(f"{address}/outbound/{PROVEN_ROUTE}", data=message) as answer:
                        statuses.append(answer.status)
        await until(lambda: sum(reader.at_eof() for reader, _ in opened) >= 165, what="closed connections")
        for _, writer in opened:
            writer.close()

        assert {200} == set(statuses)
        assert 20 >= sum("connections" in record.getMessage() for record in caplog.records)


async def test_a2_a_flood_of_refusals_is_counted_in_the_log(proven: Handoff, caplog: pytest.LogCaptureFixture) -> None:
    """The first ones of each kind are logged, and then how many more there were."""
    async with intake(proven) as address, aiohttp.ClientSession() as http:
        for number in range(100):
            await http.post(f"{address}/outbound/guess-{number}", data=b"<a/>")

        refused = [record for record in caplog.records if "refused (no-route)" in record.getMessage()]
        assert 20 == len(refused)


async def test_a2_a_flood_of_webhook_calls_refuses_no_callout(temporal: WorkflowEnvironment) -> None:
    """Each ERP and channel has a bucket of its own."""
    async with handoff(temporal_server=temporal, **_BOTH) as world:
        erp = world.settings.erps[0]
        assert isinstance(erp, RestErp)
        hooked = erp.model_copy(update={"webhook": Webhook(keys=(SecretStr(_KEY),))})
        world.settings = world.settings.model_copy(update={"erps": (hooked,)})
        async with intake(world, records_per_second=1) as address:
            statuses = [await _change(address, number) for number in range(12)]
            call = await _call(address, world.org.org_id, _invented(1, 1)[0])

        assert 429 == statuses[-1]
        assert 202 == statuses[0]
        assert 202 == call


async def _change(address: str, number: int) -> int:
    body = json.dumps({"number": f"SO-{number}"}).encode()
    at = str(int(time.time()))
    digest = hmac.new(_KEY.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    headers = {"X-Closedwon-Timestamp": at, "X-Closedwon-Signature": f"v1={digest}"}
    async with aiohttp.request("POST", f"{address}/erp/stub", data=body, headers=headers) as answer:
        return answer.status


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("13.108.1.2:5678", 200),
        ("[2001:db8::7]:5678", 200),
        ("[2001:db8::7]", 200),
        ("2001:db8::7", 200),
        ('"[2001:db8::7]:80"', 200),
        ("198.51.100.1, 13.108.1.2:443", 200),
        ("13.108.1.2, , ", 200),
        ("13.108.1.2:5678, 203.0.113.9:1", 403),
        ("203.0.113.9:5678", 403),
        ("salesforce.com:80", 400),
        ("1.2.3.4:5678:9", 400),
    ],
)
async def test_a4_proxies_write_addresses_with_ports(header: str, status: int, proven: Handoff, listening: str) -> None:
    """With a port, in brackets, in a list: the address counts."""
    body = soap_message(proven.org.org_id, _invented(1, 1))
    answered, _ = await deliver(listening, body, headers={"X-Forwarded-For": header}, route=PROVEN_ROUTE)

    assert status == answered


@pytest.fixture(scope="module")
async def listening(proven: Handoff) -> AsyncIterator[str]:
    """An intake behind a proxy, with an allow list."""
    async with intake(proven, allow=["13.108.0.0/14", "2001:db8::/32"], proxies=["127.0.0.1"]) as address:
        yield address


async def test_a4_an_unknown_hop_refuses_nothing_where_no_address_is_asked_for(proven: Handoff) -> None:
    """Without an allow list, `unknown` in the header does not refuse a message of Salesforce."""
    async with intake(proven, proxies=["127.0.0.1"]) as address:
        body = soap_message(proven.org.org_id, _invented(1, 1))
        status, _ = await deliver(address, body, headers={"X-Forwarded-For": "unknown"}, route=PROVEN_ROUTE)

        assert 200 == status
