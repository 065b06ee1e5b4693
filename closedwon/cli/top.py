"""`closedwon top`: a live page of how everything stands. The page itself is `top_page`."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from closedwon.cli.common import DEFAULT_CONFIG, Config, Panel, complete, connect, settings_from

if TYPE_CHECKING:
    from rich.console import RenderableType

    from closedwon.settings import Settings

app = typer.Typer()


@app.command(rich_help_panel=Panel.OPERATE)
def top(
    *,
    config: Config = DEFAULT_CONFIG,
    every: Annotated[float, typer.Option(min=0.5, help="Seconds from look to look.")] = 2,
    once: Annotated[bool, typer.Option("--once", help="Print one page and end.")] = False,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            envvar="CLOSEDWON_METRICS",
            help="A process's /metrics, for API calls and lag; may be repeated. The settings' port is asked anyway.",
        ),
    ] = None,
) -> None:
    """Show, live, **how everything stands**: stages, pace, attention, ERPs, the event bus. `q` or Ctrl-C ends it.

    Asks Temporal, and of the processes' metrics what only they know, where they answer.

    Examples:
    - `closedwon top`
    - `closedwon top --once`
    """
    settings = settings_from(config)
    addresses = [f"http://{settings.telemetry.host}:{settings.telemetry.port}/metrics", *(metrics or [])]
    with contextlib.suppress(KeyboardInterrupt):
        complete(_top(_pages(settings, config, addresses), every, once=once))


async def _top(pages: AsyncIterator[RenderableType], every: float, *, once: bool) -> None:
    from rich.console import Console  # noqa: PLC0415 - `closedwon --help` stays instant
    from rich.live import Live  # noqa: PLC0415

    console = Console(highlight=False)
    if once or not console.is_terminal:
        console.print(await anext(pages))
        return
    first = await anext(pages)
    with _keys() as pressed, Live(first, console=console, screen=True, auto_refresh=False) as live:
        live.refresh()
        while True:
            with contextlib.suppress(TimeoutError):
                if await asyncio.wait_for(pressed.get(), every) in {"q", "Q"}:
                    return
            live.update(await anext(pages), refresh=True)


async def _pages(settings: Settings, config: Path, metrics: list[str]) -> AsyncIterator[RenderableType]:
    from temporalio.service import RPCError  # noqa: PLC0415

    from closedwon.cli.top_page import page  # noqa: PLC0415
    from closedwon.operating import figures, overview  # noqa: PLC0415

    client = await connect(config)
    while True:
        try:
            seen, told = await asyncio.gather(overview.look(client, settings), figures.read(metrics))
        except RPCError as error:
            yield f"Temporal does not answer ({error.status.name.lower()}); trying again."
        else:
            yield page(seen, told, client.namespace)


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
