"""`closedwon demo`: the whole way of a won deal, on one's own machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from closedwon.cli.common import Panel, complete
from closedwon.demo import ErpKind, Stream, TemporalKind, Via

app = typer.Typer()


@app.command(rich_help_panel=Panel.TRY)
def demo(
    deals: Annotated[int, typer.Option(min=1, max=1000, help="How many deals are won.")] = 20,
    erp: Annotated[ErpKind, typer.Option(help="A real Tryton, or a stub ERP that starts at once.")] = ErpKind.TRYTON,
    channel: Annotated[
        Via, typer.Option(help="How Salesforce notifies: a platform event, an outbound message or a callout.")
    ] = (Via.EVENT),
    stream: Annotated[
        Stream, typer.Option(help="How events are read: by CometD, or by the Pub/Sub API (gRPC).")
    ] = Stream.COMETD,
    temporal: Annotated[
        TemporalKind, typer.Option(help="Temporal's development server, or a cluster on PostgreSQL (needs Go).")
    ] = TemporalKind.DEVELOPMENT,
    kill: Annotated[bool, typer.Option("--kill", help="Kill a worker (SIGKILL) while orders are half-way.")] = False,  # noqa: FBT002 - a flag
    keep: Annotated[bool, typer.Option("--keep", help="Keep everything running at the end, to look around.")] = False,  # noqa: FBT002 - a flag
    data_dir: Annotated[Path, typer.Option(help="Where everything is kept from run to run.")] = Path(".closedwon/demo"),
) -> None:
    """**Win deals and watch them become orders**: Temporal, a Salesforce org and an ERP on this machine.

    Ends with the counts of Salesforce and the ERP: won, ordered, written back, duplicates, missing, and durations; the
    same as JSON in `summary.json` in the data dir. The exit code is 0 only when all agree.

    Example:
    - `closedwon demo --deals 50 --erp stub --kill`
    """
    from closedwon.demo.run import Options, demo  # noqa: PLC0415 - `closedwon --help` stays instant

    options = Options(
        deals=deals, erp=erp, via=channel, stream=stream, temporal=temporal, kill=kill, keep=keep, data_dir=data_dir
    )
    raise typer.Exit(0 if complete(demo(options)) else 1)
