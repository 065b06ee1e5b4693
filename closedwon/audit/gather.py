"""Asking Salesforce, the ERPs and Temporal what they have, and judging it. Reads only.

Each of the three is listed by the time of change, page by page. Whatever then lacks one of the three sides or does not
agree is asked for once more, by its id and from all three: so what was changed before `since` on one side is there,
and what was under way while the listings were read is seen as it is by then. Temporal is always asked first: a
workflow that ends while the others are read counts as under way, not as one that has ended without its work done.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

from closedwon import names, temporal
from closedwon.audit.judge import (
    Booked,
    Deal,
    Facts,
    Finding,
    Flow,
    Kind,
    Report,
    count,
    disagreements,
    doubtful,
    orphan,
)
from closedwon.audit.totals import totals_right
from closedwon.errors import AttentionError
from closedwon.ids import KEY_PREFIXES, InvalidIdError, OrgId, RecordId
from closedwon.model import idempotency_key, parse_idempotency_key
from closedwon.names import RecordKey
from closedwon.record import Record
from closedwon.salesforce.rest import with_fields
from closedwon.salesforce.scan import pages
from closedwon.write_back import Proof

if TYPE_CHECKING:
    from temporalio.client import Client, WorkflowExecution

    from closedwon.erp.base import Erp
    from closedwon.salesforce.rest import SalesforceClient
    from closedwon.settings import Route, Settings

LAG: Final = timedelta(minutes=5)
"""How young a change may be that has not arrived everywhere."""
_FAST_CLOCK: Final = timedelta(days=1)
_IDS_PER_QUERY: Final = 100
"""Record ids in one query, of Salesforce or Temporal."""
_WORKFLOWS_PER_PAGE: Final = 1000

OnProgress = Callable[[str, int], None]
"""Told what is being read (`Temporal`, an org, an ERP), and how many more of it were."""


class Connections(Protocol):
    """The clients of the two other sides; see `workers.connections`."""

    salesforce: dict[OrgId, SalesforceClient]
    erps: dict[str, Erp]


def quiet(_what: str, _more: int) -> None:
    """Show no progress."""


async def audit(
    settings: Settings,
    connections: Connections,
    client: Client,
    *,
    since: datetime,
    until: datetime | None = None,
    route: str | None = None,
    lag: timedelta = LAG,
    on_progress: OnProgress = quiet,
) -> Report:
    """Compare all records, orders and workflows that were changed from `since` to before `until` (default: now).

    A record counts by its own last change. With `route`, only its records are judged. Raises the errors of
    `closedwon.salesforce.errors` and `closedwon.erp.base`, and Temporal's `RPCError`.
    """
    books = _Books(settings, connections, client, on_progress)
    before = books.calls()
    now = datetime.now(UTC)
    # What is changed while we read is read, too, and counts as under way; so does what a fast clock has stamped.
    await books.list_all(
        since, until or now + _FAST_CLOCK, [one for one in settings.routes if route in (None, one.name)]
    )
    facts = books.facts()
    await books.ask_again({*doubtful(facts), *books.with_rivals()})
    await books.ask_who_is_spared(now)
    facts = books.facts()
    keys = [key for key in facts.records() if _is_asked_for(key, facts, until, route)]
    findings, under_way = disagreements(facts, keys, young=now - lag)
    return Report(
        since=since,
        until=until or now,
        counts=count(facts, keys),
        totals_right=totals_right(facts, keys),
        settled=count(facts, set(keys) - {(one.org, one.record) for one in under_way}),
        findings=(*findings, *(await books.orphans(since, min(until or now, now - lag)) if route is None else ())),
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

    def __init__(self, settings: Settings, connections: Connections, client: Client, on_progress: OnProgress) -> None:
        self._settings = settings
        self._connections = connections
        self._client = client
        self._tell = on_progress
        self._views: dict[RecordKey, dict[str, Deal]] = {}
        self._orders: dict[RecordKey, list[Booked]] = {}
        self._flows: dict[RecordKey, Flow] = {}

    def facts(self) -> Facts:
        """Each record as the route sees it that makes an order of it, else as any that reads its object."""
        deals = {key: _best(views.values(), self._flows.get(key)) for key, views in self._views.items()}
        return Facts(deals, self._orders, self._flows)

    def with_rivals(self) -> list[RecordKey]:
        """Ordered records whose route picks the ERP by the record: another may have an older order."""
        picking = {route.name for route in self._settings.routes if not isinstance(route.erp, str)}
        return [key for key in self._orders if picking & self._views.get(key, {}).keys()]

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
        await asyncio.gather(
            *(self._list_orders(erp, org, since) for erp in self._connections.erps.values() for org in orgs)
        )

    async def _list_records(self, route: Route, since: datetime, until: datetime) -> None:
        org = self._settings.org(route.org)
        written = [f"{field} != null" for field in (route.write_back.number, route.write_back.status) if field]
        if route.source == "event" and not written:
            return  # neither what it asks for nor what it was told can be read from the record
        where = " OR ".join(written) if route.source == "event" else "Id != null"
        client = self._connections.salesforce[org.id]
        async for page in pages(
            client, route.object, route.query_fields, where=where, since=since, until=until, deleted=True
        ):
            for record in page.records:
                self._see(RecordKey(org.id, RecordId(record["Id"])), route, record)
            self._tell(org.name, len(page.records))

    async def _list_orders(self, erp: Erp, org: OrgId, since: datetime) -> None:
        async for raw, order in erp.orders_since(org, since):
            key = _record_of(raw)
            if key is not None:
                self._orders.setdefault(key, []).append(Booked(erp=erp.name, key=raw, order=order))
            self._tell(erp.name, 1)

    async def _list_flows(self, condition: str) -> None:
        query = f"WorkflowType = '{names.ORDER_WORKFLOW}' AND ({condition})"
        async for execution in self._client.list_workflows(query, page_size=_WORKFLOWS_PER_PAGE):
            key, flow = names.parse_order_workflow_id(execution.id), _flow(execution)
            known = self._flows.get(key)
            if key.org in self._connections.salesforce and (known is None or flow.started_at >= known.started_at):
                self._flows[key] = flow
                self._tell("Temporal", known is None)

    async def orphans(self, since: datetime, until: datetime) -> list[Finding]:
        """Customers without an order, in ERPs where we make them."""
        return [
            orphan(name, account)
            for name, erp in self._connections.erps.items()
            async for account in erp.orphans(since, until)
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
        for erp in self._connections.erps.values():
            found = await erp.find_many([*raw])
            for idempotent, orders in found.items():
                booked = [Booked(erp=erp.name, key=idempotent, order=order) for order in orders]
                self._orders.setdefault(raw[idempotent], []).extend(booked)

    async def ask_who_is_spared(self, now: datetime) -> None:
        """Note whose order a person lets live though its deal was taken back."""
        facts = self.facts()
        for one in itertools.chain(*disagreements(facts, facts.records(), young=now)):
            if one.kind is Kind.ORDER_WITHOUT_DEAL and one.org is not None:
                key = RecordKey(one.org, one.record)
                if (flow := self._flows.get(key)) and await temporal.is_spared(self._client, *key):
                    self._flows[key] = flow.model_copy(update={"spared": True})

    async def _read(self, route: Route, keys: Sequence[RecordKey]) -> None:
        """Read records through a route that may be theirs; deleted ones are there for as long as they can be seen."""
        org, prefix = self._settings.org(route.org).id, KEY_PREFIXES.get(route.object)
        select = with_fields(route.object, route.query_fields, "SystemModstamp", "IsDeleted")
        mine = [key.record for key in keys if key.org == org and prefix in (None, key.record.prefix)]
        for batch in _batches(mine):
            soql = f"SELECT {select} FROM {route.object} WHERE Id IN ({_quoted(batch)})"  # noqa: S608 - names from our settings, checked ids
            for record in await self._connections.salesforce[org].query(soql, deleted=True):
                self._see(RecordKey(org, RecordId(record["Id"])), route, record)

    def _see(self, key: RecordKey, route: Route, record: dict[str, Any]) -> None:
        self._views.setdefault(key, {})[route.name] = _deal(route, key, record)


def _best(views: Iterable[Deal], flow: Flow | None) -> Deal:
    """Of several routes that read an object, the one that orders, or has ordered; with its own fields' values."""
    ordered_by = flow.route if flow else None
    return max(
        views, key=lambda deal: (deal.wanted is True, deal.wanted is None, deal.route == ordered_by, bool(deal.number))
    )


