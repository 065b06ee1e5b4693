"""What the order workflow decides, in every turn that an order can take."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import CancelledError
from temporalio.testing import WorkflowEnvironment

from activities.salesforce import Look
from closedwon.erp.base import AmountDiffersError, AuthFailedError, RejectedError, TooLateError, UnknownError
from closedwon.model import ErpStatus
from closedwon.names import OrderStage
from tests.support.servers import start_temporal
from tests.support.world import erp_order, order_of, running


async def test_a_won_deal_becomes_one_order(temporal_server: WorkflowEnvironment) -> None:
    """Look, order, write back, once each, and the outcome says so."""
    async with running(temporal_server.client) as world:
        outcome = await (await world.notify()).result()

    assert outcome.stage is OrderStage.COMPLETED
    assert outcome.order == erp_order()
    assert ["load", "create", "write"] == world.calls
    assert "SO-1" == world.written[0].order.number if world.written[0].order else None


async def test_word_that_comes_meanwhile_makes_it_look_once_more(temporal_server: WorkflowEnvironment) -> None:
    """Fifty messages during the hand-off cost one more look and no second order."""
    async with running(temporal_server.client) as world:
        started, go_on = asyncio.Event(), asyncio.Event()

        async def create(_request: object) -> Any:
            started.set()
            await go_on.wait()
            return erp_order()

        world.create = create
        handle = await world.notify()
        await started.wait()
        await asyncio.gather(*(world.notify(f"again-{number}") for number in range(50)))
        go_on.set()
        outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage
    assert 1 == world.calls.count("create")
    assert 2 == world.calls.count("load")


async def test_a_record_that_asks_for_nothing_is_not_needed(temporal_server: WorkflowEnvironment) -> None:
    """No order, no write-back, and the end is known."""
    async with running(temporal_server.client) as world:

        async def load(_request: object) -> Look:
            return Look()

        world.load = load
        outcome = await (await world.notify()).result()

    assert OrderStage.NOT_NEEDED is outcome.stage
    assert ["load"] == world.calls


async def test_a_rejected_order_waits_for_a_person_and_looks_again_after_retry(
    temporal_server: WorkflowEnvironment,
) -> None:
    """The problem is told to Salesforce; `retry` reads the record afresh, for it may have been mended there."""
    async with running(temporal_server.client) as world:
        mended = False

        async def create(_request: object) -> Any:
            if not mended:
                raise RejectedError("no such product")
            return erp_order()

        world.create = create
        handle = await world.notify()
        await world.until_stage(OrderStage.ATTENTION)
        await world.until(lambda: len(world.written) == 1)
        mended = True
        await handle.signal("retry")
        outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage
    assert "no such product" == world.written[0].error
    assert world.written[-1].error is None
    assert ["load", "create", "write", "load", "create", "write"] == world.calls


async def test_new_word_wakes_an_order_that_needs_attention(temporal_server: WorkflowEnvironment) -> None:
    """Whoever mends the record in Salesforce need not know of Temporal."""
    async with running(temporal_server.client) as world:
        failures = 1

        async def create(_request: object) -> Any:
            nonlocal failures
            if failures:
                failures -= 1
                raise RejectedError("no such product")
            return erp_order()

        world.create = create
        handle = await world.notify()
        await world.until_stage(OrderStage.ATTENTION)
        await world.until(lambda: len(world.written) == 1)
        await world.notify("m-2")
        outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage


async def test_cancel_before_the_erp_makes_no_order(temporal_server: WorkflowEnvironment) -> None:
    """A record that Salesforce does not give us can still be given up, and Salesforce is told."""
    async with running(temporal_server.client) as world:

        async def load(_request: object) -> Look:
            raise UnknownError("Salesforce is down")

        async def cancel(_request: object) -> Any:
            return None

        world.load, world.cancel = load, cancel
        handle = await world.notify()
        await world.until(lambda: "load" in world.calls)
        await handle.signal("cancel", "the customer changed their mind")
        outcome = await handle.result()

    assert OrderStage.CANCELLED is outcome.stage
    assert outcome.order is None
    assert "create" not in world.calls
    assert ErpStatus.CANCELLED == world.written[-1].status


@pytest.mark.parametrize("by", ["signal", "workflow"])
async def test_cancel_while_the_erp_call_is_in_flight_cancels_the_order_that_it_makes(
    temporal_server: WorkflowEnvironment, by: str
) -> None:
    """The call's true outcome counts: the order was made, so it is cancelled in the ERP."""
    async with running(temporal_server.client) as world:
        started, go_on = asyncio.Event(), asyncio.Event()

        async def create(_request: object) -> Any:
            started.set()
            await go_on.wait()
            return erp_order()

        world.create = create
        handle = await world.notify()
        await started.wait()
        await (handle.signal("cancel") if by == "signal" else handle.cancel(reason="no longer wanted"))
        go_on.set()
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
    """An attempt without an answer may have made the order, so the ERP is asked before the end is told."""
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
    """While Salesforce refuses the write-back the order can still be taken back."""
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


