"""Watching an order in the ERP after its creation, over months, whatever else happens meanwhile."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowHandle
from temporalio.testing import WorkflowEnvironment

from activities.erp import NothingNewError
from closedwon.erp.base import RejectedError
from closedwon.errors import AttentionReason
from closedwon.model.erp import ErpOrder, ErpStatus
from closedwon.model.erp_calls import Resolved
from closedwon.model.outcomes import OrderOutcome
from closedwon.model.routes import Following, Policies
from closedwon.model.snapshot import NotWanted, RecordSnapshot, Wanted
from closedwon.names import OrderStage
from tests.support.servers import pass_time, start_temporal
from tests.support.world import World, erp_order, order_of, running
from workflows.order import OrderWorkflow

FOLLOWING = Following(
    initial_interval=timedelta(minutes=1), maximum_interval=timedelta(days=1), follow_for=timedelta(days=200)
)


class Erp:
    """What the ERP says of the order at each look: a status for so many looks, then the next one."""

    def __init__(self, *statuses: tuple[ErpStatus, int]) -> None:
        self.looks = 0
        self._statuses = [status for status, looks in statuses for _ in range(looks)]

    async def __call__(self, request: Any) -> ErpOrder:
        status = self._statuses[min(self.looks, len(self._statuses) - 1)]
        self.looks += 1
        if status is request.known.status:
            raise NothingNewError("as it was")
        return erp_order(status)


def followed(world: World, erp: Any, **policies: Any) -> None:
    """Let the route follow its orders."""

    async def load(_request: object) -> RecordSnapshot:
        return Wanted(order=order_of(world.record), erp="stub", policies=Policies(follow=FOLLOWING, **policies))

    async def create(_request: object) -> ErpOrder:
        return erp_order(ErpStatus.CONFIRMED)

    world.load, world.create, world.follow = load, create, erp


@pytest.mark.parametrize("end", [ErpStatus.DONE, ErpStatus.CANCELLED])
async def test_an_order_is_followed_for_months_until_its_end(skipping: WorkflowEnvironment, end: ErpStatus) -> None:
    """Each change is written back, once, and the looking costs no history: five months are some dozens of events."""
    erp = Erp((ErpStatus.CONFIRMED, 80), (ErpStatus.PROCESSING, 100), (end, 1))
    async with running(skipping.client) as world:
        followed(world, erp)
        handle = await world.notify()
        await pass_time(skipping, timedelta(days=180))
        outcome = await handle.result()
        history = await handle.fetch_history()
        took = history.events[-1].event_time.ToDatetime() - history.events[0].event_time.ToDatetime()

    expected = OrderStage.CANCELLED if end is ErpStatus.CANCELLED else OrderStage.COMPLETED
    assert expected is outcome.stage
    written = [request.order.status for request in world.written if request.order]
    assert [ErpStatus.CONFIRMED, ErpStatus.PROCESSING, end] == written
    assert timedelta(days=150) < took
    assert 80 > len(history.events)


async def test_following_ends_after_follow_for(skipping: WorkflowEnvironment) -> None:
    """An order that never ends is not watched indefinitely; that does not need attention."""
    async with running(skipping.client) as world:
        followed(world, Erp((ErpStatus.PROCESSING, 1)))
        handle = await world.notify()
        await pass_time(skipping, timedelta(days=201))
        outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage
    assert ErpStatus.PROCESSING == world.written[-1].order.status  # type: ignore[union-attr]


async def test_a_new_run_goes_on_following() -> None:
    """Much news makes the history long; the next run watches the same order, and no other is made."""
    limit: dict[str, Any] = {"limit.historyCount.suggestContinueAsNew": 40}
    async with await start_temporal(**limit) as server, running(server.client) as world:
        erp = Erp((ErpStatus.CONFIRMED, 10**6))
        followed(world, erp)
        handle = await world.notify()
        first = (await handle.describe()).run_id
        for number in range(4):
            looks = erp.looks
            await world.until(lambda looks=looks: erp.looks > looks)  # type: ignore[misc]
            await world.notify(f"news-{number}")
        await world.until_stage(OrderStage.FOLLOWING)
        second = (await handle.describe()).run_id
        world.follow = Erp((ErpStatus.DONE, 1))
        await handle.signal("retry")
        outcome = await handle.result()

    assert first != second
    assert OrderStage.COMPLETED is outcome.stage
    assert ErpStatus.DONE == world.written[-1].order.status  # type: ignore[union-attr]


@pytest.mark.parametrize("signal", ["erp-changed", "retry"])
async def test_a_signal_makes_it_ask_the_erp_at_once(temporal_server: WorkflowEnvironment, signal: str) -> None:
    """The ERP's own webhook, or a person, need not wait for the next look; Salesforce is not read for that."""
    erp = Erp((ErpStatus.CONFIRMED, 1), (ErpStatus.DONE, 1))
    async with running(temporal_server.client) as world:
        followed(world, erp)
        handle = await world.notify()
        await world.until(lambda: erp.looks == 1)
        await handle.signal(signal)
        outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage
    assert 1 == world.calls.count("load")


