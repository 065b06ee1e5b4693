"""Callouts: one record or many, as JSON or SOAP, judged as a whole; and what callers can read about them."""

from __future__ import annotations

import json
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import zeep
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from multidict import CIMultiDict
from pydantic import ValidationError

from closedwon.salesforce.callout import (
    Accepted,
    AcceptedRecord,
    CalloutError,
    CalloutRequest,
    parse_json,
    parse_soap,
    problem_body,
)
from closedwon.salesforce.callout_contract import openapi, wsdl
from tests.support.outbound import ORG
from tests.support.soap import Loopback, soap_client

JSON = CIMultiDict({"Content-Type": "application/json; charset=UTF-8"})
KEYED = CIMultiDict({**JSON, "Idempotency-Key": "batch-7"})
DEAL = {"recordId": "0065g0000000001", "id": "notice-1"}
ACCEPTED = Accepted(
    accepted=(AcceptedRecord(record_id="0065g0000000001AAA", id="a<1>", workflow_id="order:0065g@00D5g"),)
)


def read(call: Any, headers: CIMultiDict[str] = JSON) -> CalloutRequest:
    """Read `call` as JSON."""
    return parse_json(json.dumps(call).encode(), headers)


def refused(call: Any) -> dict[str, str]:
    """Where and why `call` is refused, as the caller reads it."""
    with pytest.raises(CalloutError) as caught:
        read(call)
    body = json.loads(caught.value.json_body())
    status = HTTPStatus.UNPROCESSABLE_ENTITY  # its phrase has changed between versions of Python
    assert (status, status.phrase, "about:blank") == (body["status"], body["title"], body["type"])
    return {one["pointer"]: one["detail"] for one in body["errors"]}


@pytest.mark.parametrize("records", [DEAL, [DEAL]])
def test_one_record_may_stand_alone(records: Any) -> None:
    """A trigger sends one record, as an object or as an array of one."""
    request = read({"org": "00D5g000004uZcX", "records": records})

    assert ORG == request.org
    assert [("0065g0000000001AAA", "notice-1", None)] == [(one.record, one.id, one.payload) for one in request.items]


def test_many_records_keep_order_and_fields() -> None:
    """Batch Apex sends its whole scope; fields are kept as they came."""
    fields = {"Name": "Größe 😀", "Amount": 1234.5, "Lines": [{"Quantity": 1}], "IsWon": True, "CloseDate": None}
    records = [{"recordId": f"0065g0000{number:06}", "id": f"n-{number}", "fields": fields} for number in range(200)]
    request = read({"org": ORG, "records": records})

    assert [f"n-{number}" for number in range(200)] == [one.id for one in request.items]
    assert all(fields == one.payload for one in request.items)


def test_an_idempotency_key_makes_ids() -> None:
    """Records without an id take theirs from the header, the same each time the call is sent again."""
    bare = {"recordId": "0065g0000000001"}
    alone, several, again = (
        read({"org": ORG, "records": records}, KEYED) for records in (bare, *[[bare, DEAL, bare]] * 2)
    )

    assert ["batch-7"] == [one.id for one in alone.items]
    assert ["batch-7/0", "notice-1", "batch-7/2"] == [one.id for one in several.items]
    assert several == again


def test_every_bad_item_is_named() -> None:
    """The caller learns at once what to mend and where, without its values being repeated."""
    bad = {"recordId": "Customer Jones", "id": "with space", "feilds": {}, "fields": "Jones"}
    problems = refused({"org": "001", "records": [DEAL, bad, {"recordId": "0065g0000000001ZZZ"}, None]})

    assert {
        "/org",
        "/records/1/recordId",
        "/records/1/id",
        "/records/1/feilds",
        "/records/1/fields",
        "/records/2/recordId",
        "/records/2/id",
        "/records/3",
    } == set(problems)
    assert "missing; give each record an id, or send Idempotency-Key" == problems["/records/2/id"]
    assert "Jones" not in str(problems)


