"""The REST API over real sockets."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from closedwon.ids import RecordId
from tests.integration.emulator.conftest import API, CHANNEL, Wire

OPPORTUNITY = {"Name": "Deal", "StageName": "Prospecting", "CloseDate": "2026-05-05"}


async def made(wire: Wire, **fields: Any) -> str:
    """The id of a fresh Opportunity."""
    reply = await wire.rest("POST", "/sobjects/Opportunity", OPPORTUNITY | fields)
    assert reply.status == 201, reply
    return str(reply.body["id"])


async def test_the_life_of_a_record(wire: Wire) -> None:
    """The responses are like Salesforce's; ids of 15 characters are returned with 18."""
    created = await wire.rest("POST", "/sobjects/Opportunity/", OPPORTUNITY)
    record = RecordId(created.body["id"])
    assert (201, {"id": record, "success": True, "errors": []}) == created[:2]
    assert created.headers["Location"] == f"{API}/sobjects/Opportunity/{record}"
    patched = await wire.rest("PATCH", f"/sobjects/Opportunity/{record.short}", {"NextStep": "Call"})
    assert (204, None) == patched[:2]
    read = await wire.rest("GET", f"/sobjects/Opportunity/{record.short}?fields=Id,NextStep,OwnerId")
    assert read.body == {
        "attributes": {"type": "Opportunity", "url": f"{API}/sobjects/Opportunity/{record}"},
        "Id": record,
        "NextStep": "Call",
        "OwnerId": wire.org.integration_user,
    }
    assert (await wire.rest("DELETE", f"/sobjects/Opportunity/{record}")).status == 204
    assert (404, "ENTITY_IS_DELETED") == _refusal(await wire.rest("PATCH", f"/sobjects/Opportunity/{record}", {}))
    assert (404, "NOT_FOUND") == _refusal(await wire.rest("GET", f"/sobjects/Opportunity/{record}"))


def _refusal(reply: Any) -> tuple[int, str]:
    return reply.status, reply.code


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("GET", "/sobjects/Nope/001000000000001AAA", None, (404, "NOT_FOUND")),
        ("GET", "/nope", None, (404, "NOT_FOUND")),
        ("GET", "/sobjects/Account/001000000000001AAA", None, (404, "NOT_FOUND")),
        ("GET", "/sobjects/Account/001900K0001pPuOAAU", None, (400, "MALFORMED_ID")),
        ("PUT", "/limits", None, (405, "METHOD_NOT_ALLOWED")),
        ("POST", "/sobjects/Account", {"Name": "x" * 256}, (400, "STRING_TOO_LONG")),
        ("POST", "/sobjects/Account", {}, (400, "REQUIRED_FIELD_MISSING")),
        ("POST", "/sobjects/Account", {"Nope": 1}, (400, "INVALID_FIELD")),
        ("POST", "/sobjects/Account", [], (400, "JSON_PARSER_ERROR")),
        ("GET", "/query", None, (400, "MALFORMED_QUERY")),
        ("GET", "/query/01gQy0000000001AAA-200", None, (400, "INVALID_QUERY_LOCATOR")),
        ("GET", f"/query?q=SELECT+Id+FROM+Account+LIMIT+{'9' * 20}", None, (400, "MALFORMED_QUERY")),
        ("GET", f"/query?q=SELECT+Id+FROM+Account+WHERE+{'(NOT+' * 1500}", None, (400, "MALFORMED_QUERY")),
        ("POST", "/jobs/query", {"operation": [], "query": "x"}, (400, "INVALIDENTITY")),
        ("POST", "/composite/sobjects/Account", {"ids": 5, "fields": 5}, (400, "MISSING_ARGUMENT")),
    ],
)
async def test_refusals(wire: Wire, method: str, path: str, body: Any, expected: tuple[int, str]) -> None:
    """Errors are lists with Salesforce's codes and statuses."""
    assert expected == _refusal(await wire.rest(method, path, body))


async def test_broken_json(wire: Wire) -> None:
    """A body that is not valid JSON gives JSON_PARSER_ERROR."""
    for data in (b"{'Name'", b"[" * 20_000):
        reply = await wire.rest("POST", "/sobjects/Account", data=data)
        assert (400, "JSON_PARSER_ERROR") == _refusal(reply)


async def test_versions(wire: Wire) -> None:
    """The list of versions needs no token; retired and future versions are errors."""
    reply = await wire.call("GET", "/services/data/", headers={"Authorization": ""})
    assert {"label": "Summer '26", "url": "/services/data/v67.0", "version": "67.0"} == reply.body[-1]
    assert "Sforce-Limit-Info" not in reply.headers
    assert (410, "UNSUPPORTED_API_VERSION") == _refusal(await wire.call("GET", "/services/data/v30.0/limits"))
    assert (404, "NOT_FOUND") == _refusal(await wire.call("GET", "/services/data/v99.0/limits"))
    assert (await wire.call("GET", "/services/data/v59.0/limits")).status == 200


