"""Outbound messages in the form that Salesforce sends, for tests of the parser and the receivers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

ORG = "00D5g000004uZcXEAU"
ACTION = "04k5g0000008OqpAAE"
URL = "https://acme.my.salesforce.com/services/Soap/{kind}/65.0/00D5g000004uZcX"


def notification_id(number: int) -> str:
    """The 15-character id of notification `number`."""
    return f"04l5g0000{number:06}"


def deal_id(number: int) -> str:
    """The 15-character id of opportunity `number`."""
    return f"0065g0000{number:06}"


def deal(number: int = 1, **fields: str) -> str:
    """One notification of an Opportunity, its fields in Salesforce's order: `Id`, then by name."""
    return notification(notification_id(number), {"Id": deal_id(number), **dict(sorted(fields.items()))})


def notification(identity: str, fields: Mapping[str, str], *, type_: str = "Opportunity") -> str:
    """One notification with any `fields`."""
    inner = "\n".join(f"     <sf:{name}>{escape(value)}</sf:{name}>" for name, value in fields.items())
    return (
        f"   <Notification>\n    <Id>{identity}</Id>\n"
        f'    <sObject xsi:type="sf:{type_}" xmlns:sf="urn:sobject.enterprise.soap.sforce.com">\n{inner}\n'
        "    </sObject>\n   </Notification>"
    )


def message(
    notifications: Sequence[str],
    *,
    org: str = ORG,
    session: str = '<SessionId xsi:nil="true"/>',
    urls: bool = True,
    encoding: str = "UTF-8",
) -> bytes:
    """One delivery, as captured from orgs of API 42 to 51: pretty-printed, one space deep, no SOAP header."""
    inner = "\n".join(notifications)
    addresses = "".join(
        f"   <{name}>{URL.format(kind=kind)}</{name}>\n"
        for name, kind in (("EnterpriseUrl", "c"), ("PartnerUrl", "u"))
        if urls
    )
    return (
        f'<?xml version="1.0" encoding="{encoding}"?>\n'
        '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"'
        ' xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">\n'
        ' <soapenv:Body>\n  <notifications xmlns="http://soap.sforce.com/2005/09/outbound">\n'
        f"   <OrganizationId>{org}</OrganizationId>\n   <ActionId>{ACTION}</ActionId>\n"
        f"   {session}\n{addresses}{inner}\n"
        "  </notifications>\n </soapenv:Body>\n</soapenv:Envelope>"
    ).encode(encoding)
