"""Query jobs of Bulk API 2.0, for very many records: create a job, wait until it is complete, read its result in pages.

A job and its result outlive the process that created them (7 days). A reader that stores the job id and the locator can
continue after a crash. Records come as CSV, in no order, with all values as texts; an empty value is None.

Source: Bulk API 2.0 and Bulk API Developer Guide, "Query Jobs", "Get Results for a Query Job".
"""

from __future__ import annotations

import csv
import io
from typing import Any, Final, NamedTuple

from simple_salesforce.api import Salesforce
from simple_salesforce.util import call_salesforce

from closedwon.errors import RetryError
from closedwon.salesforce.api.rest import SalesforceClient
from closedwon.salesforce.errors import UnavailableError, shortened

_LAST: Final = "null"
"""What `Sforce-Locator` says on the last page."""


class JobFailedError(RetryError):
    """Salesforce ended a query job without a result. A new job may succeed."""

    def __init__(self, state: str, text: str) -> None:
        """`text` is Salesforce's message, which is about the query."""
        super().__init__(f"Salesforce: query job {state}: {shortened(text)}")


class Results(NamedTuple):
    """One page of a job's result. `locator` is None on the last page."""

    records: list[dict[str, str | None]]
    locator: str | None


async def start_query(client: SalesforceClient, soql: str, *, deleted: bool = False) -> str:
    """Create a query job and return its id. `deleted` includes deleted records (`queryAll`). One API call."""
    body = {"operation": "queryAll" if deleted else "query", "query": soql}
    job = await client.call(lambda salesforce: salesforce.restful("jobs/query", method="POST", json=body))
    if not isinstance(job, dict) or not isinstance(job.get("id"), str):
        raise UnavailableError("Salesforce responded to a query job without an id")
    return str(job["id"])


async def is_complete(client: SalesforceClient, job: str) -> bool:
    """Whether a job's result is ready. Raises `JobFailedError`, and `RecordGoneError` if the job no longer exists."""
    found: Any = await client.call(lambda salesforce: salesforce.restful(f"jobs/query/{job}"))
    state = str(found.get("state")) if isinstance(found, dict) else ""
    if state in {"Failed", "Aborted"}:
        raise JobFailedError(state, str(found.get("errorMessage") or "no reason given"))
    return state == "JobComplete"


async def results(client: SalesforceClient, job: str, *, locator: str | None, size: int) -> Results:
    """Read one page of a job's result, of at most `size` records. One API call."""
    return await client.call(lambda salesforce: _results(salesforce, job, locator, size))


def _results(salesforce: Salesforce, job: str, locator: str | None, size: int) -> Results:
    answer = call_salesforce(
        url=f"{salesforce.base_url}jobs/query/{job}/results",
        method="GET",
        session=salesforce.session,
        headers={**salesforce.headers, "Accept": "text/csv"},
        params={"maxRecords": size, **({"locator": locator} if locator else {})},
    )
    rows = csv.DictReader(io.StringIO(answer.content.decode("utf-8")))
    following = answer.headers.get("Sforce-Locator", _LAST)
    return Results(
        [{key: value or None for key, value in row.items()} for row in rows],
        None if following == _LAST else following,
    )
