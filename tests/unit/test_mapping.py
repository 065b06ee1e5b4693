"""A record becomes the order that the route's expressions say, exactly, or an error that tells what to mend."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from closedwon import mapping
from closedwon.errors import AttentionError, AttentionReason
from closedwon.ids import OrgId, RecordId
from closedwon.mapping import MappingError
from closedwon.model import Customer, Order, OrderLine
from closedwon.record import Erps, Record, snapshot
from closedwon.settings import Route, Settings

ORG = OrgId("00D5g000004Kx1X")
RECORD = RecordId("0065g00000AbCdE")
Fields = dict[str, Any]
Load = Callable[[str], Settings]
Change = Callable[[str, str], Route]
ANY_PACE = hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def map_order(route: Route, record: Fields) -> Order:
    """Map the record under test."""
    return mapping.map_order(route, ORG, RECORD, record)


def put(record: Fields, path: str, value: Any) -> Fields:
    """Return the record with another value at a dotted path; a number is a list's index."""
    record = copy.deepcopy(record)
    *parents, last = (int(key) if key.isdigit() else key for key in path.split("."))
    here: Any = record
    for key in parents:
        here = here[key]
    here[last] = value
    return record


def test_a_record_becomes_an_order(route: Route, record: Fields) -> None:
    """Every mapped field arrives; the amount is exact although JSON numbers came as floats."""
    order = map_order(route, record)
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
    order = map_order(route, json.loads(json.dumps(put(record, "OpportunityLineItems.records", lines))))
    assert sum((quantity * price for quantity, price in figures), Decimal(0)) == order.amount


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
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
    """A record that makes no sense needs attention; it is never a bug that retries for ever."""
    changed = put(record, path, value)
    for function in (
        lambda: mapping.qualifies(route, changed),
        lambda: map_order(route, changed).model_dump_json(),
        lambda: snapshot(Record(route, ORG, RECORD, changed), Erps(("tryton",))),
        lambda: Record(route, ORG, RECORD, changed).erp(),
        lambda: mapping.summary_of(route, changed),
    ):
        try:
            function()
        except AttentionError as error:
            assert error.reason in REFUSALS  # noqa: PT017 - not every value is an error


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=5))
@ANY_PACE
def test_no_payload_breaks_the_reading_of_an_event(route: Route, payload: Fields) -> None:
    """An event that cannot be understood is a bad message, whatever it holds."""
    event = {**payload, "Opportunity_Id__c": next(iter(payload.values()), None)}
    with pytest.raises(MappingError) as caught:
        mapping.record_id_of(route, event)
    assert caught.value.reason == AttentionReason.BAD_MESSAGE
    mapping.summary_of(route, event)


LINE = "OpportunityLineItems.records.1"
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
    (f"{LINE}.UnitPrice", "1,50", "'UnitPrice' on OpportunityLineItems.records[1] gives a text, not a number"),
]


@pytest.mark.parametrize(("path", "value", "expected"), UNFIT, ids=[f"{path}={value!r}" for path, value, _ in UNFIT])
def test_what_is_missing_or_unfit_is_named_but_not_shown(
    route: Route, record: Fields, path: str, value: Any, expected: str
) -> None:
    """The operator reads route, key, expression, place and type; no customer's data ends in a log."""
    with pytest.raises(MappingError) as caught:
        map_order(route, put(record, path, value))
    text = str(caught.value)
    assert text.startswith("Route 'won-deals', order.")
    assert expected in text
    assert "secret" not in text
    assert caught.value.reason == AttentionReason.MAPPING_FAILED
    assert "of route 'won-deals' in the settings (then restart the workers); then send `retry`" in caught.value.cure


def test_what_is_optional_may_be_missing(route: Route, record: Fields) -> None:
    """An account without an address makes an order without one."""
    bare = {key: record[key] for key in ("Name", "IsWon", "CurrencyIsoCode", "OpportunityLineItems")}
    order = map_order(route, {**bare, "Account": {"Id": "0015g00000AbCdE", "Name": "Acme", "BillingStreet": ""}})
    assert Customer(id=RecordId("0015g00000AbCdE"), name="Acme") == order.customer
    assert (None, None, None) == (order.reference, order.order_date, order.delivery_date)


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
    assert expected == map_order(route, put(record, "CloseDate", value)).order_date


