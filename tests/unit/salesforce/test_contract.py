"""The WSDL of an outbound message: reading, writing, checking messages, and use by an independent SOAP tool."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import zeep
from lxml import etree

from closedwon.salesforce.push.contract import Contract, ContractError
from closedwon.salesforce.push.outbound import OutboundMessage, OutboundMessageError, ack, fault, parse
from tests.support import outbound as sent
from tests.support.soap import Loopback, soap_client

ENDPOINT = "https://closedwon.example/outbound/won-deals?a=1&b=<2>"
DEAL = Contract(
    object="Opportunity",
    fields={
        "AccountId": "ent:ID",
        "Amount": "xsd:double",
        "CloseDate": "xsd:date",
        "IsWon": "xsd:boolean",
        "Name": "xsd:string",
        "SystemModstamp": "xsd:dateTime",
        "acme__Parts__c": "xsd:int",
    },
)


def delivery(client: Any) -> dict[str, Any]:
    """The arguments of one delivery, built with the types that zeep has read."""
    kind = client.get_type("{urn:sobject.enterprise.soap.sforce.com}Opportunity")
    return {
        "OrganizationId": sent.ORG,
        "ActionId": sent.ACTION,
        "SessionId": None,
        "EnterpriseUrl": sent.URL,
        "PartnerUrl": sent.URL,
        "Notification": [
            {"Id": "04l5g0000000001AAA", "sObject": kind(Id="0065g0000000001AAA", Name="Roof", Amount=1.5, IsWon=True)},
            {"Id": "04l5g0000000002AAA", "sObject": kind(Id="0065g0000000002AAA", CloseDate="2026-11-03")},
        ],
    }


def test_a_soap_tool_delivers_by_the_wsdl(tmp_path: Path) -> None:
    """Zeep builds a delivery from our WSDL, it passes our check, and zeep understands our Ack."""
    transport = Loopback(ack(accepted=True))
    client = soap_client(DEAL.wsdl(ENDPOINT), tmp_path, transport)
    answer = client.service.notifications(**delivery(client))
    message = parse(transport.sent)
    DEAL.check(message)

    assert answer is True
    assert [
        {"Id": "0065g0000000001AAA", "Amount": "1.5", "IsWon": "true", "Name": "Roof"},
        {"Id": "0065g0000000002AAA", "CloseDate": "2026-11-03"},
    ] == [one.fields and {name: value for name, value in one.fields.items() if value} for one in message.notifications]


def test_a_soap_tool_understands_our_fault(tmp_path: Path) -> None:
    """The faultstring is the text of the error that the SOAP tool raises."""
    client = soap_client(DEAL.wsdl(ENDPOINT), tmp_path, Loopback(fault("Client", "OrganizationId is not <ours>"), 500))
    with pytest.raises(zeep.exceptions.Fault, match="OrganizationId is not <ours>"):
        client.service.notifications(**delivery(client))


def test_the_wsdl_has_the_names_that_salesforce_uses(tmp_path: Path) -> None:
    """Service, port, binding, operation and address are those of a WSDL from Setup; an id has 18 characters."""
    document = soap_client(DEAL.wsdl(ENDPOINT), tmp_path).wsdl
    (service,) = document.services.values()
    (port,) = service.ports.values()

    assert ("NotificationService", "Notification") == (service.name, port.name)
    assert "{http://soap.sforce.com/2005/09/outbound}NotificationBinding" == port.binding.name.text
    assert (["notifications"], ENDPOINT) == (list(port.binding._operations), port.binding_options["address"])
    assert b'<pattern value="[a-zA-Z0-9]{18}"/>' in DEAL.wsdl(ENDPOINT)


def test_a_written_contract_can_be_read_back() -> None:
    """Object, names and types are the same; `Id` is part of every sObject."""
    assert DEAL == Contract.read(DEAL.wsdl(ENDPOINT))


def test_prefixes_of_a_wsdl_do_not_matter() -> None:
    """Types are identified by namespace; values of an unknown type are not checked."""
    text = DEAL.wsdl(ENDPOINT).decode()
    text = text.replace('name="Name" nillable="true" minOccurs="0" type="xsd:string"', 'name="Name" type="ens:Address"')
    for prefix in ("xsd", "ent", "ens"):
        text = text.replace(f"{prefix}:", f"{prefix}-x:").replace(f"xmlns:{prefix}=", f"xmlns:{prefix}-x=")

    assert {**DEAL.fields, "Name": "xsd:anyType"} == Contract.read(text.encode()).fields


@pytest.mark.parametrize(
    ("file", "complaint"),
    [
        (b"", "cannot be parsed"),
        (b"<!DOCTYPE a><a/>", "Document types"),
        (b"<a/>", "not the WSDL of an outbound message"),
        (DEAL.wsdl(ENDPOINT).replace(b'"ens:Opportunity"', b'"ens:Account"'), "does not describe"),
        (DEAL.wsdl(ENDPOINT).replace(b'"Amount"', b'"A mount"'), "names that are not valid in Salesforce"),
    ],
)
def test_a_file_that_is_not_a_contract_is_refused(file: bytes, complaint: str) -> None:
    """The error appears when the file is read, not with the first message."""
    with pytest.raises(ContractError, match=complaint):
        Contract.read(file)


def one(**fields: str) -> OutboundMessage:
    """A message of one deal."""
    return parse(sent.message([sent.deal(1, **fields)]))


def test_a_message_that_matches_the_contract_passes() -> None:
    """All forms of values that Salesforce sends match their types; nil and missing fields always match."""
    DEAL.check(
        one(
            AccountId="0015g0000000001AAA",
            Amount="120000.0",
            CloseDate="2026-11-03",
            IsWon="true",
            Name="",
            SystemModstamp="2026-11-03T10:00:00.000Z",
            acme__Parts__c="-3",
        )
    )
    DEAL.check(parse(sent.message(["<Notification><Id>04l5g0000000001</Id></Notification>"])))
    DEAL.check(one(Amount="1.2E7"))


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"StageName": "Closed Won"}, "does not have the field StageName"),
        ({"AccountId": "Acme"}, "AccountId is not a valid ent:ID"),
        ({"Amount": "12,5"}, "Amount is not a valid xsd:double"),
        ({"CloseDate": "3.11.2026"}, "CloseDate is not a valid xsd:date"),
        ({"IsWon": "yes"}, "IsWon is not a valid xsd:boolean"),
        ({"SystemModstamp": "2026-11-03"}, "SystemModstamp is not a valid xsd:dateTime"),
        ({"acme__Parts__c": "1.5"}, "acme__Parts__c is not a valid xsd:int"),
    ],
)
def test_a_message_that_differs_from_the_contract_is_refused(fields: dict[str, str], complaint: str) -> None:
    """The error names the field, the type and the notifications, but not the value."""
    with pytest.raises(OutboundMessageError, match=complaint) as caught:
        DEAL.check(one(**fields))

    assert ("04l5g0000000001AAA",) == caught.value.notification_ids
    assert not any(value in str(caught.value).replace(name, "") for name, value in fields.items())


def test_a_message_of_another_object_is_refused() -> None:
    """A message for another endpoint is rejected."""
    message = parse(sent.message([sent.notification("04l5g0000000001", {"Id": "0015g0000000001"}, type_="Account")]))
    with pytest.raises(OutboundMessageError, match=re.escape("about Opportunity, not Account")):
        DEAL.check(message)


def test_the_wsdl_is_well_formed() -> None:
    """Special characters of an address are escaped."""
    root = etree.fromstring(DEAL.wsdl('"/><evil a="'))

    assert root.find(".//{*}evil") is None
