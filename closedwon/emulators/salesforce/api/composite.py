"""Many operations in one call: composite requests with references, and collections of up to 200 records.

Source: REST API Developer Guide, "Composite" and "sObject Collections". The status of a composite response is always
200; with allOrNone one failure rolls back the whole request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from closedwon.emulators.salesforce.api.calls import ApiRequest, ApiResponse, split_path
from closedwon.emulators.salesforce.api.upserts import Upserts
from closedwon.emulators.salesforce.data.records import Records
from closedwon.emulators.salesforce.data.schema import SObject
from closedwon.emulators.salesforce.errors import ApiError, not_found

_MAX_SUBREQUESTS, _MAX_QUERIES_AND_COLLECTIONS = 25, 5
_MAX_RECORDS, _MAX_RETRIEVED = 200, 2000
_REFERENCE_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_]*$")
_REFERENCE = re.compile(r"@\{([^}]*)\}")
_STEP = re.compile(r"([A-Za-z0-9_]+)|\[(\d+)\]")
_REFUSED_HEADERS = frozenset({"accept", "authorization", "content-type"})
_FIRST_FAILURE = 400
_ROLLED_BACK = "The transaction was rolled back since another operation in the same transaction failed."
_NOT_ALL_VALID = "Record rolled back because not all records were valid and the request was using AllOrNone header"


class _RollBack(Exception):  # noqa: N818 - not an error: it only leaves the transaction
    """Leaves a transaction so that it is undone."""


def _roll_back_unless(succeeded: bool) -> None:  # noqa: FBT001 - reads as a sentence
    if not succeeded:
        raise _RollBack


class Composite:
    """Handles `/composite` and `/composite/sobjects`."""

    def __init__(self, records: Records, dispatch: Callable[[ApiRequest], ApiResponse], upserts: Upserts) -> None:
        """`dispatch` runs one subrequest."""
        self._records = records
        self._upserts = upserts
        self._dispatch = dispatch

    # Composite requests

    def run(self, call: ApiRequest) -> ApiResponse:
        """`POST /composite`."""
        body = call.json()
        requests = _subrequests(body)
        all_or_none = body.get("allOrNone") is True
        responses: list[dict[str, Any]] = []
        try:
            with self._records.transaction() if all_or_none else nullcontext():
                results: dict[str, Any] = {}
                for request in requests:
                    responses.append(self._subrequest(call, request, results))
                    if all_or_none:
                        _roll_back_unless(responses[-1]["httpStatusCode"] < _FIRST_FAILURE)
        except _RollBack:
            failed = len(responses) - 1
            halted = ApiError("PROCESSING_HALTED", _ROLLED_BACK)
            responses = [
                responses[failed] if index == failed else _response(request, ApiResponse(400, halted.rest_body()))
                for index, request in enumerate(requests)
            ]
        return ApiResponse(200, {"compositeResponse": responses})

    def _subrequest(self, call: ApiRequest, request: dict[str, Any], results: dict[str, Any]) -> dict[str, Any]:
        try:
            url = urlsplit(str(_resolved(request.get("url", ""), results)))
            version, path = split_path(unquote(url.path))
            body = _resolved(request.get("body"), results)
            inner = ApiRequest(
                method=str(request.get("method", "")).upper(),
                path=path,
                version=version,
                user=call.user,
                query=dict(parse_qsl(url.query, keep_blank_values=True)),
                headers=request.get("httpHeaders") or {},
                body=b"" if body is None else json.dumps(body).encode(),
            )
            answer = self._dispatch(inner)
        except ApiError as error:
            answer = ApiResponse(error.status, error.rest_body())
        if answer.status < _FIRST_FAILURE:
            results[str(request["referenceId"])] = answer.body
        return _response(request, answer)

    # Collections

    def create(self, call: ApiRequest) -> ApiResponse:
        """`POST /composite/sobjects`: records of any types, or events."""

        def one(record: dict[str, Any]) -> dict[str, Any]:
            return self._records.create_result(self._type_of(record), record, actor=call.user)

        return self._collection(call.json(), one)

    def update(self, call: ApiRequest) -> ApiResponse:
        """`PATCH /composite/sobjects`: records with their ids, in one transaction."""
        body = call.json()
        listed = body.get("records")
        together = len(listed) if isinstance(listed, list) else 1

        def one(record: dict[str, Any]) -> dict[str, Any]:
            fields = {name: value for name, value in record.items() if name.lower() != "id"}
            given = record.get("id", record.get("Id"))
            if not given:
                raise ApiError("MISSING_ARGUMENT", "Id not specified in an update call", fields=("Id",))
            owner = self._type_of(record)
            changed = self._records.update(owner, str(given), fields, actor=call.user, together=together)
            return {"id": changed, "success": True, "errors": []}

        return self._collection(body, one)

    def upsert(self, call: ApiRequest, name: str, field: str) -> ApiResponse:
        """`PATCH /composite/sobjects/<Object>/<field>`: records with the ids of another system."""
        return self._collection(call.json(), lambda record: self._upserts.one_of_many(call, name, field, record))

    def delete(self, call: ApiRequest) -> ApiResponse:
        """`DELETE /composite/sobjects?ids=`."""
        prefixes = {owner.prefix: owner for owner in self._records.schema.objects}

        def one(record: dict[str, Any]) -> dict[str, Any]:
            owner = prefixes.get(record["id"][:3])
            if owner is None:
                raise ApiError("MALFORMED_ID", "malformed id", fields=("Id",))
            return {"id": self._records.delete(owner, record["id"], actor=call.user), "success": True, "errors": []}

        ids = [one_id for one_id in call.query.get("ids", "").split(",") if one_id]
        all_or_none = call.query.get("allOrNone", "false").lower() == "true"
        return self._collection({"records": [{"id": one_id} for one_id in ids], "allOrNone": all_or_none}, one)

    def retrieve(self, call: ApiRequest, name: str) -> ApiResponse:
        """`GET` or `POST /composite/sobjects/<Object>`: records by id, null for those that do not exist."""
        owner = self._records.schema.find(name)
        if owner is None or owner.is_event or not self._records.rights.may_read(owner, call.user):
            raise not_found()
        body = call.json() if call.method == "POST" else call.query
        ids, fields = (_listed(body.get(key)) for key in ("ids", "fields"))
        if len(ids) > _MAX_RETRIEVED:
            raise ApiError("EXCEEDED_ID_LIMIT", f"at most {_MAX_RETRIEVED} records can be retrieved in one call")
        if not ids or not fields:
            raise ApiError("MISSING_ARGUMENT", "ids and fields must be given")
        return ApiResponse(200, [self._record_or_none(owner, one_id, fields, call) for one_id in ids])

    def _record_or_none(
        self, owner: SObject, record: str, fields: list[str], call: ApiRequest
    ) -> dict[str, Any] | None:
        reader = self._records.rights.reader(call.user)
        try:
            return self._records.retrieve(owner, record, fields, base=call.base, reader=reader)
        except ApiError as error:
            if error.code == "NOT_FOUND":
                return None
            raise

    def _type_of(self, record: dict[str, Any]) -> SObject:
        attributes = record.get("attributes")
        name = attributes.get("type") if isinstance(attributes, dict) else None
        owner = self._records.schema.find(str(name)) if name else None
        if owner is None:
            raise ApiError("INVALID_TYPE", f"sObject type '{name}' is not supported.")
        return owner

    def _collection(self, body: dict[str, Any], one: Callable[[dict[str, Any]], dict[str, Any]]) -> ApiResponse:
        """Run `one` for each record, each in a savepoint; with allOrNone all or nothing."""
        records = body.get("records")
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise ApiError("JSON_PARSER_ERROR", "records must be a list of objects")
        if len(records) > _MAX_RECORDS:
            raise ApiError(
                "EXCEEDED_ID_LIMIT",
                f"record limit reached. cannot submit more than {_MAX_RECORDS} records in this call",
            )
        results: list[dict[str, Any]] = []
        try:
            with self._records.transaction():
                results = [self._one_result(record, one) for record in records]
                if body.get("allOrNone") is True:
                    _roll_back_unless(all(result["success"] for result in results))
        except _RollBack:
            rolled_back = ApiError("ALL_OR_NONE_OPERATION_ROLLED_BACK", _NOT_ALL_VALID).save_result()
            results = [rolled_back if result["success"] else result for result in results]
        return ApiResponse(200, results)

    def _one_result(self, record: dict[str, Any], one: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
        try:
            savepoint: AbstractContextManager[None] = self._records.transaction()
            with savepoint:
                return one(record)
        except ApiError as error:
            return error.save_result()


def _subrequests(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The subrequests. Raises `ApiError` if the whole composite request is invalid."""
    requests = body.get("compositeRequest")
    if not isinstance(requests, list) or not all(isinstance(request, dict) for request in requests):
        raise ApiError("JSON_PARSER_ERROR", "compositeRequest must be a list of subrequests")
    if not requests or len(requests) > _MAX_SUBREQUESTS:
        raise ApiError("LIMIT_EXCEEDED", f"A composite request has 1 to {_MAX_SUBREQUESTS} subrequests")
    heavy = sum("/query" in str(one.get("url")) or "/composite/sobjects" in str(one.get("url")) for one in requests)
    if heavy > _MAX_QUERIES_AND_COLLECTIONS:
        raise ApiError("LIMIT_EXCEEDED", f"At most {_MAX_QUERIES_AND_COLLECTIONS} queries and collections are allowed")
    seen: set[str] = set()
    for request in requests:
        reference = str(request.get("referenceId"))
        if not _REFERENCE_ID.match(reference) or reference in seen:
            raise ApiError("JSON_PARSER_ERROR", f"Provided referenceId ('{reference[:80]}') is invalid or not unique")
        seen.add(reference)
        if _REFUSED_HEADERS.intersection(name.lower() for name in request.get("httpHeaders") or {}):
            raise ApiError("JSON_PARSER_ERROR", "Accept, Authorization and Content-Type may not be set in a subrequest")
    return requests