@pytest.mark.parametrize("value", [2, 2.0, "2", " 2.00 ", Decimal("2.0")])
def test_numbers_come_as_numbers_and_as_texts(route: Route, record: Fields, value: Any) -> None:
    """A flow's JSON often has numbers as texts."""
    assert Decimal(2) == map_order(route, put(record, f"{LINE}.Quantity", value)).lines[1].quantity


def test_a_number_may_stand_for_a_text(route: Route, record: Fields) -> None:
    """Product codes may look like numbers; they are written without exponent or rounding."""
    assert "1040" == map_order(route, put(record, f"{LINE}.Product2", {"ProductCode": 1040})).lines[1].product
    assert "1040.5" == map_order(route, put(record, f"{LINE}.Product2", {"ProductCode": 1040.5})).lines[1].product


def test_free_fields_are_passed_on_as_texts(changed: Change, record: Fields) -> None:
    """A free field without a value is left out."""
    extra = '[routes.order.extra]\nstage = "StageName"\nwon = "IsWon"\nempty = "ERP_Order_Number__c"\n'
    route = changed(
        "[routes.write_back]",
        f"{extra}quantities = 'sum(OpportunityLineItems.records[].Quantity)'\n[routes.write_back]",
    )
    assert {"stage": "Closed Won", "won": "true", "quantities": "3.1"} == map_order(route, record).extra


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
    assert "Austria" == map_order(route, record).customer.country
    assert map_order(route, put(record, "Account.BillingCountryCode", None)).customer.country is None
    with pytest.raises(
        MappingError, match=r"order\.customer\.country: .* gives a text that its lookup table does not have"
    ):
        map_order(route, put(record, "Account.BillingCountryCode", "DE"))


@pytest.mark.parametrize("value", ["DE", None, ""])
def test_a_lookups_default_stands_in(changed: Change, record: Fields, value: str | None) -> None:
    """The default is for everything that the table does not have, nothing at all included."""
    route = changed("[routes.write_back]", LOOKUPS.format('default = "Elsewhere"'))
    assert "Elsewhere" == map_order(route, put(record, "Account.BillingCountryCode", value)).customer.country


def test_lookups_work_on_lines_and_before_the_check_of_the_currency(changed: Change, record: Fields) -> None:
    """Each line's product is looked up; a currency may be a name until the table has made a code of it."""
    tables = (
        '[[routes.order.lookups]]\nfield = "lines.product"\nvalues = { GC1040 = "A-1", SL9080 = "A-2" }\n'
        '[[routes.order.lookups]]\nfield = "currency"\nvalues = { Euro = "EUR" }\n[routes.write_back]'
    )
    order = map_order(changed("[routes.write_back]", tables), put(record, "CurrencyIsoCode", "Euro"))
    assert ("EUR", ["A-1", "A-2"]) == (order.currency, [line.product for line in order.lines])


@pytest.mark.parametrize(("value", "expected"), [(True, True), (False, False), (None, False)])
def test_a_record_qualifies_by_a_boolean(route: Route, record: Fields, value: object, expected: object) -> None:
    """No value is no."""
    assert expected is mapping.qualifies(route, put(record, "IsWon", value))


def test_a_qualification_that_is_no_boolean_is_a_mistake(changed: Change, record: Fields) -> None:
    """A text would count as true for every record and order them all."""
    with pytest.raises(MappingError, match="qualify: the expression 'StageName' gives a text, not true or false"):
        mapping.qualifies(changed('qualify = "IsWon"', 'qualify = "StageName"'), record)


def test_a_qualification_compares_exactly(changed: Change, record: Fields) -> None:
    """A limit on an amount means what it says."""
    route = changed('qualify = "IsWon"', "qualify = 'IsWon && sum(OpportunityLineItems.records[].Quantity) == `3.1`'")
    assert mapping.qualifies(route, record)


def test_an_expression_that_fails_needs_attention(changed: Change, record: Fields) -> None:
    """A function that gets another type than it takes is told with its names."""
    route = changed('reference = "PO_Number__c"', "reference = 'join(`\"-\"`, [PO_Number__c, Account])'")
    with pytest.raises(
        MappingError, match=r"order.reference: the expression .* fails: join\(\) got dict, not array-string"
    ):
        map_order(route, record)


