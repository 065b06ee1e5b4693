"""What a sweep has found to be missing is started here: order workflows, below live traffic, each only if need be."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from temporalio import activity
from temporalio.client import Client

from activities.failures import errors_as_failures
from activities.heartbeats import heartbeating
from activities.messages import as_text
from activities.sweeps import check_api_quota, swept_route
from closedwon import names
from closedwon.acceptance import Notification, accept, in_place_of_event
from closedwon.errors import AttentionError
from closedwon.ids import OrgId, RecordId
from closedwon.mapping.orders import MappingError, event_record, verdict
from closedwon.mapping.reader import open_reader
from closedwon.model.erp import DECLINED_STATUSES
from closedwon.model.messages import UnparseableMessage
from closedwon.model.routes import Channel
from closedwon.model.sweeps import OrdersStarted, SeenRecord, StartOrders
from closedwon.salesforce.api.rest import SalesforceClient
from closedwon.settings import Route, Settings
from closedwon.telemetry.metrics import Metrics
from closedwon.temporal import visibility
from closedwon.temporal.messages import park_unparseable
from closedwon.temporal.orders import BELOW_LIVE_TRAFFIC, is_declined, is_kept, route_of_workflow
from closedwon.temporal.search_attributes import SEARCH_ATTRIBUTE_KEYS

_CHUNK: Final = 100
"""Records that one look at Temporal's list asks about, and that one heartbeat counts."""
_CONCURRENT_STARTS: Final = 16


class _Running(NamedTuple):
    stage: str
    wedged: bool
    """It cannot continue: a person must look, as at one that needs attention."""


