"""Query jobs of the Bulk API over real sockets, also with simple-salesforce's own client."""

from __future__ import annotations

import asyncio
import csv
import io
from typing import Any

import pytest
from simple_salesforce.api import Salesforce

from closedwon.emulators.salesforce import SalesforceEmulator
from tests.integration.emulator.conftest import Wire

_SOQL = "SELECT Id, Name, IsDeleted, Account.Name, NextStep FROM Opportunity"


async def test_the_life_of_a_job(wire: Wire) -> None:
    """It is queued, in progress, complete; its result has pages with locators, as CSV; then it can be deleted."""
    deals = wire.org.seed(5)
    wire.org.delete("Opportunity", deals[0])
    made = await wire.rest("POST", "/jobs/query", {"operation": "queryAll", "query": _SOQL})
    job = f"/jobs/query/{made.body['id']}"
    early = await wire.rest("GET", f"{job}/results")
    states = [made.body["state"], *[(await wire.rest("GET", job)).body["state"] for _ in range(2)]]
    first = await wire.rest("GET", f"{job}/results?maxRecords=3")
    rest = await wire.rest("GET", f"{job}/results?maxRecords=3&locator={first.headers['Sforce-Locator']}")
    rows = [row for page in (first, rest) for row in csv.DictReader(io.StringIO(page.body))]

    assert (400, "INVALIDJOBSTATE") == (early.status, early.code)
    assert ["UploadComplete", "InProgress", "JobComplete"] == states
    assert sorted(deals) == sorted(row["Id"] for row in rows)
    assert ["true"] == [row["IsDeleted"] for row in rows if row["Id"] == deals[0]]
    assert {""} == {row["NextStep"] for row in rows}
    assert all(row["Account.Name"] for row in rows)
    assert ("null", "2") == (rest.headers["Sforce-Locator"], rest.headers["Sforce-NumberOfRecords"])
    assert 204 == (await wire.rest("DELETE", job)).status
    assert 404 == (await wire.rest("GET", job)).status


@pytest.mark.parametrize(
    "body",
    [
        {"operation": "query", "query": "SELECT COUNT() FROM Opportunity"},
        {"operation": "query", "query": "SELECT Id, (SELECT Id FROM OpportunityLineItems) FROM Opportunity"},
        {"operation": "query", "query": "SELECT Nope FROM Opportunity"},
        {"operation": "insert", "query": "SELECT Id FROM Opportunity"},
        {"operation": "query"},
    ],
    ids=["aggregate", "child query", "unknown field", "other operation", "no query"],
)
async def test_unsupported_bulk_queries_are_refused(wire: Wire, body: dict[str, Any]) -> None:
    """A job that could not run is not created."""
    assert 400 == (await wire.rest("POST", "/jobs/query", body)).status


async def test_simple_salesforce_reads_a_job(
    wire: Wire, org: SalesforceEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An independent client of the Bulk API works with the org."""
    org.seed(7)

    def read() -> list[str]:
        salesforce = Salesforce(session_id=wire.token, instance_url=org.url, version="67.0")
        monkeypatch.setattr(salesforce, "bulk2_url", f"{org.url}/services/data/v67.0/jobs/")
        bulk: Any = salesforce.bulk2
        return list(bulk.Opportunity.query("SELECT Id FROM Opportunity", max_records=3, wait=0.1))

    pages = await asyncio.to_thread(read)
    assert [4, 4, 2] == [len(page.splitlines()) for page in pages]  # the heading comes with each