def test_an_expression_picks_the_erp(changed: Change, record: Fields) -> None:
    """Large deals may go to another ERP than small ones."""
    expression = "\"CurrencyIsoCode == 'EUR' && 'tryton' || 'facade'\""
    route = changed('erp = "tryton" ', f"erp = {{ expression = {expression} }} ")
    assert "tryton" == Record(route, ORG, RECORD, record).erp()
    assert "facade" == Record(route, ORG, RECORD, put(record, "CurrencyIsoCode", "USD")).erp()
    nothing = changed('erp = "tryton" ', 'erp = { expression = "PO_Number__c" } ')
    with pytest.raises(MappingError, match=r"erp\.expression: .* gives no value"):
        Record(nothing, ORG, RECORD, put(record, "PO_Number__c", None)).erp()


def test_an_event_names_its_record(route: Route) -> None:
    """In either form of the id."""
    assert RECORD == mapping.record_id_of(route, {"Opportunity_Id__c": "0065g00000AbCdE"})
    assert RECORD == mapping.record_id_of(route, {"Opportunity_Id__c": "0065g00000AbCdEAAV"})


@pytest.fixture
def event_route(example: str, load: Load) -> Route:
    """Return a route that takes the order from the event."""
    select = example[example.index("select = ") : example.index("qualify")]
    text = example.replace(select, 'source = "event"\npayload = "Payload__c"\n')
    text = text.replace("[routes.sweep]", f"[routes.sweep]\n{select}")
    return load(text).routes[0]


def test_an_events_payload_becomes_the_order(event_route: Route, record: Fields) -> None:
    """A JSON text is parsed; its numbers are exact, but for noise, and its texts are exact to the last digit."""
    noisy = put(record, "OpportunityLineItems.records.1.UnitPrice", "1.00000000000000005")
    text = json.dumps(noisy).replace("19.99", "19.990000000000002")
    found = mapping.event_record(event_route, {"Opportunity_Id__c": RECORD, "Payload__c": text})
    assert mapping.qualifies(event_route, found)
    prices = [line.unit_price for line in map_order(event_route, found).lines]
    assert [Decimal("19.99"), Decimal("1.00000000000000005")] == prices
    assert mapping.event_record(event_route, {"Payload__c": record})["Name"] == "Roof for Acme"


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (None, "gives no value, not an object"),
        ("{secret", "gives a text that is not valid JSON"),
        ("[1]", "gives a list, not an object"),
        ("[" * 100_000, "gives a text that is not valid JSON"),
        (5, "gives a number, not an object"),
    ],
)
def test_an_event_without_a_usable_payload_is_a_bad_message(event_route: Route, payload: Any, problem: str) -> None:
    """It becomes a workflow in need of attention, without its content in the error."""
    with pytest.raises(MappingError, match=problem) as caught:
        mapping.event_record(event_route, {"Payload__c": payload})
    assert caught.value.reason == AttentionReason.BAD_MESSAGE
    assert "secret" not in str(caught.value)


def test_data_nested_beyond_measure_needs_attention(route: Route) -> None:
    """Not even that makes the worker retry for ever."""
    nested: Any = {}
    for _ in range(5000):
        nested = {"a": nested}
    with pytest.raises(MappingError, match="nested too deeply"):
        map_order(route, nested)


def test_a_deal_is_named_for_lists(event_route: Route, record: Fields) -> None:
    """Name and amount where the event tells them, the name alone where it does not, else nothing."""
    assert "Roof for Acme · 183.42 EUR" == mapping.summary_of(event_route, {"Payload__c": record})
    assert "Roof" == mapping.summary_of(event_route, {"Payload__c": '{"Name": "Roof"}'})
    without_codes = [{"Quantity": 2, "UnitPrice": 0.5}]
    payload = json.dumps(put(record, "OpportunityLineItems.records", without_codes))
    assert "Roof for Acme · 1.00 EUR" == mapping.summary_of(event_route, {"Payload__c": payload})
    assert mapping.summary_of(event_route, {"Opportunity_Id__c": RECORD}) is None
    assert mapping.summary_of(event_route, {"Payload__c": "{"}) is None
    long = mapping.summary_of(event_route, {"Payload__c": {"Name": "ü" * 500}})
    assert long is not None
    assert "ü" * 100 == long


@pytest.mark.parametrize(
    ("object_", "record_id", "is_taken"),
    [
        ("Opportunity", "006000000000001", True),
        ("Opportunity", "001000000000001", False),
        ("Deal__c", "a01000000000001", True),
        ("Deal__c", "006000000000001", False),
    ],
)
def test_t6_a_record_has_the_prefix_of_its_object(
    route: Route, object_: str, record_id: str, *, is_taken: bool
) -> None:
    """A custom object's differs from org to org, but begins with an "a"."""
    found = route.model_copy(update={"object": object_})
    if is_taken:
        mapping.check_prefix(found, RecordId(record_id))
        return
    with pytest.raises(MappingError, match=f"key prefix '{record_id[:3]}', but {object_} has") as caught:
        mapping.check_prefix(found, RecordId(record_id))
    assert AttentionReason.BAD_MESSAGE is caught.value.reason


