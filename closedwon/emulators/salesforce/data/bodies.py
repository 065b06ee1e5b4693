"""Checks a caller's record id and fields against the schema. Writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from closedwon.emulators.salesforce.data.schema import SField, SObject
from closedwon.emulators.salesforce.data.store import Row
from closedwon.emulators.salesforce.data.values import to_stored
from closedwon.emulators.salesforce.errors import ApiError
from closedwon.ids import InvalidIdError, RecordId


def checked(owner: SObject, body: Mapping[str, Any], exists: Callable[[str, str], bool], *, is_new: bool = True) -> Row:
    """The body's fields as stored values. Raises `ApiError` for the first bad one.

    `exists` returns whether a record exists, by object and id.
    """
    values: Row = {}
    for name, value in body.items():
        if name == "attributes":
            continue
        one = column(owner, name)
        if not one.writable or (one.fixed and not is_new):
            raise ApiError(
                "INVALID_FIELD_FOR_INSERT_UPDATE",
                f"Unable to create/update fields: {one.name}. Please check the security settings of this field "
                "and verify that it is read/write for your profile or permission set.",
                fields=(one.name,),
            )
        values[one.name] = to_stored(one, value)
        target = values[one.name]
        if one.refers_to and target is not None and not exists(one.refers_to, str(target)):
            raise ApiError("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", fields=(one.name,))
    return values


def key_of(record: str) -> RecordId:
    """The 18 characters of an id. Raises MALFORMED_ID."""
    try:
        return RecordId(record)
    except InvalidIdError:
        raise ApiError("MALFORMED_ID", f"malformed id {record[:40]}", fields=("Id",)) from None


def column(owner: SObject, name: str) -> SField:
    """The field called `name`, in any case. Raises INVALID_FIELD."""
    found = owner.find(name)
    if found is None:
        raise no_column(owner, name)
    return found


def no_column(owner: SObject, name: str) -> ApiError:
    """The refusal of a field that does not exist, or that the user may not see."""
    return ApiError("INVALID_FIELD", f"No such column '{name[:80]}' on sobject of type {owner.name}")


def missing_fields(names: list[str]) -> ApiError:
    """The refusal of a record without required fields."""
    listed = ", ".join(names)
    return ApiError("REQUIRED_FIELD_MISSING", f"Required fields are missing: [{listed}]", fields=tuple(names))
