"""Starting sweeps, and the gaps that are still open."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from typing import Final, NamedTuple

from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
)

from closedwon import names
from closedwon.encryption.codec import KeyUnfitError
from closedwon.ids import OrgId
from closedwon.model.routes import Channel
from closedwon.model.sweeps import Gap, SweepStart
from closedwon.temporal import visibility
from closedwon.temporal.orders import BELOW_LIVE_TRAFFIC
from closedwon.temporal.search_attributes import SEARCH_ATTRIBUTE_KEYS

_CLOSES_A_GAP = frozenset({WorkflowExecutionStatus.COMPLETED, WorkflowExecutionStatus.CANCELED})
"""How its sweep ends: it has covered the gap, or an operator has decided that this is not necessary."""
_UNKNOWN: Final = "unknown"
"""The reason of a gap that does not say it."""
_SECOND: Final = timedelta(seconds=1)


async def start_sweep(client: Client, start: SweepStart, workflow_id: str) -> None:
    """Start a sweep; one of this id that runs already is left alone."""
    await client.start_workflow(
        names.SWEEP_WORKFLOW,
        start,
        id=workflow_id,
        task_queue=names.ORDERS_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        static_summary=f"sweep of {start.route}, started by hand" + (", dry run" if start.dry_run else ""),
        search_attributes=sweep_attributes(start.org, start.route),
        priority=BELOW_LIVE_TRAFFIC,
    )


async def start_gap(client: Client, org: OrgId, gap: Gap) -> None:
    """Open a gap, whose sweep begins at once; one of the same route and span that is open already is left alone."""
    assert gap.route is not None
    await client.start_workflow(
        names.SWEEP_WORKFLOW,
        SweepStart(org=org, route=gap.route, gap=gap),
        id=names.gap_workflow_id(org, gap.route, gap.since, gap.until),
        task_queue=names.ORDERS_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        memo={names.MEMO_GAP: gap},
        static_summary=f"gap of {gap.route}: {gap.reason}",
        search_attributes=sweep_attributes(org, gap.route),
        priority=BELOW_LIVE_TRAFFIC,
    )


def sweep_attributes(org: OrgId, route: str) -> TypedSearchAttributes:
    """The search attributes of a sweep."""
    return TypedSearchAttributes(
        [
            SearchAttributePair(SEARCH_ATTRIBUTE_KEYS[names.SALESFORCE_ORG_ID], org),
            SearchAttributePair(SEARCH_ATTRIBUTE_KEYS[names.ROUTE], route),
            SearchAttributePair(SEARCH_ATTRIBUTE_KEYS[names.CHANNEL], Channel.SWEEP),
        ]
    )


class OpenGap(NamedTuple):
    """A gap whose sweep has not come to its end."""

    workflow_id: str
    key: names.RouteKey
    gap: Gap
    status: str
    """`sweeping`, an `AttentionReason`, or how its sweep was ended by force (`terminated`, …)."""


async def sweep_gap_again(client: Client, workflow_id: str) -> None:
    """Start the sweep of a gap whose workflow was ended and cannot be decrypted; its span is in its id, to the second.

    Safe to repeat. Raises Temporal's `RPCError`.
    """
    key, (since, until) = names.parse_gap_workflow_id(workflow_id), names.parse_gap_span(workflow_id)
    gap = Gap(since=since, until=until + _SECOND, reason=_UNKNOWN, route=key.route, note="started again")
    await client.start_workflow(
        names.SWEEP_WORKFLOW,
        SweepStart(org=key.org, route=key.route, gap=gap),
        id=workflow_id,
        task_queue=names.ORDERS_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        memo={names.MEMO_GAP: gap},
        static_summary=f"gap of {key.route}, started again",
        search_attributes=sweep_attributes(key.org, key.route),
        priority=BELOW_LIVE_TRAFFIC,
    )


async def open_gaps(client: Client) -> AsyncIterator[OpenGap]:
    """List the open gaps, the newest first. A gap whose sweep was ended by force is open: nothing has covered it."""
    seen = set()
    async for one in client.list_workflows(visibility.id_starts_with(names.GAP_PREFIX)):
        if one.id in seen or one.status in _CLOSES_A_GAP:
            seen.add(one.id)
            continue
        seen.add(one.id)
        gap = await _gap_of(one)
        reason = one.typed_search_attributes.get(SEARCH_ATTRIBUTE_KEYS[names.ATTENTION_REASON])
        if one.status is WorkflowExecutionStatus.RUNNING:
            status = reason or "sweeping"
        else:
            status = one.status.name.lower() if one.status else ""
        yield OpenGap(one.id, names.parse_gap_workflow_id(one.id), gap, status)


async def _gap_of(one: WorkflowExecution) -> Gap:
    noted = None
    with suppress(KeyUnfitError):  # written with a wrong key
        noted = await one.memo_value(names.MEMO_GAP, None, type_hint=Gap)
    return noted or Gap(since=None, until=one.start_time, reason=_UNKNOWN)  # started again, by hand
