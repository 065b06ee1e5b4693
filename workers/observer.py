"""A look at Temporal from time to time, for the metrics that no single order can tell.

How many orders stand where, and since when; which need attention; what waits for a worker; whether the bus is read.
Every process with the role `orders` looks, and all report the same: one dead process leaves no blind spot. It costs
about one small request per stage, queue and channel, one after the other, and never touches an order. A look that
fails is told in the log and by the age of `closedwon_observed_timestamp_seconds`; the rest goes on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities.subscription import Cursor
from closedwon import names, temporal, visibility
from closedwon.audit.kinds import Kind
from closedwon.errors import AttentionReason
from closedwon.ids import OrgId
from closedwon.names import OrderStage
from closedwon.settings import Settings
from closedwon.telemetry import Metrics

_log = logging.getLogger(__name__)

_WORKFLOWS: Final = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
_ACTIVITIES: Final = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
_KINDS: Final = {_WORKFLOWS: "workflow", _ACTIVITIES: "activity"}


@asynccontextmanager
async def observing(client: Client, settings: Settings, metrics: Metrics) -> AsyncIterator[None]:
    """Look every `telemetry.observe_every` during a block."""
    watching = asyncio.create_task(_watch(Observer(client, settings, metrics), settings.telemetry.observe_every))
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.wait({watching})


async def _watch(observer: Observer, every: timedelta) -> None:
    is_blind = False
    while True:
        try:
            await observer.look()
        except Exception as error:  # noqa: BLE001 - whatever it is: metrics are not worth a worker
            if not is_blind:
                _log.warning("cannot observe for the metrics: %s", type(error).__name__)
            is_blind = True
        else:
            is_blind = False
        await asyncio.sleep(every.total_seconds())


class _Channel(NamedTuple):
    org: str
    org_id: OrgId
    name: str


class Observer:
    """Sets the gauges."""

    def __init__(self, client: Client, settings: Settings, metrics: Metrics) -> None:
        """Take where to look and where to tell."""
        self._client = client
        self._metrics = metrics
        self._channels = [
            _Channel(route.org, settings.org(route.org).id, channel)
            for route in settings.routes
            for channel in route.events
        ]
        self._routes = {names.RouteKey(settings.org(route.org).id, route.name): route.org for route in settings.routes}
        self._orgs = {org.id: org.name for org in settings.orgs}
        self._kinds: set[str] = set(Kind)
        self._queues = [
            (names.ORDERS_QUEUE, _WORKFLOWS),
            (names.ORDERS_QUEUE, _ACTIVITIES),
            *((names.erp_queue(erp), _ACTIVITIES) for erp in (*(erp.name for erp in settings.erps), None)),
            *((names.SUBSCRIBER_QUEUE, kind) for kind in _KINDS if self._channels),
        ]
        self._reasons: set[str] = set(AttentionReason)
        # A channel that nobody has ever read counts from when we began to look.
        self._heard = dict.fromkeys(self._channels, datetime.now(UTC))
        self._cursors: dict[_Channel, Cursor] = {}

    async def look(self) -> None:
        """Look once. Raises Temporal's `RPCError`."""
        for stage in names.UNFINISHED:
            await self._look_at_stage(stage)
        for queue, kind in self._queues:
            await self._look_at_queue(queue, kind)
        for channel in self._channels:
            await self._look_at_channel(channel)
        await self._look_at_gaps()
        await self._look_at_findings()
        self._metrics.observed_at.set(time.time())

    async def _look_at_stage(self, stage: OrderStage) -> None:
        found = await visibility.census(self._client, visibility.at_stage(stage))
        self._metrics.open_orders.set(found.number, {"stage": stage})
        self._metrics.oldest_order.set(found.oldest.total_seconds(), {"stage": stage})
        if stage is OrderStage.ATTENTION:
            await self._tell_reasons(found)

    async def _tell_reasons(self, attention: visibility.Census) -> None:
        found = await visibility.reasons(self._client, attention, self._reasons)
        self._reasons |= found.keys()  # with those of a later version, to be set to 0 when they are gone
        for reason in self._reasons:
            self._metrics.attention_now.set(found[reason], {"reason": reason})

    async def _look_at_queue(self, queue: str, kind: TaskQueueType.ValueType) -> None:
        state = await self._client.workflow_service.describe_task_queue(
            DescribeTaskQueueRequest(
                namespace=self._client.namespace,
                task_queue=TaskQueue(name=queue),
                task_queue_type=kind,
                report_stats=True,
            )
        )
        labels = {"queue": queue, "kind": _KINDS[kind]}
        self._metrics.backlog.set(state.stats.approximate_backlog_count, labels)
        waited = state.stats.approximate_backlog_age.ToTimedelta()
        self._metrics.backlog_age.set(waited.total_seconds(), labels)
        self._metrics.pollers.set(len({one.identity for one in state.pollers}), labels)
        if kind == _ACTIVITIES:
            limit = state.effective_rate_limit
            is_paused = state.HasField("effective_rate_limit") and limit.requests_per_second == 0
            self._metrics.paused.set(int(is_paused), {"queue": queue})

    async def _look_at_channel(self, channel: _Channel) -> None:
        """Ask Temporal, not the reader, when the reader last got on: a dead one tells nothing.

        That it beats is not enough: it also beats while it cannot reach the bus. So its cursor must have changed, which
        every event does, and every word of the bus that there is none.
        """
        handle = self._client.get_workflow_handle(names.subscription_workflow_id(channel.org_id, channel.name))
        labels = {"org": channel.org, "channel": channel.name}
        pending: Sequence[PendingActivityInfo] = ()
        try:
            pending = (await handle.describe()).raw_description.pending_activities
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
        for one in pending:
            for cursor in await self._client.data_converter.decode(one.heartbeat_details.payloads, [Cursor]):
                if cursor != self._cursors.get(channel):
                    self._cursors[channel] = cursor
                    self._heard[channel] = one.last_heartbeat_time.ToDatetime(UTC)
        silence = datetime.now(UTC) - self._heard[channel]
        self._metrics.reader_silence.set(max(silence.total_seconds(), 0.0), labels)

    async def _look_at_gaps(self) -> None:
        now = datetime.now(UTC)
        began: dict[names.RouteKey, list[datetime]] = {}
        async for one in temporal.open_gaps(self._client):
            began.setdefault(one.key, []).append(one.gap.since or one.gap.until)
        for key, org in self._routes.items():
            ages = [now - at for at in began.get(key, ())]
            labels = {"org": org, "route": key.route}
            self._metrics.open_gaps.set(len(ages), labels)
            self._metrics.oldest_gap.set(max(ages, default=timedelta(0)).total_seconds(), labels)

    async def _look_at_findings(self) -> None:
        found = {(one.org, one.kind): one.number for one in await temporal.audit_findings(self._client)}
        self._kinds |= {kind for _, kind in found}  # with those of a later version, to be set to 0 when they are gone
        for org, name in self._orgs.items():
            for kind in self._kinds:
                self._metrics.audit_findings.set(found.get((org, kind), 0), {"org": name, "kind": kind})
