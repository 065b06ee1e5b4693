"""Case R6: the clock of a worker was ahead for a while; nothing between is left out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from temporalio.common import MetricMeter
from temporalio.testing import ActivityEnvironment

from activities.messages import MessageActivities
from activities.subscription import SubscriptionActivities
from activities.sweeps import SweepActivities
from closedwon.model.subscriptions import Cursor, Subscribe
from closedwon.model.sweeps import OpenSweep
from closedwon.salesforce.bus.events import EventBatch
from closedwon.telemetry.metrics import Metrics
from tests.support.handoff import CHANNEL, handoff
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


class _Quiet:
    """A bus that says once that there is nothing new, and then nothing at all."""

    def __init__(self, stopping: asyncio.Event) -> None:
        self._stopping = stopping

    async def open(self) -> None: ...
    async def subscribe(self, channel: str, position: str) -> None: ...
    async def close(self) -> None: ...

    async def batches(self) -> AsyncIterator[EventBatch]:
        yield EventBatch()
        self._stopping.set()
        await asyncio.get_running_loop().create_future()


async def test_r6_a_reader_whose_clock_is_ahead_puts_no_mark_into_the_future() -> None:
    """A gap begins where nothing was missing; an hour later, and no sweep would look at that hour."""
    stopping, began = asyncio.Event(), datetime.now(UTC) - timedelta(hours=1)  # by Temporal's clock, an hour behind
    async with handoff() as world:
        messages = MessageActivities(world.settings, world.client, Metrics(MetricMeter.noop))
        reader = SubscriptionActivities(world.settings, messages, lambda _org: _Quiet(stopping), stopping)
        environment = ActivityEnvironment()
        environment.info = replace(environment.default_info(), started_time=began)
        before = Cursor(replay_id="42", count=7)
        found = await environment.run(reader.subscribe, Subscribe(org=world.org.org_id, channel=CHANNEL, cursor=before))
    assert found.cursor.complete_until is not None
    assert began <= found.cursor.complete_until < began + timedelta(minutes=5)
