"""Case R6: the clock of a worker was ahead during one sweep; nothing between is left out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from temporalio.testing import ActivityEnvironment

from activities.sweeps import SweepActivities
from closedwon.model.sweeps import OpenSweep
from tests.support.handoff import handoff
from workers.connections import Connections

_NOW = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)
_SWEEP = {"lag": "5m", "overlap": "10m", "lookback": "24h", "where": "IsWon = TRUE"}


class _Org:
    """Salesforce's clock."""

    async def ask_now(self) -> datetime:
        return _NOW


@pytest.mark.parametrize(
    ("mark", "since"),
    [
        (_NOW - timedelta(minutes=20), _NOW - timedelta(minutes=30)),
        (None, _NOW - timedelta(hours=24, minutes=5)),
        (_NOW + timedelta(hours=1), _NOW - timedelta(hours=24, minutes=5)),
    ],
    ids=["the last sweep's end", "no sweep yet", "a clock that was ahead"],
)
async def test_r6_a_mark_in_the_future_counts_as_unknown(mark: datetime | None, since: datetime) -> None:
    """And a span ends by Salesforce's clock, whatever the worker's own says."""
    async with handoff(sweep=_SWEEP) as world:
        sweeps = SweepActivities(world.settings, {world.org.org_id: cast("Any", _Org())})
        request = OpenSweep(org=world.org.org_id, route="won-0", mark=mark)
        opened = await ActivityEnvironment().run(sweeps.open_sweep, request)
    assert (since, _NOW - timedelta(minutes=5)) == (opened.since, opened.until)


async def test_r6_the_time_is_asked_of_salesforce() -> None:
    """A process that has made no call yet makes one, and then counts from the `Date` of the answer."""
    async with handoff() as world, Connections(world.settings) as connections:
        client = connections.salesforce[world.org.org_id]
        asked = await client.ask_now()
        assert client.usage is not None
        assert asked <= client.now()
