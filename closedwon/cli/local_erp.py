"""`closedwon test-erp`: ERPs for one's own machine, a real Tryton and a stub with faults on demand."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from closedwon.cli.common import serving

app = typer.Typer(
    name="test-erp",
    help="Run an ERP on your own machine: a real Tryton, or a stub with faults on demand.",
    no_args_is_help=True,
)

Port = Annotated[
    int | None, typer.Option(min=0, max=65535, help="0 picks a free one; default: the one served last time.")
]


@app.command()
def tryton(
    data_dir: Annotated[Path, typer.Option(help="Where the database and connection.json are kept.")] = Path(
        ".closedwon/tryton"
    ),
    port: Port = None,
    postgres: Annotated[
        str | None,
        typer.Option(help="A PostgreSQL server in place of SQLite: `postgresql://USER:PASSWORD@HOST:PORT`."),
    ] = None,
    cache_dir: Annotated[Path, typer.Option(help="Where the finished empty database is kept.")] = Path(
        ".closedwon/cache"
    ),
) -> None:
    """Run a real **Tryton** ERP with a demo company (default port 8000).

    The first start builds the database, which takes a minute or two; later ones take seconds. Address, login,
    password and REST key are written to `connection.json` in the data dir.

    Example:
    - `closedwon test-erp tryton`
    """
    from closedwon.emulators.erp.tryton import serve  # noqa: PLC0415 - `closedwon --help` stays instant
    from closedwon.emulators.erp.tryton_database import SetupError  # noqa: PLC0415

    _log_to_terminal()
    try:
        with serving("an ERP", data_dir):
            serve(data_dir, port, cache_dir=cache_dir, postgres=postgres)
    except SetupError as error:
        typer.echo(error, err=True)
        raise typer.Exit(1) from None


@app.command()
def stub(
    data_dir: Annotated[Path, typer.Option(help="Where the orders are kept.")] = Path(".closedwon/stub"),
    port: Port = None,
) -> None:
    """Run a **stub ERP** that speaks the `rest` contract, with faults on demand (default port 8090).

    Address and token are written to `connection.json` in the data dir.

    Examples, in two terminals:

    - `closedwon test-erp stub`
    - `curl localhost:8090/_admin/faults -d '{"lose_reply": 3}'`
    """
    import asyncio  # noqa: PLC0415 - `closedwon --help` stays instant

    from closedwon.emulators.erp.stub import serve  # noqa: PLC0415

    _log_to_terminal()
    with serving("an ERP", data_dir):
        asyncio.run(serve(data_dir, port))


def _log_to_terminal() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
