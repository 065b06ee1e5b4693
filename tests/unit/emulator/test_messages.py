"""The form of pushes, compared with captured messages and the product's parser; the interpretation of responses."""

from __future__ import annotations

import pytest

from closedwon.emulators.salesforce.config import OutboundDefinition
from closedwon.emulators.salesforce.org import EmulatedOrg
from closedwon.emulators.salesforce.push.messages import Push, Sender, soap_message
from closedwon.salesforce.push import outbound
from closedwon.salesforce.push.contract import Contract

_CAPTURED = """\
<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" \
xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
 <soapenv:Body>
  <notifications xmlns="http://soap.sforce.com/2005/09/outbound">
   <OrganizationId>{org}</OrganizationId>
   <ActionId>04k000000000001AAA</ActionId>
   <SessionId xsi:nil="true"/>
   <EnterpriseUrl>https://example.my.salesforce.com/services/Soap/c/67.0/{short}</EnterpriseUrl>
   <PartnerUrl>https://example.my.salesforce.com/services/Soap/u/67.0/{short}</PartnerUrl>
   <Notification>
    <Id>04l000000000001AAA</Id>
    <sObject xsi:type="sf:Opportunity" xmlns:sf="urn:sobject.enterprise.soap.sforce.com">
     <sf:Id>{record}</sf:Id>
     <sf:Amount>120000.0</sf:Amount>
     <sf:CloseDate>2026-03-31</sf:CloseDate>
     <sf:IsWon>false</sf:IsWon>
     <sf:Name>Tea &amp; &lt;cake&gt;</sf:Name>
     <sf:SystemModstamp>{stamp}</sf:SystemModstamp>
    </sObject>
   </Notification>
  </notifications>
 </soapenv:Body>
</soapenv:Envelope>
"""
_FIELDS = ("Name", "SystemModstamp", "NextStep", "IsWon", "Amount", "CloseDate")
_TYPES = {
    "Amount": "xsd:double",
    "CloseDate": "xsd:date",
    "IsWon": "xsd:boolean",
    "Name": "xsd:string",
    "NextStep": "xsd:string",
    "SystemModstamp": "xsd:dateTime",
}


def _message(org: EmulatedOrg, *records: str, session: str | None = None) -> Push:
    org.outbox.define(OutboundDefinition(name="won", fields=_FIELDS, endpoint="http://localhost:9/"))
    definition = org.outbox.definition("won")
    assert definition is not None
    queued = [one for one in org.outbox.queued() if one.record in records]
    sender = Sender(org.org_id, "04k000000000001AAA", "https://example.my.salesforce.com", session)
    notifications = [org.outbox.load("Opportunity", one)._replace(id="04l000000000001AAA") for one in queued]
    return soap_message(sender, definition.on, notifications, org.outbox.fields(definition))


def _deal(org: EmulatedOrg, **fields: object) -> str:
    values = {"Name": "Tea", "StageName": "Prospecting", "CloseDate": "2026-03-31", **fields}
    record = org.create("Opportunity", **values)
    org.outbox.add("won", record)
    return record


def test_a_message_has_the_form_of_captured_ones(org: EmulatedOrg) -> None:
    """Id first, then by name; fields without a value are omitted; numbers, dates, times and booleans as captured."""
    record = _deal(org, Name="Tea & <cake>", Amount=120_000)
    stamp = org.get("Opportunity", record)["SystemModstamp"].replace("+0000", "Z")
    expected = _CAPTURED.format(org=org.org_id, short=org.org_id.short, record=record, stamp=stamp)

    assert expected == _message(org, record).body.decode()


def test_a_message_matches_the_exported_contract(org: EmulatedOrg) -> None:
    """The product's parser and its check against the WSDL accept it, for an existing and a deleted record."""
    here, gone = _deal(org, Amount=1e16), _deal(org)
    org.delete("Opportunity", gone)
    message = outbound.parse(_message(org, here, gone).body)
    Contract(object="Opportunity", fields=_TYPES).check(message)

    first, second = message.notifications
    assert first.fields is not None
    assert "10000000000000000" == (first.fields["Amount"] or "").removesuffix(".0")
    assert second.fields is None


def test_characters_that_xml_does_not_allow_are_removed(org: EmulatedOrg) -> None:
    """Otherwise, a control character in a name would make the message invalid for 24 hours."""
    record = _deal(org, Name="a\x00b\x1fc\ud7ffd\uffffe\U0001f600")
    (notification,) = outbound.parse(_message(org, record).body).notifications

    assert notification.fields is not None
    assert "abc\ud7ffde\U0001f600" == notification.fields["Name"]


def test_a_message_of_an_old_org_has_a_session_id(org: EmulatedOrg) -> None:
    """The element that is nil today."""
    message = outbound.parse(_message(org, _deal(org), session="00D!AQ").body)

    assert message.session is not None
    assert "00D!AQ" == message.session.get_secret_value()


_GOOD = outbound.ack(accepted=True)


@pytest.mark.parametrize(
    ("status", "answer", "problem"),
    [
        (200, _GOOD, ""),
        (201, _GOOD, ""),
        (200, b"\n".join(_GOOD.split(b">", 1)[1:]).replace(b"true", b" 1 "), ""),
        (200, outbound.ack(accepted=False), "SOAP response was a nack"),
        (200, _GOOD.replace(b"2005/09/outbound", b"2005/09/inbound"), "no Ack"),
        (200, _GOOD.replace(b"soap/envelope", b"soap/parcel"), "the response is not SOAP"),
        (200, b"OK", "the response is not SOAP"),
        (200, b"", "the response is not SOAP"),
        (200, outbound.fault("Server", "later"), "HTTP 200: later"),
        (500, outbound.fault("Client", "this org is not ours"), "HTTP 500: this org is not ours"),
        (503, b"<html>", "HTTP 503"),
        (302, _GOOD, "HTTP 302"),
        (500, _GOOD, "HTTP 500"),
    ],
)
def test_only_a_positive_ack_is_a_success(org: EmulatedOrg, status: int, answer: bytes, problem: str) -> None:
    """Any other response is a failure with a reason, and the message is sent again."""
    assert problem == _message(org, _deal(org)).problem(status, answer)
