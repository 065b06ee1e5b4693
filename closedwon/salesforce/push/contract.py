"""The contract of an outbound message: its WSDL, read and written, and a check of messages against it. No I/O.

Salesforce generates one WSDL per outbound message definition ("Click for WSDL"). Messages can be read without it. With
it, a message of another object, with fields that were not selected, or with values of another type is rejected.
Source: SOAP API Developer Guide, "Understanding the Outbound Messaging WSDL", and a published WSDL.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Final, Self

from lxml import etree
from pydantic import Field, ValidationError

from closedwon.errors import ClosedwonError
from closedwon.model.base import Frozen
from closedwon.salesforce.push import soap
from closedwon.salesforce.push.outbound import NAME, OUTBOUND, SOBJECT, OutboundMessage, OutboundMessageError
from closedwon.salesforce.push.soap import SoapError
from closedwon.settings import Route

_ENTERPRISE: Final = "urn:enterprise.soap.sforce.com"
_XSD: Final = "http://www.w3.org/2001/XMLSchema"
_ANY: Final = "xsd:anyType"
_PREFIXES: Final = {_XSD: "xsd", _ENTERPRISE: "ent"}
_ZONE: Final = r"(?:Z|[+-]\d\d:\d\d)?"
_FORMS: Final = {
    name: re.compile(form, re.ASCII)
    for name, form in {
        "ent:ID": r"[a-zA-Z0-9]{15}(?:[a-zA-Z0-9]{3})?",
        "xsd:boolean": r"true|false|0|1",
        "xsd:int": r"[+-]?\d{1,10}",
        "xsd:long": r"[+-]?\d{1,19}",
        "xsd:double": r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?",
        "xsd:decimal": r"[+-]?(?:\d+\.?\d*|\.\d+)",
        "xsd:date": rf"\d{{4}}-\d\d-\d\d{_ZONE}",
        "xsd:dateTime": rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?{_ZONE}",
        "xsd:time": rf"\d\d:\d\d:\d\d(?:\.\d+)?{_ZONE}",
    }.items()
}
"""Forms of values (XML Schema part 2). Values of other types are not checked."""

_Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
_Type = Annotated[str, Field(pattern=r"^(xsd|ent):[A-Za-z0-9]+$")]


class ContractError(ClosedwonError):
    """A file that is not the WSDL of an outbound message. The message says what to export again."""


class Contract(Frozen):
    """One object and its selected fields. A type is `ent:ID` or an XML Schema type such as `xsd:double`."""

    object: _Name
    fields: dict[_Name, _Type]
    """Name to type, without `Id`, which every sObject has."""

    @classmethod
    def read(cls, wsdl: bytes) -> Self:
        """Read a WSDL as Salesforce generates it. Raises `ContractError`."""
        try:
            root = soap.read_xml(wsdl)
        except SoapError as error:
            raise ContractError(f"The WSDL cannot be parsed. {error}") from None
        schemas = {schema.get("targetNamespace"): schema for schema in root.iter(f"{{{_XSD}}}schema")}
        outer, inner = schemas.get(OUTBOUND), schemas.get(SOBJECT)
        types = [] if outer is None else outer.findall(f".//{{{_XSD}}}element[@name='sObject']")
        if len(types) != 1 or inner is None:
            raise ContractError(
                "This is not the WSDL of an outbound message; export it with the link 'Click for WSDL'."
            )
        name = types[0].get("type", "").rpartition(":")[2]
        described = [type_ for type_ in inner.findall(f"{{{_XSD}}}complexType") if type_.get("name") == name]
        if len(described) != 1:
            raise ContractError("The WSDL does not describe the type of its sObject; export it again.")
        elements = described[0].iter(f"{{{_XSD}}}element")
        fields = {element.get("name", ""): _type(element) for element in elements}
        try:
            return cls(object=name, fields={field: type_ for field, type_ in fields.items() if field != "Id"})
        except ValidationError:
            raise ContractError("The WSDL has names that are not valid in Salesforce; export it again.") from None

    def check(self, message: OutboundMessage) -> None:
        """Raise `OutboundMessageError` unless every notification matches the contract."""
        ids = tuple(notification.id for notification in message.notifications)
        if message.object not in (None, self.object):
            raise OutboundMessageError(
                f"The contract is about {self.object}, not {message.object}.", notification_ids=ids
            )
        for notification in message.notifications:
            for field, value in (notification.fields or {}).items():
                if field not in self.fields and field != "Id":
                    problem = f"The contract does not have the field {field}; export the WSDL again."
                elif value is not None and not _fits(self.fields.get(field, _ANY), value):
                    problem = (
                        f"The value of field {field} is not a valid {self.fields[field]}, the type in the contract."
                    )
                else:
                    continue
                raise OutboundMessageError(problem, notification_ids=ids)

    def complaints(self, route: Route) -> Iterator[str]:
        """Yield one sentence for each thing that the route needs and messages of this contract lack."""
        if self.object != route.object:
            yield f"the WSDL is about {self.object}, the route about {route.object}"
            return
        for key, name in route.reads_of_message():
            if name not in self.fields and name != "Id":
                yield f"{key} reads {name}, which the message does not have"
        if route.source == "event" and "SystemModstamp" not in self.fields:
            yield "the message does not have SystemModstamp, so an older one could overwrite a newer one"

    def wsdl(self, endpoint: str) -> bytes:
        """Write the WSDL 1.1 of this contract, in the form of Salesforce's, with `endpoint` as its address."""
        fields = "\n".join(
            f'       <element name="{name}" nillable="true" minOccurs="0" type="{type_}"/>'
            for name, type_ in sorted(self.fields.items())
        )
        return _WSDL.format(object=self.object, fields=fields, endpoint=soap.escape(endpoint)).encode()


