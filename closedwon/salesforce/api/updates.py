"""One sObject collection: the body of the call that updates many records, and what its response says of each.

Source: REST API Developer Guide, "Update Multiple Records with Fewer Round-Trips": a list of SaveResult objects, one
for each record, in the order of the request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

from closedwon.ids import RecordId
from closedwon.salesforce.errors import Refusal, UnavailableError, classify

Fields = Mapping[str, str | int | float | bool | None]


class Update(NamedTuple):
    """The fields to set of one record."""

    record_id: RecordId
    fields: Fields


def body_of(object_name: str, updates: Sequence[Update]) -> dict[str, Any]:
    """The body of the call; a record that is refused leaves the others as they are."""
    records = [{"attributes": {"type": object_name}, "id": update.record_id, **update.fields} for update in updates]
    return {"allOrNone": False, "records": records}


def outcomes(updates: Sequence[Update], results: Any) -> list[Exception | None]:
    """What became of each update: None if it was made. Raises `UnavailableError` if the response does not fit."""
    if not isinstance(results, list) or len(results) != len(updates):
        raise UnavailableError("Salesforce responded to an sObject collection without one result per record")
    if not all(_is_about(update, result) for update, result in zip(updates, results, strict=True)):
        raise UnavailableError("Salesforce responded to an sObject collection with results in another order")
    return [_outcome(result) for result in results]


def _is_about(update: Update, result: Any) -> bool:
    """Whether a result can belong to an update. The result of a failure may lack the record's id."""
    named = result.get("id") if isinstance(result, dict) else None
    return named is None or str(named)[: len(update.record_id.short)] == update.record_id.short


def _outcome(result: Any) -> Exception | None:
    """Read one SaveResult: {id, success, errors: [{statusCode, message, fields}]}."""
    if isinstance(result, dict) and result.get("success"):
        return None
    errors = result.get("errors") if isinstance(result, dict) else None
    return classify(Refusal.read(HTTPStatus.BAD_REQUEST, errors))
