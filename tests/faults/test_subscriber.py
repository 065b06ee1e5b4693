"""The reader of the event bus dies, or Temporal does: every event becomes a workflow; the cursor never runs ahead."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, RemoveSearchAttributesRequest
from temporalio.service import RPCError, RPCStatusCode

from closedwon import names
from closedwon.demo import Stream
from closedwon.demo.temporal import NAMESPACE
from tests.support.siege import Siege, siege
from tests.support.visibility import exists

_OUTAGE = 60.0
"""Seconds."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stream", "count", "kills"), [(Stream.COMETD, 1000, 4), (Stream.PUBSUB, 200, 2)], ids=["cometd", "pubsub"]
)
async def test_events_survive_the_death_of_their_reader(tmp_path: Path, stream: Stream, count: int, kills: int) -> None:
    """SIGKILLs at random moments: so many deals won, so many workflows, and no gap."""
    pace = {"CLOSEDWON_SUBSCRIBER__CONCURRENT_STARTS": "4", "CLOSEDWON_SUBSCRIBER__HEARTBEAT_TIMEOUT": "2s"}
    async with siege(tmp_path, workers=0, stream=stream, environment=pace) as world:
        deals = await world.add_deals(count)
        (subscriber,) = world.stack.subscribers
        began = time.monotonic()
        started = 0
        async with world.alongside(world.sell(deals)):
            for moment in sorted(world.chance.sample(range(20, count * 4 // 5), kills)):
                await world.until_started(max(moment, started + 10))  # the next reader has begun
                await world.kill(subscriber)
                started = await world.started()
                world.note(f"{started} order workflows")
                assert started < count  # in the middle
            await world.until_started(count)
        world.note(f"{count} events took {time.monotonic() - began:.1f} s")

        found = [one.id for one in await world.order_workflows()]
        assert sorted(map(world.workflow_id, deals)) == sorted(found)
        await world.standing(subscriber)
        subscription = (await world.client()).get_workflow_handle(world.subscription_id)
        assert [] == await subscription.query("gaps")
        assert {subscriber.name: kills} == world.kills


@pytest.mark.slow
async def test_a_minute_without_temporal_loses_nothing(tmp_path: Path) -> None:
    """Deals go on being won while Temporal is dead; worker and subscriber stay alive and go on when it is back."""
    async with siege(tmp_path) as world:
        stack = world.stack
        before = [part.pid for part in (*stack.workers, *stack.subscribers)]
        deals = await world.add_deals(130)
        await world.sell(deals[:10])
        await stack.temporal.parts[0].kill()
        killed = time.monotonic()
        for deal in deals[10:]:
            await world.win(deal)
            await asyncio.sleep(_OUTAGE / 120)  # slowly, so that events arrive during the whole outage
        await asyncio.sleep(_OUTAGE - (time.monotonic() - killed))
        assert await world.written_back() < 20
        await stack.temporal.start()
        back = time.monotonic()
        await world.until_all_is_well(130)
        world.note(f"dead for {back - killed:.1f} s, all was well {time.monotonic() - back:.1f} s after")

        assert before == [part.pid for part in (*stack.workers, *stack.subscribers)]
        assert [] == await world.complaints()


class _CursorWatch:
    """Looks at the live cursor all the time; fails when it has passed an event without a workflow."""

    def __init__(self, world: Siege) -> None:
        self._world = world
        self.durable = 0
        """So many events were seen to be behind the cursor and to be workflows."""
        self.looks = 0

    async def watch(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(0.1)

    async def look(self) -> None:
        client = await self._world.client()
        try:
            count = (await self._world.cursor()).count
            for deal in self._world.deals[self.durable : count]:
                await client.get_workflow_handle(self._world.workflow_id(deal)).describe()
                self.durable += 1
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                raise AssertionError(f"The cursor has passed event {self.durable}, which has no workflow") from error
        else:
            self.looks += 1

    async def until(self, events: int) -> None:
        """Wait until the cursor stands after so many events."""
        await self._world.until(lambda: self.durable >= events, f"a cursor after {events} events")


@pytest.mark.slow
async def test_the_cursor_never_passes_an_event_without_a_workflow(tmp_path: Path) -> None:
    """Temporal refuses every start for a while, then dies three times: the cursor waits, and goes on afterwards."""
    async with siege(tmp_path, workers=0) as world:
        deals = await world.add_deals(120)
        watch = _CursorWatch(world)
        async with world.alongside(watch.watch()):
            await world.sell(deals[:20])
            await watch.until(20)

            await _refuse_starts(world)
            await world.sell(deals[20:60])
            looks = watch.looks
            await world.until(lambda: watch.looks >= looks + 50, "50 looks at the cursor")
            assert 20 == watch.durable
            client = await world.client()
            assert not [deal for deal in deals[20:60] if await exists(client, world.workflow_id(deal))]

            await _accept_starts(world)
            await watch.until(60)

            async with world.alongside(world.sell(deals[60:])):
                for moment in (65, 80, 100):
                    await watch.until(moment)
                    await world.kill(world.stack.temporal.parts[0])
                await watch.until(120)
        assert sorted(map(world.workflow_id, deals)) == sorted(one.id for one in await world.order_workflows())


async def _refuse_starts(world: Siege) -> None:
    """Take a search attribute away: Temporal refuses every start of an order workflow, and does all else."""
    client = await world.client()
    await client.operator_service.remove_search_attributes(
        RemoveSearchAttributesRequest(namespace=NAMESPACE, search_attributes=[names.ROUTE])
    )
    world.note("Temporal refuses starts")


async def _accept_starts(world: Siege) -> None:
    client = await world.client()
    await client.operator_service.add_search_attributes(
        AddSearchAttributesRequest(
            namespace=NAMESPACE, search_attributes={names.ROUTE: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD}
        )
    )
    world.note("Temporal accepts starts")
