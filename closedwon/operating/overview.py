"""How everything stands right now, asked of Temporal: orders by stage, what needs attention, pace, queues, the bus."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from activities.holds import FailedCheck
from activities.subscription import Cursor
from closedwon import names, temporal, visibility
from closedwon.operating import erps
from closedwon.settings import Org, Settings

PACE_OVER: Final = timedelta(minutes=5)
"""The time over which orders are counted for the pace."""
_ENOUGH: Final = 200
"""Orders that tell how long they take."""


class Pace(NamedTuple):
    """What happened in the last `PACE_OVER`."""

    begun: int
    ended: int
    median: timedelta | None
    """From the first word to the end; None when nothing ended."""
    most: timedelta | None
    """So fast were 95 of 100."""


class Channel(NamedTuple):
    """One channel of an org's event bus, and who reads it."""

    org: Org
    name: str
    is_started: bool
    is_reading: bool
    """Its activity is with a worker, or about to be; it rests after a refusal otherwise."""
    beat: datetime | None
    """The reader's last sign of life."""
    cursor: Cursor | None
    problem: str
    """Why the last attempt ended."""
    attempt: int


class Held(NamedTuple):
    """A safety check that fails in a running worker; orders wait for it."""

    failed: FailedCheck
    since: datetime


class Overview(NamedTuple):
    """One look."""

    at: datetime
    stages: Mapping[names.OrderStage, visibility.Census]
    reasons: Counter[str]
    pace: Pace
    queues: Sequence[erps.Queue]
    channels: Sequence[Channel]
    gaps: Sequence[temporal.OpenGap] = ()
    held: Sequence[Held] = ()
    findings: Sequence[temporal.AuditFinding] = ()
    """Of the newest scheduled audit."""

    @property
    def unfinished(self) -> int:
        """Orders that are not done."""
        return sum(census.number for census in self.stages.values())

    @property
    def oldest(self) -> timedelta:
        """Age of the oldest of them."""
        return max(census.oldest for census in self.stages.values())


async def look(client: Client, settings: Settings) -> Overview:
    """Look once. Raises Temporal's `RPCError`."""
    counted, pace, queues, read, gaps, held = await asyncio.gather(
        asyncio.gather(*(visibility.census(client, visibility.at_stage(stage)) for stage in names.UNFINISHED)),
        _pace(client),
        erps.queues(client, [erp.name for erp in settings.erps]),
        channels(client, settings),
        _gaps(client),
        _held(client),
    )
    findings = await temporal.audit_findings(client)
    stages = dict(zip(names.UNFINISHED, counted, strict=True))
    attention = stages[names.OrderStage.ATTENTION]
    reasons = await visibility.reasons(client, attention)
    return Overview(datetime.now(UTC), stages, reasons, pace, queues, read, gaps, held, findings)


async def _gaps(client: Client) -> list[temporal.OpenGap]:
    return [gap async for gap in temporal.open_gaps(client)]


async def _held(client: Client) -> list[Held]:
    found = []
    async for one in client.list_workflows(f"WorkflowType = '{names.HOLD_WORKFLOW}' AND ExecutionStatus = 'Running'"):
        failed = await one.memo_value(names.MEMO_HOLD, None, type_hint=FailedCheck)
        if failed is not None:
            found.append(Held(failed, one.start_time))
    return sorted(found, key=lambda held: held.since)


async def _pace(client: Client) -> Pace:
    since = (datetime.now(UTC) - PACE_OVER).isoformat()
    orders = f"WorkflowType = '{names.ORDER_WORKFLOW}'"
    ended = f"{orders} AND CloseTime > '{since}'"
    begun, number = await asyncio.gather(
        client.count_workflows(f"{orders} AND StartTime > '{since}'"), client.count_workflows(ended)
    )
    took = sorted([
        one.close_time - one.start_time
        async for one in client.list_workflows(ended, limit=_ENOUGH)
        if one.close_time is not None
    ])  # fmt: skip
    if not took:
        return Pace(begun.count, number.count, None, None)
    return Pace(begun.count, number.count, took[len(took) // 2], took[int(0.95 * (len(took) - 1))])


async def channels(client: Client, settings: Settings) -> list[Channel]:
    """Ask about every channel that a route reads."""
    read = [(settings.org(route.org), channel) for route in settings.routes for channel in route.events]
    return await asyncio.gather(*(_channel(client, org, channel) for org, channel in read))


async def _channel(client: Client, org: Org, channel: str) -> Channel:
    handle = client.get_workflow_handle(names.subscription_workflow_id(org.id, channel))
    nobody = Channel(org, channel, False, False, None, None, "", 0)  # noqa: FBT003
    try:
        described = await handle.describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return nobody
    if described.status is not WorkflowExecutionStatus.RUNNING:
        return nobody._replace(problem=f"it was {described.status.name.lower() if described.status else 'ended'}")
    found = nobody._replace(is_started=True)
    for pending in described.raw_description.pending_activities:
        found = await _reading(client, found, pending)
    return found


async def _reading(client: Client, channel: Channel, pending: PendingActivityInfo) -> Channel:
    beats = pending.heartbeat_details.payloads
    cursor = (await client.data_converter.decode(beats, [Cursor]))[0] if beats else None
    has_failed = pending.HasField("last_failure")
    return channel._replace(
        is_reading=True,
        beat=pending.last_heartbeat_time.ToDatetime(UTC) if pending.HasField("last_heartbeat_time") else None,
        cursor=cursor,
        problem=(await failure_text(client, pending)) if has_failed else "",
        attempt=pending.attempt,
    )


async def failure_text(client: Client, pending: PendingActivityInfo) -> str:
    """Why the last attempt of an activity failed, in our words; they hold no customer's data."""
    return str(await client.data_converter.decode_failure(pending.last_failure))
