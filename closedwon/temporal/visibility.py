"""Filters for Temporal's list of workflows: the only place that writes its query language.

Pure functions that return text; combine them by `all_of` and `any_of`. Temporal's command line takes the same text:
`temporal workflow list -q "…"`. Names of our own attributes come from `closedwon.names`. The list is eventually
consistent: a workflow that has just started or closed may be missing from it, or still be in it, for about a second.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final, Literal

from temporalio.client import WorkflowExecution, WorkflowExecutionStatus

from closedwon import names

Status = Literal["Running", "Completed", "Failed", "Canceled", "Terminated", "ContinuedAsNew", "TimedOut"]

RUNNING: Final = "ExecutionStatus = 'Running'"
"""Open workflows."""
NOT_CONTINUED: Final = "ExecutionStatus != 'ContinuedAsNew'"
"""The newest run of each chain of runs, open or closed."""
_PROBLEMS: Final = "TemporalReportedProblems"
WEDGED: Final = f"{RUNNING} AND {_PROBLEMS} IS NOT NULL"
"""Open workflows whose workflow tasks fail: their code raises, does not fit their history, or lacks a key."""


def is_wedged(execution: WorkflowExecution) -> bool:
    """Whether a workflow from a list is one of `WEDGED`."""
    return execution.status is WorkflowExecutionStatus.RUNNING and bool(execution.search_attributes.get(_PROBLEMS))


def all_of(*filters: str) -> str:
    """Workflows that match every filter. An `any_of` among them brings its own parentheses."""
    return " AND ".join(filters)


def any_of(*filters: str) -> str:
    """Workflows that match at least one filter."""
    return f"({' OR '.join(filters)})"


def has_status(status: Status) -> str:
    """Workflows in this state."""
    return f"ExecutionStatus = '{status}'"


def of_type(*workflows: str) -> str:
    """Workflows of one of these types, as in `names.ORDER_WORKFLOW`."""
    return equals("WorkflowType", workflows[0]) if len(workflows) == 1 else one_of("WorkflowType", workflows)


def id_starts_with(prefix: str) -> str:
    """Workflows by the beginning of their id, as in `names.GAP_PREFIX`."""
    return f"WorkflowId STARTS_WITH '{_quotable(prefix)}'"


def started_before(at: datetime) -> str:
    """Workflows that started before a time, which must name its zone."""
    return f"StartTime < '{at.isoformat()}'"


def started_since(at: datetime) -> str:
    """Workflows that started at a time or later."""
    return f"StartTime >= '{at.isoformat()}'"


def closed_since(at: datetime) -> str:
    """Workflows that closed at a time or later."""
    return f"CloseTime >= '{at.isoformat()}'"


def equals(attribute: str, value: str) -> str:
    """Workflows with this value of an attribute. No value of ours holds a single quote; one in `value` is left out."""
    return f"{attribute} = '{_quotable(value)}'"


def differs(attribute: str, value: str) -> str:
    """Workflows with another value of an attribute."""
    return f"{attribute} != '{_quotable(value)}'"


def one_of(attribute: str, values: Iterable[str]) -> str:
    """Workflows with one of these values of an attribute; at least one value."""
    return f"{attribute} IN ({_listed(values)})"


def none_of(attribute: str, values: Iterable[str]) -> str:
    """Workflows without the attribute, or with a value other than these; at least one value."""
    return any_of(f"{attribute} IS NULL", f"{attribute} NOT IN ({_listed(values)})")


def at_stage(*stages: names.OrderStage) -> str:
    """Open workflows at one of these stages."""
    stage = equals(names.ORDER_STAGE, stages[0]) if len(stages) == 1 else one_of(names.ORDER_STAGE, stages)
    return all_of(RUNNING, stage)


def _listed(values: Iterable[str]) -> str:
    return ", ".join(f"'{_quotable(value)}'" for value in values)


def _quotable(value: str) -> str:
    return value.replace("'", "")
