"""What is known after something failed? Cases R1 to R10."""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

from activities.audits import Compared
from activities.erp import CreateOrder
from closedwon import names, temporal
from closedwon.acceptance import order_start
from closedwon.audit.judge import Kind
from closedwon.audit.mend import mend
from closedwon.errors import AttentionReason
from closedwon.ids import RecordId
from closedwon.localerp.light import Faults, LightErp
from closedwon.model import Channel, Message, Order
from closedwon.operating import doctor
from closedwon.settings import Settings
from tests.faults import doomed_step
from tests.integration.erp.worlds import new_order
from tests.support.checks import alerting
from tests.support.encryption import keyed, with_keys
from tests.support.handoff import Handoff, handoff, until
from tests.support.histories import keep_history
from tests.support.metrics import Gauges
from tests.support.one_step import Steps, steps_world
from tests.support.receiver import Receiver
from workers.observer import Observer
from workers.sweeps import keep_schedules

_ROOT = Path(__file__).parents[2]
_LONG = 3600.0
"""Seconds; a held write is released by the test."""


def states_of_a_deal(number: int) -> list[Order]:
    """One deal in so many states, each with more lines of the same product; the newest comes last."""
    first, now = new_order(), datetime.now(UTC)
    lines = [("GC1040", str(1 + place), "5000.00") for place in range(number)]
    return [
        first.model_copy(
            update={"lines": new_order([line]).lines, "modified_at": now + timedelta(seconds=place), "created_at": now}
        )
        for place, line in enumerate(lines)
    ]


def hold_next(erp: LightErp, kind: str, **faults: Any) -> None:
    """The next write of this kind is cut, and takes effect when it is released."""
    held = {"hold": 1, "hold_only": kind, "hold_for": _LONG}
    erp.faults = Faults.model_validate(erp.faults.model_dump() | held | faults)


async def release(world: Steps) -> None:
    """What was held takes effect now."""
    assert 1 == world.light.held
    world.light.faults.hold_for = 0
    await until(lambda: not world.light.held)


def row(world: Steps) -> tuple[str, str]:
    """Status and amount of the only order."""
    (order,) = world.light.orders()
    return order["status"], order["amount"]


@pytest.mark.parametrize("versions", [True, False], ids=["versions", "no versions"])
async def test_r2_a_late_change_does_not_last(temporal_server: WorkflowEnvironment, versions: bool) -> None:  # noqa: FBT001
    """A PUT that lands after a newer one has no effect where there are versions; elsewhere it is known to be in doubt.

    Known in doubt, the look after the in-doubt time finds what it did, and sets it right.
    """
    async with steps_world(temporal_server.client) as world, world.worker():
        world.light.faults.no_versions = not versions
        first, second, third = states_of_a_deal(3)
        made = await world.create(first)
        assert made.in_doubt_since is None
        hold_next(world.light, "amend")
        began = datetime.now(UTC)

        repeated = await world.create(second, changed="amend")
        newest = await world.create(third, changed="amend")

        assert repeated.in_doubt_since is not None
        assert began <= repeated.in_doubt_since <= datetime.now(UTC)
        assert newest.in_doubt_since is None
        await release(world)
        assert ("confirmed", "15000.00" if versions else "10000.00") == row(world)

        await world.create(third, changed="amend")
        assert ("confirmed", "15000.00") == row(world)


@pytest.mark.parametrize("versions", [True, False], ids=["versions", "no versions"])
async def test_r2_a_late_cancellation_does_not_last(temporal_server: WorkflowEnvironment, versions: bool) -> None:  # noqa: FBT001
    """A cancel that lands after the deal was won again has no effect, or is known to be in doubt and is set right."""
    async with steps_world(temporal_server.client) as world, world.worker():
        world.light.faults.no_versions = not versions
        won, again = states_of_a_deal(2)
        await world.create(won)
        hold_next(world.light, "cancel")

        cancelled = await world.cancel(won, by_policy=True, modified_at=won.modified_at)
        reopened = await world.create(again, reopen=True)

        assert cancelled.order is not None
        assert cancelled.in_doubt_since is not None
        assert reopened.order is not None
        assert reopened.order.status.exists_as_order
        await release(world)
        assert ("confirmed" if versions else "cancelled", "10000.00") == row(world)

        await world.create(again, reopen=True)
        assert ("confirmed", "10000.00") == row(world)


