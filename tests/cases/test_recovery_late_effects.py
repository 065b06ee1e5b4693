"""Case R2: a change or a cancellation that takes effect after something newer was done."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

from closedwon.acceptance import order_start
from closedwon.audit.compare import FindingKind
from closedwon.audit.repair import repair
from closedwon.ids import RecordId
from closedwon.model.messages import Message
from closedwon.model.orders import Order
from closedwon.model.routes import Channel
from closedwon.temporal.orders import start_order
from tests.cases.recovery import UNTIL_RELEASED, hold_next, release
from tests.integration.erp.worlds import new_order
from tests.support.deals import (
    notify,
    set_quantity,
)
from tests.support.handoff import Handoff, handoff, until
from tests.support.one_step import Steps, steps_world


def states_of_a_deal(number: int) -> list[Order]:
    """One deal in `number` states, each with a higher quantity than the one before; the newest is last."""
    first, now = new_order(), datetime.now(UTC)
    lines = [("GC1040", str(1 + place), "5000.00") for place in range(number)]
    return [
        first.model_copy(
            update={"lines": new_order([line]).lines, "modified_at": now + timedelta(seconds=place), "created_at": now}
        )
        for place, line in enumerate(lines)
    ]


def row(world: Steps) -> tuple[str, str]:
    """Status and amount of the only order."""
    (order,) = world.stub.orders()
    return order["status"], order["amount"]


@pytest.mark.parametrize("versions", [True, False], ids=["versions", "no versions"])
async def test_r2_a_late_change_is_refused_or_corrected(temporal_server: WorkflowEnvironment, versions: bool) -> None:  # noqa: FBT001
    """A PUT that lands after a newer one has no effect if the ERP has versions; otherwise it is recorded as in doubt.

    Then the comparison after the in-doubt time finds its effect and corrects it.
    """
    async with steps_world(temporal_server.client) as world, world.worker():
        world.stub.faults.no_versions = not versions
        first, second, third = states_of_a_deal(3)
        made = await world.create(first)
        assert made.in_doubt_since is None
        hold_next(world.stub, "amend")
        began = datetime.now(UTC)

        repeated = await world.create(second, on_changed="amend")
        newest = await world.create(third, on_changed="amend")

        assert repeated.in_doubt_since is not None
        assert began <= repeated.in_doubt_since <= datetime.now(UTC)
        assert newest.in_doubt_since is None
        await release(world)
        assert ("confirmed", "15000.00" if versions else "10000.00") == row(world)

        await world.create(third, on_changed="amend")
        assert ("confirmed", "15000.00") == row(world)


@pytest.mark.parametrize("versions", [True, False], ids=["versions", "no versions"])
async def test_r2_a_late_cancellation_is_refused_or_corrected(
    temporal_server: WorkflowEnvironment,
    versions: bool,  # noqa: FBT001
) -> None:
    """A cancel that lands after the deal was won again has no effect, or is recorded as in doubt and corrected."""
    async with steps_world(temporal_server.client) as world, world.worker():
        world.stub.faults.no_versions = not versions
        won, again = states_of_a_deal(2)
        await world.create(won)
        hold_next(world.stub, "cancel")

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


_IN_DOUBT_FOR = [timedelta(seconds=6 * 2**attempt) for attempt in range(5)]
"""By attempt: a machine that is too slow for the first one writes the newest change after the comparison."""


@asynccontextmanager
async def ordered_deal(in_doubt_for: timedelta) -> AsyncIterator[tuple[Handoff, RecordId]]:
    """A deal whose order is made, in an ERP without versions; its workflow has ended."""
    policies: dict[str, Any] = {"on_changed": "amend", "on_unqualified": "cancel", "grace": timedelta(seconds=0.1)}
    async with handoff(**policies) as world:
        world.erp.faults.no_versions = True
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        (erp,) = world.settings.erps
        patient = erp.model_copy(update={"in_doubt_for": in_doubt_for})
        world.settings = world.settings.model_copy(update={"erps": (patient,)})
        async with world.working(subscriber=False):
            await notify(world, record)
            await world.until_written_back(record)
            await world.order(record).result()
            yield world, record


async def lands(world: Handoff, field: str) -> str:
    """Let the held write take effect, and return what the order's field is then."""
    world.erp.faults.hold_for = 0
    await until(lambda: world.erp.landed)
    return str(world.erp.landed[0][field])


