"""A reader of the event bus dies for good: another process reads on, and none takes over from a reader that lives."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from activities.subscription import CursorPace
from closedwon.demo.stack import Closedwon
from closedwon.ids import OrgId
from closedwon.temporal.channels import channel_state
from tests.support.siege import CHANNEL, Siege, siege

_TIMEOUT = timedelta(seconds=10)


class _Readers:
    """Which of the subscribers reads, as Temporal knows it."""

    def __init__(self, world: Siege) -> None:
        self._world = world
        self.now: Closedwon

    async def look(self) -> bool:
        """Find the reader whose attempt has sent a heartbeat; False while there is none."""
        client = await self._world.client()
        described = await client.get_workflow_handle(self._world.subscription_id).describe()
        for pending in described.raw_description.pending_activities:
            for part in self._world.stack.subscribers:
                if f" {part.pid}@" in pending.last_worker_identity and pending.HasField("last_heartbeat_time"):
                    self.now = part
                    return True
        return False


async def test_the_events_after_a_readers_death_are_read_by_the_other_process(tmp_path: Path) -> None:
    """Two subscribers; the one that reads is killed and stays dead. Before that, it keeps its activity while idle."""
    environment = {"CLOSEDWON_SUBSCRIBER__HEARTBEAT_TIMEOUT": f"{_TIMEOUT.total_seconds():g}s"}
    async with siege(tmp_path, workers=0, subscribers=2, environment=environment) as world:
        deals = await world.add_deals(3)
        readers, org = _Readers(world), OrgId(world.stack.org.connection["org_id"])
        await world.until(readers.look, "a reader")
        heartbeats: set[object] = set()

        async def has_outlived_its_timeout() -> bool:
            state = await channel_state(await world.client(), org, CHANNEL)
            assert 1 == state.attempt
            heartbeats.add(state.heartbeat)
            return len(heartbeats) * CursorPace(_TIMEOUT).idle_interval > 2 * _TIMEOUT

        await world.until(has_outlived_its_timeout, "an idle reader that has lived twice its timeout")

        await world.sell(deals[:1])
        await world.until_started(1)
        dead = readers.now
        await dead.kill()
        await world.sell(deals[1:])
        await world.until_started(3)

        await world.until(readers.look, "the next reader")
        assert dead is not readers.now

        async def has_moved() -> bool:
            return (await world.cursor()).count == 3

        await world.until(has_moved, "the cursor of the next reader after all events")
        await dead.start()
