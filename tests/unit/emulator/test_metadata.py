"""An org that is configured by source-format metadata: ours, and a small project's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from closedwon.emulators.salesforce.config import OrgConfig, Rights
from closedwon.emulators.salesforce.errors import ApiError
from closedwon.emulators.salesforce.metadata import with_metadata
from closedwon.emulators.salesforce.org import EmulatedOrg
from closedwon.emulators.salesforce.push.formulas import parse_formula
from tests.support import sfdx

HEAD = '<?xml version="1.0" encoding="UTF-8"?>'
NS = 'xmlns="http://soap.sforce.com/2006/04/metadata"'


def write(folder: Path, files: dict[str, str]) -> None:
    """Write metadata files; each text is the root's tag and its content."""
    for path, text in files.items():
        tag, _, content = text.partition(" ")
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(f"{HEAD}<{tag} {NS}>{content}</{tag}>", encoding="utf-8")


@pytest.fixture
def ours() -> Iterator[EmulatedOrg]:
    """An org with the metadata of deploy/salesforce, and with an endpoint for one of its messages."""
    endpoints = {"Closedwon_Order_Requested": "http://localhost:9/outbound/won-deals"}
    org = EmulatedOrg(config=OrgConfig(metadata=sfdx.DEFAULT, endpoints=endpoints))
    yield org
    org.store.close()


def test_ours_publishes_and_sends_as_an_org_does(ours: EmulatedOrg) -> None:
    """Won, changed and reopened deals publish our event and send our message; the flow's assignments fill the event."""
    account = ours.create("Account", Name="Edge")
    deal = ours.create(
        "Opportunity", Name="D", StageName="Prospecting", CloseDate="2026-01-01", Amount=5, AccountId=account
    )
    assert (0, 0) == (ours.bus.published, len(ours.outbox.queued()))
    ours.win(deal)
    (event,) = ours.bus.after("/event/Order_Requested__e", 0, 10)
    payload = {
        "Opportunity_Id__c": deal,
        "Organization_Id__c": ours.org_id,
        "Amount__c": 5.0,
        "Account_Name__c": "Edge",
    }
    assert payload.items() <= event.data["payload"].items()
    for changes in ({"NextStep": "x"}, {"Amount": 6}, {"StageName": "Prospecting"}):
        ours.update("Opportunity", deal, **changes)
    assert (3, 3) == (ours.bus.published, len(ours.outbox.queued()))
    assert {"Closedwon_Order_Requested"} == {one.definition for one in ours.outbox.queued()}
    ours.delete("Opportunity", deal)  # of the other message, the endpoint in the metadata is not called
    assert len(ours.outbox.queued()) == 3