async def sell(world: Handoff, record: RecordId, quantity: int) -> Decimal:
    """Change the quantity of the first line; the new amount, when a message about it has been sent."""
    amount = set_quantity(world, record, quantity)
    await notify(world, record)
    return amount


def held_amount(world: Handoff) -> Decimal:
    """What the ERP's only order is about."""
    (order,) = world.erp.orders()
    return Decimal(order["amount"])


async def until_held(world: Handoff, amount: Decimal) -> None:
    """Wait until the ERP's only order is about this amount."""
    await until(lambda: held_amount(world) == amount)


def held_status(world: Handoff) -> str:
    """The status of the ERP's only order."""
    (order,) = world.erp.orders()
    return str(order["status"])


async def test_r2_the_order_workflow_corrects_a_late_change() -> None:
    """v1, v2 (held, then repeated), v3, then v2 lands: the comparison after the in-doubt time restores v3."""
    for in_doubt_for in _IN_DOUBT_FOR:
        async with ordered_deal(in_doubt_for) as (world, record):
            began = datetime.now(UTC)
            hold_next(world.erp, "amend")
            second = await sell(world, record, 91)
            await until_held(world, second)
            third = await sell(world, record, 92)
            await until_held(world, third)
            assert second == Decimal(await lands(world, "amount"))
            if datetime.now(UTC) - began > in_doubt_for:
                continue

            await until_held(world, third)
            await world.order(record).result()
            assert ["confirmed"] == [order["status"] for order in world.erp.orders()]
            return
    pytest.fail("this machine is too slow")


async def test_r2_the_order_workflow_corrects_a_late_cancellation() -> None:
    """The deal is reopened (its cancel is held, then repeated) and won again; the held cancel lands and is undone."""
    for in_doubt_for in _IN_DOUBT_FOR:
        async with ordered_deal(in_doubt_for) as (world, record):
            began = datetime.now(UTC)
            hold_next(world.erp, "cancel")
            await notify(world, record, StageName="Negotiation/Review")
            await until(lambda: held_status(world) == "cancelled")
            await notify(world, record, StageName="Closed Won")
            await until(lambda: held_status(world) == "confirmed")
            assert "cancelled" == await lands(world, "status")
            if datetime.now(UTC) - began > in_doubt_for:
                continue

            await until(lambda: held_status(world) == "confirmed")
            await world.order(record).result()
            assert 1 == len(world.erp.orders())
            return
    pytest.fail("this machine is too slow")


async def _run_order_workflow(world: Handoff, record: RecordId) -> None:
    """Let the order workflow read the record, and wait for its end."""
    message = Message(id=uuid.uuid4().hex, channel=Channel.OPERATOR, received_at=datetime.now(UTC))
    await start_order(world.client, order_start(world.settings, world.settings.routes[0], record), message)
    await world.order(record).result()


async def test_r2_the_audit_reports_a_late_effect_and_fix_corrects_it() -> None:
    """A change that lands after the workflow of a newer one has ended is reported as such, and `--fix` corrects it.

    The ERP has no versions, and the change takes effect after the in-doubt time.
    """
    async with handoff(on_changed="amend") as world, world.working(subscriber=False):
        world.org.seed(1)
        (record,) = await world.win(1)
        await world.order(record).result()
        faults = world.erp.faults.model_dump() | {
            "no_versions": True,
            "hold": 1,
            "hold_only": "amend",
            "hold_for": UNTIL_RELEASED,
        }
        world.erp.faults = type(world.erp.faults).model_validate(faults)
        set_quantity(world, record, 20)
        await _run_order_workflow(world, record)
        set_quantity(world, record, 30)
        await _run_order_workflow(world, record)
        (right,) = world.erp.orders()
        assert (await world.audit()).clean
        world.erp.faults.hold_for = 0
        await until(lambda: not world.erp.held)

        report = await world.audit()

        assert right["amount"] != world.erp.orders()[0]["amount"]
        assert [(FindingKind.LATE_EFFECT, True)] == [(one.kind, one.fixable) for one in report.findings]
        await repair(world.settings, world.client, report)
        await world.order(record).result()
        assert (await world.audit()).clean
        assert right["amount"] == world.erp.orders()[0]["amount"]
