"""Cases T1 to T9: faults that no test would have noticed. Each test is named by the ID of its case."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr
from temporalio.common import MetricMeter
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.erp import ErpActivities
from closedwon.emulators.erp.stub import StubErp
from closedwon.erp import open_erp
from closedwon.errors import AttentionError, AttentionReason
from closedwon.ids import OrgId, RecordId
from closedwon.mapping.orders import check_prefix, record_id_of
from closedwon.mapping.record import Erps, Record, gone, snapshot
from closedwon.model.erp_calls import CreateOrder
from closedwon.model.messages import Message
from closedwon.model.routes import ChangePolicy, Channel
from closedwon.model.snapshot import Deleted, Hidden, Wanted
from closedwon.salesforce.push import outbound, soap
from closedwon.salesforce.push.outbound import OutboundMessageError
from closedwon.salesforce.push.soap import SoapError
from closedwon.telemetry.metrics import Metrics
from tests.integration.erp.worlds import made_by_hand, new_order, no_proof, rest_settings
from tests.support import outbound as sent
from tests.support.handoff import Handoff, handoff
from tests.support.hostile import BOMBS, LARGEST, MOST_MEMORY, cost_of
from tests.support.intake import intake
from tests.support.mapping import ORG, RECORD, deal, example_route, line, record_of

_AT = datetime(2026, 11, 3, 9, 0, tzinfo=UTC)


def _message(**fields: Any) -> Message:
    return Message(id="m", channel=Channel.PLATFORM_EVENT, received_at=_AT, **fields)


def test_t6_a_custom_object_is_mapped_too() -> None:
    """A route over a custom object takes its records, whatever their key prefix, and lines of a custom child object."""
    route = example_route(
        ('object = "Opportunity"', 'object = "Deal__c"'),
        ("FROM OpportunityLineItems)", "FROM Deal_Lines__r)"),
        ('each = "OpportunityLineItems.records"', 'each = "Deal_Lines__r.records"'),
    )
    fields = deal(Deal_Lines__r={"records": [line(3, 7)]}, OpportunityLineItems=None)
    found = snapshot(record_of(fields, route), Erps(("tryton",)))
    assert isinstance(found, Wanted)
    assert Decimal(21) == found.order.amount


def test_t6_a_message_of_a_custom_object_is_taken() -> None:
    """The prefix of a custom object is not known, so no id is refused for it; that of a standard object is checked."""
    custom = example_route(('object = "Opportunity"', 'object = "Deal__c"'))
    record = record_id_of(custom, {"Opportunity_Id__c": "a015g00000AbCdE"})
    check_prefix(custom, record)
    assert "a015g00000AbCdEAAV" == record
    with pytest.raises(AttentionError, match="prefix 'a01', but Opportunity has '006'"):
        check_prefix(example_route(), record)


def test_t5_messages_with_and_without_time_and_payload() -> None:
    """A payload makes the order, with the notification's own time or none; a missing payload is an invalid message."""
    route = example_route().model_copy(update={"source": "event", "payload": "Payload__c", "select": None})
    payload = {"Payload__c": deal(line(1, 5), SystemModstamp="2020-01-01T00:00:00.000+0000")}
    for at in (_AT, None):
        found = snapshot(
            Record.from_message(route, ORG, RECORD, _message(payload=payload, modified_at=at)), Erps(("tryton",))
        )
        assert isinstance(found, Wanted)
        assert (at, at, {}) == (found.modified_at, found.order.modified_at, found.written)
        assert datetime(2026, 10, 1, 8, 0, tzinfo=UTC) == found.order.created_at
    for message in (None, _message(), _message(modified_at=_AT)):
        with pytest.raises(AttentionError) as caught:
            Record.from_message(route, ORG, RECORD, message)
        assert AttentionReason.INVALID_MESSAGE == caught.value.reason


def test_t5_a_record_that_is_not_there() -> None:
    """Deleted where a tombstone or the recycle bin says so, else hidden; only a tombstone brings a time."""
    route = example_route()
    tombstone, plain = _message(deleted=True, modified_at=_AT), _message(modified_at=_AT)
    assert Deleted(erp="tryton", policies=route.policies, modified_at=_AT) == gone(route, tombstone, is_deleted=True)
    assert Deleted(erp="tryton", policies=route.policies) == gone(route, plain, is_deleted=True)
    assert Hidden(erp="tryton", policies=route.policies) == gone(route, plain, is_deleted=False)
    assert Hidden(erp="tryton", policies=route.policies) == gone(route, None, is_deleted=False)


_KEY = "a key that production and its sandbox share"
_SANDBOX = OrgId("00D000000000009")
_RECORD = RecordId("006000000000001AAA")
_MOST = 200_000
"""Elements of one document."""


def _call(org: str) -> bytes:
    return json.dumps({"org": org, "records": [{"recordId": _RECORD, "id": "job-1"}]}).encode()


