"""Does everything answer that the settings name? Each org, route, ERP and Temporal is asked; nothing is changed.

What the workers check while they run (`workers.checks`) is asked by the same functions, and found in the same words.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from temporalio.service import RPCError

from closedwon import temporal
from closedwon.codec import KmsError
from closedwon.errors import AttentionError, ClosedwonError
from closedwon.expressions import paths
from closedwon.ids import OrgId
from closedwon.salesforce.contract import Contract, ContractError
from closedwon.salesforce.errors import ConfigurationError, WrongOrgError
from closedwon.salesforce.events import LATEST
from closedwon.salesforce.fields import Complaint, complaints_of
from closedwon.salesforce.rest import SalesforceClient
from closedwon.salesforce.scan import pages
from closedwon.settings import Route, Settings, Tombstone
from workers.checks import NO_RECORD, as_error, read_nothing
from workers.connections import Connections


class Finding(NamedTuple):
    """One line of the report."""

    subject: str
    text: str
    wrong: bool = False
    cure: str = ""
    warns: bool = False
    """Not wrong, but it will cost something."""


async def remote(settings: Settings, connections: Connections) -> AsyncIterator[Finding]:
    """Ask every org, the records of its routes, and every ERP."""
    for org in settings.orgs:
        finding = await _found(f"org {org.name}", "orgs.url", connections.salesforce[org.id].check)
        yield finding
        for route in settings.routes:
            if route.org == org.name:
                for of_wsdl in _wsdl_findings(route):
                    yield of_wsdl
                async for of_route in _route_findings(route, settings, connections, org_answers=not finding.wrong):
                    yield of_route
    for erp in settings.erps:
        yield await _found(f"erp {erp.name}", "erps.url", connections.erps[erp.name].check)


async def of_temporal(settings: Settings) -> Finding:
    """Ask Temporal."""
    try:
        return await _found("temporal", "TEMPORAL_ADDRESS", lambda: _temporal(settings))
    except RPCError as error:
        said = f"answers {error.status.name}: {error.message.removesuffix('.')}"
        cure = "Mend TEMPORAL_NAMESPACE or TEMPORAL_ADDRESS, or let whoever asks look into the namespace."
        return Finding("temporal", said, wrong=True, cure=cure)


async def _route_findings(
    route: Route, settings: Settings, connections: Connections, *, org_answers: bool
) -> AsyncIterator[Finding]:
    subject = f"route {route.name}"
    if not org_answers:
        yield Finding(subject, f"not checked: org {route.org} does not answer", wrong=True)
        return
    org = settings.org(route.org)
    client = connections.salesforce[org.id]
    complaints: list[Complaint] = []

    async def try_reading() -> str:
        complaints.extend((await complaints_of([route], client.describe))[route.name])
        await read_nothing(client, route)
        if route.outbound is not None and route.outbound.tombstone is not None:
            buried = route.outbound.tombstone
            await client.read(buried.object, _fields_of(buried), NO_RECORD)
        await _try_sweeping(route, client)
        for channel in route.events:
            await _subscribe(connections, org.id, channel)
        return f"reads {route.object} with all its fields{_heard(route)}"

    read = await _found(subject, "orgs.url", try_reading)
    holding = [one for one in complaints if one.holds]
    for one in holding:
        error = as_error(route, one)
        yield Finding(subject, str(error), wrong=True, cure=error.cure)
    if not holding or read.wrong:
        yield read
    for one in complaints:
        if not one.holds:
            yield Finding(subject, f"{one.key}: {one.text}", cure=one.hint, warns=True)


async def _try_sweeping(route: Route, client: SalesforceClient) -> None:
    """Ask for the records of no time at all by the condition of the route's sweeps."""
    if route.sweep is None or route.sweep_where is None:
        return
    select, now = route.sweep.select or route.query_fields, datetime.now(UTC)
    try:
        async for _ in pages(client, route.object, select, where=route.sweep_where, since=now, until=now):
            pass
    except ConfigurationError as error:
        raise ConfigurationError(str(error), cure="Correct the route's `sweep.where`, or `sweep.select`.") from None


def _heard(route: Route) -> str:
    pushes = {"outbound": route.outbound, "callouts": route.callouts}
    secret = "/{secret}" if route.outbound is not None and route.outbound.path_secrets else ""
    tails = {"outbound": secret, "callouts": ""}
    paths_of_intake = ", ".join(
        f"/{path}/{route.name}{tails[path]}" for path, table in pushes.items() if table is not None
    )
    heard = [*route.events, *([f"intake's {paths_of_intake}"] if paths_of_intake else [])]
    return f", hears {', '.join(heard)}" if heard else ""


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
    except (AttentionError, WrongOrgError) as error:
        return Finding(subject, str(error), wrong=True, cure=error.cure)
    except KmsError as error:
        return Finding(subject, str(error), wrong=True, cure="Mend `encryption.kms`, or what it names.")
    except ClosedwonError as error:
        return Finding(subject, str(error), wrong=True, cure=f"See that it runs and that `{key}` is its address.")
