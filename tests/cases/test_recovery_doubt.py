"""Case R3: a creation without an answer, and what is decided before its in-doubt time is over."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

from closedwon import names
from closedwon.errors import AttentionReason
from closedwon.ids import RecordId
from closedwon.model.erp_calls import CreateOrder
from tests.cases.recovery import hold_next, release
from tests.faults import doomed_step
from tests.integration.erp.worlds import new_order
from tests.support.deals import (
    attention_reason,
    notify,
)
from tests.support.encryption import keyed, with_keys
from tests.support.handoff import Handoff, handoff, until
from tests.support.one_step import Steps, steps_world
from tests.support.waiting import STALL

_ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("encrypted", [True, False])
async def test_r3_a_refusal_reports_that_an_earlier_attempt_is_in_doubt(
    temporal_server: WorkflowEnvironment,
    encrypted: bool,  # noqa: FBT001
) -> None:
    """Create 1 gets no answer, create 2 is refused: the problem says since when an attempt is in doubt."""
    client = with_keys(temporal_server.client, keyed()) if encrypted else temporal_server.client
    async with steps_world(client) as world, world.worker():
        hold_next(world.stub, "create")
        world.stub.faults.reject = 1
        began = datetime.now(UTC)

        problem = await world.problem_of(await world.start(CreateOrder(erp="stub", order=new_order())))

        assert AttentionReason.ERP_REJECTED is problem.reason
        assert problem.in_doubt_since is not None
        assert began <= problem.in_doubt_since <= datetime.now(UTC)
        assert [] == world.stub.orders()
        await release(world)
        assert 1 == len(world.stub.orders())


async def test_r3_a_refusal_without_an_earlier_write_is_not_in_doubt(temporal_server: WorkflowEnvironment) -> None:
    """An attempt that failed at its lookup has sent nothing, and the next attempt knows that."""
    async with steps_world(temporal_server.client) as world, world.worker():
        world.stub.faults.down = True
        world.stub.faults.reject = 1
        step = await world.start(CreateOrder(erp="stub", order=new_order()))
        await until(lambda: world.stub.calls)
        world.stub.faults.down = False

        problem = await world.problem_of(step)

        assert AttentionReason.ERP_REJECTED is problem.reason
        assert problem.in_doubt_since is None


@asynccontextmanager
async def doomed(world: Steps, temporal_server: WorkflowEnvironment, point: str) -> AsyncIterator[None]:
    """A worker in a process of its own that kills itself at `point`; waits for its death at the end."""
    arguments = [world.queue, world.stub.url, world.stub.token, point]
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
        async with asyncio.timeout(STALL):
            assert await process.wait() < 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("point", ["before-create", "after-create"])
async def test_r3_an_attempt_of_a_killed_worker_is_in_doubt(temporal_server: WorkflowEnvironment, point: Any) -> None:
    """Whether the killed worker sent its request is not known: the next attempt succeeds, and is in doubt."""
    async with steps_world(temporal_server.client) as world:
        order = new_order()
        began = datetime.now(UTC)
        async with doomed(world, temporal_server, point):
            step = await world.start(CreateOrder(erp="stub", order=order))
        async with world.worker():
            result = await step.result()

        assert result["in_doubt_since"] is not None
        assert began <= datetime.fromisoformat(result["in_doubt_since"]) <= datetime.now(UTC)
        assert 1 == len(world.stub.orders())


async def test_r3_a_deal_is_not_skipped_while_an_attempt_is_still_at_work() -> None:
    """Create 1 gets no answer, create 2 is refused, then `skip`: the order of create 1 appears and is reported."""
    async with handoff() as world:
        (erp,) = world.settings.erps
        patient = erp.model_copy(update={"in_doubt_for": timedelta(seconds=6)})
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
    return await attention_reason(world, record) == AttentionReason.ORDER_EXISTS
