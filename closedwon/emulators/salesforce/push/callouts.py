"""The form of a callout from our Apex classes (JSON or SOAP, signed), and the interpretation of its response.

This is the sender: it shares no code with the receiver. No input or output, no queue.
Sources: docs/salesforce-callouts.md and the Apex classes in deploy/salesforce; Apex Developer Guide, "Invoking HTTP
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
from urllib.parse import urlsplit

from lxml import etree

from closedwon.emulators.salesforce.config import CalloutDefinition
from closedwon.emulators.salesforce.data.schema import SField
from closedwon.emulators.salesforce.data.values import to_json
from closedwon.emulators.salesforce.push.messages import (
    LONGEST_REASON,
    SOAP_HEADERS,
    Push,
    RecordNotification,
    fault_or_status,
    parse,
    xml_text,
)
from closedwon.ids import OrgId

_NAMESPACE: Final = "urn:closedwon:callout:1"
PERMANENT_FAILURES: Final = frozenset({400, 413, 415, 422})
"""Statuses after which `ClosedwonCallout` in deploy/salesforce does not retry: the request itself is wrong."""
_SUBMIT: Final = """\
<?xml version="1.0" encoding="UTF-8"?>
<env:Envelope xmlns:env="http://schemas.xmlsoap.org/soap/envelope/"><env:Body>\
<submit xmlns="urn:closedwon:callout:1"><org>{org}</org>{records}</submit></env:Body></env:Envelope>"""
_APEX: Final = {"User-Agent": "SFDC-Callout/67.0", "SFDC_STACK_DEPTH": "1", "Cache-Control": "no-cache"}
"""Headers of captured Apex callouts."""


def callout(
    definition: CalloutDefinition, org: OrgId, notifications: Sequence[RecordNotification], fields: Sequence[SField]
) -> Push:
    """Write one callout, signed now. A deleted record is sent with its id only, as Apex has nothing more."""
    write = _soap_body if definition.soap else _json_body
    body = write(org, notifications, fields)
    timestamp = str(int(time.time()))
    path = urlsplit(definition.endpoint).path.removesuffix("/soap")
    signed = f"v2.{timestamp}.{path}.".encode() + body
    digest = hmac.new(definition.key.encode(), signed, hashlib.sha256).hexdigest()
    headers = {
        **_APEX,
        **(SOAP_HEADERS if definition.soap else {"Content-Type": "application/json"}),
        "X-Closedwon-Timestamp": timestamp,
        "X-Closedwon-Signature": f"v2={digest}",
    }
    return Push(body, headers, _soap_problem if definition.soap else _json_problem)


def _json_body(org: OrgId, notifications: Sequence[RecordNotification], fields: Sequence[SField]) -> bytes:
    records: list[dict[str, Any]] = []
    for one in notifications:
        record: dict[str, Any] = {"recordId": one.record, "id": one.id}
        if one.row is not None:
            record["fields"] = {field.name: to_json(field, one.row[field.name]) for field in fields}
        records.append(record)
    return json.dumps({"org": org, "records": records}, ensure_ascii=False).encode()


def _soap_body(org: OrgId, notifications: Sequence[RecordNotification], fields: Sequence[SField]) -> bytes:
    records = "".join(
        f"<records><recordId>{one.record}</recordId><id>{one.id}</id>{_soap_fields(one, fields)}</records>"
        for one in notifications
    )
    return _SUBMIT.format(org=org, records=records).encode()


def _soap_fields(one: RecordNotification, fields: Sequence[SField]) -> str:
    row = one.row or {}
    return "".join(
        f"<fields><name>{field.name}</name><value>{xml_text(field, row[field.name])}</value></fields>"
        for field in fields
        if row.get(field.name) is not None
    )


def _json_problem(status: int, answer: bytes) -> str:
    """The problem for the caller's log; "" for a success. Includes `detail` of a problem document (RFC 9457)."""
    if status == HTTPStatus.ACCEPTED:
        return ""
    try:
        problem = json.loads(answer)
    except ValueError:
        problem = None
    detail = problem.get("detail") if isinstance(problem, dict) else None
    return f"HTTP {status}" + (f": {str(detail)[:LONGEST_REASON]}" if detail else "")


def _soap_problem(status: int, answer: bytes) -> str:
    if status == HTTPStatus.OK:
        try:
            if next(parse(answer).iter(f"{{{_NAMESPACE}}}submitResponse"), None) is not None:
                return ""
        except etree.XMLSyntaxError:
            pass
    return fault_or_status(status, answer)
