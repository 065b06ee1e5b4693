"""Collect the records of Salesforce, the ERPs and Temporal, and report where they disagree. Reads only.

Each system is listed by the time of change, page by page. Records that lack one of the three systems, or on which they
disagree, are read again by id from all three. This completes records that one system has changed before `since`, and
updates records that changed while the listings were read.

Temporal is always read first. So a workflow that ends while the other systems are read counts as under way, not as
completed without effect.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

from closedwon import names
from closedwon.audit.compare import AuditReport, Finding, count, disagreements, incomplete, orphan
from closedwon.audit.facts import AuditedDeal, AuditedWorkflow, ErpEntry, Facts
from closedwon.audit.kinds import FindingKind
from closedwon.audit.totals import totals_right
from closedwon.audit.views import best, deal_of, flow_of, record_of, select_of, where_of
from closedwon.erp.base import Erp, checked
from closedwon.ids import KEY_PREFIXES, OrgId, RecordId
from closedwon.model.orders import idempotency_key
from closedwon.names import RecordKey
from closedwon.salesforce.api.rest import with_fields
from closedwon.salesforce.api.scan import pages
from closedwon.temporal import visibility
from closedwon.temporal.orders import order_result

if TYPE_CHECKING:
    from temporalio.client import Client

    from closedwon.salesforce.api.rest import SalesforceClient
    from closedwon.settings import Route, Settings

LAG: Final = timedelta(minutes=5)
"""A change that is younger than this may not have arrived everywhere."""
_FAST_CLOCK: Final = timedelta(days=1)
_IDS_PER_QUERY: Final = 100
"""Record ids in one query, of Salesforce or Temporal."""
_WORKFLOWS_PER_PAGE: Final = 1000
_AT_A_TIME: Final = 20
"""Workflows whose result is read in parallel."""
_NEEDS_OUTCOME: Final = frozenset(
    {
        FindingKind.ORDER_WITHOUT_DEAL,
        FindingKind.COPIED_STATUS,
        FindingKind.FOREIGN_ORDER,
        FindingKind.CANCELLED_IN_ERP,
        FindingKind.AMOUNT_DIFFERS,
    }
)
"""Kinds of findings that depend on the result of the record's workflow."""

CheckQuota = Callable[["SalesforceClient"], Awaitable[None]]
"""Called before each query of an org; raises while the org has too few API calls left."""
OnProgress = Callable[[str, int], None]
"""Called with what was read (`Temporal`, an org, an ERP), and with the number of additional items."""


class AuditConnections(Protocol):
    """The clients of Salesforce and the ERPs; see `workers.connections`."""

    salesforce: dict[OrgId, SalesforceClient]
    erps: dict[str, Erp]


def no_progress(_what: str, _more: int) -> None:
    """Show no progress."""


async def check_nothing(_client: SalesforceClient) -> None:
    """Set no limit: a person waits for the report."""


async def audit(
    settings: Settings,
    connections: AuditConnections,
    client: Client,
    *,
    since: datetime,
    until: datetime | None = None,
    route: str | None = None,
    also: Iterable[RecordKey] = (),
    orphans: bool = True,
    only_swept: bool = False,
    lag: timedelta = LAG,
    on_progress: OnProgress = no_progress,
    check_quota: CheckQuota = check_nothing,
) -> AuditReport:
    """Compare all records, orders and workflows that were changed from `since` to before `until` (default: now).

    The time of a record is that of its own last change. `route` limits the audit to one route's records; `also` names
    records that are compared whenever they were changed. `orphans` adds customers without an order. `only_swept`
    excludes won deals without an order and a workflow that no sweep would order. Raises the errors of
    `closedwon.salesforce.errors` and `closedwon.erp.base`, and Temporal's `RPCError`.
    """
    collected = _AuditInput(settings, connections, client, on_progress, check_quota)
    before = collected.calls()
    now = datetime.now(UTC)
    # Changes during the audit, and times of a fast clock, are read as well and count as under way.
    await collected.list_all(
        since, until or now + _FAST_CLOCK, [one for one in settings.routes if route in (None, one.name)]
    )
    await collected.reread({*incomplete(collected.facts()), *collected.with_several_erps(), *also})
    if only_swept:
        await collected.exclude_unswept()
    await collected.read_outcomes(now)
    facts = collected.facts()
    keys = [key for key in facts.records() if _is_selected(key, facts, until, route)]
    customers = await collected.orphans(since, min(until or now, now - lag)) if orphans and route is None else []
    findings, under_way = disagreements(facts, keys, young=now - lag)
    return AuditReport(
        since=since,
        until=until or now,
        counts=count(facts, keys),
        totals_right=totals_right(facts, keys),
        settled=count(facts, set(keys) - {(one.org, one.record) for one in under_way}),
        findings=(*findings, *customers),
        under_way=tuple(under_way),
        in_attention=sum(flow.in_attention for key in keys if (flow := facts.flows.get(key))),
        looked_at=_sizes(facts, keys),
        calls={name: calls - before[name] for name, calls in collected.calls().items()},
    )


