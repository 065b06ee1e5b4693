"""The query language: results and errors."""

# ruff: noqa: S608 - SOQL of our own making

from __future__ import annotations

from typing import Any

import pytest

from closedwon.emulators.salesforce.data.soql_syntax import parse, parse_condition
from closedwon.emulators.salesforce.data.soql_tree import Comparison, Logic
from closedwon.emulators.salesforce.errors import ApiError
from closedwon.emulators.salesforce.org import EmulatedOrg
from closedwon.ids import RecordId


@pytest.fixture
def deals(org: EmulatedOrg) -> dict[str, RecordId]:
    """Four Opportunities with distinct values, two of them with an account."""
    account = org.create("Account", Name="Ábel & Söhne", BillingCountryCode="AT")
    rows: dict[str, dict[str, Any]] = {
        "alpha": {"Amount": 10.5, "CloseDate": "2026-01-31", "AccountId": account, "NextStep": "Call"},
        "beta": {"Amount": 200, "CloseDate": "2026-02-28", "StageName": "Closed Won", "AccountId": account},
        "gamma": {"Amount": None, "CloseDate": "2026-03-31", "NextStep": "100% sure"},
        "delta": {"Amount": -5, "CloseDate": "2025-12-31", "StageName": "Closed Lost", "NextStep": "call BACK"},
    }
    return {
        name: org.create("Opportunity", **{"Name": name, "StageName": "Prospecting", **fields})
        for name, fields in rows.items()
    }


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("Name = 'ALPHA'", {"alpha"}),
        ("Amount > 10", {"alpha", "beta"}),
        ("Amount >= 200.0", {"beta"}),
        ("Amount < 0", {"delta"}),
        ("Amount <= 10.5 AND Amount > -10", {"alpha", "delta"}),
        ("Amount = null", {"gamma"}),
        ("Amount != null", {"alpha", "beta", "delta"}),
        ("NextStep != 'Call'", {"beta", "gamma", "delta"}),
        ("NOT NextStep = 'Call'", {"beta", "gamma", "delta"}),
        ("NOT Amount > 0", {"gamma", "delta"}),
        ("CloseDate >= 2026-02-01", {"beta", "gamma"}),
        ("IsWon = true", {"beta"}),
        ("IsClosed = TRUE AND IsWon = false", {"delta"}),
        ("StageName IN ('Closed Won', 'Closed Lost')", {"beta", "delta"}),
        ("StageName NOT IN ('Closed Won', 'Closed Lost')", {"alpha", "gamma"}),
        ("NextStep IN ('call', null)", {"alpha", "beta"}),
        ("NextStep NOT IN ('call')", {"beta", "gamma", "delta"}),
        ("NextStep LIKE 'call%'", {"alpha", "delta"}),
        ("NextStep LIKE '100\\% s_re'", {"gamma"}),
        ("NextStep LIKE '%\\_%'", set()),
        ("Account.Name = 'Ábel & Söhne'", {"alpha", "beta"}),
        ("Account.BillingCountryCode = null", {"gamma", "delta"}),
        ("(Name = 'alpha' OR Name = 'beta') AND IsWon = false", {"alpha"}),
        (
            "CreatedDate = TODAY AND CloseDate < TODAY AND CloseDate >= LAST_N_YEARS:9",
            {"alpha", "beta", "gamma", "delta"},
        ),
        ("AccountId IN (SELECT Id FROM Account WHERE Name LIKE '%bel%')", {"alpha", "beta"}),
        ("Id NOT IN (SELECT OpportunityId FROM OpportunityLineItem) AND Amount > 10", {"alpha", "beta"}),
        ("CALENDAR_YEAR(CloseDate) = 2025 OR CALENDAR_QUARTER(CloseDate) = 2", {"delta"}),
        ("DAY_IN_WEEK(CloseDate) = 7", {"alpha", "beta"}),
        ("Opportunity.Name = 'beta'", {"beta"}),
        ("CreatedDate > 2020-01-01T00:00:00Z", {"alpha", "beta", "gamma", "delta"}),
        ("CreatedDate < 2020-01-01T00:00:00.000+02:00", set()),
    ],
)
def test_conditions_have_salesforces_semantics(
    org: EmulatedOrg, deals: dict[str, RecordId], condition: str, expected: set[str]
) -> None:
    """A filter follows Salesforce's semantics of nulls, case and kinds."""
    assert deals
    assert expected == {one["Name"] for one in org.query(f"SELECT Name FROM Opportunity WHERE {condition}")}