def _soap_call(org: str) -> bytes:
    return (
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><submit '
        f'xmlns="urn:closedwon:callout:1"><org>{org}</org><records><recordId>{_RECORD}</recordId><id>job-1</id>'
        "</records></submit></s:Body></s:Envelope>"
    ).encode()


async def _post(url: str, body: bytes, *, signed: bytes | None = None) -> tuple[int, str]:
    """Post `body` with the signature of `signed`, by default of the body itself."""
    timestamp = str(int(time.time()))
    digest = hmac.new(_KEY.encode(), f"{timestamp}.".encode() + (signed or body), hashlib.sha256).hexdigest()
    media_type = "text/xml; charset=utf-8" if url.endswith("/soap") else "application/json"
    headers = {
        "Content-Type": media_type,
        "X-Closedwon-Timestamp": timestamp,
        "X-Closedwon-Signature": f"v1={digest}",
    }
    async with aiohttp.request("POST", url, data=body, headers=headers) as response:
        return response.status, await response.text()


def _world_of_callouts(world: Handoff, address: str) -> list[tuple[str, bytes, bytes]]:
    url = f"{address}/callouts/won-0"
    own = str(world.org.org_id)
    return [(url, _call(_SANDBOX), _call(own)), (f"{url}/soap", _soap_call(_SANDBOX), _soap_call(own))]


async def test_t8_a_callout_of_another_org_is_refused_though_the_key_is_right() -> None:
    """A sandbox that was refreshed from production signs with production's key: its records are not production's."""
    async with handoff(events=(), callouts={"keys": [SecretStr(_KEY)]}) as world, intake(world) as address:
        for url, of_sandbox, own in _world_of_callouts(world, address):
            status, answer = await _post(url, of_sandbox)
            forged, _ = await _post(url, own, signed=of_sandbox)
            begun = await world.has_begun(_RECORD)

            assert (500 if url.endswith("/soap") else 403) == status
            assert f"OrganizationId {_SANDBOX} is not the org of route" in answer
            assert (500 if url.endswith("/soap") else 401) == forged  # the org id is part of what is signed
            assert not begun
        for url, _, own in _world_of_callouts(world, address):
            assert (await _post(url, own))[0] in (200, 202)
        assert await world.has_begun(_RECORD)


@pytest.mark.parametrize("element", [b"<b/>", b"<b></b>", b"<b>&lt;</b>"])
def test_t9_the_number_of_elements_is_bounded_exactly(element: bytes) -> None:
    """The largest document that is allowed is read, one more element is refused unparsed, however it is written."""
    largest = b"<a>" + element * (_MOST - 1) + b"</a>"
    assert _MOST == sum(1 for _ in soap.read_xml(largest).iter())
    with pytest.raises(SoapError, match=f"more than {_MOST} elements"):
        soap.read_xml(largest.replace(b"</a>", element + b"</a>"))


@pytest.mark.parametrize("hidden", [b"<!-- </a></a></a></a> -->", b"<b><![CDATA[</a></a></a></a>]]></b>"])
def test_t9_ends_of_elements_that_are_only_text_do_not_raise_the_bound(hidden: bytes) -> None:
    """An end tag inside a comment or a text does not count, so it does not raise the limit on elements."""
    body = b"<a>" + hidden * 1000 + b"<b/>" * _MOST + b"</a>"
    with pytest.raises(SoapError, match=f"more than {_MOST} elements"):
        soap.read_xml(body)


@pytest.mark.parametrize("name", BOMBS)
def test_t9_time_and_memory_of_one_body_are_bounded(name: str) -> None:
    """Each hostile body of the size that intake lets through, read by a process of its own, stays below both bounds."""
    assert len(BOMBS[name]) <= 2 * LARGEST
    seconds, kibibytes = cost_of(name)

    assert 4.0 > seconds
    assert MOST_MEMORY > kibibytes


@pytest.mark.parametrize(("value", "is_refused"), [("1", True), ("true", True), ("0", False), ("false", False)])
def test_t9_a_header_that_must_be_understood_is_refused(value: str, is_refused: bool) -> None:  # noqa: FBT001
    """Both spellings of true count (SOAP 1.1, section 4.2.3); a header that need not be understood is passed over."""
    header = f'<soapenv:Header><a soapenv:mustUnderstand="{value}"/></soapenv:Header> <soapenv:Body>'
    body = sent.message([sent.deal(1, Name="Roof")]).replace(b" <soapenv:Body>", header.encode())
    if not is_refused:
        assert 1 == len(outbound.parse(body).notifications)
        return
    with pytest.raises(OutboundMessageError) as caught:
        outbound.parse(body)
    assert "MustUnderstand" == caught.value.code


