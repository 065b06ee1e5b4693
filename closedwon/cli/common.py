"""What the commands share: the `--config` option, and errors as sentences instead of stack traces."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from closedwon import durations
from closedwon.errors import AttentionError, ClosedwonError
from closedwon.ids import InvalidIdError, RecordId
from closedwon.safe_text import json_text, terminal
from closedwon.settings import (
    DEFAULT_FILE,
    ENV_FILE,
    Purpose,
    Reading,
    Route,
    Settings,
    SettingsError,
    load_encryption,
    load_settings,
)
from closedwon.settings.problems import suggest
from closedwon.tasks import StoppedError

if TYPE_CHECKING:
    from rich.console import Console
    from temporalio.client import Client, WorkflowExecution

Config = Annotated[Path, typer.Option("--config", "-c", envvar=ENV_FILE, help="The settings file.")]
DEFAULT_CONFIG = Path(DEFAULT_FILE)


class Panel(StrEnum):
    """The sections of `closedwon --help`."""

    TRY = "Try it on your own machine"
    SET_UP = "Set it up"
    RUN = "Run it"
    OPERATE = "Watch it and fix problems"


_WIDE = 500
"""Characters."""

_Result = TypeVar("_Result")


def settings_from(config: Path, *needed: Purpose, welcome: Iterable[Purpose] = ()) -> Settings:
    """Read the settings, with the secrets that the command needs, or end the command with one line per problem.

    `welcome` secrets are read where they are there.
    """
    try:
        return load_settings(config, Reading(frozenset({Purpose.PAYLOADS, *needed}), frozenset(welcome)))
    except SettingsError as error:
        raise _stop(error) from None


def complete(
    command: Coroutine[Any, Any, _Result],
    *,
    log: logging.Logger | None = None,
    loop: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> _Result:
    """Run a command; an error of Closedwon or Temporal ends it with one sentence and exit code 1.

    The sentence is printed or, with `log`, logged. A signal that has stopped everything gives the usual exit code.
    `loop` creates the event loop; None: asyncio's own.
    """
    try:
        with asyncio.Runner(loop_factory=loop) as runner:
            return runner.run(command)
    except StoppedError as stopped:
        typer.echo("Everything is stopped.", err=True)
        raise typer.Exit(128 + stopped.number) from None
    except ClosedwonError as error:
        raise _stop(error, log) from None
    except Exception as error:
        from temporalio.service import RPCError  # noqa: PLC0415 - `closedwon --help` stays instant

        if not isinstance(error, RPCError):
            raise
        raise _exit(
            f"Temporal responds with {error.status.name}: {error.message.removesuffix('.')}. Check TEMPORAL_ADDRESS "
            "and TEMPORAL_NAMESPACE, and your permissions there.",
            log=log,
        ) from None


@contextmanager
def serving(server: str, data_dir: Path) -> Iterator[None]:
    """End the command with one sentence if a local server cannot start."""
    import sqlite3  # noqa: PLC0415 - `closedwon --help` stays instant

    try:
        yield
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            text = f"The port is in use, perhaps by {server} that is already running. Stop it, or use --port 0."
        else:
            text = f"{error.filename or data_dir}: {error.strerror}. Correct that, or choose another folder."
    except sqlite3.DatabaseError as error:
        text = f"The database in {data_dir} cannot be used: {error}. Choose another --data-dir."
    except ValueError as error:
        text = str(error)
    else:
        return
    raise _exit(text)


async def connect(config: Path) -> Client:
    """Connect to Temporal within five seconds, with the right keys. Of the settings, only `[encryption]` is needed.

    A command that was sent with a wrong key would stop its order: no worker could read it.
    Raises `SettingsError`, `KmsError`, `TemporalUnavailableError` or `WrongKeyError`.
    """
    encryption = load_encryption(config)
    from closedwon.temporal.client import connect  # noqa: PLC0415 - `closedwon --help` stays instant
    from closedwon.temporal.key_checks import verify_keys  # noqa: PLC0415

    client = await connect(encryption, patience=timedelta(seconds=5))
    await verify_keys(client)
    return client


def console(**options: Any) -> Console:
    """A console that shows texts from outside without obeying them (`closedwon.safe_text`)."""
    from closedwon.cli.screen import SafeConsole  # noqa: PLC0415 - `closedwon --help` stays instant

    return SafeConsole(**options)


def echo_json(text: str) -> None:
    """Print JSON for programs, which a terminal cannot obey either."""
    typer.echo(json_text(text))


def list_console() -> Console:
    """A console that is wider than any id, so that the terminal wraps lines; rich would cut them."""
    return console(highlight=False, width=_WIDE)


def _stop(error: ClosedwonError, log: logging.Logger | None = None) -> typer.Exit:
    return _exit(str(error), error.hint if isinstance(error, AttentionError) else "", log)


def _exit(text: str, hint: str = "", log: logging.Logger | None = None) -> typer.Exit:
    if log is not None:
        log.error("%s", f"{text} {hint}".strip())
        return typer.Exit(1)
    text, hint = terminal(text), terminal(hint)
    typer.secho(text, err=True, fg=typer.colors.RED)
    if hint:
        typer.secho(hint, err=True, fg=typer.colors.YELLOW)
    return typer.Exit(1)


def named_route(settings: Settings, name: str, option: str) -> Route:
    """Find a route by name; for an unknown name, ends the command with the most similar one."""
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
    """A search attribute of a workflow; an empty text if it is not set."""
    return str((execution.search_attributes.get(name) or [""])[0])


def moment(text: str, option: str) -> datetime:
    """Read a time: a duration (`24h` means 24 hours ago) or ISO 8601 (UTC if it names no zone).

    Ends the command for any other text.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return _ago(text, option)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _ago(text: str, option: str) -> datetime:
    try:
        return datetime.now(UTC) - durations.parse(text)
    except (ValueError, OverflowError):
        message = (
            f"{text!r} is not a time: write `24h` or `7d` ago, or a date, as in `2026-03-31` or `2026-03-31T12:00`"
        )
        raise typer.BadParameter(message, param_hint=option) from None


def span(text: str, option: str) -> timedelta:
    """Read a duration, as in `90s` or `24h`; ends the command for any other text."""
    try:
        return durations.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
