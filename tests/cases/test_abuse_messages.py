"""Messages that say two things, or more than is needed, and what intake reveals to strangers."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr
from temporalio.testing import WorkflowEnvironment

from closedwon.ids import RecordId
from closedwon.salesforce.push import outbound
from closedwon.salesforce.push.callout import parse_soap
from closedwon.salesforce.push.soap import SoapError, read_xml
from tests.support import outbound as sent
from tests.support.handoff import Handoff, handoff
from tests.support.intake import PROVEN, PROVEN_ROUTE, intake, soap_message
from tests.support.servers import start_temporal

_KEY = "a key of one org, made for this one test 4711"
_ROUTE: dict[str, Any] = {"outbound": PROVEN, "callouts": {"keys": [SecretStr(_KEY)]}, "events": ()}


def _named(name: str, *, declared: str, encoding: str) -> bytes:
    text = sent.message([sent.deal(1, Name=name)]).decode()
    return text.replace('encoding="UTF-8"', f'encoding="{declared}"').encode(encoding)


@pytest.mark.parametrize(
    ("charset", "declared", "encoding"),
    [
        ("ISO-8859-1", "UTF-8", "utf-8"),
        ("windows-1252", "UTF-8", "utf-8"),
        ("us-ascii", "UTF-8", "utf-8"),
        ("UTF-8", "ISO-8859-1", "utf-8"),
        ("UTF-8", "ISO-8859-1", "iso-8859-1"),
        ("ISO-8859-1", "UTF-8", "iso-8859-1"),
        ("ISO-8859-1", "us-ascii", "iso-8859-1"),
    ],
)
def test_a5_of_two_labels_the_one_is_believed_that_the_bytes_bear_out(
    charset: str, declared: str, encoding: str
) -> None:
    """A name is never changed silently."""
    message = outbound.parse(_named("Café Müller", declared=declared, encoding=encoding), charset)
    (found,) = message.notifications

    assert found.fields is not None
    assert "Café Müller" == found.fields["Name"]


def test_a5_two_labels_that_could_both_be_true_are_refused() -> None:
    """The bytes are not UTF-8, and mean two different texts."""
    body = b'<?xml version="1.0" encoding="windows-1252"?><a>10 \x80</a>'

    with pytest.raises(SoapError, match="different encodings"):
        read_xml(body, "iso-8859-1")
    assert "10 é" == read_xml(body.replace(b"\x80", b"\xe9"), "iso-8859-1").text


def test_a5_the_soap_form_of_callouts_reads_in_the_same_way() -> None:
    """One reader for both."""
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body>'
        '<submit xmlns="urn:closedwon:callout:1"><org>00D5g000004uZcX</org>'
        "<records><recordId>0065g0000000001</recordId>"
        "<id>a</id><fields><name>Name</name><value>Café</value></fields></records></submit></e:Body></e:Envelope>"
    )
    assert {"Name": "Café"} == parse_soap(body.encode(), "iso-8859-1").items[0].payload


@pytest.mark.parametrize("action", ["<ActionId/>", "<ActionId>a flow</ActionId>", "", "<ActionId>04k</ActionId>" * 2])
def test_a6_an_unused_action_id_refuses_nothing(action: str) -> None:
    """Flows and other tools send what they have."""
    body = sent.message([sent.deal(1)]).replace(f"<ActionId>{sent.ACTION}</ActionId>".encode(), action.encode())

    assert sent.ORG == outbound.parse(body).org


def _signed(body: bytes, *, version: str = "v2", path: str = "/callouts/won-0") -> dict[str, str]:
    at = str(int(time.time()))
    text = f"v2.{at}.{path}." if version == "v2" else f"{at}."
    digest = hmac.new(_KEY.encode(), text.encode() + body, hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/json",
        "X-Closedwon-Timestamp": at,
        "X-Closedwon-Signature": f"{version}={digest}",
    }


async def _post(address: str, body: bytes, headers: dict[str, str]) -> int:
    async with aiohttp.request("POST", f"{address}/callouts/won-0", data=body, headers=headers) as answer:
        return answer.status


@pytest.fixture(scope="module")
async def temporal() -> AsyncIterator[WorkflowEnvironment]:
    """One Temporal server."""
    async with await start_temporal() as server:
        yield server


@pytest.fixture(scope="module")
async def world(temporal: WorkflowEnvironment) -> AsyncIterator[Handoff]:
    """A world with working workers."""
    async with handoff(temporal_server=temporal, **_ROUTE) as made, made.working(subscriber=False):
        yield made


async def test_a6_a_call_that_a_second_process_takes_again_has_no_effect(world: Handoff) -> None:
    """One process refuses the replay; another one accepts it, while the order is made and after its end."""
    world.org.seed(1)
    (won,) = world.org.win_next(1)
    body = json.dumps({"org": world.org.org_id, "records": [{"recordId": won, "id": "job-1"}]}).encode()
    headers = _signed(body)
    async with intake(world) as first, intake(world) as second, intake(world) as third:
        statuses = [await _post(address, body, headers) for address in (first, first, second)]
        await world.until_written_back(won)
        await world.order(won).result()
        version, writes = world.org.get("Opportunity", won)["SystemModstamp"], len(world.erp.orders())
        statuses.append(await _post(third, body, headers))
        await world.order(won).result()

    assert [202, 401, 202, 202] == statuses
    assert (version, writes) == (world.org.get("Opportunity", won)["SystemModstamp"], len(world.erp.orders()))
    assert 1 == len(world.erp.orders())


async def test_a6_a_signature_covers_the_path(world: Handoff) -> None:
    """A call for another route is refused; the first version of signatures, without a path, is still accepted."""
    body = json.dumps({"org": world.org.org_id, "records": [{"recordId": RecordId("006" + "9" * 12), "id": "x"}]})
    async with intake(world) as address:
        elsewhere = await _post(address, body.encode(), _signed(body.encode(), path="/callouts/won-1"))
        older = await _post(address, body.encode(), _signed(body.encode(), version="v1"))
        here = await _post(address, body.encode(), _signed(body.encode()))

    assert [401, 202, 202] == [elsewhere, older, here]


async def test_a6_strangers_learn_no_names(world: Handoff) -> None:
    """Neither the OpenAPI document nor a WSDL shows the name of a route, or repeats the Host header."""
    async with intake(world) as address, aiohttp.ClientSession(headers={"Host": "evil.example.com"}) as http:
        openapi = await (await http.get(f"{address}/openapi.json")).text()
        wsdl = await (await http.get(f"{address}/outbound/{PROVEN_ROUTE}?wsdl")).text()
        refused = await asyncio.gather(
            *(http.get(f"{address}{path}") for path in ("/outbound/won-0?wsdl", "/outbound/nowhere?wsdl", "/nowhere"))
        )
        answers = {await one.text() for one in refused}

    assert "won-0" not in openapi
    assert "evil.example.com" not in openapi + wsdl
    assert 1 == len(answers)


async def test_a_message_in_two_encodings_is_stored_as_it_was_written(temporal: WorkflowEnvironment) -> None:
    """Header and document disagree: the deal has the name that Salesforce sent."""
    async with (
        handoff(temporal_server=temporal, **{**_ROUTE, "source": "event", "select": None, "payload": "@"}) as world,
        intake(world) as address,
    ):
        record = RecordId("006000000000077")
        body = soap_message(world.org.org_id, [record]).replace(
            b"</sObject>", b"<sf:Name>Caf\xc3\xa9</sf:Name></sObject>"
        )
        headers = {"Content-Type": "text/xml; charset=ISO-8859-1"}
        async with aiohttp.request("POST", f"{address}/outbound/{PROVEN_ROUTE}", data=body, headers=headers) as answer:
            status = answer.status
        history = await world.order(record).fetch_history()

    assert 200 == status
    assert "Café" in _payloads(history).decode()


def _payloads(history: Any) -> bytes:
    return b"".join(
        payload.data
        for event in history.events
        if event.HasField("workflow_execution_signaled_event_attributes")
        for payload in event.workflow_execution_signaled_event_attributes.input.payloads
    )
