"""What the order workflow decides, in every turn that an order can take."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment

from closedwon.erp.base import AmountDiffersError, ErpAuthFailedError, RejectedError, UnknownError
from closedwon.model.records import WriteBack
from closedwon.model.snapshot import NotWanted, RecordSnapshot, Values, Wanted
from closedwon.names import OrderStage
from tests.support.servers import pass_time, start_temporal
from tests.support.world import Held, erp_order, order_of, running


async def test_a_won_deal_becomes_one_order(temporal_server: WorkflowEnvironment) -> None:
    """Look, order, write back, once each, and the outcome says so."""
    async with running(temporal_server.client) as world:
        outcome = await (await world.notify()).result()

    assert outcome.stage is OrderStage.COMPLETED
    assert outcome.order == erp_order()
    assert ["load", "create", "write"] == world.calls
    assert "SO-1" == world.written[0].order.number if world.written[0].order else None


async def test_notifications_that_arrive_meanwhile_cause_one_more_reading(temporal_server: WorkflowEnvironment) -> None:
    """Fifty messages during the hand-off cost one more look and no second order."""
    async with running(temporal_server.client) as world:
        world.create = held = Held(erp_order())
        handle = await world.notify()
        await held.started.wait()
        await asyncio.gather(*(world.notify(f"again-{number}") for number in range(50)))
        held.go_on.set()
        outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage
    assert 1 == world.calls.count("create")
    assert 2 == world.calls.count("load")


async def test_a_record_that_asks_for_nothing_is_not_needed(temporal_server: WorkflowEnvironment) -> None:
    """No order, no write-back, and the end is known."""
    async with running(temporal_server.client) as world:

        async def load(_request: object) -> RecordSnapshot:
            return NotWanted()

        world.load = load
        outcome = await (await world.notify()).result()

    assert OrderStage.NOT_NEEDED is outcome.stage
    assert ["load"] == world.calls


async def test_a_rejected_order_waits_for_a_person_and_looks_again_after_retry(
    temporal_server: WorkflowEnvironment,
) -> None:
    """The problem is written to Salesforce; `retry` reads the record again: it may have been corrected there."""
    async with running(temporal_server.client) as world:
        corrected = False

        async def create(_request: object) -> Any:
            if not corrected:
                raise RejectedError("no such product")
            return erp_order()

        world.create = create
        handle = await world.notify()
        await world.until_stage(OrderStage.ATTENTION)
        await world.until(lambda: len(world.written) == 1)
        corrected = True
        await handle.signal("retry")
        outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage
    assert "no such product" == world.written[0].error
    assert world.written[-1].error is None
    assert ["load", "create", "write", "load", "create", "write"] == world.calls


async def test_a_new_notification_wakes_an_order_that_needs_attention(temporal_server: WorkflowEnvironment) -> None:
    """A person who corrects the record in Salesforce need not know Temporal."""
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


async def test_retry_frees_an_order_from_an_erp_that_is_no_more(temporal_server: WorkflowEnvironment) -> None:
    """Its ERP was given another name: no worker polls the old one's queue, and `retry` reads where it goes now."""
    async with running(temporal_server.client) as world:
        erp = "the-old-name"

        async def load(_request: object) -> Any:
            return Wanted(order=order_of(world.record), erp=erp)

        world.load = load
        handle = await world.notify()
        await world.until_stage(OrderStage.ORDERING)
        erp = "stub"
        await handle.signal("retry")
        outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage
    assert ["load", "load", "create", "write"] == world.calls


async def test_retrying_ends_in_attention_after_retry_for(skipping: WorkflowEnvironment) -> None:
    """After thirty days of retrying a person is asked; the order is not abandoned."""
    async with running(skipping.client) as world:
        is_back = False

        async def create(_request: object) -> Any:
            if not is_back:
                raise UnknownError("the ERP is down")
            return erp_order()

        world.create = create
        handle = await world.notify()
        await pass_time(skipping, timedelta(days=31))
        await world.until_stage(OrderStage.ATTENTION)
        is_back = True
        await handle.signal("retry")
        assert OrderStage.COMPLETED is (await handle.result()).stage


