"""What operators send: each command does what it says, at any moment, and an order that exists is never forgotten."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

from closedwon.erp.base import UnknownError
from closedwon.model.commands import Command
from closedwon.model.erp import STATUS_NOT_NEEDED, ErpStatus
from closedwon.model.erp_calls import Resolved
from closedwon.model.outcomes import OrderOutcome
from closedwon.model.snapshot import RecordSnapshot
from closedwon.names import OrderStage
from tests.support.commands import ask, rejected
from tests.support.servers import pass_time, start_temporal
from tests.support.waiting import STALL
from tests.support.world import Held, erp_order, running


@pytest.mark.parametrize("by", ["signal", "update"])
async def test_an_order_that_is_not_needed_is_closed(temporal_server: WorkflowEnvironment, by: str) -> None:
    """`skip`: the ERP has none, and Salesforce's status says that none is needed."""
    async with running(temporal_server.client) as world:
        handle = await rejected(world)
        if by == "signal":
            await handle.signal("skip", "a test deal")
        else:
            assert (await ask(handle, "skip", "a test deal")).accepted
        outcome = await handle.result()

    assert OrderOutcome(stage=OrderStage.NOT_NEEDED, declined=True) == outcome
    assert (STATUS_NOT_NEEDED, None) == (world.written[-1].status, world.written[-1].order)
    assert ["load", "create", "write", "find", "write"] == world.calls


@pytest.mark.parametrize("command", ["skip", "resolve"])
@pytest.mark.parametrize("then", ["retry", "cancel"])
async def test_an_order_that_was_created_wins_over_a_decision(
    temporal_server: WorkflowEnvironment, command: str, then: str
) -> None:
    """Its reply was lost when `skip` or `resolve` came: a person hears of it, and lets it live or cancels it."""
    async with running(temporal_server.client) as world:
        is_lost = True

        async def create(_request: object) -> Any:
            if is_lost:
                raise UnknownError("the reply was lost", retry_after=timedelta(days=1))
            return erp_order()

        async def find(_request: object) -> Any:
            return erp_order()

        async def resolve(_request: object) -> Any:
            return Resolved(rival=erp_order())

        world.create, world.find, world.resolve = create, find, resolve
        handle = await world.notify()
        await world.until(lambda: "create" in world.calls)
        await handle.signal(command, "SO-77")
        await world.until_stage(OrderStage.ATTENTION)
        await world.until(lambda: len(world.written) == 1)
        if command == "skip":
            assert "SO-1" in (await ask(handle, command)).message
        is_lost = False
        await handle.signal(then)
        outcome = await handle.result()

    assert erp_order() == world.written[0].order
    assert (OrderStage.COMPLETED if then == "retry" else OrderStage.CANCELLED) is outcome.stage
    assert outcome.order is not None
    assert (ErpStatus.PROCESSING if then == "retry" else ErpStatus.CANCELLED) is outcome.order.status


@pytest.mark.parametrize("command", ["skip", "resolve"])
async def test_a_call_to_the_erp_that_is_in_flight_is_waited_for(
    temporal_server: WorkflowEnvironment, command: str
) -> None:
    """The call creates the order, so it cannot be skipped or replaced: its number is written to the record."""
    async with running(temporal_server.client) as world:
        world.create = held = Held(erp_order())

        async def find(_request: object) -> Any:
            return erp_order()

        async def resolve(_request: object) -> Any:
            return Resolved(rival=erp_order())

        world.find, world.resolve = find, resolve
        handle = await world.notify()
        await held.started.wait()
        await handle.signal(command, "SO-77")
        held.go_on.set()
        await world.until_stage(OrderStage.ATTENTION)
        await world.until(lambda: len(world.written) == 1)
        await handle.signal("retry")
        outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage
    assert {erp_order()} == {request.order for request in world.written}


@pytest.mark.parametrize("command", ["skip", "resolve"])
async def test_a_retry_that_was_about_the_looking_decides_nothing(
    temporal_server: WorkflowEnvironment, command: str
) -> None:
    """It was sent while the ERP was asked; that the ERP has an order is for a person to see, and to decide on."""
    async with running(temporal_server.client) as world, asyncio.timeout(STALL):
        handle = await rejected(world)
        world.find = held = Held(erp_order())
        if command == "resolve":
            world.resolve = held = Held(Resolved(rival=erp_order()))
        await handle.signal(command, "SO-77")
        await held.started.wait()
        assert (await ask(handle, "retry")).accepted
        world.create = world._create
        held.go_on.set()
        await world.until(lambda: len(world.written) == 2)
        assert OrderStage.ATTENTION == await world.stage()
        await handle.signal("cancel")
        await handle.result()

    assert 1 == world.calls.count("create")


async def test_a_no_comes_with_its_reason(temporal_server: WorkflowEnvironment) -> None:
    """What would forget an order, or names none, is refused in words, and changes nothing."""
    async with running(temporal_server.client) as world:

        async def write(_request: object) -> Any:
            raise UnknownError("Salesforce is down", retry_after=timedelta(days=1))

        world.write = write
        handle = await world.notify()
        await world.until(lambda: "write" in world.calls)
        answers = [
            await ask(handle, command, given)
            for command, given in (("skip", None), ("resolve", "SO-2"), ("resolve", None))
        ]
        world.write = world._write
        assert (await ask(handle, "retry")).accepted
        outcome = await handle.result()

    assert [False] * 3 == [answer.accepted for answer in answers]
    assert "The ERP has order SO-1 of this record" in answers[0].message
    assert "The ERP has order SO-1 of this record" in answers[1].message
    assert "The command names no order" in answers[2].message
    assert OrderStage.COMPLETED is outcome.stage


