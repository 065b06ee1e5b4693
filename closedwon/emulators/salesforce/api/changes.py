"""What was changed or deleted in a span: `/sobjects/<Object>/updated` and `/sobjects/<Object>/deleted`.

Source: REST API Developer Guide, "sObject Get Updated" and "sObject Get Deleted". Times are in the org's clock.
"""

from __future__ import annotations

from datetime import timedelta

from closedwon.emulators.salesforce.api.calls import ApiRequest, ApiResponse
from closedwon.emulators.salesforce.clock import rest_time
from closedwon.emulators.salesforce.data.records import Records
from closedwon.emulators.salesforce.data.values import parse_date_time
from closedwon.emulators.salesforce.errors import ApiError, not_found

_LONGEST_MS = timedelta(days=30) // timedelta(milliseconds=1)


def updated(records: Records, call: ApiRequest, name: str) -> ApiResponse:
    """`GET .../updated?start=&end=`: ids of records that were created or changed."""
    rows, end = _changed(records, call, name, deleted=False)
    return ApiResponse(200, {"ids": [one["Id"] for one in rows], "latestDateCovered": end})


def deleted(records: Records, call: ApiRequest, name: str) -> ApiResponse:
    """`GET .../deleted?start=&end=`: ids of records that were deleted, with the times."""
    rows, end = _changed(records, call, name, deleted=True)
    found = [{"id": one["Id"], "deletedDate": one["SystemModstamp"]} for one in rows]
    return ApiResponse(200, {"deletedRecords": found, "earliestDateAvailable": rest_time(0), "latestDateCovered": end})


def _changed(records: Records, call: ApiRequest, name: str, *, deleted: bool) -> tuple[list[dict[str, str]], str]:
    owner = records.schema.find(name)
    if owner is None or owner.is_event:
        raise not_found()
    start, end = (_time(call, key) for key in ("start", "end"))
    if end <= start:
        raise ApiError("INVALID_REPLICATION_DATE", "startDate should be before endDate")
    if end - start > _LONGEST_MS:
        raise ApiError("INVALID_REPLICATION_DATE", "the span between startDate and endDate is longer than 30 days")
    found = records.query(
        f"SELECT Id, SystemModstamp FROM {owner.name} WHERE IsDeleted = {str(deleted).lower()} AND "  # noqa: S608 - SOQL
        f"SystemModstamp >= {_literal(start)} AND SystemModstamp < {_literal(end)} ORDER BY SystemModstamp, Id",
        include_deleted=deleted,
        reader=records.rights.reader(call.user),
    )
    assert isinstance(found, list), "a query of records"
    return found, rest_time(end)


def _time(call: ApiRequest, key: str) -> int:
    given = call.query.get(key, "").replace(" ", "+")  # a raw + in a URL arrives as a space
    try:
        return parse_date_time(given)
    except ValueError:
        raise ApiError("INVALID_REPLICATION_DATE", f"{key} must be a date and time in ISO 8601") from None


def _literal(milliseconds: int) -> str:
    return rest_time(milliseconds).removesuffix("+0000") + "Z"
