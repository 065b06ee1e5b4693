"""Case R1: the cursor travels with the failure that ends a reader."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from temporalio.common import MetricMeter
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities import passing
from activities.messages import MessageActivities
from activities.subscription import SubscriptionActivities
from closedwon import names
from closedwon.ids import OrgId
from closedwon.model.subscriptions import Cursor, Subscribe
from closedwon.model.sweeps import GapReason
from closedwon.salesforce.bus.events import EventStream
from closedwon.streaks import Streaks
from closedwon.telemetry.metrics import Metrics
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


async def test_r1_a_worker_that_does_not_know_the_route_leaves_the_position_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its settings are older or newer; when a person is asked, what was read since the last hand-over stays read."""
    monkeypatch.setattr(passing, "_STREAKS", Streaks(iter([0.0, 901.0]).__next__))
    async with handoff() as world:
        other = world.settings.model_copy(update={"routes": ()})
        messages = MessageActivities(other, world.client, Metrics(MetricMeter.noop))
        reader = SubscriptionActivities(other, messages, _no_stream, asyncio.Event())
        environment, newer = ActivityEnvironment(), Cursor(replay_id="42", count=7)
        environment.info = replace(environment.default_info(), heartbeat_details=[newer.model_dump(mode="json")])
        request = Subscribe(org=world.org.org_id, channel=CHANNEL, cursor=Cursor(replay_id="1", count=1))
        failures = []
        for _ in range(2):
            with pytest.raises(ApplicationError, match="no route") as raised:
                await environment.run(reader.subscribe, request)
            failures.append(raised.value)
    assert [False, True] == [failure.non_retryable for failure in failures]
    assert newer == failures[1].details[1]


def _no_stream(_org: OrgId) -> EventStream:
    raise AssertionError("nothing connects")


async def test_r1_a_gap_that_an_outage_has_opened_does_not_end_the_alert_of_its_cause() -> None:
    """The bus forgets events after 72 hours, whatever keeps the reader from it: nothing has connected by that."""
    async with handoff() as world:
        messages = MessageActivities(world.settings, world.client, Metrics(MetricMeter.noop))
        reader = SubscriptionActivities(world.settings, messages, _not_connected, asyncio.Event())
        environment, now = ActivityEnvironment(), datetime.now(UTC)
        environment.info = replace(environment.default_info(), started_time=now)
        before = Cursor(caught_up_at=now - timedelta(hours=73))
        found = await environment.run(reader.subscribe, Subscribe(org=world.org.org_id, channel=CHANNEL, cursor=before))
    assert found.gap is not None
    assert (GapReason.RETENTION_PASSED, before.caught_up_at) == (found.gap.reason, found.gap.since)
    assert not found.has_connected


def _not_connected(_org: OrgId) -> EventStream:
    return cast("EventStream", None)
