"""Prices of line items and the amount of their Opportunity, as Salesforce calculates them."""

# ruff: noqa: S608 - SOQL of our own making

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from closedwon.emulators.salesforce.config import OrgConfig, ValidationRule
from closedwon.emulators.salesforce.errors import ApiError
from closedwon.emulators.salesforce.org import EmulatedOrg
from closedwon.ids import RecordId
from tests.unit.emulator.test_records import an_opportunity, payloads, refusal


def a_product(org: EmulatedOrg, *, code: str = "P", list_price: float | None = None) -> RecordId:
    """A product, in the price book if it has a list price."""
    product = org.create("Product2", Name=code, ProductCode=code, IsActive=True)
    if list_price is not None:
        org.create("PricebookEntry", Product2Id=product, UnitPrice=list_price, IsActive=True)
    return product


def a_line(org: EmulatedOrg, record: RecordId, **fields: Any) -> RecordId:
    """A line item of an Opportunity, of a new product unless one is named."""
    given = fields if {"Product2Id", "PricebookEntryId"} & fields.keys() else {"Product2Id": a_product(org), **fields}
    return org.create("OpportunityLineItem", OpportunityId=record, **given)


def api(org: EmulatedOrg, line: RecordId, **fields: Any) -> None:
    """Change a line by the REST API, whose rules differ from those of the browser's pages."""
    org.records.update(org.object("OpportunityLineItem"), line, fields, actor=org.sales_user)


