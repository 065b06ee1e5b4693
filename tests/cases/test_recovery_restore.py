"""Case R7: an ERP that was restored from a backup, as the scheduled audit reports it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from closedwon import names
from closedwon.audit.repair import repair
from closedwon.model.audits import Compared
from closedwon.operations import doctor
from closedwon.settings import Settings
from closedwon.temporal.audits import audit_findings
from tests.support.checks import alerting
from tests.support.handoff import Handoff, handoff, until
from tests.support.histories import keep_history
from tests.support.metrics import Gauges
from tests.support.receiver import Receiver
from workers.observer import Observer
from workers.sweeps import sync_schedules


async def _audited(world: Handoff, number: int) -> Compared:
    """Trigger the audits' schedule unless this is its first audit, and return what audit `number` has found."""
    schedule = world.client.get_schedule_handle(names.audit_schedule_id(world.org.org_id))
    if number > 1:
        await schedule.trigger()
    query = f"WorkflowType = '{names.AUDIT_WORKFLOW}' AND ExecutionStatus = 'Completed'"

    async def ended() -> bool:
        return (await world.client.count_workflows(query)).count == number

    await until(ended)
    found = [one async for one in world.client.list_workflows(query)]
    newest = max(found, key=lambda one: one.start_time)
    await keep_history(world.client, newest.id)
    result: Compared = await world.client.get_workflow_handle(newest.id, result_type=Compared).result()
    return result


async def _findings(world: Handoff) -> list[tuple[str, int]]:
    return [(one.kind, one.number) for one in await audit_findings(world.client)]


async def test_r7_a_scheduled_audit_finds_what_an_erp_restore_has_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next audit finds the orders that are gone; metric, alert and doctor report them until they exist again."""
    async with handoff() as world, alerting(world) as hook:
        world.settings = _impatient(world.settings)
        async with world.working(subscriber=False):
            await check_that_a_restore_is_found(world, hook, monkeypatch)


async def check_that_a_restore_is_found(world: Handoff, hook: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Delete two of four orders; follow metric, alert and doctor until `--fix` has placed them again."""
    gauges = Gauges()
    monkeypatch.setenv("TEMPORAL_ADDRESS", world.client.service_client.config.target_host)
    world.org.seed(4)
    won = await world.win(4)
    for record in won:
        await world.order(record).result()
    await sync_schedules(world.client, world.settings)
    first = await _audited(world, 1)
    assert (0, ()) == (sum(one.number for one in first.findings), first.known)

    lost = world.erp.orders()[1:3]
    world.erp.table.db.execute("DELETE FROM orders WHERE id IN (?, ?)", [order["id"] for order in lost])
    second = await _audited(world, 2)
    await until(lambda: hook.taken)
    await until(lambda: _is(world, [("unknown-number", 2)]))
    observer = Observer(world.client, world.settings, gauges.metrics)
    await observer.observe()
    labels = {"org": "org-0", "kind": "unknown-number"}
    assert 2 == gauges.get("audit_findings", labels)
    assert 0 == gauges.get("audit_findings", labels | {"kind": "duplicate-order"})
    (problem,) = [one for one in await doctor.examine(world.settings) if one.subject == "audit"]
    assert "2 unknown-number" in problem.text
    third = await _audited(world, 3)
    assert second.known == third.known
    assert {order["idempotency_key"].partition(":")[2] for order in lost} == set(third.known)

    await repair(world.settings, world.client, await world.audit())
    await until(lambda: _is_clean(world))
    last = await _audited(world, 4)
    await until(lambda: _is(world, []))
    await observer.observe()
    assert 0 == gauges.get("audit_findings", labels)
    assert () == last.known
    (alert,) = hook.taken
    assert ("audit", "audit-findings", world.org.org_id) == (alert["kind"], alert["reason"], alert["org"])
    assert "2 of the kind unknown-number" in alert["sentence"]
    finding = names.audit_finding_workflow_id(world.org.org_id, "unknown-number")
    await keep_history(world.client, finding)


async def _is(world: Handoff, expected: list[tuple[str, int]]) -> bool:
    return await _findings(world) == expected


async def _is_clean(world: Handoff) -> bool:
    report = await world.audit()
    return report.clean and not report.under_way


def _impatient(settings: Settings) -> Settings:
    """Settings whose audits do not leave recent changes out."""
    return settings.model_copy(update={"audit": settings.audit.model_copy(update={"lag": timedelta(0)})})
