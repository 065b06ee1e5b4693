"""Callouts: one record or many, as JSON or SOAP, accepted or rejected as a whole; their descriptions."""

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

from closedwon.salesforce.push.callout import (
    Accepted,
    AcceptedRecord,
    CalloutError,
    CalloutRequest,
    parse_json,
    parse_soap,
    problem_body,
)
from closedwon.salesforce.push.callout_contract import openapi, wsdl
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
    """The places and reasons of a refusal, as the caller gets them."""
    with pytest.raises(CalloutError) as caught:
        read(call)
    body = json.loads(caught.value.json_body())
    status = HTTPStatus.UNPROCESSABLE_ENTITY  # its phrase has changed between versions of Python
    assert (status, status.phrase, "about:blank") == (body["status"], body["title"], body["type"])
    return {one["pointer"]: one["detail"] for one in body["errors"]}


@pytest.mark.parametrize("records", [DEAL, [DEAL]])
def test_one_record_needs_no_array(records: Any) -> None:
    """A trigger sends one record, as an object or as an array of one."""
    request = read({"org": "00D5g000004uZcX", "records": records})

    assert ORG == request.org
    assert [("0065g0000000001AAA", "notice-1", None)] == [(one.record, one.id, one.payload) for one in request.items]


def test_many_records_keep_order_and_fields() -> None:
    """Batch Apex sends its whole scope; fields are kept unchanged."""
    fields = {"Name": "Größe 😀", "Amount": 1234.5, "Lines": [{"Quantity": 1}], "IsWon": True, "CloseDate": None}
    records = [{"recordId": f"0065g0000{number:06}", "id": f"n-{number}", "fields": fields} for number in range(200)]
    request = read({"org": ORG, "records": records})

    assert [f"n-{number}" for number in range(200)] == [one.id for one in request.items]
    assert all(fields == one.payload for one in request.items)


def test_missing_ids_are_derived_from_the_idempotency_key() -> None:
    """Records without an id get theirs from the header, the same ones when the call is sent again."""
    bare = {"recordId": "0065g0000000001"}
    alone, several, again = (
        read({"org": ORG, "records": records}, KEYED) for records in (bare, *[[bare, DEAL, bare]] * 2)
    )

    assert ["batch-7"] == [one.id for one in alone.items]
    assert ["batch-7/0", "notice-1", "batch-7/2"] == [one.id for one in several.items]
    assert several == again


def test_every_bad_item_is_named() -> None:
    """The response names every error and its place, without quoting values."""
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
def test_a_call_of_another_form_is_refused_with_the_place(call: Any, pointer: str) -> None:
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
def test_a_body_that_is_not_valid_json_is_refused(body: bytes) -> None:
    """So are bodies that other parsers accept: infinity, half characters, very deep nesting."""
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


def test_a_call_with_more_than_200_records_is_refused() -> None:
    """More records would not be durable within Apex's ten seconds."""
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
    """Any JSON yields either a request or a refusal that can be sent."""
    try:
        answered = bool(read(call).items)
    except CalloutError as error:
        answered = (
            json.loads(error.json_body())["status"] == error.status and len(etree.fromstring(error.soap_body())) == 1
        )

    assert answered


def test_the_answer_names_the_workflow_of_each_record() -> None:
    """The answer to a JSON call has the caller's ids and the workflow of each."""
    record = {"recordId": "0065g0000000001AAA", "id": "a<1>", "workflowId": "order:0065g@00D5g"}

    assert {"accepted": [record]} == json.loads(ACCEPTED.json_body())


def test_other_refusals_have_the_same_form() -> None:
    """A refusal by the server has the form of every other problem."""
    body = {"type": "about:blank", "title": "Service Unavailable", "status": 503, "detail": "not durable", "errors": []}

    assert body == json.loads(problem_body(HTTPStatus.SERVICE_UNAVAILABLE, "not durable"))


@pytest.fixture
def service(tmp_path: Path) -> tuple[Any, Loopback]:
    """A SOAP client that zeep creates from our WSDL, and its transport."""
    transport = Loopback(ACCEPTED.soap_body())
    client = soap_client(wsdl("https://closedwon.example/callouts/won-deals/soap"), tmp_path, transport)
    return client.service, transport


def test_a_soap_tool_calls_by_the_wsdl(service: tuple[Any, Loopback]) -> None:
    """Zeep builds a call from our WSDL, we read it, and zeep understands our answer."""
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


def test_a_soap_tool_understands_our_fault(service: tuple[Any, Loopback]) -> None:
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
        (f"<org>{ORG}</org><orgs>1</orgs>{RECORD}", "/orgs: unknown name"),
        (f"<org>{ORG}</org>{RECORD * 201}", "at most 200"),
        (f"<org>{ORG}</org><records/>", "/records/0/recordId: missing"),
        (f"<org>{ORG}</org>{RECORD.replace('<id>a</id>', '<id/>')}", "/records/0/id: not a text"),
        (f"<org>{ORG}</org>{RECORD.replace('</records>', FIELD * 2 + '</records>')}", "twice"),
        (f"<org>{ORG}</org>{RECORD.replace('</records>', '<fields/></records>')}", "without a name"),
        (f"<org>{ORG}</org>{RECORD.replace('<id>a', '<id><b/>a')}", "child elements"),
    ],
)
def test_a_soap_call_that_differs_from_the_wsdl_is_refused(inner: str, complaint: str) -> None:
    """The call is rejected as a whole, and the Fault states the reason."""
    with pytest.raises(CalloutError) as caught:
        parse_soap(soap(inner))

    assert complaint in (etree.fromstring(caught.value.soap_body()).findtext(".//faultstring") or "")


