"""`closedwon erp status`, `pause` and `resume`: how much each configured ERP is asked to bear."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from closedwon.cli.common import DEFAULT_CONFIG, Config, complete, connect, settings_from
from closedwon.cli.common import console as new_console
from closedwon.settings.problems import suggest

if TYPE_CHECKING:
    from closedwon.facts.queues import Queue
    from closedwon.settings import Settings

app = typer.Typer()

Name = Annotated[str, typer.Argument(help="The ERP's name in closedwon.toml.")]
Why = Annotated[str, typer.Option(help="For people: shown by `erp status`, `doctor` and Temporal.")]


@app.command()
def status(config: Config = DEFAULT_CONFIG) -> None:
    """Say of each ERP whether it is **paused** or limited, by whom and why, and what waits.

    Example:
    - `closedwon erp status`
    """
    complete(_status(config, settings_from(config)))


@app.command()
def pause(
    name: Name,
    why: Why = "maintenance",
    rate: Annotated[float, typer.Option(min=0, help="Let so many orders a second through instead of none.")] = 0,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Send an ERP **nothing more**, e.g. while it is in maintenance. Orders wait; nothing fails, nothing is lost.

    Calls that are under way end as they end.

    Examples:
    - `closedwon erp pause tryton --why "year-end closing until 18:00"`
    - `closedwon erp pause tryton --rate 0.5`
    """
    _limit(config, name, rate, why)


@app.command()
def resume(
    name: Name,
    why: Why = "",
    rate: Annotated[float | None, typer.Option(min=0.001, help="At most so many orders a second.")] = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Send an ERP orders again: all that wait, or **at most** so many a second. Also one that could not be reached.

    Examples:
    - `closedwon erp resume tryton`
    - `closedwon erp resume tryton --rate 5 --why "gently, after the maintenance"`
    """
    _limit(config, name, rate, why, resumes=True)


def _limit(config: Path, name: str, rate: float | None, why: str, *, resumes: bool = False) -> None:
    settings = settings_from(config)
    erps = [erp.name for erp in settings.erps]
    if name not in erps:
        raise typer.BadParameter(f"there is no ERP {name!r} in {config}; {suggest(name, erps)}")
    complete(_set(config, settings, name, rate, why, resumes=resumes))


async def _set(config: Path, settings: Settings, name: str, rate: float | None, why: str, *, resumes: bool) -> None:
    from closedwon.operations.erps import limit, open_breaker  # noqa: PLC0415 - `closedwon --help` stays instant
    from closedwon.operations.orders import operator  # noqa: PLC0415

    client, erps = await connect(config), [erp.name for erp in settings.erps]
    await limit(client, name, rate, erps=erps, reason=why, by=operator())
    if resumes:
        await open_breaker(client, name, by=operator())
    await _status(config, settings)


async def _status(config: Path, settings: Settings) -> None:
    from rich.table import Table  # noqa: PLC0415

    from closedwon.facts.queues import erp_queues, queues  # noqa: PLC0415

    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("ERP", "status", "waiting", "oldest", "workers", "why"):
        table.add_column(heading, overflow="fold")
    for queue in erp_queues(await queues(await connect(config), settings), settings):
        if queue.erp is not None or len(settings.erps) > 1:
            table.add_row(*_row(queue))
    new_console(highlight=False).print(table)


def _row(queue: Queue) -> tuple[str, ...]:
    from rich.markup import escape  # noqa: PLC0415

    style = "bold red" if queue.is_paused else "yellow" if queue.is_limited else "green"
    return (
        queue.erp or "(several)",
        f"[{style}]{queue.status}[/]",
        str(queue.backlog),
        f"{queue.oldest.total_seconds():.0f} s" if queue.backlog else "",
        str(queue.workers) if queue.workers else "[bold red]none[/]",
        escape(queue.why),
    )
