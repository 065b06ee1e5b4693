"""What an event is about and what it holds: its record, its org, its payload and its summary."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closedwon.errors import AttentionReason
from closedwon.ids import RecordId
from closedwon.mapping.orders import (
    MappingError,
    check_org,
    check_prefix,
    event_record,
    qualifies,
    record_id_of,
    summary_of,
)
from closedwon.mapping.record import Record
from closedwon.settings import Route, Settings
from tests.unit.mapping_records import ANY_PACE, ORG, RECORD, Fields, json_values, mapped, put

Load = Callable[[str], Settings]


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=5))
@ANY_PACE
def test_no_payload_breaks_the_reading_of_an_event(route: Route, payload: Fields) -> None:
    """An event that cannot be understood is an invalid message, whatever it holds."""
    event = {**payload, "Opportunity_Id__c": next(iter(payload.values()), None)}
    with pytest.raises(MappingError) as caught:
        record_id_of(route, event)
    assert caught.value.reason == AttentionReason.INVALID_MESSAGE
    summary_of(route, event)


def test_an_event_names_its_record(route: Route) -> None:
    """In either form of the id."""
    assert RECORD == record_id_of(route, {"Opportunity_Id__c": "0065g00000AbCdE"})
    assert RECORD == record_id_of(route, {"Opportunity_Id__c": "0065g00000AbCdEAAV"})


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
    found = event_record(event_route, {"Opportunity_Id__c": RECORD, "Payload__c": text})
    assert qualifies(event_route, found)
    prices = [line.unit_price for line in mapped(event_route, found).lines]
    assert [Decimal("19.99"), Decimal("1.00000000000000005")] == prices
    assert event_record(event_route, {"Payload__c": record})["Name"] == "Roof for Acme"


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
def test_an_event_without_a_usable_payload_is_invalid(event_route: Route, payload: Any, problem: str) -> None:
    """It becomes a workflow in need of attention, without its content in the error."""
    with pytest.raises(MappingError, match=problem) as caught:
        event_record(event_route, {"Payload__c": payload})
    assert caught.value.reason == AttentionReason.INVALID_MESSAGE
    assert "secret" not in str(caught.value)


def test_data_that_is_nested_too_deeply_needs_attention(route: Route) -> None:
    """It does not cause an endless retry either."""
    nested: Any = {}
    for _ in range(5000):
        nested = {"a": nested}
    with pytest.raises(MappingError, match="nested too deeply"):
        mapped(route, nested)


def test_a_deal_is_named_for_lists(event_route: Route, record: Fields) -> None:
    """Name and amount if the event contains them, the name alone if there is no amount, else nothing."""
    assert "Roof for Acme · 183.42 EUR" == summary_of(event_route, {"Payload__c": record})
    assert "Roof" == summary_of(event_route, {"Payload__c": '{"Name": "Roof"}'})
    without_codes = [{"Quantity": 2, "UnitPrice": 0.5}]
    payload = json.dumps(put(record, "OpportunityLineItems.records", without_codes))
    assert "Roof for Acme · 1.00 EUR" == summary_of(event_route, {"Payload__c": payload})
    assert summary_of(event_route, {"Opportunity_Id__c": RECORD}) is None
    assert summary_of(event_route, {"Payload__c": "{"}) is None
    long = summary_of(event_route, {"Payload__c": {"Name": "ü" * 500}})
    assert long is not None
    assert "ü" * 100 == long


@pytest.mark.parametrize(
    ("object_", "known", "record_id", "is_taken"),
    [
        ("Opportunity", None, "006000000000001", True),
        ("Opportunity", None, "001000000000001", False),
        ("Case", None, "500000000000001", True),
        ("Case", None, "001000000000001", False),
        ("Asset", None, "500000000000001", False),
        ("WorkOrder", None, "006000000000001", False),
        ("ServiceContract", None, "003000000000001", False),
        ("Deal__c", None, "a01000000000001", True),
        ("Deal__c", None, "006000000000001", False),
        ("Deal__c", "a01", "a01000000000001", True),
        ("Deal__c", "a01", "a02000000000001", False),
        ("Scorecard", None, "0A1000000000001", True),
        ("Scorecard", "0A1", "0A2000000000001", False),
    ],
)
def test_t6_a_record_has_the_prefix_of_its_object(
    route: Route, object_: str, known: str | None, record_id: str, *, is_taken: bool
) -> None:
    """A custom object's differs from org to org, but begins with an "a"; the org says what it is exactly."""
    found = route.model_copy(update={"object": object_})
    if is_taken:
        check_prefix(found, RecordId(record_id), known)
        return
    with pytest.raises(MappingError, match=f"key prefix '{record_id[:3]}', but {object_} has") as caught:
        check_prefix(found, RecordId(record_id), known)
    assert AttentionReason.INVALID_MESSAGE is caught.value.reason


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
def test_an_event_of_another_org_is_invalid(
    route: Route, expression: str | None, payload: Fields, problem: str | None
) -> None:
    """A sandbox may publish into the same channel; a route that names no org of its events takes all."""
    found = route.model_copy(update={"org_id": expression})
    if problem is None:
        check_org(found, ORG, payload)
        return
    with pytest.raises(MappingError, match=problem) as caught:
        check_org(found, ORG, payload)
    assert AttentionReason.INVALID_MESSAGE is caught.value.reason


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
        record = event_record(found, payload)
        assert "Roof" == record["Name"]
        assert record.get("Amount") in {None, Decimal("16.01")}
        return
    with pytest.raises(MappingError, match=problem) as caught:
        event_record(found, payload)
    assert AttentionReason.INVALID_MESSAGE is caught.value.reason


@pytest.mark.parametrize(
    ("unknown", "expected"),
    [
        ({}, "Roof for Acme · 183.42 EUR"),
        ({"CurrencyIsoCode": None}, "Roof for Acme"),
        ({"Name": None}, "183.42 EUR"),
        ({"Name": None, "CurrencyIsoCode": None}, None),
        ({"Name": ["Roof"]}, None),
    ],
)
def test_the_summary_has_what_is_known(route: Route, record: Fields, unknown: Fields, expected: str | None) -> None:
    """Of a record of which nothing is known there is none, rather than an empty one."""
    assert expected == summary_of(route.model_copy(update={"payload": "@"}), {**record, **unknown})
    assert expected == Record(route, ORG, RECORD, {**record, **unknown}).summary()


def test_the_summary_is_cut_between_characters(route: Route, record: Fields) -> None:
    """Temporal takes 200 bytes; half of a letter would be refused."""
    for name in ("ä" * 150, "x" + "ä" * 150):
        summary = summary_of(route.model_copy(update={"payload": "@"}), {**record, "Name": name}) or ""
        assert 199 <= len(summary.encode()) <= 200
        assert name.startswith(summary)