async def test_every_response_has_the_used_calls(wire: Wire) -> None:
    """Every REST response, also an error, has the number of used calls."""
    first = await wire.rest("GET", "/limits")
    assert first.headers["Sforce-Limit-Info"] == "api-usage=1/100000"
    second = await wire.rest("GET", "/nope")
    assert second.headers["Sforce-Limit-Info"] == "api-usage=2/100000"
    assert {"Max": 100_000, "Remaining": 99_999} == first.body["DailyApiRequests"]


async def test_paging(wire: Wire) -> None:
    """A long result has pages that together contain every record once."""
    wire.org.seed(450)
    soql = {"q": "SELECT Id FROM Opportunity"}
    page = await wire.rest("GET", "/query", params=soql, headers={"Sforce-Query-Options": "batchSize=10"})
    assert (450, False, 200) == (page.body["totalSize"], page.body["done"], len(page.body["records"]))
    found = page.body["records"]
    while not page.body["done"]:
        assert page.body["nextRecordsUrl"].startswith(f"{API}/query/01g")
        page = await wire.call("GET", page.body["nextRecordsUrl"], headers={"Sforce-Query-Options": "batchSize=200"})
        found += page.body["records"]
    assert (450, 450) == (len(found), len({one["Id"] for one in found}))
    assert "nextRecordsUrl" not in page.body


async def test_count_and_columns_and_query_all(wire: Wire) -> None:
    """The result of COUNT() is totalSize; columns=true returns the fields; queryAll includes deleted records."""
    record = await made(wire)
    await wire.rest("DELETE", f"/sobjects/Opportunity/{record}")
    await made(wire)
    count = {"q": "SELECT COUNT() FROM Opportunity"}
    assert {"totalSize": 1, "done": True, "records": []} == (await wire.rest("GET", "/query", params=count)).body
    soql = {"q": "SELECT Id, Amount FROM Opportunity"}
    assert (await wire.rest("GET", "/queryAll", params=soql)).body["totalSize"] == 2
    columns = await wire.rest("GET", "/query", params=soql | {"columns": "true"})
    assert ["Id", "Amount"] == [one["columnName"] for one in columns.body["columnMetadata"]]


async def test_publishing_an_event(wire: Wire) -> None:
    """A published event is a success with OPERATION_ENQUEUED and the EventUuid, which the event on the bus has."""
    reply = await wire.rest("POST", "/sobjects/Order_Requested__e/", {"Opportunity_Id__c": "garbage"})
    event = wire.org.bus.after(CHANNEL, 0, 10)[0]
    assert reply.status == 201
    enqueued = {"statusCode": "OPERATION_ENQUEUED", "message": event.data["event"]["EventUuid"], "fields": []}
    assert ([enqueued], True, "e01") == (reply.body["errors"], reply.body["success"], reply.body["id"][:3])
    refused = await wire.rest("POST", "/sobjects/Order_Requested__e", {"Opportunity_Id__c": "x" * 19})
    assert (400, "STRING_TOO_LONG") == _refusal(refused)
    assert (400, "INVALID_FIELD") == _refusal(await wire.rest("POST", "/sobjects/Order_Requested__e", {"No__c": 1}))


async def test_describe(wire: Wire) -> None:
    """Describe has the writable fields and the values of a restricted picklist."""
    body = (await wire.rest("GET", "/sobjects/Opportunity/describe")).body
    fields = {one["name"]: one for one in body["fields"]}
    assert (80, True) == (fields["ERP_Order_Number__c"]["length"], fields["ERP_Order_Number__c"]["updateable"])
    assert not fields["IsWon"]["updateable"]
    assert "Closed Won" in {one["value"] for one in fields["StageName"]["picklistValues"]}
    listed = (await wire.rest("GET", "/sobjects")).body["sobjects"]
    assert {"Opportunity", "Order_Requested__e"} <= {one["name"] for one in listed}


