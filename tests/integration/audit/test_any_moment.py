"""Commands at any moment, while the ERP is slow and loses replies after its commits; the audit is the judge."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress

import pytest
from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError

from closedwon import names, temporal
from closedwon.audit.judge import Kind
from closedwon.ids import RecordId
from closedwon.names import OrderStage
from tests.support.audit import assert_clean, story
from tests.support.handoff import Handoff, handoff, until
from tests.support.siege import SEED

EACH = 20
ALLOWED = {
    names.SIGNAL_RETRY: {OrderStage.COMPLETED},
    names.SIGNAL_CANCEL: {OrderStage.CANCELLED, OrderStage.COMPLETED},
    names.SIGNAL_RESOLVE: {OrderStage.COMPLETED, OrderStage.ATTENTION},
    names.SIGNAL_SKIP: {OrderStage.NOT_NEEDED, OrderStage.COMPLETED, OrderStage.ATTENTION},
}
"""How an order may stand after a command. Completed: the command came too late, or was refused, since there was an
order. In attention: it met an order that the ERP had made meanwhile, and a person says which counts."""
_log = logging.getLogger(__name__)


async def _stands(world: Handoff, record: RecordId) -> bool:
    """Whether the order does not go on by itself: asked of its workflow, for the list of workflows lags behind."""
    order = await world.order(record).describe()
    if order.status is not WorkflowExecutionStatus.RUNNING:
        return True
    stage = order.typed_search_attributes.get(temporal.KEYS[names.ORDER_STAGE])
    pending = order.raw_description
    return (
        stage == OrderStage.ATTENTION
        and not pending.HasField("pending_workflow_task")
        and not pending.pending_activities
    )


async def until_all_stand(world: Handoff, records: Iterable[RecordId]) -> None:
    """Wait until no order goes on by itself."""
    for record in records:
        await until(lambda: _stands(world, record), seconds=90)  # noqa: B023 - awaited before the next round


@pytest.mark.slow
async def test_commands_at_any_moment_end_well_and_the_books_agree() -> None:
    """Twenty of each, signals and updates, at random moments: every end is allowed, nothing doubled, all agree."""
    seed = int(os.environ.get(SEED) or random.randrange(2**32))  # noqa: S311 - no secret
    _log.info("repeat with %s=%d", SEED, seed)
    chance = random.Random(seed)  # noqa: S311 - no secret
    async with handoff() as world, world.working(subscriber=False):
        world.org.seed(EACH * len(ALLOWED))
        world.erp.faults.slow, world.erp.faults.lose_reply_probability = 0.05, 0.3
        commands = dict(zip(await world.win(EACH * len(ALLOWED)), [*ALLOWED] * EACH, strict=True))
        given = {
            record: (await world.made_by_hand(record)).number
            for record, command in commands.items()
            if command == "resolve"
        }

        async def send(record: RecordId, command: str, moment: float) -> None:
            order, by_update = world.order(record), chance.random() < 0.5
            await asyncio.sleep(moment)
            with suppress(RPCError):  # it has ended meanwhile
                if by_update:
                    await order.execute_update(command, given.get(record))
                else:
                    await order.signal(command, given.get(record))

        await asyncio.gather(*(send(record, command, chance.uniform(0, 4)) for record, command in commands.items()))
        world.erp.faults.slow, world.erp.faults.lose_reply_probability = 0, 0
        await until_all_stand(world, commands)

        stages = {record: OrderStage(str(await world.stage(record))) for record in commands}
        ends = Counter((command, stages[record]) for record, command in commands.items())
        assert all(stage in ALLOWED[command] for command, stage in ends), (seed, ends)
        assert {OrderStage.COMPLETED, OrderStage.CANCELLED} <= set(stages.values()), (seed, ends)  # early, and late
        report = await world.audit()
        assert not [one for one in report.findings if "needs attention" not in one.workflow], (seed, story(report))
        assert Kind.DOUBLED not in {one.kind for one in report.findings}, (seed, story(report))

        for record, stage in stages.items():
            if stage is OrderStage.ATTENTION:
                await world.order(record).signal("retry")
                await world.order(record).result()
        given_up = sum(stage in (OrderStage.CANCELLED, OrderStage.NOT_NEEDED) for stage in stages.values())
        assert_clean(await world.audit(), won=len(commands), cancelled=given_up)
        _log.info("%s", ends)
