"""What a worker sees when it looks at Temporal from outside the orders, on a real server."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from closedwon import names
from closedwon.acceptance import order_start
from closedwon.emulators.salesforce.config import OrgConfig
from closedwon.emulators.salesforce.server import SalesforceEmulator
from closedwon.erp.breaker import PROBE, Phase
from closedwon.ids import RecordId
from closedwon.model.messages import Message, UnparseableMessage
from closedwon.model.routes import Channel
from closedwon.model.sweeps import Gap, GapReason, SweepStart
from closedwon.operations.erps import limit
from closedwon.temporal.messages import park_unparseable
from closedwon.temporal.orders import start_order
from closedwon.temporal.queues import write_breaker_entry
from closedwon.temporal.search_attributes import ensure_search_attributes, missing_search_attributes
from tests.support.breaker import until_phase
from tests.support.handoff import CHANNEL, Handoff, handoff, until
from tests.support.metrics import Gauges
from workers.looking import looking
from workers.observer import Observer

_ROUNDED = timedelta(seconds=0.1)
"""Two clocks are read, one after the other."""

LABELS = {"org": "org-0", "channel": CHANNEL}
POLLERS = {"queue": "subscriber", "kind": "activity"}


async def _start(world: Handoff, number: int) -> str:
    record = RecordId(f"006{number:012d}")
    start = order_start(world.settings, world.settings.routes[0], record)
    message = Message(id=f"m-{number}", channel=Channel.PLATFORM_EVENT, received_at=datetime.now(UTC))
    await start_order(world.client, start, message)
    return names.order_workflow_id(start.org, record)


async def _hold(world: Handoff, number: int) -> None:
    await park_unparseable(
        world.client,
        UnparseableMessage(
            id=f"m-{number}",
            org=world.org.org_id,
            channel=Channel.PLATFORM_EVENT,
            source=CHANNEL,
            received_at=datetime.now(UTC),
            problem="?",
            raw="{}",
        ),
    )


async def _is_known(client: Client) -> bool:
    try:
        await missing_search_attributes(client)
    except RPCError:
        return False
    return True


async def test_what_waits_is_reported_while_no_worker_lives() -> None:
    """Anyone who is on call sees how much waits, since when and for what, even when no worker is left."""
    gauges = Gauges()
    async with handoff() as world:
        first = await _start(world, 0)
        began = (await world.client.get_workflow_handle(first).describe()).start_time
        await asyncio.gather(*(_start(world, number) for number in range(1, 120)), _hold(world, 0))
        observer = Observer(world.client, world.settings, gauges.metrics)

        workflows = {"queue": "orders", "kind": "workflow"}
        looked = began

        async def all_seen() -> bool:
            nonlocal looked
            looked = datetime.now(UTC)
            await observer.observe()
            seen = gauges.get("open_orders", {"stage": "ordering"}), gauges.get("backlog", workflows)
            return seen == (120, 121)

        await until(all_seen)

        oldest = timedelta(seconds=gauges.get("oldest_open_order_seconds", {"stage": "ordering"}) or 0)
        age = datetime.now(UTC) - began
        assert looked - began <= oldest + _ROUNDED <= age + 2 * _ROUNDED
        assert 1 == gauges.get("open_orders", {"stage": "attention"})
        assert 1 == gauges.get("attention_now", {"reason": "invalid-message"})
        assert 0 == gauges.get("attention_now", {"reason": "retries-exhausted"})
        assert 0 == gauges.get("open_orders", {"stage": "loading"})
        assert 0 == gauges.get("pollers", workflows)
        assert 0 < (gauges.get("backlog_age_seconds", workflows) or 0) <= age.total_seconds()
        assert 0 == gauges.get("queue_paused", {"queue": "erp-stub"})
        assert 0 <= (gauges.get("reader_silence_seconds", LABELS) or -1) <= age.total_seconds()


async def test_what_is_done_is_no_longer_reported() -> None:
    """A gauge falls to 0 when nothing is left: an alert that has fired ends."""
    gauges = Gauges()
    async with handoff() as world:
        order = await _start(world, 0)
        await _hold(world, 0)
        observer = Observer(world.client, world.settings, gauges.metrics)

        async def sees(orders: int, messages: int) -> bool:
            await observer.observe()
            seen = (
                gauges.get("open_orders", {"stage": "ordering"}),
                gauges.get("attention_now", {"reason": "invalid-message"}),
            )
            return seen == (orders, messages)

        await until(lambda: sees(1, 1))
        for workflow_id in (order, names.unparseable_message_workflow_id(world.org.org_id, "m-0")):
            await world.client.get_workflow_handle(workflow_id).terminate()
        await until(lambda: sees(0, 0))

        assert 0 == gauges.get("oldest_open_order_seconds", {"stage": "ordering"})


async def test_a_reader_that_gets_no_further_grows_silent() -> None:
    """A dead process's reports vanish with it, and one that cannot reach the bus still heartbeats: both are seen."""
    gauges = Gauges()
    async with (
        SalesforceEmulator.running(config=OrgConfig(poll_timeout=timedelta(milliseconds=500))) as org,
        handoff(orgs=[org]) as world,
    ):
        observer = Observer(world.client, world.settings, gauges.metrics)

        async def silence() -> float:
            await observer.observe()
            return gauges.get("reader_silence_seconds", LABELS) or 0.0

        async def is_silent() -> bool:
            return await silence() > 4.5

        async def is_heard() -> bool:
            return (
                await silence() < 3.5 and (gauges.get("pollers", {"queue": "subscriber", "kind": "activity"}) or 0) > 0
            )

        async with world.working():
            await until(is_heard)
            org.faults.down()
            await until(is_silent)
            org.faults.down(on=False)
            await until(is_heard)
        await until(is_silent)


