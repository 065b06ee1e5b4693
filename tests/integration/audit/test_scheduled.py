"""The scheduled audit on real parts: its schedule, its limits, and what it does where it cannot go on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import ScheduleHandle

from closedwon import names
from closedwon.emulators.erp.stub import Lie
from closedwon.names import OrderStage
from closedwon.operations import doctor
from closedwon.settings import Settings
from closedwon.temporal.audits import audit_findings
from closedwon.temporal.search_attributes import ensure_search_attributes
from tests.support.handoff import Handoff, handoff, until
from tests.support.histories import keep_history
from workers.sweeps import sync_schedules


def _with_audit(settings: Settings, **audit: Any) -> Settings:
    return settings.model_copy(update={"audit": type(settings.audit).model_validate({"lag": "0s"} | audit)})


def _schedule(world: Handoff) -> ScheduleHandle:
    return world.client.get_schedule_handle(names.audit_schedule_id(world.org.org_id))


async def _audits(world: Handoff, condition: str) -> list[str]:
    query = f"WorkflowType = '{names.AUDIT_WORKFLOW}' AND {condition}"
    return [one.id async for one in world.client.list_workflows(query)]


async def _pending(world: Handoff) -> str:
    """What the running audit's attempt has failed with."""
    for audit in await _audits(world, "ExecutionStatus = 'Running'"):
        described = await world.client.get_workflow_handle(audit).describe()
        return "; ".join(one.last_failure.message for one in described.raw_description.pending_activities)
    return ""


async def _is_listed(world: Handoff) -> bool:
    return [one.id async for one in await world.client.list_schedules()] != []


async def test_the_schedule_follows_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made once, with the interval of the settings; switched off it is paused; doctor misses it where it should be."""
    async with handoff() as world:
        monkeypatch.setenv("TEMPORAL_ADDRESS", world.client.service_client.config.target_host)
        await ensure_search_attributes(world.client)

        async def missed() -> list[str]:
            return [one.text for one in await doctor.examine(world.settings) if "its audits are" in one.text]

        assert ["its audits are not scheduled"] == await missed()
        await sync_schedules(world.client, _with_audit(world.settings, interval="6h"))
        described = (await _schedule(world).describe()).schedule
        assert [timedelta(hours=6)] == [one.every for one in described.spec.intervals]
        assert [] == await missed()

        await until(lambda: _is_listed(world))
        await sync_schedules(world.client, _with_audit(world.settings, enabled=False))
        assert (await _schedule(world).describe()).schedule.state.paused
        assert 1 == len(await missed())
        await sync_schedules(world.client, world.settings)
        assert not (await _schedule(world).describe()).schedule.state.paused


async def test_an_audit_leaves_api_calls_to_the_orders() -> None:
    """Beyond its share of the org's calls it waits, and says so among the pending activities."""
    async with handoff() as world:
        world.settings = _with_audit(world.settings, api_share=0.00001)
        async with world.working(subscriber=False):
            world.org.seed(1)
            (record,) = await world.win(1)
            await world.order(record).result()
            await sync_schedules(world.client, world.settings)

            async def waits() -> bool:
                return "audit.api_share" in await _pending(world)

            await until(waits)


async def test_an_audit_keeps_the_pauses_of_erps() -> None:
    """It uses the task queue for several ERPs, which is paused if one of them is paused."""
    async with handoff() as world:
        world.settings = _with_audit(world.settings)
        async with world.working(subscriber=False):
            await sync_schedules(world.client, world.settings)
            await until(lambda: _audits(world, "ExecutionStatus = 'Completed'"))
            (audit,) = await _audits(world, "ExecutionStatus = 'Completed'")
            history = await world.client.get_workflow_handle(audit).fetch_history()

    scheduled = [one.activity_task_scheduled_event_attributes for one in history.events]
    queues = {one.activity_type.name: one.task_queue.name for one in scheduled if one.activity_id}
    assert {"compare": names.erp_queue(None), "report": names.ORDERS_QUEUE} == queues


async def test_an_audit_of_an_erp_that_answers_wrongly_needs_attention() -> None:
    """The audit cannot compare such an ERP, so there is no finding; `retry` completes it after a correction."""
    async with handoff() as world:
        world.settings = _with_audit(world.settings)
        async with world.working(subscriber=False):
            world.org.seed(2)
            (record,) = await world.win(1)
            await world.order(record).result()
            world.org.win_next(1)
            world.erp.faults.lie = Lie.FIND_OTHER
            await sync_schedules(world.client, world.settings)
            attention = f"{names.ORDER_STAGE} = '{OrderStage.ATTENTION}'"
            await until(lambda: _audits(world, attention))
            (waiting,) = await _audits(world, attention)
            assert [] == await audit_findings(world.client)

            world.erp.faults.lie = None
            await world.client.get_workflow_handle(waiting).signal(names.SIGNAL_RETRY)
            await until(lambda: audit_findings(world.client))
            (found,) = await audit_findings(world.client)
            assert ("won-without-order", 1) == (found.kind, found.number)
            await world.client.get_workflow_handle(waiting).result()
            await keep_history(world.client, waiting)
