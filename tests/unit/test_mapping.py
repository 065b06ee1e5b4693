"""A record becomes exactly the order of the route's expressions, or an error that says what to correct."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from closedwon.errors import AttentionError, AttentionReason
from closedwon.ids import RecordId
from closedwon.mapping.orders import (
    MappingError,
    qualifies,
    summary_of,
)
from closedwon.mapping.record import Erps, Record, snapshot
from closedwon.model.orders import Customer, Order, OrderHead, OrderLine
from closedwon.settings import Route
from tests.unit.mapping_records import ANY_PACE, LINE, ORG, RECORD, Change, Fields, json_values, mapped, put


def head(route: Route, record: Fields) -> OrderHead:
    """What the record under test says of its order without its lines."""
    return Record(route, ORG, RECORD, record).head()


def test_a_record_becomes_an_order(route: Route, record: Fields) -> None:
    """Every mapped field arrives; the amount is exact although JSON numbers came as floats."""
    order = mapped(route, record)
    expected = Order(
        org=ORG,
        record=RECORD,
        name="Roof for Acme",
        customer=Customer(
            id=RecordId("0015g00000AbCdE"),
            name="Acme",
            street="Main Street 1",
            city="Vienna",
            postal_code="1010",
            country="AT",
        ),
        currency="EUR",
        lines=(
            OrderLine(product="GC1040", quantity=Decimal(3), unit_price=Decimal("19.99")),
            OrderLine(product="SL9080", quantity=Decimal("0.1"), unit_price=Decimal("1234.50"), description="Setup"),
        ),
        total=Decimal("183.42"),
        reference="PO-77",
        order_date=date(2025, 11, 3),
    )
    assert expected == order
    assert Decimal("183.42") == order.amount


numbers = st.decimals(min_value=Decimal("0.01"), max_value=Decimal("99999999.99"), places=2)


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=20))
@ANY_PACE
def test_totals_add_up(route: Route, record: Fields, figures: list[tuple[Decimal, Decimal]]) -> None:
    """Whatever the figures, the order's amount is the exact sum, also when they came through JSON as floats."""
    lines = [
        {
            "Product2": {"ProductCode": "GC1040"},
            "Quantity": float(quantity),
            "UnitPrice": float(price),
            "Description": None,
        }
        for quantity, price in figures
    ]
    order = mapped(route, json.loads(json.dumps(put(record, "OpportunityLineItems.records", lines))))
    assert sum((quantity * price for quantity, price in figures), Decimal(0)) == order.amount


REFUSALS = {AttentionReason.MAPPING_FAILED, AttentionReason.UNUSUAL_AMOUNT, AttentionReason.AMOUNT_DIFFERS}


PATHS = (
    "Name",
    "IsWon",
    "CloseDate",
    "CurrencyIsoCode",
    "PO_Number__c",
    "Account",
    "Account.Id",
    "Account.Name",
    "Account.BillingCity",
    "OpportunityLineItems",
    "OpportunityLineItems.records",
    "OpportunityLineItems.records.0",
    "OpportunityLineItems.records.1.Product2",
    "OpportunityLineItems.records.1.Product2.ProductCode",
    "OpportunityLineItems.records.1.Quantity",
    "OpportunityLineItems.records.1.UnitPrice",
    "OpportunityLineItems.records.1.Description",
    "OpportunityLineItems.records.1.Discount",
    "OpportunityLineItems.records.1.TotalPrice",
    "Amount",
    "SystemModstamp",
    "CreatedDate",
    "ERP_Order_Number__c",
    "ERP_Order_Key__c",
)


@given(path=st.sampled_from(PATHS), value=json_values)
@hypothesis_settings(ANY_PACE, max_examples=500)
def test_no_value_of_a_record_breaks_the_mapping(route: Route, record: Fields, path: str, value: Any) -> None:
    """A record with invalid data needs attention; it never causes an endless retry."""
    changed = put(record, path, value)
    for function in (
        lambda: qualifies(route, changed),
        lambda: mapped(route, changed).model_dump_json(),
        lambda: snapshot(Record(route, ORG, RECORD, changed), Erps(("tryton",))),
        lambda: Record(route, ORG, RECORD, changed).erp(),
        lambda: summary_of(route, changed),
    ):
        try:
            function()
        except AttentionError as error:
            assert error.reason in REFUSALS  # noqa: PT017 - not every value is an error


