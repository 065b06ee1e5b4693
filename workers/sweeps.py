"""The schedules of sweeps and audits: one per route that is swept, one per org, kept in step with the settings.

A process takes its settings over at its start. While it runs, it only makes the schedules again that Temporal has lost.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
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
from temporalio.service import RPCError, RPCStatusCode

from closedwon import names
from closedwon.ids import OrgId
from closedwon.model.audits import ScheduledAudit
from closedwon.model.sweeps import SweepStart
from closedwon.settings import Settings
from closedwon.temporal.audits import audit_attributes
from closedwon.temporal.client import is_namespace_missing
from closedwon.temporal.orders import BELOW_LIVE_TRAFFIC
from closedwon.temporal.sweeps import sweep_attributes

_log = logging.getLogger(__name__)

_VANISHED: Final = "paused by Closedwon: the settings ask for it no more"
"""The note by which a schedule that we have paused is known from one that a person has paused."""


async def sync_schedules(client: Client, settings: Settings) -> None:
    """See to it that each swept route and each org has its schedule, as the settings say; safe to repeat.

    A schedule that the settings ask for no more is paused, not deleted: it knows up to where it has come. One that a
    person has paused stays so. All are asked side by side: Temporal takes seconds for one of them under load.
    """
    wanted = _wanted(settings)
    kept = await asyncio.gather(*(_keep(client, *each) for each in wanted.items()), return_exceptions=True)
    for error in kept:
        if error is not None:
            raise error
    ours = {org.id for org in settings.orgs}
    async for found in await client.list_schedules():
        if found.id not in wanted and _org_of(found.id) in ours:
            await client.get_schedule_handle(found.id).update(_paused)
            _log.warning("schedule %s is paused: the settings ask for it no more", found.id)


async def restore_schedules(client: Client, settings: Settings) -> list[str]:
    """Make the schedules that Temporal does not have, and return their ids; only reads where it has all.

    One that exists stays as it is. Raises Temporal's `RPCError`.
    """
    missing = []
    for schedule_id, schedule in _wanted(settings).items():
        if not await _exists(client, schedule_id):
            missing.append(schedule_id)
            with suppress(ScheduleAlreadyRunningError):  # another process was faster
                await client.create_schedule(schedule_id, schedule, trigger_immediately=True)
    return missing


async def renew_schedules(client: Client, settings: Settings) -> int:
    """Make all schedules new, paused where they were; return their number.

    A new schedule knows nothing of earlier sweeps: the next one looks back as the first one did. Raises Temporal's
    `RPCError`.
    """
    wanted = _wanted(settings)
    for schedule_id, schedule in wanted.items():
        handle = client.get_schedule_handle(schedule_id)
        try:
            schedule.state = (await handle.describe()).schedule.state
            await handle.delete()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
        with suppress(ScheduleAlreadyRunningError):  # a worker was faster
            await client.create_schedule(schedule_id, schedule, trigger_immediately=not schedule.state.paused)
    return len(wanted)


def _wanted(settings: Settings) -> dict[str, Schedule]:
    """The schedules that the settings ask for, by id."""
    wanted = {}
    for route in settings.routes:
        if route.sweep is not None:
            org = settings.org(route.org).id
            wanted[names.sweep_schedule_id(org, route.name)] = _sweeps(org, route.name, route.sweep.interval)
    if settings.audit.enabled:
        for each in settings.orgs:
            wanted[names.audit_schedule_id(each.id)] = _audits(each.id, settings.audit.interval)
    return wanted


async def _exists(client: Client, schedule_id: str) -> bool:
    try:
        await client.get_schedule_handle(schedule_id).describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND or is_namespace_missing(error):
            raise
        return False
    return True


def _sweeps(org: OrgId, route: str, interval: timedelta) -> Schedule:
    return _every(
        interval,
        ScheduleActionStartWorkflow(
            names.SWEEP_WORKFLOW,
            SweepStart(org=org, route=route),
            id=names.sweep_schedule_id(org, route),
            task_queue=names.ORDERS_QUEUE,
            static_summary=f"sweep of {route}",
            typed_search_attributes=sweep_attributes(org, route),
            priority=BELOW_LIVE_TRAFFIC,
        ),
    )


def _audits(org: OrgId, interval: timedelta) -> Schedule:
    return _every(
        interval,
        ScheduleActionStartWorkflow(
            names.AUDIT_WORKFLOW,
            ScheduledAudit(org=org),
            id=names.audit_schedule_id(org),
            task_queue=names.ORDERS_QUEUE,
            static_summary="audit: do Salesforce, the ERPs and Temporal agree?",
            typed_search_attributes=audit_attributes(org),
            priority=BELOW_LIVE_TRAFFIC,
        ),
    )


def _every(interval: timedelta, action: ScheduleActionStartWorkflow) -> Schedule:
    return Schedule(
        action=action,
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
    with suppress(ValueError):
        return names.parse_sweep_schedule_id(schedule_id).org
    with suppress(ValueError):
        return names.parse_audit_schedule_id(schedule_id)
    return None
