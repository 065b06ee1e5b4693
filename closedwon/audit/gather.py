"""Asking Salesforce, the ERPs and Temporal what they have, and judging it. Reads only.

Each of the three is listed by the time of change, page by page. Whatever then lacks one of the three sides or does not
agree is asked for once more, by its id and from all three: so what was changed before `since` on one side is there,
and what was under way while the listings were read is seen as it is by then. Temporal is always asked first: a
workflow that ends while the others are read counts as under way, not as one that has ended without its work done.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

from closedwon import names, temporal
from closedwon.audit.facts import Booked, Deal, Facts, Flow
from closedwon.audit.judge import Finding, Report, count, disagreements, doubtful, orphan
from closedwon.audit.kinds import Kind
from closedwon.audit.totals import totals_right
from closedwon.audit.views import best, deal_of, flow_of, record_of, select_of, where_of
from closedwon.erp.base import Erp, checked
from closedwon.ids import KEY_PREFIXES, OrgId, RecordId
from closedwon.model import idempotency_key
from closedwon.names import RecordKey
from closedwon.salesforce.rest import with_fields
from closedwon.salesforce.scan import pages

if TYPE_CHECKING:
    from temporalio.client import Client

    from closedwon.salesforce.rest import SalesforceClient
    from closedwon.settings import Route, Settings

LAG: Final = timedelta(minutes=5)
"""How young a change may be that has not arrived everywhere."""
_FAST_CLOCK: Final = timedelta(days=1)
_IDS_PER_QUERY: Final = 100
"""Record ids in one query, of Salesforce or Temporal."""
_WORKFLOWS_PER_PAGE: Final = 1000
_AT_A_TIME: Final = 20
"""Workflows that are asked side by side how they have ended."""
_ASKS_HOW_IT_ENDED: Final = frozenset({
    Kind.ORDER_WITHOUT_DEAL, Kind.COPIED_STATUS, Kind.FOREIGN_ORDER, Kind.CANCELLED_IN_ERP, Kind.AMOUNT_DIFFERS,
})  # fmt: skip
"""What looks otherwise once it is known how the record's workflow has ended."""

Spare = Callable[["SalesforceClient"], Awaitable[None]]
"""Called before each query of an org; raises while the org has no API calls to spare."""
OnProgress = Callable[[str, int], None]
"""Told what is being read (`Temporal`, an org, an ERP), and how many more of it were."""


class Connections(Protocol):
    """The clients of the two other sides; see `workers.connections`."""

    salesforce: dict[OrgId, SalesforceClient]
    erps: dict[str, Erp]


def quiet(_what: str, _more: int) -> None:
    """Show no progress."""


async def spare_nothing(_client: SalesforceClient) -> None:
    """Ask as much as there is to ask: a person waits for the answer."""


async def audit(
    settings: Settings,
    connections: Connections,
    client: Client,
    *,
    since: datetime,
    until: datetime | None = None,
    route: str | None = None,
    also: Iterable[RecordKey] = (),
    orphans: bool = True,
    only_swept: bool = False,
    lag: timedelta = LAG,
    on_progress: OnProgress = quiet,
    spare: Spare = spare_nothing,
) -> Report:
    """Compare all records, orders and workflows that were changed from `since` to before `until` (default: now).

    A record counts by its own last change. With `route`, only its records are judged; `also` names records that are
    judged whenever they were changed. `orphans`: whether customers without an order are reported, too. `only_swept`
    leaves out won deals of which nobody has heard and that no sweep would order. An answer of an ERP without the key
    that was asked for is not believed. Raises the errors of `closedwon.salesforce.errors` and `closedwon.erp.base`, and
    Temporal's `RPCError`.
    """
    books = _Books(settings, connections, client, on_progress, spare)
    before = books.calls()
    now = datetime.now(UTC)
    # What is changed while we read is read, too, and counts as under way; so does what a fast clock has stamped.
    await books.list_all(
        since, until or now + _FAST_CLOCK, [one for one in settings.routes if route in (None, one.name)]
    )
    facts = books.facts()
    await books.ask_again({*doubtful(facts), *books.with_rivals(), *also})
    if only_swept:
        await books.ask_what_is_swept()
    await books.ask_how_they_ended(now)
    facts = books.facts()
    keys = [key for key in facts.records() if _is_asked_for(key, facts, until, route)]
    findings, under_way = disagreements(facts, keys, young=now - lag)
    return Report(
        since=since,
        until=until or now,
        counts=count(facts, keys),
        totals_right=totals_right(facts, keys),
        settled=count(facts, set(keys) - {(one.org, one.record) for one in under_way}),
        findings=(
            *findings,
            *(await books.orphans(since, min(until or now, now - lag)) if orphans and route is None else ()),
        ),
        under_way=tuple(under_way),
        in_attention=sum(flow.in_attention for key in keys if (flow := facts.flows.get(key))),
        looked_at={
            "records": sum(key in facts.deals for key in keys),
            "orders": sum(len(facts.orders.get(key, ())) for key in keys),
            "workflows": sum(key in facts.flows for key in keys),
        },
        calls={name: calls - before[name] for name, calls in books.calls().items()},
    )