def test_id_filters_take_both_lengths(org: EmulatedOrg, deals: dict[str, RecordId]) -> None:
    """A record is found by its 15-character id, and returned with 18."""
    found = org.query(f"SELECT Id FROM Opportunity WHERE Id = '{deals['alpha'].short}'")
    assert [deals["alpha"]] == [one["Id"] for one in found]


def test_parents_are_nested_and_absent_ones_null(org: EmulatedOrg, deals: dict[str, RecordId]) -> None:
    """A parent's fields are in a nested object, which is null without a parent."""
    assert deals
    found = org.query("SELECT Name, account.name, Account.Owner.Name FROM Opportunity ORDER BY Name LIMIT 3")
    assert ["Ábel & Söhne", "Ábel & Söhne", None] == [one["Account"] and one["Account"]["Name"] for one in found]
    assert found[0]["Account"]["attributes"]["type"] == "Account"
    assert found[0]["Account"]["Owner"]["Name"] == "Sam Sales"


def test_children_come_with_their_parents(seeded: EmulatedOrg) -> None:
    """A subquery gives each parent its own children with their parents' fields, and null without children."""
    bare = seeded.create("Opportunity", Name="bare", StageName="Prospecting", CloseDate="2026-01-01")
    found = seeded.query(
        "SELECT Id, (SELECT OpportunityId, ProductCode, Product2.ProductCode, Quantity FROM OpportunityLineItems "
        "ORDER BY ProductCode DESC) FROM Opportunity"
    )
    for one in found:
        lines = one["OpportunityLineItems"]
        if one["Id"] == bare:
            assert lines is None
            continue
        assert len(lines["records"]) == lines["totalSize"]
        assert {one["Id"]} == {line["OpportunityId"] for line in lines["records"]}
        codes = [line["Product2"]["ProductCode"] for line in lines["records"]]
        assert sorted(codes, reverse=True) == codes == [line["ProductCode"] for line in lines["records"]]
    assert any(len(one["OpportunityLineItems"]["records"]) > 1 for one in found if one["OpportunityLineItems"])


def test_the_limit_of_a_subquery_applies_per_parent(seeded: EmulatedOrg) -> None:
    """LIMIT in a subquery counts for each parent."""
    found = seeded.query("SELECT Id, (SELECT Id FROM OpportunityLineItems LIMIT 1) FROM Opportunity")
    assert {1} == {len(one["OpportunityLineItems"]["records"]) for one in found}


def test_order_limit_offset(org: EmulatedOrg, deals: dict[str, RecordId]) -> None:
    """Nulls come first by default; LIMIT and OFFSET cut the ordered result."""
    assert deals

    def names(rest: str) -> list[str]:
        return [one["Name"] for one in org.query(f"SELECT Name FROM Opportunity {rest}")]

    assert names("ORDER BY Amount") == ["gamma", "delta", "alpha", "beta"]
    assert names("ORDER BY Amount DESC NULLS LAST") == ["beta", "alpha", "delta", "gamma"]
    assert names("ORDER BY StageName ASC, Name DESC LIMIT 2 OFFSET 1") == ["beta", "gamma"]


def test_count(org: EmulatedOrg, deals: dict[str, RecordId]) -> None:
    """COUNT() returns a number."""
    assert deals
    assert org.records.query("SELECT count() FROM Opportunity WHERE IsClosed = true") == 2


def test_aggregates_have_salesforces_keys(org: EmulatedOrg, deals: dict[str, RecordId]) -> None:
    """A group has its fields by their names, and each aggregate by its alias, or as expr0, expr1."""
    assert deals
    found = org.query(
        "SELECT iswon, account.name, COUNT(Id) n, SUM(Amount), MAX(CloseDate) FROM Opportunity o "
        "GROUP BY IsWon, Account.Name ORDER BY COUNT(Id) DESC, SUM(Amount) NULLS LAST"
    )
    result = {"attributes": {"type": "AggregateResult"}}
    assert found == [
        {**result, "IsWon": False, "Name": None, "n": 2, "expr0": -5.0, "expr1": "2026-03-31"},
        {**result, "IsWon": False, "Name": "Ábel & Söhne", "n": 1, "expr0": 10.5, "expr1": "2026-01-31"},
        {**result, "IsWon": True, "Name": "Ábel & Söhne", "n": 1, "expr0": 200.0, "expr1": "2026-02-28"},
    ]
    assert [{**result, "expr0": 4}] == org.query("SELECT COUNT(Id) FROM Opportunity")
    assert [{**result, "expr0": None}] == org.query("SELECT AVG(Amount) FROM Opportunity WHERE Name = 'nothing'")


