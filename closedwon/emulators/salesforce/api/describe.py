"""The responses of `describe` and `describe global`. Source: REST API Developer Guide, "sObject Describe"."""

from __future__ import annotations

from typing import Any

from closedwon.emulators.salesforce.data.rights import RightsOfUsers
from closedwon.emulators.salesforce.data.schema import Schema, SField, SObject


def describe_global(schema: Schema, base: str, rights: RightsOfUsers, user: str) -> dict[str, Any]:
    """The body of `/sobjects`: the objects and events that `user` may read."""
    listed = [_summary(one, base) for one in schema.objects + schema.events if rights.may_read(one, user)]
    return {"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": listed}


def describe_object(owner: SObject, base: str, rights: RightsOfUsers | None = None, user: str = "") -> dict[str, Any]:
    """The body of `/sobjects/<Object>/describe`, by the rights of `user`."""
    rights = rights or RightsOfUsers()
    children = [
        {"relationshipName": name, "childSObject": child, "field": lookup}
        for name, (child, lookup) in owner.children.items()
    ]
    fields = [describe_field(one) for one in owner.fields if rights.sees_field(owner, one.name, user)]
    for one in fields:
        one["updateable"] = one["updateable"] and rights.may_edit(owner, one["name"], user)
    summary = _summary(owner, base)
    summary["createable"] = summary["createable"] and rights.may_create(owner, user)
    summary["updateable"] = summary["updateable"] and rights.may_edit_records(owner, user)
    return {**summary, "fields": fields, "childRelationships": children}


def describe_field(one: SField) -> dict[str, Any]:
    """One entry of a describe's `fields`."""
    return {
        "name": one.name,
        "label": one.label or one.name,
        "type": one.type.value,
        "length": one.length,
        "custom": one.name.endswith("__c"),
        "nillable": not one.required,
        "createable": one.writable,
        "updateable": one.writable and not one.fixed,
        "externalId": one.external,
        "filterable": not one.is_long_text,
        "sortable": not one.is_long_text,
        "restrictedPicklist": bool(one.values),
        "picklistValues": [{"value": value, "label": value, "active": True} for value in one.values],
        "referenceTo": [one.refers_to] if one.refers_to else [],
        "relationshipName": one.relationship,
    }


def _summary(owner: SObject, base: str) -> dict[str, Any]:
    url = f"{base}/sobjects/{owner.name}"
    return {
        "name": owner.name,
        "label": owner.name,
        "keyPrefix": owner.prefix,
        "custom": owner.name.endswith(("__c", "__e")),
        "queryable": not owner.is_event,
        "createable": True,
        "updateable": not owner.is_event,
        "urls": {"sobject": url, "describe": f"{url}/describe", "rowTemplate": f"{url}/{{ID}}"},
    }
