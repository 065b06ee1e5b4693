"""Composite requests and collections over real sockets."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from closedwon.emulators.salesforce import OrgConfig, SalesforceEmulator
from tests.integration.emulator.conftest import API, CHANNEL, Wire


def sub(reference: str, method: str, path: str, body: Any = None) -> dict[str, Any]:
    """One subrequest."""
    request = {"method": method, "url": API + path, "referenceId": reference}
    return request if body is None else request | {"body": body}


async def composite(wire: Wire, *requests: dict[str, Any], all_or_none: bool = False) -> list[dict[str, Any]]:
    """A composite request, whose status is always 200, and the responses of its parts."""
    reply = await wire.rest("POST", "/composite", {"allOrNone": all_or_none, "compositeRequest": list(requests)})
    assert reply.status == 200, reply
    found: list[dict[str, Any]] = reply.body["compositeResponse"]
    return found


async def test_references_between_parts(wire: Wire) -> None:
    """A later part uses the results of earlier ones, in its URL and in its body; the whole is one API call."""
    before = wire.org.api_calls.total()
    account, deal, read, query = await composite(
        wire,
        sub("newAccount", "POST", "/sobjects/Account", {"Name": "A"}),
        sub(
            "newDeal",
            "POST",
            "/sobjects/Opportunity",
            {"Name": "D", "StageName": "Prospecting", "CloseDate": "2026-01-01", "AccountId": "@{newAccount.id}"},
        ),
        sub("deal", "GET", "/sobjects/Opportunity/@{newDeal.id}?fields=Name,AccountId"),
        sub("found", "GET", "/query?q=SELECT+Id+FROM+Opportunity+WHERE+Id='@{newDeal.id}'"),
    )
    assert [201, 201, 200, 200] == [one["httpStatusCode"] for one in (account, deal, read, query)]
    assert account["body"]["id"] == read["body"]["AccountId"]
    assert account["httpHeaders"]["Location"] == f"{API}/sobjects/Account/{account['body']['id']}"
    assert [deal["body"]["id"]] == [one["Id"] for one in query["body"]["records"]]
    assert before + 1 == wire.org.api_calls.total()


async def test_independent_parts_fail_alone(wire: Wire) -> None:
    """Without allOrNone, a failed part fails alone, with the parts that refer to it."""
    bad, dependent, good = await composite(
        wire,
        sub("bad", "POST", "/sobjects/Account", {"Nope": 1}),
        sub("dependent", "GET", "/sobjects/Account/@{bad.id}"),
        sub("good", "POST", "/sobjects/Account", {"Name": "A"}),
    )
    assert (400, "INVALID_FIELD") == (bad["httpStatusCode"], bad["body"][0]["errorCode"])
    assert (400, "PROCESSING_HALTED") == (dependent["httpStatusCode"], dependent["body"][0]["errorCode"])
    assert (201, "good") == (good["httpStatusCode"], good["referenceId"])


async def test_all_or_none_rolls_everything_back(wire: Wire) -> None:
    """With allOrNone, one failure rolls back all records and their events; the other parts report that."""
    record = wire.org.seed(1)[0]
    won, bad, never = await composite(
        wire,
        sub("won", "PATCH", f"/sobjects/Opportunity/{record}", {"StageName": "Closed Won"}),
        sub("bad", "PATCH", f"/sobjects/Opportunity/{record}", {"StageName": "Nope"}),
        sub("never", "POST", "/sobjects/Account", {"Name": "Never"}),
        all_or_none=True,
    )
    assert bad["body"][0]["errorCode"] == "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"
    assert [(400, "PROCESSING_HALTED")] * 2 == [
        (one["httpStatusCode"], one["body"][0]["errorCode"]) for one in (won, never)
    ]
    assert not wire.org.get("Opportunity", record)["IsWon"]
    assert wire.org.bus.after(CHANNEL, 0, 10) == []
    assert wire.org.query("SELECT Id FROM Account WHERE Name = 'Never'") == []


async def test_publish_immediately_is_not_rolled_back() -> None:
    """An event with Publish Immediately is published although its request was rolled back."""
    config = OrgConfig(publish_immediately=frozenset({"Order_Requested__e"}))
    async with SalesforceEmulator.running(config=config) as org, aiohttp.ClientSession(org.url) as http:
        wire = Wire(org, http)
        record = org.seed(1)[0]
        await composite(
            wire,
            sub("won", "PATCH", f"/sobjects/Opportunity/{record}", {"StageName": "Closed Won"}),
            sub("bad", "POST", "/sobjects/Account", {}),
            all_or_none=True,
        )
        assert [record] == [one.data["payload"]["Opportunity_Id__c"] for one in org.bus.after(CHANNEL, 0, 10)]
        assert not org.get("Opportunity", record)["IsWon"]


@pytest.mark.parametrize(
    "requests",
    [
        [],
        [sub(f"r{number}", "GET", "/limits") for number in range(26)],
        [sub(f"r{number}", "GET", "/query?q=SELECT+Id+FROM+Account") for number in range(6)],
        [sub("same", "GET", "/limits"), sub("same", "GET", "/limits")],
        [sub("bad-id", "GET", "/limits")],
        [sub("r", "GET", "/limits") | {"httpHeaders": {"Authorization": "Bearer x"}}],
        "nonsense",
    ],
)
async def test_invalid_composites_fail_as_a_whole(wire: Wire, requests: Any) -> None:
    """Too many parts, repeated or invalid names and forbidden headers make the whole request fail."""
    assert (await wire.rest("POST", "/composite", {"compositeRequest": requests})).status == 400


def line(record: str, **fields: Any) -> dict[str, Any]:
    """A record of a collection."""
    return {"attributes": {"type": "Opportunity"}, "id": record, **fields}


async def test_collections_update_the_valid_records(wire: Wire) -> None:
    """Without allOrNone, each record succeeds or fails separately, in the given order."""
    first, second, third = wire.org.seed(3)
    records = [
        line(first.short, ERP_Order_Number__c="SO1"),
        line(second, ERP_Order_Number__c="x" * 81),
        line(third, ERP_Order_Number__c="SO3"),
        line("006000000000001AAA", ERP_Order_Number__c="SO4"),
    ]
    reply = await wire.rest("PATCH", "/composite/sobjects", {"allOrNone": False, "records": records})
    assert reply.status == 200
    assert {"id": first, "success": True, "errors": []} == reply.body[0]
    assert [True, False, True, False] == [one["success"] for one in reply.body]
    error = reply.body[1]["errors"][0]
    assert ("STRING_TOO_LONG", ["ERP_Order_Number__c"]) == (error["statusCode"], error["fields"])
    assert reply.body[3]["errors"][0]["statusCode"] == "NOT_FOUND"
    numbers = [wire.org.get("Opportunity", one)["ERP_Order_Number__c"] for one in (first, second, third)]
    assert ["SO1", None, "SO3"] == numbers


async def test_collections_all_or_none(wire: Wire) -> None:
    """With allOrNone, one bad record rolls back the good ones, whose results say so."""
    first, second = wire.org.seed(2)
    records = [line(first, StageName="Closed Won"), line(second, StageName="Nope")]
    reply = await wire.rest("PATCH", "/composite/sobjects", {"allOrNone": True, "records": records})
    codes = [one["errors"][0]["statusCode"] for one in reply.body]
    assert ["ALL_OR_NONE_OPERATION_ROLLED_BACK", "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"] == codes
    assert not wire.org.get("Opportunity", first)["IsWon"]
    assert wire.org.bus.after(CHANNEL, 0, 10) == []


async def test_a_locked_row_in_a_collection(wire: Wire) -> None:
    """A row lock affects single records of a collection; the others are written."""
    ids = wire.org.seed(3)
    wire.org.faults.lock_rows(2)
    records = [line(one, ERP_Order_Status__c="ok") for one in ids]
    reply = await wire.rest("PATCH", "/composite/sobjects", {"records": records})
    assert [False, False, True] == [one["success"] for one in reply.body]
    assert reply.body[0]["errors"][0]["statusCode"] == "UNABLE_TO_LOCK_ROW"


async def test_a_collection_has_at_most_200_records(wire: Wire) -> None:
    """Two hundred records are won in one call; one more is refused."""
    ids = wire.org.seed(201)
    records = [line(one, StageName="Closed Won") for one in ids]
    too_many = await wire.rest("PATCH", "/composite/sobjects", {"records": records})
    assert (400, "EXCEEDED_ID_LIMIT") == (too_many.status, too_many.code)
    reply = await wire.rest("PATCH", "/composite/sobjects", {"records": records[:200]})
    assert all(one["success"] for one in reply.body)
    assert len(wire.org.bus.after(CHANNEL, 0, 1000)) == 200


async def test_collections_create_records_and_events(wire: Wire) -> None:
    """Records of several types and events are created in one call."""
    records = [
        {"attributes": {"type": "Account"}, "Name": "A"},
        {"attributes": {"type": "Order_Requested__e"}, "Account_Name__c": "A"},
        {"attributes": {"type": "Nope"}},
        {"Name": "no type"},
    ]
    reply = await wire.rest("POST", "/composite/sobjects", {"records": records})
    assert [True, True, False, False] == [one["success"] for one in reply.body]
    assert reply.body[1]["errors"][0]["statusCode"] == "OPERATION_ENQUEUED"
    assert reply.body[2]["errors"][0]["statusCode"] == "INVALID_TYPE"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_collections_retrieve(wire: Wire, method: str) -> None:
    """Records are returned by id in the requested order, with null for missing ones."""
    first, second = wire.org.seed(2)
    ids, fields = [second, "006000000000001AAA", first.short], ["Id", "Name"]
    path = "/composite/sobjects/Opportunity"
    if method == "GET":
        reply = await wire.rest("GET", path, params={"ids": ",".join(ids), "fields": ",".join(fields)})
    else:
        reply = await wire.rest("POST", path, {"ids": ids, "fields": fields})
    assert [second, None, first] == [one and one["Id"] for one in reply.body]
    assert {"attributes", "Id", "Name"} == set(reply.body[0])


async def test_collections_delete(wire: Wire) -> None:
    """Records of any type are deleted by id."""
    first, second = wire.org.seed(2)
    reply = await wire.rest("DELETE", "/composite/sobjects", params={"ids": f"{first},{second},bad"})
    assert [True, True, False] == [one["success"] for one in reply.body]
    assert wire.org.query("SELECT Id FROM Opportunity") == []


async def test_a_composite_with_a_lost_response_is_committed(wire: Wire) -> None:
    """Its changes are committed; the fault does not apply to a composite that only reads."""
    record = wire.org.seed(1)[0]
    wire.org.faults.lose_answers()
    await composite(wire, sub("read", "GET", f"/sobjects/Opportunity/{record}"))
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await composite(wire, sub("won", "PATCH", f"/sobjects/Opportunity/{record}", {"StageName": "Closed Won"}))
    assert wire.org.get("Opportunity", record)["IsWon"]
