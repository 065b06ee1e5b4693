"""Decodes events: Avro bytes and a schema in, an `Event` in the form of CometD out. No I/O here.

An event of the Pub/Sub API gets the same fields as one of CometD, so everything after the stream is the same: times
become texts (ISO 8601), and the id of the event and its position are in `event`. What cannot be decoded is an event,
too, without a payload; it carries its bytes in base64.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import fastavro

from closedwon.pubsub_api import eventbus_pb2 as pb
from closedwon.salesforce.bus.events import Event, parse_event
from closedwon.salesforce.bus.pubsub import positions

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SHORTEST_MILLISECONDS: Final = 10**11
"""A smaller number is in seconds: some publishers write `CreatedDate` so. As milliseconds it is March 1973."""


class Schema:
    """A parsed Avro schema of an event."""

    def __init__(self, text: str) -> None:
        """Parse the JSON of a schema. Raises `ValueError`."""
        try:
            definition = json.loads(text)
            self._schema = fastavro.parse_schema(definition)
            self._convert = {one["name"]: how for one in definition["fields"] if (how := _conversion(one)) is not None}
        except Exception as error:  # fastavro raises many types
            raise ValueError(f"the schema is not a record in Avro's form ({type(error).__name__})") from error

    def decode(self, payload: bytes) -> dict[str, Any]:
        """Return the fields of an event. Raises `ValueError` if the payload does not fit the schema."""
        buffer = io.BytesIO(payload)
        try:
            record = fastavro.schemaless_reader(buffer, self._schema, None)
            assert isinstance(record, dict)
            fields = {name: self._converted(name, value) for name, value in record.items()}
        except Exception as error:  # any bytes may come: Salesforce does not check what is published
            raise ValueError(f"the payload does not fit the schema ({type(error).__name__})") from error
        if buffer.read(1):
            raise ValueError("the payload is longer than its schema says")
        return fields

    def _converted(self, name: str, value: Any) -> Any:
        convert = self._convert.get(name)
        return value if convert is None or value is None else convert(value)


def to_event(channel: str, consumed: pb.ConsumerEvent, schemas: Mapping[str, Schema]) -> Event:
    """Return the event. `schemas` has its schema by id, if there is one."""
    produced = consumed.event
    about = {"EventUuid": produced.id, "replayId": positions.to_text(consumed.replay_id)}
    raw: dict[str, Any] = {"schema": produced.schema_id, "event": about}
    schema = schemas.get(produced.schema_id)
    problem = "Salesforce does not know its schema"
    if schema is not None:
        try:
            return parse_event(channel, raw | {"payload": schema.decode(produced.payload)})
        except ValueError as error:
            problem = str(error)
    return parse_event(channel, raw | {"undecodable": problem, "bytes": base64.b64encode(produced.payload).decode()})


def _conversion(field: Mapping[str, Any]) -> Callable[[Any], Any] | None:
    """How a field's value becomes that of CometD: its `doc` names the type, as in `Data:DateTime`."""
    kind = str(field.get("doc", "")).split(":")[1:2]
    return {"DateTime": _time, "Date": _date}.get(kind[0]) if kind else None


def _moment(value: float) -> datetime:
    milliseconds = value if abs(value) >= _SHORTEST_MILLISECONDS else value * 1000
    return _EPOCH + timedelta(milliseconds=milliseconds)


def _time(value: Any) -> Any:
    return _moment(value).isoformat(timespec="milliseconds").replace("+00:00", "Z") if isinstance(value, int) else value


def _date(value: Any) -> Any:
    return (_EPOCH + timedelta(milliseconds=value)).date().isoformat() if isinstance(value, int) else value
