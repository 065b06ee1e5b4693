"""What is written back to the record is what the ERP has, and nothing that is there already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from closedwon import mapping
from closedwon.settings import Route


def test_present_values_are_read_for_comparison(route: Route, record: dict[str, Any]) -> None:
    """An empty text is no value, as Salesforce sees it."""
    expected = {
        "ERP_Order_Number__c": None,
        "ERP_Order_Status__c": "confirmed",
        "ERP_Order_Link__c": None,
        "ERP_Order_Error__c": None,
    }
    assert expected == mapping.written(route, record)


def test_the_write_back_is_the_whole_truth(route: Route) -> None:
    """What no longer holds, an error above all, is emptied."""
    expected = {
        "ERP_Order_Number__c": "SO-7",
        "ERP_Order_Status__c": "confirmed",
        "ERP_Order_Link__c": "https://erp.example.com/7",
        "ERP_Order_Error__c": None,
    }
    fields = mapping.write_back_fields(
        route, number="SO-7", status="confirmed", link="https://erp.example.com/7", error="", ordered=True
    )
    assert expected == fields


def test_only_named_fields_are_written_and_the_stage_only_for_an_order(changed: Callable[[str, str], Route]) -> None:
    """An org without a link field is not asked to store one; a failed order does not move the deal."""
    route = changed('link = "ERP_Order_Link__c"\n', 'stage = "Ordered"\n')
    done = mapping.write_back_fields(route, number="7", status="done", link="x", error=None, ordered=True)
    failed = mapping.write_back_fields(
        route, number=None, status=None, link=None, error="no such product", ordered=False
    )
    assert {"ERP_Order_Number__c", "ERP_Order_Status__c", "ERP_Order_Error__c", "StageName"} == set(done)
    assert "Ordered" == done["StageName"]
    assert "StageName" not in failed


def test_equal_values_compare_equal(route: Route, record: dict[str, Any]) -> None:
    """What was written and read back does not look like a difference, so a write-back never repeats itself."""
    fields = mapping.write_back_fields(route, number=" SO-7 ", status="confirmed", link=None, error="", ordered=True)
    assert fields == mapping.written(route, {**record, **fields})