async def test_refused_credentials_need_attention_without_hammering(temporal_server: WorkflowEnvironment) -> None:
    """One attempt with a wrong key, then a person."""
    async with running(temporal_server.client) as world:

        async def create(_request: object) -> Any:
            raise ErpAuthFailedError("401", hint="Set the key.")

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

        async def load(_request: object) -> RecordSnapshot:
            nonlocal looks
            looks += 1
            return Wanted(order=order_of(world.record, quantity=str(looks)), erp="stub")

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


async def test_an_older_payload_never_replaces_a_newer_one(temporal_server: WorkflowEnvironment) -> None:
    """Messages that carry the order overtake each other; the record's own time decides."""
    async with running(temporal_server.client) as world:
        seen: list[object] = []
        started, go_on = asyncio.Event(), asyncio.Event()

        async def load(request: Any) -> RecordSnapshot:
            seen.append(request.message.payload)
            started.set()
            await go_on.wait()
            return Wanted(order=order_of(world.record), erp="stub")

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
    limit: dict[str, Any] = {"limit.historyCount.suggestContinueAsNew": 40}
    async with await start_temporal(**limit) as server, running(server.client) as world:
        corrected = False
        seen: list[object] = []

        async def load(request: Any) -> RecordSnapshot:
            seen.append(request.message.payload)
            return Wanted(order=order_of(world.record), erp="stub")

        async def create(_request: object) -> Any:
            if not corrected:
                raise UnknownError("the ERP is down", retry_after=timedelta(days=1))
            return erp_order()

        world.load, world.create = load, create
        handle = await world.notify("m", payload={"Amount": 0})
        await world.until(lambda: "create" in world.calls)
        await asyncio.gather(*(world.notify(f"m-{number}", payload={"Amount": 7}) for number in range(100)))
        await world.until(lambda: world.calls.count("load") >= 2)
        corrected = True
        try:
            await handle.signal("retry")
        except RPCError as error:  # a run that began after the correction has made the order by itself
            assert RPCStatusCode.NOT_FOUND is error.status  # noqa: PT017
        outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage
    assert {"Amount": 7} == seen[-1]


async def test_a_difference_from_the_erp_is_not_forgotten_by_retry(temporal_server: WorkflowEnvironment) -> None:
    """The deal was changed after it was ordered: as long as both differ, `retry` ends in attention again."""
    async with running(temporal_server.client) as world:
        looks = 0
        started, go_on = asyncio.Event(), asyncio.Event()

        async def load(_request: object) -> RecordSnapshot:
            nonlocal looks
            looks += 1
            return Wanted(order=order_of(world.record, quantity="2" if looks == 1 else "3"), erp="stub")

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


async def test_retry_while_the_erp_call_is_in_flight_takes_its_result(temporal_server: WorkflowEnvironment) -> None:
    """Impatience costs nothing: the call that is under way is waited for, and not made again."""
    async with running(temporal_server.client) as world:
        world.create = held = Held(erp_order())
        handle = await world.notify()
        await held.started.wait()
        for _ in range(3):
            await handle.signal("retry", "now!")
        held.go_on.set()
        outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage
    assert world.calls.count("create") <= 2  # 2: signal and result came in one batch, and the order was found again


async def test_a_report_that_comes_back_as_a_notification_does_not_loop(
    temporal_server: WorkflowEnvironment,
) -> None:
    """An org whose outbound message fires at our own write, an ERP whose refusal never reads the same: five reports."""
    async with running(temporal_server.client) as world:
        refusals = itertools.count()

        async def create(_request: object) -> Any:
            raise RejectedError(f"refused, see protocol {next(refusals)}")

        async def write(request: WriteBack) -> Values:
            world.written.append(request)
            await world.notify(f"our own write {len(world.written)}")
            return {**request.written, "Error": request.error}

        world.create, world.write = create, write
        handle = await world.notify()
        await world.until(lambda: world.calls.count("create") == 6)
        await world.notify("somebody has changed the record")
        await world.until(lambda: world.calls.count("create") == 7)
        await world.until_stage(OrderStage.ATTENTION)
        await handle.signal("cancel")
        await handle.result()

    assert 5 == len([request for request in world.written if request.error])
