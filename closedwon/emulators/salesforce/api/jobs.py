"""`/jobs/query`: query jobs of Bulk API 2.0, for very many records. No HTTP library here.

A job is queued, then in progress, then complete; its result is CSV, read in pages by `Sforce-Locator`. A job is kept
until it is deleted, 50 newer jobs exist, or the org stops. Source: Bulk API 2.0 and Bulk API Developer Guide, "Query
Jobs": no child queries and no `COUNT()`; booleans are `true` and `false`, null is an empty field.
"""

from __future__ import annotations

import csv
import io
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from closedwon.emulators.salesforce.api.calls import ApiRequest, ApiResponse
from closedwon.emulators.salesforce.data.records import Records
from closedwon.emulators.salesforce.data.soql_groups import is_grouped
from closedwon.emulators.salesforce.data.soql_syntax import parse
from closedwon.emulators.salesforce.data.store import random_id
from closedwon.emulators.salesforce.errors import ApiError, not_found

_KEPT_JOBS = 50
_LARGEST_PAGE = 250_000
_STATES = ("UploadComplete", "InProgress", "JobComplete")


@dataclass
class _Job:
    id: str
    operation: str
    query: str
    source: str
    columns: list[tuple[str, ...]]
    records: list[dict[str, Any]]
    reads: int = 0
    aborted: bool = False

    @property
    def state(self) -> str:
        return "Aborted" if self.aborted else _STATES[min(self.reads, 2)]


class QueryJobs:
    """Creates query jobs and returns their results."""

    def __init__(self, records: Records) -> None:
        """Query `records`."""
        self._records = records
        self._jobs: OrderedDict[str, _Job] = OrderedDict()

    def create(self, call: ApiRequest) -> ApiResponse:
        """`POST /jobs/query` with `operation` (`query` or `queryAll`) and `query`."""
        body = call.json()
        operation, text = body.get("operation"), body.get("query")
        if operation not in ("query", "queryAll") or not isinstance(text, str):
            raise ApiError("INVALIDENTITY", "operation must be query or queryAll, with a query")
        query = parse(text)
        if is_grouped(query) or query.children:
            raise ApiError("API_ERROR", "Bulk queries take neither aggregates nor child queries")
        reader = self._records.rights.reader(call.user)
        found = self._records.query(text, include_deleted=operation == "queryAll", reader=reader)
        assert isinstance(found, list)
        job = _Job(
            id=random_id("750"),
            operation=operation,
            query=text,
            source=query.source,
            columns=[one.path for one in self._records.selected_columns(text)],
            records=found,
        )
        self._jobs[job.id] = job
        while len(self._jobs) > _KEPT_JOBS:
            self._jobs.popitem(last=False)
        return ApiResponse(200, _described(job, call))

    def read(self, call: ApiRequest, job_id: str) -> ApiResponse:
        """`GET /jobs/query/<id>`: each read advances the job by one state."""
        job = self._job(job_id)
        job.reads += 1
        counted = {"numberRecordsProcessed": len(job.records)} if job.state == "JobComplete" else {}
        return ApiResponse(200, _described(job, call) | counted)

    def change(self, call: ApiRequest, job_id: str) -> ApiResponse:
        """`PATCH /jobs/query/<id>` with `state` `Aborted`."""
        job = self._job(job_id)
        if call.json().get("state") != "Aborted" or job.state == "JobComplete":
            raise ApiError("INVALIDJOBSTATE", f"job is {job.state}")
        job.aborted = True
        return ApiResponse(200, _described(job, call))

    def delete(self, _call: ApiRequest, job_id: str) -> ApiResponse:
        """`DELETE /jobs/query/<id>`."""
        del self._jobs[self._job(job_id).id]
        return ApiResponse(204)

    def results(self, call: ApiRequest, job_id: str) -> ApiResponse:
        """`GET /jobs/query/<id>/results?maxRecords=&locator=`."""
        job = self._job(job_id)
        if job.state != "JobComplete":
            raise ApiError("INVALIDJOBSTATE", f"job is {job.state}")
        locator, most = call.query.get("locator", "0"), call.query.get("maxRecords", str(_LARGEST_PAGE))
        if not locator.isdigit() or not most.isdigit() or not int(most):
            raise ApiError("INVALID_QUERY_LOCATOR", "invalid query locator")
        begin, end = int(locator), int(locator) + min(int(most), _LARGEST_PAGE)
        page = job.records[begin:end]
        headers = {
            "Sforce-Locator": str(end) if end < len(job.records) else "null",
            "Sforce-NumberOfRecords": str(len(page)),
        }
        return ApiResponse(200, _csv(job.columns, page), headers)

    def _job(self, job_id: str) -> _Job:
        found = self._jobs.get(job_id)
        if found is None:
            raise not_found()
        return found


def _described(job: _Job, call: ApiRequest) -> dict[str, Any]:
    return {
        "id": job.id,
        "operation": job.operation,
        "object": job.source,
        "query": job.query,
        "state": job.state,
        "concurrencyMode": "Parallel",
        "contentType": "CSV",
        "apiVersion": float(call.version),
        "lineEnding": "LF",
        "columnDelimiter": "COMMA",
    }


def _csv(columns: list[tuple[str, ...]], records: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow([".".join(column) for column in columns])
    writer.writerows([[_cell(record, column) for column in columns] for record in records])
    return text.getvalue()


def _cell(record: Any, column: tuple[str, ...]) -> str:
    for part in column:
        record = (record or {}).get(part)
    if record is None:
        return ""
    return str(record).lower() if isinstance(record, bool) else str(record)
