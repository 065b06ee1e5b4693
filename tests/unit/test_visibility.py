"""The filters for Temporal's list of workflows."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from closedwon import names
from closedwon.temporal import visibility

_AT = datetime(2026, 11, 30, 12, tzinfo=UTC)
_NAMED = r"WorkflowType|ExecutionStatus|StartTime|CloseTime|WorkflowId|\{names\.[A-Z_]+\}"
_TYPED_BY_HAND = re.compile(rf"({_NAMED})['\"]? (=|!=|<|>|IN|STARTS)")


@pytest.mark.parametrize(
    ("expected", "written"),
    [
        ("WorkflowType = 'OrderWorkflow'", visibility.of_type(names.ORDER_WORKFLOW)),
        ("WorkflowType IN ('A', 'B')", visibility.of_type("A", "B")),
        ("ExecutionStatus = 'Failed'", visibility.has_status("Failed")),
        ("WorkflowId STARTS_WITH 'gap:'", visibility.id_starts_with(names.GAP_PREFIX)),
        ("StartTime < '2026-11-30T12:00:00+00:00'", visibility.started_before(_AT)),
        ("StartTime >= '2026-11-30T12:00:00+00:00'", visibility.started_since(_AT)),
        ("CloseTime >= '2026-11-30T12:00:00+00:00'", visibility.closed_since(_AT)),
        ("Route != 'a'", visibility.differs("Route", "a")),
        ("Route IN ('a', 'b')", visibility.one_of("Route", ["a", "b"])),
        ("(Route IS NULL OR Route NOT IN ('a', 'b'))", visibility.none_of("Route", ["a", "b"])),
        ("A = '1' AND (B = '2' OR C = '3')", visibility.all_of("A = '1'", visibility.any_of("B = '2'", "C = '3'"))),
    ],
)
def test_each_filter_is_written_in_temporals_query_language(expected: str, written: str) -> None:
    """The text is what Temporal's command line takes."""
    assert expected == written


def test_a_stage_means_open_workflows() -> None:
    """A closed workflow keeps its stage, so the filter must leave it out."""
    stage = names.OrderStage.ATTENTION
    assert f"ExecutionStatus = 'Running' AND {names.ORDER_STAGE} = '{stage}'" == visibility.at_stage(stage)


def test_a_value_cannot_end_its_quotes() -> None:
    """A number that a person types is a value, never a part of the query."""
    assert "Number = 'x OR 1=1'" == visibility.equals("Number", "x' OR '1'='1")


def test_no_other_module_writes_filters() -> None:
    """The query language is known to one module."""
    root = Path(__file__).parents[2]
    files = [
        file
        for package in ("closedwon", "workflows", "activities", "workers")
        for file in (root / package).rglob("*.py")
    ]
    by_hand = {file.relative_to(root).as_posix() for file in files if _TYPED_BY_HAND.search(file.read_text("utf-8"))}
    assert {"closedwon/temporal/visibility.py"} == by_hand
