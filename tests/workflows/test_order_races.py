"""Unlucky moments and data for the order workflow: none stops it, loses a notification or makes it report falsely."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from closedwon import names
from closedwon.erp.base import AmountDiffersError, ErpAuthFailedError, RejectedError, UnknownError
from closedwon.errors import AttentionReason
from closedwon.model.erp import ErpStatus
from closedwon.model.order_state import OrderStart
from closedwon.model.routes import Policies
from closedwon.model.snapshot import NotWanted, RecordSnapshot, Wanted
from closedwon.names import OrderStage
from closedwon.salesforce.errors import RecordGoneError, ValidationError
from closedwon.temporal.search_attributes import SEARCH_ATTRIBUTE_KEYS
from tests.support.servers import start_temporal
from tests.support.waiting import STALL
from tests.support.world import ORG, Held, World, erp_order, new_record, order_of, order_worker, running


@asynccontextmanager
async def _acting(client: Client) -> AsyncIterator[World]:
    """Only the worker of the ERP, so that a test can stop the one that decides while a call goes on."""
    world = World(client, new_record())
    async with Worker(client, task_queue=names.erp_queue("stub"), activities=world.erp_activities):
        yield world


async def _has_completed(world: World, activities: int) -> bool:
    history = await world.client.get_workflow_handle(names.order_workflow_id(ORG, world.record)).fetch_history()
    done = [e for e in history.events if e.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED]
    return len(done) == activities


async def test_a_flood_and_the_erps_answer_in_one_batch_lose_nothing() -> None:
    """The history grows too long in the very moment in which the order's number comes: the new run finds the order."""
    limit: dict[str, Any] = {"limit.historyCount.suggestContinueAsNew": 30}
    async with await start_temporal(**limit) as server, _acting(server.client) as world:
        world.create = held = Held(erp_order())
        async with order_worker(world):
            handle = await world.notify()
            await held.started.wait()
        await asyncio.gather(*(world.notify(f"m-{number}") for number in range(50)))
        held.go_on.set()
        await world.until(lambda: _has_completed(world, 1))
        async with order_worker(world), asyncio.timeout(STALL):
            outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage


async def test_a_deal_with_a_very_long_name_is_ordered(temporal_server: WorkflowEnvironment) -> None:
    """Temporal limits the texts that accompany a step; a name of any length must not stop the order."""
    async with running(temporal_server.client) as world:

        async def load(_request: object) -> RecordSnapshot:
            order = order_of(world.record).model_copy(update={"name": "発電機十台" * 400})
            return Wanted(order=order, erp="stub", written={})

        world.load = load
        handle = await world.notify()
        async with asyncio.timeout(STALL):
            outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage


async def test_an_activity_that_an_operator_fails_by_hand_needs_attention(temporal_server: WorkflowEnvironment) -> None:
    """Temporal's tools can fail an activity with any details; the order then waits for a person."""
    async with running(temporal_server.client) as world:
        world.create = held = Held(erp_order())
        handle = await world.notify()
        await held.started.wait()
        by_hand = temporal_server.client.get_async_activity_handle(
            workflow_id=handle.id, run_id=None, activity_id="create-order"
        )
        await by_hand.fail(ApplicationError("seen to by hand", "PO 4711", non_retryable=True))
        held.go_on.set()
        await world.until_stage(OrderStage.ATTENTION)
        await handle.signal("retry")
        outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage


async def test_a_cancel_that_cannot_be_written_to_salesforce_can_be_closed(
    temporal_server: WorkflowEnvironment,
) -> None:
    """The record is gone: the ERP's order is cancelled, and a second `cancel` ends it without writing to Salesforce."""
    async with running(temporal_server.client) as world:

        async def write(_request: object) -> Any:
            raise RecordGoneError("Salesforce: ENTITY_IS_DELETED", hint="Restore it, or send `cancel`.")

        world.write = write
        handle = await world.notify()
        await world.until_stage(OrderStage.ATTENTION)
        await handle.signal("cancel")
        await world.until(lambda: world.calls.count("write") == 2)
        await world.until_stage(OrderStage.ATTENTION)
        await handle.signal("cancel")
        async with asyncio.timeout(STALL):
            outcome = await handle.result()

    assert OrderStage.CANCELLED is outcome.stage
    assert erp_order(ErpStatus.CANCELLED) == outcome.order


