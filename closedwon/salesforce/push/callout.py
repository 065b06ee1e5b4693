"""Callouts: what Apex posts to us, as JSON or as SOAP, and our answers. Pure protocol: bytes in, frozen models out.

A call carries one record (controller, trigger) or many (Batch Apex) and is accepted or rejected as a whole. Each record
has an id that the caller creates once and repeats when it sends the record again, so sending twice is harmless. The
documents for callers are in `callout_contract`. Sources: Apex Developer Guide (callouts and their limits, SOAP services
by WSDL2Apex), WS-I Basic Profile 1.1, RFC 9457 (problem details), RFC 6901 (JSON pointer).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from email.message import Message as Headers
from http import HTTPStatus
from itertools import islice
from typing import Annotated, Any, Final

import pydantic_core
from lxml import etree
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError, WithJsonSchema
from pydantic.alias_generators import to_camel

from closedwon.errors import ClosedwonError
from closedwon.ids import InvalidIdError, OrgId, RecordId
from closedwon.model.base import Frozen
from closedwon.salesforce.push import soap
from closedwon.salesforce.push.soap import SoapError

NAMESPACE: Final = "urn:closedwon:callout:1"
IDEMPOTENCY_KEY: Final = "Idempotency-Key"
MOST_RECORDS: Final = 200
"""Per call. The default scope of a Batch Apex job; so many records are durable well within Apex's 10 seconds."""
_MOST_PROBLEMS: Final = 100
"""Per answer."""
_DETAILS: Final = {
    "missing": "missing",
    "extra_forbidden": "unknown name",
    "model_type": "not an object",
    "dict_type": "not an object",
    "tuple_type": "neither a record nor an array of records",
    "string_type": "not a text",
    "string_pattern_mismatch": "not 1 to 200 visible ASCII characters",
}
"""Texts for callers, by pydantic's types of error."""

_ID_SCHEMA = WithJsonSchema({"type": "string", "pattern": "^[a-zA-Z0-9]{15}([a-zA-Z0-9]{3})?$"})
_RECORDS_SCHEMA = WithJsonSchema(
    {
        "anyOf": [
            {"$ref": "#/components/schemas/CalloutRecord"},
            {
                "type": "array",
                "items": {"$ref": "#/components/schemas/CalloutRecord"},
                "minItems": 1,
                "maxItems": MOST_RECORDS,
            },
        ]
    }
)


class Callout(Frozen):
    """The notification of one record."""

    record: RecordId
    id: str
    """Created by the caller, and repeated when it sends the record again."""
    payload: dict[str, Any] | None
    """The record's fields, if the caller sent them; all values are texts if they came by SOAP."""


class CalloutRequest(Frozen):
    """One call."""

    org: OrgId
    items: tuple[Callout, ...]


