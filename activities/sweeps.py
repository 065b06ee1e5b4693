"""Sweeps: which records should have an order and have none, and which have one that they should not have.

Here Salesforce is read, page by page. What the ERP knows is asked on the ERP's own queue (`activities.erp`); who
compares the two, and decides, is `workflows.sweep`; what is missing is started by `activities.sweep_starts`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from temporalio import activity

from activities.failures import errors_as_failures
from activities.heartbeats import Heartbeat, heartbeating
from activities.holds import Holds
from activities.passing import RefusalsOfOrg, not_here
from closedwon.errors import AttentionError, AttentionReason, BenignError
from closedwon.ids import OrgId, RecordId
from closedwon.mapping.record import Record
from closedwon.mapping.write_back import Proof
from closedwon.model.sweeps import OpenedSweep, OpenSweep, PageRead, ReadPage, SeenRecord, SweepReading
from closedwon.salesforce.api import bulk, scan
from closedwon.salesforce.api.rest import SalesforceClient
from closedwon.salesforce.errors import HOURS, RecordGoneError, ThrottledError, TooLargeError
from closedwon.settings import Route, Settings, Sweep

_PAGE: Final = 1000
"""Records that travel through the workflow at once: some 150 kB of its history."""
_MANY: Final = 10_000
"""Records above which a query job of the Bulk API is cheaper than pages."""
_BULK_PAGE: Final = 1000
_DATE: Final = timedelta(seconds=1)
"""The precision of Salesforce's clock in `Date` and in the stamps of its records: whole seconds, rounded down."""
_JOB_POLL: Final = 2.0
"""Seconds between looks at a query job."""


LEFT_OUT_IF_IGNORED: Final[Mapping[str, Callable[[bool], bool]]] = {
    "on_unqualified": lambda deleted: not deleted,
    "on_deleted": lambda deleted: deleted,
}
"""By policy: which of the records that no longer qualify, deleted or not, a sweep leaves out if the policy is `ignore`.
`closedwon.model.routes.Considered` says which policies must have an entry."""


class NotYetError(BenignError):
    """The time that a sweep must cover is not over."""


class NotSweptError(AttentionError):
    """The settings do not say what a sweep of this route looks for."""

    def __init__(self, route: str) -> None:
        """Name the route."""
        super().__init__(
            f"Route {route!r} has no [routes.sweep], so nothing finds what was lost",
            reason=AttentionReason.CONFIGURATION,
            hint=f"Add [routes.sweep] to route {route!r} in closedwon.toml and restart the workers; then send `retry`.",
        )


