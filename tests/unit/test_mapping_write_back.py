"""What is written back to the record is what the ERP has, and nothing that is there already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from closedwon.ids import OrgId, RecordId
from closedwon.mapping.record import Record
from closedwon.mapping.write_back import (
    Claims,
    Proof,
    claims,
    fields_without_order,
    fitting,
    is_kept,
    is_placed,
    kept_fields,
    proof,
    write_back_fields,
)
from closedwon.settings import Route

ORG = OrgId("00D5g000004Kx1X")
RECORD = RecordId("0065g00000AbCdE")
KEY = f"{ORG}:{RECORD}"


def written(route: Route, fields: dict[str, Any]) -> dict[str, str | None]:
    """Read the present values of the record under test."""
    return Record(route, ORG, RECORD, fields).written()


def test_present_values_are_read_for_comparison(route: Route, record: dict[str, Any]) -> None:
    """An empty text is not a value, as in Salesforce."""
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


@pytest.mark.parametrize(
    ("error", "length", "expected"),
    [
        ("12345", 5, "12345"),
        ("123456", 5, "1234…"),
        ("12🙂45", 5, "12🙂…"),
        ("123🙂5", 5, "123…"),
        ("123456", 0, "123456"),
        (None, 5, None),
    ],
)
def test_p7_an_error_is_cut_to_its_field(route: Route, error: str | None, length: int, expected: str | None) -> None:
    """In Salesforce's units, of which an emoji has two; 0 means no limit."""
    values = {"ERP_Order_Error__c": error, "ERP_Order_Number__c": "SO-1234567"}

    fit = fitting(route, values, {"ERP_Order_Error__c": length, "ERP_Order_Number__c": 5})
    assert {"ERP_Order_Error__c": expected, "ERP_Order_Number__c": "SO-1234567"} == fit


def test_p7_a_link_that_does_not_fit_is_left_out(route: Route) -> None:
    """A part of it leads elsewhere."""
    lengths = {"ERP_Order_Link__c": 9}
    assert {"ERP_Order_Link__c": None} == fitting(route, {"ERP_Order_Link__c": "https://e/7"}, lengths)
    assert {"ERP_Order_Link__c": "https://e"} == fitting(route, {"ERP_Order_Link__c": "https://e"}, lengths)


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
        (OTHER_KEY.upper(), Proof.OTHER),
        (f"00D000000000001:{RECORD}", Proof.OTHER),
        (KEY.lower(), Proof.OWN),
        (KEY.upper(), Proof.OWN),
        (f"{KEY[:15]}:{KEY[19:34]}".lower(), Proof.NONE),
        (f"{KEY[:15]}:{KEY[19:34]}".upper(), Proof.NONE),
        (f"{KEY[:18]}:{KEY[19:34].lower()}", Proof.NONE),
        ("SO-1", Proof.NONE),
        ("see 4711", Proof.NONE),
        (RECORD, Proof.NONE),
        (KEY[:30], Proof.NONE),
        (KEY[:-1], Proof.NONE),
        (OTHER_KEY[:30], Proof.NONE),
        (KEY.replace(":", ";"), Proof.NONE),
        (f"{KEY}x", Proof.NONE),
        ("", Proof.NONE),
        (None, Proof.NONE),
    ],
)
def test_the_key_says_whose_the_facts_are(route: Route, key: str | None, expected: Proof) -> None:
    """Its 15- and 18-character forms are the same, the latter in any case.

    A text that is not a key proves nothing; neither does a short key in another case, which may be another record's.
    """
    assert expected is proof(route, ORG, RECORD, {"ERP_Order_Key__c": key})


def test_only_status_and_key_together_say_that_an_order_is_kept(route: Route) -> None:
    """A route without one of the two has nowhere to keep it."""
    assert ("ERP_Order_Status__c", "ERP_Order_Key__c") == kept_fields(route)
    for missing in ("status", "key"):
        names = route.write_back.model_copy(update={missing: None})
        assert () == kept_fields(route.model_copy(update={"write_back": names}))