def test_a_project_of_its_own_configures_an_org(tmp_path: Path) -> None:
    """An object, its fields, an event that is published at once, and a flow on the object are the project's."""
    write(
        tmp_path,
        {
            "objects/Contract_Line__c/Contract_Line__c.object-meta.xml": "CustomObject <label>Line</label>",
            "objects/Contract_Line__c/fields/Deal__c.field-meta.xml": (
                "CustomField <fullName>Deal__c</fullName><type>Lookup</type><referenceTo>Opportunity</referenceTo>"
            ),
            "objects/Contract_Line__c/fields/Colors__c.field-meta.xml": (
                "CustomField <fullName>Colors__c</fullName><type>MultiselectPicklist</type>"
            ),
            "objects/Contract_Line__c/fields/Key__c.field-meta.xml": (
                "CustomField <fullName>Key__c</fullName><type>Text</type><length>20</length>"
                "<externalId>true</externalId><required>true</required>"
            ),
            "objects/Account/fields/Industry.field-meta.xml": "CustomField <fullName>Industry</fullName>",
            "objects/Line_Made__e/Line_Made__e.object-meta.xml": (
                "CustomObject <publishBehavior>PublishImmediately</publishBehavior>"
            ),
            "objects/Line_Made__e/fields/Key__c.field-meta.xml": (
                "CustomField <fullName>Key__c</fullName><type>Text</type>"
            ),
            "flows/Made.flow-meta.xml": (
                "Flow <start><triggerType>RecordAfterSave</triggerType><object>Contract_Line__c</object>"
                "<recordTriggerType>Create</recordTriggerType></start><status>Active</status><recordCreates>"
                "<object>Line_Made__e</object><inputAssignments><field>Key__c</field><value><elementReference>"
                "$Record.Key__c</elementReference></value></inputAssignments></recordCreates>"
            ),
        },
    )
    org = EmulatedOrg(config=OrgConfig(metadata=tmp_path))
    deal = org.create("Opportunity", Name="D", StageName="Closed Won", CloseDate="2026-01-01")
    with pytest.raises(ApiError, match="REQUIRED_FIELD_MISSING"):
        org.create("Contract_Line__c", Deal__c=deal)
    line = org.create("Contract_Line__c", Key__c="K", Deal__c=deal, Colors__c="red;green")
    soql = "SELECT Deal__r.Name FROM Contract_Line__c WHERE Colors__c INCLUDES ('red;green', 'blue') AND Key__c = 'k'"
    assert [("D", line[:3])] == [(one["Deal__r"]["Name"], "a01") for one in org.query(soql)]
    assert [] == org.query("SELECT Id FROM Contract_Line__c WHERE Colors__c EXCLUDES ('red')")
    org.update("Contract_Line__c", line, Colors__c="blue")
    (event,) = org.bus.after("/event/Line_Made__e", 0, 10)
    assert (event.data["payload"]["Key__c"], org.bus.published) == ("K", 1)
    org.store.close()


def test_the_permission_set_of_ours_grants_what_the_integration_needs_and_no_more() -> None:
    """The user reads deals and writes our fields; it may not write others, make accounts, or see a phone."""
    rights = Rights(permission_sets=("Closedwon_Integration",))
    org = EmulatedOrg(config=OrgConfig(metadata=sfdx.DEFAULT, rights=rights))
    deal = org.create("Opportunity", Name="D", StageName="Closed Won", CloseDate="2026-01-01")
    user, deals = org.integration_user, org.object("Opportunity")
    reader = org.records.rights.reader(user)
    for soql in (
        "SELECT Name, Amount, IsWon, Account.Name, Account.BillingCity, PO_Number__c, CurrencyIsoCode FROM Opportunity",
        "SELECT Quantity, UnitPrice, Discount, TotalPrice, Product2.ProductCode FROM OpportunityLineItem",
    ):
        assert isinstance(org.records.query(soql, reader=reader), list)
    assert org.records.query("SELECT Id FROM Opportunity WHERE Account.BillingCountryCode = null", reader=reader)
    for soql in ("SELECT NextStep FROM Opportunity", "SELECT Account.Phone FROM Opportunity"):
        with pytest.raises(ApiError, match="INVALID_FIELD"):
            org.records.query(soql, reader=reader)
    org.records.update(deals, deal, {"ERP_Order_Number__c": "1", "ERP_Order_Error__c": "e"}, actor=user)
    with pytest.raises(ApiError, match="INVALID_FIELD_FOR_INSERT_UPDATE"):
        org.records.update(deals, deal, {"PO_Number__c": "1"}, actor=user)
    with pytest.raises(ApiError, match="CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"):
        org.records.create(org.object("Account"), {"Name": "A"}, actor=user)
    with pytest.raises(ApiError, match="INSUFFICIENT_ACCESS_OR_READONLY"):
        org.records.delete(deals, deal, actor=user)
    assert org.records.rights.may_read(org.object("Order_Requested__e"), user)
    org.store.close()


