"""What is written back to the record is what the ERP has, and nothing that is there already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from closedwon.ids import OrgId, RecordId
from closedwon.record import Record
from closedwon.settings import Route
from closedwon.write_back import Proof, claims, fields_without_order, proof, write_back_fields

ORG = OrgId("00D5g000004Kx1X")
RECORD = RecordId("0065g00000AbCdE")
KEY = f"{ORG}:{RECORD}"


def written(route: Route, fields: dict[str, Any]) -> dict[str, str | None]:
    """Read the present values of the record under test."""
    return Record(route, ORG, RECORD, fields).written()


def test_present_values_are_read_for_comparison(route: Route, record: dict[str, Any]) -> None:
    """An empty text is no value, as Salesforce sees it."""
    expected = {
        "ERP_Order_Number__c": None,
        "ERP_Order_Status__c": "confirmed",
        "ERP_Order_Link__c": None,
        "ERP_Order_Error__c": None,
        "ERP_Order_Key__c": None,
    }
    assert expected == written(route, record)


def test_the_write_back_is_the_whole_truth(route: Route) -> None:
    """What no longer holds, an error above all, is emptied."""
    expected = {
        "ERP_Order_Number__c": "SO-7",
        "ERP_Order_Status__c": "confirmed",
        "ERP_Order_Link__c": "https://erp.example.com/7",
        "ERP_Order_Error__c": None,
        "ERP_Order_Key__c": KEY,
    }
    fields = write_back_fields(
        route, number="SO-7", status="confirmed", link="https://erp.example.com/7", error="", ordered=True, key=KEY
    )
    assert expected == fields


def test_only_named_fields_are_written_and_the_stage_only_for_an_order(changed: Callable[[str, str], Route]) -> None:
    """An org without a link field is not asked to store one; a failed order does not move the deal."""
    route = changed('link = "ERP_Order_Link__c"\n', 'stage = "Ordered"\n')
    done = write_back_fields(route, number="7", status="done", link="x", error=None, ordered=True)
    failed = write_back_fields(route, number=None, status=None, link=None, error="no such product", ordered=False)
    assert {"ERP_Order_Number__c", "ERP_Order_Status__c", "ERP_Order_Error__c", "ERP_Order_Key__c", "StageName"} == set(
        done
    )
    assert "Ordered" == done["StageName"]
    assert "StageName" not in failed


def test_equal_values_compare_equal(route: Route, record: dict[str, Any]) -> None:
    """What was written and read back does not look like a difference, so a write-back never repeats itself."""
    fields = write_back_fields(route, number=" SO-7 ", status="confirmed", link=None, error="", ordered=True, key=KEY)
    assert fields == written(route, {**record, **fields})


OTHER_KEY = f"{ORG}:{RecordId('0065g00000AbCdF')}"
SHOWN = {
    "ERP_Order_Number__c": "SO-1",
    "ERP_Order_Status__c": "confirmed",
    "ERP_Order_Link__c": "https://erp.example.com/1",
    "ERP_Order_Error__c": None,
}
BLANK = dict.fromkeys(SHOWN)
EMPTIED = {"ERP_Order_Number__c": None, "ERP_Order_Link__c": None}


@pytest.mark.parametrize("status", ["not needed", "cancelled", "cancelled, no longer won"])
@pytest.mark.parametrize(
    ("before", "more"),
    [
        ({}, {}),
        ({**SHOWN, "ERP_Order_Key__c": None}, {}),
        ({**BLANK, "ERP_Order_Key__c": None}, {}),
        ({**SHOWN, "ERP_Order_Key__c": KEY}, {}),
        ({**SHOWN, "ERP_Order_Key__c": OTHER_KEY}, EMPTIED),
        ({**BLANK, "ERP_Order_Key__c": OTHER_KEY}, EMPTIED),
    ],
)
def test_a_final_status_is_written_with_its_proof(
    route: Route, status: str, before: dict[str, str | None], more: dict[str, str | None]
) -> None:
    """Key and status go together; number and link stay, unless they came with another record's key."""
    expected = {"ERP_Order_Status__c": status, "ERP_Order_Error__c": None, "ERP_Order_Key__c": KEY, **more}
    assert expected == fields_without_order(route, ORG, RECORD, before, status=status, error=None)


@pytest.mark.parametrize(
    ("before", "more"),
    [
        ({}, {}),
        ({**SHOWN, "ERP_Order_Key__c": None}, {}),
        ({**SHOWN, "ERP_Order_Key__c": KEY}, {}),
        ({**BLANK, "ERP_Order_Key__c": KEY}, {"ERP_Order_Key__c": None}),
        ({**BLANK, "ERP_Order_Key__c": None}, {"ERP_Order_Key__c": None}),
        ({**SHOWN, "ERP_Order_Key__c": OTHER_KEY}, {"ERP_Order_Key__c": None, **EMPTIED}),
    ],
)
def test_a_problem_proves_no_number(route: Route, before: dict[str, str | None], more: dict[str, str | None]) -> None:
    """A number that a person types in while the order waits must not look as if Closedwon had written it."""
    status, error = "needs attention", "unknown product"
    expected = {"ERP_Order_Status__c": status, "ERP_Order_Error__c": error, **more}
    after = fields_without_order(route, ORG, RECORD, before, status=status, error=error)
    assert expected == after
    typed = claims(route, ORG, RECORD, {**before, **after, "ERP_Order_Number__c": "typed"})
    assert typed.number_is_proven is (before.get("ERP_Order_Key__c") == KEY and before["ERP_Order_Number__c"] == "SO-1")


def test_a_route_without_a_key_field_writes_none(changed: Callable[[str, str], Route]) -> None:
    """As before the field existed."""
    route = changed('key = "ERP_Order_Key__c"', "")
    fields = fields_without_order(route, ORG, RECORD, SHOWN, status="not needed", error=None)
    assert {"ERP_Order_Status__c": "not needed", "ERP_Order_Error__c": None} == fields


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (KEY, Proof.OWN),
        (f" {KEY} ", Proof.OWN),
        (f"{KEY[:15]}:{KEY[19:34]}", Proof.OWN),
        (f"{KEY[:15]}:{KEY[19:]}", Proof.OWN),
        (OTHER_KEY, Proof.OTHER),
        (f"00D000000000001:{RECORD}", Proof.OTHER),
        ("SO-1", Proof.OTHER),
        (f"{KEY}x", Proof.OTHER),
        (KEY.lower(), Proof.OTHER),
        ("", Proof.NONE),
        (None, Proof.NONE),
    ],
)
def test_the_key_says_whose_the_facts_are(route: Route, key: str | None, expected: Proof) -> None:
    """Its 15- and 18-character forms are the same; anything that is not this record's key is another's."""
    assert expected is proof(route, ORG, RECORD, {"ERP_Order_Key__c": key})
