"""`closedwon orders retry`, `cancel`, …: commands to one order, or to all that a filter names."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from closedwon import names
from closedwon.cli.common import DEFAULT_CONFIG, Config, as_record_id, attribute, complete, connect
from closedwon.cli.common import console as new_console
from closedwon.errors import AttentionReason
from closedwon.model.commands import Command
from closedwon.settings import Reading, Route, SettingsError, load_settings

if TYPE_CHECKING:
    from rich.console import Console
    from temporalio.client import WorkflowExecution

    from closedwon.operations.orders import CommandReply, Selection

Why = Annotated[str | None, typer.Option(help="A reason, which is kept in the order's timeline.")]

_A_HANDFUL: Final = 5
"""Up to this number of orders, the command does not ask for confirmation."""
_SHOWN: Final = 10
"""Maximum number of refusals and candidates that are listed; the others are counted."""


class _How(NamedTuple):
    command: str
    why: str | None
    number: str | None = None
    accept_differences: bool = False
    rate: float = 1
    yes: bool = False
    dry_run: bool = False


def add_to(app: typer.Typer) -> None:
    """Put the commands into the group `orders`."""
    for name, text in _TEXTS.items():
        app.command(name)(_command(name, text))
    app.command(names.SIGNAL_RESOLVE)(_resolve)


_TEXTS: Final = {
    names.SIGNAL_RETRY: """Try again **now**: what needs attention, and what waits for its next attempt.

    Safe at any time and any number of times. Without `--why`, what only waits for its ERP or for Salesforce is woken:
    its next attempt happens now, and nothing is read again. It would keep the orders of deals that no longer qualify;
    these are left out unless their reason or record is named.

    Examples:

    - `closedwon orders retry 0065g00000XyZabAAF --why "price list corrected"`
    - `closedwon orders retry --reason erp-rejected`
    - `closedwon orders retry --all`
    """,
    names.SIGNAL_CANCEL: """Stop, or cancel the order that the ERP has already, and write the status to Salesforce.

    Examples:

    - `closedwon orders cancel 0065g00000XyZabAAF --why "the customer withdrew"`
    - `closedwon orders cancel --reason unknown-product --route won-deals`
    """,
    names.SIGNAL_SKIP: """Close an order as **not needed**; refused once the ERP has it.

    Examples:

    - `closedwon orders skip 0065g00000XyZabAAF --why "a test deal"`
    - `closedwon orders skip --reason mapping-failed --route won-deals`
    """,
}


def _command(name: str, text: str) -> Callable[..., None]:
    def command(
        *,
        record: Annotated[
            str | None, typer.Argument(metavar="RECORD_ID", help="One order: its Salesforce record id.")
        ] = None,
        reason: Annotated[
            AttentionReason | None,
            typer.Option(metavar="REASON", help="All that need attention for this reason, as in `orders list`."),
        ] = None,
        stage: Annotated[
            names.OrderStage | None,
            typer.Option(metavar="STAGE", help=f"All at this stage: {', '.join(names.UNFINISHED)}."),
        ] = None,
        route: Annotated[str | None, typer.Option(help="All of this route.")] = None,
        every: Annotated[bool, typer.Option("--all", help="All that are not done.")] = False,
        why: Why = None,
        rate: Annotated[float, typer.Option(min=0.01, help="At most so many orders a second.")] = 50,
        yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which orders are meant.")] = False,
        config: Config = DEFAULT_CONFIG,
    ) -> None:
        from closedwon.operations.orders import Selection  # noqa: PLC0415 - `closedwon --help` stays instant

        if record is None and not (reason or stage or route or every):
            raise typer.BadParameter("select orders by a record id, or by --reason, --stage, --route or --all")
        wanted = None if record is None else as_record_id(record)
        selection = Selection(reason, stage, route, wanted)
        complete(_run(config, selection, _How(name, why, rate=rate, yes=yes, dry_run=dry_run)))

    command.__doc__ = text
    return command


def _resolve(
    record: Annotated[str, typer.Argument(metavar="RECORD_ID", help="The Salesforce record id.")],
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="The order's number in the ERP.")],
    *,
    accept_differences: Annotated[
        bool,
        typer.Option("--accept-differences", help="Use it although it differs from the record, as shown before."),
    ] = False,
    why: Why = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Say that the order **exists already**, made by hand: its number is written to Salesforce, and none is made.

    It is compared with the record first. If customer, total, currency, lines or date differ, nothing is changed, and
    the order needs attention with the differences. The order that has this record's key already is taken as it is.

    Examples:
    - `closedwon orders resolve 0065g00000XyZabAAF SO-4711 --why "by phone"`
    - `closedwon orders resolve 0065g00000XyZabAAF SO-4711 --accept-differences`
    """
    from closedwon.operations.orders import Selection  # noqa: PLC0415

    selection = Selection(record=as_record_id(record))
    complete(
        _run(config, selection, _How(names.SIGNAL_RESOLVE, why, number=number, accept_differences=accept_differences))
    )