@pytest.mark.parametrize(
    ("expression", "payload", "problem"),
    [
        (None, {"Org": "00D000000000009"}, None),
        ("Org", {"Org": ORG}, None),
        ("Org", {"Org": ORG[:15]}, None),
        ("Org", {"Org": "00D000000000009"}, "gives another org than 00D5g000004Kx1XEAS, which this route reads"),
        ("Org", {"Org": "00Dz00000000009"}, "gives another org than 00D5g000004Kx1XEAS"),
        ("Org", {"Org": None}, "gives no value, but one is needed"),
        ("Org", {"Org": "x"}, "not a Salesforce id"),
    ],
)
def test_an_event_of_another_org_is_a_bad_message(
    route: Route, expression: str | None, payload: Fields, problem: str | None
) -> None:
    """A sandbox may publish into the same channel; a route that names no org of its events takes all."""
    found = route.model_copy(update={"org_id": expression})
    if problem is None:
        mapping.check_org(found, ORG, payload)
        return
    with pytest.raises(MappingError, match=problem) as caught:
        mapping.check_org(found, ORG, payload)
    assert AttentionReason.BAD_MESSAGE is caught.value.reason


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        ({"P": {"Name": "Roof"}}, None),
        ({"P": '{"Name": "Roof", "Amount": 16.009999999999998}'}, None),
        ({"P": "{"}, r"gives a text that is not valid JSON \(JSONDecodeError\)"),
        ({"P": "[" * 100_000}, r"not valid JSON \(RecursionError\)"),
        ({"P": "[1]"}, "gives a list, not an object, or a JSON text of one"),
        ({"P": 5}, "gives a number, not an object"),
        ({}, "gives no value, not an object"),
    ],
)
def test_the_record_of_an_event_is_an_object_or_its_text(route: Route, payload: Fields, problem: str | None) -> None:
    """Numbers of a text are made exact, too; what is wrong is said without a value."""
    found = route.model_copy(update={"payload": "P"})
    if problem is None:
        record = mapping.event_record(found, payload)
        assert "Roof" == record["Name"]
        assert record.get("Amount") in {None, Decimal("16.01")}
        return
    with pytest.raises(MappingError, match=problem) as caught:
        mapping.event_record(found, payload)
    assert AttentionReason.BAD_MESSAGE is caught.value.reason


def test_an_order_knows_when_its_record_was_made_and_changed(route: Route, record: Fields) -> None:
    """By the record's own stamps."""
    stamps = {"CreatedDate": "2025-10-01T08:00:00.000+0000", "SystemModstamp": "2025-11-03T09:30:00.000+0000"}
    order = map_order(route, {**record, **stamps})
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
            assert map_order(found, credit).amount <= 0
        else:
            with pytest.raises(AttentionError, match=r"the total of the lines is -29876\.55 EUR") as caught:
                map_order(found, credit)
            assert AttentionReason.UNUSUAL_AMOUNT is caught.value.reason


def test_the_summary_is_cut_between_characters(route: Route, record: Fields) -> None:
    """Temporal takes 200 bytes; half of a letter would be refused."""
    for name in ("ä" * 150, "x" + "ä" * 150):
        summary = mapping.summary_of(route.model_copy(update={"payload": "@"}), {**record, "Name": name}) or ""
        assert 199 <= len(summary.encode()) <= 200
        assert name.startswith(summary)


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
        assert Decimal(number) == map_order(route, priced).lines[0].unit_price
    else:
        with pytest.raises(MappingError, match="a number beyond 18 digits"):
            map_order(route, priced)


@pytest.mark.parametrize("value", ["", None])
def test_an_empty_text_is_no_value(route: Route, record: Fields, value: str | None) -> None:
    """Neither a date nor an id: the first is left out, the second is missed."""
    assert map_order(route, {**record, "CloseDate": value}).order_date is None
    with pytest.raises(MappingError, match="gives no value, but one is needed"):
        map_order(route, put(record, "Account.Id", value))
    with pytest.raises(MappingError, match="gives no value, but one is needed"):
        map_order(route, put(record, "OpportunityLineItems.records.0.Quantity", value))