async def test_too_late_to_cancel_needs_a_person_who_may_let_the_order_live(
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


async def test_retry_makes_a_waiting_attempt_happen_now(temporal_server: WorkflowEnvironment) -> None:
    """An ERP that is back need not wait for the next attempt's time."""
    async with running(temporal_server.client) as world:
        is_back = False

        async def create(_request: object) -> Any:
            if not is_back:
                raise UnknownError("the ERP is down", retry_after=timedelta(days=20))
            return erp_order()

        world.create = create
        handle = await world.notify()
        await world.until(lambda: "create" in world.calls)
        is_back = True
        await handle.signal("retry")
        assert OrderStage.COMPLETED is (await handle.result()).stage


async def test_retrying_ends_at_the_horizon_in_attention(skipping: WorkflowEnvironment) -> None:
    """After thirty days of retrying a person is asked; nothing is given up."""
    async with running(skipping.client) as world:
        is_back = False

        async def create(_request: object) -> Any:
            if not is_back:
                raise UnknownError("the ERP is down")
            return erp_order()

        world.create = create
        handle = await world.notify()
        await skipping.sleep(timedelta(days=31))
        await world.until_stage(OrderStage.ATTENTION)
        is_back = True
        await handle.signal("retry")
        assert OrderStage.COMPLETED is (await handle.result()).stage


async def test_refused_credentials_need_attention_without_hammering(temporal_server: WorkflowEnvironment) -> None:
    """One attempt with a wrong key, then a person."""
    async with running(temporal_server.client) as world:

        async def create(_request: object) -> Any:
            raise AuthFailedError("401", cure="Set the key.")

        world.create = create
        handle = await world.notify()
        await world.until_stage(OrderStage.ATTENTION)
        await handle.signal("cancel")
        await handle.result()

    assert 1 == world.calls.count("create")


async def test_a_changed_order_is_compared_with_what_the_erp_has(temporal_server: WorkflowEnvironment) -> None:
    """A second look that finds other lines asks the ERP again instead of trusting what was placed."""
    async with running(temporal_server.client) as world:
        looks = 0
        started, go_on = asyncio.Event(), asyncio.Event()

        async def load(_request: object) -> Look:
            nonlocal looks
            looks += 1
            return Look(order=order_of(world.record, quantity=str(looks)), erp="light")

        async def write(request: Any) -> Any:
            started.set()
            await go_on.wait()
            return request.written

        world.load, world.write = load, write
        handle = await world.notify()
        await started.wait()
        await world.notify("m-2")
        go_on.set()
        await handle.result()

    assert 2 == world.calls.count("create")


async def test_a_deleted_record_whose_order_is_under_way_is_cancelled_and_not_written_to(
    temporal_server: WorkflowEnvironment,
) -> None:
    """The tombstone cancels in the ERP what was made; there is no record left to tell."""
    async with running(temporal_server.client) as world:
        started, go_on = asyncio.Event(), asyncio.Event()

        async def create(_request: object) -> Any:
            started.set()
            await go_on.wait()
            return erp_order()

        world.create = create
        handle = await world.notify()
        await started.wait()
        await world.notify("tombstone", deleted=True)
        go_on.set()
        outcome = await handle.result()

    assert OrderStage.CANCELLED is outcome.stage
    assert ["load", "create", "cancel"] == world.calls


async def test_a_tombstone_that_comes_first_keeps_a_late_message_from_making_an_order(
    skipping: WorkflowEnvironment,
) -> None:
    """The workflow of the deleted record stays open while Salesforce may still deliver what came before."""
    async with running(skipping.client) as world:

        async def cancel(_request: object) -> Any:
            return None

        world.cancel = cancel
        handle = await world.notify("tombstone", deleted=True, keep_deleted=timedelta(hours=48))
        await world.until_stage(OrderStage.CANCELLED)
        await world.notify("late", payload={"Id": world.record}, keep_deleted=timedelta(hours=48))
        await skipping.sleep(timedelta(hours=49))
        outcome = await handle.result()

    assert OrderStage.CANCELLED is outcome.stage
    assert ["cancel"] == world.calls


async def test_an_older_payload_never_replaces_a_newer_one(temporal_server: WorkflowEnvironment) -> None:
    """Messages that carry the order overtake each other; the record's own time decides."""
    async with running(temporal_server.client) as world:
        seen: list[object] = []
        started, go_on = asyncio.Event(), asyncio.Event()

        async def load(request: Any) -> Look:
            seen.append(request.message.payload)
            started.set()
            await go_on.wait()
            return Look(order=order_of(world.record), erp="light")

        world.load = load
        newer, older = datetime(2026, 11, 24, 10, tzinfo=UTC), datetime(2026, 11, 24, 9, tzinfo=UTC)
        handle = await world.notify("m-2", payload={"Amount": 2}, modified_at=newer)
        await started.wait()
        await world.notify("m-1", payload={"Amount": 1}, modified_at=older)
        go_on.set()
        await handle.result()

    assert [{"Amount": 2}, {"Amount": 2}] == seen


async def test_a_history_that_grows_long_begins_a_new_run_and_loses_nothing() -> None:
    """Hundreds of messages to an order that needs attention: the last payload goes along, the order is made."""
    limit = {"limit.historyCount.suggestContinueAsNew": 40}
    async with await start_temporal(**limit) as server, running(server.client) as world:
        mended = False
        seen: list[object] = []

        async def load(request: Any) -> Look:
            seen.append(request.message.payload)
            return Look(order=order_of(world.record), erp="light")

        async def create(_request: object) -> Any:
            if not mended:
                raise UnknownError("the ERP is down", retry_after=timedelta(days=1))
            return erp_order()

        world.load, world.create = load, create
        handle = await world.notify("m", payload={"Amount": 0})
        await world.until(lambda: "create" in world.calls)
        await asyncio.gather(*(world.notify(f"m-{number}", payload={"Amount": 7}) for number in range(100)))
        await world.until(lambda: world.calls.count("load") >= 2)
        mended = True
        await handle.signal("retry")
        outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage
    assert {"Amount": 7} == seen[-1]


async def test_cancel_reaches_the_order_that_an_earlier_run_has_made(temporal_server: WorkflowEnvironment) -> None:
    """A late duplicate has begun a new run; what is cancelled is the record's order, not the run."""
    async with running(temporal_server.client) as world:
        await (await world.notify()).result()

        async def load(_request: object) -> Look:
            raise UnknownError("Salesforce is down")

        world.load = load
        handle = await world.notify("late duplicate")
        await world.until(lambda: world.calls.count("load") >= 2)
        await handle.signal("cancel")
        outcome = await handle.result()

    assert OrderStage.CANCELLED is outcome.stage
    assert erp_order(ErpStatus.CANCELLED) == outcome.order


async def test_a_difference_from_the_erp_is_not_forgotten_by_retry(temporal_server: WorkflowEnvironment) -> None:
    """The deal was changed after it was ordered: as long as both differ, `retry` ends in attention again."""
    async with running(temporal_server.client) as world:
        looks = 0
        started, go_on = asyncio.Event(), asyncio.Event()

        async def load(_request: object) -> Look:
            nonlocal looks
            looks += 1
            return Look(order=order_of(world.record, quantity="2" if looks == 1 else "3"), erp="light")

        async def create(request: Any) -> Any:
            if request.order.amount != erp_order().amount:
                raise AmountDiffersError(erp_order(), request.order)
            return erp_order()

        async def write(request: Any) -> Any:
            started.set()
            await go_on.wait()
            return request.written

        world.load, world.create, world.write = load, create, write
        handle = await world.notify()
        await started.wait()
        await world.notify("changed")
        go_on.set()
        await world.until_stage(OrderStage.ATTENTION)
        await handle.signal("retry")
        await world.until(lambda: world.calls.count("create") == 3)
        await world.until_stage(OrderStage.ATTENTION)
        await handle.terminate()

    assert looks >= 3


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
                raise AuthFailedError("401", cure="Set the key.")
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
    limit = {"limit.historyCount.suggestContinueAsNew": 40}
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


async def test_retry_while_the_erp_call_is_in_flight_takes_its_result(temporal_server: WorkflowEnvironment) -> None:
    """Impatience costs nothing: the call that is under way is waited for, and not made again."""
    async with running(temporal_server.client) as world:
        started, go_on = asyncio.Event(), asyncio.Event()

        async def create(_request: object) -> Any:
            started.set()
            await go_on.wait()
            return erp_order()

        world.create = create
        handle = await world.notify()
        await started.wait()
        for _ in range(3):
            await handle.signal("retry", "now!")
        go_on.set()
        outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage
    assert world.calls.count("create") <= 2  # 2: signal and result came in one batch, and the order was found again