class SweepStarts:
    """Starts the workflows of records."""

    def __init__(
        self, settings: Settings, clients: Mapping[OrgId, SalesforceClient], client: Client, metrics: Metrics
    ) -> None:
        """Take one open client per org, and the client that starts workflows."""
        self._settings = settings
        self._clients = clients
        self._temporal = client
        self._metrics = metrics

    @activity.defn
    async def start_orders(self, request: StartOrders) -> OrdersStarted:
        """Start the workflows of records, below live traffic; those whose workflow runs are only counted.

        A running workflow that would not read its record by itself is signaled. Resumes from the heartbeat details.
        """
        details = activity.info().heartbeat_details
        done = OrdersStarted.model_validate(details[0]) if details else OrdersStarted()
        with errors_as_failures():
            route, sweep = swept_route(self._settings, request.route, request.org)
            await check_api_quota(self._clients[request.org], sweep.api_share)
            async with heartbeating() as heartbeat:
                while done.done < len(request.records):
                    chunk = request.records[done.done : done.done + _CHUNK]
                    done = _sum(done, await self._start_chunk(request, route, chunk))
                    heartbeat(done)
            return done

    async def _start_chunk(self, request: StartOrders, route: Route, chunk: Sequence[SeenRecord]) -> OrdersStarted:
        running = await self._running(request.org, [one.record for one in chunk])
        found = [running[one.record] for one in chunk if one.record in running]
        attention = sum(one.stage == names.OrderStage.ATTENTION or one.wedged for one in found)
        stages = {record: one.stage for record, one in running.items()}
        slots = asyncio.Semaphore(_CONCURRENT_STARTS)

        async def start(one: SeenRecord) -> bool:
            async with slots:
                return await self._start(request, route, one)

        candidates = [one for one in chunk if one.record not in running or _is_news(one, stages[one.record])]
        kept_by_operator = {
            one.record for one in candidates if await self._is_left(route, request.org, one, stages.get(one.record))
        }
        due = [one for one in candidates if one.record not in kept_by_operator]
        starts = await asyncio.gather(*map(start, due))
        fresh = [one for one, started in zip(due, starts, strict=True) if started and one.record not in running]
        return OrdersStarted(
            done=len(chunk),
            started=len(fresh),
            under_way=len(found) - attention,
            attention=attention,
            unqualified=starts.count(False),
            kept_by_operator=len(kept_by_operator),
            examples=tuple(one.record for one in fresh),
            oldest=min((one.modified_at for one in fresh if one.qualifies and not one.deleted), default=None),
        )

    async def _running(self, org: OrgId, records: Iterable[RecordId]) -> dict[RecordId, _Running]:
        """The records whose workflow runs. A list may lag: a record that is started twice is signalled instead."""
        query = visibility.all_of(
            visibility.of_type(names.ORDER_WORKFLOW),
            visibility.RUNNING,
            visibility.equals(names.SALESFORCE_ORG_ID, org),
            visibility.one_of(names.SALESFORCE_RECORD_ID, records),
        )
        stage = SEARCH_ATTRIBUTE_KEYS[names.ORDER_STAGE]
        return {
            names.parse_order_workflow_id(one.id).record: _Running(
                one.typed_search_attributes.get(stage, ""), visibility.is_wedged(one)
            )
            async for one in self._temporal.list_workflows(query)
        }

    async def _is_left(self, route: Route, org: OrgId, one: SeenRecord, stage: str | None) -> bool:
        """Whether an order that should not be is kept by a person, or is the business of another route's sweep.

        For a record that wants an order, although its status says that a person declined it: whether that is so. The
        record does not prove it, so its own workflow must, which runs at `stage` or has ended.
        """
        if not _should_not_be(one):
            if one.status not in DECLINED_STATUSES:
                return False
            is_resting = stage == names.OrderStage.CANCELLED
            return is_resting or (stage is None and await is_declined(self._temporal, org, one.record))
        if self._settings.siblings(route):
            ordered_by = await route_of_workflow(self._temporal, org, one.record)
            if ordered_by is not None and ordered_by != route.name:
                return True
        return await is_kept(self._temporal, org, one.record)

    async def _start(self, request: StartOrders, route: Route, one: SeenRecord) -> bool:
        """Start or signal one workflow; False for a record that cannot take the event's place: it does not qualify."""
        payload: dict[str, Any] | None = None
        if route.source == "event" and not one.deleted:
            payload = await self._payload(request.org, route, one.record)
            if payload is None:
                return False
            if one.qualifies and _is_unqualified(route, payload):
                return False
        if request.dry_run:
            return True
        notification = Notification(
            one.record,
            f"sweep-{int(one.modified_at.timestamp() * 1000)}",
            Channel.SWEEP,
            received_at=datetime.now(UTC),
            fields=payload,
            modified_at=one.modified_at,
            deleted=one.deleted,
            summary="found by a sweep",
        )
        try:
            await accept(self._temporal, self._settings, route, notification, priority=BELOW_LIVE_TRAFFIC)
        except AttentionError as error:  # of this record alone: the others of the page go on
            await self._park(request.org, route, notification, error)
            return False
        self._metrics.messages.add(1, {"channel": Channel.SWEEP, "outcome": "accepted"})
        return True

    async def _park(self, org: OrgId, route: Route, notification: Notification, error: AttentionError) -> None:
        """Keep a record that cannot be made durable for a person; later sweeps that find it so change nothing."""
        await park_unparseable(
            self._temporal,
            UnparseableMessage(
                id=f"{notification.record}-{notification.id}",
                org=org,
                channel=Channel.SWEEP,
                source=route.events[0] if route.events else f"route {route.name}",
                received_at=notification.received_at,
                problem=f"record {notification.record}, found by a sweep of route {route.name}: {error}",
                hint=error.hint,
                raw=as_text({"payload": notification.fields}),
            ),
        )
        self._metrics.messages.add(1, {"channel": Channel.SWEEP, "outcome": "unparseable"})

    async def _payload(self, org: OrgId, route: Route, record: RecordId) -> dict[str, Any] | None:
        """The record in the event's place."""
        assert route.sweep is not None and route.sweep.select is not None, "checked with the settings"  # noqa: PT018
        found = await self._clients[org].read(route.object, route.sweep.select, record)
        return None if found is None else in_place_of_event(route, found)


def _is_unqualified(route: Route, payload: dict[str, Any]) -> bool:
    """Whether the record certainly does not qualify; where that cannot be said, its own workflow asks a person."""
    try:
        return verdict(open_reader(route, event_record(route, payload))) is False
    except MappingError:
        return False


def _should_not_be(one: SeenRecord) -> bool:
    """Whether the record asks for no order, but seems to have one."""
    return one.deleted or not one.qualifies


def _is_news(one: SeenRecord, stage: str) -> bool:
    """Whether a running workflow must look again, too: it may never do so by itself.

    Those that order are at it, and those in attention have a person's eye; but one that watches its order looks at the
    ERP alone, and one that has ended without an order only waits for late notifications, though the deal is won again,
    or was undeleted.
    """
    return _should_not_be(one) or stage in {
        names.OrderStage.FOLLOWING,
        names.OrderStage.CANCELLED,
        names.OrderStage.NOT_NEEDED,
    }


def _sum(before: OrdersStarted, more: OrdersStarted) -> OrdersStarted:
    return OrdersStarted(
        done=before.done + more.done,
        started=before.started + more.started,
        under_way=before.under_way + more.under_way,
        attention=before.attention + more.attention,
        unqualified=before.unqualified + more.unqualified,
        kept_by_operator=before.kept_by_operator + more.kept_by_operator,
        examples=(before.examples + more.examples)[:_CHUNK],
        oldest=min((at for at in (before.oldest, more.oldest) if at), default=None),
    )
