"""Reading and writing records: derived fields, stamps, errors, rules, flows."""

# ruff: noqa: S608 - SOQL of our own making

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from closedwon.emulators.salesforce.config import CustomField, Flow, OrgConfig, ValidationRule
from closedwon.emulators.salesforce.data.seed import PRODUCTS, seed
from closedwon.emulators.salesforce.errors import ApiError
from closedwon.emulators.salesforce.org import EmulatedOrg
from closedwon.ids import RecordId

CHANNEL = "/event/Order_Requested__e"


def payloads(org: EmulatedOrg) -> list[dict[str, Any]]:
    """The payloads on the bus, oldest first."""
    return [one.data["payload"] for one in org.bus.after(CHANNEL, 0, 1000)]


def refusal(code: str) -> Any:
    """Expect an error with `code`."""
    return pytest.raises(ApiError, match=f"^{code}: ")


def an_opportunity(org: EmulatedOrg, **fields: Any) -> RecordId:
    """An open Opportunity."""
    return org.create(
        "Opportunity", **{"Name": "Deal", "StageName": "Prospecting", "CloseDate": "2026-05-05", **fields}
    )


@pytest.mark.parametrize(
    ("stage", "won", "closed"),
    [
        ("Prospecting", False, False),
        ("Closed Won", True, True),
        ("Ordered", True, True),
        ("Closed Lost", False, True),
    ],
)
def test_won_and_closed_follow_the_stage(org: EmulatedOrg, stage: str, *, won: bool, closed: bool) -> None:
    """IsWon and IsClosed are those of the stage."""
    found = org.get("Opportunity", an_opportunity(org, StageName=stage))
    assert (won, closed) == (found["IsWon"], found["IsClosed"])


def test_amount_is_the_sum_of_the_lines(seeded: EmulatedOrg) -> None:
    """With line items, the Amount is their sum, and a written one is ignored."""
    one = seeded.query(
        "SELECT Id, Amount, (SELECT Id, Quantity, UnitPrice FROM OpportunityLineItems) FROM Opportunity"
    )[0]
    lines = one["OpportunityLineItems"]["records"]
    assert sum(line["Quantity"] * line["UnitPrice"] for line in lines) == one["Amount"]
    before = seeded.get("Opportunity", one["Id"])
    seeded.clock.advance(timedelta(seconds=5))
    seeded.update("OpportunityLineItem", lines[0]["Id"], Quantity=lines[0]["Quantity"] + 1)
    after = seeded.get("Opportunity", one["Id"])
    assert one["Amount"] + lines[0]["UnitPrice"] == after["Amount"]
    assert before["SystemModstamp"] < after["SystemModstamp"]
    assert before["LastModifiedDate"] < after["LastModifiedDate"]
    seeded.update("Opportunity", one["Id"], Amount=1)
    assert after["Amount"] == seeded.get("Opportunity", one["Id"])["Amount"]


def test_stamps_move_with_every_write(org: EmulatedOrg) -> None:
    """SystemModstamp and LastModifiedDate change with each write by milliseconds, CreatedDate never."""
    record = an_opportunity(org)
    first = org.get("Opportunity", record)
    assert first["CreatedDate"] == first["SystemModstamp"]
    assert first["CreatedDate"].endswith("+0000")
    org.clock.advance(timedelta(milliseconds=7))
    org.update("Opportunity", record, Name="Deal")
    second = org.get("Opportunity", record)
    assert first["CreatedDate"] == second["CreatedDate"]
    assert first["SystemModstamp"] < second["SystemModstamp"] == second["LastModifiedDate"]
    assert (org.sales_user, org.sales_user) == (second["OwnerId"], second["LastModifiedById"])


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"Nonsense": 1}, "INVALID_FIELD"),
        ({"Name": "x" * 121}, "STRING_TOO_LONG"),
        ({"ERP_Order_Number__c": "x" * 81}, "STRING_TOO_LONG"),
        ({"ERP_Order_Error__c": "x" * 32769}, "STRING_TOO_LONG"),
        ({"StageName": "Won"}, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
        ({"Name": None}, "REQUIRED_FIELD_MISSING"),
        ({"Name": ""}, "REQUIRED_FIELD_MISSING"),
        ({"IsWon": True}, "INVALID_FIELD_FOR_INSERT_UPDATE"),
        ({"Amount": "much"}, "JSON_PARSER_ERROR"),
        ({"Amount": True}, "JSON_PARSER_ERROR"),
        ({"Amount": 10**400}, "JSON_PARSER_ERROR"),
        ({"Amount": float("nan")}, "JSON_PARSER_ERROR"),
        ({"Name": "\ud800"}, "JSON_PARSER_ERROR"),
        ({"CloseDate": "31.12.2026"}, "JSON_PARSER_ERROR"),
        ({"Name": {"nested": 1}}, "JSON_PARSER_ERROR"),
        ({"AccountId": "001"}, "MALFORMED_ID"),
        ({"AccountId": "001000000000001AAA"}, "INVALID_CROSS_REFERENCE_KEY"),
    ],
)
def test_bad_values_are_refused(org: EmulatedOrg, fields: dict[str, Any], code: str) -> None:
    """An invalid value gives Salesforce's code, on create and on update, and nothing is changed."""
    record = an_opportunity(org)
    before = org.get("Opportunity", record)
    with refusal(code):
        org.update("Opportunity", record, **fields)
    with refusal(code):
        an_opportunity(org, **fields)
    assert before == org.get("Opportunity", record)
    assert len(org.query("SELECT Id FROM Opportunity")) == 1


