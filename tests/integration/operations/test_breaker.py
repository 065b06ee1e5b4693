"""The breaker of an ERP: real Temporal, a stub ERP that refuses connections."""

from __future__ import annotations

import time

from temporalio.client import WorkflowExecutionStatus

from closedwon import names
from closedwon.erp.breaker import PROBE, STEPS, Phase
from closedwon.names import OrderStage
from closedwon.operations import erps
from tests.support.breaker import Outage, Reopening, breaking, entry_of
from tests.support.handoff import Handoff, handoff, until

_PARTITIONS = 4
"""Of a task queue. Each lets one task through at once."""


async def _until_phase(world: Handoff, phase: Phase) -> None:
    async def is_there() -> bool:
        return (await entry_of(world)).phase is phase

    await until(is_there, what=f"the phase {phase}")


async def test_a_dead_erp_gets_probes_and_then_all_orders_in_steps() -> None:
    """No worker can connect: one attempt in ten seconds; when one gets through, the others follow step by step."""
    number = 60
    async with handoff() as world, world.working(subscriber=False), breaking(world):
        world.org.seed(number)
        outage, contact = Outage(world), world.connections.contacts["stub"]
        await outage.begin()
        won = await world.win(number)
        await _until_phase(world, Phase.PROBING)
        failures, began = contact.failures, time.monotonic()
        note = world.client.get_workflow_handle(names.erp_breaker_workflow_id("stub"))

        async def is_noted() -> bool:
            return await (await note.describe()).static_summary() is not None

        await until(lambda: contact.failures > failures + 2, what="probes")
        assert contact.failures - failures <= (time.monotonic() - began) * PROBE + 2 * _PARTITIONS
        summary = await (await note.describe()).static_summary()
        assert summary is not None
        assert summary.startswith("ERP stub cannot be reached: no worker can connect to the ERP")
        queue = await erps.queue_of(world.client, "stub")
        assert ("not reached", True) == (queue.status, queue.is_limited)
        assert {OrderStage.ORDERING} == {await world.stage(record) for record in won}

        reopening = Reopening(world)
        await outage.end()

        async def is_open() -> bool:
            return (await reopening.observe()).phase is Phase.OPEN

        await until(is_open, progress=lambda: world.erp.calls)
        at = [*reopening.began.values()]
        for limit, calls, lasted in zip(
            STEPS[:2], [reopening[step] for step in STEPS[:2]], (at[2] - at[1], at[3] - at[2]), strict=True
        ):
            assert calls <= 2 * (limit * (lasted + 1) + _PARTITIONS)  # two calls an order
        await world.until_written_back(*won)
        assert number == len(world.erp.orders())
        assert WorkflowExecutionStatus.COMPLETED is (await note.describe()).status
        assert "open" == (await erps.queue_of(world.client, "stub")).status
