"""The form of outbound messages, as captured from real orgs, and the interpretation of their acknowledgements.

This is the sender: it shares no code with the receiver. No input or output, no queue. `callouts` writes callouts.
Sources: SOAP API Developer Guide, "Outbound Messaging"; captured messages of API 42.0 to 51.0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

from lxml import etree

from closedwon.emulators.salesforce.clock import event_time
from closedwon.emulators.salesforce.data.schema import NUMBERS, FieldType, SField
from closedwon.emulators.salesforce.data.store import Row
from closedwon.emulators.salesforce.data.values import Stored
from closedwon.ids import OrgId

SOAP_HEADERS: Final = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": '""'}
_SOAP: Final = "{http://schemas.xmlsoap.org/soap/envelope/}"
_OUTBOUND: Final = "{http://soap.sforce.com/2005/09/outbound}"
_NO_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 does not allow, even escaped."""
LONGEST_REASON: Final = 200
"""Maximum characters of an endpoint's text that are stored."""
_ENVELOPE: Final = """\
<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" \
xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
 <soapenv:Body>
  <notifications xmlns="http://soap.sforce.com/2005/09/outbound">
   <OrganizationId>{org}</OrganizationId>
   <ActionId>{action}</ActionId>
   {session}
   <EnterpriseUrl>{url}/services/Soap/c/67.0/{short_org}</EnterpriseUrl>
   <PartnerUrl>{url}/services/Soap/u/67.0/{short_org}</PartnerUrl>
{notifications}
  </notifications>
 </soapenv:Body>
</soapenv:Envelope>
"""


class RecordNotification(NamedTuple):
    """One notification with its record; `row` is None if the record was deleted."""

    id: str
    record: str
    row: Row | None


class Push(NamedTuple):
    """A request. `problem` interprets its response: it returns the problem, or "" for a success."""

    body: bytes
    headers: dict[str, str]
    problem: Callable[[int, bytes], str]


class Sender(NamedTuple):
    """The sender of an outbound message. `session` None is sent as nil, as always since February 2026."""

    org: OrgId
    action: str
    url: str
    session: str | None


def soap_message(
    sender: Sender, object_name: str, notifications: Sequence[RecordNotification], fields: Sequence[SField]
) -> Push:
    """Write one outbound message: `Id` first, then `fields` by name; fields without a value are omitted."""
    body = _ENVELOPE.format(
        org=sender.org,
        short_org=sender.org.short,
        action=sender.action,
        session='<SessionId xsi:nil="true"/>' if sender.session is None else f"<SessionId>{sender.session}</SessionId>",
        url=sender.url,
        notifications="\n".join(_notification(object_name, one, fields) for one in notifications),
    )
    return Push(body.encode(), dict(SOAP_HEADERS), _problem)


def xml_text(one: SField, value: Stored) -> str:
    """A stored value as XML text: numbers with a decimal point, times as `2026-01-02T03:04:05.000Z`."""
    if one.type is FieldType.BOOLEAN:
        return "true" if value else "false"
    if one.type is FieldType.DATETIME:
        return event_time(int(value or 0))
    if one.type in NUMBERS:
        return format(Decimal(repr(float(value or 0))), "f")
    return escape(_NO_XML.sub("", str(value)))


def fault_or_status(status: int, answer: bytes) -> str:
    """The text of the delivery status page for a failure."""
    try:
        reason = parse(answer).findtext(f"{_SOAP}Body/{_SOAP}Fault/faultstring") or ""
    except etree.XMLSyntaxError:
        reason = ""
    return f"HTTP {status}" + (f": {reason[:LONGEST_REASON]}" if reason else "")


def parse(answer: bytes) -> etree._Element:
    """Parse an endpoint's XML. Raises `etree.XMLSyntaxError`."""
    return etree.fromstring(answer, etree.XMLParser(resolve_entities=False, no_network=True))


def _notification(object_name: str, one: RecordNotification, fields: Sequence[SField]) -> str:
    if one.row is None:
        return f"   <Notification>\n    <Id>{one.id}</Id>\n   </Notification>"
    values = "".join(
        f"\n     <sf:{field.name}>{xml_text(field, one.row[field.name])}</sf:{field.name}>"
        for field in sorted(fields, key=lambda field: (field.name != "Id", field.name))
        if one.row[field.name] is not None
    )
    return (
        f'   <Notification>\n    <Id>{one.id}</Id>\n    <sObject xsi:type="sf:{object_name}" '
        f'xmlns:sf="urn:sobject.enterprise.soap.sforce.com">{values}\n    </sObject>\n   </Notification>'
    )


def _problem(status: int, answer: bytes) -> str:
    """Return "" only for a positive Ack in its namespace, in a SOAP body, with a successful status."""
    if status // 100 != 2:  # noqa: PLR2004 - the class of success
        return fault_or_status(status, answer)
    try:
        root = parse(answer)
    except etree.XMLSyntaxError:
        return "the response is not SOAP"
    if root.tag != f"{_SOAP}Envelope":
        return "the response is not SOAP"
    ack = root.findtext(f"{_SOAP}Body/{_OUTBOUND}notificationsResponse/{_OUTBOUND}Ack")
    if ack is None:
        return fault_or_status(status, answer) if root.find(f"{_SOAP}Body/{_SOAP}Fault") is not None else "no Ack"
    return "" if ack.strip() in {"true", "1"} else "SOAP response was a nack"