def test_fields_selects_all_fields_of_a_kind(org: EmulatedOrg, deals: dict[str, RecordId]) -> None:
    """FIELDS(ALL), FIELDS(STANDARD) and FIELDS(CUSTOM) select the fields that describe lists."""
    fields = {one.name for one in org.object("Opportunity").fields}
    custom = {name for name in fields if name.endswith("__c")}
    for kind, expected in {"all": fields, "STANDARD": fields - custom, "CUSTOM": custom}.items():
        (found,) = org.query(f"SELECT FIELDS({kind}) FROM Opportunity WHERE Id = '{deals['alpha']}' LIMIT 200")
        assert expected == set(found) - {"attributes"}


def test_deleted_records_are_returned_only_by_query_all(org: EmulatedOrg, deals: dict[str, RecordId]) -> None:
    """A deleted record is missing in queries, and marked in queryAll."""
    org.records.delete(org.object("Opportunity"), deals["alpha"], actor=org.sales_user)
    assert len(org.query("SELECT Id FROM Opportunity")) == 3
    everything = org.records.query("SELECT IsDeleted FROM Opportunity", include_deleted=True)
    assert isinstance(everything, list)
    assert sorted(one["IsDeleted"] for one in everything) == [False, False, False, True]


@pytest.mark.parametrize(
    ("soql", "code", "text"),
    [
        ("SELECT Id FROM Opportunity WHERE", "MALFORMED_QUERY", "unexpected token: '<EOF>'"),
        ("SELECT FROM Opportunity", "MALFORMED_QUERY", "Row:1:Column:8"),
        ("SELECT Id Opportunity", "MALFORMED_QUERY", "unexpected token: '<EOF>'"),
        ("SELECT Id i FROM Opportunity", "MALFORMED_QUERY", "only aggregate expressions use field aliasing"),
        ("SELECT Id, id FROM Opportunity", "INVALID_FIELD", "duplicate field selected: Id"),
        ("SELECT FIELDS(ALL) FROM Opportunity", "MALFORMED_QUERY", "must have a LIMIT of at most 200"),
        ("SELECT FIELDS(ALL), Id FROM Opportunity LIMIT 1", "INVALID_FIELD", "duplicate field selected: Id"),
        ("SELECT Name, COUNT(Id) FROM Opportunity", "MALFORMED_QUERY", "Field must be grouped or aggregated: Name"),
        ("SELECT SUM(Name) FROM Opportunity", "MALFORMED_QUERY", "field Name does not support aggregate operator SUM"),
        ("SELECT MAX(Amount) FROM Opportunity LIMIT 1", "MALFORMED_QUERY", "cannot also use LIMIT"),
        ("SELECT SHOUT(Name) FROM Opportunity", "MALFORMED_QUERY", "unexpected token: 'SHOUT'"),
        ("SELECT Id FROM Opportunity WHERE Amount = TODAY", "INVALID_FIELD", "must be of type currency"),
        ("SELECT Id FROM Opportunity WHERE CloseDate = SOMEDAY", "MALFORMED_QUERY", "unexpected token: 'SOMEDAY'"),
        (
            "SELECT Id FROM Opportunity WHERE CloseDate = 2026-02-30",
            "MALFORMED_QUERY",
            "unexpected token: '2026-02-30'",
        ),
        ("SELECT Id FROM Opportunity WHERE AccountId LIKE '0%'", "INVALID_QUERY_FILTER_OPERATOR", "on id field"),
        ("SELECT Id FROM Opportunity WHERE Name = :name", "MALFORMED_QUERY", "unexpected token: ':'"),
        ("SELECT Id FROM Opportunity OFFSET 2001", "NUMBER_OUTSIDE_VALID_RANGE", "Maximum SOQL offset allowed is 2000"),
        (
            "SELECT Id FROM Account WHERE Name = 'x' OR Id IN (SELECT AccountId FROM Opportunity)",
            "MALFORMED_QUERY",
            "Semi join sub-selects are not allowed with the 'OR' operator",
        ),
        (
            "SELECT Id FROM Account WHERE Id IN (SELECT Name FROM Opportunity)",
            "MALFORMED_QUERY",
            "Semi join sub-selects can only query id fields, cannot use: 'Name'",
        ),
        ("DELETE Id FROM Opportunity", "MALFORMED_QUERY", "unexpected token: 'DELETE'"),
        ("SELECT Id FROM Opportunity WHERE Name = 'open", "MALFORMED_QUERY", "unexpected token: '''"),
        ("SELECT Id FROM Opportunity WHERE Name = 'a' AND Name = 'b' OR Name = 'c'", "MALFORMED_QUERY", "'OR'"),
        ("SELECT Id FROM Opportunity LIMIT -1", "MALFORMED_QUERY", "'-1'"),
        ("SELECT Id FROM Opportunity; DROP TABLE Account", "MALFORMED_QUERY", "';'"),
        ("SELECT Id FROM Opportunity WHERE Name IN ()", "MALFORMED_QUERY", "')'"),
        (
            "SELECT Nonsense__c FROM Opportunity",
            "INVALID_FIELD",
            "No such column 'Nonsense__c' on entity 'Opportunity'",
        ),
        ("SELECT Id FROM Opportunity WHERE Foo = 1", "INVALID_FIELD", "No such column 'Foo'"),
        ("SELECT Buyer.Name FROM Opportunity", "INVALID_FIELD", "Didn't understand relationship 'Buyer'"),
        ("SELECT Id FROM Opportunity WHERE Name = 5", "INVALID_FIELD", "must be of type string and should be enclosed"),
        ("SELECT Id FROM Opportunity WHERE Amount = '5'", "INVALID_FIELD", "should not be enclosed in quotes"),
        ("SELECT Id FROM Opportunity WHERE CloseDate = '2026-01-01'", "INVALID_FIELD", "must be of type date"),
        ("SELECT Id FROM Opportunity WHERE ERP_Order_Error__c = 'x'", "INVALID_FIELD", "can not be filtered"),
        ("SELECT Id FROM Opportunity ORDER BY ERP_Order_Error__c", "INVALID_FIELD", "can not be sorted"),
        ("SELECT Id FROM Opportunity WHERE Id = '006'", "INVALID_QUERY_FILTER_OPERATOR", "invalid ID field: 006"),
        ("SELECT Id FROM Deal__c", "INVALID_TYPE", "sObject type 'Deal__c' is not supported"),
        ("SELECT Id FROM Order_Requested__e", "INVALID_TYPE", "is not supported"),
        (
            "SELECT Id, (SELECT Id FROM Lines) FROM Opportunity",
            "INVALID_TYPE",
            "Didn't understand relationship 'Lines'",
        ),
        ("SELECT Id FROM Account WHERE Name = '" + "x" * 100_001 + "'", "MALFORMED_QUERY", "cannot be longer"),
        ("SELECT Id FROM Account WHERE " + " OR ".join(["Name = 'x'"] * 2000), "QUERY_TOO_COMPLICATED", "complex"),
    ],
)
def test_bad_queries_are_refused_with_salesforces_codes(org: EmulatedOrg, soql: str, code: str, text: str) -> None:
    """A bad query gives the API's code and a text with the position or a hint."""
    with pytest.raises(ApiError) as caught:
        org.records.query(soql)
    assert (code, True) == (caught.value.code, text in caught.value.message)


def test_quotes_and_backslashes_in_texts(org: EmulatedOrg) -> None:
    """An escaped text finds the record with the original text."""
    name = 'O\'Brien \\ "Söhne"\nLtd'
    org.create("Account", Name=name)
    escaped = name.replace("\\", "\\\\").replace("'", "\\'").replace('"', '\\"').replace("\n", "\\n")
    assert [name] == [one["Name"] for one in org.query(f"SELECT Name FROM Account WHERE Name = '{escaped}'")]


def test_the_tree_of_a_condition() -> None:
    """NOT binds tighter than AND; parentheses group."""
    condition = parse_condition("NOT A = 1 AND (B = 2 OR C = 3)")
    assert isinstance(condition, Logic)
    assert condition.operator == "AND"
    negated, group = condition.parts
    assert isinstance(negated, Logic)
    assert isinstance(group, Logic)
    assert (negated.operator, group.operator) == ("NOT", "OR")
    assert isinstance(negated.parts[0], Comparison)


def test_keywords_in_any_case() -> None:
    """Keywords are accepted in any case."""
    assert parse("select Id from Account order by Name desc limit 1").limit == 1
