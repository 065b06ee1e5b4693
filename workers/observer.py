"""Reads Temporal periodically for the metrics that no single order can report.

How many orders stand where, and since when; which need attention; what waits for a worker; whether the bus is read.
Every process with the role `orders` does so, and all report the same, so that no single failure hides it. It costs
about one small request per stage, queue and channel, one after the other, and never touches an order. A failure is
shown by the log (`workers.looking`) and the age of `closedwon_observed_timestamp_seconds`.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from temporalio.client import Client

from closedwon import names
from closedwon.audit.kinds import FindingKind
from closedwon.errors import AttentionReason
from closedwon.ids import OrgId
from closedwon.model.subscriptions import Cursor
from closedwon.names import OrderStage
from closedwon.settings import Settings
from closedwon.telemetry.metrics import Metrics
from closedwon.temporal import census
from closedwon.temporal.audits import audit_findings
from closedwon.temporal.channels import channel_state
from closedwon.temporal.queues import ACTIVITIES, WORKFLOWS, Kind, queue_state
from closedwon.temporal.sweeps import open_gaps
from closedwon.temporal.visibility import at_stage

_KINDS: Final = {WORKFLOWS: "workflow", ACTIVITIES: "activity"}


class _BusChannel(NamedTuple):
    org: str
    org_id: OrgId
    name: str


class Observer:
    """Sets the gauges."""

    def __init__(self, client: Client, settings: Settings, metrics: Metrics) -> None:
        self._client = client
        self._metrics = metrics
        self._channels = [
            _BusChannel(route.org, settings.org(route.org).id, channel)
            for route in settings.routes
            for channel in route.events
        ]
        self._routes = {names.RouteKey(settings.org(route.org).id, route.name): route.org for route in settings.routes}
        self._orgs = {org.id: org.name for org in settings.orgs}
        self._kinds: set[str] = set(FindingKind)
        self._queues = [
            (names.ORDERS_QUEUE, WORKFLOWS),
            (names.ORDERS_QUEUE, ACTIVITIES),
            *((names.erp_queue(erp), ACTIVITIES) for erp in (*(erp.name for erp in settings.erps), None)),
            *((names.SUBSCRIBER_QUEUE, kind) for kind in _KINDS if self._channels),
        ]
        self._reasons: set[str] = set(AttentionReason)
        # The silence of a channel without a reader counts from the start of this process.
        self._read_at = dict.fromkeys(self._channels, datetime.now(UTC))
        self._cursors: dict[_BusChannel, Cursor] = {}
        self.open_since: datetime | None = None
        """When the oldest order that was unfinished at the last observation began; None where there was none."""

    async def observe(self) -> None:
        """Set all gauges once. Raises Temporal's `RPCError`."""
        began = [await self._observe_stage(stage) for stage in names.UNFINISHED]
        for queue, kind in self._queues:
            await self._observe_queue(queue, kind)
        for channel in self._channels:
            await self._observe_channel(channel)
        await self._observe_gaps()
        await self._observe_findings()
        self.open_since = min((at for at in began if at is not None), default=None)
        self._metrics.observed_at.set(time.time())

    async def _observe_stage(self, stage: OrderStage) -> datetime | None:
        """Set its gauges, and return when its oldest order began."""
        found = await census.census(self._client, at_stage(stage))
        self._metrics.open_orders.set(found.number, {"stage": stage})
        self._metrics.oldest_order.set(found.oldest.total_seconds(), {"stage": stage})
        if stage is OrderStage.ATTENTION:
            await self._set_reasons(found)
        return datetime.now(UTC) - found.oldest if found.number else None

    async def _set_reasons(self, attention: census.Census) -> None:
        found = await census.reasons(self._client, attention, self._reasons)
        self._reasons |= found.keys()  # with those of a later version, to be set to 0 when they are gone
        for reason in self._reasons:
            self._metrics.attention_now.set(found[reason], {"reason": reason})

    async def _observe_queue(self, queue: str, kind: Kind) -> None:
        state = await queue_state(self._client, queue, kind)
        labels = {"queue": queue, "kind": _KINDS[kind]}
        self._metrics.backlog.set(state.backlog, labels)
        self._metrics.backlog_age.set(state.oldest.total_seconds(), labels)
        self._metrics.pollers.set(len(state.pollers), labels)
        if kind == ACTIVITIES:
            self._metrics.paused.set(int(state.is_paused), {"queue": queue})
            self._metrics.unreachable.set(int(state.breaker.limit is not None), {"queue": queue})

    async def _observe_channel(self, channel: _BusChannel) -> None:
        """Set how long the reader has been silent: since its cursor last changed."""
        state = await channel_state(self._client, channel.org_id, channel.name)
        if state.cursor is not None and state.heartbeat is not None and state.cursor != self._cursors.get(channel):
            self._cursors[channel] = state.cursor
            self._read_at[channel] = state.heartbeat
        silence = datetime.now(UTC) - self._read_at[channel]
        labels = {"org": channel.org, "channel": channel.name}
        self._metrics.reader_silence.set(max(silence.total_seconds(), 0.0), labels)

    async def _observe_gaps(self) -> None:
        now = datetime.now(UTC)
        began: dict[names.RouteKey, list[datetime]] = {}
        async for one in open_gaps(self._client):
            began.setdefault(one.key, []).append(one.gap.since or one.gap.until)
        for key, org in self._routes.items():
            ages = [now - at for at in began.get(key, ())]
            labels = {"org": org, "route": key.route}
            self._metrics.open_gaps.set(len(ages), labels)
            self._metrics.oldest_gap.set(max(ages, default=timedelta(0)).total_seconds(), labels)

    async def _observe_findings(self) -> None:
        found = {(one.org, one.kind): one.number for one in await audit_findings(self._client)}
        self._kinds |= {kind for _, kind in found}  # with those of a later version, to be set to 0 when they are gone
        for org, name in self._orgs.items():
            for kind in self._kinds:
                self._metrics.audit_findings.set(found.get((org, kind), 0), {"org": name, "kind": kind})