class SweepActivities:
    """Reads what is to be compared."""

    def __init__(
        self, settings: Settings, clients: Mapping[OrgId, SalesforceClient], *, holds: Holds | None = None
    ) -> None:
        """Take one open client per org."""
        self._holds = holds or Holds()
        self._refusals = RefusalsOfOrg(self._holds)
        self._settings = settings
        self._clients = clients

    @activity.defn
    async def open_sweep(self, request: OpenSweep) -> OpenedSweep:
        """Fix the span of a sweep, and count its records where it may be long."""
        with errors_as_failures():
            async with heartbeating():
                return await self._refusals.held(self._open(request), request.org)

    @activity.defn
    async def read_page(self, request: ReadPage) -> PageRead:
        """Read the next records; waits while the org's API calls are used up to the route's `sweep.api_share`."""
        with errors_as_failures():
            route, sweep = swept_route(self._settings, request.route, request.org)
            self._holds.check(route)
            client = self._clients[request.org]
            await check_api_quota(client, sweep.api_share)
            condition = self._condition(route, _where(route), qualifying=request.reading.qualifying)
            if condition is None:
                return PageRead()
            async with heartbeating() as heartbeat:
                if request.reading.bulk:
                    page = self._read_bulk(client, route, condition, request, heartbeat)
                else:
                    page = self._read_keyset(client, route, condition, request)
                return await self._refusals.held(page, request.org)

    async def _open(self, request: OpenSweep) -> OpenedSweep:
        route, sweep = swept_route(self._settings, request.route, request.org)
        self._holds.check(route)
        where = _where(route)
        # By Salesforce's clock, which stamps the records: one of ours that is ahead would leave out what comes next.
        client = self._clients[request.org]
        now = await client.ask_now()
        if sweep.lag < _DATE:  # the span must not end within a second in which records are still saved
            await asyncio.sleep((_DATE - sweep.lag).total_seconds())
            now = await client.ask_now()
        until = now - sweep.lag
        if request.gap is not None and until < request.gap.until:
            wait = request.gap.until - until
            raise NotYetError(f"The gap is too young: its sweep begins in {wait}", retry_after=wait)
        until = min(until, request.until or until)
        since = _since(request, sweep, until, now)
        total: int | None = None
        reading = SweepReading()
        if request.since is not None or request.gap is not None:
            await check_api_quota(client, sweep.api_share)
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
        """How many records there are, if Salesforce can count them in time, and whether they are many."""
        total = 0
        for qualifying in (True, False):
            condition = self._condition(route, where, qualifying=qualifying)
            if condition is None:
                continue
            soql = f"SELECT COUNT() FROM {route.object} WHERE {scan.within(condition, *span)}"  # noqa: S608 - settings
            try:
                total += await self._clients[org].count(soql, deleted=True)
            except TooLargeError:
                return None, True
        return total, total > _MANY

    def _condition(self, route: Route, where: str, *, qualifying: bool) -> str | None:
        """The SOQL condition of one of the two scans; None where the second one has nothing to find.

        What qualifies on another route over the object has its number from there. The condition asks whether a record
        says anything of an order, never what: SOQL cannot compare the key field with the record's id, so it cannot see
        whether a number or a status was copied with the record.
        """
        if qualifying:
            return where
        fields = _order_fields(route)
        if not fields or (_is_left_out(route, deleted=False) and _is_left_out(route, deleted=True)):
            return None
        others = [one.sweep_where for one in self._settings.siblings(route)]
        mine = "".join(f" AND (NOT ({each}))" for each in (where, *others) if each is not None)
        deleted = " AND IsDeleted = TRUE" if _is_left_out(route, deleted=False) else ""
        says_something = " OR ".join(f"{field} != null" for field in fields)
        return f"({says_something}){mine}{deleted}"

    async def _read_keyset(self, client: SalesforceClient, route: Route, condition: str, request: ReadPage) -> PageRead:
        reading = request.reading
        after = None
        if reading.modified_at is not None and reading.record is not None:
            after = scan.Position(modified_at=reading.modified_at, record=reading.record)
        found = scan.pages(
            client,
            route.object,
            _selected_fields(route),
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
        behind = reading.model_copy(update={"modified_at": at.modified_at, "record": at.record})
        return PageRead(
            seen=_seen(route, request.org, page.records, qualifying=reading.qualifying),
            reading=_next_scan(reading) if page.is_last else behind,
        )

    async def _read_bulk(
        self, client: SalesforceClient, route: Route, condition: str, request: ReadPage, heartbeat: Heartbeat
    ) -> PageRead:
        reading = request.reading
        job = reading.job or heartbeat.details
        if not job or not isinstance(job, str):
            fields = ", ".join(["Id", "SystemModstamp", "IsDeleted", *_order_fields(route)])
            within = scan.within(condition, request.since, request.until)
            job = await bulk.start_query(client, f"SELECT {fields} FROM {route.object} WHERE {within}", deleted=True)  # noqa: S608 - settings
            heartbeat(job)  # the next attempt reads the job's result instead of creating another job
        try:
            if reading.job is None:
                await _until_complete(client, job)
            page = await bulk.results(client, job, locator=reading.locator, size=_BULK_PAGE)
        except bulk.JobFailedError:
            heartbeat(
                ""
            )  # the next attempt makes another job, later: one that fails always must not use up the org's calls
            raise
        except RecordGoneError:
            heartbeat("")
            return PageRead(reading=SweepReading(qualifying=reading.qualifying, bulk=True))  # once more, from the top
        following = reading.model_copy(update={"job": job, "locator": page.locator})
        return PageRead(
            seen=_seen(route, request.org, page.records, qualifying=reading.qualifying),
            reading=following if page.locator else _next_scan(reading),
        )


def swept_route(settings: Settings, name: str, org: OrgId) -> tuple[Route, Sweep]:
    """The route that is to be swept, and how. Raises `AttentionError` where the settings do not say."""
    found = [one for one in settings.routes if one.name == name]
    if not found or settings.org(found[0].org).id != org:
        raise not_here(
            f"route of org {org}",
            name,
            "routes",
            otherwise="; or delete its schedule, so that it does not begin again, and cancel this sweep",
        )
    route = found[0]
    if route.sweep is None:
        raise NotSweptError(route.name)
    return route, route.sweep


def _since(request: OpenSweep, sweep: Sweep, until: datetime, now: datetime) -> datetime:
    """Where the span begins: as asked for, or a little before the gap or the last sweep's end.

    A mark in the future was set by a clock that was ahead, so it is not known what was looked at.
    """
    if request.since is not None:
        return min(request.since, until)
    mark = request.mark if request.mark is not None and request.mark <= now + _DATE else None
    known = request.gap.since if request.gap else mark
    if known is not None:
        return min(known, until) - max(sweep.overlap, _DATE)
    return (request.gap.until if request.gap else until) - sweep.lookback


def _where(route: Route) -> str:
    if route.sweep_where is None:
        raise NotSweptError(route.name)
    return route.sweep_where


def _order_fields(route: Route) -> list[str]:
    """The fields that say something of an order, with the one that proves whose order that is."""
    names = route.write_back
    return [field for field in (names.number, names.status, names.key) if field]


def _selected_fields(route: Route) -> str:
    return ", ".join(_order_fields(route)) or "Id"


def _next_scan(reading: SweepReading) -> SweepReading | None:
    return SweepReading(qualifying=False, bulk=reading.bulk) if reading.qualifying else None


def _seen(route: Route, org: OrgId, records: Sequence[dict[str, Any]], *, qualifying: bool) -> tuple[SeenRecord, ...]:
    return tuple(
        _see(route, org, fields, qualifying=qualifying)
        for fields in records
        if not (_is_deleted(fields) and _is_left_out(route, deleted=True))
    )


def _is_left_out(route: Route, *, deleted: bool) -> bool:
    """Whether a policy of the route ignores the records that no longer qualify, deleted or not."""
    return any(getattr(route, name) == "ignore" and leaves(deleted) for name, leaves in LEFT_OUT_IF_IGNORED.items())


def _see(route: Route, org: OrgId, fields: dict[str, Any], *, qualifying: bool) -> SeenRecord:
    record = RecordId(fields["Id"])
    said = Record(route, org, record, fields).claims()
    return SeenRecord(
        record=record,
        modified_at=datetime.fromisoformat(fields["SystemModstamp"]),
        qualifies=qualifying,
        deleted=_is_deleted(fields),
        number=said.number,
        status=said.status,
        is_proven=said.proof is Proof.OWN,
    )


def _is_deleted(record: Mapping[str, Any]) -> bool:
    return record["IsDeleted"] in (True, "true")  # the latter from a query job


async def _until_complete(client: SalesforceClient, job: str) -> None:
    while not await bulk.is_complete(client, job):  # noqa: ASYNC110 - Salesforce has no other way to ask
        await asyncio.sleep(_JOB_POLL)


async def check_api_quota(client: SalesforceClient, share: float, *, setting: str = "sweep.api_share") -> None:
    """Raise `ThrottledError` while more than `share` of the org's API calls are used; the rest is for orders."""
    if client.usage is None or client.usage.used <= client.usage.max * share:
        return
    usage = await client.look_at_usage()  # what is known may be old: a waiting sweep makes no calls
    if usage is not None and usage.used > usage.max * share:
        raise ThrottledError(f"{usage}, more than `{setting}` allows", between=HOURS)