async def test_an_existing_order_is_written_to_a_record_that_no_longer_qualifies(
    temporal_server: WorkflowEnvironment,
) -> None:
    """The write-back was refused, then the deal was reopened: the order exists, and the record shows it."""
    async with running(temporal_server.client) as world:
        reopened = False

        async def load(_request: object) -> RecordSnapshot:
            common: dict[str, Any] = {"written": {"Number": None}, "policies": Policies(on_unqualified="ignore")}
            if reopened:
                return NotWanted(erp="stub", **common)
            return Wanted(order=order_of(world.record), erp="stub", **common)

        async def write(request: Any) -> Any:
            if not reopened:
                raise ValidationError("Salesforce: a rule", hint="Correct the rule.")
            world.written.append(request)
            return request.written

        world.load, world.write = load, write
        handle = await world.notify()
        await world.until_stage(OrderStage.ATTENTION)
        reopened = True
        await handle.signal("retry")
        outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage
    assert [erp_order()] == [request.order for request in world.written]


async def test_a_report_without_an_answer_is_not_taken_for_unwritten(temporal_server: WorkflowEnvironment) -> None:
    """Salesforce may have taken the error's text; once the problem is gone, the text is overwritten."""
    async with running(temporal_server.client) as world:
        quantities = iter(("2", "3"))
        first_write = Held({"Status": "processing", "Error": None})
        last = asyncio.Event()

        async def load(_request: object) -> RecordSnapshot:  # as with source = "event": nothing is known of the fields
            return Wanted(order=order_of(world.record, quantity=next(quantities, "2")), erp="stub")

        async def create(request: Any) -> Any:
            if request.order.amount != erp_order().amount:
                raise AmountDiffersError(erp_order(), request.order)
            return erp_order()

        async def write(request: Any) -> Any:
            if not first_write.go_on.is_set():
                return await first_write(request)
            world.written.append(request)
            if request.error:
                raise UnknownError("the reply was lost", retry_after=timedelta(days=1))
            last.set()
            return request.written

        world.load, world.create, world.write = load, create, write
        handle = await world.notify()
        await first_write.started.wait()
        await world.notify("changed")
        first_write.go_on.set()
        await world.until(lambda: any(request.error for request in world.written))
        await handle.signal("retry")
        await last.wait()
        await handle.result()

    assert "Error" not in world.written[-1].written


async def test_the_reason_of_an_attention_does_not_outlive_it_in_a_new_run() -> None:
    """The history grows too long while the order waits for a person: lists show no reason for one that is done."""
    limit: dict[str, Any] = {"limit.historyCount.suggestContinueAsNew": 60}
    async with await start_temporal(**limit) as server, running(server.client) as world:

        async def load(_request: object) -> RecordSnapshot:
            raise UnknownError("Salesforce is down")

        corrected = Held(None)

        async def cancel(_request: object) -> Any:
            if world.calls.count("cancel") == 1:
                raise ErpAuthFailedError("401", hint="Set the key.")
            return await corrected(_request)

        world.load, world.cancel = load, cancel
        handle = await world.notify()
        await handle.signal("cancel")
        await world.until_stage(OrderStage.ATTENTION)
        await world.until(lambda: len(world.written) == 1)
        await asyncio.gather(*(world.notify(f"m-{number}") for number in range(100)))
        await corrected.started.wait()  # in the new run
        corrected.go_on.set()
        await handle.result()
        attributes = (await handle.describe()).typed_search_attributes

    assert OrderStage.CANCELLED == attributes.get(SEARCH_ATTRIBUTE_KEYS[names.ORDER_STAGE])
    assert attributes.get(SEARCH_ATTRIBUTE_KEYS[names.ATTENTION_REASON]) is None


