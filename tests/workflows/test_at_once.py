"""The straight way of an order: what it costs, and that whatever does not succeed at once is seen, and waited for."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import CancelledError
from temporalio.testing import WorkflowEnvironment

from activities.at_once import NotAtOnceError
from closedwon.erp.base import RejectedError, UnknownError
from closedwon.model.erp import ErpStatus
from closedwon.model.routes import Following, Policies
from closedwon.model.snapshot import NotWanted, Wanted
from closedwon.names import ERP_ORDER_NUMBER, ORDER_STAGE, OrderStage
from closedwon.salesforce.errors import ValidationError
from closedwon.temporal.search_attributes import SEARCH_ATTRIBUTE_KEYS
from tests.support.cost import billed_actions, kinds, markers
from tests.support.world import Held, erp_order, order_of, order_worker, running


class _Once:
    """A scripted activity that fails the first time."""

    def __init__(self, error: Exception, then: Any) -> None:
        self._errors = [error]
        self._then = then

    async def __call__(self, request: object) -> Any:
        if self._errors:
            raise self._errors.pop()
        return await self._then(request)


async def _pending(handle: WorkflowHandle[Any, Any]) -> list[str]:
    return [one.activity_id for one in (await handle.describe()).raw_description.pending_activities]


async def test_a_won_deal_costs_fifteen_events_and_five_actions(temporal_server: WorkflowEnvironment) -> None:
    """One start, two tasks with a local activity, one call of the ERP, one change of search attributes."""
    async with running(temporal_server.client) as world:
        handle = await world.notify()
        await handle.result()
        history = await handle.fetch_history()
        shown = (await handle.describe()).typed_search_attributes

    assert 15 == len(history.events)
    assert 5 == billed_actions(history)
    assert 1 == kinds(history).count(EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES)
    assert (OrderStage.COMPLETED, "SO-1") == (
        shown.get(SEARCH_ATTRIBUTE_KEYS[ORDER_STAGE]),
        shown.get(SEARCH_ATTRIBUTE_KEYS[ERP_ORDER_NUMBER]),
    )


async def test_an_order_that_waits_for_its_erp_is_shown_as_that_from_its_start(
    temporal_server: WorkflowEnvironment,
) -> None:
    """Also while the ERP is paused and no attempt is made: nothing has to be written to the list."""
    async with running(temporal_server.client) as world:
        world.create = held = Held(erp_order())
        handle = await world.notify()
        begun_as = await world.stage()
        await held.started.wait()
        history = await handle.fetch_history()
        waiting_as = await world.stage()
        held.go_on.set()
        await handle.result()

    assert [OrderStage.ORDERING] * 2 == [begun_as, waiting_as]
    assert EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES not in kinds(history)


@pytest.mark.parametrize("error", [UnknownError("no answer"), NotAtOnceError("slow"), ZeroDivisionError()])
async def test_a_reading_that_does_not_succeed_at_once_waits_as_a_pending_activity(
    temporal_server: WorkflowEnvironment, error: Exception
) -> None:
    """Whatever the first attempt's error was, the regular activity tries again, patiently and visibly."""
    async with running(temporal_server.client) as world:
        held = Held(None)

        async def load(request: Any) -> Any:
            await held(request)
            return await world._load(request)

        world.load = _Once(error, load)
        handle = await world.notify()
        await held.started.wait()
        await world.until_stage(OrderStage.LOADING)
        pending = await _pending(handle)
        held.go_on.set()
        outcome = await handle.result()

    assert ["load-order"] == pending
    assert OrderStage.COMPLETED is outcome.stage
    assert ["load", "load", "create", "write"] == world.calls


async def test_a_write_back_that_does_not_succeed_at_once_is_made_again_with_the_same_values(
    temporal_server: WorkflowEnvironment,
) -> None:
    """The first one may have taken effect, or may still do so: no difference. The number is found meanwhile."""
    async with running(temporal_server.client) as world:
        held = Held(None)
        requests: list[Any] = []

        async def write(request: Any) -> Any:
            requests.append(request)
            if len(requests) == 1:
                raise UnknownError("the reply was lost")
            await held(request)
            return request.written

        world.write = write
        handle = await world.notify()
        await held.started.wait()
        await world.until_stage(OrderStage.WRITING_BACK)
        pending = await _pending(handle)
        shown = (await handle.describe()).typed_search_attributes
        held.go_on.set()
        await handle.result()

    assert ["write-back"] == pending
    assert "SO-1" == shown.get(SEARCH_ATTRIBUTE_KEYS[ERP_ORDER_NUMBER])
    assert 2 == len(requests)
    assert requests[0] == requests[1]


async def test_what_no_retry_can_help_needs_attention_at_once(temporal_server: WorkflowEnvironment) -> None:
    """A regular activity would find the same: the first attempt's problem is enough."""
    async with running(temporal_server.client) as world:
        world.write = _Once(ValidationError("Salesforce: a rule", hint="Correct the rule."), world._write)
        handle = await world.notify()
        await world.until_stage(OrderStage.ATTENTION)
        writes = world.calls.count("write")
        await handle.signal("retry")
        outcome = await handle.result()

    assert 1 == writes
    assert OrderStage.COMPLETED is outcome.stage