@pytest.mark.parametrize(
    ("call", "pointer"),
    [
        ([], ""),
        (None, ""),
        ("text", ""),
        ({}, "/org"),
        ({"org": ORG}, "/records"),
        ({"org": ORG, "records": []}, "/records"),
        ({"org": ORG, "records": "0065g0000000001"}, "/records"),
        ({"org": ORG, "records": {"recordId": "0065g0000000001"}}, "/records/id"),
        ({"org": "0065g0000000001", "records": DEAL}, "/org"),
        ({"org": ORG, "records": DEAL, "a/b~c": 1}, "/a~1b~0c"),
    ],
)
def test_another_shape_is_refused_where_it_differs(call: Any, pointer: str) -> None:
    """The pointer leads to the place in the caller's own JSON."""
    assert pointer in refused(call)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b'{"a": "\\ud800"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"9" * 100_000,
        '{"a": "\u00e9"}'.encode("latin-1"),
    ],
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    """Also what other readers would let pass: infinity, halves of characters, bottomless nesting."""
    with pytest.raises(CalloutError) as caught:
        parse_json(body, JSON)

    assert HTTPStatus.BAD_REQUEST == caught.value.status


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/xml", "application/json; charset=utf-16", "application/jsonp", "application/gzip"],
)
def test_another_media_type_is_refused(content_type: str) -> None:
    """Only JSON in UTF-8 is read."""
    with pytest.raises(CalloutError) as caught:
        parse_json(b"{}", CIMultiDict({"Content-Type": content_type}))

    assert HTTPStatus.UNSUPPORTED_MEDIA_TYPE == caught.value.status


def test_a_call_has_at_most_200_records() -> None:
    """More would not be durable within Apex's ten seconds."""
    with pytest.raises(CalloutError) as caught:
        read({"org": ORG, "records": [DEAL] * 201})

    assert HTTPStatus.REQUEST_ENTITY_TOO_LARGE == caught.value.status


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text() | st.sampled_from([ORG, "0065g0000000001"]),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["org", "records", "recordId", "id", "fields", "x"]), inner)
        ),
    )
)
def test_any_json_is_read_or_refused(call: Any) -> None:
    """No JSON makes anything but a request or a refusal that can be sent."""
    try:
        answered = bool(read(call).items)
    except CalloutError as error:
        answered = (
            json.loads(error.json_body())["status"] == error.status and len(etree.fromstring(error.soap_body())) == 1
        )

    assert answered


def test_the_answer_tells_the_workflow_of_each_record() -> None:
    """JSON callers get their ids back, with the workflow that now has them."""
    record = {"recordId": "0065g0000000001AAA", "id": "a<1>", "workflowId": "order:0065g@00D5g"}

    assert {"accepted": [record]} == json.loads(ACCEPTED.json_body())


def test_other_refusals_have_the_same_form() -> None:
    """What the server refuses by itself looks like every other problem."""
    body = {"type": "about:blank", "title": "Service Unavailable", "status": 503, "detail": "not durable", "errors": []}

    assert body == json.loads(problem_body(HTTPStatus.SERVICE_UNAVAILABLE, "not durable"))


@pytest.fixture
def service(tmp_path: Path) -> tuple[Any, Loopback]:
    """A SOAP client made from our WSDL by zeep, and what stands between it and us."""
    transport = Loopback(ACCEPTED.soap_body())
    client = soap_client(wsdl("https://closedwon.example/callouts/won-deals/soap"), tmp_path, transport)
    return client.service, transport


def test_a_soap_tool_calls_by_the_wsdl(service: tuple[Any, Loopback]) -> None:
    """Zeep builds a call from our WSDL that we read, and understands our answer."""
    client, transport = service
    fields = [{"name": "Name", "value": "Roof <1>"}, {"name": "Amount", "value": None}]
    records = [{"recordId": "0065g0000000001", "id": "a"}, {"recordId": "0065g0000000002", "id": "b", "fields": fields}]
    (accepted,) = client.submit(org=ORG, records=records)
    request = parse_soap(transport.sent)

    assert ORG == request.org
    assert [
        ("0065g0000000001AAA", "a", None),
        ("0065g0000000002AAA", "b", {"Name": "Roof <1>", "Amount": None}),
    ] == [(one.record, one.id, one.payload) for one in request.items]
    assert ("0065g0000000001AAA", "a<1>", "order:0065g@00D5g") == (
        accepted.recordId,
        accepted.id,
        accepted.workflowId,
    )


def test_a_soap_tool_understands_our_refusal(service: tuple[Any, Loopback]) -> None:
    """The Fault names each bad item, as the JSON answer does."""
    client, transport = service
    with pytest.raises(CalloutError) as caught:
        read({"org": ORG, "records": [DEAL, {"recordId": "006", "id": "b"}]})
    transport.answer, transport.status = caught.value.soap_body(), 500

    with pytest.raises(zeep.exceptions.Fault, match="/records/1/recordId: not a Salesforce id"):
        client.submit(org=ORG, records=[DEAL])


