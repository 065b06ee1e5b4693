"""Identity: which order is this deal's? One test or more for each case of the page, named by its id."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from closedwon.errors import AttentionError
from closedwon.record import Erps, snapshot
from closedwon.snapshot import Declined, NotWanted, RecordSnapshot, Wanted
from tests.support.mapping import KEY, OTHER_KEY, deal, example_route, record_of

ERPS = Erps(("tryton",))
_COPY = {"ERP_Order_Number__c": "SO-1", "ERP_Order_Key__c": OTHER_KEY}


def _seen(**fields: Any) -> RecordSnapshot:
    return snapshot(record_of(deal(**fields)), ERPS)


@pytest.mark.parametrize("status", ["cancelled", "not needed", "cancelled, no longer won", "confirmed", None])
def test_i3_a_clone_is_ordered_as_a_new_deal(status: str | None) -> None:
    """Number and status that were copied with the key of another record do not count: the clone is ordered."""
    found = _seen(ERP_Order_Status__c=status, **_COPY)
    assert isinstance(found, Wanted)
    assert (None, False, False, None) == (
        found.number, found.number_is_proven, found.reopen, found.unproven_status,
    )  # fmt: skip


@pytest.mark.parametrize("status", ["cancelled", "not needed"])
def test_i3_a_status_that_nothing_proves_is_handed_on_as_such(status: str) -> None:
    """Copied without its key, or on a route without a key field: the ERP is asked, and then a person."""
    found = _seen(ERP_Order_Status__c=status, ERP_Order_Number__c="SO-1")
    assert isinstance(found, Wanted)
    assert ("SO-1", False, status) == (found.number, found.number_is_proven, found.unproven_status)
    without = example_route(('key = "ERP_Order_Key__c"', ""))
    same = snapshot(record_of(deal(ERP_Order_Status__c=status, ERP_Order_Key__c=KEY), without), ERPS)
    assert isinstance(same, Wanted)
    assert status == same.unproven_status


@pytest.mark.parametrize("key", [KEY, f"{KEY[:15]}:{KEY[19:34]}"])
@pytest.mark.parametrize("status", ["cancelled", "not needed"])
def test_i3_a_proven_status_still_counts(status: str, key: str) -> None:
    """Beside this record's own key, in either form, a late message does not order what was declined."""
    assert isinstance(_seen(ERP_Order_Status__c=status, ERP_Order_Key__c=key), Declined)


def test_i9_a_name_in_the_wrong_case_is_refused_with_the_right_one() -> None:
    """`qualify = "isWon"` is a mistake in the settings, not a deal that does not qualify; so is a write-back field."""
    with pytest.raises(
        ValidationError, match=r"qualify: reads isWon, which `select` does not fetch; did you mean `IsW"
    ):
        example_route(('qualify = "IsWon"', 'qualify = "isWon"'))
    with pytest.raises(ValidationError, match=r"names Erp_Order_Number__c, .*; did you mean `ERP_Order_Number__c`"):
        example_route(
            ("PO_Number__c,", "PO_Number__c, ERP_Order_Number__c,"),
            ('number = "ERP_Order_Number__c"', 'number = "Erp_Order_Number__c"'),
        )


def test_i9_a_field_that_comes_in_another_case_is_not_taken_for_empty() -> None:
    """Where only Salesforce's answer shows the right case, the order waits instead of being ordered twice."""
    route = example_route(('number = "ERP_Order_Number__c"', 'number = "Erp_Order_Number__c"'))
    with pytest.raises(AttentionError, match="has no field Erp_Order_Number__c; did you mean ERP_Order_Number__c"):
        snapshot(record_of(deal(ERP_Order_Number__c="SO-1"), route), ERPS)


@pytest.mark.parametrize(("value", "is_certain"), [(False, True), (None, False)])
def test_i9_no_value_is_not_a_no(value: object, *, is_certain: bool) -> None:
    """A `qualify` that yields nothing is never a reason to cancel."""
    found = _seen(IsWon=value)
    assert isinstance(found, NotWanted)
    assert is_certain is found.is_certain
