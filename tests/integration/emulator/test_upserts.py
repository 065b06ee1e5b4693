"""Records by external ids, batches, and what was changed in a span."""

from __future__ import annotations

from typing import Any

from closedwon.emulators.salesforce import SalesforceEmulator
from tests.integration.emulator.conftest import API, Wire

KEY = "/sobjects/Opportunity/ERP_Order_Key__c"
DEAL: dict[str, Any] = {"Name": "D", "StageName": "Prospecting", "CloseDate": "2026-01-01"}


async def test_an_upsert_creates_and_then_changes_a_record(wire: Wire) -> None:
    """The first upsert creates (201), the second changes (200); older versions answer a change with 204."""
    created = await wire.rest("PATCH", f"{KEY}/K-1", DEAL)
    record = created.body["id"]
    assert (201, {"id": record, "success": True, "errors": [], "created": True}) == created[:2]
    changed = await wire.rest("PATCH", f"{KEY.lower()}/k-1", {"Name": "E"})
    assert (200, {"id": record, "success": True, "errors": [], "created": False}) == changed[:2]
    old = await wire.call("PATCH", f"/services/data/v45.0{KEY}/K-1", {"Name": "F"})
    assert (204, None) == old[:2]
    read = await wire.rest("GET", f"{KEY}/K-1?fields=Name,ERP_Order_Key__c")
    assert (record, "F", "K-1") == (
        read.body["attributes"]["url"][-18:],
        read.body["Name"],
        read.body["ERP_Order_Key__c"],
    )
    assert (await wire.rest("DELETE", f"{KEY}/K-1")).status == 204
    assert (await wire.rest("GET", f"{KEY}/K-1")).code == "NOT_FOUND"


async def test_refused_upserts(wire: Wire) -> None:
    """A field that is not an external id or is in the body, missing fields and an ambiguous key are refused."""
    reply = await wire.rest("PATCH", "/sobjects/Opportunity/Name/K-1", DEAL)
    assert (404, "NOT_FOUND") == (reply.status, reply.code)
    assert reply.body[0]["message"] == "Provided external ID field does not exist or is not accessible: Name"
    assert (await wire.rest("PATCH", f"{KEY}/K-1", DEAL | {"ERP_Order_Key__c": "K"})).code == "INVALID_FIELD"
    assert (await wire.rest("PATCH", f"{KEY}/K-1", {"Name": "D"})).code == "REQUIRED_FIELD_MISSING"
    ids = [wire.org.create("Opportunity", **DEAL, ERP_Order_Key__c="twice") for _ in range(2)]
    several = await wire.rest("PATCH", f"{KEY}/twice", {"Name": "E"})
    assert (300, [f"{API}/sobjects/Opportunity/{one}" for one in ids]) == several[:2]


async def test_a_collection_is_upserted_record_by_record(wire: Wire) -> None:
    """Each record of a collection is created or changed on its own, and a wrong one fails alone."""
    wire.org.create("Opportunity", **DEAL, ERP_Order_Key__c="K-1")
    kind = {"attributes": {"type": "Opportunity"}}
    records = [
        kind | {"ERP_Order_Key__c": "K-1", "Name": "E"},
        kind | DEAL | {"ERP_Order_Key__c": "K-2"},
        kind | {"ERP_Order_Key__c": "K-3"},
    ]
    reply = await wire.rest("PATCH", "/composite/sobjects/Opportunity/ERP_Order_Key__c", {"records": records})
    assert [(True, False), (True, True), (False, None)] == [(one["success"], one.get("created")) for one in reply.body]
    assert reply.body[2]["errors"][0]["statusCode"] == "REQUIRED_FIELD_MISSING"
    assert wire.org.query("SELECT Name FROM Opportunity WHERE ERP_Order_Key__c = 'K-1'")[0]["Name"] == "E"


async def test_a_batch_runs_independent_requests(wire: Wire) -> None:
    """Each request of a batch has its own status; with haltOnError those after a failure are not run."""
    requests = [
        {"method": "POST", "url": "v67.0/sobjects/Account", "richInput": {"Name": "A"}},
        {"method": "GET", "url": f"{API}/query?q=SELECT+Nope+FROM+Account"},
        {"method": "GET", "url": "v67.0/limits"},
    ]
    reply = await wire.rest("POST", "/composite/batch", {"batchRequests": requests})
    assert (200, True, [201, 400, 200]) == (
        reply.status,
        reply.body["hasErrors"],
        [one["statusCode"] for one in reply.body["results"]],
    )
    halted = await wire.rest("POST", "/composite/batch", {"batchRequests": requests, "haltOnError": True})
    last = halted.body["results"][2]
    assert (412, "BATCH_PROCESSING_HALTED") == (last["statusCode"], last["result"][0]["errorCode"])
    assert (await wire.rest("POST", "/composite/batch", {"batchRequests": requests * 9})).code == "LIMIT_EXCEEDED"
    assert (await wire.rest("POST", "/composite/batch", {})).code == "JSON_PARSER_ERROR"


async def test_changes_of_a_span_are_listed(org: SalesforceEmulator, wire: Wire) -> None:
    """`updated` and `deleted` list the records of a span; a span that ends before it begins is refused."""
    kept, gone = (org.create("Opportunity", **DEAL) for _ in range(2))
    org.delete("Opportunity", gone)
    span = "start=2026-01-01T00:00:00Z&end=2026-01-20T00:00:00%2B00:00"
    assert [] == (await wire.rest("GET", f"/sobjects/Opportunity/updated/?{span}")).body["ids"]
    now = org.get("Opportunity", kept)["SystemModstamp"][:10]
    span = f"start={now}T00:00:00Z&end={now}T23:59:59.999Z"
    assert [kept] == (await wire.rest("GET", f"/sobjects/Opportunity/updated?{span}")).body["ids"]
    listed = (await wire.rest("GET", f"/sobjects/Opportunity/deleted/?{span}")).body["deletedRecords"]
    assert [gone] == [one["id"] for one in listed]
    backwards = "start=2026-01-02T00:00:00Z&end=2026-01-01T00:00:00Z"
    for wrong in (backwards, "start=today", "start=2026-01-01T00:00:00Z&end=2026-03-01T00:00:00Z"):
        assert (await wire.rest("GET", f"/sobjects/Opportunity/updated?{wrong}")).code == "INVALID_REPLICATION_DATE"