async def test_a_session_id_ends_with_the_run_that_received_it() -> None:
    """It is a loan of some hours, which the next run does without: its calls are made with the worker's own login."""
    limit: dict[str, Any] = {"limit.historyCount.suggestContinueAsNew": 40}
    async with await start_temporal(**limit) as server, running(server.client) as world:
        sessions: list[str | None] = []

        async def load(request: Any) -> RecordSnapshot:
            sessions.append(request.session)
            if request.session is not None:
                raise UnknownError("Salesforce is down", retry_after=timedelta(days=1))
            return Wanted(order=order_of(world.record), erp="stub")

        world.load = load
        handle = await world.notify(session="sealed")
        await world.until(lambda: len(sessions) == 1)
        await asyncio.gather(*(world.notify(f"m-{number}") for number in range(60)))
        async with asyncio.timeout(STALL):
            outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage
    assert ["sealed", None] == sessions[:1] + sessions[-1:]


async def test_a_notification_with_a_field_of_a_later_version_is_accepted(temporal_server: WorkflowEnvironment) -> None:
    """While two versions run, or after a rollback, a notification may have fields that this version does not know."""
    async with running(temporal_server.client) as world:
        failures = 1

        async def create(_request: object) -> Any:
            nonlocal failures
            if failures:
                failures -= 1
                raise RejectedError("no such product")
            return erp_order()

        world.create = create
        start = OrderStart(org=ORG, record=world.record, route="won-deals").model_dump(mode="json")
        notification = {"id": "m-1", "channel": "platform-event", "received_at": "2026-11-24T10:00:00Z"}
        handle = await temporal_server.client.start_workflow(
            names.ORDER_WORKFLOW,
            start | {"of_a_later_version": 1},
            id=names.order_workflow_id(ORG, world.record),
            task_queue=names.ORDERS_QUEUE,
        )
        await world.until_stage(OrderStage.ATTENTION)
        await world.until(lambda: len(world.written) == 1)
        await handle.signal("notified", notification | {"of_a_later_version": 1})
        async with asyncio.timeout(STALL):
            await handle.result()

    assert 2 == world.calls.count("create")


async def test_an_unexpected_error_does_not_carry_a_customers_data_into_temporal(
    temporal_server: WorkflowEnvironment,
) -> None:
    """What an adapter's bug says is unknown: only its kind and its place go into the list of pending activities."""
    async with running(temporal_server.client) as world:

        async def create(_request: object) -> Any:
            raise ValueError("invalid literal: 'Edge Communications, Berlin'")

        world.create = create
        handle = await world.notify()
        await world.until(lambda: world.calls.count("create") == 2)
        failure = str((await handle.describe()).raw_description.pending_activities[0].last_failure)
        world.create = world._create
        await handle.signal("retry")
        await handle.result()

    assert "ValueError" in failure
    assert "Edge" not in failure


async def test_a_problem_of_a_later_version_still_needs_attention(temporal_server: WorkflowEnvironment) -> None:
    """A reason that this version does not know must not stop the workflow."""
    async with running(temporal_server.client) as world:
        world.create = held = Held(erp_order())
        handle = await world.notify()
        await held.started.wait()
        by_hand = temporal_server.client.get_async_activity_handle(
            workflow_id=handle.id, run_id=None, activity_id="create-order"
        )
        problem = {"reason": "of-a-later-version", "message": "the moon is full", "hint": "Wait."}
        await by_hand.fail(ApplicationError("the moon is full", problem, non_retryable=True))
        held.go_on.set()
        await world.until_stage(OrderStage.ATTENTION)
        description = await handle.describe()
        await handle.signal("cancel")
        await handle.result()

    reason = description.typed_search_attributes.get(SEARCH_ATTRIBUTE_KEYS[names.ATTENTION_REASON])
    assert AttentionReason.UNEXPECTED_ERROR == reason
