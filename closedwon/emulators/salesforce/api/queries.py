"""`/query`, `/queryAll` and their paging. A result is kept until 50 newer ones exist or the org stops.

Source: REST API Developer Guide, "Query"; at least 200 and at most 2 000 records a page (`Sforce-Query-Options`).
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any

from closedwon.emulators.salesforce.api.calls import ApiRequest, ApiResponse
from closedwon.emulators.salesforce.api.describe import describe_field
from closedwon.emulators.salesforce.data.records import Records
from closedwon.emulators.salesforce.data.soql import Column
from closedwon.emulators.salesforce.data.store import random_id
from closedwon.emulators.salesforce.errors import ApiError

_SMALLEST_PAGE, _LARGEST_PAGE = 200, 2000
_KEPT_RESULTS = 50
_BATCH_SIZE = re.compile(r"batchSize\s*=\s*(\d+)")


class Queries:
    """Returns the results of queries page by page."""

    def __init__(self, records: Records) -> None:
        """Query `records`."""
        self._records = records
        self._kept: OrderedDict[str, list[dict[str, Any]]] = OrderedDict()

    def first(self, call: ApiRequest) -> ApiResponse:
        """`/query?q=`."""
        return self._first(call, include_deleted=False)

    def first_with_deleted(self, call: ApiRequest) -> ApiResponse:
        """`/queryAll?q=`."""
        return self._first(call, include_deleted=self._records.rights.finds_deleted(call.user))

    def more(self, call: ApiRequest, locator: str) -> ApiResponse:
        """`/query/<locator>-<offset>`."""
        name, _, offset = locator.rpartition("-")
        found = self._kept.get(name)
        if found is None or not offset.isdigit():
            raise ApiError("INVALID_QUERY_LOCATOR", "invalid query locator")
        return self._page(call, name, found, int(offset))

    def _first(self, call: ApiRequest, *, include_deleted: bool) -> ApiResponse:
        text = call.query.get("q", "")
        if not text.strip():
            raise ApiError("MALFORMED_QUERY", "A query string has to be specified")
        if call.query.get("columns", "").lower() == "true":
            return ApiResponse(200, {"columnMetadata": [_column(one) for one in self._records.selected_columns(text)]})
        found = self._records.query(text, url=f"{call.base}/sobjects", include_deleted=include_deleted)
        if isinstance(found, int):
            return ApiResponse(200, {"totalSize": found, "done": True, "records": []})
        name = random_id("01g")
        if len(found) > _page_size(call):
            self._kept[name] = found
            while len(self._kept) > _KEPT_RESULTS:
                self._kept.popitem(last=False)
        return self._page(call, name, found, 0)

    def _page(self, call: ApiRequest, name: str, found: list[dict[str, Any]], offset: int) -> ApiResponse:
        end = offset + _page_size(call)
        body: dict[str, Any] = {"totalSize": len(found), "done": end >= len(found)}
        if end < len(found):
            body["nextRecordsUrl"] = f"{call.base}/query/{name}-{end}"
        return ApiResponse(200, {**body, "records": found[offset:end]})


def _page_size(call: ApiRequest) -> int:
    match = _BATCH_SIZE.search(call.headers.get("Sforce-Query-Options", ""))
    wanted = int(match.group(1)) if match else _LARGEST_PAGE
    return min(max(wanted, _SMALLEST_PAGE), _LARGEST_PAGE)


def _column(one: Column) -> dict[str, Any]:
    described = describe_field(one.field)
    return {"columnName": ".".join(one.path), "displayName": described["label"], "apexType": described["type"]}