def test_values_are_converted_as_in_rest(org: EmulatedOrg) -> None:
    """Numbers and booleans as texts, date-times as dates and empty texts as null are accepted, as in REST."""
    record = an_opportunity(org, Amount="12.50", CloseDate="2026-05-05T10:00:00Z", NextStep="")
    found = org.get("Opportunity", record)
    assert (12.5, "2026-05-05", None) == (found["Amount"], found["CloseDate"], found["NextStep"])
    product = org.create("Product2", Name="P", IsActive="true")
    assert org.get("Product2", product)["IsActive"] is True


def test_required_fields_are_all_named(org: EmulatedOrg) -> None:
    """A create without required fields names them."""
    with pytest.raises(ApiError) as caught:
        org.create("Opportunity", Name="x")
    assert ("REQUIRED_FIELD_MISSING", ("StageName", "CloseDate")) == (caught.value.code, caught.value.fields)


def test_deleted_and_unknown_records(org: EmulatedOrg) -> None:
    """A write to a deleted record gives ENTITY_IS_DELETED, a read NOT_FOUND, like an unknown record."""
    record = an_opportunity(org)
    owner = org.object("Opportunity")
    org.records.delete(owner, record, actor=org.sales_user)
    with refusal("ENTITY_IS_DELETED"):
        org.update("Opportunity", record, Name="x")
    with refusal("ENTITY_IS_DELETED"):
        org.records.delete(owner, record, actor=org.sales_user)
    with refusal("NOT_FOUND"):
        org.get("Opportunity", record)
    with refusal("NOT_FOUND"):
        org.update("Opportunity", "006000000000001AAA", Name="x")
    with refusal("MALFORMED_ID"):
        org.get("Account", "001900K0001pPuOAAU")


def test_line_items_are_deleted_with_their_opportunity(seeded: EmulatedOrg) -> None:
    """Deleting an Opportunity deletes its lines."""
    record = RecordId(seeded.query("SELECT Id FROM Opportunity LIMIT 1")[0]["Id"])
    of_it = f"SELECT Id FROM OpportunityLineItem WHERE OpportunityId = '{record}'"
    assert seeded.query(of_it)
    seeded.records.delete(seeded.object("Opportunity"), record, actor=seeded.sales_user)
    assert not seeded.query(of_it)


def test_validation_rules_refuse_and_roll_back() -> None:
    """A configured rule rejects a write with its own message and field, and the record is unchanged."""
    rule = ValidationRule(
        on="Opportunity",
        when="ERP_Order_Number__c != null AND Amount = null",
        message="An ordered deal has an amount",
        field="Amount",
    )
    org = EmulatedOrg(config=OrgConfig(validation_rules=(rule,)))
    record = an_opportunity(org)
    with pytest.raises(ApiError) as caught:
        org.update("Opportunity", record, ERP_Order_Number__c="SO1")
    expected = ("FIELD_CUSTOM_VALIDATION_EXCEPTION", "An ordered deal has an amount", ("Amount",))
    assert expected == (caught.value.code, caught.value.message, caught.value.fields)
    assert org.get("Opportunity", record)["ERP_Order_Number__c"] is None
    org.update("Opportunity", record, ERP_Order_Number__c="SO1", Amount=3)
    org.store.close()