async def _run(config: Path, selection: Selection, how: _How) -> None:

    from closedwon.operations import orders  # noqa: PLC0415

    client = await connect(config)
    console = new_console(highlight=False, soft_wrap=True, markup=False)
    found = await orders.find(client, selection, how.command)
    if not found:
        record = selection.record
        see = f"closedwon orders show {record}" if record else "closedwon orders list"
        what = "No order of this record is open" if record else "No open order matches"
        console.print(f"{what}: nothing is sent. See: {see}")
        raise typer.Exit(int(record is not None))
    if selection.record and len(found) > 1:
        console.print("Several orgs have a record of this id. Send the command to one of them:")
        for execution in found:
            console.print(f"  temporal workflow signal --name {how.command} -w {execution.id}")
        raise typer.Exit(1)
    if how.dry_run:
        _show(console, found, how)
        return
    if len(found) > _A_HANDFUL and not how.yes:
        _show(console, found, how)
        typer.confirm("Continue?", abort=True)
    ids = [execution.id for execution in found]
    given = Command(by=orders.operator(), reason=how.why, number=how.number, accept_differences=how.accept_differences)
    sending = orders.send(client, ids, how.command, given, rate=how.rate, routes=_routes(config))
    replies = [reply async for reply in _with_progress(sending, len(ids), how.command)]
    _show_replies(console, replies, how)
    if selection.record and replies[0].outcome is orders.CommandOutcome.GONE and not replies[0].text:
        # Temporal's list of open orders lags behind: a moment later it would not have been found.
        console.print(f"No order of this record is open any more. See: closedwon orders show {selection.record}")
        raise typer.Exit(1)


def _routes(config: Path) -> Sequence[Route]:
    """The routes; none where this machine has a part of the settings only, as for `[encryption]`."""
    try:
        return load_settings(config, Reading(frozenset())).routes
    except SettingsError:
        return ()


def _show(console: Console, found: list[WorkflowExecution], how: _How) -> None:
    """Print how many orders are selected, by reason or stage, with examples."""
    kinds = Counter(attribute(one, names.ATTENTION_REASON) or attribute(one, names.ORDER_STAGE) for one in found)
    console.print(f"{how.command} for {_orders(len(found))}: {_counted(kinds)}")
    for execution in found[:_SHOWN]:
        summary = "  ".join(
            (execution.id, attribute(execution, names.ORDER_STAGE), f"{execution.start_time:%m-%d %H:%M}")
        )
        console.print(f"  {summary}")
    if len(found) > _SHOWN:
        console.print(f"  … and {len(found) - _SHOWN} more")


async def _with_progress(replies: AsyncIterator[CommandReply], total: int, command: str) -> AsyncIterator[CommandReply]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=new_console(stderr=True), transient=True, disable=total == 1) as progress:
        task = progress.add_task(command, total=total)
        async for reply in replies:
            progress.advance(task)
            yield reply


def _show_replies(console: Console, replies: list[CommandReply], how: _How) -> None:
    """Print the summary; the exit code is 1 if a command was refused or not sent."""
    from closedwon.operations.orders import CommandOutcome  # noqa: PLC0415

    counts = Counter(reply.outcome for reply in replies)
    troubles = [reply for reply in replies if reply.outcome in {CommandOutcome.REFUSED, CommandOutcome.FAILED}]
    console.print(f"{how.command}: {_counted(counts)}", style="yellow" if troubles else "green")
    if len(replies) == 1 and replies[0].text and not troubles:
        console.print(f"  {replies[0].text}")
    if counts[CommandOutcome.SENT]:
        console.print(
            "Commands that were sent are durable; the orders accept them as soon as a worker runs.", style="dim"
        )
    for text, number in Counter(f"{one.outcome}: {one.text}" for one in troubles).most_common():
        some = ", ".join(one.workflow_id for one in troubles if f"{one.outcome}: {one.text}" == text)
        console.print(f"  {number} {text}")
        console.print(f"    {some}" if number <= _SHOWN else f"    {some[:400]} …", style="dim")
    if counts[CommandOutcome.FAILED]:
        console.print("Repeat the command for those that were not sent.", style="yellow")
    if troubles:
        raise typer.Exit(1)


def _counted(counts: Counter[Any]) -> str:
    return ", ".join(f"{number} {what}" for what, number in sorted(counts.items()))


def _orders(number: int) -> str:
    return f"{number} order{'' if number == 1 else 's'}"
