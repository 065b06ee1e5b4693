"""`closedwon config`: is the settings file right, does everything it names answer, and what counts?"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from closedwon.cli.common import DEFAULT_CONFIG, Config, complete
from closedwon.cli.common import console as new_console
from closedwon.safe_text import terminal
from closedwon.settings import SettingsError, load_settings, resolve, warnings
from closedwon.settings.resolved import differences

if TYPE_CHECKING:
    from rich.console import Console

    from closedwon.operations.checks import CheckFinding

app = typer.Typer(
    name="config",
    help="Check, show and compare settings, and whether all that they name answers.",
    no_args_is_help=True,
)


@app.command()
def check(config: Config = DEFAULT_CONFIG) -> None:
    """Check the settings and **everything they name**: orgs, routes, ERPs and Temporal. Changes nothing.

    The exit code is 1 if there is a problem.

    Example:
    - `closedwon config check --config closedwon.toml`
    """
    complete(_check(config))


@app.command()
def show(config: Config = DEFAULT_CONFIG) -> None:
    """Print **every setting** that counts: of the file, its base, the environment, and the defaults. Never a secret.

    Of a secret it says where it is; none is read.

    Example:
    - `closedwon config show --config production.toml`
    """
    for key, text in _resolved(config).items():
        typer.echo(f"{terminal(key)} = {terminal(text)}")


@app.command()
def diff(
    left: Annotated[Path, typer.Argument(help="A settings file.")],
    right: Annotated[Path, typer.Argument(help="Another one.")],
) -> None:
    """Print **what differs** between two settings files, as they count: bases and defaults included. Never a secret.

    The exit code is 1 if something differs.

    Example:
    - `closedwon config diff sandbox.toml production.toml`
    """
    found = list(differences(_resolved(left), _resolved(right)))
    for one in found:
        typer.secho(terminal(one.key), bold=True)
        typer.secho(f"  - {terminal(one.left or 'none')}", fg="red")
        typer.secho(f"  + {terminal(one.right or 'none')}", fg="green")
    if found:
        raise typer.Exit(1)
    typer.echo("Nothing differs.")


def _resolved(config: Path) -> dict[str, str]:
    try:
        return resolve(config)
    except SettingsError as error:
        typer.secho(str(error), err=True, fg="red")
        raise typer.Exit(2) from None


async def _check(config: Path) -> None:

    console = new_console(highlight=False, soft_wrap=True)
    wrong = 0
    async for finding in _findings(config):
        _print(console, finding)
        wrong += finding.wrong
    if wrong:
        console.print(f"\n{wrong} problem{'s' if wrong > 1 else ''} to fix.", style="bold red")
        raise typer.Exit(1)
    console.print("\nAll is well. Start with: closedwon run", style="bold green")


def _print(console: Console, finding: CheckFinding) -> None:
    from rich.text import Text  # noqa: PLC0415

    mark = ("✗ ", "bold red") if finding.wrong else ("! ", "yellow") if finding.warns else ("✓ ", "green")
    console.print(Text.assemble(mark, (f"{finding.subject}  ", "bold"), finding.text))
    if finding.hint:
        console.print(Text.assemble("    ", (finding.hint, "yellow")))


async def _findings(config: Path) -> AsyncIterator[CheckFinding]:
    from closedwon.operations import checks  # noqa: PLC0415
    from closedwon.operations.unannounced import unannounced  # noqa: PLC0415
    from workers.connections import Connections  # noqa: PLC0415

    try:
        settings = load_settings(config)
    except SettingsError as error:
        for line in str(error).splitlines():
            yield checks.CheckFinding("settings", line, wrong=True)
        return
    parts = (f"{len(settings.orgs)} org", f"{len(settings.erps)} ERP", f"{len(settings.routes)} route")
    counted = ", ".join(part if part.startswith("1 ") else f"{part}s" for part in parts)
    yield checks.CheckFinding("settings", f"{config}: {counted}")
    for warning in warnings(settings):
        yield checks.CheckFinding("intake", warning, warns=True)
    async with Connections(settings) as connections:
        async for finding in checks.remote(settings, connections):
            yield finding
        async for finding in unannounced(settings, connections):
            yield finding
    async for finding in checks.of_temporal(settings):
        yield finding
