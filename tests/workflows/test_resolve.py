"""`resolve` names an order that exists already: it is compared with the record, and used instead of a new one."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

from closedwon import names
from closedwon.erp.base import UnknownOrderError
from closedwon.errors import AttentionError, AttentionReason
from closedwon.model.erp_calls import Resolved
from closedwon.model.order_state import OrderStart
from closedwon.model.snapshot import NotWanted, RecordSnapshot, Wanted
from closedwon.names import OrderStage
from tests.support.commands import ask, rejected
from tests.support.waiting import STALL
from tests.support.world import ORG, World, erp_order, order_of, order_worker, running
from workflows.order import OrderWorkflow


@pytest.mark.parametrize("by", ["signal", "update"])
async def test_an_order_made_by_hand_is_written_back_as_if_we_had_made_it(
    temporal_server: WorkflowEnvironment, by: str
) -> None:
    """`resolve` with its number: its number is written to Salesforce, and no order is created."""
    async with running(temporal_server.client) as world:
        handle = await rejected(world)
        if by == "signal":
            await handle.signal("resolve", "SO-77")
        else:
            given = {"number": "SO-77", "by": "jane@desk", "reason": "made by hand"}
            assert (await ask(handle, "resolve", given)).accepted
        outcome = await handle.result()
        timeline = await world.story()

    assert OrderStage.COMPLETED is outcome.stage
    assert outcome.order is not None
    assert "SO-77" == outcome.order.number
    assert outcome.order == world.written[-1].order
    assert world.written[-1].error is None
    assert ["load", "create", "write", "load", "resolve", "write"] == world.calls
    assert "`resolve SO-77` was sent" in timeline
    assert by == "signal" or "by jane@desk: made by hand" in timeline


async def test_a_named_order_is_compared_with_the_record_of_now(temporal_server: WorkflowEnvironment) -> None:
    """The number comes before the record was ever read; `retry` compares with what it was corrected to."""
    compared: list[Any] = []

    async def resolve(request: Any) -> Resolved:
        compared.append(request.order)
        return Resolved(differences="they differ") if len(compared) == 1 else Resolved(order=erp_order())

    async with running(temporal_server.client) as world:
        corrected = order_of(world.record, quantity="3")
        world.resolve = resolve
        handle = await temporal_server.client.start_workflow(
            OrderWorkflow.run,
            OrderStart(org=ORG, record=world.record, route="won-deals"),
            id=names.order_workflow_id(ORG, world.record),
            task_queue=names.ORDERS_QUEUE,
            start_signal="resolve",
            start_signal_args=["SO-77"],
        )
        await world.until_stage(OrderStage.ATTENTION)

        async def load(_request: object) -> RecordSnapshot:
            return Wanted(order=corrected, erp="stub")

        world.load = load
        await handle.signal("retry")
        outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage
    assert [False, True] == [order == corrected for order in compared]
    assert None not in compared


@pytest.mark.parametrize("is_readable", [True, False])
async def test_a_named_order_is_not_compared_with_what_the_record_asked_for_before(
    temporal_server: WorkflowEnvironment, *, is_readable: bool
) -> None:
    """A record that asks for no order now, or cannot be mapped any more, agrees with none; a person may accept it."""
    compared: list[Any] = []

    async def resolve(request: Any) -> Resolved:
        compared.append(request.order)
        return Resolved(order=erp_order()) if request.accept_differences else Resolved(differences="not compared")

    async def load(_request: object) -> RecordSnapshot:
        if not is_readable:
            raise AttentionError("no currency", reason=AttentionReason.MAPPING_FAILED, hint="Correct it.")
        return NotWanted(may_have_order=False, erp="stub")

    async with running(temporal_server.client) as world:
        world.resolve = resolve
        handle = await rejected(world)
        world.load = load
        await handle.signal("resolve", "SO-77")
        await world.until(lambda: "not compared" in str([request.error for request in world.written]))
        await handle.signal("resolve", {"number": "SO-77", "accept_differences": True})
        outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage
    assert compared[0] is None


async def test_a_number_that_the_erp_does_not_know_is_asked_for_again(temporal_server: WorkflowEnvironment) -> None:
    """A slip of the pen ends in attention, never in a second order; the right number then does it."""
    async with running(temporal_server.client) as world:

        async def resolve(request: Any) -> Resolved:
            if request.number != "SO-77":
                raise UnknownOrderError(f"no order {request.number}")
            return Resolved(order=erp_order())

        world.resolve = resolve
        handle = await rejected(world)
        await handle.signal("resolve", "SO-7")
        await world.until(lambda: "no order SO-7" in str([request.error for request in world.written]))
        await handle.signal("retry")
        await world.until(lambda: world.calls.count("resolve") == 2)
        await world.until_stage(OrderStage.ATTENTION)
        await handle.signal("resolve", "SO-77")
        outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage
    assert 1 == world.calls.count("create")


def _was_called(world: World, activity: str, times: int) -> bool:
    """Whether an activity was called so often."""
    return world.calls.count(activity) == times


async def test_an_order_that_was_cancelled_in_the_erp_makes_room_for_the_one_that_is_named(
    temporal_server: WorkflowEnvironment,
) -> None:
    """The attention's hint says so: a second `resolve` depends on what the ERP has now, not on what it had."""
    async with running(temporal_server.client) as world, asyncio.timeout(STALL):

        async def rival(_request: object) -> Any:
            return Resolved(rival=erp_order())

        world.resolve = rival
        handle = await rejected(world)
        for times in (1, 2):
            assert (await ask(handle, "resolve", "SO-77")).accepted
            await world.until(partial(_was_called, world, "resolve", times))
            await world.until_stage(OrderStage.ATTENTION)
        world.resolve = world._resolve
        assert (await ask(handle, "resolve", "SO-77")).accepted
        outcome = await handle.result()

    assert outcome.order is not None
    assert "SO-77" == outcome.order.number


async def test_a_deal_that_changes_after_resolve_makes_no_second_order(temporal_server: WorkflowEnvironment) -> None:
    """A new notification about a resolved record is compared each time, but the order stays the one that was named."""
    async with running(temporal_server.client, deciding=False) as world:
        handle = await world.notify(late_message_window=timedelta(hours=72))
        await handle.signal("resolve", "SO-77")
        async with order_worker(world):
            await world.until_stage(OrderStage.COMPLETED)
            for looks in (2, 3):
                await world.notify(f"changed-{looks}", late_message_window=timedelta(hours=72))
                await world.until(lambda looks=looks: world.calls.count("load") == looks)  # type: ignore[misc]
                await world.until_stage(OrderStage.COMPLETED)
            timeline = await world.story()
            await handle.terminate()

    assert "SO-77" in timeline
    assert "create" not in world.calls
