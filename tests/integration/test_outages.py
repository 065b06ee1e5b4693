"""Outages of two days, on real adapters and real sockets; only Temporal's clock skips the waiting times."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.testing import WorkflowEnvironment

from closedwon.model.messages import Message
from closedwon.model.order_state import OrderStart
from closedwon.model.routes import Channel
from closedwon.names import OrderStage
from closedwon.temporal.orders import start_order
from tests.support.handoff import Handoff, handoff
from tests.support.servers import pass_time

_OUTAGE = timedelta(hours=48)
_ONE_INTERVAL = timedelta(minutes=16)
_STEP = timedelta(minutes=1)
"""After an outage everything is done within one interval of the retries, which is a quarter of an hour."""


def _by_the_hour() -> Callable[[], float]:
    """A clock that advances an hour at each reading, as Temporal's does: the pause after a refused login is over."""
    hours = itertools.count()
    return lambda: 3600.0 * next(hours)


def _switch(world: Handoff, what: str, *, off: bool) -> None:
    if what == "erp":
        world.erp.faults.down = off
    else:
        world.org.faults.down(on=off)


@pytest.mark.parametrize("what", ["erp", "salesforce"])
async def test_an_outage_of_two_days_ends_in_one_order_and_a_written_back_number(
    skipping: WorkflowEnvironment, what: str
) -> None:
    """The outage lasts twice as long as Salesforce itself retries, and no one has to do anything."""
    async with handoff(temporal_server=skipping) as world, world.working(subscriber=False, clock=_by_the_hour()):
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        _switch(world, what, off=True)
        await start_order(
            world.client,
            OrderStart(org=world.org.org_id, record=record, route="won-0"),
            Message(id="m-1", channel=Channel.PLATFORM_EVENT, received_at=datetime.now(UTC)),
        )
        await pass_time(skipping, _OUTAGE, step=timedelta(hours=1))
        pending = (await world.order(record).describe()).raw_description.pending_activities
        attempts = pending[0].attempt
        events = (await world.order(record).describe()).history_length
        _switch(world, what, off=False)
        await pass_time(skipping, _ONE_INTERVAL, step=_STEP)
        outcome = await world.order(record).result()

        assert OrderStage.COMPLETED is outcome.stage
        assert 1 == len(world.erp.orders())
        assert world.erp.orders()[0]["number"] == world.number_of(record)
        assert attempts > 150  # really retried, at least every quarter of an hour
        assert events < 20  # and none of it is in the history


async def test_salesforce_refusing_the_write_back_for_two_days_ends_in_a_written_back_number(
    skipping: WorkflowEnvironment,
) -> None:
    """The order exists meanwhile, once; its number arrives when Salesforce takes it."""
    async with handoff(temporal_server=skipping) as world, world.working(subscriber=False, clock=_by_the_hour()):
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        world.org.faults.lock_rows(10_000)
        await start_order(
            world.client,
            OrderStart(org=world.org.org_id, record=record, route="won-0"),
            Message(id="m-1", channel=Channel.PLATFORM_EVENT, received_at=datetime.now(UTC)),
        )
        await pass_time(skipping, _OUTAGE, step=timedelta(hours=1))
        assert 1 == len(world.erp.orders())
        assert world.number_of(record) is None
        world.org.faults.lock_rows(0)
        await pass_time(skipping, _ONE_INTERVAL, step=_STEP)
        outcome = await world.order(record).result()

        assert OrderStage.COMPLETED is outcome.stage
        assert 1 == len(world.erp.orders())
        assert world.erp.orders()[0]["number"] == world.number_of(record)


async def test_a_pile_of_orders_of_thirty_hours_is_done_within_one_interval_without_a_duplicate(
    skipping: WorkflowEnvironment,
) -> None:
    """Without any `retry`, each order's next attempt is at most a quarter of an hour away."""
    async with handoff(temporal_server=skipping) as world, world.working(subscriber=False, clock=_by_the_hour()):
        world.org.seed(20)
        world.erp.faults.down = True
        won = world.org.win_next(20)
        for record in won:
            await start_order(
                world.client,
                OrderStart(org=world.org.org_id, record=record, route="won-0"),
                Message(id=f"m-{record}", channel=Channel.PLATFORM_EVENT, received_at=datetime.now(UTC)),
            )
        await pass_time(skipping, timedelta(hours=30), step=timedelta(hours=1))
        assert [] == world.erp.orders()
        world.erp.faults.down = False
        await pass_time(skipping, _ONE_INTERVAL, step=_STEP)
        for record in won:
            assert OrderStage.COMPLETED is (await world.order(record).result()).stage

        assert 20 == len(world.erp.orders())
        assert {order["number"] for order in world.erp.orders()} == {world.number_of(record) for record in won}
