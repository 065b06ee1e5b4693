"""What a user may not do: publish an event, edit a field, find deleted records. Errors are those of a real org.

Source: REST API Developer Guide, "Status Codes and Error Responses"; Object Reference, "API Field Properties".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from closedwon.emulators.salesforce.config import Rights
from closedwon.emulators.salesforce.data.schema import SObject
from closedwon.emulators.salesforce.errors import ApiError


class RightsOfUsers(NamedTuple):
    """The rights of the org's two users."""

    rights: Rights = Rights()
    integration_user: str = ""
    sales_user: str = ""

    def may_create(self, owner: SObject, user: str) -> bool:
        """Whether a user may create records of an object, or publish an event."""
        return not owner.is_event or user != self.sales_user or self.rights.salesperson_publishes

    def require_create(self, owner: SObject, user: str) -> None:
        """Raise `ApiError` unless a user may create records of an object, or publish an event."""
        if not self.may_create(owner, user):
            raise ApiError("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", f"entity type cannot be inserted: {owner.name}")

    def may_edit(self, owner: SObject, field: str, user: str) -> bool:
        """Whether a user may edit a field."""
        return user != self.integration_user or f"{owner.name}.{field}" not in self.rights.read_only_fields

    def require_edit(self, owner: SObject, fields: Iterable[str], user: str) -> None:
        """Raise `ApiError` unless a user may edit all `fields`."""
        lacking = tuple(field for field in fields if not self.may_edit(owner, field, user))
        if lacking:
            raise ApiError(
                "INVALID_FIELD_FOR_INSERT_UPDATE",
                f"Unable to create/update fields: {', '.join(lacking)}. Please check the security settings of this "
                "field and verify that it is read/write for your profile or permission set.",
                fields=lacking,
            )

    def require_limits(self) -> None:
        """Raise `ApiError` unless `/limits` is answered."""
        if not self.rights.reads_limits:
            raise ApiError("FUNCTIONALITY_NOT_ENABLED", "Functionality not enabled", status=403)

    def finds_deleted(self, user: str) -> bool:
        """Whether a user finds deleted records by `queryAll`."""
        return user != self.integration_user or self.rights.finds_deleted