UNFIT = [
    ("Name", None, "order.name: the expression 'Name' gives no value, but one is needed"),
    ("Name", "  ", "order.name: the expression 'Name' gives no value"),
    ("Name", ["secret"], "order.name: the expression 'Name' gives a list, not a text"),
    ("Name", "secret\ud800", "order.name: the expression 'Name' gives a text, not a text of whole characters"),
    ("Account", None, "order.customer.id: the expression 'Account.Id' gives no value, but one is needed"),
    ("Account.Id", "secret", "order.customer.id: the expression 'Account.Id' gives a text, not a Salesforce id"),
    ("Account.BillingCity", {"secret": 1}, "order.customer.city: the expression 'Account.BillingCity' gives an object"),
    ("CurrencyIsoCode", "secret", "order.currency: the expression 'CurrencyIsoCode' gives a text, not a currency code"),
    ("CurrencyIsoCode", None, "order.currency: the expression 'CurrencyIsoCode' gives no value, but one is needed"),
    ("CloseDate", "secret", "order.order_date: the expression 'CloseDate' gives a text, not a date like 2025-11-03"),
    ("CloseDate", "2026-W45-2", "the expression 'CloseDate' gives a text, not a date like 2025-11-03"),
    ("CloseDate", "20251103", "the expression 'CloseDate' gives a text, not a date like 2025-11-03"),
    ("CloseDate", 20251103, "order.order_date: the expression 'CloseDate' gives a number, not a date"),
    (
        "OpportunityLineItems",
        None,
        "order.lines.each: the expression 'OpportunityLineItems.records' gives no value, not",
    ),
    (
        "OpportunityLineItems.records",
        [],
        "'OpportunityLineItems.records' gives an empty list, not a list of at least one",
    ),
    (
        f"{LINE}.Product2",
        None,
        "order.lines.product: the expression 'Product2.ProductCode' on OpportunityLineItems.records[1]",
    ),
    (f"{LINE}.Quantity", "secret", "'Quantity' on OpportunityLineItems.records[1] gives a text, not a number"),
    (f"{LINE}.Quantity", True, "gives a boolean, not a number"),
    (f"{LINE}.Quantity", None, "'Quantity' on OpportunityLineItems.records[1] gives no value, but one is needed"),
    (f"{LINE}.Quantity", float("nan"), "gives a number beyond 18 digits"),
    (f"{LINE}.UnitPrice", "1e999999999", "gives a number beyond 18 digits"),
    *(
        (f"{LINE}.UnitPrice", text, "'UnitPrice' on OpportunityLineItems.records[1] gives a text, not a number")
        for text in ("1_000", "\uff11\uff12\uff13", "\u0661\u0662", "NaN", "Infinity", "--1", "0x10", "1 0", ".", "e5")
    ),
    (f"{LINE}.UnitPrice", "1,50", "'UnitPrice' on OpportunityLineItems.records[1] gives a text, not a number"),
]


@pytest.mark.parametrize(("path", "value", "expected"), UNFIT, ids=[f"{path}={value!r}" for path, value, _ in UNFIT])
def test_what_is_missing_or_unfit_is_named_but_not_shown(
    route: Route, record: Fields, path: str, value: Any, expected: str
) -> None:
    """The operator reads route, key, expression, place and type; no customer's data ends in a log."""
    with pytest.raises(MappingError) as caught:
        mapped(route, put(record, path, value))
    text = str(caught.value)
    assert text.startswith("Route 'won-deals', order.")
    assert expected in text
    assert "secret" not in text
    assert caught.value.reason == AttentionReason.MAPPING_FAILED
    assert "of route 'won-deals' in the settings (then restart the workers); then send `retry`" in caught.value.hint


def test_a_fixed_currency_is_not_put_on_a_record_in_another(route: Route, record: Fields) -> None:
    """The record says itself in which currency its amounts are; a computed currency may be another on purpose."""
    for expression, refused in (("'USD'", True), ("'EUR'", False), ("not_null(Other__c, 'USD')", False)):
        order = route.order.model_copy(update={"currency": expression})
        changed = route.model_copy(update={"order": order})
        if not refused:
            assert mapped(changed, record).currency in expression
            continue
        with pytest.raises(MappingError, match=r"order\.currency: .* gives another currency than the record's Curr"):
            mapped(changed, record)
        assert "USD" == mapped(changed, put(record, "CurrencyIsoCode", None)).currency


def test_what_is_optional_may_be_missing(route: Route, record: Fields) -> None:
    """An account without an address makes an order without one."""
    bare = {key: record[key] for key in ("Name", "IsWon", "Amount", "CurrencyIsoCode", "OpportunityLineItems")}
    order = mapped(route, {**bare, "Account": {"Id": "0015g00000AbCdE", "Name": "Acme", "BillingStreet": ""}})
    assert Customer(id=RecordId("0015g00000AbCdE"), name="Acme") == order.customer
    assert (None, None, None) == (order.reference, order.order_date, order.delivery_date)


