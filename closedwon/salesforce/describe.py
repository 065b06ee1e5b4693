"""What an org says of its objects: fields, their types, and where their relationships lead. Data only.

Source: REST API Developer Guide, "sObject Describe". Fields that our user may not see are left out by Salesforce.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Self

TEXTS: Final = frozenset({"string", "textarea", "url", "picklist", "combobox", "email", "phone", "encryptedstring"})
"""Field types that take a text."""


class Field(NamedTuple):
    """One field of an object, for our user."""

    name: str
    type: str = "string"
    length: int = 255
    """In characters; 0 where the type has none."""
    editable: bool = True
    relationship: str | None = None
    """What leads to the parent in a path: `Account` for `AccountId`."""
    targets: tuple[str, ...] = ()
    """Objects that a lookup may point to."""
    values: frozenset[str] = frozenset()
    """Of a restricted picklist: nothing else is taken."""

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Self:
        """Take one entry of `fields`."""
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
    """One object, for our user."""

    name: str
    fields: Mapping[str, Field]
    children: Mapping[str, str]
    """Child relationship -> child object: `OpportunityLineItems` -> `OpportunityLineItem`."""

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> Self:
        """Take the body of a describe. Raises `KeyError` or `TypeError` for anything else."""
        fields = [Field.read(entry) for entry in body["fields"]]
        children = {one["relationshipName"]: one["childSObject"] for one in body.get("childRelationships") or ()}
        return cls(
            name=body["name"],
            fields={one.name: one for one in fields},
            children={name: child for name, child in children.items() if name},
        )

    @property
    def parents(self) -> dict[str, Field]:
        """Relationship -> the lookup that it belongs to."""
        return {one.relationship: one for one in self.fields.values() if one.relationship}
