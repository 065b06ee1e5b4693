"""Sweeps: which records should have an order and have none, and which have one that they should not have.

Salesforce is read page by page, what the ERP knows is asked on the ERP's own queue (`activities.erp`), and here the
workflows of what is missing are started. Who compares the two, and decides, is `workflows.reconciliation`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import AwareDatetime
from temporalio import activity
from temporalio.client import Client

from activities.failures import as_failures
from closedwon import mapping, names, temporal
from closedwon.errors import AttentionError, AttentionReason, BenignError
from closedwon.ids import OrgId, RecordId
from closedwon.model import Channel, Frozen, Gap, Message, SweepReading
from closedwon.salesforce import bulk, scan
from closedwon.salesforce.errors import HOURS, RecordGoneError, ThrottledError, TooLargeError
from closedwon.salesforce.rest import SalesforceClient
from closedwon.settings import Route, Settings, Sweep
from closedwon.telemetry import Metrics

_PAGE: Final = 1000
"""Records that travel through the workflow at once: some 150 kB of its history."""
_MANY: Final = 10_000
"""Records above which a query job of the Bulk API is cheaper than pages."""
_BULK_PAGE: Final = 1000
_CHUNK: Final = 100
"""Records that one look at Temporal's list asks about, and that one heartbeat counts."""
_CONCURRENT_STARTS: Final = 16
_BEAT_EVERY: Final = 3.0
"""Seconds."""
_JOB_POLL: Final = 2.0
"""Seconds between looks at a query job."""


class OpenSweep(Frozen):
    """A sweep that begins. `mark`: where the last scheduled one ended."""

    org: OrgId
    route: str
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    mark: AwareDatetime | None = None
    gap: Gap | None = None


class OpenedSweep(Frozen):
    """What a sweep is to do, by the route's settings."""

    since: AwareDatetime
    until: AwareDatetime
    total: int | None
    reading: SweepReading
    erps: tuple[str, ...]
    """ERPs that may have the orders."""
    numbered: bool = True
    """Order numbers are written back, so that records tell them."""
    pushed: bool = False
    """Salesforce pushes outbound messages, which expire."""


class ReadPage(Frozen):
    """Which records to read next."""

    org: OrgId
    route: str
    since: AwareDatetime
    until: AwareDatetime
    reading: SweepReading


class Seen(Frozen):
    """A record as a sweep sees it: what it says of its order."""

    record: RecordId
    modified_at: AwareDatetime
    qualifies: bool
    deleted: bool = False
    number: str | None = None
    status: str | None = None


class PageRead(Frozen):
    """Records, and where to read on; `reading` None: that was all."""

    seen: tuple[Seen, ...] = ()
    reading: SweepReading | None = None


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
    examples: tuple[RecordId, ...] = ()
    """The first of `started`."""
    oldest: AwareDatetime | None = None
    """Earliest last change of those `started` that qualify."""


class NotYetError(BenignError):
    """The time that a sweep must cover is not over."""


class NotSweptError(AttentionError):
    """The settings do not say what a sweep of this route looks for."""

    def __init__(self, route: str) -> None:
        """Name the route."""
        super().__init__(
            f"Route {route!r} has no [routes.sweep], so nothing finds what was lost",
            reason=AttentionReason.CONFIGURATION,
            cure=f"Add [routes.sweep] to route {route!r} in closedwon.toml and restart the workers; then send `retry`.",
        )


