"""Records by the id of another system: `/sobjects/<Object>/<field>/<value>`, and collections with such ids.

Source: REST API Developer Guide, "sObject Rows by External ID" and "Upsert Records Using sObject Collections".
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from closedwon.emulators.salesforce.api.calls import ApiRequest, ApiResponse
from closedwon.emulators.salesforce.data.records import Records
from closedwon.emulators.salesforce.data.schema import SObject
from closedwon.emulators.salesforce.errors import ApiError, not_found
from closedwon.ids import RecordId

_FIRST_WITH_BODY = 46
"""Before, an upsert that changes a record has no body."""


class SeveralRecordsError(Exception):
    """Several records have the external id: HTTP 300 with their URLs."""

    def __init__(self, urls: list[str]) -> None:
        """`urls` are those of the records."""
        super().__init__(f"{len(urls)} records")
        self.urls = urls


class Upserts:
    """Reads, creates, changes and deletes records by external ids."""

    def __init__(self, records: Records) -> None:
        """Work on `records`."""
        self._records = records

    def read(self, call: ApiRequest, name: str, field: str, value: str) -> ApiResponse:
        """`GET`: the record."""
        owner = self._object(name)
        wanted = call.query.get("fields")
        record = self._only(owner, field, value, call.base)
        if record is None:
            raise not_found()
        fields = wanted.split(",") if wanted else None
        reader = self._records.rights.reader(call.user)
        return ApiResponse(200, self._records.retrieve(owner, record, fields, base=call.base, reader=reader))

    def write(self, call: ApiRequest, name: str, field: str, value: str) -> ApiResponse:
        """`PATCH`: change the record, or create it (201)."""
        owner, body = self._object(name), call.json()
        found = owner.find(field)
        if found is not None and found.external and any(key.lower() == found.name.lower() for key in body):
            message = f"The {found.name} field should not be specified in the sobject data."
            raise ApiError("INVALID_FIELD", message, fields=(found.name,))
        result = self._upsert(owner, field, value, body, call)
        if not result["created"] and float(call.version) < _FIRST_WITH_BODY:
            return ApiResponse(204)
        location = {"Location": f"{call.base}/sobjects/{owner.name}/{result['id']}"} if result["created"] else {}
        return ApiResponse(201 if result["created"] else 200, result, location)

    def create(self, call: ApiRequest, name: str, field: str) -> ApiResponse:
        """`POST .../Id`: create a record, as without the field."""
        if field.lower() != "id":
            raise ApiError("METHOD_NOT_ALLOWED", "HTTP Method 'POST' not allowed. Allowed are HEAD,GET,PATCH,DELETE")
        created = self._records.create_result(self._object(name), call.json(), actor=call.user)
        return ApiResponse(201, {**created, "created": True})

    def delete(self, call: ApiRequest, name: str, field: str, value: str) -> ApiResponse:
        """`DELETE`: move the record to the recycle bin."""
        owner = self._object(name)
        record = self._only(owner, field, value, call.base)
        if record is None:
            raise not_found()
        self._records.delete(owner, record, actor=call.user)
        return ApiResponse(204)

    def one_of_many(self, call: ApiRequest, name: str, field: str, record: dict[str, Any]) -> dict[str, Any]:
        """The result of one record of `PATCH /composite/sobjects/<Object>/<field>`."""
        owner = self._object(name)
        given = {key: value for key, value in record.items() if key.lower() == field.lower()}
        rest = {key: value for key, value in record.items() if key not in given}
        value = next(iter(given.values()), None)
        if value in (None, "") and field.lower() != "id":
            raise ApiError("MISSING_ARGUMENT", f"{field} not specified", fields=())
        try:
            return self._upsert(owner, field, str(value or ""), rest, call)
        except SeveralRecordsError as several:
            message = f"{field}: more than one record found for external id field: {several.urls}"
            raise ApiError("DUPLICATE_EXTERNAL_ID", message, fields=()) from None

    def _upsert(self, owner: SObject, field: str, value: str, body: dict[str, Any], call: ApiRequest) -> dict[str, Any]:
        record = self._only(owner, field, value, call.base) if value else None
        if record is not None:
            self._records.update(owner, record, body, actor=call.user)
            return {"id": record, "success": True, "errors": [], "created": False}
        if field.lower() == "id" and value:
            raise not_found()
        named = {} if field.lower() == "id" else {field: value}
        created = self._records.create(owner, {**body, **named}, actor=call.user)
        return {"id": created, "success": True, "errors": [], "created": True}

    def _only(self, owner: SObject, field: str, value: str, base: str) -> RecordId | None:
        found = self._records.with_external_id(owner, field, value)
        if len(found) > 1:
            raise SeveralRecordsError([f"{base}/sobjects/{owner.name}/{quote(one)}" for one in found])
        return found[0] if found else None

    def _object(self, name: str) -> SObject:
        found = self._records.schema.find(name)
        if found is None or found.is_event:
            raise not_found()
        return found
