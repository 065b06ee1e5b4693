"""What a sweep has found to be missing is started here: order workflows, below live traffic, each only if need be."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import AwareDatetime
from temporalio import activity
from temporalio.client import Client

from activities.failures import as_failures
from activities.reconciliation import Seen, beating, route_of, spare
from closedwon import mapping, names, temporal
from closedwon.acceptance import Notification, accept, in_place_of_event
from closedwon.ids import OrgId, RecordId
from closedwon.model import GIVEN_UP, Channel, Frozen
from closedwon.salesforce.rest import SalesforceClient
from closedwon.settings import Route, Settings
from closedwon.telemetry import Metrics

_CHUNK: Final = 100
"""Records that one look at Temporal's list asks about, and that one heartbeat counts."""
_CONCURRENT_STARTS: Final = 16


class StartOrders(Frozen):
    """Records whose workflow must run. `dry_run`: only see which have one already."""

    org: OrgId
    route: str
    records: tuple[Seen, ...]
    dry_run: bool = False


class OrdersStarted(Frozen):
    """What became of `StartOrders`, in numbers of records."""

    done: int = 0
    started: int = 0
    under_way: int = 0
    attention: int = 0
    unqualified: int = 0
    spared: int = 0
    """Their order should not be, but a person keeps it, or it is another route's business; or their status says that a
    person wants no order, and their own workflow proves that."""
    examples: tuple[RecordId, ...] = ()
    """The first of `started`."""
    oldest: AwareDatetime | None = None
    """Earliest last change of those `started` that qualify."""


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

        One that would not look by itself is told, too. Resumes from its heartbeat.
        """
        details = activity.info().heartbeat_details
        done = OrdersStarted.model_validate(details[0]) if details else OrdersStarted()
        with as_failures():
            route, sweep = route_of(self._settings, request.route, request.org)
            await spare(self._clients[request.org], sweep.api_share)
            async with beating() as beat:
                while done.done < len(request.records):
                    chunk = request.records[done.done : done.done + _CHUNK]
                    done = _sum(done, await self._start_chunk(request, route, chunk))
                    beat(done)
            return done

    async def _start_chunk(self, request: StartOrders, route: Route, chunk: Sequence[Seen]) -> OrdersStarted:
        running = await self._running(request.org, [one.record for one in chunk])
        stages = [running[one.record] for one in chunk if one.record in running]
        attention = stages.count(names.OrderStage.ATTENTION)
        slots = asyncio.Semaphore(_CONCURRENT_STARTS)

        async def start(one: Seen) -> bool:
            async with slots:
                return await self._start(request, route, one)

        told = [one for one in chunk if one.record not in running or _is_news(one, running[one.record])]
        spared = {one.record for one in told if await self._is_left(route, request.org, one, running.get(one.record))}
        told = [one for one in told if one.record not in spared]
        starts = await asyncio.gather(*map(start, told))
        fresh = [one for one, started in zip(told, starts, strict=True) if started and one.record not in running]
        return OrdersStarted(
            done=len(chunk),
            started=len(fresh),
            under_way=len(stages) - attention,
            attention=attention,
            unqualified=starts.count(False),
            spared=len(spared),
            examples=tuple(one.record for one in fresh),
            oldest=min((one.modified_at for one in fresh if one.qualifies and not one.deleted), default=None),
        )

    async def _running(self, org: OrgId, records: Iterable[RecordId]) -> dict[RecordId, str]:
        """The stages of the records whose workflow runs. A list may lag: who is started twice is signalled instead."""
        quoted = ", ".join(f"'{record}'" for record in records)
        query = (
            f"WorkflowType = '{names.ORDER_WORKFLOW}' AND ExecutionStatus = 'Running' "
            f"AND {names.SALESFORCE_ORG_ID} = '{org}' AND {names.SALESFORCE_RECORD_ID} IN ({quoted})"
        )
        stage = temporal.KEYS[names.ORDER_STAGE]
        return {
            names.parse_order_workflow_id(one.id).record: one.typed_search_attributes.get(stage, "")
            async for one in self._temporal.list_workflows(query)
        }

    async def _is_left(self, route: Route, org: OrgId, one: Seen, stage: str | None) -> bool:
        """Whether an order that should not be is kept by a person, or is the business of another route's sweep.

        For a record that wants an order, although its status says that somebody declined it: whether that is so. The
        record does not prove it, so its own workflow must, which runs at `stage` or has ended.
        """
        if not _should_not_be(one):
            if one.status not in GIVEN_UP:
                return False
            is_resting = stage == names.OrderStage.CANCELLED
            return is_resting or (stage is None and await temporal.is_declined(self._temporal, org, one.record))
        if self._settings.siblings(route):
            ordered_by = await temporal.route_of(self._temporal, org, one.record)
            if ordered_by is not None and ordered_by != route.name:
                return True
        return await temporal.is_spared(self._temporal, org, one.record)

    async def _start(self, request: StartOrders, route: Route, one: Seen) -> bool:
        """Start or signal one workflow; False for a record that cannot take the event's place: it does not qualify."""
        payload: dict[str, Any] | None = None
        if route.source == "event" and not one.deleted:
            payload = await self._payload(request.org, route, one.record)
            if payload is None:
                return False
            if one.qualifies and not mapping.qualifies(route, mapping.event_record(route, payload)):
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
        await accept(self._temporal, self._settings, route, notification, priority=temporal.BELOW_LIVE_TRAFFIC)
        self._metrics.messages.add(1, {"channel": Channel.SWEEP, "outcome": "accepted"})
        return True

    async def _payload(self, org: OrgId, route: Route, record: RecordId) -> dict[str, Any] | None:
        """The record in the event's place."""
        assert route.sweep is not None and route.sweep.select is not None, "checked with the settings"  # noqa: PT018
        found = await self._clients[org].read(route.object, route.sweep.select, record)
        return None if found is None else in_place_of_event(route, found)


def _should_not_be(one: Seen) -> bool:
    """Whether the record asks for no order, but seems to have one."""
    return one.deleted or not one.qualifies


def _is_news(one: Seen, stage: str) -> bool:
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
        spared=before.spared + more.spared,
        examples=(before.examples + more.examples)[:_CHUNK],
        oldest=min((at for at in (before.oldest, more.oldest) if at), default=None),
    )
