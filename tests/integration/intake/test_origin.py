"""Path secrets under attack: how they are compared, answered and rotated, and where they never appear."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from pydantic import SecretStr
from temporalio.runtime import MetricBuffer, Runtime, TelemetryConfig
from yarl import URL

from closedwon.ids import RecordId
from tests.support.handoff import Handoff, handoff
from tests.support.intake import PATH_SECRET, PROVEN, PROVEN_ROUTE, deliver, intake, soap_message, tombstones

_NEW = "bmV3LXNlY3JldA_of-one-test_9Qk2xLrTfV0a"
_ACK = "<Ack>true</Ack>"
_RECORD = RecordId("006000000000001AAA")
_TOMBSTONE = {"object": "Deleted_Record__c", "record_id": "Record_Id__c"}
_ENCODED = "".join(f"%{ord(char):02X}" for char in PATH_SECRET)

_WRONG_PATHS = {
    "no secret": "/outbound/won-0",
    "an empty one": "/outbound/won-0/",
    "an empty one between slashes": "/outbound/won-0//tombstones",
    "the beginning": f"/outbound/won-0/{PATH_SECRET[:-1]}",
    "more than it": f"/outbound/won-0/{PATH_SECRET}A",
    "another case": f"/outbound/won-0/{PATH_SECRET.swapcase()}",
    "a slash before it": f"/outbound/won-0//{PATH_SECRET}",
    "a slash in front": f"//outbound/won-0/{PATH_SECRET}",
    "a slash behind it": f"/outbound/won-0/{PATH_SECRET}/",
    "an encoded slash": f"/outbound/won-0/%2F{PATH_SECRET}",
    "an encoded slash in place of one": f"/outbound/won-0%2F{PATH_SECRET}",
    "encoded twice": f"/outbound/won-0/{quote(_ENCODED)}",
    "a null byte behind it": f"/outbound/won-0/{PATH_SECRET}%00",
    "bytes of no text": f"/outbound/won-0/{PATH_SECRET}%FF%FE",
    "a parameter": f"/outbound/won-0/{PATH_SECRET};x=1",
    "the query": f"/outbound/won-0?secret={PATH_SECRET}",
    "another route's name": f"/outbound/won-9/{PATH_SECRET}",
    "no route's name": f"/outbound/{PATH_SECRET}",
    "upper case before it": f"/OUTBOUND/won-0/{PATH_SECRET}",
    "a prefix that the proxy forgot": f"/hooks/outbound/won-0/{PATH_SECRET}",
    "as a callout": f"/callouts/won-0/{PATH_SECRET}",
    "twice": f"/outbound/won-0/{PATH_SECRET}/{PATH_SECRET}",
    "tombstones of a wrong one": f"/outbound/won-0/{PATH_SECRET[::-1]}/tombstones",
    "tombstones without one": "/outbound/won-0/tombstones",
    "a very long one": f"/outbound/won-0/{'A' * 7000}",
}


async def _post(address: str, path: str, body: bytes) -> tuple[int, str]:
    """Post to exactly this path; a client that normalizes URLs would hide the attack."""
    host, port = address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(_request(path, body, close=True))
    head, _, answer = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return int(head.split()[1]), answer.decode()


def _request(path: str, body: bytes, *, close: bool = False) -> bytes:
    connection = "close" if close else "keep-alive"
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\nConnection: {connection}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


async def _speak_no_http(address: str, path: str) -> None:
    """Requests that no server can parse: a line too long, a wrong version, an invalid header."""
    host, port = address.removeprefix("http://").split(":")
    for line in (f"{path * 300} HTTP/1.1", f"{path} HTTP/9.x", f"{path} HTTP/1.1\r\n{path}", f"{path}\x01 HTTP/1.1"):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"POST {line}\r\nHost: x\r\n\r\n".encode())
        assert b" 400 " in await reader.readline()
        writer.close()


def _event(**outbound: Any) -> dict[str, Any]:
    return {"outbound": {**PROVEN, **outbound}, "events": (), "source": "event", "payload": "@"}


def _counts(buffer: MetricBuffer) -> Counter[str]:
    counts: Counter[str] = Counter()
    for update in buffer.retrieve_updates():
        assert PATH_SECRET not in str(update.attributes)
        if update.metric.name == "closedwon_messages":
            counts[str(update.attributes["outcome"])] += int(update.value)
    return counts


def _body(world: Handoff) -> bytes:
    return soap_message(world.org.org_id, [_RECORD])


async def test_every_wrong_path_gets_the_answer_of_an_unknown_address() -> None:
    """The answer does not reveal whether the route, the secret, or both are wrong; nothing starts."""
    async with handoff(**_event(tombstone=_TOMBSTONE)) as world, intake(world) as address:
        nowhere = await _post(address, "/outbound/no-such-route", _body(world))
        problem = await _post(address, "/callouts/no-such-route/x", _body(world))
        answers = {name: await _post(address, path, _body(world)) for name, path in _WRONG_PATHS.items()}

        assert 404 == nowhere[0]
        as_callout = answers.pop("as a callout")
        assert problem == as_callout
        assert {} == {name: answer for name, answer in answers.items() if answer != nowhere}
        assert not await world.has_begun(_RECORD)


async def test_a_route_without_a_secret_accepts_none() -> None:
    """An operator who removed the secret by mistake notices it: the old address no longer exists."""
    async with handoff(outbound={"tombstone": _TOMBSTONE}, events=()) as world, intake(world) as address:
        buried = tombstones(world.org.org_id, [_RECORD])
        with_secret = [
            (await deliver(address, body, route=f"won-0/{PATH_SECRET}{tail}"))[0]
            for body, tail in ((_body(world), ""), (buried, "/tombstones"))
        ]
        has_begun = await world.has_begun(_RECORD)
        bare, _ = await deliver(address, _body(world))

        assert [404, 404] == with_secret
        assert (False, 200) == (has_begun, bare)


async def test_a_wrong_secret_is_refused_before_the_body_is_read() -> None:
    """A wrong guess costs no parsing and does not count against the org's limit."""
    async with handoff(**_event()) as world, intake(world, records_per_second=0.2) as address:
        guesses = [await deliver(address, _body(world), route=f"won-0/{_NEW}") for _ in range(5)]
        host, port = address.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"POST /outbound/won-0/{_NEW} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n".encode())
        answered_unread = await reader.readline()
        writer.close()
        status, answer = await deliver(address, _body(world), route=PROVEN_ROUTE)

        assert [404] * 5 == [guessed for guessed, _ in guesses]
        assert b" 404 " in answered_unread
        assert (200, True) == (status, _ACK in answer)