async def test_cancel_works_while_an_order_is_followed(temporal_server: WorkflowEnvironment) -> None:
    """The ERP's order is cancelled, the status is written to Salesforce, and the watching ends."""
    erp = Erp((ErpStatus.CONFIRMED, 10**6))
    async with running(temporal_server.client) as world:
        followed(world, erp)
        handle = await world.notify()
        await world.until(lambda: erp.looks >= 1)
        await world.until_stage(OrderStage.FOLLOWING)
        await handle.signal("cancel")
        outcome = await handle.result()

    assert OrderStage.CANCELLED is outcome.stage
    assert ErpStatus.CANCELLED == world.written[-1].status


async def test_a_deal_that_no_longer_qualifies_while_its_order_is_followed_follows_the_policy(
    temporal_server: WorkflowEnvironment,
) -> None:
    """News ends the watching; the order is cancelled."""
    erp = Erp((ErpStatus.CONFIRMED, 10**6))
    async with running(temporal_server.client) as world:
        followed(world, erp)
        handle = await world.notify()
        await world.until(lambda: erp.looks >= 1)

        async def load(_request: object) -> RecordSnapshot:
            return NotWanted(
                may_have_order=True, erp="stub", policies=Policies(on_unqualified="cancel", follow=FOLLOWING)
            )

        world.load = load
        await world.notify("reopened")
        outcome = await handle.result()

    assert OrderStage.CANCELLED is outcome.stage


async def _resolved(world: World, **start: Any) -> WorkflowHandle[OrderWorkflow, OrderOutcome]:
    """An order that was refused, and is taken by its number."""

    async def create(_request: object) -> Any:
        raise RejectedError("no")

    async def resolve(request: Any) -> Resolved:
        return Resolved(order=erp_order(ErpStatus.CONFIRMED).model_copy(update={"number": request.number}))

    world.create, world.resolve = create, resolve
    handle = await world.notify(follow=FOLLOWING, **start)
    await world.until_stage(OrderStage.ATTENTION)
    await world.until(lambda: len(world.written) == 1)
    await handle.signal("resolve", "SO-77")
    return handle


@pytest.mark.parametrize("late_message_window", [timedelta(0), timedelta(hours=72)])
async def test_an_order_that_is_taken_by_its_number_is_followed(
    skipping: WorkflowEnvironment, late_message_window: timedelta
) -> None:
    """It is the record's one as if we had made it; a late message afterwards does not make another."""
    erp = Erp((ErpStatus.CONFIRMED, 80), (ErpStatus.PROCESSING, 100), (ErpStatus.DONE, 1))
    async with running(skipping.client) as world:
        followed(world, erp)
        handle = await _resolved(world, late_message_window=late_message_window)
        await world.until_stage(OrderStage.FOLLOWING)
        await pass_time(skipping, timedelta(days=180))
        outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage
    written = [request.order.status for request in world.written if request.order]
    assert [ErpStatus.CONFIRMED, ErpStatus.PROCESSING, ErpStatus.DONE] == written
    assert 1 == world.calls.count("create")


