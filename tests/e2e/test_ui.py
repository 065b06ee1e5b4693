"""Temporal's UI as the operator's screen: lists, details and dialogs show what the documentation promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from closedwon import names
from closedwon.emulators.ports import free_port
from closedwon.ids import RecordId
from closedwon.names import OrderStage
from closedwon.temporal.sweeps import open_gaps
from tests.support.handoff import Handoff, handoff, until
from tests.support.screen import Screen, screen
from tests.support.servers import start_temporal
from tests.support.tools import needs_chromium

pytestmark = needs_chromium

_COLUMNS = (names.ORDER_STAGE, names.ATTENTION_REASON, names.ERP_ORDER_NUMBER, names.ROUTE, names.CHANNEL)


class _Desk(NamedTuple):
    """An operator's morning: orders that are done, one that was refused, one that waits for an ERP that is down."""

    world: Handoff
    screen: Screen
    done: RecordId
    refused: RecordId
    waiting: RecordId

    async def open(self, record: RecordId, tab: str) -> None:
        described = await self.world.order(record).describe()
        await self.screen.workflow(described.id, described.run_id, tab)

    async def refuse_another(self) -> RecordId:
        """The ERP is back, and refuses one more order: not the one that has waited for it."""
        self.world.erp.faults.down = False
        await self.world.order(self.waiting).signal(names.SIGNAL_RETRY)
        await self.world.until_stage(self.waiting, OrderStage.COMPLETED)
        self.world.erp.faults.reject = 1
        (refused,) = self.world.org.win_next(1)
        await self.world.until_stage(refused, OrderStage.ATTENTION)
        return refused


@asynccontextmanager
async def _desk() -> AsyncIterator[_Desk]:
    port = free_port()
    async with await start_temporal(ui_port=port) as server, handoff(temporal_server=server) as world, world.working():
        world.org.seed(7)
        done = world.org.win_next(4)
        await world.until_written_back(*done)
        world.erp.faults.reject = 1
        (refused,) = world.org.win_next(1)
        await world.until_stage(refused, OrderStage.ATTENTION)
        world.erp.faults.down = True
        (waiting,) = world.org.win_next(1)
        await world.until_stage(waiting, OrderStage.ORDERING)
        async with screen(f"http://127.0.0.1:{port}") as browser:
            yield _Desk(world, browser, done[-1], refused, waiting)


async def test_an_operator_sees_where_each_order_stands_and_why() -> None:
    """The list has stage, reason and number; the details show the timeline, a pending activity its next attempt."""
    async with _desk() as desk:
        seen = desk.screen

        await seen.list(f"WorkflowType='{names.ORDER_WORKFLOW}'")
        await seen.sees(f"order:{desk.refused}@{desk.world.org.org_id}")
        await seen.choose_columns(*_COLUMNS)
        await seen.sees("attention", "erp-rejected", "ordering", "completed", "platform-event")
        await seen.sees(str(desk.world.number_of(desk.done)))
        await seen.shoot("list")

        await desk.open(desk.waiting, "pending-activities")
        await seen.sees("create_order", "UNLIMITED", "Next Retry", "got no answer")
        await seen.shoot("waiting", height=600)  # below is a stack trace

        await desk.open(desk.done, "timeline")
        await seen.sees("load_order", "create_order", "write_back", "order in stub: ")  # of local ones only the name

        await desk.open(desk.done, "user-metadata")
        await seen.reads_details("Done", "the record was read", "has order", "written to Salesforce")
        await seen.shoot("order", height=900)

        await desk.open(desk.refused, "user-metadata")
        await seen.reads_details("Needs attention", "erp-rejected", "What to do", "notification by platform-event")
        await seen.shoot("attention")


async def test_the_uis_own_buttons_retry_and_cancel_an_order() -> None:
    """The dialog says what each signal does, and pressing it does that: an order, and no order."""
    async with _desk() as desk:
        seen, world = desk.screen, desk.world
        unwanted = await desk.refuse_another()

        await desk.open(desk.refused, "user-metadata")
        await seen.list_signals()
        await seen.shoot("signal")
        await seen.choose("retry", says="Try again now")
        await seen.submit()
        await world.until_stage(desk.refused, OrderStage.COMPLETED)
        await desk.open(unwanted, "user-metadata")
        await seen.list_signals()
        await seen.choose("cancel", says="write the status to Salesforce")
        await seen.submit()
        await world.until_stage(unwanted, OrderStage.CANCELLED)

        ordered = {order["idempotency_key"] for order in world.erp.orders()}
        assert f"{world.org.org_id}:{desk.refused}" in ordered
        assert f"{world.org.org_id}:{unwanted}" not in ordered
        assert world.org.get("Opportunity", unwanted)["ERP_Order_Status__c"] == "cancelled"


async def test_the_uis_own_buttons_resolve_and_skip_an_order() -> None:
    """A number is typed into the dialog of a signal, a reason into that of an update."""
    async with _desk() as desk:
        seen, world = desk.screen, desk.world
        unneeded = await desk.refuse_another()
        by_hand = (await world.made_by_hand(desk.refused)).number

        await desk.open(desk.refused, "user-metadata")
        await seen.list_signals()
        await seen.choose("resolve", says="made by hand")
        await seen.types_input(f'"{by_hand}"')
        await seen.submit()
        await world.until_stage(desk.refused, OrderStage.COMPLETED)
        await desk.open(unneeded, "user-metadata")
        await seen.list_updates()
        await seen.shoot("update")
        await seen.choose("skip", says="Answers yes or no")
        await seen.types_input('"a test deal"')
        await seen.submit()
        await world.until_stage(unneeded, OrderStage.NOT_NEEDED)

        assert by_hand == world.number_of(desk.refused)
        assert world.org.get("Opportunity", unneeded)["ERP_Order_Status__c"] == "not needed"


async def test_an_open_gap_says_what_it_is_and_what_it_waits_for() -> None:
    """A list finds it by its id; the details name the time whose notifications may be lost, and the hint."""
    port = free_port()
    async with await start_temporal(ui_port=port) as server, handoff(temporal_server=server) as world:
        world.org.seed(1)
        async with world.working():
            await world.until_written_back(*world.org.win_next(1))
        world.org.move_bus()  # and the route has no sweeps that could cover the gap
        async with world.working(), screen(f"http://127.0.0.1:{port}") as seen:
            await until(lambda: _is_stuck(world))
            (gap,) = [gap async for gap in open_gaps(world.client)]

            await seen.list(f"WorkflowId STARTS_WITH '{names.GAP_PREFIX}'")
            await seen.sees(gap.workflow_id)
            described = await world.client.get_workflow_handle(gap.workflow_id).describe()
            await seen.workflow(described.id, described.run_id, "user-metadata")
            await seen.reads_details("Needs attention", "bus-moved", "configuration", "routes.sweep", "retry")
            await seen.shoot("gap")


async def _is_stuck(world: Handoff) -> bool:
    return ["configuration"] == [gap.status async for gap in open_gaps(world.client)]
