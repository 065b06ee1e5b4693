"""Field values: conversion from JSON to SQLite's values and back, with Salesforce's errors for invalid values.

Stored as: texts and ids TEXT, numbers REAL, booleans 0/1, dates ISO text, date-times integer milliseconds.
"""

from __future__ import annotations

import math
import re
from datetime import date, datetime
from typing import Any

from closedwon.emulators.salesforce.clock import rest_time
from closedwon.emulators.salesforce.data.schema import IDS, NUMBERS, TEXTS, FieldType, SField
from closedwon.emulators.salesforce.errors import ApiError
from closedwon.ids import InvalidIdError, RecordId

Stored = str | float | int | None
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_DATE_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


def column_type(one: SField) -> str:
    """The SQLite type of a field's column."""
    if one.type in NUMBERS:
        return "REAL"
    return "INTEGER" if one.type in (FieldType.BOOLEAN, FieldType.DATETIME) else "TEXT"


def to_stored(one: SField, value: Any) -> Stored:
    """Check and convert `value` from JSON. An empty text is null, as in REST. Raises `ApiError`."""
    if value is None or value == "":
        return None
    if one.type in IDS:
        return reference(one, value)
    if one.type in TEXTS:
        return _text(one, value)
    if one.type in NUMBERS:
        return _number(one, value)
    if one.type is FieldType.BOOLEAN:
        return _boolean(one, value)
    return _date(one, value) if one.type is FieldType.DATE else _date_time(one, value)


def to_json(one: SField, value: Stored) -> Any:
    """A stored value in REST's form."""
    if value is None:
        return False if one.type is FieldType.BOOLEAN else None
    if one.type is FieldType.BOOLEAN:
        return bool(value)
    if one.type is FieldType.DATETIME:
        return rest_time(int(value))
    return value


def reference(one: SField, value: Any) -> RecordId:
    """An id of either length as 18 characters. Raises MALFORMED_ID."""
    try:
        return RecordId(value)
    except InvalidIdError:
        label = one.label or one.name.removesuffix("Id") or one.name
        raise ApiError(
            "MALFORMED_ID", f"{label} ID: id value of incorrect type: {str(value)[:40]}", fields=(one.name,)
        ) from None


def parse_date_time(text: str) -> int:
    """Milliseconds of an ISO date-time; a missing zone means UTC. Raises `ValueError`."""
    if not _DATE_TIME.match(text):
        raise ValueError(text)
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = datetime.fromisoformat(text + "+00:00")
    return round(moment.timestamp() * 1000)


def _cannot_read(one: SField, kind: str, value: Any) -> ApiError:
    token = "VALUE_STRING" if isinstance(value, str) else "VALUE"
    return ApiError(
        "JSON_PARSER_ERROR",
        f"Cannot deserialize instance of {kind} from {token} value or request may be missing a required field: "
        f"{one.name}",
    )


def _text(one: SField, value: Any) -> str:
    text = value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    if isinstance(value, dict | list) or _LONE_SURROGATE.search(text):  # half a character is not valid text
        raise _cannot_read(one, "string", value)
    label = one.label or one.name
    if one.values and text not in one.values:
        raise ApiError(
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            f"{label}: bad value for restricted picklist field: {text[:80]}",
            fields=(one.name,),
        )
    if len(text) > one.length:
        raise ApiError(
            "STRING_TOO_LONG",
            f"{label}: data value too large: {text[:80]} (max length={one.length})",
            fields=(one.name,),
        )
    return text


def _number(one: SField, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _cannot_read(one, "double", value)
    try:
        number = float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise _cannot_read(one, "double", value)
    return number


def _boolean(one: SField, value: Any) -> int:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str) and value.lower() in {"true", "false"}:
        return int(value.lower() == "true")
    raise _cannot_read(one, "boolean", value)


def _date(one: SField, value: Any) -> str:
    if not isinstance(value, str):
        raise _cannot_read(one, "date", value)
    try:
        return date.fromisoformat(value[:10]).isoformat()
    except ValueError:
        raise _cannot_read(one, "date", value) from None


def _date_time(one: SField, value: Any) -> int:
    if not isinstance(value, str):
        raise _cannot_read(one, "datetime", value)
    try:
        return parse_date_time(value)
    except ValueError:
        raise _cannot_read(one, "datetime", value) from None