async def test_a_new_run_goes_on_following_what_was_taken_by_its_number() -> None:
    """Many notifications make the history long: no order is made, and the one that was named is watched."""
    limit: dict[str, Any] = {"limit.historyCount.suggestContinueAsNew": 60}
    async with await start_temporal(**limit) as server, running(server.client) as world:
        erp = Erp((ErpStatus.CONFIRMED, 10**6))
        followed(world, erp)
        handle = await _resolved(world)
        await world.until_stage(OrderStage.FOLLOWING)
        first = (await handle.describe()).run_id

        async def is_another() -> bool:
            return (await handle.describe()).run_id != first

        await asyncio.gather(*(world.notify(f"m-{number}") for number in range(60)))
        await world.until(is_another)
        await world.until_stage(OrderStage.FOLLOWING)
        world.follow = Erp((ErpStatus.DONE, 1))
        await handle.signal("retry")
        outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage
    assert ErpStatus.DONE == world.written[-1].order.status  # type: ignore[union-attr]
    assert 1 == world.calls.count("create")


async def test_where_an_order_that_was_taken_by_its_number_cannot_be_found_the_watching_ends(
    temporal_server: WorkflowEnvironment,
) -> None:
    """The ERP cannot look by number, so the order has no key: it is done as far as Closedwon knows."""
    async with running(temporal_server.client) as world:
        followed(world, world._find)
        handle = await _resolved(world)
        outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage
    assert 1 == world.calls.count("follow")


async def test_a_deal_that_no_longer_qualifies_while_what_was_named_is_followed_follows_the_policy(
    temporal_server: WorkflowEnvironment,
) -> None:
    """The decision is carried out, and so no longer wins over what the record asks for."""
    async with running(temporal_server.client) as world:
        followed(world, Erp((ErpStatus.CONFIRMED, 10**6)))
        handle = await _resolved(world)
        await world.until_stage(OrderStage.FOLLOWING)

        async def load(_request: object) -> RecordSnapshot:
            return NotWanted(
                may_have_order=True, erp="stub", policies=Policies(on_unqualified="attention", follow=FOLLOWING)
            )

        async def find(_request: object) -> ErpOrder:
            return erp_order(ErpStatus.CONFIRMED)

        world.load, world.find = load, find
        await world.notify("reopened")
        await world.until_stage(OrderStage.ATTENTION)
        followed(world, Erp((ErpStatus.DONE, 1)))
        await world.notify("won again")
        outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage
    assert 1 == world.calls.count("resolve")


async def test_an_order_that_is_gone_from_the_erp_needs_attention(temporal_server: WorkflowEnvironment) -> None:
    """Nothing is found under its key any more: it is not taken for done. Once it is back, it is followed again."""
    async with running(temporal_server.client) as world:
        followed(world, world._find)
        handle = await world.notify()
        await world.until_stage(OrderStage.ATTENTION)
        await world.until(lambda: world.needs)
        followed(world, Erp((ErpStatus.DONE, 1)))
        await handle.signal("retry")
        outcome = await handle.result()

    assert [AttentionReason.UNKNOWN_ORDER] == [need.reason for need in world.needs]
    assert OrderStage.COMPLETED is outcome.stage
    assert 2 == world.calls.count("create")


async def test_a_record_that_picks_another_erp_is_compared_with_it(temporal_server: WorkflowEnvironment) -> None:
    """The content is the same, but the order is not in the ERP that the record asks for now."""
    asked: list[str] = []
    async with running(temporal_server.client) as world:
        followed(world, Erp((ErpStatus.CONFIRMED, 10**6)))
        handle = await world.notify()
        await world.until_stage(OrderStage.FOLLOWING)

        async def load(_request: object) -> RecordSnapshot:
            picked = Wanted(order=order_of(world.record), erp="other", policies=Policies(follow=FOLLOWING))
            return picked.model_copy(update={"other_erps": ("stub",)})

        async def create(request: Any) -> ErpOrder:
            asked.append(request.erp)
            raise RejectedError("The route now picks ERP other", hint="Cancel the order in the first one")

        world.load, world.create = load, create
        await world.notify("another ERP is picked")
        await world.until_stage(OrderStage.ATTENTION)
        await world.until(lambda: world.needs)
        await handle.terminate()

    assert ["other"] == asked
    assert [AttentionReason.ERP_REJECTED] == [need.reason for need in world.needs]
