"""`closedwon top`: a live page of the current state. `top_page` renders it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from closedwon.cli.common import DEFAULT_CONFIG, Config, Panel, complete, connect, settings_from, span
from closedwon.cli.common import console as new_console
from closedwon.tasks import is_cancelled

if TYPE_CHECKING:
    from rich.console import RenderableType

    from closedwon.settings import Settings

app = typer.Typer()

_SHORTEST: Final = 0.5
"""Seconds: a page costs some twenty requests to Temporal."""


@app.command(rich_help_panel=Panel.OPERATE)
def top(
    *,
    config: Config = DEFAULT_CONFIG,
    every: Annotated[str, typer.Option(metavar="DURATION", help="The interval between updates.")] = "2s",
    once: Annotated[bool, typer.Option("--once", help="Print one page and end.")] = False,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            envvar="CLOSEDWON_METRICS",
            help="A process's /metrics, for API calls and lag; may be repeated. The settings' address is always read.",
        ),
    ] = None,
) -> None:
    """Show the **current state**, live: stages, throughput, attention, ERPs, event bus. `q` or Ctrl-C ends it.

    Reads Temporal and, if they respond, the metrics of the processes.

    Examples:
    - `closedwon top`
    - `closedwon top --once`
    - `closedwon top --every 10s`
    """
    interval = max(span(every, "--every").total_seconds(), _SHORTEST)
    settings = settings_from(config)
    addresses = [f"http://{settings.telemetry.host}:{settings.telemetry.port}/metrics", *(metrics or [])]
    with contextlib.suppress(KeyboardInterrupt):
        complete(_top(_pages(settings, config, addresses), interval, once=once))


async def _top(pages: AsyncIterator[RenderableType], every: float, *, once: bool) -> None:
    from rich.live import Live  # noqa: PLC0415

    console = new_console(highlight=False)
    if once or not console.is_terminal:
        console.print(await anext(pages))
        return
    first = await anext(pages)
    with _keys() as pressed, Live(first, console=console, screen=True, auto_refresh=False) as live:
        live.refresh()
        while not is_cancelled():
            with contextlib.suppress(TimeoutError):
                if await asyncio.wait_for(pressed.get(), every) in {"q", "Q"}:
                    return
            live.update(await anext(pages), refresh=True)


async def _pages(settings: Settings, config: Path, metrics: list[str]) -> AsyncIterator[RenderableType]:
    from temporalio.service import RPCError  # noqa: PLC0415

    from closedwon.cli.top_page import page  # noqa: PLC0415
    from closedwon.facts import metrics_page, overview  # noqa: PLC0415

    client = await connect(config)
    while True:
        try:
            seen, pace, scraped = await asyncio.gather(
                overview.look(client, settings), overview.throughput(client), metrics_page.read(metrics)
            )
        except RPCError as error:
            yield f"Temporal does not respond ({error.status.name.lower()}); retrying."
        else:
            yield page(seen, pace, scraped, client.namespace)


@contextlib.contextmanager
def _keys() -> Iterator[asyncio.Queue[str]]:
    """Read single keys without echo during a block; the terminal is as before afterwards."""
    import termios  # noqa: PLC0415 - not on Windows, where only this command needs it
    import tty  # noqa: PLC0415

    pressed: asyncio.Queue[str] = asyncio.Queue()
    if not sys.stdin.isatty():
        yield pressed
        return
    before = termios.tcgetattr(sys.stdin)
    loop = asyncio.get_running_loop()
    tty.setcbreak(sys.stdin)  # Ctrl-C stays a signal
    loop.add_reader(sys.stdin, lambda: pressed.put_nowait(sys.stdin.read(1)))
    try:
        yield pressed
    finally:
        loop.remove_reader(sys.stdin)
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
