"""`closedwon sweep` and `closedwon gaps`: find missing orders, and list the times in which some may be missing."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from closedwon import names
from closedwon.cli.common import (
    DEFAULT_CONFIG,
    Config,
    Panel,
    complete,
    connect,
    list_console,
    moment,
    named_route,
    settings_from,
)
from closedwon.cli.common import console as new_console
from closedwon.errors import ClosedwonError
from closedwon.model.sweeps import SweepProgress, SweepStart

if TYPE_CHECKING:
    from rich.progress import Progress
    from temporalio.client import Client, WorkflowHandle

app = typer.Typer()

_POLL: Final = 0.5
"""Seconds between queries of the progress of a sweep."""


class _SweepEndedError(ClosedwonError):
    pass


@app.command(rich_help_panel=Panel.OPERATE)
def sweep(
    route: Annotated[str, typer.Argument(help="The route, as `routes.name` in the settings.")],
    since: Annotated[str, typer.Option("--from", help="`24h` or `7d` ago, or a date or time (UTC); inclusive.")],
    until: Annotated[
        str | None, typer.Option("--to", help="Likewise, exclusive. Default: now, less the route's `sweep.lag`.")
    ] = None,
    dry_run: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--dry-run", help="Start nothing; say what would be started.")
    ] = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Find the records of a route **that should have an order and have none**, and start their orders.

    Records count by the time of their last change. The sweep runs in the workers, below live traffic; interrupting this
    command does not stop it, and the same command (with `--to`) shows its progress again. The exit code is 1 if orders
    need attention or, in a dry run, something would be started; otherwise 0.

    Examples:
    - `closedwon sweep won-deals --from 2026-11-01 --dry-run`
    - `closedwon sweep won-deals --from 2026-11-01 --to 2026-11-08`
    """
    begin, end = moment(since, "--from"), moment(until, "--to") if until else datetime.now(UTC)
    complete(_sweep(config, route, begin, end, dry_run))


@app.command(rich_help_panel=Panel.OPERATE)
def gaps(config: Config = DEFAULT_CONFIG) -> None:
    """List the **open gaps**: times from which notifications may be lost, and that no sweep has covered yet.

    The exit code is 0 if none is open, otherwise 1.

    Example:
    - `closedwon gaps`
    """
    complete(_gaps(config))


async def _sweep(config: Path, name: str, since: datetime, until: datetime, dry_run: bool) -> None:  # noqa: FBT001
    settings = settings_from(config)
    route = named_route(settings, name, "ROUTE")
    if route.sweep is None:
        raise typer.BadParameter(f"route {name!r} has no [routes.sweep]; add it to {config}", param_hint="ROUTE")
    if since >= until:
        raise typer.BadParameter("must be before the end of the span", param_hint="--from")
    org = settings.org(route.org).id
    client = await connect(config)
    from closedwon.temporal.sweeps import start_sweep  # noqa: PLC0415

    workflow_id = names.sweep_workflow_id(org, name, since, until, dry_run=dry_run)
    start = SweepStart(org=org, route=name, since=since, until=until, dry_run=dry_run)
    await start_sweep(client, start, workflow_id)
    _show_result(await _watch(client, workflow_id), dry_run=dry_run)


async def _watch(client: Client, workflow_id: str) -> SweepProgress:
    """Show the progress of a sweep until its end."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415
    from temporalio.client import WorkflowFailureError  # noqa: PLC0415

    handle = client.get_workflow_handle(workflow_id, result_type=SweepProgress)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = new_console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        looking = asyncio.create_task(_show_progress(handle, progress))
        try:
            result: SweepProgress = await handle.result()
        except WorkflowFailureError as error:
            text = f"The sweep {workflow_id} was ended before its end: {error.cause}. The same command begins it again."
            raise _SweepEndedError(text) from None
        else:
            return result
        finally:
            looking.cancel()


async def _show_progress(handle: WorkflowHandle[object, SweepProgress], progress: Progress) -> None:
    from temporalio.service import RPCError  # noqa: PLC0415

    task = progress.add_task("waiting for a worker", total=None)
    while True:
        try:
            now = await handle.query(names.QUERY_PROGRESS, result_type=SweepProgress)
        except RPCError:  # no worker answers; keep waiting for the result
            progress.update(task, description="waiting for a worker")
        else:
            progress.update(task, description=f"{now.started} to order", completed=now.found, total=now.total)
        await asyncio.sleep(_POLL)


def _show_result(result: SweepProgress, *, dry_run: bool) -> None:
    would = "would be started" if dry_run else "started"
    typer.echo(f"{result.since:%Y-%m-%d %H:%M:%S} to {result.until:%Y-%m-%d %H:%M:%S} UTC: {result.found} records")
    typer.echo(f"{result.started:>8} {would}: no order, a number that the ERP does not know, or an order too many")
    typer.echo(f"{result.right:>8} correct already")
    typer.echo(f"{result.under_way:>8} in progress")
    typer.echo(f"{result.attention:>8} need attention")
    if result.unqualified:
        typer.echo(f"{result.unqualified:>8} meet `sweep.where`, but not `qualify`")
    if dry_run and result.examples:
        more = ", …" if result.started > len(result.examples) else ""
        typer.echo(f"Would be started: {', '.join(result.examples)}{more}")
    if result.attention or (dry_run and result.started):
        raise typer.Exit(1)


async def _gaps(config: Path) -> None:
    from rich.table import Table  # noqa: PLC0415

    client = await connect(config)

    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("route", "from (UTC)", "to (UTC)", "reason", "status", "org"):
        table.add_column(heading)
    from closedwon.temporal.sweeps import open_gaps  # noqa: PLC0415

    async for one in open_gaps(client):
        since = f"{one.gap.since.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if one.gap.since else "unknown"
        until = f"{one.gap.until.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
        table.add_row(one.key.route, since, until, one.gap.reason, one.status, one.key.org)
    console = list_console()
    if not table.row_count:
        console.print("No gap is open.")
        return
    console.print(table)
    raise typer.Exit(1)
