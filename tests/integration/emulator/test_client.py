"""Actions of a salesperson by the client: clone, move, discount, restore; and many of them concurrently."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from closedwon.emulators.salesforce import SalesforceEmulator
from closedwon.emulators.salesforce.client import OrgClient, OrgRefusedError
from closedwon.ids import RecordId
from tests.integration.emulator.conftest import Wire

_LINES = "SELECT Product2Id, Quantity, UnitPrice, Discount, TotalPrice, SortOrder FROM OpportunityLineItem"
_WRITTEN = {
    "ERP_Order_Number__c": "SO-1",
    "ERP_Order_Status__c": "confirmed",
    "ERP_Order_Key__c": "00D000000000001AAA:006000000000001AAA",
    "ERP_Order_Link__c": "https://erp.example.com/1",
}


@pytest.fixture
async def client(org: SalesforceEmulator) -> AsyncIterator[OrgClient]:
    """A salesperson."""
    async with OrgClient.open(org.connection()) as people:
        yield people


def lines(org: SalesforceEmulator, record: str) -> list[dict[str, object]]:
    """The line items of an Opportunity."""
    found = org.query(f"{_LINES} WHERE OpportunityId = '{record}' ORDER BY SortOrder")
    return [{name: value for name, value in one.items() if name != "attributes"} for one in found]


@pytest.mark.parametrize("number", [0, 1, 2, 5])
async def test_a_clone_copies_everything_except_the_stage(
    org: SalesforceEmulator, client: OrgClient, number: int
) -> None:
    """Order number, status and key are copied, and lines with their discounts; dates of creation are its own."""
    original = org.seed(6, varied=True)[number]
    org.update("Opportunity", original, **_WRITTEN)
    org.win(original)
    clone = await client.clone(original, Name="Renewal", CloseDate="2027-01-31")
    old, new = org.get("Opportunity", original), org.get("Opportunity", clone)

    assert lines(org, original) == lines(org, clone) != []
    assert {**_WRITTEN, "Name": "Renewal", "StageName": "Prospecting", "CloseDate": "2027-01-31"}.items() <= new.items()
    assert all(old[name] == new[name] for name in ("AccountId", "Amount", "PO_Number__c", "HasOpportunityLineItem"))
    assert old["CreatedDate"] < new["CreatedDate"]
    assert not new["IsWon"]


async def test_a_clone_of_many_lines_needs_several_calls(org: SalesforceEmulator, client: OrgClient) -> None:
    """A collection has 200 records at most."""
    original = org.seed(1)[0]
    product = org.query("SELECT Id FROM Product2 LIMIT 1")[0]["Id"]
    for number in range(210):
        org.create(
            "OpportunityLineItem",
            OpportunityId=original,
            Product2Id=product,
            Quantity=1,
            UnitPrice=number,
            SortOrder=10,
        )

    assert 210 < len(lines(org, await client.clone(original)))


async def test_a_discount_changes_the_amount_and_the_sales_price_stays(
    org: SalesforceEmulator, client: OrgClient
) -> None:
    """By the client as on the browser's page, alone or with another quantity."""
    record = org.seed(1)[0]
    before = org.query(f"{_LINES} WHERE OpportunityId = '{record}' ORDER BY Id")[0]
    await client.change(record, discount=10)
    await client.change(record, quantity=20)
    await client.change(record, quantity=10, discount=50)
    after = org.query(f"{_LINES} WHERE OpportunityId = '{record}' ORDER BY Id")[0]

    assert (before["UnitPrice"], 10, 50, before["UnitPrice"] * 5) == tuple(
        after[name] for name in ("UnitPrice", "Quantity", "Discount", "TotalPrice")
    )
    assert sum(one["TotalPrice"] for one in lines(org, record)) == org.get("Opportunity", record)["Amount"]  # type: ignore[misc]


async def test_a_deal_is_moved_deleted_and_restored(org: SalesforceEmulator, client: OrgClient) -> None:
    """It has another customer; it is deleted; it is restored, with that customer."""
    record = org.seed(2)[1]
    other = org.create("Account", Name="Other")
    await client.move(record, other)
    await client.delete(record)
    with pytest.raises(OrgRefusedError):
        await client.deal(record)
    await client.undelete(record)

    assert other == org.get("Opportunity", record)["AccountId"]
    with pytest.raises(OrgRefusedError, match="INVALID_CROSS_REFERENCE_KEY"):
        await client.move(record, RecordId("001000000000001AAA"))


async def test_two_hundred_deals_are_changed_concurrently(wire: Wire) -> None:
    """Each is created with lines, changed, won, deleted and restored by REST calls among all the others' calls."""
    org = wire.org
    products = [RecordId(one["Id"]) for one in org.query("SELECT Id FROM Product2")] or _products(org)

    async def life(number: int) -> None:
        deal = {"Name": f"Deal {number}", "StageName": "Prospecting", "CloseDate": "2026-05-05"}
        record = (await wire.rest("POST", "/sobjects/Opportunity", deal)).body["id"]
        items = [
            {
                "attributes": {"type": "OpportunityLineItem"},
                "OpportunityId": record,
                "Product2Id": products[place % len(products)],
                "Quantity": place + 1,
                "UnitPrice": number + 0.5,
                "Discount": 10 * place,
            }
            for place in range(number % 4 + 1)
        ]
        made = await wire.rest("POST", "/composite/sobjects", {"records": items})
        first = made.body[0]["id"]
        await wire.rest("PATCH", f"/sobjects/OpportunityLineItem/{first}", {"Quantity": 3, "UnitPrice": number + 0.5})
        if len(items) > 1:
            await wire.rest("DELETE", f"/sobjects/OpportunityLineItem/{made.body[1]['id']}")
        await wire.rest("PATCH", f"/sobjects/Opportunity/{record}", {"StageName": "Closed Won"})
        await wire.rest("DELETE", f"/sobjects/Opportunity/{record}")
        await wire.admin("POST", "undelete", {"object": "Opportunity", "record": record})

    await asyncio.gather(*(life(number) for number in range(200)))
    found = org.query(
        "SELECT Name, Amount, IsWon, (SELECT Quantity, UnitPrice, Discount FROM OpportunityLineItems) FROM Opportunity"
    )
    expected = {
        f"Deal {number}": round((number + 0.5) * (3 + sum(q * (1.1 - 0.1 * q) for q in range(3, number % 4 + 2))), 2)
        for number in range(200)
    }

    assert expected == {one["Name"]: one["Amount"] for one in found}
    assert {True} == {one["IsWon"] for one in found}


def _products(org: SalesforceEmulator) -> list[RecordId]:
    return [org.create("Product2", Name=code, ProductCode=code, IsActive=True) for code in ("A", "B", "C")]
