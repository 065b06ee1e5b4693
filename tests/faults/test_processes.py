"""How processes of Closedwon start and stop: against an unprepared server, and while work is under way."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.api.operatorservice.v1 import RemoveSearchAttributesRequest

from closedwon import names
from closedwon.demo.parts import Part, State
from closedwon.demo.temporal import NAMESPACE
from closedwon.ids import RecordId
from closedwon.model.messages import Message
from closedwon.model.order_state import OrderStart
from closedwon.model.routes import Channel
from closedwon.temporal.orders import start_order
from closedwon.temporal.search_attributes import SEARCH_ATTRIBUTE_KEYS, missing_search_attributes
from tests.support.handoff import CHANNEL, handoff
from tests.support.siege import siege
from tests.support.visibility import waits
from tests.support.waiting import STALL


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "subscribers", "rounds"), [(2, 0, 4), (2, 2, 3)], ids=["run", "worker+subscriber"])
async def test_a_graceful_stop_under_way_is_clean_and_loses_nothing(
    tmp_path: Path, workers: int, subscribers: int, rounds: int
) -> None:
    """SIGTERM in the middle of work, to all processes at once, round after round: exit code 0, and all orders made."""
    # A process that used its grace up would be killed by the stack, and its exit code would show it.
    patient = {"CLOSEDWON_WORKERS__SHUTDOWN_GRACE": "3600s"}
    async with siege(tmp_path, workers=workers, subscribers=subscribers, environment=patient) as world:
        processes = (*world.stack.workers, *world.stack.subscribers)
        deals = await world.add_deals(20 * rounds)
        for sold in range(20, 20 * rounds + 1, 20):
            async with world.alongside(world.sell(deals[sold - 20 : sold])) as selling:
                await world.until_orders(sold - 19)
                assert await world.written_back() < sold
                codes = await asyncio.gather(*(process.stop() for process in processes))
                assert [0] * len(processes) == codes
                await asyncio.gather(*(process.start() for process in processes))
                await selling
        await world.until_all_is_well(len(deals))

        assert [] == await world.complaints()


@pytest.mark.slow
async def test_a_stop_takes_one_grace_however_many_systems_hang(tmp_path: Path) -> None:
    """Salesforce and the ERP give no answer: reader, order worker and ERP workers give up together, not in a row."""
    async with siege(tmp_path, subscribers=0) as world:
        (process,) = world.stack.workers
        began = time.monotonic()
        await process.stop()
        idle = time.monotonic() - began  # how long this machine takes where nothing is waited for
        grace = max(4, math.ceil(3 * idle))
        process.environment["CLOSEDWON_WORKERS__SHUTDOWN_GRACE"] = f"{grace}s"
        await process.start()
        ordered, loaded = await world.add_deals(2)

        async def stands(record: RecordId, stage: names.OrderStage) -> bool:
            order = (await world.client()).get_workflow_handle(world.workflow_id(record))
            shown = (await order.describe()).typed_search_attributes
            return shown.get(SEARCH_ATTRIBUTE_KEYS[names.ORDER_STAGE]) == stage

        async def asks_erp(record: RecordId) -> bool:
            is_ordering = await stands(record, names.OrderStage.ORDERING)
            return is_ordering and await waits(await world.client(), world.workflow_id(record))

        os.kill(world.stack.erp.pid, signal.SIGSTOP)
        await world.win(ordered)
        await world.until(lambda: asks_erp(ordered), "an order on its way to the ERP")
        os.kill(world.stack.org.pid, signal.SIGSTOP)
        (org, _) = names.parse_order_workflow_id(world.workflow_id(loaded))
        message = Message(id="m-1", channel=Channel.OPERATOR, received_at=datetime.now(UTC))
        await start_order(await world.client(), OrderStart(org=org, record=loaded, route="won-deals"), message)
        await world.until(lambda: stands(loaded, names.OrderStage.LOADING), "a record that is being read")
        began = time.monotonic()
        code = await process.stop()
        took = time.monotonic() - began
        for part in (world.stack.erp, world.stack.org):
            os.kill(part.pid, signal.SIGCONT)
        await process.start()
        await world.until_all_is_well(1)

        assert 0 == code
        assert grace - 1 < took < 2 * grace


async def test_a_reader_that_begins_while_its_worker_stops_ends_with_it() -> None:
    """A stop in the very moment in which the reading begins takes no time, whatever the grace: forty tries."""
    async with handoff() as world:
        grace = world.settings.workers.model_copy(update={"shutdown_grace": timedelta(seconds=10 * STALL)})
        world.settings = world.settings.model_copy(update={"workers": grace})
        subscription = world.client.get_workflow_handle(names.subscription_workflow_id(world.org.org_id, CHANNEL))
        for attempt in range(40):
            async with asyncio.timeout(STALL):
                async with world.working():
                    await asyncio.sleep(attempt / 1000)  # the activity comes within some ten milliseconds
            await subscription.terminate()


@pytest.mark.slow
async def test_missing_search_attributes_are_registered_at_the_start(tmp_path: Path) -> None:
    """Worker and subscriber, started at the same moment, register what is missing; no workflow is wedged."""
    async with siege(tmp_path) as world:
        processes = (*world.stack.workers, *world.stack.subscribers)
        await asyncio.gather(*(process.stop() for process in processes))
        client = await world.client()
        await client.operator_service.remove_search_attributes(
            RemoveSearchAttributesRequest(namespace=NAMESPACE, search_attributes=names.SEARCH_ATTRIBUTES)
        )
        assert names.SEARCH_ATTRIBUTES == await missing_search_attributes(client)
        await asyncio.gather(*(process.start() for process in processes))
        assert () == await missing_search_attributes(client)

        await world.sell(await world.add_deals(5))
        await world.until_all_is_well(5)
        await world.until(world.is_idle, "every order workflow at its end")


@pytest.mark.slow
async def test_processes_that_begin_while_temporal_dies_wait_for_it(tmp_path: Path) -> None:
    """Temporal is killed ever later after worker and subscriber have begun to connect: neither gives up."""
    async with siege(tmp_path) as world:
        processes = (*world.stack.workers, *world.stack.subscribers)

        def has_begun(process: Part) -> bool:
            return process.state is State.STARTING and "metrics and health" in process.last_lines()

        for attempt in range(10):
            assert [0, 0] == await asyncio.gather(*(process.stop() for process in processes))
            starts = [asyncio.create_task(process.start()) for process in processes]
            await world.until(lambda: any(has_begun(process) for process in processes), "processes that connect")
            await asyncio.sleep(attempt / 30)  # a start takes some tenths of a second
            await world.kill(world.stack.temporal.parts[0])
            await asyncio.gather(*starts)
            await world.all_standing()
        await world.sell(await world.add_deals(5))
        await world.until_all_is_well(5)
