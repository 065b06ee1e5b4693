"""The heartbeats of a reader of the event bus, as the server counts them."""

from __future__ import annotations

import time
from datetime import timedelta

from activities.subscription import CursorPace
from closedwon.emulators.ports import free_port
from closedwon.emulators.salesforce.config import OrgConfig
from closedwon.emulators.salesforce.server import SalesforceEmulator
from closedwon.temporal.channels import channel_state
from tests.support.actions import HEARTBEAT, billed_actions
from tests.support.handoff import CHANNEL, handoff, until
from tests.support.servers import start_temporal

_TIMEOUT = timedelta(seconds=16)
"""So that an idle reader sends a heartbeat every nine seconds."""


async def test_a_reader_sends_fewer_heartbeats_while_nothing_comes() -> None:
    """A cursor that moves reaches the server every five seconds, one that stands still is a sign of life only.

    The bus answers with nothing every second, which does not count as a move.
    """
    port = free_port()
    async with (
        await start_temporal(metrics_port=port) as server,
        SalesforceEmulator.running(config=OrgConfig(poll_timeout=timedelta(seconds=1))) as org,
        handoff(temporal_server=server, orgs=[org]) as world,
    ):
        subscriber = world.settings.subscriber.model_copy(update={"heartbeat_timeout": _TIMEOUT})
        world.settings = world.settings.model_copy(update={"subscriber": subscriber})
        org.seed(1000)

        async def sent() -> int:
            return (await billed_actions(port))[HEARTBEAT]

        async def is_idle() -> bool:
            """The first two say that it connects, and that it is connected."""
            return await sent() > 2

        async def two_heartbeats(*, deals: int) -> float:
            """Win deals until the server has received two more heartbeats; the seconds that they took."""
            began, before = time.monotonic(), await sent()

            async def have_come() -> bool:
                org.win_next(deals)
                return await sent() >= before + 2

            await until(have_come, poll=0.2)
            return time.monotonic() - began

        async with world.working():
            await until(is_idle)
            idle = await two_heartbeats(deals=0)
            moving = await two_heartbeats(deals=1)
            state = await channel_state(world.client, org.org_id, CHANNEL)

        assert 2 * CursorPace(_TIMEOUT).idle_interval.total_seconds() - 1 <= idle  # it is looked at every 0.2 seconds
        assert moving < idle
        assert state.cursor is not None
        assert 0 < state.cursor.count
        assert 1 == state.attempt  # no worker took over from the live reader
