"""What `closedwon erp certify` and `closedwon org certify` share: how a report and its progress are shown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import typer

from closedwon.settings.problems import suggest

if TYPE_CHECKING:
    from rich.console import Console

    from closedwon.certify.check import CertificationCheck
    from closedwon.certify.report import Report, Result

MISUSED: Final = 2
"""Exit code: nothing was checked."""
_STYLES: Final = {"ok": "green", "failed": "bold red", "not-offered": "yellow"}
_VERDICTS: Final = {"certified": "bold green", "usable-with-restrictions": "bold yellow", "not-safe": "bold red"}


def require_known(only: Iterable[str], checks: Iterable[CertificationCheck[Any]]) -> None:
    """End the command if `--only` names a check that does not exist."""
    known = [check.name for check in checks]
    for name in only:
        if name not in known:
            text = f"there is no check {name!r}; {suggest(name, known)}"
            raise typer.BadParameter(text, param_hint="--only")


def ask(text: str) -> None:
    """Say what will be created, and end the command unless the user agrees."""
    typer.echo(text, err=True)
    try:
        goes_on = typer.confirm("Go on?", err=True)
    except typer.Abort:  # Ctrl-C, or no terminal
        goes_on = False
    if not goes_on:
        typer.echo("Nothing was created. `--yes` does not ask.", err=True)
        raise typer.Exit(MISUSED)


def print_result(console: Console, result: Result) -> None:
    """Show one result on a terminal, while the others are under way."""
    from rich.text import Text  # noqa: PLC0415 - `closedwon --help` stays instant

    if console.is_terminal:
        console.print(Text.assemble((f"{result.outcome.value:<12}", _STYLES[result.outcome]), result.name))


def print_results(console: Console, results: Iterable[Result]) -> None:
    """Show all results as a table."""
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("check", "outcome", "what was seen"):
        table.add_column(heading, overflow="fold", no_wrap=heading != "what was seen")
    for result in results:
        seen = Text(result.facts)
        if result.outcome == "failed":
            seen = Text(f"{result.promise} But: {result.facts}")
        if result.consequence:
            seen.append(f"\n{result.consequence}", style="dim")
        table.add_row(result.name, Text(result.outcome.value, style=_STYLES[result.outcome]), seen)
    console.print(table)


def print_verdict(console: Console, subject: str, report: Report) -> None:
    """Show the verdict, as the last line."""
    from rich.text import Text  # noqa: PLC0415

    console.print(Text(f"{subject}: {report.sentence}", style=_VERDICTS[report.verdict]), soft_wrap=True)
