"""Case T7: lines of the order workflow whose removal no other test would have noticed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

from closedwon.erp.base import RejectedError, UnreachableError
from closedwon.errors import AttentionReason
from closedwon.model.erp import CANCELLED_UNQUALIFIED, ErpOrder, ErpStatus
from closedwon.model.erp_calls import ErpResult
from closedwon.model.routes import Following, Policies
from closedwon.model.snapshot import Deleted, NotWanted, RecordSnapshot, Wanted
from closedwon.names import OrderStage
from tests.support.world import Held, erp_order, order_of, running


async def test_t7_the_session_of_the_newest_notification_is_used(temporal_server: WorkflowEnvironment) -> None:
    """The older one may have ended; a notification without one does not take it away."""
    async with running(temporal_server.client) as world:
        sessions: list[str | None] = []
        plain = world.load
        world.create = held = Held(erp_order())

        async def load(request: Any) -> RecordSnapshot:
            sessions.append(request.session)
            return await plain(request)  # type: ignore[no-any-return]

        world.load = load
        handle = await world.notify(session="older")
        await held.started.wait()
        await world.notify("m-2", session="newer")
        await world.notify("m-3")
        held.go_on.set()
        await handle.result()

    assert ("older", "newer") == (sessions[0], sessions[-1])
    assert "newer" == world.written[-1].session


async def test_t7_an_order_that_was_cancelled_in_the_erp_is_not_made_again_by_a_late_notification(
    temporal_server: WorkflowEnvironment,
) -> None:
    """A followed order was cancelled in the ERP: a notification that is older than that changes nothing."""
    async with running(temporal_server.client) as world:
        moments = timedelta(milliseconds=50)
        following = Following(initial_interval=moments, maximum_interval=moments, follow_for=timedelta(hours=1))

        async def load(_request: object) -> RecordSnapshot:
            return Wanted(order=order_of(world.record), erp="stub", policies=Policies(follow=following))

        async def follow(_request: object) -> ErpOrder:
            return erp_order(ErpStatus.CANCELLED)

        world.load, world.follow = load, follow
        begun = datetime.now(UTC)
        handle = await world.notify(late_message_window=timedelta(hours=1), payload={}, modified_at=begun)
        await world.until_stage(OrderStage.CANCELLED)
        await world.notify("late", payload={}, modified_at=begun + timedelta(milliseconds=1))
        await world.story()  # the query returns after the notification was handled
        assert 1 == world.calls.count("load")
        assert OrderStage.CANCELLED == await world.stage()
        await handle.terminate()


@pytest.mark.parametrize("stuck", ["cancel", "write"])
async def test_t7_winning_a_deal_again_stops_a_cancellation_that_waits(
    temporal_server: WorkflowEnvironment, stuck: str
) -> None:
    """The ERP or Salesforce is away while a policy cancels the order: winning the deal again stops the cancellation."""
    async with running(temporal_server.client) as world:
        is_won, reopened, tried = False, list[bool](), 0
        write = world.write

        async def load(_request: object) -> RecordSnapshot:
            if is_won:
                return Wanted(order=order_of(world.record), erp="stub")
            return NotWanted(may_have_order=True, erp="stub", policies=Policies(on_unqualified="cancel"))

        def away() -> UnreachableError:
            nonlocal tried
            tried += 1
            return UnreachableError("away")

        async def cancel(_request: object) -> ErpResult:
            if stuck == "cancel":
                raise away()
            return ErpResult(order=erp_order(ErpStatus.CANCELLED), has_lived=True)

        async def write_back(request: Any) -> Any:
            if request.status == CANCELLED_UNQUALIFIED:
                raise away()
            return await write(request)

        async def create(request: Any) -> ErpOrder:
            reopened.append(request.reopen)
            return erp_order()

        world.load, world.cancel, world.write, world.create = load, cancel, write_back, create
        handle = await world.notify()
        await world.until(lambda: tried >= 2)
        is_won = True
        await world.notify("won again")
        outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage
    assert {True} == set(reopened)  # a cancel without an answer is checked once more
    assert {None} == {request.status for request in world.written}


async def test_t7_a_record_that_can_be_read_was_not_deleted(temporal_server: WorkflowEnvironment) -> None:
    """The record was restored before it was read: what a person decides is written to it despite the tombstone."""
    async with running(temporal_server.client) as world:

        async def load(_request: object) -> RecordSnapshot:
            return Wanted(order=order_of(world.record), erp="stub")

        async def create(_request: object) -> ErpOrder:
            raise RejectedError("no such product")

        async def cancel(_request: object) -> None:
            return None

        world.load, world.create, world.cancel = load, create, cancel
        handle = await world.notify(deleted=True)
        await world.until_stage(OrderStage.ATTENTION)
        await handle.signal("cancel")
        outcome = await handle.result()

    assert OrderStage.CANCELLED is outcome.stage
    assert "cancelled" == world.written[-1].status


async def test_t7_nothing_is_written_to_a_deleted_record(temporal_server: WorkflowEnvironment) -> None:
    """The record is deleted as the tombstone says: nothing is written to it, and the order is cancelled."""
    async with running(temporal_server.client) as world:

        async def load(_request: object) -> RecordSnapshot:
            return Deleted(erp="stub", policies=Policies(on_deleted="cancel"))

        async def cancel(_request: object) -> None:
            return None

        world.load, world.cancel = load, cancel
        outcome = await (await world.notify(deleted=True)).result()

    assert OrderStage.CANCELLED is outcome.stage
    assert [] == world.written


async def test_t7_the_order_of_a_deleted_record_waits_for_a_person_where_the_route_says_so(
    temporal_server: WorkflowEnvironment,
) -> None:
    """With the reason `record-deleted`, and without a write to a record that is not there."""
    async with running(temporal_server.client) as world:

        async def load(_request: object) -> RecordSnapshot:
            return Deleted(erp="stub", policies=Policies(on_deleted="attention"))

        async def find(_request: object) -> ErpOrder:
            return erp_order()

        world.load, world.find = load, find
        handle = await world.notify(deleted=True)
        await world.until_stage(OrderStage.ATTENTION)
        await world.until(lambda: bool(world.needs))
        await handle.signal("retry")
        outcome = await handle.result()

    assert (OrderStage.COMPLETED, AttentionReason.RECORD_DELETED) == (outcome.stage, world.needs[0].reason)
    assert [] == world.written