async def test_whatever_is_typed_counts(temporal_server: WorkflowEnvironment) -> None:
    """A number, a list, an object of our own making: no signal is dropped for its form."""
    async with running(temporal_server.client) as world:
        handle = await rejected(world)
        for given in (17, ["?"], {"reason": {"deep": 1}}, True):
            written = len(world.written)
            await handle.signal("retry", given)
            await world.until(lambda written=written: len(world.written) > written)  # type: ignore[misc]
        await handle.signal("resolve", 22)
        outcome = await handle.result()

    assert outcome.order is not None
    assert "22" == outcome.order.number


@pytest.mark.parametrize("by", ["signal", "update"])
async def test_one_input_too_many_does_not_stop_an_order(temporal_server: WorkflowEnvironment, by: str) -> None:
    """Temporal's command line sends as many inputs as are given; what is beyond the first is passed over."""
    async with running(temporal_server.client) as world, asyncio.timeout(STALL):
        handle = await rejected(world)
        if by == "signal":
            await handle.signal("resolve", args=["SO-77", "made by hand"])
        else:
            await handle.execute_update("resolve", args=["SO-77", "made by hand"])
        outcome = await handle.result()

    assert outcome.order is not None
    assert "SO-77" == outcome.order.number


async def test_the_newest_decision_counts(temporal_server: WorkflowEnvironment) -> None:
    """A cancel that waits for the ERP is replaced by a later `resolve`."""
    async with running(temporal_server.client) as world:

        async def cancel(_request: object) -> Any:
            raise UnknownError("the ERP is down", retry_after=timedelta(days=1))

        world.cancel = cancel
        handle = await rejected(world)
        await handle.signal("cancel")
        await world.until(lambda: "cancel" in world.calls)
        await handle.signal("resolve", "SO-77")
        outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage


async def test_what_was_decided_is_remembered_for_late_messages(skipping: WorkflowEnvironment) -> None:
    """Where orders are made of messages: neither a skipped nor a resolved one is ordered by a late duplicate."""
    async with running(skipping.client) as world:

        async def load(_request: object) -> RecordSnapshot:
            raise UnknownError("not yet", retry_after=timedelta(days=1))

        world.load = load
        handle = await world.notify(late_message_window=timedelta(hours=72))

        async def backs_off() -> bool:
            pending = (await handle.describe()).raw_description.pending_activities
            return any(one.HasField("last_failure") for one in pending)

        await world.until(backs_off)  # this server loses the end of an attempt that is cancelled while it runs
        await handle.signal("resolve", {"number": "SO-77", "accept_differences": True})
        await world.until_stage(OrderStage.COMPLETED)
        await world.notify(late_message_window=timedelta(hours=72))
        await handle.signal("cancel")
        await world.until_stage(OrderStage.CANCELLED)
        await handle.signal("skip")
        await world.until_stage(OrderStage.NOT_NEEDED)
        await world.notify(late_message_window=timedelta(hours=72))
        await pass_time(skipping, timedelta(hours=73))
        outcome = await handle.result()

    assert OrderStage.NOT_NEEDED is outcome.stage
    assert "create" not in world.calls


async def test_a_long_history_does_not_forget_a_decision() -> None:
    """The ERP is away while `skip` is carried out; the new run goes on with it instead of ordering."""
    limit: dict[str, Any] = {"limit.historyCount.suggestContinueAsNew": 40}
    async with await start_temporal(**limit) as server, running(server.client) as world:
        is_back = False

        async def find(_request: object) -> Any:
            if not is_back:
                raise UnknownError("the ERP is down", retry_after=timedelta(days=1))

        world.find = find
        handle = await rejected(world)
        await handle.signal("skip", {"by": "jane@desk", "reason": "a test deal"})
        await world.until(lambda: "find" in world.calls)
        await asyncio.gather(*(world.notify(f"m-{number}") for number in range(100)))
        await world.until(lambda: world.calls.count("find") >= 2)
        timeline = await world.story()
        is_back = True
        await handle.signal("retry")
        outcome = await handle.result()

    assert OrderStage.NOT_NEEDED is outcome.stage
    assert 1 == world.calls.count("create")
    assert "a new run continues" in timeline
    assert "`skip` was sent by jane@desk: a test deal" in timeline


def test_a_command_is_read_from_anything() -> None:
    """Nothing, a text, an object; an input that is not text is not refused."""
    read = Command.read

    assert Command() == read(None) == read([1]) == read({"by": None, "else": 1}) == read("  ")
    assert Command(reason="two lines") == read("two\nlines ")
    assert Command(number="22") == read(22, text="number") == read({"number": 22})
    assert Command(by="jane@desk", reason="why") == read({"by": "jane@desk", "reason": "why"})