def test_winning_publishes_once(seeded: EmulatedOrg) -> None:
    """The flow publishes when the stage becomes Closed Won, but not for other fields, nor for Ordered."""
    record = RecordId(seeded.query("SELECT Id FROM Opportunity LIMIT 1")[0]["Id"])
    seeded.update("Opportunity", record, NextStep="sign")
    assert payloads(seeded) == []
    seeded.win(record)
    seeded.win(record)
    seeded.update("Opportunity", record, ERP_Order_Number__c="SO1")
    seeded.update("Opportunity", record, StageName="Ordered")
    assert len(payloads(seeded)) == 1
    an_opportunity(seeded, StageName="Closed Won")
    assert len(payloads(seeded)) == 2


def test_a_deal_that_is_reopened_and_won_again_publishes_each_time(org: EmulatedOrg) -> None:
    """A consumer of the win needs the end of it, too."""
    record = an_opportunity(org)
    for stage in ("Closed Won", "Prospecting", "Closed Won"):
        org.update("Opportunity", record, StageName=stage)
    assert len(payloads(org)) == 3


def test_a_won_deal_that_is_changed_publishes_and_an_open_one_does_not(seeded: EmulatedOrg) -> None:
    """The amount follows the line items; an open deal is not ordered."""
    line = seeded.query("SELECT Id, OpportunityId FROM OpportunityLineItem LIMIT 1")[0]
    item = RecordId(line["Id"])
    seeded.update("OpportunityLineItem", item, Quantity=50)
    assert payloads(seeded) == []
    seeded.win(RecordId(line["OpportunityId"]))
    seeded.update("OpportunityLineItem", item, Quantity=51)
    seeded.update("OpportunityLineItem", item, Quantity=51)
    assert len(payloads(seeded)) == 2


def test_the_event_holds_the_whole_deal(seeded: EmulatedOrg) -> None:
    """The event's payload alone suffices for an order: account, lines, amounts, with the values of a query."""
    record = seeded.win_next(1)[0]
    payload = payloads(seeded)[0]
    deal = json.loads(payload["Payload__c"])
    row = seeded.get("Opportunity", record)
    account = seeded.get("Account", row["AccountId"])
    assert (record, row["Amount"], account["Name"]) == (
        payload["Opportunity_Id__c"],
        payload["Amount__c"],
        payload["Account_Name__c"],
    )
    assert account["BillingCountryCode"] == deal["Account"]["BillingCountryCode"]
    assert row["Amount"] == sum(line["TotalPrice"] for line in deal["OpportunityLineItems"]["records"])
    assert set(PRODUCTS) >= {line["ProductCode"] for line in deal["OpportunityLineItems"]["records"]}
    assert "attributes" not in json.dumps(deal)


def test_other_flows_by_configuration() -> None:
    """A flow on another object and event, with custom fields, needs only configuration."""
    config = OrgConfig(
        flows=(
            Flow(
                on="Account",
                field="Type",
                becomes="Customer",
                publishes="New_Customer__e",
                assignments={"Who__c": "Name"},
            ),
        ),
        custom_fields=(CustomField(on="New_Customer__e", name="Who__c"),),
    )
    org = EmulatedOrg(config=config)
    org.create("Account", Name="A", Type="Customer")
    assert [one.data["payload"]["Who__c"] for one in org.bus.after("/event/New_Customer__e", 0, 10)] == ["A"]
    org.store.close()


def a_flow(**changes: Any) -> dict[str, Any]:
    """A configuration with one flow."""
    flow = {"on": "Opportunity", "field": "Name", "becomes": "x", "publishes": "Order_Requested__e", "assignments": {}}
    return {"flows": [flow | changes]}


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (a_flow(field="Nope"), "Nope"),
        (a_flow(on="Deal__c"), "Deal__c"),
        (a_flow(publishes="Gone__e"), "Gone__e"),
        (a_flow(assignments={"X__c": "Id"}), "X__c"),
        (a_flow(assignments={"Amount__c": "Amnt"}), "Amnt"),
        ({"validation_rules": [{"on": "Opportunity", "when": "Amount >", "message": "m"}]}, "rule on Opportunity"),
    ],
)
def test_configuration_is_checked_at_start(config: dict[str, Any], text: str) -> None:
    """A flow or rule with an unknown name stops the org at its start, with the name."""
    with pytest.raises(ValueError, match=text):
        EmulatedOrg(config=OrgConfig.model_validate(config))


