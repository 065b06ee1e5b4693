"""Avro schemas of platform events, and their payloads as single records without a container.

A schema is a record of `CreatedDate`, `CreatedById` and the event's fields, each of them a union with null; times are
milliseconds since 1970. Source: Platform Events guide, "Event Schema"; Pub/Sub API guide, "Event Deserialization".
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from datetime import UTC, datetime
from typing import Any

import fastavro

from closedwon.emulators.salesforce.clock import event_time
from closedwon.emulators.salesforce.data.schema import NUMBERS, FieldType, SField, SObject

_BROKEN = b"\xff\xff\xff"
"""A payload that no schema fits: Salesforce does not check what is published."""


def schema_of(event: SObject, *, version: int = 0) -> dict[str, Any]:
    """Return the schema of an event. A later `version` of a definition has so many fields more."""
    fields: list[dict[str, Any]] = [
        {"name": "CreatedDate", "type": "long", "doc": "CreatedDate:DateTime"},
        {"name": "CreatedById", "type": "string", "doc": "CreatedBy:EntityId"},
        *({"name": f"Added_{number}__c", **_optional("string", "Data:Text")} for number in range(version)),
        *({"name": one.name, **_optional(*_type(one))} for one in event.fields),
    ]
    return {"name": event.name, "namespace": "com.sforce.eventbus", "type": "record", "fields": fields}


def id_of(schema: dict[str, Any]) -> str:
    """Return 22 characters of URL-safe base64, which change with the definition."""
    digest = hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).digest()
    return base64.urlsafe_b64encode(digest[:16]).decode().rstrip("=")


def encode(schema: dict[str, Any], payload: Any) -> bytes:
    """Encode the fields of an event as CometD delivers them. What does not fit the schema becomes broken bytes."""
    buffer = io.BytesIO()
    try:
        record = {one["name"]: _to_avro(one, payload.get(one["name"])) for one in schema["fields"]}
        fastavro.schemaless_writer(buffer, fastavro.parse_schema(schema), record)
    except (ValueError, TypeError, AttributeError, KeyError):
        return _BROKEN
    return buffer.getvalue()


def decode(schema: dict[str, Any], payload: bytes) -> dict[str, Any]:
    """Decode a payload into the fields of an event as CometD delivers them. Raises `ValueError`."""
    try:
        record = fastavro.schemaless_reader(io.BytesIO(payload), fastavro.parse_schema(schema), None)
    except (EOFError, IndexError, UnicodeDecodeError) as error:
        raise ValueError("the payload does not fit the schema") from error
    assert isinstance(record, dict)
    times = {one["name"] for one in schema["fields"] if one["doc"].endswith((":DateTime", ":Date"))}
    return {name: event_time(value) if name in times and value is not None else value for name, value in record.items()}


def _optional(kind: str, doc: str) -> dict[str, Any]:
    return {"type": ["null", kind], "default": None, "doc": doc}


def _type(one: SField) -> tuple[str, str]:
    if one.type in NUMBERS:
        return "double", "Data:Double"
    if one.type is FieldType.BOOLEAN:
        return "boolean", "Data:Boolean"
    if one.type in {FieldType.DATE, FieldType.DATETIME}:
        return "long", "Data:DateTime" if one.type is FieldType.DATETIME else "Data:Date"
    return "string", "Data:Text"


def _to_avro(field: dict[str, Any], value: Any) -> Any:
    is_time = field["doc"].endswith((":DateTime", ":Date"))
    if is_time and isinstance(value, str):
        moment = datetime.fromisoformat(value)
        return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    return value
