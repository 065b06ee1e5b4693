"""Single values: lookups, dates, numbers, texts, and the qualification of a record."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from closedwon.mapping.orders import (
    MappingError,
    qualifies,
)
from closedwon.settings import Route
from tests.unit.mapping_records import LINE, Change, Fields, mapped, put


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2025-11-03", date(2025, 11, 3)),
        ("2025-11-03T23:30:00.000+0000", date(2025, 11, 3)),
        ("2025-11-03T00:30:00Z", date(2025, 11, 3)),
        ("2025-11-03T00:30:00.123-0800", date(2025, 11, 3)),
        ("", None),
        (None, None),
    ],
)
def test_dates_come_in_all_forms_that_salesforce_writes(
    route: Route, record: Fields, value: str | None, expected: date | None
) -> None:
    """A date, or the day of a date and time as it is written."""
    assert expected == mapped(route, put(record, "CloseDate", value)).order_date


@pytest.mark.parametrize("value", [2, 2.0, "2", " 2.00 ", "+2", "2.", "0.2e1", "2E0", Decimal("2.0")])
def test_numbers_come_as_numbers_and_as_texts(route: Route, record: Fields, value: Any) -> None:
    """A flow's JSON often has numbers as texts."""
    assert Decimal(2) == mapped(route, put(record, f"{LINE}.Quantity", value)).lines[1].quantity


def test_a_number_may_stand_for_a_text(route: Route, record: Fields) -> None:
    """Product codes may look like numbers; they are written without exponent or rounding."""
    assert "1040" == mapped(route, put(record, f"{LINE}.Product2", {"ProductCode": 1040})).lines[1].product
    assert "1040.5" == mapped(route, put(record, f"{LINE}.Product2", {"ProductCode": 1040.5})).lines[1].product


def test_free_fields_are_passed_on_as_texts(changed: Change, record: Fields) -> None:
    """A free field without a value is left out."""
    extra = '[routes.order.extra]\nstage = "StageName"\nwon = "IsWon"\nempty = "ERP_Order_Number__c"\n'
    route = changed(
        "[routes.write_back]",
        f"{extra}quantities = 'sum(OpportunityLineItems.records[].Quantity)'\n[routes.write_back]",
    )
    assert {"stage": "Closed Won", "won": "true", "quantities": "3.1"} == mapped(route, record).extra


LOOKUPS = """
[[routes.order.lookups]]
field = "customer.country"
values = {{ AT = "Austria" }}
{}
[routes.write_back]
"""


def test_a_lookup_replaces_a_value(changed: Change, record: Fields) -> None:
    """A code of Salesforce becomes the ERP's."""
    route = changed("[routes.write_back]", LOOKUPS.format(""))
    assert "Austria" == mapped(route, record).customer.country
    assert mapped(route, put(record, "Account.BillingCountryCode", None)).customer.country is None
    with pytest.raises(
        MappingError, match=r"order\.customer\.country: .* gives a text that its lookup table does not have"
    ):
        mapped(route, put(record, "Account.BillingCountryCode", "DE"))


@pytest.mark.parametrize("value", ["DE", None, ""])
def test_a_lookups_default_stands_in(changed: Change, record: Fields, value: str | None) -> None:
    """The default is for everything that the table does not have, nothing at all included."""
    route = changed("[routes.write_back]", LOOKUPS.format('default = "Elsewhere"'))
    assert "Elsewhere" == mapped(route, put(record, "Account.BillingCountryCode", value)).customer.country


def test_lookups_work_on_lines_and_before_the_check_of_the_currency(changed: Change, record: Fields) -> None:
    """Each line's product is looked up; a currency may be a name until the table has made a code of it."""
    tables = (
        '[[routes.order.lookups]]\nfield = "lines.product"\nvalues = { GC1040 = "A-1", SL9080 = "A-2" }\n'
        '[[routes.order.lookups]]\nfield = "currency"\nvalues = { Euro = "EUR" }\n[routes.write_back]'
    )
    order = mapped(changed("[routes.write_back]", tables), put(record, "CurrencyIsoCode", "Euro"))
    assert ("EUR", ["A-1", "A-2"]) == (order.currency, [line.product for line in order.lines])


@pytest.mark.parametrize(("value", "expected"), [(True, True), (False, False), (None, False)])
def test_a_record_qualifies_by_a_boolean(route: Route, record: Fields, value: object, expected: object) -> None:
    """No value counts as False."""
    assert expected is qualifies(route, put(record, "IsWon", value))


def test_a_qualification_must_be_a_boolean(changed: Change, record: Fields) -> None:
    """A text would count as true for every record and order them all."""
    with pytest.raises(MappingError, match="qualify: the expression 'StageName' gives a text, not true or false"):
        qualifies(changed('qualify = "IsWon"', 'qualify = "StageName"'), record)


def test_a_qualification_compares_exactly(changed: Change, record: Fields) -> None:
    """A limit on an amount means what it says."""
    route = changed('qualify = "IsWon"', "qualify = 'IsWon && sum(OpportunityLineItems.records[].Quantity) == `3.1`'")
    assert qualifies(route, record)


def test_an_expression_that_fails_needs_attention(changed: Change, record: Fields) -> None:
    """The error names the function, the given type and the accepted types."""
    route = changed('reference = "PO_Number__c"', "reference = 'join(`\"-\"`, [PO_Number__c, Account])'")
    with pytest.raises(
        MappingError, match=r"order.reference: the expression .* fails: join\(\) got dict, not array-string"
    ):
        mapped(route, record)


@pytest.mark.parametrize(
    ("number", "is_taken"),
    [("1E-18", True), ("1E-19", False), ("9E17", True), ("1E18", False), ("0.1234567890123456789", False)],
)
def test_a_number_has_18_digits_on_either_side_of_the_point(
    route: Route, record: Fields, number: str, *, is_taken: bool
) -> None:
    """Salesforce's have no more; beyond them sums would lose digits."""
    priced = put(record, "OpportunityLineItems.records.0.UnitPrice", number)
    if is_taken:
        assert Decimal(number) == mapped(route, priced).lines[0].unit_price
    else:
        with pytest.raises(MappingError, match="a number beyond 18 digits"):
            mapped(route, priced)


@pytest.mark.parametrize("value", ["", None])
def test_an_empty_text_is_not_a_value(route: Route, record: Fields, value: str | None) -> None:
    """Neither a date nor an id: the first is left out, the second is missed."""
    assert mapped(route, {**record, "CloseDate": value}).order_date is None
    with pytest.raises(MappingError, match="gives no value, but one is needed"):
        mapped(route, put(record, "Account.Id", value))
    with pytest.raises(MappingError, match="gives no value, but one is needed"):
        mapped(route, put(record, "OpportunityLineItems.records.0.Quantity", value))