@pytest.mark.parametrize("encrypted", [True, False])
async def test_r3_a_refusal_remembers_that_an_earlier_attempt_is_still_at_work(
    temporal_server: WorkflowEnvironment,
    encrypted: bool,  # noqa: FBT001
) -> None:
    """Create 1 gets no answer, create 2 is refused: the need for attention says since when an attempt is in doubt."""
    client = with_keys(temporal_server.client, keyed()) if encrypted else temporal_server.client
    async with steps_world(client) as world, world.worker():
        hold_next(world.light, "create")
        world.light.faults.reject = 1
        began = datetime.now(UTC)

        problem = await world.problem_of(await world.start(CreateOrder(erp="light", order=new_order())))

        assert AttentionReason.ERP_REJECTED is problem.reason
        assert problem.in_doubt_since is not None
        assert began <= problem.in_doubt_since <= datetime.now(UTC)
        assert [] == world.light.orders()
        await release(world)
        assert 1 == len(world.light.orders())


async def test_r3_a_refusal_without_an_earlier_write_is_in_no_doubt(temporal_server: WorkflowEnvironment) -> None:
    """An attempt that failed at its look has sent nothing; its statement reaches the next one though it failed."""
    async with steps_world(temporal_server.client) as world, world.worker():
        world.light.faults.down = True
        world.light.faults.reject = 1
        step = await world.start(CreateOrder(erp="light", order=new_order()))
        await until(lambda: world.light.calls)
        world.light.faults.down = False

        problem = await world.problem_of(step)

        assert AttentionReason.ERP_REJECTED is problem.reason
        assert problem.in_doubt_since is None


@asynccontextmanager
async def doomed(world: Steps, temporal_server: WorkflowEnvironment, point: str) -> AsyncIterator[None]:
    """A worker in a process of its own that kills itself there; waits for its death in the end."""
    arguments = [world.queue, world.light.url, world.light.token, point]
    address = temporal_server.client.service_client.config.target_host
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        doomed_step.__file__,
        address,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(_ROOT)},
    )
    try:
        yield
        async with asyncio.timeout(60):
            assert await process.wait() < 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("point", ["before-create", "after-create"])
async def test_r3_the_death_of_a_worker_counts_as_doubt(temporal_server: WorkflowEnvironment, point: Any) -> None:
    """Whether the killed worker's request has left cannot be known: the next attempt succeeds, and is in doubt."""
    async with steps_world(temporal_server.client) as world:
        order = new_order()
        began = datetime.now(UTC)
        async with doomed(world, temporal_server, point):
            step = await world.start(CreateOrder(erp="light", order=order))
        async with world.worker():
            result = await step.result()

        assert result["in_doubt_since"] is not None
        assert began <= datetime.fromisoformat(result["in_doubt_since"]) <= datetime.now(UTC)
        assert 1 == len(world.light.orders())


@asynccontextmanager
async def ordered_deal() -> AsyncIterator[tuple[Handoff, RecordId]]:
    """A deal whose order is made, in an ERP without versions; its workflow has ended."""
    policies: dict[str, Any] = {"changed": "amend", "unwon": "cancel", "grace": timedelta(seconds=0.1)}
    async with handoff(**policies) as world:
        (erp,) = world.settings.erps
        patient = erp.model_copy(update={"settle": timedelta(seconds=6)})
        world.settings = world.settings.model_copy(update={"erps": (patient,)})
        async with world.working(subscriber=False):
            world.erp.faults.no_versions = True
            world.org.seed(1)
            (record,) = world.org.win_next(1)
            await notify(world, record)
            await world.until_written_back(record)
            await world.order(record).result()
            yield world, record


async def notify(world: Handoff, record: RecordId, **fields: Any) -> None:
    """Change the deal, if there are `fields`; a message about it arrives."""
    if fields:
        world.org.update("Opportunity", record, **fields)
    message = Message(id=uuid.uuid4().hex, channel=Channel.SWEEP, received_at=datetime.now(UTC))
    await temporal.start_order(world.client, order_start(world.settings, world.settings.routes[0], record), message)


