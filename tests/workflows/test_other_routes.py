"""A workflow that follows one route, and receives a notification about its record by another one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.testing import WorkflowEnvironment

from closedwon.model.erp import ErpOrder, ErpStatus
from closedwon.model.records import ReadRecord
from closedwon.model.routes import Policies, RouteStart
from closedwon.model.snapshot import NotWanted, RecordSnapshot, Wanted
from closedwon.names import OrderStage
from tests.support.servers import pass_time
from tests.support.world import Held, World, erp_order, order_of, running

_REMEMBERED = timedelta(hours=72)
_OTHER = RouteStart(route="other")
_MORNING = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)


class _Routes:
    """What each route's settings make of the record; `asked` are the routes by which it was read."""

    def __init__(self, world: World, **snapshots: RecordSnapshot) -> None:
        self.asked: list[str] = []
        self.snapshots = snapshots
        world.load = self._load

    async def _load(self, request: ReadRecord) -> RecordSnapshot:
        self.asked.append(request.route)
        return self.snapshots[request.route.replace("-", "_")]


def _wanted(world: World) -> Wanted:
    return Wanted(order=order_of(world.record), erp="stub")


async def test_a_reopened_deal_of_another_route_follows_the_policy_of_that_route(
    temporal_server: WorkflowEnvironment,
) -> None:
    """The record shows the other route's number: that the first route finds no order raises no alert."""
    async with running(temporal_server.client) as world:
        gone = NotWanted(number="SO-1", may_have_order=True, policies=Policies(on_unqualified="cancel"))
        routes = _Routes(world, won_deals=gone, other=gone)

        async def cancel(_request: object) -> ErpOrder | None:
            return erp_order(ErpStatus.CANCELLED) if "other" in routes.asked else None

        held = Held(gone)
        world.cancel, world.load = cancel, held
        handle = await world.notify("m-1")
        await held.started.wait()
        await world.notify("m-1", route=_OTHER)
        world.load = routes._load
        held.go_on.set()
        outcome = await handle.result()

    assert OrderStage.CANCELLED is outcome.stage
    assert [] == world.needs


async def test_the_erp_is_asked_before_another_route_may_order(temporal_server: WorkflowEnvironment) -> None:
    """With `on_unqualified = "ignore"` an order of the first route may live, though the outcome shows none."""
    async with running(temporal_server.client) as world:
        left = NotWanted(may_have_order=True, erp="stub", policies=Policies(on_unqualified="ignore"))
        routes = _Routes(world, won_deals=left, other=_wanted(world))

        async def find(_request: object) -> ErpOrder:
            return erp_order(ErpStatus.CONFIRMED)

        held = Held(left)
        world.find, world.load = find, held
        handle = await world.notify("m-1")
        await held.started.wait()
        await world.notify("m-2", route=_OTHER)
        world.load = routes._load
        held.go_on.set()
        await handle.result()

    assert "other" not in routes.asked
    assert "create" not in world.calls


async def test_a_decision_covers_what_another_route_reported_before(temporal_server: WorkflowEnvironment) -> None:
    """`skip` is about the record: the other route orders it only if it is notified afterwards."""
    async with running(temporal_server.client) as world:
        routes = _Routes(world, won_deals=_wanted(world), other=_wanted(world))
        held = Held(None)

        async def create(_request: object) -> Any:
            raise RuntimeError("no answer")

        world.create, world.find = create, held
        handle = await world.notify("m-1")
        await world.until_stage(OrderStage.ORDERING)
        await world.notify("m-2", route=_OTHER)
        await handle.signal("skip")
        await held.started.wait()
        held.go_on.set()
        outcome = await handle.result()

    assert OrderStage.NOT_NEEDED is outcome.stage
    assert "other" not in routes.asked


async def test_late_notifications_of_a_route_that_was_followed_before_are_recognized(
    skipping: WorkflowEnvironment,
) -> None:
    """The first route has decided on a newer state, and the other wants no order: a late message orders nothing."""
    own = RouteStart(route="won-deals", late_message_window=_REMEMBERED)
    async with running(skipping.client) as world:
        routes = _Routes(world, won_deals=NotWanted(), other=NotWanted())
        newer: dict[str, Any] = {"payload": {"Won": False}, "modified_at": _MORNING + timedelta(hours=1)}
        handle = await world.notify("m-1", late_message_window=_REMEMBERED, route=own, **newer)
        await world.until_stage(OrderStage.NOT_NEEDED)
        await world.notify("m-2", late_message_window=_REMEMBERED, route=_OTHER)
        await world.until(lambda: "other" in routes.asked)
        await world.until_stage(OrderStage.NOT_NEEDED)
        routes.snapshots["won_deals"] = _wanted(world)
        late: dict[str, Any] = {"payload": {"Won": True}, "modified_at": _MORNING}
        await world.notify("m-3", late_message_window=_REMEMBERED, route=own, **late)
        await pass_time(skipping, 2 * _REMEMBERED)
        outcome = await handle.result()

    assert OrderStage.NOT_NEEDED is outcome.stage
    assert "create" not in world.calls


async def test_a_payload_of_another_route_is_never_taken_for_the_own_ones(
    temporal_server: WorkflowEnvironment,
) -> None:
    """One event may reach both routes: its id is not a duplicate there, and each reads its own content."""
    own = RouteStart(route="won-deals", late_message_window=_REMEMBERED)
    other = RouteStart(route="other", late_message_window=_REMEMBERED)
    async with running(temporal_server.client) as world:
        seen: list[tuple[str, Any]] = []

        async def load(request: ReadRecord) -> RecordSnapshot:
            assert request.message is not None
            seen.append((request.route, request.message.payload))
            return _wanted(world) if request.route == "other" else NotWanted()

        held = Held(NotWanted())
        world.load = held
        handle = await world.notify("e-1", late_message_window=_REMEMBERED, route=own, payload={"by": "own"})
        await held.started.wait()
        await world.notify("e-2", route=other, payload={"by": "other"})
        await world.notify("e-2", route=own, payload={"by": "own, newer"})
        world.load = load
        held.go_on.set()
        outcome = await handle.result()

    assert OrderStage.COMPLETED is outcome.stage
    assert [("won-deals", {"by": "own, newer"}), ("other", {"by": "other"})] == seen