async def test_only_a_new_order_that_nothing_has_stopped_goes_the_straight_way(
    temporal_server: WorkflowEnvironment,
) -> None:
    """After it has needed attention each step is a regular activity, so that a person sees what it waits for."""
    async with running(temporal_server.client) as world:
        world.create = _Once(RejectedError("no such product"), world._create)
        handle = await world.notify()
        await world.until_stage(OrderStage.ATTENTION)
        await world.until(lambda: len(world.written) == 1)
        await handle.signal("retry")
        await handle.result()
        history = await handle.fetch_history()

    assert ["load", "create", "write", "load", "create", "write"] == world.calls
    assert 1 == markers(history)  # the first reading


async def test_a_retry_while_it_waits_for_its_erp_stays_cheap(temporal_server: WorkflowEnvironment) -> None:
    """The record is read again at once, and nothing else is shown: after an outage thousands are retried."""
    async with running(temporal_server.client) as world:
        world.create = _Once(UnknownError("the ERP is down", retry_after=timedelta(days=20)), world._create)
        handle = await world.notify()
        await world.until(lambda: "create" in world.calls)
        await handle.signal("retry")
        await handle.result()
        history = await handle.fetch_history()

    assert ["load", "create", "load", "create", "write"] == world.calls
    assert 3 == markers(history)
    assert 26 == len(history.events)
    assert 8 == billed_actions(history)


async def test_a_followed_order_does_not_go_the_straight_way(temporal_server: WorkflowEnvironment) -> None:
    """What changes in the ERP later is written by a regular activity."""
    async with running(temporal_server.client) as world:
        looks = iter((erp_order(ErpStatus.CONFIRMED), erp_order(ErpStatus.DONE)))

        async def follow(_request: object) -> Any:
            return next(looks)

        async def load(_request: object) -> Any:
            day = timedelta(days=1)
            following = Following(initial_interval=day, maximum_interval=day, follow_for=200 * day)
            return Wanted(order=order_of(world.record), erp="stub", policies=Policies(follow=following))

        world.load, world.follow = load, follow
        handle = await world.notify()
        await handle.result()
        history = await handle.fetch_history()

    assert 3 == world.calls.count("write")
    assert 2 == markers(history)


async def test_a_decision_that_arrives_during_the_reading_is_carried_out_after_it(
    temporal_server: WorkflowEnvironment,
) -> None:
    """It waits for seconds, as long as the first attempt may take; then no order is made."""
    async with running(temporal_server.client) as world:
        world.load = held = Held(NotWanted())
        handle = await world.notify()
        await held.started.wait()
        answer = await handle.execute_update("skip", "a test deal")
        held.go_on.set()
        outcome = await handle.result()

    assert answer["accepted"]
    assert OrderStage.NOT_NEEDED is outcome.stage
    assert outcome.declined
    assert "create" not in world.calls


async def test_the_cancellation_of_the_workflow_during_the_write_back_cancels_the_order(
    temporal_server: WorkflowEnvironment,
) -> None:
    """From Temporal's UI, while the number is written: the order that exists is cancelled, and that is written."""
    async with running(temporal_server.client) as world:
        held = Held(None)

        async def write(request: Any) -> Any:
            world.written.append(request)
            if len(world.written) == 1:
                await held(request)
            return request.written

        world.write = write
        handle = await world.notify()
        await held.started.wait()
        await handle.cancel()
        held.go_on.set()
        with pytest.raises(WorkflowFailureError) as failure:
            await handle.result()

    assert isinstance(failure.value.cause, CancelledError)
    assert ["cancel"] == [call for call in world.calls if call == "cancel"]
    assert world.written[-1].order == erp_order(ErpStatus.CANCELLED)


async def test_a_notification_during_the_last_write_back_is_not_lost(temporal_server: WorkflowEnvironment) -> None:
    """The order cannot end with news: Temporal repeats the task, with the write-back, and the record is read again."""
    async with running(temporal_server.client) as world:
        held = Held({})
        world.write = held
        handle = await world.notify()
        await held.started.wait()
        await world.notify("m-2")
        held.go_on.set()
        outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage
    assert 2 == world.calls.count("load")
    assert 1 == world.calls.count("create")


@pytest.mark.parametrize("step", ["load", "write"])
async def test_a_worker_that_stops_during_a_local_activity_loses_nothing(
    temporal_server: WorkflowEnvironment, step: str
) -> None:
    """It stops although the call does not end; the order goes on in another worker."""
    async with running(temporal_server.client, deciding=False) as world:
        held = Held(await world._load(_message()) if step == "load" else {})
        setattr(world, step, held)
        async with order_worker(world):
            handle = await world.notify()
            await held.started.wait()
        held.go_on.set()
        async with order_worker(world):
            outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage
    assert 1 == world.calls.count("create")


def _message() -> Any:
    class _Request:
        message = None

    return _Request()


async def test_a_call_that_hangs_holds_a_task_for_seconds_only(temporal_server: WorkflowEnvironment) -> None:
    """Then it waits as a pending activity, whatever the call is doing."""
    async with running(temporal_server.client) as world:
        held = Held(await world._load(_message()))
        world.load = held
        handle = await world.notify()
        await world.until_stage(OrderStage.LOADING)
        pending = await _pending(handle)
        history = await handle.fetch_history()
        held.go_on.set()
        await handle.result()

    assert ["load-order"] == pending
    assert 1 == kinds(history).count(EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED)  # the SDK sent no heartbeat for it