class ReconciliationActivities:
    """Reads what is to be compared, and starts what is missing."""

    def __init__(
        self, settings: Settings, clients: Mapping[OrgId, SalesforceClient], client: Client, metrics: Metrics
    ) -> None:
        """Take one open client per org, and the client that starts workflows."""
        self._settings = settings
        self._clients = clients
        self._temporal = client
        self._metrics = metrics

    @activity.defn
    async def open_sweep(self, request: OpenSweep) -> OpenedSweep:
        """Fix the span of a sweep, and count its records where it may be long."""
        with as_failures():
            async with _beating():
                return await self._open(request)

    @activity.defn
    async def read_page(self, request: ReadPage) -> PageRead:
        """Read the next records; waits while the org's API calls are used up to the route's `sweep.api_share`."""
        with as_failures():
            route, sweep = self._route(request)
            client = self._clients[request.org]
            await _spare(client, sweep)
            condition = _condition(route, _where(route), qualifying=request.reading.qualifying)
            if condition is None:
                return PageRead()
            async with _beating() as beat:
                if request.reading.bulk:
                    return await self._read_bulk(client, route, condition, request, beat)
                return await self._read_keyset(client, route, condition, request)

    @activity.defn
    async def start_orders(self, request: StartOrders) -> OrdersStarted:
        """Start the workflows of records, below live traffic; those whose workflow runs are only counted.

        Whose order should not be is told to a running workflow, too: it must look again. Resumes from its heartbeat.
        """
        details = activity.info().heartbeat_details
        done = OrdersStarted.model_validate(details[0]) if details else OrdersStarted()
        with as_failures():
            route, sweep = self._route(request)
            await _spare(self._clients[request.org], sweep)
            async with _beating() as beat:
                while done.done < len(request.records):
                    chunk = request.records[done.done : done.done + _CHUNK]
                    done = _sum(done, await self._start_chunk(request, route, chunk))
                    beat(done)
            return done

    async def _open(self, request: OpenSweep) -> OpenedSweep:
        route, sweep = self._route(request)
        where = _where(route)
        until = datetime.now(UTC) - sweep.lag
        if request.gap is not None and until < request.gap.until:
            wait = request.gap.until - until
            raise NotYetError(f"The gap is too young: its sweep begins in {wait}", retry_after=wait)
        until = min(until, request.until or until)
        since = _since(request, sweep, until)
        total: int | None = None
        reading = SweepReading()
        if request.since is not None or request.gap is not None:
            total, many = await self._count(request.org, route, where, (since, until))
            reading = SweepReading(bulk=many)
        erps = (route.erp,) if isinstance(route.erp, str) else tuple(erp.name for erp in self._settings.erps)
        return OpenedSweep(
            since=since,
            until=until,
            total=total,
            reading=reading,
            erps=erps,
            numbered=route.write_back.number is not None,
            pushed=route.outbound is not None,
        )

    async def _count(
        self, org: OrgId, route: Route, where: str, span: tuple[datetime, datetime]
    ) -> tuple[int | None, bool]:
        """How many records there are, if Salesforce can tell in time, and whether they are many."""
        total = 0
        for qualifying in (True, False):
            condition = _condition(route, where, qualifying=qualifying)
            if condition is None:
                continue
            soql = f"SELECT COUNT() FROM {route.object} WHERE {scan.within(condition, *span)}"  # noqa: S608 - settings
            try:
                total += await self._clients[org].count(soql, deleted=True)
            except TooLargeError:
                return None, True
        return total, total > _MANY

    async def _read_keyset(self, client: SalesforceClient, route: Route, condition: str, request: ReadPage) -> PageRead:
        reading = request.reading
        after = None
        if reading.modified_at is not None and reading.record is not None:
            after = scan.Position(modified_at=reading.modified_at, record=reading.record)
        found = scan.pages(
            client,
            route.object,
            _told_fields(route),
            where=condition,
            since=request.since,
            until=request.until,
            deleted=True,
            after=after,
            size=_PAGE,
        )
        page = await anext(found, None)
        if page is None:
            return PageRead(reading=_next_scan(reading))
        at = page.position
        seen = _seen(route, page.records, qualifying=reading.qualifying)
        return PageRead(
            seen=seen, reading=reading.model_copy(update={"modified_at": at.modified_at, "record": at.record})
        )

    async def _read_bulk(
        self, client: SalesforceClient, route: Route, condition: str, request: ReadPage, beat: _Beat
    ) -> PageRead:
        reading = request.reading
        job = reading.job or beat.details
        if not job or not isinstance(job, str):
            fields = ", ".join(["Id", "SystemModstamp", "IsDeleted", *_told(route)])
            within = scan.within(condition, request.since, request.until)
            job = await bulk.start_query(client, f"SELECT {fields} FROM {route.object} WHERE {within}", deleted=True)  # noqa: S608 - settings
            beat(job)  # whoever takes this over reads the job's result instead of making another one
        try:
            if reading.job is None:
                await _until_complete(client, job)
            page = await bulk.results(client, job, locator=reading.locator, size=_BULK_PAGE)
        except (RecordGoneError, bulk.JobFailedError):
            beat("")
            return PageRead(reading=SweepReading(qualifying=reading.qualifying, bulk=True))  # once more, from the top
        following = reading.model_copy(update={"job": job, "locator": page.locator})
        return PageRead(
            seen=_seen(route, page.records, qualifying=reading.qualifying),
            reading=following if page.locator else _next_scan(reading),
        )

    async def _start_chunk(self, request: StartOrders, route: Route, chunk: Sequence[Seen]) -> OrdersStarted:
        running = await self._running(request.org, [one.record for one in chunk])
        stages = [running[one.record] for one in chunk if one.record in running]
        attention = stages.count(names.OrderStage.ATTENTION)
        told = [one for one in chunk if one.record not in running or one.deleted or not one.qualifies]
        slots = asyncio.Semaphore(_CONCURRENT_STARTS)

        async def start(one: Seen) -> bool:
            async with slots:
                return await self._start(request, route, one)

        starts = await asyncio.gather(*map(start, told))
        fresh = [one for one, started in zip(told, starts, strict=True) if started and one.record not in running]
        return OrdersStarted(
            done=len(chunk),
            started=len(fresh),
            under_way=len(stages) - attention,
            attention=attention,
            unqualified=starts.count(False),
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
        message = Message(
            id=f"sweep-{int(one.modified_at.timestamp() * 1000)}",
            channel=Channel.SWEEP,
            received_at=datetime.now(UTC),
            payload=payload,
            modified_at=one.modified_at,
            deleted=one.deleted,
        )
        await temporal.start_order(
            self._temporal,
            self._settings.order_start(route, one.record),
            message,
            summary=mapping.summary_of(route, payload) if payload else "found by a sweep",
            priority=temporal.BELOW_LIVE_TRAFFIC,
        )
        self._metrics.messages.add(1, {"channel": Channel.SWEEP, "outcome": "accepted"})
        return True

    async def _payload(self, org: OrgId, route: Route, record: RecordId) -> dict[str, Any] | None:
        """The record in the event's place."""
        assert route.sweep is not None and route.sweep.select is not None, "checked with the settings"  # noqa: PT018
        found = await self._clients[org].read(route.object, route.sweep.select, record)
        if found is None or route.payload == "@":
            return found
        return {route.payload: json.dumps(found, default=str)}

    def _route(self, request: OpenSweep | ReadPage | StartOrders) -> tuple[Route, Sweep]:
        found = [one for one in self._settings.routes if one.name == request.route]
        if not found or self._settings.org(found[0].org).id != request.org:
            raise AttentionError(
                f"This worker has no route named {request.route!r} of org {request.org}",
                reason=AttentionReason.CONFIGURATION,
                cure="Add it to `routes` in closedwon.toml and restart the worker, or cancel this sweep.",
            )
        route = found[0]
        if route.sweep is None:
            raise NotSweptError(route.name)
        return route, route.sweep


def _since(request: OpenSweep, sweep: Sweep, until: datetime) -> datetime:
    """Where the span begins: as asked for, or a little before the gap or the last sweep's end."""
    if request.since is not None:
        return min(request.since, until)
    known = request.gap.since if request.gap else request.mark
    if known is not None:
        return min(known, until) - sweep.overlap
    return (request.gap.until if request.gap else until) - sweep.lookback


def _where(route: Route) -> str:
    if route.sweep_where is None:
        raise NotSweptError(route.name)
    return route.sweep_where


def _condition(route: Route, where: str, *, qualifying: bool) -> str | None:
    """The SOQL condition of one of the two scans; None where records do not tell their order's number."""
    if qualifying:
        return where
    number, status = route.write_back.number, route.write_back.status
    if number is None:
        return None
    ended = f" AND ({status} = null OR {status} != 'cancelled')" if status else ""
    return f"(NOT ({where})) AND {number} != null{ended}"


def _told(route: Route) -> list[str]:
    return [field for field in (route.write_back.number, route.write_back.status) if field]


def _told_fields(route: Route) -> str:
    return ", ".join(_told(route)) or "Id"


def _next_scan(reading: SweepReading) -> SweepReading | None:
    return SweepReading(qualifying=False, bulk=reading.bulk) if reading.qualifying else None


def _seen(route: Route, records: Sequence[Mapping[str, Any]], *, qualifying: bool) -> tuple[Seen, ...]:
    fields = route.write_back
    return tuple(
        Seen(
            record=RecordId(record["Id"]),
            modified_at=datetime.fromisoformat(record["SystemModstamp"]),
            qualifies=qualifying,
            deleted=record["IsDeleted"] in (True, "true"),
            number=record.get(fields.number) if fields.number else None,
            status=record.get(fields.status) if fields.status else None,
        )
        for record in records
    )


def _sum(before: OrdersStarted, more: OrdersStarted) -> OrdersStarted:
    return OrdersStarted(
        done=before.done + more.done,
        started=before.started + more.started,
        under_way=before.under_way + more.under_way,
        attention=before.attention + more.attention,
        unqualified=before.unqualified + more.unqualified,
        examples=(before.examples + more.examples)[:_CHUNK],
        oldest=min((at for at in (before.oldest, more.oldest) if at), default=None),
    )


async def _until_complete(client: SalesforceClient, job: str) -> None:
    while not await bulk.is_complete(client, job):  # noqa: ASYNC110 - Salesforce has no other way to tell
        await asyncio.sleep(_JOB_POLL)


async def _spare(client: SalesforceClient, sweep: Sweep) -> None:
    """Raise `ThrottledError` while the org's API calls are used up to the sweeps' share; the rest is for orders."""
    if client.usage is None or client.usage.used <= client.usage.max * sweep.api_share:
        return
    usage = await client.look_at_usage()  # what is known may be old: a waiting sweep makes no calls
    if usage is not None and usage.used > usage.max * sweep.api_share:
        raise ThrottledError(
            f"{usage.used} of {usage.max} API calls of 24 hours are used, more than `sweep.api_share` allows",
            between=HOURS,
        )


class _Beat:
    """The newest word of an activity about itself."""

    def __init__(self, details: object) -> None:
        self.details = details

    def __call__(self, details: object) -> None:
        self.details = details
        activity.heartbeat(details)


@asynccontextmanager
async def _beating(details: object = None) -> AsyncIterator[_Beat]:
    """Tell the server every moment that this activity is alive, and how far it has come."""
    found = activity.info().heartbeat_details
    beat = _Beat(details if details is not None else (found[0] if found else None))

    async def go_on() -> None:
        while True:
            if beat.details is not None:
                activity.heartbeat(beat.details)
            else:
                activity.heartbeat()
            await asyncio.sleep(_BEAT_EVERY)

    task = asyncio.create_task(go_on())
    try:
        yield beat
    finally:
        task.cancel()
