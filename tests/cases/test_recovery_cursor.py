"""Case R1: the cursor travels with the failure that ends a reader."""

from __future__ import annotations

from closedwon import names
from closedwon.model.subscriptions import Cursor
from tests.support.handoff import CHANNEL, Handoff, handoff, until
from workflows.subscription import SubscriptionWorkflow

DENIED = "403:denied_by_security_policy:create_denied"


async def cursor_of(world: Handoff) -> Cursor:
    """The position that the workflow has stored."""
    workflow = names.subscription_workflow_id(world.org.org_id, CHANNEL)
    return await world.client.get_workflow_handle(workflow).query(SubscriptionWorkflow.cursor)


async def test_r1_a_refused_subscription_goes_on_where_it_was() -> None:
    """No event is read again after a refusal, and the reader is back as soon as the refusal is over."""
    async with handoff() as world, world.working():
        world.org.seed(5)
        deals = world.org.win_next(5)
        await world.until_written_back(*deals)
        assert 0 == (await cursor_of(world)).count  # it is handed over once an hour
        world.org.faults.cometd_error("/meta/subscribe", DENIED, times=1)
        world.org.cometd.forget_clients()

        async def has_arrived() -> bool:
            return (await cursor_of(world)).count == 5

        await until(has_arrived)
        sent = world.org.cometd.events_sent
        world.org.seed(1)
        (later,) = world.org.win_next(1)
        await world.until_written_back(later)

        assert 5 == sent
        assert 6 == world.org.cometd.events_sent
