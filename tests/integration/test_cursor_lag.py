"""How far the reader says that it is behind the event bus."""

from __future__ import annotations

from closedwon.localorg.config import OrgConfig
from closedwon.localorg.server import LocalOrg
from tests.support.handoff import CHANNEL, handoff, until
from tests.support.metrics import Gauges

LABELS = {"org": "org-0", "channel": CHANNEL}


async def test_a_reader_is_behind_until_the_bus_has_nothing_new() -> None:
    """Lag is what waits, not how long nothing was won; a reader that has stopped leaves no lag that never ends."""
    gauges = Gauges()

    def lag() -> float:
        return gauges.get("cursor_lag_seconds", LABELS) or 0.0

    async with LocalOrg.running(config=OrgConfig(poll_timeout_s=1.5)) as org, handoff(orgs=[org]) as world:
        org.seed(2)
        async with world.working(metrics=gauges.metrics):
            await until(lambda: gauges.get("cursor_lag_seconds", LABELS) == 0)
            org.win_next(1)
            await until(lambda: lag() > 0)
            await until(lambda: lag() == 0)
            org.win_next(1)
            await until(lambda: lag() > 0)

        assert 0 == lag()
