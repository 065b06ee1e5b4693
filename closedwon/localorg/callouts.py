"""How a callout looks that our Apex makes: as JSON or as SOAP, signed, and how its answer is judged.

This is the sending end: nothing is shared with the receiver's code. No input or output, no queue.
Sources: docs/salesforce-setup.md and the Apex classes in deploy/salesforce; Apex Developer Guide, "Invoking HTTP
Callouts".
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

from lxml import etree

from closedwon.ids import OrgId
from closedwon.localorg.config import CalloutDefinition
from closedwon.localorg.messages import LONGEST_REASON, SOAP_HEADERS, Push, Told, fault_or_status, parse, xml_text
from closedwon.localorg.schema import SField
from closedwon.localorg.values import to_json

_NAMESPACE: Final = "urn:closedwon:callout:1"
HOPELESS: Final = frozenset({400, 413, 415, 422})
"""Answers upon which `ClosedwonCallout` in deploy/salesforce gives up: the request itself is wrong."""
_SUBMIT: Final = """\
<?xml version="1.0" encoding="UTF-8"?>
<env:Envelope xmlns:env="http://schemas.xmlsoap.org/soap/envelope/"><env:Body>\
<submit xmlns="urn:closedwon:callout:1"><org>{org}</org>{records}</submit></env:Body></env:Envelope>"""
_APEX: Final = {"User-Agent": "SFDC-Callout/67.0", "SFDC_STACK_DEPTH": "1", "Cache-Control": "no-cache"}
"""Headers that captured Apex callouts carry."""


def callout(definition: CalloutDefinition, org: OrgId, told: Sequence[Told], fields: Sequence[SField]) -> Push:
    """Write one callout, signed now. A record that is gone is told of by its id alone, as Apex knows no better."""
    write = _soap_body if definition.soap else _json_body
    body = write(org, told, fields)
    timestamp = str(int(time.time()))
    digest = hmac.new(definition.key.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    headers = {
        **_APEX,
        **(SOAP_HEADERS if definition.soap else {"Content-Type": "application/json"}),
        "X-Closedwon-Timestamp": timestamp,
        "X-Closedwon-Signature": f"v1={digest}",
    }
    return Push(body, headers, _soap_problem if definition.soap else _json_problem)


def _json_body(org: OrgId, told: Sequence[Told], fields: Sequence[SField]) -> bytes:
    records: list[dict[str, Any]] = []
    for one in told:
        record: dict[str, Any] = {"recordId": one.record, "id": one.id}
        if one.row is not None:
            record["fields"] = {field.name: to_json(field, one.row[field.name]) for field in fields}
        records.append(record)
    return json.dumps({"org": org, "records": records}, ensure_ascii=False).encode()


def _soap_body(org: OrgId, told: Sequence[Told], fields: Sequence[SField]) -> bytes:
    records = "".join(
        f"<records><recordId>{one.record}</recordId><id>{one.id}</id>{_soap_fields(one, fields)}</records>"
        for one in told
    )
    return _SUBMIT.format(org=org, records=records).encode()


def _soap_fields(one: Told, fields: Sequence[SField]) -> str:
    row = one.row or {}
    return "".join(
        f"<fields><name>{field.name}</name><value>{xml_text(field, row[field.name])}</value></fields>"
        for field in fields
        if row.get(field.name) is not None
    )


def _json_problem(status: int, answer: bytes) -> str:
    """What the caller's log says of an answer; `detail` is that of a problem document (RFC 9457)."""
    if status == HTTPStatus.ACCEPTED:
        return ""
    try:
        told = json.loads(answer)
    except ValueError:
        told = None
    detail = told.get("detail") if isinstance(told, dict) else None
    return f"HTTP {status}" + (f": {str(detail)[:LONGEST_REASON]}" if detail else "")


def _soap_problem(status: int, answer: bytes) -> str:
    if status == HTTPStatus.OK:
        try:
            if next(parse(answer).iter(f"{{{_NAMESPACE}}}submitResponse"), None) is not None:
                return ""
        except etree.XMLSyntaxError:
            pass
    return fault_or_status(status, answer)
