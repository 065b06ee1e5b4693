"""Schedules of sweeps, and gaps: each route is swept at its interval, and a gap is open until a sweep covers it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from closedwon import names
from closedwon.model.subscriptions import Cursor, Subscription
from closedwon.model.sweeps import Gap, GapReason, SweepProgress, SweepStart
from closedwon.temporal.sweeps import open_gaps
from tests.support.handoff import CHANNEL, Handoff, handoff, until
from tests.support.histories import keep_history
from tests.support.servers import start_temporal
from tests.support.sweeps import AT_ONCE, swept
from workers.sweeps import sync_schedules
from workflows.subscription import SubscriptionWorkflow


async def test_a_schedule_sweeps_from_where_it_ended() -> None:
    """The schedule is made once; each sweep begins just before the end of the last one, however often workers start.

    A deal that is won in the very second in which a sweep ends is found by the next one.
    """
    async with swept() as world:
        await sync_schedules(world.client, world.settings)
        schedule = world.client.get_schedule_handle(names.sweep_schedule_id(world.org.org_id, "won-0"))
        (first,) = await _scheduled(world, 1)
        assert first.until is not None
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        await sync_schedules(world.client, world.settings)
        await schedule.trigger()
        _, second = await _scheduled(world, 2)
        await world.until_written_back(record)

        assert first.until - timedelta(seconds=1) == second.since
        assert 1 == second.started


async def _scheduled(world: Handoff, number: int) -> list[SweepProgress]:
    """Wait for `number` scheduled sweeps, and return their results in order."""
    query = f"WorkflowType = '{names.SWEEP_WORKFLOW}' AND ExecutionStatus = 'Completed'"

    async def ended() -> bool:
        return (await world.client.count_workflows(query)).count == number

    await until(ended)
    found = [one.id async for one in world.client.list_workflows(query)]
    handles = [world.client.get_workflow_handle(one, result_type=SweepProgress) for one in found]
    return sorted([await one.result() for one in handles], key=lambda one: one.until or datetime.now(UTC))


async def test_a_changed_interval_and_a_vanished_route_are_taken_over_at_the_next_start() -> None:
    """The schedule follows the settings; what a person has paused stays paused."""
    async with handoff(sweep=AT_ONCE) as world:
        handle = world.client.get_schedule_handle(names.sweep_schedule_id(world.org.org_id, "won-0"))
        await sync_schedules(world.client, world.settings)
        await handle.pause(note="month's end")
        hourly = _with_sweep(world, {"interval": "1h"})
        await sync_schedules(world.client, hourly)
        described = (await handle.describe()).schedule
        assert [timedelta(hours=1)] == [one.every for one in described.spec.intervals]
        assert (True, "month's end") == (described.state.paused, described.state.note)

        await handle.unpause(note="")
        await until(lambda: _is_listed(world, handle.id))
        await sync_schedules(world.client, _with_sweep(world, None))
        assert (await handle.describe()).schedule.state.paused
        await sync_schedules(world.client, hourly)
        assert not (await handle.describe()).schedule.state.paused


async def _is_listed(world: Handoff, schedule_id: str) -> bool:
    return schedule_id in [one.id async for one in await world.client.list_schedules()]


def _with_sweep(world: Handoff, change: dict[str, Any] | None) -> Any:
    (route,) = world.settings.routes
    fields = route.model_dump() | {"sweep": None if change is None else AT_ONCE | change}
    return world.settings.model_copy(update={"routes": (type(route).model_validate(fields),)})


async def test_a_moved_bus_opens_a_gap_that_its_own_sweep_closes() -> None:
    """Deals that were won without a subscriber, whose events the bus lost, are ordered; then no gap is open."""
    async with handoff(sweep=AT_ONCE) as world:
        world.org.seed(6)
        async with world.working():
            await world.until_written_back(*world.org.win_next(1))
        lost = world.org.win_next(5)
        world.org.move_bus()
        async with world.working():
            await world.until_written_back(*lost)
            subscription = world.client.get_workflow_handle(names.subscription_workflow_id(world.org.org_id, CHANNEL))
            await until(lambda: _closed_gaps(world, 1))
            gaps = await subscription.query(SubscriptionWorkflow.gaps)

            (sweep,) = [
                one.id async for one in world.client.list_workflows(f"WorkflowId STARTS_WITH '{names.GAP_PREFIX}'")
            ]
            await keep_history(world.client, sweep)

        assert () == tuple(gaps)
        assert [] == [gap async for gap in open_gaps(world.client)]
        assert 6 == len(world.erp.orders())


async def _closed_gaps(world: Handoff, number: int) -> bool:
    query = f"WorkflowId STARTS_WITH '{names.GAP_PREFIX}' AND ExecutionStatus = 'Completed'"
    return (await world.client.count_workflows(query)).count == number


async def test_a_reader_that_was_away_for_longer_than_events_are_kept_opens_a_gap() -> None:
    """It had no position that the bus could refuse: the time shows the gap, and a sweep finds what was won in it."""
    async with handoff(sweep=AT_ONCE) as world:
        world.org.seed(1)
        world.org.faults.drop_events()  # published, and expired since
        (lost,) = world.org.win_next(1)
        long_ago = datetime.now(UTC) - timedelta(hours=73)
        await world.client.start_workflow(
            SubscriptionWorkflow.run,
            Subscription(org=world.org.org_id, channel=CHANNEL, cursor=Cursor(caught_up_at=long_ago)),
            id=names.subscription_workflow_id(world.org.org_id, CHANNEL),
            task_queue=names.SUBSCRIBER_QUEUE,
        )
        async with world.working():
            await world.until_written_back(lost)
            await until(lambda: _closed_gaps(world, 1))

        assert [GapReason.RETENTION_PASSED] == await _reasons(world)


async def test_the_delivery_limit_opens_a_gap_and_reading_goes_on_after_a_rest() -> None:
    """The bus delivers nothing for hours, so a sweep carries the deals; `retry` ends the rest."""
    async with handoff(sweep={"lag": "0s", "overlap": "1m"}) as world:
        world.org.seed(2)
        text = "403::Organization total events daily limit exceeded"
        world.org.faults.cometd_error("/meta/subscribe", text, times=1)
        (first,) = world.org.win_next(1)
        async with world.working():
            await world.until_written_back(first)
            await until(lambda: _closed_gaps(world, 1))
            assert [GapReason.DELIVERY_LIMIT] == await _reasons(world)
            subscription = world.client.get_workflow_handle(names.subscription_workflow_id(world.org.org_id, CHANNEL))
            await subscription.signal(names.SIGNAL_RETRY)
            await world.until_written_back(*world.org.win_next(1))


async def _reasons(world: Handoff) -> list[str]:
    query = f"WorkflowId STARTS_WITH '{names.GAP_PREFIX}'"
    return [
        (await one.memo_value(names.MEMO_GAP, type_hint=Gap)).reason async for one in world.client.list_workflows(query)
    ]


async def test_a_gap_of_a_route_without_sweeps_stays_open_and_says_so() -> None:
    """Nothing covers it: it needs attention, with the hint, until sweeps are configured and `retry` is sent."""
    async with handoff() as world:
        world.org.seed(2)
        async with world.working():
            await world.until_written_back(*world.org.win_next(1))
        (lost,) = world.org.win_next(1)
        world.org.move_bus()
        async with world.working():
            await until(lambda: _gaps_are(world, "configuration"))
        (gap,) = [gap async for gap in open_gaps(world.client)]
        assert GapReason.BUS_MOVED == gap.gap.reason

        world.settings = _with_sweep(world, {})
        async with world.working():
            await world.client.get_workflow_handle(gap.workflow_id).signal(names.SIGNAL_RETRY)
            await world.until_written_back(lost)
            await until(lambda: _closed_gaps(world, 1))


async def test_a_gap_that_waits_for_a_person_for_weeks_begins_a_new_run_and_stays_open() -> None:
    """Each wait adds to the history, and Temporal terminates a workflow whose history grows too long."""
    limit: dict[str, Any] = {"limit.historyCount.suggestContinueAsNew": 30}
    async with await start_temporal(**limit) as server, handoff(temporal_server=server) as world:
        until_ = datetime.now(UTC)
        gap = Gap(since=until_ - timedelta(hours=1), until=until_, reason=GapReason.BUS_MOVED, route="won-0")
        handle = await world.client.start_workflow(
            names.SWEEP_WORKFLOW,
            SweepStart(org=world.org.org_id, route="won-0", gap=gap),
            id=names.gap_workflow_id(world.org.org_id, "won-0", gap.since, gap.until),
            task_queue=names.ORDERS_QUEUE,
            memo={names.MEMO_GAP: gap},
        )

        async def is_another() -> bool:
            await handle.signal(names.SIGNAL_RETRY)  # ends a rest
            return (await world.client.count_workflows(f"WorkflowId = '{handle.id}'")).count > 1

        async with world.working(subscriber=False):
            await until(is_another)
            await until(lambda: _gaps_are(world, "configuration"))
        await keep_history(world.client, handle.id)


async def _gaps_are(world: Handoff, *states: str) -> bool:
    return [*states] == [gap.status async for gap in open_gaps(world.client)]


async def test_a_gap_whose_sweep_was_terminated_is_open_until_it_is_swept_after_all() -> None:
    """Nothing has covered it, so it is not forgotten; the same workflow started again, as the UI does, closes it."""
    async with handoff(sweep=AT_ONCE) as world:
        until_ = datetime.now(UTC)
        gap = Gap(since=until_ - timedelta(hours=1), until=until_, reason=GapReason.BUS_MOVED, route="won-0")
        start = SweepStart(org=world.org.org_id, route="won-0", gap=gap)
        how: dict[str, Any] = {"id": names.gap_workflow_id(start.org, "won-0", gap.since, gap.until)}
        how["task_queue"] = names.ORDERS_QUEUE
        memo = {names.MEMO_GAP: gap}
        handle = await world.client.start_workflow(names.SWEEP_WORKFLOW, start, memo=memo, **how)
        await handle.terminate()
        await until(lambda: _gaps_are(world, "terminated"))
        again = await world.client.start_workflow(names.SWEEP_WORKFLOW, start, **how)
        await until(lambda: _gaps_are(world, "sweeping"))
        async with world.working(subscriber=False):
            await again.result()
            await until(lambda: _gaps_are(world))
