"""The breaker of an ERP: real Temporal, a stub ERP that refuses connections."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

from temporalio.service import RPCError

from closedwon import names
from closedwon.erp.breaker import PROBE, STEPS, Phase
from closedwon.names import OrderStage
from closedwon.operations import erps
from closedwon.settings import Retry
from closedwon.temporal.queues import write_breaker_entry
from tests.support.breaker import PACE, Entries, Outage, Reopening, breaking, cut_off, entry_of, until_phase
from tests.support.handoff import Handoff, handoff, until
from tests.support.pile import until_failed

_PARTITIONS = 4
"""Of a task queue. Each lets one task through at once."""


async def test_a_dead_erp_gets_probes_and_then_all_orders_in_steps() -> None:
    """No worker can connect: one attempt in ten seconds; when one gets through, the others follow step by step."""
    number = 30
    async with handoff() as world, world.working(subscriber=False), breaking(world):
        world.org.seed(number)
        outage, contact = Outage(world), world.connections.contacts["stub"]
        await outage.begin()
        won = await world.win(number)
        await until_phase(world, Phase.PROBING)
        failures, began = contact.failures, time.monotonic()
        note = world.client.get_workflow_handle(names.erp_breaker_workflow_id("stub"))

        async def is_noted() -> bool:
            try:
                return await (await note.describe()).static_summary() is not None
            except RPCError:
                return False

        await until(lambda: contact.failures > failures + 1, what="probes")
        assert contact.failures - failures <= (time.monotonic() - began) * PROBE + 2 * _PARTITIONS
        await until(is_noted)  # it begins at the next look of a worker
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
        await note.result()  # it ends at the next look of a worker
        assert "open" == (await erps.queue_of(world.client, "stub")).status


async def test_a_dead_erp_costs_few_attempts() -> None:
    """A hundred orders whose retries come every two seconds, as many as without the breaker, and the same seconds."""
    seconds, at_once = 8.0, 4
    async with handoff() as world:
        retry = Retry(initial_interval=timedelta(seconds=2), maximum_interval=timedelta(seconds=2))
        workers = world.settings.workers.model_copy(update={"concurrent_erp_calls": at_once})
        world.settings = world.settings.model_copy(update={"retry": retry, "workers": workers})
        async with world.working(subscriber=False):
            world.org.seed(100)
            await Outage(world).begin()
            await until_failed(world, await world.win(100))
            contact = world.connections.contacts["stub"]

            async def attempts() -> int:
                before, began = contact.failures, time.monotonic()
                await until(lambda: time.monotonic() - began >= seconds)
                return contact.failures - before

            without = await attempts()
            async with breaking(world):
                await until_phase(world, Phase.PROBING)
                with_breaker = await attempts()
            assert with_breaker <= seconds * PROBE + 2 * _PARTITIONS + at_once
            assert without > 5 * with_breaker


async def test_a_worker_whose_network_is_cut_does_not_limit_the_others() -> None:
    """It suspects the ERP again and again; a worker that reaches it denies that, and no order waits for a probe."""
    pace = PACE._replace(objection=20)  # the other worker looks in time, also on a busy machine
    async with handoff() as world:
        retry = Retry(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=1))
        world.settings = world.settings.model_copy(update={"retry": retry})
        entries, won = Entries(world), []
        async with world.working(subscriber=False), breaking(world, pace):
            async with cut_off(world, pace) as other:
                while entries.count_of(Phase.DENIED) < 2:
                    world.org.seed(3)
                    won += await world.win(3)
                    await entries.observe()
                assert other.contacts["stub"].failures
            await world.until_written_back(*won)
        await entries.observe()
        assert not entries.count_of(Phase.PROBING)
        assert len(won) == len(world.erp.orders())


async def test_a_pause_during_an_outage_is_not_lifted_by_the_breaker() -> None:
    """Nor is the limit of the breaker lifted by the operator's: both are set, and the stricter one holds."""
    async with handoff() as world, world.working(subscriber=False), breaking(world):
        world.org.seed(20)
        outage, contact = Outage(world), world.connections.contacts["stub"]
        await outage.begin()
        won = await world.win(20)
        await until_phase(world, Phase.SUSPECTED)
        writing = asyncio.create_task(until_phase(world, Phase.PROBING))
        while not writing.done():  # at the moment at which the breaker writes, too
            await _limit(world, 0, reason="maintenance")
        await writing
        await outage.end()
        calls = world.erp.calls

        async def is_open() -> bool:
            contact.reached()  # as by safety checks, which no queue limits
            return (await entry_of(world)).phase is Phase.OPEN

        await until(is_open)
        queue = await erps.queue_of(world.client, "stub")
        assert (0, "maintenance", "ada@desk") == (queue.limit, queue.reason, queue.by)
        assert calls == world.erp.calls
        await _limit(world, None)
        await world.until_written_back(*won)
        assert 20 == len(world.erp.orders())


async def test_a_breaker_survives_its_worker() -> None:
    """The worker that has limited the queue is gone; another one opens it when it reaches the ERP."""
    async with handoff() as world:
        world.org.seed(20)
        outage = Outage(world)
        await outage.begin()
        async with world.working(subscriber=False), breaking(world):
            won = await world.win(20)
            await until_phase(world, Phase.PROBING)
        await outage.end()
        async with world.working(subscriber=False), breaking(world):
            await until_phase(world, Phase.OPEN)
            await world.until_written_back(*won)
        assert 20 == len(world.erp.orders())


async def test_an_operator_who_knows_more_opens_the_breaker() -> None:
    """`closedwon erp resume`: all orders are sent at once."""
    async with handoff() as world, world.working(subscriber=False):
        world.org.seed(20)
        outage = Outage(world)
        await outage.begin()
        won = await world.win(20)
        async with breaking(world):
            await until_phase(world, Phase.PROBING)
        await outage.end()
        await erps.open_breaker(world.client, "stub", by="ada@desk")
        assert Phase.OPEN is (await entry_of(world)).phase
        await world.until_written_back(*won)


async def test_calls_that_concern_several_erps_keep_to_the_strictest_breaker() -> None:
    """They would fail, too; with the last breaker that opens, they are free again."""
    async with handoff() as world, world.working(subscriber=False):
        queue = names.erp_queue("stub")
        async with breaking(world):
            for limit in (PROBE, STEPS[1], None):
                await write_breaker_entry(world.client, queue, limit, reason="a test", by="ada@desk")

                async def follows(wanted: float | None = limit) -> bool:
                    found = (await entry_of(world, None)).limit
                    return found == wanted if found is None or wanted is None else abs(found - wanted) < 0.001

                await until(follows, what=f"the limit {limit} of the shared queue")


async def _limit(world: Handoff, rate: float | None, reason: str = "over") -> None:
    await erps.limit(world.client, "stub", rate, erps=["stub"], reason=reason, by="ada@desk")
