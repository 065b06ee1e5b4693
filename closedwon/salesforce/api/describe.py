"""The description of an object: its fields, their types, and the targets of its relationships. Data only.

Source: REST API Developer Guide, "sObject Describe". Salesforce omits fields that the integration user may not see.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Self

TEXTS: Final = frozenset({"string", "textarea", "url", "picklist", "combobox", "email", "phone", "encryptedstring"})
"""Field types that accept any text."""


class Field(NamedTuple):
    """One field of an object, as the integration user sees it."""

    name: str
    type: str = "string"
    length: int = 255
    """In characters; 0 where the type has none."""
    editable: bool = True
    relationship: str | None = None
    """The name of the parent in a path: `Account` for `AccountId`."""
    targets: tuple[str, ...] = ()
    """Objects that a lookup may refer to."""
    values: frozenset[str] = frozenset()
    """The values of a restricted picklist: it accepts no others."""

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Self:
        """Read one entry of `fields`."""
        is_restricted = entry.get("restrictedPicklist") and entry.get("picklistValues")
        return cls(
            name=entry["name"],
            type=entry.get("type") or "string",
            length=entry.get("length") or 0,
            editable=bool(entry["updateable"]),
            relationship=entry.get("relationshipName"),
            targets=tuple(entry.get("referenceTo") or ()),
            values=frozenset(each["value"] for each in entry["picklistValues"]) if is_restricted else frozenset(),
        )


class Description(NamedTuple):
    """One object, as the integration user sees it."""

    name: str
    fields: Mapping[str, Field]
    children: Mapping[str, str]
    """Child relationship -> child object: `OpportunityLineItems` -> `OpportunityLineItem`."""
    key_prefix: str | None = None
    """The first characters of its records' ids; None if the org does not state them."""

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> Self:
        """Read the body of a describe response. Raises `KeyError` or `TypeError` for anything else."""
        fields = [Field.read(entry) for entry in body["fields"]]
        children = {one["relationshipName"]: one["childSObject"] for one in body.get("childRelationships") or ()}
        return cls(
            name=body["name"],
            fields={one.name: one for one in fields},
            children={name: child for name, child in children.items() if name},
            key_prefix=body.get("keyPrefix"),
        )

    @property
    def parents(self) -> dict[str, Field]:
        """Relationship -> the lookup that it belongs to."""
        return {one.relationship: one for one in self.fields.values() if one.relationship}
