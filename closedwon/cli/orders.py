"""`closedwon orders list` and `show`: the stage of each order, from Temporal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from closedwon import names
from closedwon.cli import orders_command
from closedwon.cli.common import DEFAULT_CONFIG, Config, as_record_id, attribute, complete, connect, list_console
from closedwon.cli.common import console as new_console
from closedwon.errors import AttentionReason

if TYPE_CHECKING:
    from temporalio.client import Client, WorkflowExecution

app = typer.Typer(
    name="orders",
    help="Find orders and show their timelines; retry, cancel, resolve or skip them.",
    no_args_is_help=True,
)

_BY_FORCE: Final = frozenset({"TERMINATED", "FAILED", "TIMED_OUT"})
"""Temporal's status of workflows that were ended from outside."""
_HEADINGS: Final = ("record", "stage", "order", "reason", "route", "since (UTC)", "deal")
_PATIENCE: Final = timedelta(seconds=10)
"""Maximum time for a query of the timeline, which a running worker must answer."""
_STYLES: Final[Mapping[str, str]] = {
    names.OrderStage.COMPLETED: "green",
    names.OrderStage.ATTENTION: "bold red",
    names.OrderStage.CANCELLED: "yellow",
    names.OrderStage.NOT_NEEDED: "dim",
}


@app.command("list")
def list_orders(
    stage: Annotated[
        names.OrderStage | None,
        typer.Option(metavar="STAGE", help=f"Only orders at this stage: {', '.join(names.OrderStage)}."),
    ] = None,
    reason: Annotated[
        AttentionReason | None,
        typer.Option(
            metavar="REASON", help=f"Only orders that need attention for this reason: {', '.join(AttentionReason)}."
        ),
    ] = None,
    route: Annotated[str | None, typer.Option(help="Only orders of this route.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """List orders, the newest first; below those that need attention, also messages and sweeps that do.

    Examples:
    - `closedwon orders list --stage attention`
    - `closedwon orders list --reason erp-rejected`
    """
    wanted = {names.ORDER_STAGE: stage, names.ATTENTION_REASON: reason, names.ROUTE: route}
    complete(_list(config, wanted, limit))


@app.command()
def show(
    named: Annotated[
        str,
        typer.Argument(metavar="RECORD_ID|NUMBER", help="The Salesforce record id, or the number of the ERP's order."),
    ],
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Show the timeline of one order: what happened, its stage, what to do.

    Examples:
    - `closedwon orders show 0065g00000XyZabAAF`
    - `closedwon orders show SO-4711`
    """
    complete(_show(config, named))


orders_command.add_to(app)  # below `list` and `show`, in the help, too


async def _list(config: Path, wanted: Mapping[str, str | None], limit: int) -> None:
    from rich.table import Table  # noqa: PLC0415 - `closedwon --help` stays instant

    from closedwon.temporal import visibility  # noqa: PLC0415

    stage = wanted[names.ORDER_STAGE]
    for_people = stage == names.OrderStage.ATTENTION or wanted[names.ATTENTION_REASON] is not None
    is_open = for_people or stage in names.UNFINISHED
    terms = [visibility.RUNNING if is_open else visibility.NOT_CONTINUED]
    terms += [visibility.equals(name, value) for name, value in wanted.items() if value]
    if not for_people:
        terms.append(visibility.of_type(names.ORDER_WORKFLOW))
    client = await connect(config)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in _HEADINGS:
        table.add_column(heading)
    others = []
    async for execution in client.list_workflows(visibility.all_of(*terms), limit=limit):
        row = await _row(execution)
        if execution.workflow_type == names.ORDER_WORKFLOW:
            table.add_row(*row)
        else:
            others.append("  ".join(filter(None, (execution.id, *row[3:]))))
    console = list_console()
    console.print(table if table.row_count else "No such orders.")
    if others:
        console.print("\nMessages and sweeps, by their workflows:", *others, sep="\n", markup=False)


async def _show(config: Path, named: str) -> None:
    from rich.markdown import Markdown  # noqa: PLC0415
    from rich.markup import escape  # noqa: PLC0415

    from closedwon.temporal import visibility  # noqa: PLC0415

    # What has the form of an id is looked for as a number, too: an ERP may give such ones.
    is_id = named.isalnum() and len(named) in {15, 18}
    terms = [visibility.equals(names.SALESFORCE_RECORD_ID, as_record_id(named))] if is_id else []
    terms.append(visibility.equals(names.ERP_ORDER_NUMBER, named))
    client = await connect(config)
    console = new_console()
    query = visibility.all_of(visibility.of_type(names.ORDER_WORKFLOW), visibility.any_of(*terms))
    found = [execution async for execution in client.list_workflows(query, limit=10)]
    if not found:
        typer.echo(f"Temporal has no order of {'record' if is_id else 'number'} {named}.")
        raise typer.Exit(1)
    for execution in found:
        console.rule(f"{execution.id}  {execution.status.name.lower() if execution.status else ''}")
        cells = zip(_HEADINGS[1:], (await _row(execution))[1:], strict=True)
        console.print("   ".join(f"[dim]{heading}[/] {cell}" for heading, cell in cells if cell), highlight=False)
        for wait in await _waits(client, execution):
            console.print(f"[bold]waits for[/] {escape(wait)}", highlight=False)
        console.print(Markdown(await _details(client, execution), hyperlinks=False))


async def _waits(client: Client, execution: WorkflowExecution) -> list[str]:
    """The pending steps: attempt, last failure, next attempt. Temporal knows them, also while no worker runs."""
    from closedwon.encryption.codec import CodecError  # noqa: PLC0415
    from closedwon.facts.waits import waits  # noqa: PLC0415

    try:
        return [wait.text for wait in await waits(client, execution.id, execution.run_id)]
    except CodecError:
        return ["a step (its key is not available)"]


async def _details(client: Client, execution: WorkflowExecution) -> str:
    from temporalio.api.sdk.v1 import WorkflowMetadata  # noqa: PLC0415
    from temporalio.exceptions import TemporalError  # noqa: PLC0415

    handle = client.get_workflow_handle(execution.id, run_id=execution.run_id)
    try:
        metadata: WorkflowMetadata = await handle.query(
            "__temporal_workflow_metadata", result_type=WorkflowMetadata, rpc_timeout=_PATIENCE
        )
    except TemporalError as error:
        return f"*The timeline needs a running worker: {error}*"
    return str(metadata.current_details)


async def _row(execution: WorkflowExecution) -> tuple[str, ...]:
    from rich.markup import escape  # noqa: PLC0415

    stage = attribute(execution, names.ORDER_STAGE)
    style = _STYLES.get(stage)
    if execution.status is not None and execution.status.name in _BY_FORCE:  # its stage is where that met it
        stage, style = execution.status.name.lower(), "bold red"
    return (
        attribute(execution, names.SALESFORCE_RECORD_ID),
        f"[{style}]{stage}[/]" if style else stage,
        escape(attribute(execution, names.ERP_ORDER_NUMBER)),
        attribute(execution, names.ATTENTION_REASON),
        attribute(execution, names.ROUTE),
        f"{execution.start_time:%m-%d %H:%M:%S}",
        escape(await _deal(execution)),
    )


async def _deal(execution: WorkflowExecution) -> str:
    """Name and amount of the deal, if its first message had them and the key is available."""
    from closedwon.encryption.codec import CodecError  # noqa: PLC0415

    try:
        return await execution.memo_value(names.DEAL, "", type_hint=str)
    except CodecError:
        return "(its key is not available)"
