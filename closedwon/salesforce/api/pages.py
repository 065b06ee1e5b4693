"""Reads all pages of a query's result, including those of its child queries.

Each list in a response states its number of rows (`totalSize`) and whether it is complete (`done`). A list that a proxy
or an org's own middleware has cut is an error: otherwise a deal would be ordered in part, or seem not to exist.
"""

from __future__ import annotations

from typing import Any

from simple_salesforce.api import Salesforce

from closedwon.salesforce.errors import UnavailableError


def query_all(salesforce: Salesforce, soql: str, *, deleted: bool = False) -> list[dict[str, Any]]:
    """Run a query and read all pages, also of child queries. Raises `UnavailableError` for a cut response."""
    return _all_pages(salesforce, salesforce.query(soql, include_deleted=deleted))


def _all_pages(salesforce: Salesforce, page: Any) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    expected = page.get("totalSize") if isinstance(page, dict) else None
    while True:
        if not isinstance(page, dict) or not isinstance(page.get("records"), list):
            raise UnavailableError("Salesforce responded to a query without records")
        records += page["records"]
        if page.get("done", True):
            break
        if not page.get("nextRecordsUrl"):
            raise UnavailableError("Salesforce responded to a query with a page that lacks the address of the next one")
        page = salesforce.query_more(page["nextRecordsUrl"], identifier_is_url=True)
    if isinstance(expected, int) and len(records) < expected:
        raise UnavailableError(f"Salesforce responded to a query with {len(records)} of {expected} rows")
    for record in records:
        for value in record.values():
            if isinstance(value, dict) and not value.keys().isdisjoint({"totalSize", "done", "records"}):
                value.update(records=_all_pages(salesforce, value), done=True)
                value.pop("nextRecordsUrl", None)
    return records