def _type(element: etree._Element) -> str:
    prefix, colon, local = element.get("type", "").rpartition(":")
    known = _PREFIXES.get(element.nsmap.get(prefix if colon else None, ""))
    return f"{known}:{local}" if known else _ANY


def _fits(type_: str, value: str) -> bool:
    form = _FORMS.get(type_)
    return form is None or form.fullmatch(value.strip()) is not None


_WSDL: Final = f"""\
<?xml version="1.0" encoding="UTF-8"?>
<definitions targetNamespace="{OUTBOUND}"
  xmlns="http://schemas.xmlsoap.org/wsdl/"
  xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/"
  xmlns:tns="{OUTBOUND}"
  xmlns:xsd="{_XSD}"
  xmlns:ent="{_ENTERPRISE}"
  xmlns:ens="{SOBJECT}">
 <types>
  <schema elementFormDefault="qualified" xmlns="{_XSD}" targetNamespace="{_ENTERPRISE}">
   <simpleType name="ID">
    <restriction base="xsd:string">
     <length value="18"/>
     <pattern value="[a-zA-Z0-9]{{{{18}}}}"/>
    </restriction>
   </simpleType>
  </schema>
  <schema elementFormDefault="qualified" xmlns="{_XSD}" targetNamespace="{SOBJECT}">
   <import namespace="{_ENTERPRISE}"/>
   <complexType name="sObject">
    <sequence>
     <element name="fieldsToNull" type="xsd:string" nillable="true" minOccurs="0" maxOccurs="unbounded"/>
     <element name="Id" type="ent:ID" nillable="true"/>
    </sequence>
   </complexType>
   <complexType name="{{object}}">
    <complexContent>
     <extension base="ens:sObject">
      <sequence>
{{fields}}
      </sequence>
     </extension>
    </complexContent>
   </complexType>
  </schema>
  <schema elementFormDefault="qualified" xmlns="{_XSD}" targetNamespace="{OUTBOUND}">
   <import namespace="{_ENTERPRISE}"/>
   <import namespace="{SOBJECT}"/>
   <element name="notifications">
    <complexType>
     <sequence>
      <element name="OrganizationId" type="ent:ID"/>
      <element name="ActionId" type="ent:ID"/>
      <element name="SessionId" type="xsd:string" nillable="true"/>
      <element name="EnterpriseUrl" type="xsd:string"/>
      <element name="PartnerUrl" type="xsd:string"/>
      <element name="Notification" maxOccurs="100" type="tns:{{object}}Notification"/>
     </sequence>
    </complexType>
   </element>
   <complexType name="{{object}}Notification">
    <sequence>
     <element name="Id" type="ent:ID"/>
     <element name="sObject" type="ens:{{object}}"/>
    </sequence>
   </complexType>
   <element name="notificationsResponse">
    <complexType>
     <sequence>
      <element name="Ack" type="xsd:boolean"/>
     </sequence>
    </complexType>
   </element>
  </schema>
 </types>
 <message name="notificationsRequest">
  <part element="tns:notifications" name="request"/>
 </message>
 <message name="notificationsResponse">
  <part element="tns:notificationsResponse" name="response"/>
 </message>
 <portType name="NotificationPort">
  <operation name="notifications">
   <documentation>Process a number of notifications.</documentation>
   <input message="tns:notificationsRequest"/>
   <output message="tns:notificationsResponse"/>
  </operation>
 </portType>
 <binding name="NotificationBinding" type="tns:NotificationPort">
  <soap:binding style="document" transport="http://schemas.xmlsoap.org/soap/http"/>
  <operation name="notifications">
   <soap:operation soapAction=""/>
   <input><soap:body use="literal"/></input>
   <output><soap:body use="literal"/></output>
  </operation>
 </binding>
 <service name="NotificationService">
  <documentation>Notification Service Implementation</documentation>
  <port binding="tns:NotificationBinding" name="Notification">
   <soap:address location="{{endpoint}}"/>
  </port>
 </service>
</definitions>
"""