async def sell(world: Handoff, record: RecordId, quantity: int) -> Decimal:
    """Change the quantity of the first line; the new amount, when a message about it has been sent."""
    (line,) = world.org.query(
        f"SELECT Id FROM OpportunityLineItem WHERE OpportunityId = '{record}' ORDER BY Id LIMIT 1"  # noqa: S608 - SOQL
    )
    world.org.update("OpportunityLineItem", RecordId(line["Id"]), Quantity=quantity)
    await notify(world, record)
    return Decimal(str(world.org.get("Opportunity", record)["Amount"]))


def held_amount(world: Handoff) -> Decimal:
    """What the ERP's only order is about."""
    (order,) = world.erp.orders()
    return Decimal(order["amount"])


async def test_r2_a_late_change_is_set_right_by_the_order_itself() -> None:
    """v1, v2 (held back, repeated), v3, then v2 lands: the look after the in-doubt time makes it v3 again."""
    async with ordered_deal() as (world, record):
        hold_next(world.erp, "amend")
        second = await sell(world, record, 91)
        await until(lambda: held_amount(world) == second)
        third = await sell(world, record, 92)
        await until(lambda: held_amount(world) == third)

        world.erp.faults.hold_for = 0
        await until(lambda: not world.erp.held)
        assert second == held_amount(world)

        await until(lambda: held_amount(world) == third)
        await world.order(record).result()
        assert ["confirmed"] == [order["status"] for order in world.erp.orders()]


async def test_r2_a_late_cancellation_is_set_right_by_the_order_itself() -> None:
    """Un-won (cancel held back, repeated), won again, reopened, then the first cancel lands: it is reopened again."""
    async with ordered_deal() as (world, record):
        hold_next(world.erp, "cancel")
        await notify(world, record, StageName="Negotiation/Review")
        await until(lambda: world.erp.orders()[0]["status"] == "cancelled")
        await notify(world, record, StageName="Closed Won")
        await until(lambda: world.erp.orders()[0]["status"] == "confirmed")

        world.erp.faults.hold_for = 0
        await until(lambda: not world.erp.held)
        assert "cancelled" == world.erp.orders()[0]["status"]

        await until(lambda: world.erp.orders()[0]["status"] == "confirmed")
        await world.order(record).result()
        assert 1 == len(world.erp.orders())


async def test_r3_a_deal_is_not_skipped_while_an_attempt_is_still_at_work() -> None:
    """Create 1 gets no answer, create 2 is refused, `skip`: the order that appears after all is not forgotten."""
    async with handoff() as world:
        (erp,) = world.settings.erps
        patient = erp.model_copy(update={"settle": timedelta(seconds=6)})
        world.settings = world.settings.model_copy(update={"erps": (patient,)})
        async with world.working(subscriber=False):
            hold_next(world.erp, "create", reject=1)
            world.org.seed(1)
            (record,) = world.org.win_next(1)
            await notify(world, record)
            await world.until_stage(record, names.OrderStage.ATTENTION)

            await world.order(record).signal(names.SIGNAL_SKIP)
            world.erp.faults.hold_for = 0
            await until(lambda: not world.erp.held)

            await until(lambda: asks_what_to_do_with_the_order(world, record))
            assert 1 == len(world.erp.orders())


async def asks_what_to_do_with_the_order(world: Handoff, record: RecordId) -> bool:
    """Whether the order needs attention for the order that exists."""
    description = await world.order(record).describe()
    reason = description.typed_search_attributes.get(temporal.KEYS[names.ATTENTION_REASON])
    return reason == AttentionReason.ORDER_EXISTS


def _sell(world: Handoff, record: RecordId, quantity: int) -> None:
    """Let the deal's first line say another quantity."""
    query = f"SELECT Id FROM OpportunityLineItem WHERE OpportunityId = '{record}' ORDER BY Id"  # noqa: S608 - SOQL
    world.org.update("OpportunityLineItem", world.org.query(query)[0]["Id"], Quantity=quantity)


async def _look(world: Handoff, record: RecordId) -> None:
    """Let the deal's workflow look, to its end."""
    message = Message(id=uuid.uuid4().hex, channel=Channel.OPERATOR, received_at=datetime.now(UTC))
    await temporal.start_order(world.client, order_start(world.settings, world.settings.routes[0], record), message)
    await world.order(record).result()


