"""`closedwon audit`: compares Salesforce, the ERPs and Temporal for every deal."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import typer

from closedwon.cli.common import (
    DEFAULT_CONFIG,
    Config,
    Panel,
    complete,
    connect,
    echo_json,
    moment,
    named_route,
    settings_from,
    span,
)
from closedwon.cli.common import console as new_console
from closedwon.settings import Purpose

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console, RenderableType

    from closedwon.audit.collect import OnProgress
    from closedwon.audit.compare import AuditReport, Counts, Finding, FindingKind

app = typer.Typer()

_SHOWN: Final = 20
"""Records named of one kind; `--json` names all."""
_STARTED: Final = "Its workflow checks again, and needs attention if a person must do something."


class _Asked(NamedTuple):
    since: datetime
    until: datetime | None
    route: str | None
    lag: str
    fix: bool


@app.command(rich_help_panel=Panel.OPERATE)
def audit(
    *,
    since: Annotated[
        str,
        typer.Option(
            metavar="TIME", help="Only what was changed since then: `24h`, `7d`, `2026-03-31`, or to the second."
        ),
    ] = "24h",
    until: Annotated[str | None, typer.Option(metavar="TIME", help="And before then. Default: now.")] = None,
    route: Annotated[str | None, typer.Option(help="Only records of this route.")] = None,
    lag: Annotated[str, typer.Option(metavar="DURATION", help="Younger changes count as in progress.")] = "5m",
    fix: Annotated[bool, typer.Option("--fix", help="Start or signal the workflows of what disagrees.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """**Compare Salesforce, the ERPs and Temporal**: every won deal, its one order, what was written back.

    Prints every disagreement, and changes nothing. With `--fix` it starts or signals the workflows that can put it
    right, and prints what an operator must do. The exit code is 0 only if nothing disagrees.

    Examples:
    - `closedwon audit --since 7d`
    - `closedwon audit --since 2026-03-01 --until 2026-04-01 --fix`
    """
    asked = _Asked(moment(since, "--since"), moment(until, "--until") if until else None, route, lag, fix)
    if asked.until is not None and asked.until <= asked.since:
        raise typer.BadParameter("--until must be later than --since")
    report, started = complete(_audit(config, asked, as_json=as_json))
    if as_json:
        echo_json(report.model_dump_json(indent=2))
    else:
        _show(report, started)
    raise typer.Exit(0 if report.clean else 1)


async def _audit(config: Path, asked: _Asked, *, as_json: bool) -> tuple[AuditReport, int | None]:
    from closedwon.audit.collect import audit  # noqa: PLC0415 - `closedwon --help` stays instant
    from closedwon.audit.repair import repair  # noqa: PLC0415
    from workers.connections import Connections  # noqa: PLC0415

    settings = settings_from(config, Purpose.ORG, Purpose.ERP)
    if asked.route is not None:
        named_route(settings, asked.route, "--route")
    client = await connect(config)
    async with Connections(settings) as connections:
        with _progress(hidden=as_json) as show:
            report = await audit(
                settings,
                connections,
                client,
                since=asked.since,
                until=asked.until,
                route=asked.route,
                lag=span(asked.lag, "--lag"),
                on_progress=show,
            )
            return report, await repair(settings, client, report, on_progress=show) if asked.fix else None


@contextmanager
def _progress(*, hidden: bool) -> Iterator[OnProgress]:
    """A line on standard error that counts what was read, if that is a terminal."""
    from rich.status import Status  # noqa: PLC0415

    console = new_console(stderr=True)
    read: Counter[str] = Counter()
    with Status("asking …", console=console) as status:

        def count(what: str, more: int) -> None:
            read[what] += more
            status.update("so far:  " + "   ".join(f"{name} {number:,}" for name, number in read.items()))

        if hidden or not console.is_terminal:
            status.stop()
        yield count


def _show(report: AuditReport, started: int | None) -> None:

    from closedwon.audit.compare import KINDS  # noqa: PLC0415

    console = new_console(highlight=False)
    seen = report.looked_at
    console.print(
        f"{report.since:%Y-%m-%d %H:%M} to {report.until:%Y-%m-%d %H:%M} UTC:  [bold]{seen['records']:,}[/] records in "
        f"Salesforce, [bold]{seen['orders']:,}[/] orders in ERPs, [bold]{seen['workflows']:,}[/] workflows in Temporal",
        soft_wrap=True,
    )
    for kind in KINDS:
        if some := [one for one in report.findings if one.kind is kind]:
            _show_kind(console, kind, some, fixed=started is not None)
    console.print()
    console.print(_verdict(report))
    for line in _beside(report, started):
        console.print(line, soft_wrap=True)


def _show_kind(console: Console, kind: FindingKind, findings: Sequence[Finding], *, fixed: bool) -> None:
    from closedwon.audit.compare import KINDS  # noqa: PLC0415

    meaning = KINDS[kind]
    console.print(f"\n[bold red]✘ {len(findings)}[/] [bold]{meaning.title}[/]  [dim]{kind}[/]")
    started = fixed and all(one.fixable for one in findings)
    console.print(f"  {_STARTED if started else meaning.hint}", style="green" if started else "yellow")
    console.print(_table(findings[:_SHOWN], console.width))
    if len(findings) > _SHOWN:
        console.print(f"  [dim]… and {len(findings) - _SHOWN:,} more; --json names all[/]")


def _table(findings: Sequence[Finding], width: int) -> RenderableType:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, header_style="dim", padding=(0, 0, 0, 2), width=width, pad_edge=True)
    table.add_column("record", no_wrap=True, width=18)
    for heading, share in (("Salesforce", 4), ("ERP", 4), ("workflow", 3)):
        table.add_column(heading, ratio=share)
    for one in findings:
        table.add_row(one.record, Text(one.salesforce), Text(one.erp), Text(one.workflow))
    return table


def _verdict(report: AuditReport) -> RenderableType:
    from rich.text import Text  # noqa: PLC0415

    style = "bold green" if report.clean else "bold red"
    sign = "✔" if report.clean else "✘"
    counts = report.settled
    waiting = f"   waiting {counts.waiting}" if counts.waiting else ""
    rest = f"   cancelled {counts.cancelled}   duplicates {counts.duplicates}{waiting}   missing {counts.missing}"
    return Text.assemble((f"{sign} {_chain(counts)}", style), rest)


def _chain(counts: Counts) -> str:
    first = "=" if counts.won == counts.ordered else ","
    second = "=" if counts.ordered == counts.written_back else ","
    text = f"won {counts.won:,} {first} ordered {counts.ordered:,} {second} written back {counts.written_back:,}"
    return text.replace(" ,", ",")


def _beside(report: AuditReport, started: int | None) -> Iterator[str]:
    if report.under_way:
        oldest = min(one.since for one in report.under_way if one.since)
        number = len({(one.org, one.record) for one in report.under_way})
        yield f"  in progress: {number:,}, the oldest since {oldest:%Y-%m-%d %H:%M} UTC; compared by the next audit"
    if report.in_attention:
        verb = "needs" if report.in_attention == 1 else "need"
        yield f"  {report.in_attention:,} {verb} attention: closedwon orders list --stage attention"
    if started:
        looks = "workflow looks" if started == 1 else "workflows look"
        yield f"  {started:,} {looks} again: run the same audit in some minutes"
    elif started == 0:
        yield "  nothing that a workflow could put right"
    elif any(one.fixable for one in report.findings):
        yield "  --fix lets the workflows of what disagrees look again"
    calls = ", ".join(f"{name} {number:,}" for name, number in report.calls.items())
    yield f"  [dim]API calls: {calls}[/]"