async def test_two_secrets_are_valid_while_one_replaces_the_other() -> None:
    """The old and the new one are accepted, also for tombstones; a third is not."""
    both = {"path_secrets": [SecretStr(PATH_SECRET), SecretStr(_NEW)], "tombstone": _TOMBSTONE}
    async with handoff(**_event(**both)) as world, intake(world) as address:
        buried = tombstones(world.org.org_id, [_RECORD])
        statuses = [
            (await deliver(address, body, route=f"won-0/{secret}{tail}"))[0]
            for secret in (PATH_SECRET, _NEW, _NEW[::-1])
            for body, tail in ((_body(world), ""), (buried, "/tombstones"))
        ]

        assert [200, 200, 200, 200, 404, 404] == statuses


async def test_the_contract_has_a_placeholder_for_the_secret() -> None:
    """A WSDL is saved, mailed and committed; neither it nor the OpenAPI document contains the secret."""
    callouts = {"keys": [SecretStr("a key that both ends know, made for one test")]}
    async with (
        handoff(**_event(), callouts=callouts) as world,
        intake(world) as address,
        aiohttp.ClientSession() as http,
    ):
        shown = await http.get(f"{address}/outbound/{PROVEN_ROUTE}?wsdl")
        hidden = await http.get(f"{address}/outbound/won-0?wsdl")
        openapi = await (await http.get(f"{address}/openapi.json")).text()
        wsdl = await shown.text()

        assert [200, 404] == [shown.status, hidden.status]
        assert f'location="{address}/outbound/won-0/{{secret}}"' in wsdl
        assert PATH_SECRET not in wsdl + openapi


async def test_pipelined_requests_are_checked_one_by_one() -> None:
    """On one connection, a wrong secret after a right one is refused, and a right one after a wrong one accepted."""
    paths = [PROVEN_ROUTE, f"won-0/{_NEW}", PROVEN_ROUTE, "won-0", PROVEN_ROUTE]
    async with handoff(**_event()) as world, intake(world) as address:
        host, port = address.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        for place, path in enumerate(paths):
            last = place == len(paths) - 1
            writer.write(_request(f"/outbound/{path}", _body(world), close=last))
        answers = (await reader.read()).split(b"HTTP/1.1 ")[1:]
        writer.close()
        await writer.wait_closed()

        assert [b"200", b"404", b"200", b"404", b"200"] == [answer[:3] for answer in answers]
        assert [True, False, True, False, True] == [_ACK.encode() in answer for answer in answers]


async def test_no_secret_appears_in_logs_and_metrics(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A hundred requests with every outcome, at right and wrong addresses: no log entry and no label has it."""
    caplog.set_level(logging.DEBUG)
    buffer = MetricBuffer(100_000)
    meter = Runtime(telemetry=TelemetryConfig(metrics=buffer)).metric_meter
    async with (
        handoff(**_event(tombstone=_TOMBSTONE)) as world,
        intake(world, meter, largest_body=20_000) as address,
        intake(world, meter, records_per_second=0.1) as strict,
    ):
        good = _body(world)
        bodies = [good, b"<nonsense>", good.replace(world.org.org_id.encode(), b"00D000000000009"), b"x" * 30_000]
        paths = [*_WRONG_PATHS.values(), f"/outbound/{PROVEN_ROUTE}", f"/outbound/{PROVEN_ROUTE}/tombstones"]
        paths += [f"/outbound/won-0/{_ENCODED}", f"/x/../outbound/won-0/{PATH_SECRET}"]
        statuses = Counter([(await _post(address, path, body))[0] for path in paths for body in bodies])
        await _speak_no_http(address, f"/outbound/{PROVEN_ROUTE}")
        for _ in range(3):
            await deliver(strict, good, route=PROVEN_ROUTE)
        async with aiohttp.ClientSession() as http:
            url = URL(f"{address}/outbound/{PROVEN_ROUTE}", encoded=True)
            for method in ("PUT", "GET", "HEAD", "OPTIONS"):
                await http.request(method, url)
        counts = _counts(buffer)

    assert statuses.total() > 100
    assert {200, 403, 404, 413, 500} <= statuses.keys()
    assert {"accepted", "malformed", "org", "no-route", "path-secret", "too-large", "rate"} <= counts.keys()
    assert "(path-secret)" in caplog.text
    for trace in (PATH_SECRET, PATH_SECRET.swapcase(), _ENCODED, quote(_ENCODED), PATH_SECRET[:16], PATH_SECRET[-16:]):
        assert trace not in caplog.text
