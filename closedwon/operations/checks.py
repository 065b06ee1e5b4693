"""Does everything answer that the settings name? Each org, route, ERP and Temporal is asked; nothing is changed.

The running workers (`workers.checks`) use the same functions and texts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from temporalio.client import Client
from temporalio.service import RPCError

from closedwon.encryption.codec import KmsError
from closedwon.errors import AttentionError, ClosedwonError, DoubtfulError
from closedwon.expressions import paths
from closedwon.ids import OrgId
from closedwon.network.failures import network_error_in
from closedwon.salesforce.api.fields import Complaint, complaints_of
from closedwon.salesforce.api.rest import NO_RECORD, SalesforceClient
from closedwon.salesforce.api.scan import pages
from closedwon.salesforce.bus.events import LATEST
from closedwon.salesforce.errors import ConfigurationError, WrongOrgError
from closedwon.salesforce.push.contract import Contract, ContractError
from closedwon.settings import ErpSettings, Org, Route, Settings, Tombstone
from closedwon.settings.guarding import intake_of_org
from closedwon.temporal.client import connect
from closedwon.temporal.key_checks import KeyCheck, key_checks
from closedwon.temporal.search_attributes import missing_search_attributes
from closedwon.temporal.target import TemporalUnavailableError
from workers.connections import Connections
from workers.running_checks import as_error, read_nothing

WRONG_KEY: Final = (
    "Configure the key with the fingerprint that Temporal knows; no process starts with another one. If the configured "
    'key is the right one, see "When a key is wrong" in docs/operate/encryption.md.'
)
_TEMPORAL: Final = timedelta(seconds=10)
"""For the connection to Temporal and its first answer."""


class CheckFinding(NamedTuple):
    """One line of the report."""

    subject: str
    text: str
    wrong: bool = False
    hint: str = ""
    warns: bool = False
    """Not wrong, but it will cost something."""


async def remote(settings: Settings, connections: Connections) -> AsyncIterator[CheckFinding]:
    """Ask every org, the records of its routes, and every ERP; first, who can push to the routes of the org."""
    for org in settings.orgs:
        for finding in open_routes_of(settings, org):
            yield finding
        answered = await of_org(org, connections)
        yield answered
        for route in settings.routes:
            if route.org == org.name:
                for of_wsdl in wsdl_findings(route):
                    yield of_wsdl
                async for of_route in route_findings(route, settings, connections, org_answers=not answered.wrong):
                    yield of_route
    for erp in settings.erps:
        yield await of_erp(erp, connections)


def open_routes_of(settings: Settings, org: Org) -> Iterator[CheckFinding]:
    """The routes of an org to which any sender can push."""
    for unsafe in intake_of_org(settings, org):
        yield CheckFinding(f"org {org.name}", unsafe.text, wrong=True, hint=unsafe.hint)


async def of_org(org: Org, connections: Connections) -> CheckFinding:
    """Log in, and ask the org who it is."""
    return await _found(f"org {org.name}", "orgs.url", connections.salesforce[org.id].check)


async def of_erp(erp: ErpSettings, connections: Connections) -> CheckFinding:
    """Ask an ERP whether it is there and knows us."""
    return await _found(f"erp {erp.name}", "erps.url", connections.erps[erp.name].check)


async def of_temporal(settings: Settings) -> AsyncIterator[CheckFinding]:
    """Ask Temporal, also whether it knows the encryption keys."""
    keys: list[KeyCheck] | None = None

    async def try_temporal() -> str:
        nonlocal keys
        client = await connect(settings.encryption, patience=timedelta(), each=_TEMPORAL)
        text = await _temporal(client, settings)
        keys = await key_checks(client)
        return text

    try:
        yield await _found("temporal", "TEMPORAL_ADDRESS", try_temporal)
    except RPCError as error:
        said = f"answers {error.status.name}: {error.message.removesuffix('.')}"
        hint = "Correct TEMPORAL_NAMESPACE or TEMPORAL_ADDRESS, or grant access to the namespace."
        yield CheckFinding("temporal", said, wrong=True, hint=hint)
    if keys is None:
        if settings.encryption.keys:
            text = "the keys could not be compared with those that Temporal knows"
            yield CheckFinding("encryption", text, warns=True, hint="Check again when Temporal answers.")
        return
    for one in keys:
        yield of_key(one)


def of_key(check: KeyCheck) -> CheckFinding:
    """What is to be said of one encryption key."""
    subject, text = f"key {check.key_id}", f"fingerprint {check.fingerprint}"
    if check.known is None:
        return CheckFinding(subject, f"{text}; Temporal does not know it yet, the first process notes it there")
    if not check.differs:
        return CheckFinding(subject, f"{text}, as in Temporal{check.noted}")
    text = f"is a wrong key: its {text}, but Temporal knows {check.known_fingerprint}{check.noted}"
    return CheckFinding(subject, text, wrong=True, hint=WRONG_KEY)


async def route_findings(
    route: Route, settings: Settings, connections: Connections, *, org_answers: bool
) -> AsyncIterator[CheckFinding]:
    """Read, sweep and subscribe as the route does, without any effect."""
    subject = f"route {route.name}"
    if not org_answers:
        yield CheckFinding(subject, f"not checked: org {route.org} does not answer", wrong=True)
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
        return f"reads {route.object} with all its fields{_received(route)}"

    read = await _found(subject, "orgs.url", try_reading)
    holding = [one for one in complaints if one.holds]
    for one in holding:
        error = as_error(route, one)
        yield CheckFinding(subject, str(error), wrong=True, hint=error.hint)
    if not holding or read.wrong:
        yield read
    for one in complaints:
        if not one.holds:
            yield CheckFinding(subject, f"{one.key}: {one.text}", hint=one.hint, warns=True)


async def _try_sweeping(route: Route, client: SalesforceClient) -> None:
    """Ask for the records of no time at all by the condition of the route's sweeps."""
    if route.sweep is None or route.sweep_where is None:
        return
    select, now = route.sweep.select or route.query_fields, datetime.now(UTC)
    try:
        async for _ in pages(client, route.object, select, where=route.sweep_where, since=now, until=now):
            pass
    except ConfigurationError as error:
        raise ConfigurationError(str(error), hint="Correct the route's `sweep.where`, or `sweep.select`.") from None


