"""`closedwon test-temporal`: a Temporal cluster on one's own machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from closedwon.cli.common import Panel, complete

app = typer.Typer()


@app.command("test-temporal", rich_help_panel=Panel.TRY)
def serve(
    data_dir: Annotated[Path, typer.Option(help="Where databases, ports and logs are kept.")] = Path(
        ".closedwon/temporal"
    ),
    build: Annotated[bool, typer.Option("--build", help="Only build the programs that are missing.")] = False,  # noqa: FBT002 - a flag
) -> None:
    """Run a **Temporal cluster** until Ctrl-C: PostgreSQL, two processes of each service, and the UI.

    Needs Go and PostgreSQL. The first start builds Temporal's server, which takes some minutes. To try Closedwon
    without a cluster, `closedwon demo` starts Temporal's development server.

    Examples:
    - `closedwon test-temporal`
    - `closedwon test-temporal --build`
    """
    from closedwon.demo.cluster import cluster, programs  # noqa: PLC0415 - `closedwon --help` stays instant

    complete(programs.build(programs.find(), typer.echo) if build else cluster.serve(data_dir, typer.echo))
