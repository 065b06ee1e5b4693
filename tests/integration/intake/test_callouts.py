"""Callouts from Apex over real sockets: signed, accepted or rejected as a whole, 202 when durable."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr
from temporalio.api.operatorservice.v1 import RemoveSearchAttributesRequest

from closedwon import names
from closedwon.temporal.search_attributes import ensure_search_attributes
from tests.support.handoff import handoff, until
from tests.support.intake import intake
from tests.support.servers import start_temporal

_KEY, _NEW_KEY = "an old key of one org, made for this test", "its new key, as long as the old one"
_ROUTE: dict[str, Any] = {"events": (), "callouts": {"keys": [SecretStr(_KEY), SecretStr(_NEW_KEY)]}}


def _signed(body: bytes, *, key: str = _KEY, at: float | None = None) -> dict[str, str]:
    timestamp = str(int(time.time() if at is None else at))
    digest = hmac.new(key.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/json",
        "X-Closedwon-Timestamp": timestamp,
        "X-Closedwon-Signature": f"v1={digest}",
    }


async def _post(url: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any, str | None]:
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as response:
        text = await response.text()
        is_json = "json" in response.headers["Content-Type"]
        return response.status, json.loads(text) if is_json else text, response.headers.get("Retry-After")


def _call(org: str, records: list[str]) -> bytes:
    return json.dumps(
        {"org": org, "records": [{"recordId": record, "id": f"job-1/{record}"} for record in records]}
    ).encode()


@pytest.mark.parametrize("deals", [1, 100])
async def test_a_signed_call_is_answered_202_and_every_record_becomes_an_order(deals: int) -> None:
    """A controller's single record and a batch of a hundred; the answer names the workflows."""
    async with handoff(**_ROUTE) as world, world.working(subscriber=False), intake(world) as address:
        world.org.seed(deals)
        won = world.org.win_next(deals)
        body = _call(world.org.org_id, list(won))
        status, answer, _ = await _post(f"{address}/callouts/won-0", body, _signed(body))
        again, _, _ = await _post(f"{address}/callouts/won-0", body, _signed(body, key=_NEW_KEY))
        await world.until_written_back(*won)

        assert [202, 202] == [status, again]
        assert [world.order(record).id for record in won] == [one["workflowId"] for one in answer["accepted"]]
        assert deals == len(world.erp.orders())


async def test_an_invalid_signature_gets_401_and_starts_nothing() -> None:
    """No signature, another key, another body, an old signature, the same one twice."""
    async with handoff(**_ROUTE) as world, intake(world) as address:
        body = _call(world.org.org_id, ["006000000000001AAA"])
        url = f"{address}/callouts/won-0"
        good = _signed(body)
        refused = [
            await _post(url, body, {"Content-Type": "application/json"}),
            await _post(url, body, _signed(body, key="guess")),
            await _post(url, body + b" ", good),
            await _post(url, body, _signed(body, at=time.time() - 400)),
        ]
        begun = await world.begun("006000000000001AAA")
        first = await _post(url, body, good)
        replayed = await _post(url, body, good)

        assert {401} == {status for status, *_ in refused}
        assert [] == begun
        assert [202, 401] == [first[0], replayed[0]]