def test_a_soap_message_of_another_kind_is_refused() -> None:
    """An outbound message that was sent to the wrong endpoint is refused."""
    with pytest.raises(CalloutError, match="does not contain the element submit"):
        parse_soap(soap("").replace(b"submit", b"notifications"))


def test_the_wsdl_uses_only_what_wsdl2apex_supports() -> None:
    """One service, port and schema of plain sequences: it contains nothing that Salesforce's generator rejects."""
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


def test_the_openapi_document_describes_calls_and_names_no_route() -> None:
    """Every reference resolves, and a record's id is optional."""
    document = openapi()

    assert ("3.1.0", {"/callouts/{route}"}) == (document["openapi"], set(document["paths"]))
    schemas = document["components"]["schemas"]
    references = set(_references(document))
    assert {"CalloutCall", "CalloutRecord", "Accepted", "CalloutProblem"} <= references
    assert references <= set(schemas)
    assert ["recordId"] == schemas["CalloutRecord"]["required"]
    assert {"202", "400", "401", "403", "404", "408", "413", "415", "422", "429", "500", "503"} == set(
        document["paths"]["/callouts/{route}"]["post"]["responses"]
    )


def _references(value: Any) -> list[str]:
    if isinstance(value, list):
        return [name for inner in value for name in _references(inner)]
    if not isinstance(value, dict):
        return []
    own = [value["$ref"].removeprefix("#/components/schemas/")] if "$ref" in value else []
    return own + [name for inner in value.values() for name in _references(inner)]


def test_only_records_without_an_id_get_one() -> None:
    """A record with an id, and an element that is not a record, stay unchanged for the validation."""
    bare = {"recordId": "0065g0000000001"}
    with pytest.raises(CalloutError) as caught:
        read({"org": ORG, "records": [None, bare, "x", {**bare, "id": "own"}]}, KEYED)
    assert ["/records/0", "/records/2"] == [one.pointer for one in caught.value.problems]
    with pytest.raises(CalloutError) as caught:
        read({"org": ORG, "records": "x"}, KEYED)
    assert ["/records"] == [one.pointer for one in caught.value.problems]


def test_unknown_names_are_cut_to_80_characters() -> None:
    """The size of the answer does not depend on the call's."""
    assert {"/" + "x" * 80} == set(refused({"org": ORG, "records": DEAL, "x" * 81: 1}))
    assert {"/" + "y" * 80} == set(refused({"org": ORG, "records": DEAL, "y" * 80: 1}))


def test_an_answer_has_at_most_100_problems() -> None:
    """The answer to a call with many errors stays small."""
    problems = refused({"org": ORG, "records": [{"recordId": "x", "id": "a"}] * 200})
    assert 100 == len(problems)


def test_only_a_missing_id_mentions_the_idempotency_key() -> None:
    """Other missing values cannot come from that header."""
    problems = refused({"records": [{"id": "a"}]})
    assert ["no value", "no value"] == ["no value" if "missing" in text else text for text in problems.values()]
    assert "Idempotency" not in str(problems)


def test_a_refusal_does_not_contain_values() -> None:
    """Neither the error nor its cause does: both may be logged."""
    with pytest.raises(CalloutError) as caught:
        read({"org": "Customer Jones", "records": DEAL})
    assert caught.value.__cause__ is None
    assert "Jones" not in repr(caught.value.problems)


def test_a_nil_value_is_none() -> None:
    """Both spellings of true work, names may have any order, and texts stay unchanged."""
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


def test_a_refusal_has_message_and_places_in_both_forms() -> None:
    """A refusal of the whole call has no places."""
    with pytest.raises(CalloutError) as caught:
        read([])
    fault_text = etree.fromstring(caught.value.soap_body()).findtext(".//faultstring") or ""
    assert fault_text.startswith("No record of the call was accepted. the whole call: ")
    whole = CalloutError("Not now.", status=HTTPStatus.BAD_REQUEST)
    assert "Not now." == etree.fromstring(whole.soap_body()).findtext(".//faultstring")
    assert ("Not now.", (), HTTPStatus.BAD_REQUEST) == (str(whole), whole.problems, whole.status)


def test_200_records_are_accepted() -> None:
    """In both forms."""
    assert 200 == len(read({"org": ORG, "records": [DEAL] * 200}).items)
    assert 200 == len(parse_soap(soap(f"<org>{ORG}</org>{RECORD * 200}")).items)


def test_json_may_begin_with_a_byte_order_mark() -> None:
    """Some tools send one. The charset is optional, and the names of headers have any case."""
    body = b"\xef\xbb\xbf" + json.dumps({"org": ORG, "records": DEAL}).encode()
    for content_type in ("application/json", "application/json;charset=utf8", 'application/json; charset="UTF-8"'):
        assert 1 == len(parse_json(body, CIMultiDict({"content-type": content_type})).items)


@pytest.mark.parametrize("body", [b"", b"<a/>", soap("").replace(b"submit", b"other")])
def test_a_body_that_is_not_a_soap_call_is_a_bad_request(body: bytes) -> None:
    """The error's status is 400, for the log; the Fault itself is sent with 500."""
    with pytest.raises(CalloutError) as caught:
        parse_soap(body)
    assert HTTPStatus.BAD_REQUEST is caught.value.status


def test_an_accepted_record_is_immutable() -> None:
    """An answer cannot be changed after its creation."""
    with pytest.raises(ValidationError, match="frozen"):
        ACCEPTED.accepted[0].id = "b"  # type: ignore[misc]
