"""`closedwon doctor`: what is wrong right now, in order of harm, each with the hint."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated

import typer

from closedwon.cli.common import DEFAULT_CONFIG, Config, Panel, complete, settings_from
from closedwon.cli.common import console as new_console
from closedwon.settings import Purpose

if TYPE_CHECKING:
    from closedwon.operations.troubles import Trouble
    from closedwon.settings import Settings

app = typer.Typer()

_STYLES = {
    "stopped": "bold white on red",
    "loss": "bold red",
    "waiting": "yellow",
    "unknown": "magenta",
    "risk": "cyan",
}


@app.command(rich_help_panel=Panel.OPERATE)
def doctor(
    *,
    config: Config = DEFAULT_CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: a list of objects.")] = False,
) -> None:
    """Say **what is wrong right now**, the worst first, and what to do about each. Changes nothing.

    The exit code is 0 when all is well, 1 otherwise.

    Examples:
    - `closedwon doctor`
    - `closedwon doctor --json`
    """
    settings = settings_from(config, Purpose.ORG, Purpose.ERP, welcome=(Purpose.SENDERS, Purpose.ALERTS))
    troubles = complete(in_time(settings))
    if as_json:
        typer.echo(json.dumps([trouble._asdict() for trouble in troubles], indent=1))
    else:
        _print(troubles)
    raise typer.Exit(int(bool(troubles)))


class _Impatient(ThreadPoolExecutor):
    """Threads that are left alone at the end: one may look up a name for half a minute, and cannot be interrupted."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - its way
        """Wait for nothing."""
        del wait, cancel_futures
        super().shutdown(wait=False, cancel_futures=True)


async def in_time(settings: Settings) -> list[Trouble]:
    """Examine the installation; the loop ends without its threads."""
    from closedwon.operations.doctor import examine  # noqa: PLC0415 - `closedwon --help` stays instant

    asyncio.get_running_loop().set_default_executor(_Impatient())
    return await examine(settings)


def _print(troubles: list[Trouble]) -> None:
    from rich.text import Text  # noqa: PLC0415

    console = new_console(highlight=False, soft_wrap=True)
    for trouble in troubles:
        harm = (f"{trouble.harm:<8}", _STYLES[trouble.harm])
        console.print(Text.assemble(harm, "  ", (trouble.subject, "bold"), f"  {trouble.text}"))
        if trouble.hint:
            console.print(Text(f"          {trouble.hint}", style="dim"))
    if not troubles:
        console.print("All is well.", style="bold green")