async def test_r2_the_audit_reports_a_late_effect_and_fix_sets_it_right() -> None:
    """A change that lands after a newer one, when no workflow looks any more: named as such, and made good by `--fix`.

    The ERP has no versions, and the change comes later than `settle` says that one can.
    """
    async with handoff(changed="amend") as world, world.working(subscriber=False):
        world.org.seed(1)
        (record,) = await world.win(1)
        await world.order(record).result()
        faults = world.erp.faults.model_dump() | {
            "no_versions": True,
            "hold": 1,
            "hold_only": "amend",
            "hold_for": _LONG,
        }
        world.erp.faults = type(world.erp.faults).model_validate(faults)
        _sell(world, record, 20)
        await _look(world, record)
        _sell(world, record, 30)
        await _look(world, record)
        (right,) = world.erp.orders()
        assert (await world.audit()).clean
        world.erp.faults.hold_for = 0
        await until(lambda: not world.erp.held)

        report = await world.audit()

        assert right["amount"] != world.erp.orders()[0]["amount"]
        assert [(Kind.LATE_EFFECT, True)] == [(one.kind, one.fixable) for one in report.findings]
        await mend(world.settings, world.client, report)
        await world.order(record).result()
        assert (await world.audit()).clean
        assert right["amount"] == world.erp.orders()[0]["amount"]


async def _audited(world: Handoff, number: int) -> Compared:
    """Run the audits' schedule, and return what the newest of so many audits has found."""
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
    return [(one.kind, one.number) for one in await temporal.audit_findings(world.client)]


async def test_r7_a_scheduled_audit_finds_what_an_erp_restore_has_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Orders of yesterday are gone: the next audit finds them; metric, alert and doctor tell it until it is over."""
    async with handoff() as world, alerting(world) as hook:
        world.settings = _impatient(world.settings)
        async with world.working(subscriber=False):
            await _restore_is_found(world, hook, monkeypatch)


async def _restore_is_found(world: Handoff, hook: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    gauges = Gauges()
    monkeypatch.setenv("TEMPORAL_ADDRESS", world.client.service_client.config.target_host)
    world.org.seed(4)
    won = await world.win(4)
    for record in won:
        await world.order(record).result()
    await keep_schedules(world.client, world.settings)
    first = await _audited(world, 1)
    assert (0, ()) == (sum(one.number for one in first.findings), first.known)

    lost = world.erp.orders()[1:3]
    world.erp.table.db.execute("DELETE FROM orders WHERE id IN (?, ?)", [order["id"] for order in lost])
    second = await _audited(world, 2)
    await until(lambda: hook.taken)
    await until(lambda: _is(world, [("unknown-number", 2)]))
    observer = Observer(world.client, world.settings, gauges.metrics)
    await observer.look()
    labels = {"org": "org-0", "kind": "unknown-number"}
    assert 2 == gauges.get("audit_findings", labels)
    assert 0 == gauges.get("audit_findings", labels | {"kind": "doubled"})
    (trouble,) = [one for one in await doctor.examine(world.settings) if one.subject == "audit"]
    assert "2 unknown-number" in trouble.text
    third = await _audited(world, 3)
    assert second.known == third.known
    assert {order["idempotency_key"].partition(":")[2] for order in lost} == set(third.known)

    await mend(world.settings, world.client, await world.audit())
    await until(lambda: _is_clean(world))
    last = await _audited(world, 4)
    await until(lambda: _is(world, []))
    await observer.look()
    assert 0 == gauges.get("audit_findings", labels)
    assert () == last.known
    (alert,) = hook.taken
    assert ("audit", "books-differ", world.org.org_id) == (alert["kind"], alert["reason"], alert["org"])
    assert "2 of the kind unknown-number" in alert["sentence"]
    finding = names.audit_finding_workflow_id(world.org.org_id, "unknown-number")
    await keep_history(world.client, finding)


async def _is(world: Handoff, expected: list[tuple[str, int]]) -> bool:
    return await _findings(world) == expected


async def _is_clean(world: Handoff) -> bool:
    report = await world.audit()
    return report.clean and not report.under_way


def _impatient(settings: Settings) -> Settings:
    """Nothing is too young to be judged."""
    return settings.model_copy(update={"audit": settings.audit.model_copy(update={"lag": timedelta(0)})})
