"""`/query`, `/queryAll` and their paging. A locator keeps a result until 50 newer ones came or the org stops.

Source: REST API Developer Guide, "Query"; at least 200 and at most 2 000 records a page (`Sforce-Query-Options`).
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any

from closedwon.localorg.calls import Answer, Call
from closedwon.localorg.describe import describe_field
from closedwon.localorg.errors import ApiError
from closedwon.localorg.records import Records
from closedwon.localorg.schema import SField
from closedwon.localorg.store import random_id

_SMALLEST_PAGE, _LARGEST_PAGE = 200, 2000
_KEPT_RESULTS = 50
_BATCH_SIZE = re.compile(r"batchSize\s*=\s*(\d+)")


class Queries:
    """Answers queries page by page."""

    def __init__(self, records: Records) -> None:
        """Query `records`."""
        self._records = records
        self._kept: OrderedDict[str, list[dict[str, Any]]] = OrderedDict()

    def first(self, call: Call) -> Answer:
        """`/query?q=`."""
        return self._first(call, include_deleted=False)

    def first_with_deleted(self, call: Call) -> Answer:
        """`/queryAll?q=`."""
        return self._first(call, include_deleted=True)

    def more(self, call: Call, locator: str) -> Answer:
        """`/query/<locator>-<offset>`."""
        name, _, offset = locator.rpartition("-")
        found = self._kept.get(name)
        if found is None or not offset.isdigit():
            raise ApiError("INVALID_QUERY_LOCATOR", "invalid query locator")
        return self._page(call, name, found, int(offset))

    def _first(self, call: Call, *, include_deleted: bool) -> Answer:
        text = call.query.get("q", "")
        if not text.strip():
            raise ApiError("MALFORMED_QUERY", "A query string has to be specified")
        if call.query.get("columns", "").lower() == "true":
            return Answer(200, {"columnMetadata": [_column(one) for one in self._records.selected_fields(text)]})
        found = self._records.query(text, url=f"{call.base}/sobjects", include_deleted=include_deleted)
        if isinstance(found, int):
            return Answer(200, {"totalSize": found, "done": True, "records": []})
        name = random_id("01g")
        if len(found) > _page_size(call):
            self._kept[name] = found
            while len(self._kept) > _KEPT_RESULTS:
                self._kept.popitem(last=False)
        return self._page(call, name, found, 0)

    def _page(self, call: Call, name: str, found: list[dict[str, Any]], offset: int) -> Answer:
        end = offset + _page_size(call)
        body: dict[str, Any] = {"totalSize": len(found), "done": end >= len(found)}
        if end < len(found):
            body["nextRecordsUrl"] = f"{call.base}/query/{name}-{end}"
        return Answer(200, {**body, "records": found[offset:end]})


def _page_size(call: Call) -> int:
    match = _BATCH_SIZE.search(call.headers.get("Sforce-Query-Options", ""))
    wanted = int(match.group(1)) if match else _LARGEST_PAGE
    return min(max(wanted, _SMALLEST_PAGE), _LARGEST_PAGE)


def _column(one: SField) -> dict[str, Any]:
    described = describe_field(one)
    return {"columnName": one.name, "displayName": described["label"], "apexType": described["type"]}
