"""Two routes over one object: a record has one workflow and one order, made by the route for which it qualifies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.testing import WorkflowEnvironment

from closedwon import names
from closedwon.acceptance import Notification, accept
from closedwon.ids import RecordId
from closedwon.model.routes import Channel
from closedwon.settings import Route
from closedwon.temporal.orders import route_of_workflow
from tests.support.handoff import _DEAL, Handoff, handoff, until

_LONG_AGO = datetime(2026, 11, 1, 9, 0, tzinfo=UTC)


@asynccontextmanager
async def two_routes(
    server: WorkflowEnvironment, *, first: dict[str, Any] | None = None, second: dict[str, Any] | None = None
) -> AsyncIterator[tuple[Handoff, RecordId]]:
    """A world with routes `first` and `second` to the same ERP, and a won deal that nothing has reported yet."""
    async with handoff(temporal_server=server, grace=timedelta(0)) as world:
        fields = world.settings.routes[0].model_dump()
        one = {"name": "first", "qualify": "IsWon && Name != 'for the second'"} | (first or {})
        two = {"name": "second", "events": (), "qualify": "IsWon && Name == 'for the second'"} | (second or {})
        routes = tuple(Route.model_validate(fields | changes) for changes in (one, two))
        world.settings = world.settings.model_copy(update={"routes": routes})
        async with world.working(subscriber=False):
            world.org.seed(1)
            (record,) = world.org.win_next(1)
            yield world, record


async def report(world: Handoff, record: RecordId, route: str, message: str, **content: Any) -> None:
    """Deliver a notification by a route."""
    at = datetime.now(UTC)
    notification = Notification(record, message, Channel.PLATFORM_EVENT, received_at=at, **content)
    await accept(world.client, world.settings, world.settings.route(route), notification)


async def page(world: Handoff, record: RecordId) -> str:
    """What the order's page in Temporal's UI says."""
    handle = world.client.get_workflow_handle(world.order(record).id)
    metadata: Any = await handle.query("__temporal_workflow_metadata")
    return str(metadata["currentDetails"])


async def says(world: Handoff, record: RecordId, text: str) -> bool:
    """Whether the order's page in Temporal's UI says this."""
    handle = world.client.get_workflow_handle(world.order(record).id)
    metadata: WorkflowMetadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    return text in metadata.current_details


async def test_a_deal_that_the_running_route_does_not_want_is_ordered_by_the_other(
    temporal_server: WorkflowEnvironment,
) -> None:
    """The notification of the second route arrives while the first one's workflow is open, and is not lost."""
    async with two_routes(temporal_server, first={"grace": timedelta(seconds=2)}) as (world, record):
        world.org.update("Opportunity", record, Name="for the second")
        await report(world, record, "first", "m-1")
        await report(world, record, "second", "m-1")
        await world.until_written_back(record)
        outcome = await world.order(record).result()
        by = await route_of_workflow(world.client, world.org.org_id, record)
        is_same = [world.number_of(record)] == [order["number"] for order in world.erp.orders()]

    assert "second" == by
    assert is_same
    assert names.OrderStage.COMPLETED is outcome.stage


async def test_a_deal_that_needs_attention_for_one_route_can_be_ordered_by_the_other(
    temporal_server: WorkflowEnvironment,
) -> None:
    """A notification of the other makes the first one read again; once that wants no order, the other is tried."""
    async with two_routes(temporal_server, first={"order": _DEAL["order"] | {"name": "Name && `null`"}}) as (
        world,
        record,
    ):
        await report(world, record, "first", "m-1")
        await world.until_stage(record, names.OrderStage.ATTENTION)
        world.org.update("Opportunity", record, Name="for the second")
        await report(world, record, "second", "m-2")
        await world.until_written_back(record)
        orders = world.erp.orders()

    assert 1 == len(orders)


async def test_a_deal_that_has_its_order_gets_no_other_by_another_route(
    temporal_server: WorkflowEnvironment,
) -> None:
    """One record, one order: its page names the other route, and a `cancel` counts for what arrived before it."""
    async with two_routes(temporal_server, first={"follow": True}, second={"qualify": "IsWon"}) as (world, record):
        await report(world, record, "first", "m-1")
        await world.until_stage(record, names.OrderStage.FOLLOWING)
        await report(world, record, "second", "m-2")
        await until(lambda: says(world, record, "route `second`"))
        await world.order(record).signal("cancel")
        outcome = await world.order(record).result()
        by = await route_of_workflow(world.client, world.org.org_id, record)
        orders = [order["status"] for order in world.erp.orders()]

    assert ["cancelled"] == orders
    assert names.OrderStage.CANCELLED is outcome.stage
    assert "first" == by


async def test_a_route_that_waits_for_late_notifications_does_not_hold_the_other_up(
    temporal_server: WorkflowEnvironment,
) -> None:
    """The first route wants no order, and stays open for 72 hours: the other orders at once."""
    first = {"source": "event", "payload": "@", "select": None, "write_back": {"number": "Other_Number__c"}}
    async with two_routes(temporal_server, first=first) as (world, record):
        world.org.update("Opportunity", record, Name="for the second")
        reopened = {"IsWon": False, "Name": "for the second"}
        await report(world, record, "first", "m-1", fields=reopened, modified_at=_LONG_AGO)
        await world.until_stage(record, names.OrderStage.NOT_NEEDED)
        await report(world, record, "second", "m-2")
        await world.until_written_back(record)
        by = await route_of_workflow(world.client, world.org.org_id, record)
        orders = world.erp.orders()

    assert "second" == by
    assert 1 == len(orders)


async def test_a_route_does_not_cancel_an_order_of_another_route(temporal_server: WorkflowEnvironment) -> None:
    """Both routes get notifications of every deal: `on_unqualified` of the first does not apply to the second's."""
    cancels = {"on_unqualified": "cancel"}
    async with two_routes(temporal_server, first=cancels, second=cancels) as (world, record):
        world.org.update("Opportunity", record, Name="for the second")
        await report(world, record, "second", "m-1")
        await world.until_written_back(record)
        await world.order(record).result()
        await report(world, record, "first", "m-2")
        outcome = await world.order(record).result()
        orders = [order["status"] for order in world.erp.orders()]
        number = world.number_of(record)

    assert ["confirmed"] == orders
    assert names.OrderStage.NOT_NEEDED is outcome.stage
    assert number
