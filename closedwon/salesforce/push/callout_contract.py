"""The description of callouts for callers: an OpenAPI 3.1 document for the JSON form, a WSDL for the SOAP form. No I/O.

The WSDL uses only what WSDL2Apex supports: one service, one port, document/literal, one schema, plain sequences; no
imports, no attributes, no extensions, no choice, no any, and no names that are reserved in Apex.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from closedwon.salesforce.push import soap
from closedwon.salesforce.push.callout import (
    IDEMPOTENCY_KEY,
    NAMESPACE,
    Accepted,
    CalloutCall,
    CalloutProblem,
    CalloutRecord,
)
from closedwon.salesforce.push.signature import SIGNATURE_HEADER, TIMESTAMP_HEADER

_REFUSALS: Final = {
    HTTPStatus.BAD_REQUEST: "The body is not valid JSON.",
    HTTPStatus.UNAUTHORIZED: "The signature is missing, wrong, too old, or was used before.",
    HTTPStatus.NOT_FOUND: "No route of this name accepts callouts.",
    HTTPStatus.FORBIDDEN: "This caller or this org is not allowed.",
    HTTPStatus.REQUEST_TIMEOUT: "The body did not arrive in time; send the call again.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too large, or has too many records.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is not application/json in UTF-8.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "Some records are not valid; `errors` names each. No record was accepted.",
    HTTPStatus.TOO_MANY_REQUESTS: "Too many calls; send the call again after `Retry-After` seconds.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "Intake failed; send the call again, with the same ids.",
    HTTPStatus.SERVICE_UNAVAILABLE: "Not durable; send the call again after `Retry-After` seconds, with the same ids.",
}
_RETRY: Final = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


def openapi() -> dict[str, Any]:
    """Describe `POST /callouts/<route>` as an OpenAPI 3.1 document. It names no route: anyone may read it."""
    models = [
        (CalloutCall, "validation"),
        (CalloutRecord, "validation"),
        (Accepted, "serialization"),
        (CalloutProblem, "serialization"),
    ]
    _, schemas = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    definitions = schemas["$defs"]
    definitions["CalloutRecord"]["required"].remove("id")  # it may come from the Idempotency-Key
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Closedwon callouts",
            "version": "1",
            "description": "Notify Closedwon of records that may need an order. 202: every record is stored durably.",
        },
        "paths": {"/callouts/{route}": {"post": _operation()}},
        "components": {
            "schemas": definitions,
            "securitySchemes": {
                "signature": {
                    "type": "apiKey",
                    "in": "header",
                    "name": SIGNATURE_HEADER,
                    "description": "`v2=` and the hexadecimal HMAC-SHA256 of `v2.`, "
                    f"`{TIMESTAMP_HEADER}`, a dot, the path `/callouts/<route>`, a dot, body.",
                }
            },
        },
    }


def wsdl(endpoint: str) -> bytes:
    """Write the WSDL 1.1 of the SOAP form, with `endpoint` as its address."""
    return _WSDL.format(endpoint=soap.escape(endpoint)).encode()


def _operation() -> dict[str, Any]:
    responses: dict[str, Any] = {
        "202": {
            "description": "Every record is stored durably.",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Accepted"}}},
        }
    }
    for status, meaning in _REFUSALS.items():
        responses[str(int(status))] = {
            "description": meaning,
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/CalloutProblem"}}},
        }
        if status in _RETRY:
            responses[str(int(status))]["headers"] = {"Retry-After": {"schema": {"type": "integer", "minimum": 0}}}
    return {
        "operationId": "submit",
        "summary": "Submit one record or many",
        "security": [{"signature": []}],
        "parameters": [
            {"name": "route", "in": "path", "required": True, "schema": {"type": "string"}},
            {
                "name": TIMESTAMP_HEADER,
                "in": "header",
                "required": True,
                "description": "Unix time of signing, in whole seconds.",
                "schema": {"type": "string", "pattern": "^[0-9]{1,12}$"},
            },
            {
                "name": IDEMPOTENCY_KEY,
                "in": "header",
                "description": "Source of missing record ids. Repeat it when you send the same call again.",
                "schema": {"type": "string", "pattern": "^[!-~]{1,190}$"},
            },
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/CalloutCall"}}},
        },
        "responses": responses,
    }


_WSDL: Final = f"""\
<?xml version="1.0" encoding="UTF-8"?>
<definitions targetNamespace="{NAMESPACE}"
  xmlns="http://schemas.xmlsoap.org/wsdl/"
  xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/"
  xmlns:tns="{NAMESPACE}"
  xmlns:xsd="http://www.w3.org/2001/XMLSchema">
 <types>
  <xsd:schema elementFormDefault="qualified" targetNamespace="{NAMESPACE}">
   <xsd:complexType name="CalloutField">
    <xsd:sequence>
     <xsd:element name="name" type="xsd:string"/>
     <xsd:element name="value" type="xsd:string" minOccurs="0" nillable="true"/>
    </xsd:sequence>
   </xsd:complexType>
   <xsd:complexType name="CalloutRecord">
    <xsd:sequence>
     <xsd:element name="recordId" type="xsd:string"/>
     <xsd:element name="id" type="xsd:string"/>
     <xsd:element name="fields" type="tns:CalloutField" minOccurs="0" maxOccurs="unbounded"/>
    </xsd:sequence>
   </xsd:complexType>
   <xsd:complexType name="CalloutAccepted">
    <xsd:sequence>
     <xsd:element name="recordId" type="xsd:string"/>
     <xsd:element name="id" type="xsd:string"/>
     <xsd:element name="workflowId" type="xsd:string"/>
    </xsd:sequence>
   </xsd:complexType>
   <xsd:element name="submit">
    <xsd:complexType>
     <xsd:sequence>
      <xsd:element name="org" type="xsd:string"/>
      <xsd:element name="records" type="tns:CalloutRecord" maxOccurs="unbounded"/>
     </xsd:sequence>
    </xsd:complexType>
   </xsd:element>
   <xsd:element name="submitResponse">
    <xsd:complexType>
     <xsd:sequence>
      <xsd:element name="accepted" type="tns:CalloutAccepted" maxOccurs="unbounded"/>
     </xsd:sequence>
    </xsd:complexType>
   </xsd:element>
  </xsd:schema>
 </types>
 <message name="submitRequest">
  <part name="parameters" element="tns:submit"/>
 </message>
 <message name="submitResponse">
  <part name="parameters" element="tns:submitResponse"/>
 </message>
 <portType name="CalloutPortType">
  <operation name="submit">
   <input message="tns:submitRequest"/>
   <output message="tns:submitResponse"/>
  </operation>
 </portType>
 <binding name="CalloutBinding" type="tns:CalloutPortType">
  <soap:binding style="document" transport="http://schemas.xmlsoap.org/soap/http"/>
  <operation name="submit">
   <soap:operation soapAction=""/>
   <input><soap:body use="literal"/></input>
   <output><soap:body use="literal"/></output>
  </operation>
 </binding>
 <service name="CalloutService">
  <port name="CalloutPort" binding="tns:CalloutBinding">
   <soap:address location="{{endpoint}}"/>
  </port>
 </service>
</definitions>
"""