def _response(request: dict[str, Any], answer: ApiResponse) -> dict[str, Any]:
    return {
        "body": answer.body,
        "httpHeaders": dict(answer.headers),
        "httpStatusCode": answer.status,
        "referenceId": request["referenceId"],
    }


def _resolved(value: Any, results: dict[str, Any]) -> Any:
    """`value` with every `@{ref.path}` replaced. A reference without a value halts the subrequest."""
    if isinstance(value, dict):
        return {key: _resolved(inner, results) for key, inner in value.items()}
    if isinstance(value, list):
        return [_resolved(inner, results) for inner in value]
    if not isinstance(value, str):
        return value
    return _REFERENCE.sub(lambda match: str(_referred(match.group(1), results)), value)


def _referred(expression: str, results: dict[str, Any]) -> Any:
    reference, _, path = expression.partition(".")
    value: Any = results.get(reference)
    for name, index in _STEP.findall(path):
        try:
            value = value[int(index)] if index else value[name]
        except (KeyError, IndexError, TypeError):
            value = None
            break
    if value is None or isinstance(value, dict | list):
        message = f"Invalid reference specified. No value for {path} found in {reference}"
        raise ApiError("PROCESSING_HALTED", message)
    return value


def _listed(value: Any) -> list[str]:
    items = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
    return [str(item).strip() for item in items if str(item).strip()]
