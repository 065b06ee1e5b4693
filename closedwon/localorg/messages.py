"""How a push looks on the wire: outbound messages as captured ones look, signed callouts as our Apex makes them.

This is the sending end: nothing is shared with the receiver's code. No input or output, no queue.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from xml.sax.saxutils import escape

from lxml import etree

from closedwon.ids import OrgId

_OUTBOUND: Final = "http://soap.sforce.com/2005/09/outbound"
_ENVELOPE: Final = """\
<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" \
xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
 <soapenv:Body>
  <notifications xmlns="http://soap.sforce.com/2005/09/outbound">
   <OrganizationId>{org}</OrganizationId>
   <ActionId>{action}</ActionId>
   <SessionId xsi:nil="true"/>
   <EnterpriseUrl>{url}/services/Soap/c/67.0/{short_org}</EnterpriseUrl>
   <PartnerUrl>{url}/services/Soap/u/67.0/{short_org}</PartnerUrl>
{notifications}
  </notifications>
 </soapenv:Body>
</soapenv:Envelope>
"""


class Told(NamedTuple):
    """One notification; `fields` None says that the record is gone."""

    id: str
    record: str
    fields: dict[str, Any] | None


class Push(NamedTuple):
    """A request, and how its answer is judged: `problem` returns what is wrong with it, or nothing."""

    body: bytes
    headers: dict[str, str]
    problem: Callable[[int, bytes], str]


def soap_message(
    *, org: OrgId, action: str, url: str, object_name: str, told: Sequence[Told], fields: Sequence[str]
) -> Push:
    """Write one outbound message. A record that is gone has a notification without data."""
    body = _ENVELOPE.format(
        org=org,
        short_org=org.short,
        action=action,
        url=url,
        notifications="\n".join(_notification(object_name, one, fields) for one in told),
    )
    return Push(body.encode(), {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": '""'}, _soap_problem)


def signed_call(org: OrgId, told: Sequence[Told], fields: Sequence[str], key: str) -> Push:
    """Write one JSON callout. A record that is gone is told of by its id alone, as Apex knows no better."""
    records = [
        {"recordId": one.record, "id": one.id, "fields": {name: one.fields[name] for name in ("Id", *fields)}}
        if one.fields is not None
        else {"recordId": one.record, "id": one.id}
        for one in told
    ]
    body = json.dumps({"org": org, "records": records}).encode()
    timestamp = str(int(time.time()))
    digest = hmac.new(key.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "SFDC-Callout/67.0",
        "X-Closedwon-Timestamp": timestamp,
        "X-Closedwon-Signature": f"v1={digest}",
    }
    return Push(body, headers, lambda status, _answer: "" if status == HTTPStatus.ACCEPTED else f"HTTP {status}")


def _notification(object_name: str, one: Told, fields: Sequence[str]) -> str:
    if one.fields is None:
        return f"   <Notification>\n    <Id>{one.id}</Id>\n   </Notification>"
    values = "".join(
        f"\n     <sf:{name}>{escape(_text(one.fields[name]))}</sf:{name}>"
        for name in ("Id", *fields)
        if one.fields[name] is not None
    )
    return (
        f'   <Notification>\n    <Id>{one.id}</Id>\n    <sObject xsi:type="sf:{object_name}" '
        f'xmlns:sf="urn:sobject.enterprise.soap.sforce.com">{values}\n    </sObject>\n   </Notification>'
    )


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _soap_problem(status: int, answer: bytes) -> str:
    if status // 100 != 2:  # noqa: PLR2004 - the class of success
        return f"HTTP {status}"
    try:
        acks = etree.fromstring(answer).iterfind(f".//{{{_OUTBOUND}}}notificationsResponse/{{{_OUTBOUND}}}Ack")
        return "" if any((ack.text or "").strip() in ("true", "1") for ack in acks) else "SOAP response was a nack"
    except etree.XMLSyntaxError:
        return "the answer is no SOAP response"