def _sizes(facts: Facts, keys: Iterable[RecordKey]) -> dict[str, int]:
    """Count the records, orders and workflows that were compared."""
    sizes = Counter({"records": 0, "orders": 0, "workflows": 0})
    for key in keys:
        sizes["records"] += key in facts.deals
        sizes["orders"] += len(facts.orders.get(key, ()))
        sizes["workflows"] += key in facts.flows
    return dict(sizes)


def _is_selected(key: RecordKey, facts: Facts, until: datetime | None, route: str | None) -> bool:
    deal, flow = facts.deals.get(key), facts.flows.get(key)
    if until is not None and deal is not None and deal.modified_at >= until:
        return False
    return route is None or route in (deal.route if deal else None, flow.route if flow else None)


class _AuditInput:
    """What was read of the three systems so far."""

    def __init__(
        self,
        settings: Settings,
        connections: AuditConnections,
        client: Client,
        on_progress: OnProgress,
        check_quota: CheckQuota,
    ) -> None:
        self._settings = settings
        self._connections = connections
        self._erps = {name: checked(erp) for name, erp in connections.erps.items()}
        self._client = client
        self._on_progress = on_progress
        self._check_quota = check_quota
        self._orgs = {org.id for org in settings.orgs}
        self._views: dict[RecordKey, dict[str, AuditedDeal]] = {}
        self._orders: dict[RecordKey, list[ErpEntry]] = {}
        self._flows: dict[RecordKey, AuditedWorkflow] = {}

    def facts(self) -> Facts:
        """Return the facts; each record as seen by the route that orders it, else by any route of its object."""
        deals = {key: best(views.values(), self._flows.get(key)) for key, views in self._views.items()}
        return Facts(deals, self._orders, self._flows)

    def with_several_erps(self) -> list[RecordKey]:
        """Return the ordered records whose routes may select several ERPs: another ERP may have an older order."""
        return [key for key in self._orders if self._may_have_several_erps(self._views.get(key, {}))]

    def _may_have_several_erps(self, views: Mapping[str, AuditedDeal]) -> bool:
        """Whether a route selects the ERP by the record, or several routes of one object have different ERPs."""
        routes = [self._settings.route(name) for name in views]
        by_name = {route.erp for route in routes if isinstance(route.erp, str)}
        return len(by_name) > 1 or any(not isinstance(route.erp, str) for route in routes)

    def calls(self) -> dict[str, int]:
        """Return the API calls so far, by org and ERP."""
        clients = self._connections
        orgs = {org.name: clients.salesforce[org.id].calls for org in self._settings.orgs}
        return orgs | {name: erp.calls for name, erp in clients.erps.items()}

    # By time

    async def list_all(self, since: datetime, until: datetime, routes: Sequence[Route]) -> None:
        in_span = visibility.any_of(visibility.started_since(since), visibility.closed_since(since), visibility.RUNNING)
        await self._list_flows(visibility.all_of(visibility.started_before(until), in_span))
        await asyncio.gather(*(self._list_records(route, since, until) for route in routes))
        orgs = {self._settings.org(route.org).id for route in routes}
        await asyncio.gather(*(self._list_orders(erp, org, since) for erp in self._erps.values() for org in orgs))

    async def _list_records(self, route: Route, since: datetime, until: datetime) -> None:
        org = self._settings.org(route.org)
        where = where_of(route)
        if where is None:
            return  # the record contains neither what must be ordered nor what was written back
        client = self._connections.salesforce[org.id]
        await self._check_quota(client)
        async for page in pages(
            client, route.object, select_of(route), where=where, since=since, until=until, deleted=True
        ):
            for record in page.records:
                self._add(RecordKey(org.id, RecordId(record["Id"])), route, record)
            self._on_progress(org.name, len(page.records))
            await self._check_quota(client)

    async def _list_orders(self, erp: Erp, org: OrgId, since: datetime) -> None:
        async for raw, order in erp.orders_since(org, since):
            key = record_of(raw)
            if key is not None:
                self._orders.setdefault(key, []).append(ErpEntry(erp=erp.name, key=raw, order=order))
            self._on_progress(erp.name, 1)

    async def _list_flows(self, condition: str) -> None:
        query = visibility.all_of(visibility.of_type(names.ORDER_WORKFLOW), condition)
        async for execution in self._client.list_workflows(query, page_size=_WORKFLOWS_PER_PAGE):
            key, flow = names.parse_order_workflow_id(execution.id), flow_of(execution)
            known = self._flows.get(key)
            if key.org in self._orgs:
                self._flows[key] = flow if known is None else known.merged_with(flow)
                self._on_progress("Temporal", known is None)

    async def orphans(self, since: datetime, until: datetime) -> list[Finding]:
        """Return findings about customers without an order, in ERPs where Closedwon creates customers."""
        return [
            orphan(name, account) for name, erp in self._erps.items() async for account in erp.orphans(since, until)
        ]

    # By id

    async def reread(self, keys: Iterable[RecordKey]) -> None:
        """Read some records again from all three systems, and replace what is known of them."""
        wanted = sorted(keys)
        for batch in _batches([key.record for key in wanted]):
            await self._list_flows(visibility.one_of(names.SALESFORCE_RECORD_ID, batch))
        for key in wanted:
            self._views.pop(key, None)
        await asyncio.gather(*(self._read(route, wanted) for route in self._settings.routes))
        # A listed key may have another form, e.g. a 15-character id, and is not found by its usual form then.
        raw = {idempotency_key(*key): key for key in wanted}
        raw |= {one.key: key for key in wanted for one in self._orders.get(key, [])}
        for key in wanted:
            self._orders.pop(key, None)
        for erp in self._erps.values():
            found = await erp.find_many([*raw])
            for idempotent, orders in found.items():
                entries = [ErpEntry(erp=erp.name, key=idempotent, order=order) for order in orders]
                self._orders.setdefault(raw[idempotent], []).extend(entries)

    async def exclude_unswept(self) -> None:
        """Mark won deals without an order and a workflow as not wanted if no sweep of their route would find them.

        The condition of the sweeps (`sweep.where`) says since when Closedwon handles orders. So an older deal that
        somebody edits is not a missing order.
        """
        unseen: dict[tuple[OrgId, str], list[RecordKey]] = {}
        for key, deal in self.facts().deals.items():
            if deal.wanted and key not in self._orders and key not in self._flows:
                unseen.setdefault((key.org, deal.route), []).append(key)
        for (org, name), keys in unseen.items():
            route = self._settings.route(name)
            if route.sweep is None or route.sweep.where is None:
                continue
            swept = set()
            for batch in _batches([key.record for key in keys]):
                soql = f"SELECT Id FROM {route.object} WHERE Id IN ({_quoted(batch)}) AND ({route.sweep.where})"  # noqa: S608 - settings, checked ids
                swept |= {RecordId(record["Id"]) for record in await self._query(org, soql)}
            for key in keys:
                if key.record not in swept:
                    self._views[key][name] = self._views[key][name].model_copy(update={"wanted": False})

    async def read_outcomes(self, now: datetime) -> None:
        """Read the results of the workflows on which the existence or the kind of a finding depends."""
        facts, gate = self.facts(), asyncio.Semaphore(_AT_A_TIME)
        findings = itertools.chain(*disagreements(facts, facts.records(), young=now))
        keys = {RecordKey(one.org, one.record) for one in findings if one.kind in _NEEDS_OUTCOME and one.org}

        async def ask(key: RecordKey, flow: AuditedWorkflow) -> AuditedWorkflow:
            async with gate:
                return flow.model_copy(update={"ended": await order_result(self._client, *key, run=flow.run)})

        async def note(key: RecordKey, flow: AuditedWorkflow) -> None:
            known = flow if flow.status == "running" else await ask(key, flow)
            before = flow.cancelled_before and await ask(key, flow.cancelled_before)
            self._flows[key] = known.model_copy(update={"cancelled_before": before})

        await asyncio.gather(*(note(key, flow) for key in keys if (flow := self._flows.get(key))))

    async def _read(self, route: Route, keys: Sequence[RecordKey]) -> None:
        """Read records through a route that may be theirs, also deleted ones as long as Salesforce shows them."""
        org, prefix = self._settings.org(route.org).id, KEY_PREFIXES.get(route.object)
        select = with_fields(route.object, select_of(route), "SystemModstamp", "IsDeleted")
        mine = [key.record for key in keys if key.org == org and prefix in (None, key.record.prefix)]
        for batch in _batches(mine):
            soql = f"SELECT {select} FROM {route.object} WHERE Id IN ({_quoted(batch)})"  # noqa: S608 - names from our settings, checked ids
            for record in await self._query(org, soql):
                self._add(RecordKey(org, RecordId(record["Id"])), route, record)

    async def _query(self, org: OrgId, soql: str) -> list[dict[str, Any]]:
        client = self._connections.salesforce[org]
        await self._check_quota(client)
        return await client.query(soql, deleted=True)

    def _add(self, key: RecordKey, route: Route, record: dict[str, Any]) -> None:
        self._views.setdefault(key, {})[route.name] = deal_of(route, key, record)


def _quoted(records: Iterable[RecordId]) -> str:
    return ", ".join(f"'{record}'" for record in records)


def _batches(records: Sequence[RecordId]) -> Iterator[Sequence[RecordId]]:
    for start in range(0, len(records), _IDS_PER_QUERY):
        yield records[start : start + _IDS_PER_QUERY]
