"""What the groups of commands share: the settings option, and errors as sentences instead of stack traces."""

from __future__ import annotations

import asyncio
import errno
import logging
import re
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from closedwon.errors import AttentionError, ClosedwonError
from closedwon.ids import InvalidIdError, RecordId
from closedwon.settings import DEFAULT_FILE, ENV_FILE, Route, Settings, SettingsError, load_encryption, load_settings
from closedwon.settings.problems import suggest

if TYPE_CHECKING:
    from rich.console import Console
    from temporalio.client import Client, WorkflowExecution

Config = Annotated[Path, typer.Option("--config", "-c", envvar=ENV_FILE, help="The settings file.")]
DEFAULT_CONFIG = Path(DEFAULT_FILE)


class Panel(StrEnum):
    """The boxes of `closedwon --help`: what a newcomer, an administrator and an operator look for."""

    TRY = "Try it on your own machine"
    SET_UP = "Set it up"
    RUN = "Run it"
    OPERATE = "Watch it, and mend"


_SPAN = re.compile(r"(\d{1,5})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

_WIDE = 500
"""Characters."""

_Result = TypeVar("_Result")


def settings_from(config: Path) -> Settings:
    """Read the settings or end the command with one line per problem."""
    try:
        return load_settings(config)
    except SettingsError as error:
        raise _stop(error) from None


def complete(command: Coroutine[Any, Any, _Result], *, log: logging.Logger | None = None) -> _Result:
    """Run an asynchronous command; our own errors, and Temporal's, end it with a sentence and exit code 1.

    The sentence is for the terminal or, with `log`, an entry of that.
    """
    try:
        return asyncio.run(command)
    except ClosedwonError as error:
        raise _stop(error, log) from None
    except Exception as error:
        from temporalio.service import RPCError  # noqa: PLC0415 - `closedwon --help` stays instant

        if not isinstance(error, RPCError):
            raise
        raise _exit(
            f"Temporal answers {error.status.name}: {error.message.removesuffix('.')}. Is it the right one "
            "(TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE), and may you do this there?",
            log=log,
        ) from None


@contextmanager
def serving(server: str, data_dir: Path) -> Iterator[None]:
    """End the command with a sentence where a server of one's own machine cannot start, or has something unfit."""
    import sqlite3  # noqa: PLC0415 - `closedwon --help` stays instant

    try:
        yield
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            said = f"The port is taken, perhaps by {server} that runs already. Stop that one, or use --port 0."
        else:
            said = f"{error.filename or data_dir}: {error.strerror}. Mend that, or name another folder."
    except sqlite3.DatabaseError as error:
        said = f"The database in {data_dir} cannot be used: {error}. Name another --data-dir."
    except ValueError as error:
        said = str(error)
    else:
        return
    raise _exit(said)


async def connect(config: Path) -> Client:
    """Connect to Temporal without much patience: somebody is waiting. Of the settings it needs `[encryption]` only.

    Raises `SettingsError`, `KmsError` or `TemporalUnavailableError`.
    """
    encryption = load_encryption(config)
    from closedwon import temporal  # noqa: PLC0415 - `closedwon --help` stays instant

    return await temporal.connect(encryption, patience=timedelta(seconds=5))


def list_console() -> Console:
    """A console for lists of ids, wider than any of them: a terminal wraps what does not fit, rich would cut it."""
    from rich.console import Console  # noqa: PLC0415 - `closedwon --help` stays instant

    return Console(highlight=False, width=_WIDE)


def _stop(error: ClosedwonError, log: logging.Logger | None = None) -> typer.Exit:
    return _exit(str(error), error.cure if isinstance(error, AttentionError) else "", log)


def _exit(text: str, cure: str = "", log: logging.Logger | None = None) -> typer.Exit:
    if log is not None:
        log.error("%s", f"{text} {cure}".strip())
        return typer.Exit(1)
    typer.secho(text, err=True, fg=typer.colors.RED)
    if cure:
        typer.secho(cure, err=True, fg=typer.colors.YELLOW)
    return typer.Exit(1)


def route_of(settings: Settings, name: str, option: str) -> Route:
    """Find a route by name; ends the command, with what was probably meant, where there is none."""
    try:
        return settings.route(name)
    except KeyError:
        hint = suggest(name, [route.name for route in settings.routes])
        raise typer.BadParameter(f"there is no route {name!r}; {hint}", param_hint=option) from None


def as_record_id(text: str) -> RecordId:
    """Read a record id of 15 or 18 characters; ends the command for any other text."""
    try:
        return RecordId(text)
    except InvalidIdError as error:
        raise typer.BadParameter(str(error)) from None


def attribute(execution: WorkflowExecution, name: str) -> str:
    """A search attribute of a workflow; empty where it has none."""
    return str((execution.search_attributes.get(name) or [""])[0])


def moment(text: str, option: str) -> datetime:
    """Read a time: `24h` or `7d` ago, or ISO 8601 (UTC where it names no zone). Ends the command otherwise."""
    if _SPAN.fullmatch(text):
        return datetime.now(UTC) - span(text, option)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        said = f"{text!r} is no time: write `24h` or `7d` for so long ago, or `2026-03-31`, or `2026-03-31T12:00`"
        raise typer.BadParameter(said, param_hint=option) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def span(text: str, option: str) -> timedelta:
    """Read a length of time, `90s`, `5m`, `24h`, `7d`; ends the command with what may stand there."""
    found = _SPAN.fullmatch(text)
    if not found:
        raise typer.BadParameter(f"{text!r} is no length of time: write `90s`, `5m`, `24h` or `7d`", param_hint=option)
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
