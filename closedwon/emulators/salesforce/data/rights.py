"""What a user may do: with objects, fields and events. Errors are those of a real org.

A user does not see what it may not read: for its queries, an object or a field without the right does not exist.
Source: REST API Developer Guide, "Status Codes and Error Responses"; Object Reference, "API Field Properties"; Help,
"Field-Level Security": required and system fields follow the object, and line items follow their Opportunity.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from closedwon.emulators.salesforce.config import PermissionSet, Rights
from closedwon.emulators.salesforce.data.schema import FLOW_VIEW, SObject
from closedwon.emulators.salesforce.errors import ApiError

_OPEN = frozenset({"User", "Organization", FLOW_VIEW})
"""Objects that every user of the API may read here."""
_FOLLOWS = {"OpportunityLineItem": "Opportunity", "PricebookEntry": "Product2"}
_ADDRESS = "Billing"
_WITHOUT_PERMISSIONS = {
    "": frozenset({"Name", "OwnerId", "CurrencyIsoCode"}),
    "OpportunityLineItem": frozenset({"PricebookEntryId", "Product2Id", "UnitPrice", "Quantity", "ProductCode"}),
    "PricebookEntry": frozenset({"IsActive"}),
    "Product2": frozenset({"IsActive"}),
}
"""Fields that follow their object, beside required and system fields; those of "" on every object."""
_WITH_PERMISSIONS = frozenset({"OpportunityLineItem.TotalPrice", "OpportunityLineItem.ListPrice"})


@dataclass(frozen=True)
class UserReader:
    """A user as the reader of queries (`soql_sql.Reader`)."""

    rights: RightsOfUsers
    user: str

    def sees_object(self, owner: SObject) -> bool:
        """Whether the user may read records of an object."""
        return self.rights.may_read(owner, self.user)

    def sees_field(self, owner: SObject, name: str) -> bool:
        """Whether the user may read a field."""
        return self.rights.sees_field(owner, name, self.user)


class RightsOfUsers(NamedTuple):
    """The rights of the org's two users. `granted` are the permission sets of the integration user."""

    rights: Rights = Rights()
    integration_user: str = ""
    sales_user: str = ""
    granted: tuple[PermissionSet, ...] = ()

    def reader(self, user: str) -> UserReader:
        """The user as a reader of queries."""
        return UserReader(self, user)

    # Objects and events

    def may_read(self, owner: SObject, user: str) -> bool:
        """Whether a user may read records of an object, or subscribe to an event."""
        return owner.name in _OPEN or self._may("read", owner, user)

    def may_create(self, owner: SObject, user: str) -> bool:
        """Whether a user may create records of an object, or publish an event."""
        if owner.is_event and user == self.sales_user:
            return self.rights.salesperson_publishes
        return self._may("create", owner, user)

    def may_edit_records(self, owner: SObject, user: str) -> bool:
        """Whether a user may change records of an object."""
        return self._may("edit", owner, user)

    def require_create(self, owner: SObject, user: str) -> None:
        """Raise `ApiError` unless a user may create records of an object, or publish an event."""
        if not self.may_create(owner, user):
            raise ApiError("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", f"entity type cannot be inserted: {owner.name}")

    def require_delete(self, owner: SObject, user: str) -> None:
        """Raise `ApiError` unless a user may delete records of an object."""
        if not self._may("delete", owner, user):
            raise ApiError("INSUFFICIENT_ACCESS_OR_READONLY", "insufficient access rights on object id", fields=())

    def _may(self, right: str, owner: SObject, user: str) -> bool:
        if user != self.integration_user:
            return True
        name = _FOLLOWS.get(owner.name, owner.name)
        if not {owner.name, name}.isdisjoint(self.rights.hidden_objects):
            return False
        if right != "read" and not {owner.name, name}.isdisjoint(self.rights.read_only_objects):
            return False
        return not self.granted or any(right in one.objects.get(name, ()) for one in self.granted)

    # Fields

    def sees_field(self, owner: SObject, field: str, user: str) -> bool:
        """Whether a user may read a field of an object that it may read."""
        path = f"{owner.name}.{field}"
        if user != self.integration_user or owner.name in _OPEN:
            return True
        if path in self.rights.hidden_fields:
            return False
        return not self.granted or self._follows_its_object(owner, field) or self._editable(owner, field) is not None

    def may_edit(self, owner: SObject, field: str, user: str) -> bool:
        """Whether a user may edit a field."""
        if user != self.integration_user:
            return True
        if f"{owner.name}.{field}" in self.rights.read_only_fields or not self.sees_field(owner, field, user):
            return False
        if not self.may_edit_records(owner, user):
            return False
        return not self.granted or self._follows_its_object(owner, field) or self._editable(owner, field) is True

    def require_edit(self, owner: SObject, fields: Iterable[str], user: str) -> None:
        """Raise `ApiError` unless a user may edit records of an object, and all `fields` of them."""
        if not self.may_edit_records(owner, user):
            raise ApiError("INSUFFICIENT_ACCESS_OR_READONLY", "insufficient access rights on object id", fields=())
        lacking = tuple(field for field in fields if not self.may_edit(owner, field, user))
        if lacking:
            raise ApiError(
                "INVALID_FIELD_FOR_INSERT_UPDATE",
                f"Unable to create/update fields: {', '.join(lacking)}. Please check the security settings of this "
                "field and verify that it is read/write for your profile or permission set.",
                fields=lacking,
            )

    def _follows_its_object(self, owner: SObject, field: str) -> bool:
        """Whether no permission can be set on a field."""
        found = owner.find(field)
        if found is None or f"{owner.name}.{field}" in _WITH_PERMISSIONS:
            return False
        if found.required or not found.writable:
            return True
        return field in _WITHOUT_PERMISSIONS[""] or field in _WITHOUT_PERMISSIONS.get(owner.name, frozenset())

    def _editable(self, owner: SObject, field: str) -> bool | None:
        """Whether the permission sets make a field editable; None if it is not even readable."""
        names = {f"{owner.name}.{field}"}
        if owner.name == "Account" and field.startswith(_ADDRESS):
            names.add(f"{owner.name}.{_ADDRESS}Address")  # an address is one field
        found = [one.fields[name] for one in self.granted for name in names if name in one.fields]
        return any(found) if found else None

    # Others

    def require_limits(self) -> None:
        """Raise `ApiError` unless `/limits` is answered."""
        if not self.rights.reads_limits:
            raise ApiError("FUNCTIONALITY_NOT_ENABLED", "Functionality not enabled", status=403)

    def finds_deleted(self, user: str) -> bool:
        """Whether a user finds deleted records by `queryAll`."""
        return user != self.integration_user or self.rights.finds_deleted