def test_an_expression_picks_the_erp(changed: Change, record: Fields) -> None:
    """Large deals may go to another ERP than small ones."""
    expression = "\"CurrencyIsoCode == 'EUR' && 'tryton' || 'facade'\""
    route = changed('erp = "tryton" ', f"erp = {{ expression = {expression} }} ")
    assert "tryton" == Record(route, ORG, RECORD, record).erp()
    assert "facade" == Record(route, ORG, RECORD, put(record, "CurrencyIsoCode", "USD")).erp()
    nothing = changed('erp = "tryton" ', 'erp = { expression = "PO_Number__c" } ')
    with pytest.raises(MappingError, match=r"erp\.expression: .* gives no value"):
        Record(nothing, ORG, RECORD, put(record, "PO_Number__c", None)).erp()


def test_an_order_knows_when_its_record_was_made_and_changed(route: Route, record: Fields) -> None:
    """By the record's own stamps."""
    stamps = {"CreatedDate": "2025-10-01T08:00:00.000+0000", "SystemModstamp": "2025-11-03T09:30:00.000+0000"}
    order = mapped(route, {**record, **stamps})
    assert ("2025-10-01T08:00:00+00:00", "2025-11-03T09:30:00+00:00") == (
        order.created_at and order.created_at.isoformat(),
        order.modified_at and order.modified_at.isoformat(),
    )


@pytest.mark.parametrize(("allow", "is_taken"), [((), False), (("negative-total",), True), (("zero-quantity",), False)])
def test_m6_a_negative_total_is_taken_only_where_the_route_allows_it(
    route: Route, record: Fields, allow: tuple[str, ...], *, is_taken: bool
) -> None:
    """A credit is not an order; nothing at all is one."""
    found = route.model_copy(update={"order": route.order.model_copy(update={"allow": allow})})
    for price, fits in ((Decimal(-10_000), is_taken), (Decimal("-41.15"), True)):
        credit = put(record, "OpportunityLineItems.records.0.UnitPrice", price)
        if fits:
            assert mapped(found, credit).amount <= 0
        else:
            with pytest.raises(AttentionError, match=r"the total of the lines is -29876\.55 EUR") as caught:
                mapped(found, credit)
            assert AttentionReason.UNUSUAL_AMOUNT is caught.value.reason


@pytest.mark.parametrize(
    ("number", "expected"), [("C-7", "C-7"), (" C-7\n", "C-7"), (4711, "4711"), ("", None), (None, None)]
)
def test_without_its_lines_a_record_still_names_its_customer(
    route: Route, record: Fields, number: Any, expected: str | None
) -> None:
    """By the number in the ERP, where the record has one, else by the Salesforce id: as the whole order does."""
    customer = route.order.customer.model_copy(update={"number": "Account.AccountNumber"})
    found = route.model_copy(update={"order": route.order.model_copy(update={"customer": customer})})
    numbered = put(record, "Account.AccountNumber", number)
    assert (expected or "0015g00000AbCdEAAV") == head(found, numbered).customer
    assert mapped(found, numbered).customer.reference == head(found, numbered).customer
    assert "0015g00000AbCdEAAV" == head(route, numbered).customer
    unnamed = put(numbered, "Account.Id", None)
    if expected is not None:
        assert expected == head(found, unnamed).customer
    else:
        with pytest.raises(MappingError, match=r"order\.customer\.id: .* gives no value, but one is needed"):
            head(found, unnamed)


def test_what_is_known_of_an_order_without_its_lines(route: Route, record: Fields) -> None:
    """Currency, total and age; a total that is not mapped, or has no value, is not known."""
    bare = {**record, "OpportunityLineItems": None, "CreatedDate": "2025-10-01T08:00:00.000+0000"}
    found = head(route, bare)
    assert ("EUR", Decimal("183.42"), datetime(2025, 10, 1, 8, tzinfo=UTC)) == (
        found.currency, found.total, found.created_at,
    )  # fmt: skip
    assert head(route, {**bare, "Amount": None}).total is None
    unmapped = route.model_copy(update={"order": route.order.model_copy(update={"total": None})})
    assert head(unmapped, bare).total is None
    assert head(route, {**bare, "CreatedDate": None}).created_at is None
    with pytest.raises(MappingError, match=r"order\.currency: .* gives no value"):
        head(route, {**bare, "CurrencyIsoCode": None})