def soap(inner: str) -> bytes:
    """A SOAP call with `inner` as its content."""
    return (
        '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/" xmlns:x="urn:x"><e:Body>'
        f'<submit xmlns="urn:closedwon:callout:1">{inner}</submit></e:Body></e:Envelope>'
    ).encode()


RECORD = "<records><recordId>0065g0000000001</recordId><id>a</id></records>"
FIELD = "<fields><name>A</name><value>1</value></fields>"


@pytest.mark.parametrize(
    ("inner", "complaint"),
    [
        ("", "no record"),
        (f"<org>{ORG}</org>", "no record"),
        (f"<org>{ORG}</org><org>{ORG}</org>{RECORD}", "twice"),
        (f"<x:org>{ORG}</x:org>{RECORD}", "another namespace"),
        (f"<org>{ORG}</org><orgs>1</orgs>{RECORD}", "/orgs: no such name"),
        (f"<org>{ORG}</org>{RECORD * 201}", "at most 200"),
        (f"<org>{ORG}</org><records/>", "/records/0/recordId: missing"),
        (f"<org>{ORG}</org>{RECORD.replace('<id>a</id>', '<id/>')}", "/records/0/id: not a text"),
        (f"<org>{ORG}</org>{RECORD.replace('</records>', FIELD * 2 + '</records>')}", "twice"),
        (f"<org>{ORG}</org>{RECORD.replace('</records>', '<fields/></records>')}", "without a name"),
        (f"<org>{ORG}</org>{RECORD.replace('<id>a', '<id><b/>a')}", "elements inside"),
    ],
)
def test_another_soap_call_is_refused(inner: str, complaint: str) -> None:
    """A call that differs from the WSDL starts nothing, and its Fault says why."""
    with pytest.raises(CalloutError) as caught:
        parse_soap(soap(inner))

    assert complaint in (etree.fromstring(caught.value.soap_body()).findtext(".//faultstring") or "")


def test_another_body_is_no_call() -> None:
    """An outbound message that was sent to the wrong endpoint is refused."""
    with pytest.raises(CalloutError, match="no element submit"):
        parse_soap(soap("").replace(b"submit", b"notifications"))


def test_the_wsdl_keeps_to_what_wsdl2apex_takes() -> None:
    """One service, port and schema of plain sequences: what Salesforce's generator refuses does not occur."""
    root = etree.fromstring(wsdl("https://closedwon.example/"))
    names = [etree.QName(element).localname for element in root.iter()]

    assert [1, 1, 1, 1] == [names.count(name) for name in ("service", "port", "schema", "portType")]
    assert not {
        *("import", "include", "any", "anyAttribute", "attribute", "attributeGroup", "group", "choice", "all"),
        *("extension", "restriction", "union", "list", "simpleType", "header", "fault"),
    } & set(names)
    assert [("document", "literal", "literal")] == [
        (binding.get("style"), *(body.get("use") for body in root.iterfind(".//{*}body")))
        for binding in root.iterfind("{*}binding/{http://schemas.xmlsoap.org/wsdl/soap/}binding")
    ]


def test_the_openapi_document_describes_every_route() -> None:
    """Each route has its path, every reference leads somewhere, and an id may be left to the Idempotency-Key."""
    document = openapi(["won-deals", "renewals"])

    assert ("3.1.0", {"/callouts/won-deals", "/callouts/renewals"}) == (document["openapi"], set(document["paths"]))
    schemas = document["components"]["schemas"]
    references = set(_references(document))
    assert {"Call", "Record", "Accepted", "Problem"} <= references
    assert references <= set(schemas)
    assert ["recordId"] == schemas["Record"]["required"]
    assert {"202", "400", "401", "403", "408", "413", "415", "422", "429", "500", "503"} == set(
        document["paths"]["/callouts/renewals"]["post"]["responses"]
    )


def _references(value: Any) -> list[str]:
    if isinstance(value, list):
        return [name for inner in value for name in _references(inner)]
    if not isinstance(value, dict):
        return []
    own = [value["$ref"].removeprefix("#/components/schemas/")] if "$ref" in value else []
    return own + [name for inner in value.values() for name in _references(inner)]


def test_ids_are_given_only_to_records_without_one() -> None:
    """What is not a record, or has an id, stays as it is: the check names it."""
    bare = {"recordId": "0065g0000000001"}
    with pytest.raises(CalloutError) as caught:
        read({"org": ORG, "records": [None, bare, "x", {**bare, "id": "own"}]}, KEYED)
    assert ["/records/0", "/records/2"] == [one.pointer for one in caught.value.problems]
    with pytest.raises(CalloutError) as caught:
        read({"org": ORG, "records": "x"}, KEYED)
    assert ["/records"] == [one.pointer for one in caught.value.problems]