def test_publish_after_commit_and_immediately() -> None:
    """An event of a rolled-back transaction is published only if its event is Publish Immediately."""
    for at_once, expected in ((frozenset[str](), 0), (frozenset({"Order_Requested__e"}), 1)):
        org = EmulatedOrg(config=OrgConfig(publish_immediately=at_once))
        record = an_opportunity(org)
        with pytest.raises(ZeroDivisionError), org.records.transaction():  # noqa: PT012 - the block is the transaction
            org.win(record)
            raise ZeroDivisionError
        assert org.get("Opportunity", record)["StageName"] == "Prospecting"
        assert expected == len(payloads(org))
        org.win(record)
        assert expected + 1 == len(payloads(org))
        org.store.close()


def test_a_refused_record_publishes_nothing(org: EmulatedOrg) -> None:
    """In a larger transaction, the event of a rejected record is not published with the others."""
    good, bad = an_opportunity(org), an_opportunity(org)
    with org.records.transaction():
        org.win(good)
        with refusal("STRING_TOO_LONG"):
            org.update("Opportunity", bad, StageName="Closed Won", NextStep="x" * 300)
    assert [good] == [one["Opportunity_Id__c"] for one in payloads(org)]


def seen(org: EmulatedOrg, record: RecordId) -> dict[str, Any]:
    """A record as readers of the API see it."""
    return org.records.retrieve(org.object("Opportunity"), record)


def test_lagging_reads_show_an_earlier_state(org: EmulatedOrg) -> None:
    """With the lag fault, reads show a record in an earlier state, or not at all, until time has passed."""
    record = an_opportunity(org)
    org.faults.read_lag(2)
    org.win(record)
    org.update("Opportunity", record, NextStep="later")
    created = an_opportunity(org, Name="new")
    assert (seen(org, record)["StageName"], seen(org, record)["NextStep"]) == ("Prospecting", None)
    with refusal("NOT_FOUND"):
        seen(org, created)
    assert org.records.query("SELECT Id FROM Opportunity WHERE IsWon = true") == []
    assert len(payloads(org)) == 1
    org.clock.advance(timedelta(seconds=3))
    assert seen(org, record)["StageName"] == "Closed Won"
    assert org.records.query("SELECT COUNT() FROM Opportunity") == 2


def test_a_lagging_read_does_not_affect_writes(org: EmulatedOrg) -> None:
    """Writes use the current state, not the earlier one that readers see; so do tests without HTTP."""
    record = an_opportunity(org)
    org.faults.read_lag(60)
    org.win(record)
    assert seen(org, record)["StageName"] == "Prospecting"
    assert org.get("Opportunity", record)["StageName"] == "Closed Won"
    org.update("Opportunity", record, NextStep="x")
    org.faults.read_lag(0)
    assert ("Closed Won", "x") == (seen(org, record)["StageName"], seen(org, record)["NextStep"])


def test_faults_do_not_apply_to_calls_without_http(org: EmulatedOrg) -> None:
    """A row lock for the integration does not affect a test's own calls."""
    org.faults.lock_rows()
    record = an_opportunity(org)
    org.win(record)
    with refusal("UNABLE_TO_LOCK_ROW"):
        org.records.update(org.object("Opportunity"), record, {"NextStep": "x"}, actor=org.integration_user)


def test_seed_is_deterministic(org: EmulatedOrg) -> None:
    """The same seed gives the same deals; accounts and products are not created twice."""
    other = EmulatedOrg()
    seed(org, opportunities=20, seed=7)
    seed(other, opportunities=20, seed=7)
    lines = "(SELECT ProductCode, Quantity FROM OpportunityLineItems)"
    soql = f"SELECT Name, Amount, CloseDate, StageName, Account.Name, {lines} FROM Opportunity"
    assert org.query(soql) == other.query(soql)
    seed(org, opportunities=5, seed=8)
    assert (8, 3, 25) == tuple(
        len(org.query(f"SELECT Id FROM {name}")) for name in ("Account", "Product2", "Opportunity")
    )
    assert {"EUR"} == {one["CurrencyIsoCode"] for one in org.query("SELECT CurrencyIsoCode FROM Opportunity")}
    assert {1, 2, 3} >= {len(one["OpportunityLineItems"]["records"]) for one in org.query(soql)}
    other.store.close()
