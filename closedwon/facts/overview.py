"""The current state, as Temporal reports it: orders by stage, attention, queues, readers, gaps, holds, throughput.

`look` reads all of it at once; each part has a function of its own, for who asks the questions one by one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from temporalio.client import Client

from closedwon import names
from closedwon.errors import AttentionReason
from closedwon.facts.queues import Queue, QueueMap, erp_queues, queues
from closedwon.facts.readers import Reader, readers
from closedwon.model.audits import AuditFinding
from closedwon.model.checks import FailedCheck
from closedwon.settings import Settings
from closedwon.temporal import census
from closedwon.temporal.audits import audit_findings
from closedwon.temporal.sweeps import OpenGap, open_gaps
from closedwon.temporal.visibility import RUNNING, WEDGED, all_of, at_stage, closed_since, of_type, started_since

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


class Held(NamedTuple):
    """A safety check that fails in a running worker; orders wait for it."""

    failed: FailedCheck
    since: datetime


class Overview(NamedTuple):
    """The state at one time."""

    at: datetime
    stages: Mapping[names.OrderStage, census.Census]
    """Of all orders that are open, also those that are only followed."""
    reasons: Counter[str]
    queues: QueueMap
    erps: Sequence[Queue]
    readers: Sequence[Reader]
    gaps: Sequence[OpenGap] = ()
    held: Sequence[Held] = ()
    findings: Sequence[AuditFinding] = ()
    """Of the newest scheduled audit."""
    wedged: int = 0
    """Open workflows that cannot continue: their code fails, does not fit their history, or lacks a key."""

    @property
    def unfinished(self) -> int:
        """Orders that are not done."""
        return sum(self.stages[stage].number for stage in names.UNFINISHED)

    @property
    def oldest(self) -> timedelta:
        """Age of the oldest of them."""
        return max(self.stages[stage].oldest for stage in names.UNFINISHED)


async def look(client: Client, settings: Settings, known: Iterable[str] = AttentionReason) -> Overview:
    """Read all of it, side by side; of many attention reasons, only the `known` ones are counted.

    Raises Temporal's `RPCError`, or `CodecError` if a key is missing.
    """
    (counted, found, read), (gaps, failing, findings, number) = await asyncio.gather(
        asyncio.gather(stages(client), queues(client, settings), readers(client, settings)),
        asyncio.gather(gaps_of(client), held(client), audit_findings(client), wedged(client)),
    )
    reasons = await reasons_of(client, counted, known)
    erps = erp_queues(found, settings)
    return Overview(datetime.now(UTC), counted, reasons, found, erps, read, gaps, failing, findings, number)


async def stages(client: Client) -> dict[names.OrderStage, census.Census]:
    """Count what is open by stage. How old those are that are only followed says nothing, and is 0."""
    counted, following = await asyncio.gather(
        asyncio.gather(*(census.census(client, at_stage(stage)) for stage in names.UNFINISHED)),
        client.count_workflows(at_stage(names.OrderStage.FOLLOWING)),
    )
    found = dict(zip(names.UNFINISHED, counted, strict=True))
    return found | {names.OrderStage.FOLLOWING: census.Census(following.count, timedelta(0), None)}


async def reasons_of(
    client: Client,
    counted: Mapping[names.OrderStage, census.Census],
    known: Iterable[str] = AttentionReason,
) -> Counter[str]:
    """Count what needs attention by reason; of many, only the `known` reasons."""
    return await census.reasons(client, counted[names.OrderStage.ATTENTION], known)


async def wedged(client: Client) -> int:
    """How many open workflows cannot continue."""
    return (await client.count_workflows(WEDGED)).count


async def gaps_of(client: Client) -> list[OpenGap]:
    """The gaps that no sweep has covered."""
    return [gap async for gap in open_gaps(client)]


async def held(client: Client) -> list[Held]:
    """The safety checks that fail in running workers, the oldest first."""
    found = []
    async for one in client.list_workflows(all_of(of_type(names.HOLD_WORKFLOW), RUNNING)):
        failed = await one.memo_value(names.MEMO_HOLD, None, type_hint=FailedCheck)
        if failed is not None:
            found.append(Held(failed, one.start_time))
    return sorted(found, key=lambda held: held.since)


async def throughput(client: Client) -> Throughput:
    """Count what began and ended lately."""
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
