"""`closedwon config`: is the settings file right, and does everything it names answer?"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import typer

from closedwon.cli.common import DEFAULT_CONFIG, Config, complete
from closedwon.errors import AttentionError, ClosedwonError
from closedwon.ids import RecordId
from closedwon.settings import Route, Settings, SettingsError, Tombstone, load_settings

if TYPE_CHECKING:
    from rich.console import Console

    from workers.connections import Connections

app = typer.Typer(name="config", help="The settings file.", no_args_is_help=True)

_NOBODY: Final = RecordId("000000000000000")
"""A well-formed id that no record has: a query for it shows whether object and fields exist, and fetches nothing."""


class Finding(NamedTuple):
    """One line of the report."""

    subject: str
    text: str
    wrong: bool = False
    cure: str = ""


@app.command()
def check(config: Config = DEFAULT_CONFIG) -> None:
    """Check the settings and **everything they name**: orgs, routes, ERPs and Temporal. Changes nothing.

    Ends with exit code 1 when something is to be mended. Example:

        closedwon config check --config closedwon.toml
    """
    complete(_check(config))


async def _check(config: Path) -> None:
    from rich.console import Console  # noqa: PLC0415 - `closedwon --help` stays instant

    console = Console(highlight=False, soft_wrap=True)
    wrong = 0
    async for finding in _findings(config):
        _print(console, finding)
        wrong += finding.wrong
    if wrong:
        console.print(f"\n{wrong} thing{'s' if wrong > 1 else ''} to mend.", style="bold red")
        raise typer.Exit(1)
    console.print("\nAll is well. Start with: closedwon run", style="bold green")


def _print(console: Console, finding: Finding) -> None:
    from rich.text import Text  # noqa: PLC0415

    mark = ("✗ ", "bold red") if finding.wrong else ("✓ ", "green")
    console.print(Text.assemble(mark, (f"{finding.subject}  ", "bold"), finding.text))
    if finding.cure:
        console.print(Text.assemble("    ", (finding.cure, "yellow")))


async def _findings(config: Path) -> AsyncIterator[Finding]:
    try:
        settings = load_settings(config)
    except SettingsError as error:
        for line in str(error).splitlines():
            yield Finding("settings", line, wrong=True)
        return
    parts = (f"{len(settings.orgs)} org", f"{len(settings.erps)} ERP", f"{len(settings.routes)} route")
    counted = ", ".join(part if part.startswith("1 ") else f"{part}s" for part in parts)
    yield Finding("settings", f"{config}: {counted}")
    from workers.connections import Connections  # noqa: PLC0415

    async with Connections(settings) as connections:
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
    yield await _found("temporal", "TEMPORAL_ADDRESS", lambda: _temporal(settings))


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
    from closedwon.expressions import paths  # noqa: PLC0415

    return ", ".join(sorted(paths(tombstone.record_id))) or "Id"


def _wsdl_findings(route: Route) -> Iterator[Finding]:
    """Compare the route with the contract of its outbound message, a line for each thing that is missing there."""
    from closedwon.salesforce.contract import Contract, ContractError  # noqa: PLC0415

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
    from closedwon.ids import OrgId  # noqa: PLC0415
    from closedwon.salesforce.events import LATEST  # noqa: PLC0415

    stream = connections.open_stream(OrgId(org))
    try:
        await stream.subscribe(channel, LATEST)
    finally:
        await stream.close()


async def _temporal(settings: Settings) -> str:
    from datetime import timedelta  # noqa: PLC0415

    from closedwon import temporal  # noqa: PLC0415

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
