"""The current state, as Temporal reports it: orders by stage, attention, throughput, queues, channels, gaps, holds."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from temporalio.client import Client

from closedwon import names
from closedwon.model.audits import AuditFinding
from closedwon.model.checks import FailedCheck
from closedwon.operations import erps
from closedwon.settings import Org, Settings
from closedwon.temporal import census
from closedwon.temporal.audits import audit_findings
from closedwon.temporal.channels import ChannelState, channel_state
from closedwon.temporal.sweeps import OpenGap, open_gaps
from closedwon.temporal.visibility import RUNNING, all_of, at_stage, closed_since, of_type, started_since

THROUGHPUT_OVER: Final = timedelta(minutes=5)
"""The time over which throughput is counted."""
_ENOUGH: Final = 200
"""Maximum number of orders from which durations are computed."""


class Throughput(NamedTuple):
    """What happened in the last `THROUGHPUT_OVER`."""

    begun: int
    ended: int
    median: timedelta | None
    """From the first notification to the end; None if nothing ended."""
    most: timedelta | None
    """The 95th percentile."""


class ChannelStatus(NamedTuple):
    """One channel of an org's event bus, and its subscription."""

    org: Org
    name: str
    state: ChannelState


class Held(NamedTuple):
    """A safety check that fails in a running worker; orders wait for it."""

    failed: FailedCheck
    since: datetime


class Overview(NamedTuple):
    """The state at one time."""

    at: datetime
    stages: Mapping[names.OrderStage, census.Census]
    reasons: Counter[str]
    throughput: Throughput
    queues: Sequence[erps.Queue]
    channels: Sequence[ChannelStatus]
    gaps: Sequence[OpenGap] = ()
    held: Sequence[Held] = ()
    findings: Sequence[AuditFinding] = ()
    """Of the newest scheduled audit."""

    @property
    def unfinished(self) -> int:
        """Orders that are not done."""
        return sum(found.number for found in self.stages.values())

    @property
    def oldest(self) -> timedelta:
        """Age of the oldest of them."""
        return max(found.oldest for found in self.stages.values())


async def look(client: Client, settings: Settings) -> Overview:
    """Read the state. Raises Temporal's `RPCError`, or `CodecError` if a key is missing."""
    counted, throughput, queues, read, gaps, held = await asyncio.gather(
        asyncio.gather(*(census.census(client, at_stage(stage)) for stage in names.UNFINISHED)),
        _throughput(client),
        erps.queues(client, [erp.name for erp in settings.erps]),
        channels(client, settings),
        _gaps(client),
        _held(client),
    )
    findings = await audit_findings(client)
    stages = dict(zip(names.UNFINISHED, counted, strict=True))
    attention = stages[names.OrderStage.ATTENTION]
    reasons = await census.reasons(client, attention)
    return Overview(datetime.now(UTC), stages, reasons, throughput, queues, read, gaps, held, findings)


async def _gaps(client: Client) -> list[OpenGap]:
    return [gap async for gap in open_gaps(client)]


async def _held(client: Client) -> list[Held]:
    found = []
    async for one in client.list_workflows(all_of(of_type(names.HOLD_WORKFLOW), RUNNING)):
        failed = await one.memo_value(names.MEMO_HOLD, None, type_hint=FailedCheck)
        if failed is not None:
            found.append(Held(failed, one.start_time))
    return sorted(found, key=lambda held: held.since)


async def _throughput(client: Client) -> Throughput:
    since = datetime.now(UTC) - THROUGHPUT_OVER
    orders = of_type(names.ORDER_WORKFLOW)
    ended = all_of(orders, closed_since(since))
    begun, number = await asyncio.gather(
        client.count_workflows(all_of(orders, started_since(since))), client.count_workflows(ended)
    )
    took = sorted([
        one.close_time - one.start_time
        async for one in client.list_workflows(ended, limit=_ENOUGH)
        if one.close_time is not None
    ])  # fmt: skip
    if not took:
        return Throughput(begun.count, number.count, None, None)
    return Throughput(begun.count, number.count, took[len(took) // 2], took[int(0.95 * (len(took) - 1))])


async def channels(client: Client, settings: Settings) -> list[ChannelStatus]:
    """Describe the subscription of every channel that a route reads."""
    read = [(settings.org(route.org), channel) for route in settings.routes for channel in route.events]
    states = await asyncio.gather(*(channel_state(client, org.id, channel) for org, channel in read))
    return [ChannelStatus(org, channel, state) for (org, channel), state in zip(read, states, strict=True)]
