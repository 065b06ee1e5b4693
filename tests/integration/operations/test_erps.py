"""An ERP is paused, limited and resumed by its task queue: real Temporal, real sockets."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime

from pydantic import SecretStr
from temporalio.client import WorkflowExecutionStatus
from temporalio.testing import WorkflowEnvironment

from closedwon import names
from closedwon.acceptance import order_start
from closedwon.emulators.erp.stub import StubErp
from closedwon.model.messages import Message
from closedwon.model.routes import Channel
from closedwon.names import OrderStage
from closedwon.operations import erps
from closedwon.settings import ErpByExpression, RestErp
from closedwon.temporal.orders import start_order
from tests.support.handoff import Handoff, handoff, until
from tests.support.histories import keep_history


async def _limit(world: Handoff, rate: float | None, reason: str = "maintenance") -> None:
    await erps.limit(world.client, "stub", rate, erps=["stub"], reason=reason, by="ada@desk")


async def test_while_an_erp_is_paused_nothing_fails_and_after_it_all_is_done() -> None:
    """Deals that are won during the maintenance wait, without one failed attempt; then each becomes one order."""
    async with handoff() as world, world.working():
        world.org.seed(20)
        world.erp.faults.down = True
        await _limit(world, 0)
        won = world.org.win_next(20)
        for record in won:
            await world.until_stage(record, OrderStage.ORDERING)

        async def all_wait() -> bool:
            return (await erps.queue_of(world.client, "stub")).backlog == len(won)

        await until(all_wait)
        calls = world.erp.calls
        for record in won:
            (pending,) = (await world.order(record).describe()).raw_description.pending_activities
            assert (1, False) == (pending.attempt, pending.HasField("last_failure"))
        note = await world.client.get_workflow_handle(names.erp_limit_workflow_id("stub")).describe()
        assert (True, "ERP stub is paused: maintenance (ada@desk)") == (
            note.status is WorkflowExecutionStatus.RUNNING,
            await note.static_summary(),
        )
        queue = await erps.queue_of(world.client, "stub")
        assert ("paused", "maintenance", "ada@desk", 1) == (queue.status, queue.reason, queue.by, queue.workers)

        world.erp.faults.down = False
        await _limit(world, None)
        await world.until_written_back(*won)
        assert calls == 0
        assert 20 == len(world.erp.orders())
        assert "open" == (await erps.queue_of(world.client, "stub")).status
        await world.client.get_workflow_handle(names.erp_limit_workflow_id("stub")).result()
        await keep_history(world.client, names.erp_limit_workflow_id("stub"))


async def test_a_limit_is_shown_when_the_command_returns(temporal_server: WorkflowEnvironment) -> None:
    """Each with its reason, also if the queue had the same limit before: the next command reads what this one did."""
    client, name = temporal_server.client, uuid.uuid4().hex
    for rate, reason in ((0, "closing"), (0, "still closing"), (5, "slowly"), (None, "done")) * 3:
        await erps.limit(client, name, rate, erps=[name], reason=reason, by="ada@desk")
        queue = await erps.queue_of(client, name)
        expected = (None, "", "") if rate is None else (rate, reason, "ada@desk")
        assert expected == (queue.limit, queue.reason, queue.by)


async def test_a_limit_lets_so_many_orders_a_second_through() -> None:
    """Twelve orders at four a second take two seconds at least, a burst at the beginning left aside."""
    async with handoff() as world, world.working():
        world.org.seed(12)
        await _limit(world, 0)
        won = world.org.win_next(12)
        for record in won:
            await world.until_stage(record, OrderStage.ORDERING)
        began = time.monotonic()
        await _limit(world, 4)
        await world.until_written_back(*won)
        assert time.monotonic() - began > 2


async def test_a_cancel_that_must_ask_every_erp_waits_while_one_is_paused() -> None:
    """No one knows yet whether and where the record has an order: asking an ERP in maintenance would fail."""
    async with handoff() as world, world.working(subscriber=False):
        both = ["stub", "other"]
        await erps.limit(world.client, "stub", 0, erps=both, reason="maintenance", by="ada@desk")
        await erps.limit(world.client, "other", 5, erps=both, reason="slow", by="ada@desk")
        shared = await erps.queue_of(world.client, None)
        assert ("paused", "stub: maintenance") == (shared.status, shared.reason)
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        world.org.faults.down(on=True)
        start = order_start(world.settings, world.settings.routes[0], record)
        await start_order(
            world.client, start, Message(id="m-1", channel=Channel.PLATFORM_EVENT, received_at=datetime.now(UTC))
        )
        await world.order(record).signal(names.SIGNAL_CANCEL)

        async def waits() -> bool:
            return (await erps.queue_of(world.client, None)).backlog == 1

        await until(waits)
        world.org.faults.down(on=False)
        assert 0 == world.erp.calls
        await erps.limit(world.client, "stub", None, erps=both, reason="over", by="ada@desk")
        assert OrderStage.CANCELLED is (await world.order(record).result()).stage
        assert "at most 5/s" == (await erps.queue_of(world.client, None)).status


async def test_where_a_route_picks_its_erp_one_in_maintenance_makes_no_order_fail() -> None:
    """Before the picked ERP is sent an order, the other one is asked whether it has one: that waits, and fails not."""
    async with StubErp.running() as other, handoff() as world:
        more = RestErp(kind="rest", name="other", url=other.url, token=SecretStr(other.token))
        route = world.settings.routes[0].model_copy(update={"erp": ErpByExpression(expression="'stub'")})
        world.settings = world.settings.model_copy(update={"erps": (*world.settings.erps, more), "routes": (route,)})
        async with world.working():
            world.org.seed(1)
            other.faults.down = True
            both = ["stub", "other"]
            await erps.limit(world.client, "other", 0, erps=both, reason="maintenance", by="ada@desk")
            (record,) = world.org.win_next(1)

            async def waits() -> bool:
                return (await erps.queue_of(world.client, None)).backlog == 1

            await until(waits)
            assert 0 == other.calls
            other.faults.down = False
            await erps.limit(world.client, "other", None, erps=both, reason="over", by="ada@desk")
            await world.until_written_back(record)
            assert 1 == len(world.erp.orders())