def prices(org: EmulatedOrg, line: RecordId) -> tuple[float | None, float | None]:
    """Sales price and total price of a line."""
    found = org.get("OpportunityLineItem", line)
    return found["UnitPrice"], found["TotalPrice"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"Quantity": 2, "UnitPrice": 100}, (100, 200)),
        ({"Quantity": 2, "UnitPrice": 100, "Discount": 10}, (100, 180)),
        ({"Quantity": 2, "UnitPrice": 100, "Discount": 100}, (100, 0)),
        ({"Quantity": 3, "UnitPrice": 0.335}, (0.335, 1.01)),
        ({"Quantity": -15, "UnitPrice": 10}, (10, -150)),
        ({"Quantity": 3, "TotalPrice": 100}, (100 / 3, 100)),
        ({"Quantity": 2, "TotalPrice": 180, "Discount": 10}, (100, 180)),
        ({"Quantity": 2, "TotalPrice": 180, "Discount": 100}, (None, 180)),
        ({"Quantity": 1, "UnitPrice": 133.3300001}, (133.3300001, 133.33)),
    ],
)
def test_a_new_line_gets_the_missing_price(
    org: EmulatedOrg, given: dict[str, float], expected: tuple[float | None, float]
) -> None:
    """TotalPrice = Quantity * UnitPrice * (1 - Discount / 100), rounded half up; or UnitPrice follows from it."""
    unit, total = prices(org, a_line(org, an_opportunity(org), **given))

    assert expected == (unit if unit is None else pytest.approx(unit, abs=1e-12), total)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"Quantity": 2, "UnitPrice": 100, "TotalPrice": 200}, "FIELD_INTEGRITY_EXCEPTION"),
        ({"Quantity": 2}, "REQUIRED_FIELD_MISSING"),
        ({"UnitPrice": 2}, "REQUIRED_FIELD_MISSING"),
        ({"Quantity": 2, "UnitPrice": 100, "Discount": 100.5}, "NUMBER_OUTSIDE_VALID_RANGE"),
        ({"Quantity": 2, "UnitPrice": 100, "Discount": -1}, "NUMBER_OUTSIDE_VALID_RANGE"),
        ({"Quantity": 2, "UnitPrice": 100, "ListPrice": 1}, "INVALID_FIELD_FOR_INSERT_UPDATE"),
        ({"Quantity": 2, "UnitPrice": 100, "Product2Id": None}, "FIELD_INTEGRITY_EXCEPTION"),
    ],
)
def test_a_new_line_needs_exactly_one_price(org: EmulatedOrg, given: dict[str, Any], code: str) -> None:
    """A sales price or a total price, not both; a discount from 0 to 100 %; a product."""
    record = an_opportunity(org)
    with refusal(code):
        a_line(org, record, **given)
    assert (None, False) == tuple(org.get("Opportunity", record)[name] for name in ("Amount", "HasOpportunityLineItem"))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"Discount": 25}, (100, 300)),
        ({"Discount": None}, (100, 400)),
        ({"UnitPrice": 50}, (50, 180)),
        ({"TotalPrice": 720}, (200, 720)),
        ({"TotalPrice": 180, "Discount": 50}, (90, 180)),
        ({"Quantity": 8}, (50, 360)),
        ({"Quantity": 8, "TotalPrice": 360}, (50, 360)),
        ({"Quantity": 8, "TotalPrice": 720}, (100, 720)),
        ({"Quantity": 8, "UnitPrice": 100}, (100, 720)),
        ({"Quantity": 8, "UnitPrice": 100, "TotalPrice": 360}, (100, 720)),
        ({"Quantity": 8, "Discount": 0, "UnitPrice": 100}, (100, 800)),
        ({"Quantity": 8, "Discount": 0, "TotalPrice": 800}, (100, 800)),
        ({"Quantity": 4}, (100, 360)),
        ({"TotalPrice": None, "UnitPrice": 50}, (50, 180)),
        ({"Description": "x"}, (100, 360)),
    ],
)
def test_an_update_by_the_api_adjusts_the_price_that_is_not_named(
    org: EmulatedOrg, change: dict[str, Any], expected: tuple[float, float]
) -> None:
    """A quantity alone keeps the total and changes the sales price; a discount alone keeps the sales price."""
    line = a_line(org, an_opportunity(org), Quantity=4, UnitPrice=100, Discount=10)
    api(org, line, **change)

    assert expected == prices(org, line)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"UnitPrice": 50, "TotalPrice": 100}, "INVALID_FIELD"),
        ({"UnitPrice": None, "TotalPrice": None}, "INVALID_FIELD"),
        ({"Quantity": 8, "Discount": 0}, "FIELD_INTEGRITY_EXCEPTION"),
        ({"Product2Id": None}, "INVALID_FIELD_FOR_INSERT_UPDATE"),
        ({"OpportunityId": None}, "INVALID_FIELD_FOR_INSERT_UPDATE"),
        ({"Discount": 101}, "NUMBER_OUTSIDE_VALID_RANGE"),
    ],
)
def test_an_ambiguous_update_by_the_api_is_refused(org: EmulatedOrg, change: dict[str, Any], code: str) -> None:
    """Both prices cannot change; quantity and discount together need one of them. Nothing has changed."""
    line = a_line(org, an_opportunity(org), Quantity=4, UnitPrice=100, Discount=10)
    with refusal(code):
        api(org, line, **change)
    assert (100, 360) == prices(org, line)


def test_a_quantity_changed_in_the_browser_keeps_the_sales_price(org: EmulatedOrg) -> None:
    """The form of the browser sends the sales price along, so that the total changes."""
    line = a_line(org, an_opportunity(org), Quantity=4, UnitPrice=100, Discount=10)
    org.update("OpportunityLineItem", line, Quantity=8)

    assert (100, 720) == prices(org, line)


def test_the_list_price_comes_from_the_price_book(org: EmulatedOrg) -> None:
    """A line names its product by the price book entry or by the product; both show the list price."""
    product = a_product(org, code="GC", list_price=120)
    entry = RecordId(org.query(f"SELECT Id FROM PricebookEntry WHERE Product2Id = '{product}'")[0]["Id"])
    record = an_opportunity(org)
    lines = [
        a_line(org, record, PricebookEntryId=entry, Quantity=1, UnitPrice=100),
        a_line(org, record, Product2Id=product, Quantity=2, UnitPrice=90, Discount=50),
        a_line(org, record, Product2Id=a_product(org), Quantity=3, UnitPrice=80),
    ]
    found = [org.get("OpportunityLineItem", one) for one in lines]

    assert [(product, entry, 120, "GC")] * 2 == [
        (one["Product2Id"], one["PricebookEntryId"], one["ListPrice"], one["ProductCode"]) for one in found[:2]
    ]
    assert (None, None) == (found[2]["PricebookEntryId"], found[2]["ListPrice"])