async def test_conditional_requests(wire: Wire) -> None:
    """An Opportunity is updated only if unmodified since; an Account also by its entity tag."""
    record = await made(wire)
    long_ago, tomorrow = "Thu, 01 Jan 2015 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"
    path = f"/sobjects/Opportunity/{record}"
    refused = await wire.rest("PATCH", path, {"NextStep": "x"}, headers={"If-Unmodified-Since": long_ago})
    assert (412, "PRECONDITION_FAILED") == _refusal(refused)
    assert (await wire.rest("PATCH", path, {"NextStep": "x"}, headers={"If-Unmodified-Since": tomorrow})).status == 204
    assert (await wire.rest("GET", path, headers={"If-Modified-Since": tomorrow})).status == 304
    account = (await wire.rest("POST", "/sobjects/Account", {"Name": "A"})).body["id"]
    path = f"/sobjects/Account/{account}"
    tag = (await wire.rest("GET", path)).headers["ETag"]
    assert (await wire.rest("GET", path, headers={"If-None-Match": tag})).status == 304
    wire.org.clock.advance(timedelta(seconds=1))
    assert (await wire.rest("PATCH", path, {"Phone": "1"}, headers={"If-Match": tag})).status == 204
    assert (await wire.rest("PATCH", path, {"Phone": "2"}, headers={"If-Match": tag})).status == 412


async def test_a_uri_may_be_16_kb_long(wire: Wire) -> None:
    """A query of some hundred ids fits in the URI; beyond 16 KB it is an error."""
    ids = ",".join(f"'{record}'" for record in wire.org.seed(300))
    soql = f"SELECT Id FROM Opportunity WHERE Id IN ({ids})"  # noqa: S608 - SOQL of our own ids
    assert (await wire.rest("GET", "/query", params={"q": soql})).body["totalSize"] == 300
    refused = await wire.rest("GET", "/query", params={"q": soql + " " * 12_000})
    assert (414, "URI_TOO_LONG") == _refusal(refused)


async def test_a_user_is_read_by_id(wire: Wire) -> None:
    """The user of a token can be read."""
    reply = await wire.call("GET", f"{wire.org.url}//services/data/v67.0/sobjects/User/{wire.org.integration_user}")
    assert wire.org.username == reply.body["Username"]


async def test_a_write_with_a_lost_response_is_committed(wire: Wire) -> None:
    """With the fault, the write is committed and the connection drops; later writes, and all reads, get a response."""
    record = await made(wire)
    wire.org.faults.lose_answers(2)
    assert (await wire.rest("GET", f"/sobjects/Opportunity/{record}")).status == 200
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await wire.rest("PATCH", f"/sobjects/Opportunity/{record}", {"ERP_Order_Number__c": "SO1"})
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await wire.rest("POST", "/sobjects/Order_Requested__e", {"Opportunity_Id__c": record})
    assert (await wire.rest("PATCH", f"/sobjects/Opportunity/{record}", {"NextStep": "x"})).status == 204
    assert wire.org.get("Opportunity", record)["ERP_Order_Number__c"] == "SO1"
    assert len(wire.org.bus.after(CHANNEL, 0, 10)) == 1


async def test_counted_rest_faults(wire: Wire) -> None:
    """Request limits and row locks apply the given number of times."""
    record = await made(wire)
    path = f"/sobjects/Opportunity/{record}"
    wire.org.faults.request_limit(2)
    for _ in range(2):
        assert (403, "REQUEST_LIMIT_EXCEEDED") == _refusal(await wire.rest("GET", path))
    assert (await wire.rest("GET", path)).status == 200
    wire.org.faults.lock_rows()
    assert (400, "UNABLE_TO_LOCK_ROW") == _refusal(await wire.rest("PATCH", path, {"NextStep": "x"}))
    assert (await wire.rest("PATCH", path, {"NextStep": "x"})).status == 204
    wire.org.faults.rest_error("UNKNOWN_EXCEPTION")
    assert (500, "UNKNOWN_EXCEPTION") == _refusal(await wire.rest("GET", path))


async def test_down_and_up_again(wire: Wire) -> None:
    """While Salesforce is down, every response is 503, also for logins; then everything works again."""
    wire.org.faults.down()
    for path in ("/services/oauth2/token", f"{API}/limits", "/cometd/67.0"):
        assert (await wire.call("POST", path)).status == 503
    wire.org.faults.down(on=False)
    assert (await wire.rest("GET", "/limits")).status == 200


async def test_many_concurrent_wins(wire: Wire) -> None:
    """Several salespersons win hundreds of deals within seconds."""
    ids = wire.org.seed(400)
    before = time.process_time()  # the org is in this process; what else the machine does counts for nothing
    for start in range(0, len(ids), 20):
        chunk = ids[start : start + 20]
        replies = await asyncio.gather(
            *(wire.rest("PATCH", f"/sobjects/Opportunity/{one}", {"StageName": "Closed Won"}) for one in chunk)
        )
        assert {204} == {reply.status for reply in replies}
    assert time.process_time() - before < 10
    won = [one.data["payload"]["Opportunity_Id__c"] for one in wire.org.bus.after(CHANNEL, 0, 1000)]
    assert sorted(ids) == sorted(won)
