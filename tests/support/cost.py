"""What the history of one workflow run costs: its events, and the actions that Temporal Cloud bills for it."""

from __future__ import annotations

import itertools
from typing import Final

from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHistory

_BILLED: Final = frozenset({
    EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED,
    EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES,
    EventType.EVENT_TYPE_TIMER_STARTED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED,
})  # fmt: skip


def kinds(history: WorkflowHistory) -> list[EventType.ValueType]:
    """The types of the events, in their order."""
    return [event.event_type for event in history.events]


def markers(history: WorkflowHistory) -> int:
    """How many local activities have ended."""
    return kinds(history).count(EventType.EVENT_TYPE_MARKER_RECORDED)


def billed_actions(history: WorkflowHistory) -> int:
    """Actions as docs.temporal.io/cloud/actions counts them, without the further attempts of activities.

    A start with its first signal is one. Local activities are one for each workflow task that has any.
    """
    tasks = itertools.groupby(kind == EventType.EVENT_TYPE_MARKER_RECORDED for kind in kinds(history))
    return sum(is_marker for is_marker, _ in tasks) + sum(kind in _BILLED for kind in kinds(history))
