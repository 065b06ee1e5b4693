"""`/query`, `/queryAll` and their paging.

A result is kept for two days of the org's clock, until 50 newer ones exist, or until the org stops.
Source: REST API Developer Guide, "Query"; at least 200 and at most 2 000 records a page (`Sforce-Query-Options`), and
fewer if the org says so.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from datetime import timedelta
from typing import Any, NamedTuple

from closedwon.emulators.salesforce.api.calls import ApiRequest, ApiResponse
from closedwon.emulators.salesforce.api.describe import describe_field
from closedwon.emulators.salesforce.clock import Clock
from closedwon.emulators.salesforce.data.records import Records
from closedwon.emulators.salesforce.data.soql import Column
from closedwon.emulators.salesforce.data.store import random_id
from closedwon.emulators.salesforce.errors import ApiError
from closedwon.emulators.salesforce.faults import Fault, OrgFaults

_SMALLEST_PAGE, _LARGEST_PAGE = 200, 2000
_LONGEST_LIVED = timedelta(days=2)
_KEPT_RESULTS = 50
_BATCH_SIZE = re.compile(r"batchSize\s*=\s*(\d+)")


class _Kept(NamedTuple):
    """A result of which pages are still to be read, and when it was made."""

    records: list[dict[str, Any]]
    made_ms: int


class Queries:
    """Returns the results of queries page by page."""

    def __init__(self, records: Records, clock: Clock, faults: OrgFaults, largest_page: int) -> None:
        """Query `records`. `largest_page` is how many of them the org returns at once."""
        self._faults = faults
        self._records = records
        self._clock = clock
        self._largest_page = largest_page
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

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
        is_lost = self._faults.strikes(Fault.LOST_LOCATOR)
        oldest = self._clock.now_ms() - _LONGEST_LIVED // timedelta(milliseconds=1)
        if is_lost or found is None or not offset.isdigit() or found.made_ms < oldest:
            raise ApiError("INVALID_QUERY_LOCATOR", "invalid query locator")
        return self._page(call, name, found.records, int(offset))

    def _first(self, call: ApiRequest, *, include_deleted: bool) -> ApiResponse:
        text = call.query.get("q", "")
        if not text.strip():
            raise ApiError("MALFORMED_QUERY", "A query string has to be specified")
        reader = self._records.rights.reader(call.user)
        if call.query.get("columns", "").lower() == "true":
            return ApiResponse(
                200, {"columnMetadata": [_column(one) for one in self._records.selected_columns(text, reader)]}
            )
        found = self._records.query(text, url=f"{call.base}/sobjects", include_deleted=include_deleted, reader=reader)
        if isinstance(found, int):
            return ApiResponse(200, {"totalSize": found, "done": True, "records": []})
        name = random_id("01g")
        if len(found) > self._page_size(call):
            self._kept[name] = _Kept(found, self._clock.now_ms())
            while len(self._kept) > _KEPT_RESULTS:
                self._kept.popitem(last=False)
        return self._page(call, name, found, 0)

    def _page(self, call: ApiRequest, name: str, found: list[dict[str, Any]], offset: int) -> ApiResponse:
        end = offset + self._page_size(call)
        body: dict[str, Any] = {"totalSize": len(found), "done": end >= len(found)}
        if end < len(found):
            body["nextRecordsUrl"] = f"{call.base}/query/{name}-{end}"
        return ApiResponse(200, {**body, "records": found[offset:end]})

    def _page_size(self, call: ApiRequest) -> int:
        match = _BATCH_SIZE.search(call.headers.get("Sforce-Query-Options", ""))
        wanted = int(match.group(1)) if match else _LARGEST_PAGE
        return min(max(wanted, _SMALLEST_PAGE), _LARGEST_PAGE, self._faults.page_size or self._largest_page)


def _column(one: Column) -> dict[str, Any]:
    described = describe_field(one.field)
    return {"columnName": ".".join(one.path), "displayName": described["label"], "apexType": described["type"]}