def _is_asked_for(key: RecordKey, facts: Facts, until: datetime | None, route: str | None) -> bool:
    deal, flow = facts.deals.get(key), facts.flows.get(key)
    if until is not None and deal is not None and deal.modified_at >= until:
        return False
    return route is None or route in (deal.route if deal else None, flow.route if flow else None)


class _Books:
    """What the three have said so far."""

    def __init__(
        self,
        settings: Settings,
        connections: Connections,
        client: Client,
        on_progress: OnProgress,
        spare: Spare,
    ) -> None:
        self._settings = settings
        self._connections = connections
        self._erps = {name: checked(erp) for name, erp in connections.erps.items()}
        self._client = client
        self._tell = on_progress
        self._spare = spare
        self._orgs = {org.id for org in settings.orgs}
        self._views: dict[RecordKey, dict[str, Deal]] = {}
        self._orders: dict[RecordKey, list[Booked]] = {}
        self._flows: dict[RecordKey, Flow] = {}

    def facts(self) -> Facts:
        """Each record as the route sees it that makes an order of it, else as any that reads its object."""
        deals = {key: best(views.values(), self._flows.get(key)) for key, views in self._views.items()}
        return Facts(deals, self._orders, self._flows)

    def with_rivals(self) -> list[RecordKey]:
        """Ordered records for which their routes may pick several ERPs: another one may have an older order."""
        return [key for key in self._orders if self._may_pick(self._views.get(key, {}))]

    def _may_pick(self, views: Mapping[str, Deal]) -> bool:
        """Whether a route picks the ERP by the record, or several routes over one object have several ERPs."""
        routes = [self._settings.route(name) for name in views]
        by_name = {route.erp for route in routes if isinstance(route.erp, str)}
        return len(by_name) > 1 or any(not isinstance(route.erp, str) for route in routes)

    def calls(self) -> dict[str, int]:
        """API calls so far, by org and ERP."""
        clients = self._connections
        orgs = {org.name: clients.salesforce[org.id].calls for org in self._settings.orgs}
        return orgs | {name: erp.calls for name, erp in clients.erps.items()}

    # By time

    async def list_all(self, since: datetime, until: datetime, routes: Sequence[Route]) -> None:
        start, end = since.isoformat(), until.isoformat()
        await self._list_flows(
            f"StartTime < '{end}' AND (StartTime >= '{start}' OR CloseTime >= '{start}' OR ExecutionStatus = 'Running')"
        )
        await asyncio.gather(*(self._list_records(route, since, until) for route in routes))
        orgs = {self._settings.org(route.org).id for route in routes}
        await asyncio.gather(*(self._list_orders(erp, org, since) for erp in self._erps.values() for org in orgs))

    async def _list_records(self, route: Route, since: datetime, until: datetime) -> None:
        org = self._settings.org(route.org)
        where = where_of(route)
        if where is None:
            return  # neither what it asks for nor what it was told can be read from the record
        client = self._connections.salesforce[org.id]
        await self._spare(client)
        async for page in pages(
            client, route.object, select_of(route), where=where, since=since, until=until, deleted=True
        ):
            for record in page.records:
                self._see(RecordKey(org.id, RecordId(record["Id"])), route, record)
            self._tell(org.name, len(page.records))
            await self._spare(client)

    async def _list_orders(self, erp: Erp, org: OrgId, since: datetime) -> None:
        async for raw, order in erp.orders_since(org, since):
            key = record_of(raw)
            if key is not None:
                self._orders.setdefault(key, []).append(Booked(erp=erp.name, key=raw, order=order))
            self._tell(erp.name, 1)

    async def _list_flows(self, condition: str) -> None:
        query = f"WorkflowType = '{names.ORDER_WORKFLOW}' AND ({condition})"
        async for execution in self._client.list_workflows(query, page_size=_WORKFLOWS_PER_PAGE):
            key, flow = names.parse_order_workflow_id(execution.id), flow_of(execution)
            known = self._flows.get(key)
            if key.org in self._orgs and (known is None or flow.started_at >= known.started_at):
                self._flows[key] = flow
                self._tell("Temporal", known is None)

    async def orphans(self, since: datetime, until: datetime) -> list[Finding]:
        """Customers without an order, in ERPs where we make them."""
        return [
            orphan(name, account) for name, erp in self._erps.items() async for account in erp.orphans(since, until)
        ]

    # By id

    async def ask_again(self, keys: Iterable[RecordKey]) -> None:
        """Replace what is known of some records by what all three say of them now."""
        wanted = sorted(keys)
        for batch in _batches([key.record for key in wanted]):
            await self._list_flows(f"{names.SALESFORCE_RECORD_ID} IN ({_quoted(batch)})")
        for key in wanted:
            self._views.pop(key, None)
        await asyncio.gather(*(self._read(route, wanted) for route in self._settings.routes))
        # A key that was listed in another form, e.g. with a 15-character id, would not be found under its usual one.
        raw = {idempotency_key(*key): key for key in wanted}
        raw |= {one.key: key for key in wanted for one in self._orders.get(key, [])}
        for key in wanted:
            self._orders.pop(key, None)
        for erp in self._erps.values():
            found = await erp.find_many([*raw])
            for idempotent, orders in found.items():
                booked = [Booked(erp=erp.name, key=idempotent, order=order) for order in orders]
                self._orders.setdefault(raw[idempotent], []).extend(booked)

    async def ask_what_is_swept(self) -> None:
        """Note which won deals without an order and a workflow are beyond the condition of their route's sweeps.

        By it people say since when orders are Closedwon's business: an older deal that somebody edits is not missing.
        """
        unheard: dict[tuple[OrgId, str], list[RecordKey]] = {}
        for key, deal in self.facts().deals.items():
            if deal.wanted and key not in self._orders and key not in self._flows:
                unheard.setdefault((key.org, deal.route), []).append(key)
        for (org, name), keys in unheard.items():
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

    async def ask_how_they_ended(self, now: datetime) -> None:
        """Note how the workflows have ended whose end decides whether something disagrees, and how it is called."""
        facts, gate = self.facts(), asyncio.Semaphore(_AT_A_TIME)
        findings = itertools.chain(*disagreements(facts, facts.records(), young=now))
        keys = {RecordKey(one.org, one.record) for one in findings if one.kind in _ASKS_HOW_IT_ENDED and one.org}

        async def ask(key: RecordKey, flow: Flow) -> None:
            async with gate:
                self._flows[key] = flow.model_copy(update={"ended": await temporal.ended(self._client, *key)})

        flows = {key: flow for key in keys if (flow := self._flows.get(key)) and flow.status != "running"}
        await asyncio.gather(*(ask(key, flow) for key, flow in flows.items()))

    async def _read(self, route: Route, keys: Sequence[RecordKey]) -> None:
        """Read records through a route that may be theirs; deleted ones are there for as long as they can be seen."""
        org, prefix = self._settings.org(route.org).id, KEY_PREFIXES.get(route.object)
        select = with_fields(route.object, select_of(route), "SystemModstamp", "IsDeleted")
        mine = [key.record for key in keys if key.org == org and prefix in (None, key.record.prefix)]
        for batch in _batches(mine):
            soql = f"SELECT {select} FROM {route.object} WHERE Id IN ({_quoted(batch)})"  # noqa: S608 - names from our settings, checked ids
            for record in await self._query(org, soql):
                self._see(RecordKey(org, RecordId(record["Id"])), route, record)

    async def _query(self, org: OrgId, soql: str) -> list[dict[str, Any]]:
        client = self._connections.salesforce[org]
        await self._spare(client)
        return await client.query(soql, deleted=True)

    def _see(self, key: RecordKey, route: Route, record: dict[str, Any]) -> None:
        self._views.setdefault(key, {})[route.name] = deal_of(route, key, record)


def _quoted(records: Iterable[RecordId]) -> str:
    return ", ".join(f"'{record}'" for record in records)


def _batches(records: Sequence[RecordId]) -> Iterator[Sequence[RecordId]]:
    for start in range(0, len(records), _IDS_PER_QUERY):
        yield records[start : start + _IDS_PER_QUERY]