class Wire(BaseModel):
    """A JSON object as callers see it: camel case, without unknown names (a misspelled one would be lost silently)."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        alias_generator=to_camel,
        serialize_by_alias=True,
    )


class CalloutRecord(Wire):
    """One record that may need an order."""

    record_id: Annotated[RecordId, _ID_SCHEMA]
    id: Annotated[
        str,
        Field(
            pattern="^[!-~]{1,200}$", description="Id of this notification; repeat it when you send the record again."
        ),
    ]
    fields: dict[str, JsonValue] | None = None


class CalloutCall(Wire):
    """One record, or many."""

    org: Annotated[OrgId, _ID_SCHEMA]
    records: Annotated[
        tuple[CalloutRecord, ...],
        BeforeValidator(lambda value: [value] if isinstance(value, dict) else value),
        _RECORDS_SCHEMA,
    ]


class AcceptedRecord(Wire):
    """One record that is stored durably."""

    model_config = ConfigDict(validate_by_name=True)

    record_id: str
    id: str
    workflow_id: str


class Accepted(Wire):
    """The answer to a call whose records are all durable."""

    accepted: tuple[AcceptedRecord, ...]

    def json_body(self) -> bytes:
        """Write the JSON answer; its HTTP status is 202."""
        return self.model_dump_json().encode()

    def soap_body(self) -> bytes:
        """Write the SOAP answer."""
        accepted = "".join(
            f"<accepted><recordId>{soap.escape(one.record_id)}</recordId><id>{soap.escape(one.id)}</id>"
            f"<workflowId>{soap.escape(one.workflow_id)}</workflowId></accepted>"
            for one in self.accepted
        )
        return soap.envelope(f'<submitResponse xmlns="{NAMESPACE}">{accepted}</submitResponse>')


class PlaceProblem(Frozen):
    """What is wrong at one place of a call. `detail` holds no field value."""

    pointer: str
    """A JSON pointer (RFC 6901)."""
    detail: str


class CalloutProblem(Frozen):
    """An `application/problem+json` body (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: tuple[PlaceProblem, ...] = ()


class CalloutError(ClosedwonError):
    """A call that is not accepted. `status` gives the reason, `problems` the places in the call."""

    def __init__(self, message: str, *, status: HTTPStatus, problems: tuple[PlaceProblem, ...] = ()) -> None:
        """`message` is for the caller and contains no field value."""
        super().__init__(message)
        self.status = status
        self.problems = problems

    def json_body(self) -> bytes:
        """Write the `application/problem+json` answer."""
        return problem_body(self.status, str(self), self.problems)

    def soap_body(self) -> bytes:
        """Write the SOAP Fault; its HTTP status is 500, regardless of `status` (WS-I BP 1.1, R1126)."""
        places = "; ".join(f"{place.pointer or 'the whole call'}: {place.detail}" for place in self.problems)
        return soap.fault("Client", f"{self} {places}".strip())


def problem_body(status: HTTPStatus, detail: str, problems: tuple[PlaceProblem, ...] = ()) -> bytes:
    """Write an `application/problem+json` answer."""
    return CalloutProblem(title=status.phrase, status=status, detail=detail, errors=problems).model_dump_json().encode()


def parse_json(body: bytes, headers: Mapping[str, str]) -> CalloutRequest:
    """Read a JSON call. `headers` find their names in any case. Raises `CalloutError`."""
    declared = Headers()
    declared["Content-Type"] = headers.get("Content-Type", "")
    charset = declared.get_content_charset("utf-8")
    if declared.get_content_type() != "application/json" or charset not in {"utf-8", "utf8"}:
        raise CalloutError("Send Content-Type: application/json, in UTF-8.", status=HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    try:
        call = pydantic_core.from_json(body.removeprefix(b"\xef\xbb\xbf"), allow_inf_nan=False)
        # Even so 1e999 becomes infinity, and half of a surrogate pair a character that no encoding has.
        json.dumps(call, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:  # not the parser's own text: it may quote the body
        raise CalloutError(
            "The body is not valid JSON, is nested too deeply, or contains a number that is too large or half a "
            "character (a cut emoji).",
            status=HTTPStatus.BAD_REQUEST,
        ) from None
    return _request(call, headers.get(IDEMPOTENCY_KEY))


def parse_soap(body: bytes, charset: str | None = None) -> CalloutRequest:
    """Read a SOAP 1.1 call of operation `submit`. `charset` is that of the HTTP header. Raises `CalloutError`."""
    try:
        root = soap.read_envelope(body, charset)
    except SoapError as error:
        raise CalloutError(str(error), status=HTTPStatus.BAD_REQUEST) from None
    if root.tag != _tag("submit"):
        raise CalloutError(
            f"The Body does not contain the element submit of {NAMESPACE}.", status=HTTPStatus.BAD_REQUEST
        )
    records = list(islice(root.iterfind(_tag("records")), MOST_RECORDS + 1))
    return _request({**_texts(root, besides="records"), "records": [_soap_record(record) for record in records]}, None)


def _soap_record(element: etree._Element) -> dict[str, Any]:
    record: dict[str, Any] = _texts(element, besides="fields")
    pairs = [_texts(pair) for pair in element.iterfind(_tag("fields"))]
    if not pairs:
        return record
    fields = {pair["name"]: pair.get("value") for pair in pairs if pair.get("name")}
    if len(fields) < len(pairs):
        raise CalloutError(
            "A record has a field without a name, or the same field twice.", status=HTTPStatus.UNPROCESSABLE_ENTITY
        )
    return {**record, "fields": fields}


def _texts(parent: etree._Element, *, besides: str = "") -> dict[str, str | None]:
    """The texts of the children by name; empty and nil are None. Unknown names are kept; validation rejects them."""
    texts: dict[str, str | None] = {}
    for element in parent:
        name = etree.QName(element)
        if element.tag == _tag(besides):
            continue
        if name.localname in texts or len(element) > 0 or name.namespace != NAMESPACE:
            raise CalloutError(
                f"{etree.QName(parent).localname} contains an element of another namespace, the same element twice, or "
                "an element with child elements.",
                status=HTTPStatus.UNPROCESSABLE_ENTITY,
            )
        nil = element.get(f"{{{soap.XSI}}}nil", "").strip() in {"true", "1"}
        texts[name.localname] = None if nil else element.text or None
    return texts


def _tag(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"


def _request(call: Any, key: str | None) -> CalloutRequest:
    """Check a whole call, of either form."""
    records = call.get("records") if isinstance(call, dict) else None
    if records == []:
        empty = PlaceProblem(pointer="/records", detail="empty; send at least one record")
        raise CalloutError("The call has no records.", status=HTTPStatus.UNPROCESSABLE_ENTITY, problems=(empty,))
    if isinstance(records, list) and len(records) > MOST_RECORDS:
        raise CalloutError(f"Send at most {MOST_RECORDS} records per call.", status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    if key:
        _give_ids(records, key)
    try:
        checked = CalloutCall.model_validate(call)
    except ValidationError as error:
        raise CalloutError(
            "No record of the call was accepted.",
            status=HTTPStatus.UNPROCESSABLE_ENTITY,
            problems=tuple(
                PlaceProblem(pointer=_pointer(one["loc"], single=isinstance(records, dict)), detail=_detail(one))
                for one in islice(error.errors(include_url=False, include_input=False), _MOST_PROBLEMS)
            ),
        ) from None
    return CalloutRequest(
        org=checked.org,
        items=tuple(Callout(record=one.record_id, id=one.id, payload=one.fields) for one in checked.records),
    )


def _give_ids(records: Any, key: str) -> None:
    """Derive missing ids from the `Idempotency-Key`, so that they are the same when the call is repeated."""
    several = records if isinstance(records, list) else [records]
    for place, record in enumerate(several):
        if isinstance(record, dict) and record.get("id") is None:
            record["id"] = key if len(several) == 1 else f"{key}/{place}"


def _pointer(location: Sequence[str | int], *, single: bool) -> str:
    """A JSON pointer to `location`; a `single` record is not in an array. Long names of the caller's are cut."""
    steps = list(location)
    if single and steps[:2] == ["records", 0]:
        del steps[1]
    return "".join("/" + str(step)[:80].replace("~", "~0").replace("/", "~1") for step in steps)


def _detail(error: Any) -> str:
    """What pydantic found, as a text for the caller, without the value."""
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, InvalidIdError):
        return f"not a Salesforce id: {cause.problem}"
    if error["type"] == "missing" and error["loc"][-1] == "id":
        return f"missing; give each record an id, or send {IDEMPOTENCY_KEY}"
    return _DETAILS.get(error["type"], str(error["msg"]))
