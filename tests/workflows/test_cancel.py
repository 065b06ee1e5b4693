"""Cancelling an order at every moment, by signal, by cancellation of the workflow, and by deletion of the record."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import CancelledError
from temporalio.testing import WorkflowEnvironment

from closedwon.erp.base import ErpAuthFailedError, TooLateError, UnknownError
from closedwon.model.erp import ErpStatus
from closedwon.model.snapshot import RecordSnapshot, Wanted
from closedwon.names import OrderStage
from tests.support.servers import pass_time, start_temporal
from tests.support.world import Held, erp_order, order_of, running


async def test_cancel_before_the_erp_makes_no_order(temporal_server: WorkflowEnvironment) -> None:
    """An order whose record cannot be read is cancelled at once, and the status is written to Salesforce."""
    async with running(temporal_server.client) as world:
        unanswered: list[Any] = []

        async def load(_request: object) -> RecordSnapshot:
            raise UnknownError("Salesforce is down")

        async def cancel(request: Any) -> Any:
            unanswered.append(request.unanswered_at)

        world.load, world.cancel = load, cancel
        handle = await world.notify()
        await world.until(lambda: "load" in world.calls)
        await handle.signal("cancel", "the customer changed their mind")
        outcome = await handle.result()

    assert OrderStage.CANCELLED is outcome.stage
    assert outcome.order is None
    assert "create" not in world.calls
    assert [None] == unanswered  # nothing was tried, so nothing is waited for
    assert ErpStatus.CANCELLED == world.written[-1].status


@pytest.mark.parametrize("by", ["signal", "workflow"])
async def test_cancel_while_the_erp_call_is_in_flight_cancels_the_order_that_it_makes(
    temporal_server: WorkflowEnvironment, by: str
) -> None:
    """The call's true outcome counts: the order was made, so it is cancelled in the ERP."""
    async with running(temporal_server.client) as world:
        world.create = held = Held(erp_order())
        handle = await world.notify()
        await held.started.wait()
        await (handle.signal("cancel") if by == "signal" else handle.cancel(reason="no longer wanted"))
        held.go_on.set()
        if by == "signal":
            assert OrderStage.CANCELLED is (await handle.result()).stage
        else:
            with pytest.raises(WorkflowFailureError) as failure:
                await handle.result()
            assert isinstance(failure.value.cause, CancelledError)
        assert OrderStage.CANCELLED == await world.stage()

    assert ["load", "create", "cancel", "write"] == world.calls


async def test_cancel_during_back_off_asks_the_erp_what_came_of_the_attempts(
    temporal_server: WorkflowEnvironment,
) -> None:
    """An attempt without an answer may have made the order, so the ERP is asked before the result is shown."""
    async with running(temporal_server.client) as world:

        async def create(_request: object) -> Any:
            raise UnknownError("the reply was lost")

        world.create = create
        handle = await world.notify()
        await world.until(lambda: "create" in world.calls)
        await handle.signal("cancel")
        outcome = await handle.result()

    assert OrderStage.CANCELLED is outcome.stage
    assert "cancel" in world.calls


async def test_cancel_after_the_order_exists_cancels_it(temporal_server: WorkflowEnvironment) -> None:
    """While Salesforce refuses the write-back, the order can still be cancelled."""
    async with running(temporal_server.client) as world:
        refuse = True

        async def write(request: Any) -> Any:
            if refuse:
                raise UnknownError("Salesforce is down")
            world.written.append(request)
            return {}

        world.write = write
        handle = await world.notify()
        await world.until(lambda: "write" in world.calls)
        await handle.signal("cancel")
        await world.until(lambda: "cancel" in world.calls)
        refuse = False
        outcome = await handle.result()

    assert OrderStage.CANCELLED is outcome.stage
    assert outcome.order is not None
    assert ErpStatus.CANCELLED is outcome.order.status


async def test_too_late_to_cancel_needs_a_person_who_may_keep_the_order(
    temporal_server: WorkflowEnvironment,
) -> None:
    """`retry` then gives the cancel up: the order lives and its number is written back."""
    async with running(temporal_server.client) as world:
        hold = asyncio.Event()
        placed = asyncio.Event()

        async def write(request: Any) -> Any:
            placed.set()
            if not hold.is_set():
                raise UnknownError("Salesforce is down")
            world.written.append(request)
            return {}

        async def cancel(_request: object) -> Any:
            raise TooLateError("the goods have left")

        world.write, world.cancel = write, cancel
        handle = await world.notify()
        await placed.wait()
        await handle.signal("cancel")
        hold.set()
        await world.until_stage(OrderStage.ATTENTION)
        await world.until(lambda: any(request.error for request in world.written))
        await handle.signal("retry")
        outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage
    assert world.written[-1].order == erp_order()
    assert world.written[-1].error is None


async def test_a_deleted_record_whose_order_is_under_way_is_cancelled_and_not_written_to(
    temporal_server: WorkflowEnvironment,
) -> None:
    """The tombstone cancels in the ERP what was made; there is no record left to write to."""
    async with running(temporal_server.client) as world:
        world.create = held = Held(erp_order())
        handle = await world.notify()
        await held.started.wait()
        await world.notify("tombstone", deleted=True)
        held.go_on.set()
        outcome = await handle.result()

    assert OrderStage.CANCELLED is outcome.stage
    assert ["load", "create", "load", "cancel"] == world.calls