def test_long_names_of_the_callers_are_cut_to_80_characters() -> None:
    """The answer does not grow with the call."""
    assert {"/" + "x" * 80} == set(refused({"org": ORG, "records": DEAL, "x" * 81: 1}))
    assert {"/" + "y" * 80} == set(refused({"org": ORG, "records": DEAL, "y" * 80: 1}))


def test_only_the_first_problems_are_named() -> None:
    """The answer to a call that is wrong everywhere stays small."""
    problems = refused({"org": ORG, "records": [{"recordId": "x", "id": "a"}] * 200})
    assert 100 == len(problems)


def test_no_problem_is_about_the_idempotency_key_where_another_value_is_missing() -> None:
    """Only a missing id can be left to that header."""
    problems = refused({"records": [{"id": "a"}]})
    assert ["no value", "no value"] == ["no value" if "missing" in text else text for text in problems.values()]
    assert "Idempotency" not in str(problems)


def test_the_value_of_a_problem_is_not_kept() -> None:
    """Neither in the error nor in what caused it: both may end in a log."""
    with pytest.raises(CalloutError) as caught:
        read({"org": "Customer Jones", "records": DEAL})
    assert caught.value.__cause__ is None
    assert "Jones" not in repr(caught.value.problems)


def test_a_nil_value_is_none_and_fields_come_after_any_other() -> None:
    """By both spellings of true; names in any order, and texts as they are."""
    xsi = 'xmlns:i="http://www.w3.org/2001/XMLSchema-instance"'
    pair = "<fields><name>{}</name><value {} {}>x</value></fields>"
    pairs = "".join(
        pair.format(name, xsi, nil) for name, nil in [("A", 'i:nil="true"'), ("B", 'i:nil=" 1 "'), ("C", 'i:nil="0"')]
    )
    inner = f"<records>{pairs}<id>a</id><fields><name>D</name></fields><recordId>0065g0000000001</recordId></records>"
    (item,) = parse_soap(soap(f"{inner}<org>{ORG}</org>")).items
    assert {"A": None, "B": None, "C": "x", "D": None} == item.payload
    (one, two) = parse_soap(soap(f"{RECORD}<org>{ORG}</org>{RECORD.replace('<id>a', '<id>b')}")).items
    assert ("a", "b", None, None) == (one.id, two.id, one.payload, two.payload)


def test_a_refusal_has_its_message_and_places_in_both_forms() -> None:
    """A call that is refused as a whole has no places."""
    with pytest.raises(CalloutError) as caught:
        read([])
    fault_text = etree.fromstring(caught.value.soap_body()).findtext(".//faultstring") or ""
    assert fault_text.startswith("Nothing of the call was taken. all of it: ")
    whole = CalloutError("Not now.", status=HTTPStatus.BAD_REQUEST)
    assert "Not now." == etree.fromstring(whole.soap_body()).findtext(".//faultstring")
    assert ("Not now.", (), HTTPStatus.BAD_REQUEST) == (str(whole), whole.problems, whole.status)


def test_exactly_200_records_are_taken() -> None:
    """By both ways."""
    assert 200 == len(read({"org": ORG, "records": [DEAL] * 200}).items)
    assert 200 == len(parse_soap(soap(f"<org>{ORG}</org>{RECORD * 200}")).items)


def test_json_may_begin_with_a_byte_order_mark() -> None:
    """Some tools send one; the charset may be left out, and a key of a header counts in any case."""
    body = b"\xef\xbb\xbf" + json.dumps({"org": ORG, "records": DEAL}).encode()
    for content_type in ("application/json", "application/json;charset=utf8", 'application/json; charset="UTF-8"'):
        assert 1 == len(parse_json(body, CIMultiDict({"content-type": content_type})).items)


@pytest.mark.parametrize("body", [b"", b"<a/>", soap("").replace(b"submit", b"other")])
def test_a_body_that_is_not_a_soap_call_is_a_bad_request(body: bytes) -> None:
    """By status, for the log; the Fault itself comes with 500."""
    with pytest.raises(CalloutError) as caught:
        parse_soap(body)
    assert HTTPStatus.BAD_REQUEST is caught.value.status


def test_an_accepted_record_is_a_value() -> None:
    """Nothing changes an answer after it was made."""
    with pytest.raises(ValidationError, match="frozen"):
        ACCEPTED.accepted[0].id = "b"  # type: ignore[misc]
