"""Sweeps of a hand-off: a world whose route is swept, and sweeps of it by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.client import WorkflowHandle

from closedwon import names
from closedwon.model.sweeps import SweepProgress, SweepStart
from closedwon.temporal.sweeps import start_sweep
from tests.support.handoff import Handoff, handoff
from tests.support.histories import keep_history
from workflows.sweep import SweepWorkflow

AT_ONCE = {"lag": "0s", "overlap": "0s"}
"""Tests do not wait for five minutes."""


@asynccontextmanager
async def swept(*, sweep: dict[str, Any] | None = None, **route: Any) -> AsyncIterator[Handoff]:
    """A world whose route is swept; it has no subscriber, so no notification of a deal arrives by itself."""
    async with handoff(sweep=AT_ONCE | (sweep or {}), **route) as world, world.working(subscriber=False):
        yield world


async def sweep(world: Handoff, *, route: str = "won-0", dry_run: bool = False) -> SweepProgress:
    """Sweep all of the last ten years."""
    handle = await begin(world, route=route, dry_run=dry_run)
    result = await handle.result()
    await keep_history(world.client, handle.id)
    return result


async def begin(
    world: Handoff, *, route: str = "won-0", dry_run: bool = False
) -> WorkflowHandle[SweepWorkflow, SweepProgress]:
    """Begin such a sweep."""
    since, to = datetime.now(UTC) - timedelta(days=3650), datetime.now(UTC) + timedelta(days=1)
    start = SweepStart(org=world.org.org_id, route=route, since=since, until=to, dry_run=dry_run)
    workflow_id = names.sweep_workflow_id(start.org, start.route, since, to, dry_run=dry_run)
    await start_sweep(world.client, start, workflow_id)
    return world.client.get_workflow_handle_for(SweepWorkflow.run, workflow_id)