async def test_a_call_with_a_bad_record_names_it_and_starts_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The problem document names each bad place; the good records of the call are not accepted either."""
    async with handoff(**_ROUTE) as world, intake(world) as address:
        body = _call(world.org.org_id, ["006000000000001AAA", "006000000000001AAB", "006000000000002AAA"])
        status, answer, _ = await _post(f"{address}/callouts/won-0", body, _signed(body))
        begun = await world.begun("006000000000001AAA", "006000000000002AAA")

        assert 422 == status
        assert ["/records/1/recordId"] == [error["pointer"] for error in answer["errors"]]
        assert [] == begun
        assert "callout to /callouts/won-0 is malformed (422)" in caplog.text


async def test_a_text_that_was_cut_inside_a_character_is_refused_as_a_whole() -> None:
    """Half of an emoji cannot be stored: the call is refused at once, and the other records are not started."""
    async with handoff(**_ROUTE, source="event", payload="@") as world, intake(world) as address:
        records = ["006000000000001AAA", "006000000000002AAA"]
        call = json.loads(_call(world.org.org_id, records))
        call["records"][1]["fields"] = {"Name": "deal \ud83d"}
        body = json.dumps(call).encode()
        status, answer, _ = await _post(f"{address}/callouts/won-0", body, _signed(body))

        assert 400 == status
        assert "half a character" in answer["detail"]
        assert [] == await world.begun(*records)


async def test_a_call_is_answered_503_with_retry_after_while_temporal_is_away() -> None:
    """Apex gets the answer to retry within its 10 seconds."""
    async with (
        await start_temporal() as server,
        handoff(temporal_server=server, **_ROUTE) as world,
        intake(world, deadline="2s") as address,
    ):
        await server.shutdown()
        body = _call(world.org.org_id, ["006000000000001AAA"])
        began = time.monotonic()
        status, answer, retry_after = await _post(f"{address}/callouts/won-0", body, _signed(body))

        assert 503 == status
        assert "send again" in answer["detail"]
        assert "5" == retry_after
        assert time.monotonic() - began < 60  # far below what the client for Temporal would wait by itself


async def test_an_org_that_calls_too_fast_gets_429() -> None:
    """A burst of ten seconds' worth is accepted; the next call gets 429 and a time to wait."""
    async with handoff(**_ROUTE) as world, intake(world, records_per_second=0.3) as address:
        answers = []
        for number in range(5):
            body = _call(world.org.org_id, [f"00600000000000{number}"])
            answers.append(await _post(f"{address}/callouts/won-0", body, _signed(body)))

        assert [202, 202, 202, 429] == [status for status, *_ in answers][:4]
        assert "5" == answers[3][2]


async def test_only_signed_calls_count_against_the_limit() -> None:
    """A sender without a key cannot use up the org's limit; signed nonsense beyond the limit is not parsed."""
    async with handoff(**_ROUTE) as world, intake(world, records_per_second=0.2) as address:
        url = f"{address}/callouts/won-0"
        unsigned = [(await _post(url, b"{", {}))[0] for _ in range(5)]
        signed = [(await _post(url, body, _signed(body)))[0] for body in (b"{1", b"{2", b"{3")]

        assert [401] * 5 == unsigned
        assert [400, 400, 429] == signed


async def test_the_soap_form_is_accepted_and_its_contract_served() -> None:
    """A client generated from the served WSDL gets a SOAP answer."""
    async with handoff(**_ROUTE) as world, intake(world) as address:
        url = f"{address}/callouts/won-0/soap"
        body = (
            '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><submit '
            f'xmlns="urn:closedwon:callout:1"><org>{world.org.org_id}</org><records>'
            "<recordId>006000000000001AAA</recordId><id>n-1</id></records></submit></s:Body></s:Envelope>"
        ).encode()
        headers = {**_signed(body), "Content-Type": "text/xml; charset=utf-8"}
        status, answer, _ = await _post(url, body, headers)
        refused, fault, _ = await _post(url, body, headers)
        async with aiohttp.ClientSession() as session:
            wsdl = await (await session.get(f"{url}?wsdl")).text()
            openapi = await (await session.get(f"{address}/openapi.json")).json()
            outbound = await session.get(f"{address}/outbound/won-0?wsdl")

        assert 200 == status
        assert "order:006000000000001AAA@" in answer
        assert 500 == refused
        assert "used before" in fault
        assert url in wsdl
        assert ["/callouts/{route}"] == list(openapi["paths"])
        assert 404 == outbound.status


async def test_a_call_that_temporal_refuses_without_its_search_attributes_is_to_be_repeated() -> None:
    """They are registered again soon: the answer does not say that the record itself cannot be stored."""
    async with handoff(**_ROUTE) as world, intake(world) as address:
        request = RemoveSearchAttributesRequest(namespace=world.client.namespace, search_attributes=[names.ROUTE])
        await world.client.operator_service.remove_search_attributes(request)

        async def is_answered(status: int) -> bool:
            body = _call(world.org.org_id, ["006000000000001AAA"])
            answered, _, retry_after = await _post(f"{address}/callouts/won-0", body, _signed(body))
            return (status, status == 503) == (answered, retry_after is not None)

        await until(lambda: is_answered(503))
        await ensure_search_attributes(world.client)
        await until(lambda: is_answered(202))
