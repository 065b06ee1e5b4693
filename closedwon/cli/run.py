"""`closedwon run`, `worker` and `subscriber`: the processes that do the work."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from closedwon.cli.common import DEFAULT_CONFIG, Config, Panel, complete, settings_from
from closedwon.settings import Purpose, Settings

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

app = typer.Typer()
_log = logging.getLogger(__name__)


@app.command(rich_help_panel=Panel.RUN)
def run(config: Config = DEFAULT_CONFIG) -> None:
    """Run **everything in one process**: worker, reader of the event bus, and intake where `[intake]` is set.

    Temporal is found by its own settings (`TEMPORAL_ADDRESS`, …). Stops gracefully on SIGTERM.

    Example:
    - `TEMPORAL_ADDRESS=localhost:7233 closedwon run --config closedwon.toml`
    """
    _run(config, "orders", "subscriber", "intake")


@app.command(rich_help_panel=Panel.RUN)
def worker(config: Config = DEFAULT_CONFIG) -> None:
    """Run a **worker**: it carries orders to the ERP and writes back. Start as many as you like.

    Example:
    - `closedwon worker --config closedwon.toml`
    """
    _run(config, "orders")


@app.command(rich_help_panel=Panel.RUN)
def subscriber(config: Config = DEFAULT_CONFIG) -> None:
    """Run a **reader of the event bus**. Two or more stand in for each other; each channel has one reader at a time.

    Example:
    - `closedwon subscriber --config closedwon.toml`
    """
    _run(config, "subscriber")


@app.command(rich_help_panel=Panel.RUN)
def intake(config: Config = DEFAULT_CONFIG) -> None:
    """Run the **server that Salesforce calls**: outbound messages and callouts. Start several behind a load balancer.

    Example:
    - `closedwon intake --config closedwon.toml`
    """
    if _settings(config, "intake").intake is None:
        typer.secho(f"{config}: there is no [intake] table; add one to say where to listen", err=True, fg="red")
        raise typer.Exit(1)
    _run(config, "intake")


_NEEDED: Final = {
    "orders": {Purpose.ORG, Purpose.ERP, Purpose.ALERTS},
    "subscriber": {Purpose.ORG},
    "intake": {Purpose.SENDERS},
}
"""Secrets by role. Intake, which strangers can reach, has none with which orders could be read or made."""
_WELCOME: Final = {"orders": {Purpose.SENDERS}}
"""A worker holds the orders of a route whose secret has become weak, if it may read that secret."""


def _settings(config: Path, *roles: str) -> Settings:
    needed = {purpose for role in roles for purpose in _NEEDED[role]}
    return settings_from(config, *needed, welcome={one for role in roles for one in _WELCOME.get(role, ())})


def _run(config: Path, *roles: str) -> None:
    settings = _settings(config, *roles)
    from workers import process  # noqa: PLC0415 - `closedwon --help` stays instant

    loop = _event_loop(settings, *roles)
    complete(process.run(settings, [process.Role(role) for role in roles]), log=_log, loop=loop)


def _event_loop(settings: Settings, *roles: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What creates the event loop: uvloop; None for asyncio's own, which TLS of intake needs.

    A protocol of uvloop cannot pause reading in `connection_made`, so a handshake that begins later has lost its first
    bytes.
    """
    if "intake" in roles and settings.intake is not None and settings.intake.tls is not None:
        return None
    import uvloop  # noqa: PLC0415 - `closedwon --help` stays instant

    return uvloop.new_event_loop
