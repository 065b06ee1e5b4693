"""Does everything answer that the settings name? Each org, route, ERP and Temporal is asked; nothing is changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Final, NamedTuple

from closedwon import temporal
from closedwon.errors import AttentionError, ClosedwonError
from closedwon.expressions import paths
from closedwon.ids import OrgId, RecordId
from closedwon.salesforce.contract import Contract, ContractError
from closedwon.salesforce.events import LATEST
from closedwon.settings import Route, Settings, Tombstone
from workers.connections import Connections

_NOBODY: Final = RecordId("000000000000000")
"""A well-formed id that no record has: a query for it shows whether object and fields exist, and fetches nothing."""


class Finding(NamedTuple):
    """One line of the report."""

    subject: str
    text: str
    wrong: bool = False
    cure: str = ""


async def remote(settings: Settings, connections: Connections) -> AsyncIterator[Finding]:
    """Ask every org, the records of its routes, and every ERP."""
    for org in settings.orgs:
        finding = await _found(f"org {org.name}", "orgs.url", connections.salesforce[org.id].check)
        yield finding
        for route in settings.routes:
            if route.org == org.name:
                for of_wsdl in _wsdl_findings(route):
                    yield of_wsdl
                yield await _route_finding(route, settings, connections, org_answers=not finding.wrong)
    for erp in settings.erps:
        yield await _found(f"erp {erp.name}", "erps.url", connections.erps[erp.name].check)


async def of_temporal(settings: Settings) -> Finding:
    """Ask Temporal."""
    return await _found("temporal", "TEMPORAL_ADDRESS", lambda: _temporal(settings))


async def _route_finding(route: Route, settings: Settings, connections: Connections, *, org_answers: bool) -> Finding:
    subject = f"route {route.name}"
    if not org_answers:
        return Finding(subject, f"not checked: org {route.org} does not answer", wrong=True)
    org = settings.org(route.org)

    async def try_reading() -> str:
        await connections.salesforce[org.id].read(route.object, route.query_fields, _NOBODY)
        if route.outbound is not None and route.outbound.tombstone is not None:
            buried = route.outbound.tombstone
            await connections.salesforce[org.id].read(buried.object, _fields_of(buried), _NOBODY)
        for channel in route.events:
            await _subscribe(connections, org.id, channel)
        heard = f", hears {', '.join(route.events)}" if route.events else ""
        return f"reads {route.object} with all its fields{heard}"

    return await _found(subject, "orgs.url", try_reading)


def _fields_of(tombstone: Tombstone) -> str:
    return ", ".join(sorted(paths(tombstone.record_id))) or "Id"


def _wsdl_findings(route: Route) -> Iterator[Finding]:
    """Compare the route with the contract of its outbound message, a line for each thing that is missing there."""
    if route.outbound is None or route.outbound.wsdl is None:
        return
    subject, file = f"wsdl of {route.name}", route.outbound.wsdl
    try:
        contract = Contract.read(file.read_bytes())
    except ContractError as error:
        yield Finding(subject, str(error), wrong=True, cure=f"`outbound.wsdl` of the route names {file}.")
        return
    complaints = [*contract.complaints(route)]
    for place, complaint in enumerate(complaints, 1):
        cure = "Mend the outbound message and export its WSDL anew, or mend the route."
        yield Finding(subject, complaint, wrong=True, cure=cure if place == len(complaints) else "")
    if not complaints:
        yield Finding(subject, f"{contract.object} with {len(contract.fields)} fields, all that the route needs")


async def _subscribe(connections: Connections, org: str, channel: str) -> None:
    stream = connections.open_stream(OrgId(org))
    try:
        await stream.subscribe(channel, LATEST)
    finally:
        await stream.close()


async def _temporal(settings: Settings) -> str:
    client = await temporal.connect(settings.encryption, patience=timedelta())
    missing = await temporal.missing_search_attributes(client)
    where = f"namespace {client.namespace} at {client.service_client.config.target_host}"
    where += ", encrypted" if settings.encryption.enabled else ", not encrypted"
    if missing:
        return f"{where}; the first worker will register the search attributes {', '.join(missing)}"
    return f"{where}, with all search attributes"


async def _found(subject: str, key: str, probe: Callable[[], Awaitable[str]]) -> Finding:
    try:
        return Finding(subject, await probe())
    except AttentionError as error:
        return Finding(subject, str(error), wrong=True, cure=error.cure)
    except ClosedwonError as error:
        return Finding(subject, str(error), wrong=True, cure=f"See that it runs and that `{key}` is its address.")
