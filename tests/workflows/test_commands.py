"""What operators send: each command does what it says, at any moment, and an order that exists is never forgotten."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from temporalio.client import WorkflowHandle
from temporalio.testing import WorkflowEnvironment

from closedwon import names
from closedwon.erp.base import RejectedError, UnknownError, UnknownOrderError
from closedwon.errors import AttentionError, AttentionReason
from closedwon.model.commands import Command, CommandAnswer
from closedwon.model.erp import STATUS_NOT_NEEDED, ErpStatus
from closedwon.model.erp_calls import Resolved
from closedwon.model.order_state import OrderStart
from closedwon.model.outcomes import OrderOutcome
from closedwon.model.snapshot import NotWanted, RecordSnapshot, Wanted
from closedwon.names import OrderStage
from tests.support.servers import pass_time, start_temporal
from tests.support.waiting import STALL
from tests.support.world import ORG, Held, World, erp_order, order_of, order_worker, running
from workflows.order import OrderWorkflow

_Handle = WorkflowHandle[OrderWorkflow, OrderOutcome]


async def _ask(handle: _Handle, name: str, given: object = None) -> CommandAnswer:
    answer: CommandAnswer = await handle.execute_update(name, given, result_type=CommandAnswer)
    return answer


async def _rejected(world: World) -> _Handle:
    """An order that needs attention before the ERP has taken it."""

    async def create(_request: object) -> Any:
        raise RejectedError("no")

    world.create = create
    handle = await world.notify()
    await world.until_stage(OrderStage.ATTENTION)
    await world.until(lambda: len(world.written) == 1)
    return handle


@pytest.mark.parametrize("by", ["signal", "update"])
async def test_an_order_made_by_hand_is_written_back_as_if_we_had_made_it(
    temporal_server: WorkflowEnvironment, by: str
) -> None:
    """`resolve` with its number: its number is written to Salesforce, and no order is created."""
    async with running(temporal_server.client) as world:
        handle = await _rejected(world)
        if by == "signal":
            await handle.signal("resolve", "SO-77")
        else:
            given = {"number": "SO-77", "by": "jane@desk", "reason": "made by hand"}
            assert (await _ask(handle, "resolve", given)).accepted
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
        handle = await _rejected(world)
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
        handle = await _rejected(world)
        await handle.signal("resolve", "SO-7")
        await world.until(lambda: "no order SO-7" in str([request.error for request in world.written]))
        await handle.signal("retry")
        await world.until(lambda: world.calls.count("resolve") == 2)
        await world.until_stage(OrderStage.ATTENTION)
        await handle.signal("resolve", "SO-77")
        outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage
    assert 1 == world.calls.count("create")


@pytest.mark.parametrize("by", ["signal", "update"])
async def test_an_order_that_is_not_needed_is_closed(temporal_server: WorkflowEnvironment, by: str) -> None:
    """`skip`: the ERP has none, and Salesforce's status says that none is needed."""
    async with running(temporal_server.client) as world:
        handle = await _rejected(world)
        if by == "signal":
            await handle.signal("skip", "a test deal")
        else:
            assert (await _ask(handle, "skip", "a test deal")).accepted
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
            assert "SO-1" in (await _ask(handle, command)).message
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
        handle = await _rejected(world)
        world.find = held = Held(erp_order())
        if command == "resolve":
            world.resolve = held = Held(Resolved(rival=erp_order()))
        await handle.signal(command, "SO-77")
        await held.started.wait()
        assert (await _ask(handle, "retry")).accepted
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
            await _ask(handle, command, given)
            for command, given in (("skip", None), ("resolve", "SO-2"), ("resolve", None))
        ]
        world.write = world._write
        assert (await _ask(handle, "retry")).accepted
        outcome = await handle.result()

    assert [False] * 3 == [answer.accepted for answer in answers]
    assert "The ERP has order SO-1 of this record" in answers[0].message
    assert "The ERP has order SO-1 of this record" in answers[1].message
    assert "The command names no order" in answers[2].message
    assert OrderStage.COMPLETED is outcome.stage


async def test_whatever_is_typed_counts(temporal_server: WorkflowEnvironment) -> None:
    """A number, a list, an object of our own making: no signal is dropped for its form."""
    async with running(temporal_server.client) as world:
        handle = await _rejected(world)
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
        handle = await _rejected(world)
        if by == "signal":
            await handle.signal("resolve", args=["SO-77", "made by hand"])
        else:
            await handle.execute_update("resolve", args=["SO-77", "made by hand"])
        outcome = await handle.result()

    assert outcome.order is not None
    assert "SO-77" == outcome.order.number


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
        handle = await _rejected(world)
        for times in (1, 2):
            assert (await _ask(handle, "resolve", "SO-77")).accepted
            await world.until(partial(_was_called, world, "resolve", times))
            await world.until_stage(OrderStage.ATTENTION)
        world.resolve = world._resolve
        assert (await _ask(handle, "resolve", "SO-77")).accepted
        outcome = await handle.result()

    assert outcome.order is not None
    assert "SO-77" == outcome.order.number


async def test_the_newest_decision_counts(temporal_server: WorkflowEnvironment) -> None:
    """A cancel that waits for the ERP is replaced by a later `resolve`."""
    async with running(temporal_server.client) as world:

        async def cancel(_request: object) -> Any:
            raise UnknownError("the ERP is down", retry_after=timedelta(days=1))

        world.cancel = cancel
        handle = await _rejected(world)
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
        await world.until(lambda: "load" in world.calls)
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


async def test_a_long_history_does_not_forget_a_decision() -> None:
    """The ERP is away while `skip` is carried out; the new run goes on with it instead of ordering."""
    limit: dict[str, Any] = {"limit.historyCount.suggestContinueAsNew": 40}
    async with await start_temporal(**limit) as server, running(server.client) as world:
        is_back = False

        async def find(_request: object) -> Any:
            if not is_back:
                raise UnknownError("the ERP is down", retry_after=timedelta(days=1))

        world.find = find
        handle = await _rejected(world)
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