async def test_an_open_gap_is_reported_without_a_worker() -> None:
    """A gap is counted, with its age, as long as its sweep has not come to its end; no worker is needed."""
    gauges = Gauges()
    labels = {"org": "org-0", "route": "won-0"}
    since = datetime.now(UTC) - timedelta(hours=2)
    gap = Gap(since=since, until=since + timedelta(hours=1), reason=GapReason.BUS_MOVED, route="won-0")
    async with handoff() as world:
        observer = Observer(world.client, world.settings, gauges.metrics)
        await observer.observe()
        assert (0, 0) == (gauges.get("open_gaps", labels), gauges.get("oldest_open_gap_seconds", labels))
        await world.client.start_workflow(
            names.SWEEP_WORKFLOW,
            SweepStart(org=world.org.org_id, route="won-0", gap=gap),
            id=names.gap_workflow_id(world.org.org_id, "won-0", gap.since, gap.until),
            task_queue=names.ORDERS_QUEUE,
            memo={names.MEMO_GAP: gap},
        )

        async def is_reported() -> bool:
            await observer.observe()
            return gauges.get("open_gaps", labels) == 1

        await until(is_reported)
        assert 7200 == pytest.approx(gauges.get("oldest_open_gap_seconds", labels), abs=60)


async def test_a_paused_erp_is_reported() -> None:
    """Somebody who has forgotten to resume an ERP is reminded."""
    gauges = Gauges()
    async with handoff() as world:
        observer = Observer(world.client, world.settings, gauges.metrics)
        seen = []
        for orders_per_second in (0, None):
            await limit(world.client, "stub", orders_per_second, erps=["stub"], reason="a test", by="a test")
            await observer.observe()
            seen.append(gauges.get("queue_paused", {"queue": "erp-stub"}))

    assert [1, 0] == seen


async def test_an_erp_that_no_worker_can_connect_to_is_reported() -> None:
    """By the limit that the workers have set."""
    gauges = Gauges()
    async with handoff() as world:
        observer = Observer(world.client, world.settings, gauges.metrics)
        seen = []
        for limit_of_workers, phase in ((PROBE, Phase.PROBING), (None, Phase.OPEN)):
            queue = names.erp_queue("stub")
            await write_breaker_entry(world.client, queue, limit_of_workers, reason="a test", by="a test")
            await until_phase(world, phase)
            await observer.observe()
            seen.append(gauges.get("queue_unreachable", {"queue": queue}))

    assert [1, 0] == seen


async def test_observing_is_never_in_the_way(caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be seen is logged once, not every time, and looked at again; a process that ends does not wait."""
    gauges = Gauges()
    async with handoff() as world:
        elsewhere = Client(world.client.service_client, namespace="elsewhere")
        observer = Observer(elsewhere, world.settings, gauges.metrics)
        async with looking({"observe": observer.observe}, timedelta(milliseconds=50)):
            await until(lambda: "cannot observe" in caplog.text)
            await world.client.workflow_service.register_namespace(
                RegisterNamespaceRequest(
                    namespace="elsewhere", workflow_execution_retention_period=Duration(seconds=86400)
                )
            )
            await until(partial(_is_known, elsewhere))
            await ensure_search_attributes(elsewhere)
            await until(lambda: gauges.get("observed_timestamp_seconds") is not None)
        assert 1 == caplog.text.count("cannot observe")
