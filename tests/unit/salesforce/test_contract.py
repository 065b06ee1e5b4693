"""The WSDL of an outbound message: read, written, kept to, and understood by a SOAP tool that is not ours."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import zeep
from lxml import etree

from closedwon.salesforce.contract import Contract, ContractError
from closedwon.salesforce.outbound import OutboundMessage, OutboundMessageError, ack, fault, parse
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
    """The arguments of one delivery, made from the types that zeep read."""
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
    """Zeep builds a delivery from our WSDL that we read and that keeps to the contract, and it understands our Ack."""
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
    """What is wrong reaches the caller of a SOAP tool as the error's text."""
    client = soap_client(DEAL.wsdl(ENDPOINT), tmp_path, Loopback(fault("Client", "OrganizationId is not <ours>"), 500))
    with pytest.raises(zeep.exceptions.Fault, match="OrganizationId is not <ours>"):
        client.service.notifications(**delivery(client))


def test_the_wsdl_has_the_names_that_salesforce_gives(tmp_path: Path) -> None:
    """Service, port, binding, operation and address are those of a WSDL from Setup; an id has 18 characters."""
    document = soap_client(DEAL.wsdl(ENDPOINT), tmp_path).wsdl
    (service,) = document.services.values()
    (port,) = service.ports.values()

    assert ("NotificationService", "Notification") == (service.name, port.name)
    assert "{http://soap.sforce.com/2005/09/outbound}NotificationBinding" == port.binding.name.text
    assert (["notifications"], ENDPOINT) == (list(port.binding._operations), port.binding_options["address"])
    assert b'<pattern value="[a-zA-Z0-9]{18}"/>' in DEAL.wsdl(ENDPOINT)


def test_a_contract_is_read_as_it_was_written() -> None:
    """Object, names and types survive; `Id` belongs to every sObject."""
    assert DEAL == Contract.read(DEAL.wsdl(ENDPOINT))


def test_prefixes_of_a_wsdl_do_not_matter() -> None:
    """Types are known by their namespace, and one that we do not know may hold anything."""
    text = DEAL.wsdl(ENDPOINT).decode()
    text = text.replace('name="Name" nillable="true" minOccurs="0" type="xsd:string"', 'name="Name" type="ens:Address"')
    for prefix in ("xsd", "ent", "ens"):
        text = text.replace(f"{prefix}:", f"{prefix}-x:").replace(f"xmlns:{prefix}=", f"xmlns:{prefix}-x=")

    assert {**DEAL.fields, "Name": "xsd:anyType"} == Contract.read(text.encode()).fields


@pytest.mark.parametrize(
    ("file", "complaint"),
    [
        (b"", "cannot be read"),
        (b"<!DOCTYPE a><a/>", "Document types"),
        (b"<a/>", "no WSDL of an outbound message"),
        (DEAL.wsdl(ENDPOINT).replace(b'"ens:Opportunity"', b'"ens:Account"'), "does not describe"),
        (DEAL.wsdl(ENDPOINT).replace(b'"Amount"', b'"A mount"'), "names that Salesforce does not give"),
    ],
)
def test_another_file_is_no_contract(file: bytes, complaint: str) -> None:
    """A wrong file is refused when the settings are read, not when the first message comes."""
    with pytest.raises(ContractError, match=complaint):
        Contract.read(file)


def one(**fields: str) -> OutboundMessage:
    """A message of one deal."""
    return parse(sent.message([sent.deal(1, **fields)]))


def test_a_message_of_the_contract_passes() -> None:
    """All forms of values that Salesforce sends fit their types; nil and missing fields always do."""
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
        ({"StageName": "Closed Won"}, "does not know the field StageName"),
        ({"AccountId": "Acme"}, "AccountId holds no ent:ID"),
        ({"Amount": "12,5"}, "Amount holds no xsd:double"),
        ({"CloseDate": "3.11.2026"}, "CloseDate holds no xsd:date"),
        ({"IsWon": "yes"}, "IsWon holds no xsd:boolean"),
        ({"SystemModstamp": "2026-11-03"}, "SystemModstamp holds no xsd:dateTime"),
        ({"acme__Parts__c": "1.5"}, "acme__Parts__c holds no xsd:int"),
    ],
)
def test_a_message_outside_the_contract_is_refused(fields: dict[str, str], complaint: str) -> None:
    """The complaint names the field, the type and the notifications, and not the value."""
    with pytest.raises(OutboundMessageError, match=complaint) as caught:
        DEAL.check(one(**fields))

    assert ("04l5g0000000001AAA",) == caught.value.notification_ids
    assert not any(value in str(caught.value).replace(name, "") for name, value in fields.items())


def test_a_message_of_another_object_is_refused() -> None:
    """A message that was sent to the wrong endpoint starts nothing."""
    message = parse(sent.message([sent.notification("04l5g0000000001", {"Id": "0015g0000000001"}, type_="Account")]))
    with pytest.raises(OutboundMessageError, match=re.escape("about Opportunity, not Account")):
        DEAL.check(message)


def test_the_wsdl_is_well_formed() -> None:
    """A hostile address cannot break out of its attribute."""
    root = etree.fromstring(DEAL.wsdl('"/><evil a="'))

    assert root.find(".//{*}evil") is None