@pytest.mark.parametrize(
    ("status", "key", "expected"),
    [
        ("kept, no longer won", KEY, True),
        ("kept, no longer won", f"{ORG}:0065g00000AbCdF", False),
        ("kept, no longer won", None, False),
        ("confirmed", KEY, False),
        (None, KEY, False),
    ],
)
def test_a_kept_order_is_proven_by_the_own_key(
    route: Route, status: str | None, key: str | None, *, expected: bool
) -> None:
    """What was copied with another record says nothing."""
    assert expected is is_kept(route, ORG, RECORD, {"ERP_Order_Status__c": status, "ERP_Order_Key__c": key})


PLACED = [("confirmed", True), ("processing", True), ("done", True), ("kept, no longer won", True)]
NOT_PLACED = ["draft", "quotation", "cancelled", "cancelled, no longer won", "not needed", "needs attention", "", None]


@pytest.mark.parametrize(("status", "expected"), [*PLACED, *((status, False) for status in NOT_PLACED)])
def test_only_the_own_key_beside_a_status_of_success_proves_that_the_order_was_placed(
    route: Route, status: str | None, *, expected: bool
) -> None:
    """A status without the key may be copied or typed; a key is also written beside statuses that are not a success."""
    for number in ("SO-1", None):
        fields = {"ERP_Order_Number__c": number, "ERP_Order_Status__c": status, "ERP_Order_Key__c": KEY}
        assert expected is is_placed(route, claims(route, ORG, RECORD, fields))
        for key in (OTHER_KEY, None, "see 4711", KEY[:30]):
            said = claims(route, ORG, RECORD, {**fields, "ERP_Order_Key__c": key})
            assert False is is_placed(route, said)


@pytest.mark.parametrize(
    ("missing", "source", "expected"),
    [
        ((), "record", True),
        (("key",), "record", None),
        (("status",), "record", None),
        (("key", "status"), "record", None),
        (("number", "link", "error"), "record", True),
        ((), "event", None),
        (("key", "status"), "event", None),
    ],
)
def test_a_route_that_could_not_prove_it_says_neither_yes_nor_no(
    route: Route, missing: tuple[str, ...], source: str, *, expected: bool | None
) -> None:
    """It needs both fields, and the record: an event does not bring what was written."""
    names = route.write_back.model_copy(update=dict.fromkeys(missing))
    changed = route.model_copy(update={"write_back": names, "source": source})
    assert expected is is_placed(changed, Claims(Proof.OWN, "SO-1", "confirmed"))


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("cancelled", True),
        ("not needed", True),
        ("cancelled, no longer won", False),
        ("confirmed", False),
        (None, False),
    ],
)
def test_a_declined_order_is_known_by_its_status(route: Route, status: str | None, *, expected: bool) -> None:
    """No person declined an order that Closedwon cancelled by itself."""
    for key in (KEY, None):
        fields = {"ERP_Order_Status__c": status, "ERP_Order_Key__c": key}
        assert expected is claims(route, ORG, RECORD, fields).is_declined
    copied = {"ERP_Order_Status__c": status, "ERP_Order_Key__c": OTHER_KEY}
    assert not claims(route, ORG, RECORD, copied).is_declined


def test_a_field_that_the_route_does_not_name_is_not_read(route: Route) -> None:
    """Whatever the record holds."""
    names = route.write_back.model_copy(update={"number": None, "status": None, "key": None})
    bare = route.model_copy(update={"write_back": names})
    assert Claims(Proof.NONE, None, None) == claims(bare, ORG, RECORD, {**SHOWN, "ERP_Order_Key__c": KEY})


def test_an_empty_text_is_neither_a_number_nor_a_status(route: Route) -> None:
    """As Salesforce sees it."""
    empty: dict[str, str | None] = {"ERP_Order_Number__c": "", "ERP_Order_Status__c": "", "ERP_Order_Key__c": KEY}
    assert Claims(Proof.OWN, None, None) == claims(route, ORG, RECORD, empty)