def test_the_amount_is_the_sum_of_the_unrounded_totals(org: EmulatedOrg) -> None:
    """So it may differ from the sum of the shown totals, by less than half a cent a line (Help 000385918)."""
    record = an_opportunity(org)
    for _ in range(3):
        a_line(org, record, Quantity=1, UnitPrice=0.335)
    lines = org.query(f"SELECT TotalPrice FROM OpportunityLineItem WHERE OpportunityId = '{record}'")

    assert [0.34] * 3 == [one["TotalPrice"] for one in lines]
    assert Decimal("1.01") == Decimal(str(org.get("Opportunity", record)["Amount"]))


def test_totals_have_the_decimals_of_their_currency(org: EmulatedOrg) -> None:
    """Yen have none, dinars of Kuwait have three; the deal determines the currency of its lines."""
    yen, dinar = (an_opportunity(org, CurrencyIsoCode=code) for code in ("JPY", "KWD"))
    lines = [a_line(org, one, Quantity=3, UnitPrice=10.5005) for one in (yen, dinar)]

    assert [32, 31.502] == [prices(org, one)[1] for one in lines]
    assert [32, 31.502] == [org.get("Opportunity", one)["Amount"] for one in (yen, dinar)]
    assert "JPY" == org.get("OpportunityLineItem", lines[0])["CurrencyIsoCode"]
    org.update("Opportunity", yen, CurrencyIsoCode="JPY", Name="same currency")
    with refusal("FIELD_INTEGRITY_EXCEPTION"):
        org.update("Opportunity", yen, CurrencyIsoCode="EUR")


def test_amount_and_has_line_items_follow_the_lines(org: EmulatedOrg) -> None:
    """A written amount counts only without lines; when the last line is deleted, it becomes zero."""
    record = an_opportunity(org, Amount=7)

    def state() -> tuple[Any, Any]:
        found = org.get("Opportunity", record)
        return found["Amount"], found["HasOpportunityLineItem"]

    seen = [state()]
    lines = [a_line(org, record, Quantity=1, UnitPrice=price) for price in (10, 20)]
    seen.append(state())
    org.update("Opportunity", record, Amount=99)
    seen.append(state())
    for line in lines:
        org.delete("OpportunityLineItem", line)
        seen.append(state())
    org.update("Opportunity", record, Amount=99)
    seen.append(state())

    assert [(7, False), (30, True), (30, True), (20, True), (0, False), (99, False)] == seen


def test_saving_a_line_saves_its_deal(org: EmulatedOrg) -> None:
    """A save changes the stamps of the deal and of the line for any user, but never CreatedDate."""
    record = an_opportunity(org)
    line = a_line(org, record, Quantity=1, UnitPrice=10)
    before = org.get("Opportunity", record)
    made = org.get("OpportunityLineItem", line)
    org.clock.advance(timedelta(seconds=5))
    org.records.update(org.object("OpportunityLineItem"), line, {"Description": "x"}, actor=org.integration_user)
    after = org.get("Opportunity", record)
    changed = org.get("OpportunityLineItem", line)

    for stamp in ("SystemModstamp", "LastModifiedDate"):
        assert before[stamp] < after[stamp]
        assert made[stamp] < changed[stamp]
    assert org.integration_user == after["LastModifiedById"]
    assert (before["CreatedDate"], made["CreatedDate"]) == (after["CreatedDate"], changed["CreatedDate"])
    assert before["Amount"] == after["Amount"]