@pytest.mark.parametrize("only_changes", [True, False])
def test_a_flow_with_filters_runs_when_they_are_met(tmp_path: Path, only_changes: bool) -> None:  # noqa: FBT001 - a case
    """Filters in place of a formula decide, too: at each save, or only when the record begins to meet them."""
    filters = "".join(
        f"<filters><field>{field}</field><operator>{operator}</operator><value>{value}</value></filters>"
        for field, operator, value in [
            ("StageName", "EqualTo", "<stringValue>Closed Won</stringValue>"),
            ("IsWon", "EqualTo", "<booleanValue>true</booleanValue>"),
            ("Amount", "GreaterThan", "<numberValue>10.0</numberValue>"),
        ]
    )
    write(
        tmp_path,
        {
            "flows/Won.flow-meta.xml": (
                f"Flow <start><triggerType>RecordAfterSave</triggerType><object>Opportunity</object>{filters}"
                "<doesRequireRecordChangedToMeetCriteria>"
                f"{str(only_changes).lower()}</doesRequireRecordChangedToMeetCriteria>"
                "<recordTriggerType>Update</recordTriggerType></start><status>Active</status><recordCreates>"
                "<object>Order_Requested__e</object></recordCreates>"
            )
        },
    )
    org = EmulatedOrg(config=OrgConfig(metadata=tmp_path))
    small, large = (
        org.create("Opportunity", Name="D", StageName="Prospecting", CloseDate="2026-01-01", Amount=amount)
        for amount in (10, 11)
    )
    for deal in (small, large):
        org.win(deal)
        org.update("Opportunity", deal, NextStep="x")
    assert org.bus.published == (1 if only_changes else 2)
    org.store.close()


@pytest.mark.parametrize(
    ("formula", "before", "after", "expected"),
    [
        ('ISPICKVAL({!$Record.StageName}, "Closed Won")', None, {"StageName": "Closed Won"}, True),
        ("{!$Record.Amount} >= 100", None, {"Amount": 99.5}, False),
        ("{!$Record.Amount} <> 100", None, {"Amount": None}, True),
        ('AND(TEXT({!$Record.A}) = "x", NOT(ISBLANK({!$Record.B})))', None, {"A": "x", "B": "y"}, True),
        ("TRUE", None, {}, True),
        ("AND({!$Record.IsWon} = true, {!$Record.IsClosed} <> False)", None, {"IsWon": 1, "IsClosed": 0}, False),
        ("ISCHANGED({!$Record.A})", None, {"A": 1}, False),
        ("OR(ISNEW(), PRIORVALUE({!$Record.A}) = {!$Record.A})", {"A": 1}, {"A": 2}, False),
    ],
)
def test_formulas(formula: str, before: dict[str, object] | None, after: dict[str, object], expected: bool) -> None:  # noqa: FBT001 - a case
    """A formula of an entry condition decides by the record before and after the write."""
    assert expected == parse_formula(formula)(before, after)


def test_metadata_that_cannot_be_used_is_refused_with_its_file(tmp_path: Path) -> None:
    """A missing folder, broken XML, an unknown function and an unknown permission set name what is wrong."""
    with pytest.raises(ValueError, match="is not a folder"):
        with_metadata(OrgConfig(), tmp_path / "nothing")
    start = "<triggerType>RecordAfterSave</triggerType><object>Account</object><filterFormula>TODAY()</filterFormula>"
    write(tmp_path, {"flows/Wrong.flow-meta.xml": f"Flow <start>{start}</start>"})
    with pytest.raises(ValueError, match=r"Wrong\.flow-meta\.xml: .*TODAY"):
        with_metadata(OrgConfig(), tmp_path)
    (tmp_path / "flows" / "Wrong.flow-meta.xml").write_text("<Flow", encoding="utf-8")
    with pytest.raises(ValueError, match=r"Wrong\.flow-meta\.xml"):
        with_metadata(OrgConfig(), tmp_path)
    with pytest.raises(ValueError, match="unknown permission set Missing"):
        EmulatedOrg(config=OrgConfig(rights=Rights(permission_sets=("Missing",))))