def _received(route: Route) -> str:
    pushes = {"outbound": route.outbound, "callouts": route.callouts}
    secret = "/{secret}" if route.outbound is not None and route.outbound.path_secrets else ""
    tails = {"outbound": secret, "callouts": ""}
    paths_of_intake = ", ".join(
        f"/{path}/{route.name}{tails[path]}" for path, table in pushes.items() if table is not None
    )
    channels = [*route.events, *([f"POST {paths_of_intake}"] if paths_of_intake else [])]
    return f", receives {', '.join(channels)}" if channels else ""


def _fields_of(tombstone: Tombstone) -> str:
    return ", ".join(sorted(paths(tombstone.record_id))) or "Id"


def wsdl_findings(route: Route) -> Iterator[CheckFinding]:
    """Compare the route with the contract of its outbound message, a line for each thing that is missing there."""
    if route.outbound is None or route.outbound.wsdl is None:
        return
    subject, file = f"wsdl of {route.name}", route.outbound.wsdl
    try:
        contract = Contract.read(file.read_bytes())
    except ContractError as error:
        yield CheckFinding(subject, str(error), wrong=True, hint=f"`outbound.wsdl` of the route names {file}.")
        return
    complaints = [*contract.complaints(route)]
    for place, complaint in enumerate(complaints, 1):
        hint = "Correct the outbound message and export its WSDL again, or correct the route."
        yield CheckFinding(subject, complaint, wrong=True, hint=hint if place == len(complaints) else "")
    if not complaints:
        yield CheckFinding(subject, f"{contract.object} with {len(contract.fields)} fields, all that the route needs")


async def _subscribe(connections: Connections, org: str, channel: str) -> None:
    stream = connections.open_stream(OrgId(org))
    try:
        await stream.subscribe(channel, LATEST)
    finally:
        await stream.close()


async def _temporal(client: Client, settings: Settings) -> str:
    missing = await missing_search_attributes(client)
    where = f"namespace {client.namespace} at {client.service_client.config.target_host}"
    where += ", encrypted" if settings.encryption.enabled else ", not encrypted"
    if missing:
        return f"{where}; the first worker will register the search attributes {', '.join(missing)}"
    return f"{where}, with all search attributes"


async def _found(subject: str, setting: str, probe: Callable[[], Awaitable[str]]) -> CheckFinding:
    """Ask, and say what is wrong; `setting` has the address."""
    try:
        return CheckFinding(subject, await probe())
    except ClosedwonError as error:
        return of_error(subject, setting, error)


def of_error(subject: str, setting: str, error: ClosedwonError) -> CheckFinding:
    """What is to be said of a system that did not answer as it should; `setting` has its address."""
    text = str(error)
    hint = f"It can be reached, and does not answer as it should: see its log, and that `{setting}` is its address."
    match error:
        case DoubtfulError():  # a person is at hand, so nothing is tried for a while
            hint = error.attention.hint
        case AttentionError() | WrongOrgError():
            hint = error.hint
        case TemporalUnavailableError():
            text, hint = error.text, error.hint
        case KmsError():
            hint = "Correct `encryption.kms`, or what it names."
        case _:
            why = network_error_in(error)
            if why is not None:
                text = f"{'no answer' if why.was_sent else 'no connection'}: {why}"
                hint = f"{why.hint} Its address is in `{setting}`."
    return CheckFinding(subject, text, wrong=True, hint=hint)