def test_a_rule_of_the_deal_applies_to_its_lines() -> None:
    """A save of a line is a save of its deal, with the deal's validation rules. Nothing has changed."""
    rule = ValidationRule(on="Opportunity", when="IsWon = true AND Amount > 100", message="too much", field="Amount")
    org = EmulatedOrg(config=OrgConfig(validation_rules=(rule,)))
    record = an_opportunity(org, StageName="Closed Won")
    line = a_line(org, record, Quantity=1, UnitPrice=100)
    with pytest.raises(ApiError, match="too much"):
        api(org, line, UnitPrice=101)
    assert ((100, 100), 100) == (prices(org, line), org.get("Opportunity", record)["Amount"])
    org.store.close()


def test_a_separately_deleted_line_is_not_restored_with_its_deal(org: EmulatedOrg) -> None:
    """It does not go to the recycle bin; the lines that were deleted with their deal do, and its amount stays."""
    record = an_opportunity(org, StageName="Closed Won")
    gone, kept, other = (a_line(org, record, Quantity=1, UnitPrice=price) for price in (1, 20, 300))
    org.delete("OpportunityLineItem", gone)
    published = len(payloads(org))
    org.delete("Opportunity", record)
    with refusal("NOT_FOUND"):
        org.get("OpportunityLineItem", kept)
    org.undelete("Opportunity", record)
    left = org.query(f"SELECT Id FROM OpportunityLineItem WHERE OpportunityId = '{record}'")

    assert [kept, other] == [one["Id"] for one in left]
    assert 320 == org.get("Opportunity", record)["Amount"]
    assert published == len(payloads(org))


def test_moving_a_won_deal_to_another_account_publishes(org: EmulatedOrg) -> None:
    """Its customer has changed, which concerns Closedwon; a move of an open deal publishes nothing."""
    first, second = (org.create("Account", Name=name) for name in ("First", "Second\tBranch"))
    record = an_opportunity(org, AccountId=first)
    org.update("Opportunity", record, AccountId=second)
    assert payloads(org) == []
    org.win(record)
    org.update("Opportunity", record, AccountId=first)
    org.update("Opportunity", record, AccountId=first)

    assert ["Second\tBranch", "First"] == [one["Account_Name__c"] for one in payloads(org)]


def test_a_deal_of_very_many_lines_can_be_won(org: EmulatedOrg) -> None:
    """Its event has no payload, because part of one would be worse; the deal itself is won."""
    record, product = an_opportunity(org), a_product(org)
    owner = org.object("OpportunityLineItem")
    line = {"OpportunityId": record, "Product2Id": product, "Quantity": 1, "UnitPrice": 1.5}
    with org.records.transaction():
        for number in range(500):
            org.records.create(owner, {**line, "SortOrder": number}, actor=org.sales_user)
    org.win(record)
    (event,) = payloads(org)

    assert (record, 750, None) == (event["Opportunity_Id__c"], event["Amount__c"], event["Payload__c"])


def test_the_payload_has_the_prices_of_each_line(org: EmulatedOrg) -> None:
    """Discount, total and list price of every line, and when deal and lines were changed."""
    product = a_product(org, list_price=120)
    record = an_opportunity(org)
    a_line(org, record, Product2Id=product, Quantity=2, UnitPrice=100, Discount=10, ServiceDate="2026-02-03")
    a_line(org, record, Quantity=3, TotalPrice=50)
    org.win(record)
    deal = json.loads(payloads(org)[-1]["Payload__c"])
    lines = deal["OpportunityLineItems"]["records"]

    assert (230, org.get("Opportunity", record)["CreatedDate"]) == (deal["Amount"], deal["CreatedDate"])
    assert [(10, 180, 120, "2026-02-03"), (None, 50, None, None)] == [
        (one["Discount"], one["TotalPrice"], one["ListPrice"], one["ServiceDate"]) for one in lines
    ]
    assert all(one["SystemModstamp"] <= deal["SystemModstamp"] for one in lines)
