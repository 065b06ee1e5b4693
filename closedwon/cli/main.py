"""Puts the groups of commands together and ends the process cleanly."""

from __future__ import annotations

import os
import sys
import traceback
from importlib import metadata
from typing import Annotated

import typer

from closedwon.cli import (
    audit,
    codec,
    config,
    demo,
    doctor,
    erp,
    local_erp,
    local_temporal,
    orders,
    org,
    route,
    run,
    secret,
    sweeps,
    top,
)
from closedwon.cli.common import Panel


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer's way
    if wanted:
        typer.echo(f"closedwon {metadata.version('closedwon')}")
        raise typer.Exit


app = typer.Typer(
    name="closedwon",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


app.add_typer(demo.app)
app.add_typer(org.app, rich_help_panel=Panel.TRY)
app.add_typer(local_erp.app, rich_help_panel=Panel.TRY)
app.add_typer(local_temporal.app)
app.add_typer(config.app, rich_help_panel=Panel.SET_UP)
app.add_typer(route.app, rich_help_panel=Panel.SET_UP)
app.add_typer(codec.app, rich_help_panel=Panel.SET_UP)
app.add_typer(secret.app)
app.add_typer(run.app)
app.add_typer(top.app)
app.add_typer(doctor.app)
app.add_typer(orders.app, rich_help_panel=Panel.OPERATE)
app.add_typer(audit.app)
app.add_typer(sweeps.app)
app.add_typer(erp.app, rich_help_panel=Panel.OPERATE)


@app.callback()
def options(
    version: Annotated[  # noqa: FBT002 - a flag
        bool, typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Get won deals safely out of Salesforce and into the ERP."""
    del version  # the callback has printed it


def main() -> None:
    """Run a command and leave the process at once with its exit code.

    The Temporal SDK may crash the interpreter's finalisation after all work is done
    (temporalio/sdk-python issue 300), which would turn a clean stop into exit code 134 or 139.
    """
    code = 0
    try:
        app()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:  # noqa: BLE001 - a bug: shown here, since the interpreter will not get to it
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