def _deal(route: Route, key: RecordKey, fields: dict[str, Any]) -> Deal:
    record = Record(route, key.org, key.record, fields)
    said = record.claims()
    names = {"number": route.write_back.number, "status": route.write_back.status}
    is_copied = route.write_back.key is not None and said.has_given_up and said.proof is not Proof.OWN
    facts: dict[str, Any] = {
        "route": route.name,
        "modified_at": fields["SystemModstamp"],
        "told": frozenset(name for name, field in names.items() if field),
        "number": said.number,
        "status": None if is_copied else said.status,
    }
    policies, by_event = route.policies, route.source == "event"
    facts["by_event"] = by_event
    if fields["IsDeleted"]:
        return Deal(wanted=False, deleted=True, tolerated=_taken_back(policies.deleted), **facts)
    if by_event:
        return Deal(wanted=None, **facts)
    try:
        if not record.qualifies():
            return Deal(wanted=False, tolerated=_taken_back(policies.unwon), **facts)
        order = record.order()
    except AttentionError as error:
        return Deal(wanted=True, problem=str(error), **facts)
    changed = frozenset({Kind.AMOUNT_DIFFERS} if policies.changed == "ignore" else ())
    return Deal(wanted=True, order=order, tolerated=changed, **facts)


def _taken_back(policy: str) -> frozenset[Kind]:
    return frozenset({Kind.ORDER_WITHOUT_DEAL} if policy == "ignore" else ())


def _flow(execution: WorkflowExecution) -> Flow:
    def attribute(name: str) -> str | None:
        values = execution.search_attributes.get(name)
        return str(values[0]) if values else None

    return Flow(
        status=execution.status.name.lower().replace("_", " ") if execution.status else "running",
        route=attribute(names.ROUTE),
        stage=attribute(names.ORDER_STAGE),
        reason=attribute(names.ATTENTION_REASON),
        number=attribute(names.ERP_ORDER_NUMBER),
        started_at=execution.start_time,
    )


def _record_of(raw: str) -> RecordKey | None:
    """Read an idempotency key, also one with a 15-character id; None for what is none of ours."""
    try:
        return RecordKey(*parse_idempotency_key(raw))
    except InvalidIdError:
        return None


def _quoted(records: Iterable[RecordId]) -> str:
    return ", ".join(f"'{record}'" for record in records)


def _batches(records: Sequence[RecordId]) -> Iterator[Sequence[RecordId]]:
    for start in range(0, len(records), _IDS_PER_QUERY):
        yield records[start : start + _IDS_PER_QUERY]
