"""Commands at any moment, while the ERP is slow and loses replies after its commits; the audit verifies the result."""

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

from closedwon import names
from closedwon.audit.compare import FindingKind
from closedwon.ids import RecordId
from closedwon.names import OrderStage
from closedwon.temporal.search_attributes import SEARCH_ATTRIBUTE_KEYS
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
"""The stages that an order may have after a command. Completed: the command came too late, or was refused because there
was an order. Attention: the ERP has created another order in the meantime, and a person must choose."""
_log = logging.getLogger(__name__)


async def _is_at_rest(world: Handoff, record: RecordId) -> bool:
    """Whether the workflow waits for a message. Asks the workflow itself, because the list of workflows lags behind."""
    order = await world.order(record).describe()
    if order.status is not WorkflowExecutionStatus.RUNNING:
        return True
    stage = order.typed_search_attributes.get(SEARCH_ATTRIBUTE_KEYS[names.ORDER_STAGE])
    pending = order.raw_description
    return (
        stage == OrderStage.ATTENTION
        and not pending.HasField("pending_workflow_task")
        and not pending.pending_activities
    )


async def until_all_are_at_rest(world: Handoff, records: Iterable[RecordId]) -> None:
    """Wait until all workflows are at rest."""
    for record in records:
        await until(lambda: _is_at_rest(world, record))  # noqa: B023 - awaited before the next round


@pytest.mark.slow
async def test_commands_at_any_moment_end_well_and_the_systems_agree() -> None:
    """Twenty signals and twenty updates at random moments: no duplicates, and all systems agree."""
    seed = int(os.environ.get(SEED) or random.randrange(2**32))  # noqa: S311 - no secret
    _log.info("repeat with %s=%d", SEED, seed)
    chance = random.Random(seed)  # noqa: S311 - no secret
    async with handoff() as world, world.working(subscriber=False):
        world.org.seed(EACH * len(ALLOWED))
        world.erp.faults.slow, world.erp.faults.lose_reply_probability = 0.2, 0.3
        commands = dict(zip(await world.win(EACH * len(ALLOWED)), [*ALLOWED] * EACH, strict=True))

        async def send(record: RecordId, command: str, moment: float) -> None:
            order, by_update = world.order(record), chance.random() < 0.5
            await asyncio.sleep(moment)
            given = (await world.made_by_hand(record)).number if command == names.SIGNAL_RESOLVE else None
            with suppress(RPCError):  # it has ended meanwhile
                if by_update:
                    await order.execute_update(command, given)
                else:
                    await order.signal(command, given)

        await asyncio.gather(*(send(record, command, chance.uniform(0, 4)) for record, command in commands.items()))
        world.erp.faults.slow, world.erp.faults.lose_reply_probability = 0, 0
        await until_all_are_at_rest(world, commands)
        await _assert_all_is_well(world, commands, seed)


async def _assert_all_is_well(world: Handoff, commands: dict[RecordId, str], seed: int) -> None:
    """All orders are as their commands allow, the systems agree, and `retry` ends what needs attention."""
    stages = {record: OrderStage(str(await world.stage(record))) for record in commands}
    ends = Counter((command, stages[record]) for record, command in commands.items())
    assert all(stage in ALLOWED[command] for command, stage in ends), (seed, ends)
    assert {OrderStage.COMPLETED, OrderStage.CANCELLED} <= set(stages.values()), (seed, ends)  # early, and late
    report = await world.audit()
    assert not [one for one in report.findings if "needs attention" not in one.workflow], (seed, story(report))
    assert FindingKind.DUPLICATE_ORDER not in {one.kind for one in report.findings}, (seed, story(report))

    for record, stage in stages.items():
        if stage is OrderStage.ATTENTION:
            await world.order(record).signal("retry")
            await world.order(record).result()
    without_order = sum(stage in (OrderStage.CANCELLED, OrderStage.NOT_NEEDED) for stage in stages.values())
    assert_clean(await world.audit(), won=len(commands), cancelled=without_order)
    _log.info("%s", ends)