@pytest.mark.parametrize(
    ("charset", "codec", "name"),
    [
        ("us-ascii", "ascii", "Roof"),
        ("utf-8", "utf-8", "Dächer €"),
        ("utf-16", "utf-16-le", "Dächer €"),
        ("utf-16le", "utf-16-le", "Dächer €"),
        ("utf-16be", "utf-16-be", "Dächer €"),
        ("iso-8859-1", "iso8859-1", "Dächer"),
        ("windows-1252", "cp1252", "Dächer €"),
    ],
)
def test_t9_each_encoding_is_read_as_the_header_declares_it(charset: str, codec: str, name: str) -> None:
    """Without a mark at its beginning the body is read as the HTTP header says, also where the document says else."""
    text = sent.message([sent.deal(1, Name=name)]).decode()
    for declared in ("UTF-8", "ISO-8859-1", "windows-1252"):
        body = ("\n" + text.replace('encoding="UTF-8"', f'encoding="{declared}"')).encode(codec)
        fields = outbound.parse(body, charset).notifications[0].fields
        assert fields is not None
        assert name == fields["Name"]


@pytest.mark.parametrize(
    ("declared", "codec", "name"),
    [("UTF-8", "utf-8", "Dächer €"), ("ISO-8859-1", "iso8859-1", "Dächer"), ("windows-1252", "cp1252", "Dächer €")],
)
def test_t9_each_encoding_is_read_as_the_document_declares_it(declared: str, codec: str, name: str) -> None:
    """Where the HTTP header says nothing, the declaration counts."""
    text = sent.message([sent.deal(1, Name=name)]).decode().replace('encoding="UTF-8"', f'encoding="{declared}"')
    fields = outbound.parse(text.encode(codec)).notifications[0].fields
    assert fields is not None
    assert name == fields["Name"]


@asynccontextmanager
async def _two_erps() -> AsyncIterator[tuple[StubErp, StubErp, ErpActivities]]:
    """Two stub ERPs behind the activities that an order workflow calls."""
    async with StubErp.running() as first, StubErp.running() as second:
        erps = {name: open_erp(rest_settings(erp.url, erp.token)) for name, erp in (("a", first), ("b", second))}
        yield first, second, ErpActivities(erps, Metrics(MetricMeter.noop), prove=no_proof)
        for erp in erps.values():
            await erp.close()


@pytest.mark.parametrize("changed", ["attention", "amend", "ignore"])
@pytest.mark.parametrize("reopen", [True, False])
async def test_t2_a_number_that_another_erp_may_know_makes_no_second_order(changed: ChangePolicy, reopen: bool) -> None:  # noqa: FBT001
    """With several ERPs, a record whose number this one does not know waits for a person, by every policy."""
    async with _two_erps() as (first, second, activities):
        order = new_order(created_at=_AT)
        by_hand = await made_by_hand(second, order)
        request = CreateOrder(
            erp="a", order=order, other_erps=("b",), number=f"{by_hand.number}9", on_changed=changed, reopen=reopen
        )

        with pytest.raises(ApplicationError, match="nothing says whether another ERP has that one") as caught:
            await ActivityEnvironment().run(activities.create_order, request)

        assert AttentionReason.ORDER_EXISTS is caught.value.details[0].reason
        assert ([], 1) == (first.orders(), len(second.orders()))


async def test_t2_an_order_in_another_erp_is_neither_amended_nor_made_again() -> None:
    """A deal whose route now picks another ERP keeps its one order, also if it has changed and is to be amended."""
    async with _two_erps() as (first, second, activities):
        order = new_order()
        await ActivityEnvironment().run(activities.create_order, CreateOrder(erp="b", order=order))
        before = second.orders()
        changed = order.model_copy(update={"lines": order.lines[:1]})
        request = CreateOrder(erp="a", order=changed, other_erps=("b",), on_changed="amend")

        with pytest.raises(ApplicationError, match="ERP b has order L000001 of this record"):
            await ActivityEnvironment().run(activities.create_order, request)

        assert ([], before) == (first.orders(), second.orders())


@pytest.mark.parametrize(
    ("lines", "agrees"),
    [
        ((("B", "1", "5.00"), ("A", "2", "10.00")), True),
        ((("A", "2", "5.00"), ("B", "1", "15.00")), False),
        ((("A", "1", "10.00"), ("B", "3", "5.00")), False),
    ],
    ids=["another order", "prices changed", "quantities changed"],
)
async def test_t3_lines_are_compared_in_any_order(
    lines: tuple[tuple[str, str, str], ...],
    agrees: bool,  # noqa: FBT001
) -> None:
    """Another order of the lines is not a difference; another price or quantity is, also at an equal total."""
    async with _two_erps() as (first, _, activities):
        order = new_order((("A", "2", "10.00"), ("B", "1", "5.00")))
        await ActivityEnvironment().run(activities.create_order, CreateOrder(erp="a", order=order))
        same_total = new_order(lines)
        (held,) = first.orders()
        assert same_total.amount == Decimal(held["amount"])
        request = CreateOrder(erp="a", order=order.model_copy(update={"lines": same_total.lines}))

        if agrees:
            await ActivityEnvironment().run(activities.create_order, request)
        else:
            with pytest.raises(ApplicationError, match="a product, quantity or price differs"):
                await ActivityEnvironment().run(activities.create_order, request)