async def test_a_tombstone_that_comes_first_keeps_a_late_message_from_making_an_order(
    skipping: WorkflowEnvironment,
) -> None:
    """The workflow of the deleted record stays open while Salesforce may still deliver what came before."""
    async with running(skipping.client) as world:

        async def cancel(_request: object) -> Any:
            return None

        world.cancel = cancel
        handle = await world.notify("tombstone", deleted=True, late_message_window=timedelta(hours=48))
        await world.until_stage(OrderStage.CANCELLED)
        await world.notify("late", payload={"Id": world.record}, late_message_window=timedelta(hours=48))
        await pass_time(skipping, timedelta(hours=49))
        outcome = await handle.result()

    assert OrderStage.CANCELLED is outcome.stage
    assert ["load", "cancel"] == world.calls


async def test_cancel_reaches_the_order_that_an_earlier_run_has_made(temporal_server: WorkflowEnvironment) -> None:
    """A late duplicate has begun a new run; what is cancelled is the record's order, not the run."""
    async with running(temporal_server.client) as world:
        await (await world.notify()).result()

        async def load(_request: object) -> RecordSnapshot:
            raise UnknownError("Salesforce is down")

        world.load = load
        handle = await world.notify("late duplicate")
        await world.until(lambda: world.calls.count("load") >= 2)
        await handle.signal("cancel")
        outcome = await handle.result()

    assert OrderStage.CANCELLED is outcome.stage
    assert erp_order(ErpStatus.CANCELLED) == outcome.order


async def test_a_cancel_that_needs_attention_waits_quietly_and_is_repeated_by_retry(
    temporal_server: WorkflowEnvironment,
) -> None:
    """News of the record does not make it hammer the ERP."""
    async with running(temporal_server.client) as world:
        refuse = True

        async def write(_request: object) -> Any:
            raise UnknownError("Salesforce is down")

        async def cancel(_request: object) -> Any:
            if refuse:
                raise ErpAuthFailedError("401", hint="Set the key.")
            return erp_order(ErpStatus.CANCELLED)

        world.write, world.cancel = write, cancel
        handle = await world.notify()
        await world.until(lambda: "write" in world.calls)
        await world.notify("news")
        await handle.signal("cancel")
        await world.until_stage(OrderStage.ATTENTION)
        await world.notify("more news")
        asked = world.calls.count("cancel")
        refuse = False
        world.write = world._write
        await handle.signal("retry")
        outcome = await handle.result()

    assert 1 == asked
    assert OrderStage.CANCELLED is outcome.stage


async def test_a_long_history_does_not_forget_that_a_cancel_is_wanted() -> None:
    """The ERP is away while the cancel is tried; the new run goes on cancelling instead of ordering."""
    limit: dict[str, Any] = {"limit.historyCount.suggestContinueAsNew": 40}
    async with await start_temporal(**limit) as server, running(server.client) as world:
        is_back = False

        async def write(_request: object) -> Any:
            raise UnknownError("Salesforce is down")

        async def cancel(_request: object) -> Any:
            if not is_back:
                raise UnknownError("the ERP is down", retry_after=timedelta(days=1))
            return erp_order(ErpStatus.CANCELLED)

        world.write, world.cancel = write, cancel
        handle = await world.notify()
        await world.until(lambda: "write" in world.calls)
        await handle.signal("cancel")
        await world.until(lambda: "cancel" in world.calls)
        await asyncio.gather(*(world.notify(f"m-{number}") for number in range(100)))
        await world.until(lambda: world.calls.count("cancel") >= 2)
        is_back = True
        world.write = world._write
        await handle.signal("retry")
        outcome = await handle.result()

    assert OrderStage.CANCELLED is outcome.stage
    assert 1 == world.calls.count("create")


async def test_a_cancelled_order_is_remembered_for_a_while_and_then_ends(skipping: WorkflowEnvironment) -> None:
    """Where orders are made of messages: late ones are ignored, and the workflow ends by itself."""
    async with running(skipping.client) as world:

        async def load(_request: object) -> RecordSnapshot:
            raise UnknownError("not yet")

        async def cancel(_request: object) -> Any:
            return None

        world.load, world.cancel = load, cancel
        handle = await world.notify(late_message_window=timedelta(hours=72))
        await world.until(lambda: "load" in world.calls)
        await handle.signal("cancel")
        await world.until_stage(OrderStage.CANCELLED)
        looks = world.calls.count("load")
        await world.notify(late_message_window=timedelta(hours=72))
        await pass_time(skipping, timedelta(hours=73))
        outcome = await handle.result()

    assert OrderStage.CANCELLED is outcome.stage
    assert looks == world.calls.count("load")


async def test_a_deal_that_is_won_again_while_its_cancel_is_remembered_is_ordered(
    temporal_server: WorkflowEnvironment,
) -> None:
    """A notification about a change after the cancel is news."""
    async with running(temporal_server.client) as world:
        is_down = True

        async def load(_request: object) -> RecordSnapshot:
            if is_down:
                raise UnknownError("not yet")
            return Wanted(order=order_of(world.record), erp="stub")

        async def cancel(_request: object) -> Any:
            return None

        world.load, world.cancel = load, cancel
        handle = await world.notify(late_message_window=timedelta(hours=72))
        await world.until(lambda: "load" in world.calls)
        await handle.signal("cancel")
        await world.until_stage(OrderStage.CANCELLED)
        is_down = False
        await world.notify("won again", late_message_window=timedelta(hours=72))
        outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage
    assert 1 == world.calls.count("create")
