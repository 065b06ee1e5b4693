"""The schedules of the sweeps: one per route that is swept, kept in step with the settings."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Final

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
)

from closedwon import names, temporal
from closedwon.ids import OrgId
from closedwon.model import Reconciliation
from closedwon.settings import Settings

_log = logging.getLogger(__name__)

_VANISHED: Final = "paused by Closedwon: the settings have no such route, or no [routes.sweep] for it"
"""The note by which a schedule that we have paused is known from one that a person has paused."""


async def keep_schedules(client: Client, settings: Settings) -> None:
    """See to it that every swept route has its schedule, with the interval of the settings; safe to repeat.

    The schedule of a route that has vanished is paused, not deleted: it knows up to where the route was swept. One that
    a person has paused stays so.
    """
    wanted = {}
    for route in settings.routes:
        if route.sweep is not None:
            org = settings.org(route.org).id
            wanted[names.sweep_schedule_id(org, route.name)] = _schedule(org, route.name, route.sweep.interval)
    for schedule_id, schedule in wanted.items():
        await _keep(client, schedule_id, schedule)
    ours = {org.id for org in settings.orgs}
    async for found in await client.list_schedules():
        if found.id not in wanted and _org_of(found.id) in ours:
            await client.get_schedule_handle(found.id).update(_paused)
            _log.warning("schedule %s is paused: its route is not swept any more", found.id)


def _schedule(org: OrgId, route: str, interval: timedelta) -> Schedule:
    return Schedule(
        action=ScheduleActionStartWorkflow(
            names.RECONCILIATION_WORKFLOW,
            Reconciliation(org=org, route=route),
            id=names.sweep_schedule_id(org, route),
            task_queue=names.ORDERS_QUEUE,
            static_summary=f"sweep of {route}",
            typed_search_attributes=temporal.sweep_attributes(org, route),
            priority=temporal.BELOW_LIVE_TRAFFIC,
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=interval)]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=interval),
    )


async def _keep(client: Client, schedule_id: str, schedule: Schedule) -> None:
    try:
        await client.create_schedule(schedule_id, schedule, trigger_immediately=True)
    except ScheduleAlreadyRunningError:
        await client.get_schedule_handle(schedule_id).update(lambda found: _updated(found, schedule))
    _log.info("schedule %s is in place", schedule_id)


def _updated(found: ScheduleUpdateInput, schedule: Schedule) -> ScheduleUpdate:
    """Also where nothing differs: the schedule's input is then encrypted with the key of today."""
    there = found.description.schedule
    was_vanished = there.state.paused and there.state.note == _VANISHED
    schedule.state = ScheduleState() if was_vanished else there.state
    return ScheduleUpdate(schedule)


def _paused(found: ScheduleUpdateInput) -> ScheduleUpdate | None:
    schedule = found.description.schedule
    if schedule.state.paused:
        return None
    schedule.state.paused, schedule.state.note = True, _VANISHED
    return ScheduleUpdate(schedule)


def _org_of(schedule_id: str) -> OrgId | None:
    try:
        return names.parse_sweep_schedule_id(schedule_id).org
    except ValueError:
        return None
