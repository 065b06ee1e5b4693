"""The lag that a reader of the event bus reports."""

from __future__ import annotations

from datetime import timedelta

from closedwon.emulators.salesforce.config import OrgConfig
from closedwon.emulators.salesforce.server import SalesforceEmulator
from tests.support.handoff import CHANNEL, handoff, until
from tests.support.metrics import Gauges

LABELS = {"org": "org-0", "channel": CHANNEL}


async def test_a_reader_is_behind_until_the_bus_has_nothing_new() -> None:
    """Lag is the age of unread events, not the time since the last win; a reader that stops resets it to zero."""
    gauges = Gauges()

    def lag() -> float:
        return gauges.get("cursor_lag_seconds", LABELS) or 0.0

    async with (
        SalesforceEmulator.running(config=OrgConfig(poll_timeout=timedelta(seconds=1.5))) as org,
        handoff(orgs=[org]) as world,
    ):
        org.seed(2)
        async with world.working(metrics=gauges.metrics):
            await until(lambda: gauges.get("cursor_lag_seconds", LABELS) == 0)
            org.win_next(1)
            await until(lambda: lag() > 0)
            await until(lambda: lag() == 0)
            org.win_next(1)
            await until(lambda: lag() > 0)

        assert 0 == lag()
