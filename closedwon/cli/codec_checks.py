"""`closedwon codec check`, …: is a key the right one, and what to do with what a wrong key has written."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from closedwon.cli.common import DEFAULT_CONFIG, Config, complete, settings_from
from closedwon.errors import ClosedwonError
from closedwon.settings import load_encryption

if TYPE_CHECKING:
    from temporalio.client import Client, WorkflowExecution

    from closedwon.temporal.key_checks import KeyCheck

_Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
_SHOWN: Final = 20
"""Maximum number of workflows that are listed; the others are counted."""


class _NoSuchKeyError(ClosedwonError):
    """The settings do not list the key."""


def add_to(app: typer.Typer) -> None:
    """Put the commands into the group `codec`."""
    app.command()(check)
    app.command("replace-check")(replace_check)
    app.command()(undecryptable)


def check(config: Config = DEFAULT_CONFIG) -> None:
    """Show the **fingerprint of each key**, and whether Temporal knows the same key by this id. Changes nothing.

    The exit code is 1 if a key differs, or Temporal does not answer.

    Example:
    - `closedwon codec check`
    """
    complete(_check(config))


def replace_check(
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="The id of the key, as in `encryption.keys`.")],
    *,
    yes: _Yes = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Make the **configured key** of an id the right one. Processes that have another one stop their work.

    Needed only if the first process that ever started had a wrong key. What it has written does not become decryptable
    by this: see docs/operate/encryption.md.

    Example:
    - `closedwon codec replace-check 2026-11`
    """
    complete(_replace_check(config, key_id, yes=yes))


def undecryptable(
    *,
    terminate: Annotated[
        bool, typer.Option("--terminate", help="End them, so that sweeps and audits order their deals again.")
    ] = False,
    yes: _Yes = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """List the open workflows that **a wrong key has written**. Reads the history of every open workflow.

    If the wrong key still exists, list it with `by_mistake = true` instead of terminating anything. The exit code is 1
    if there are any and they were not terminated.

    Examples:
    - `closedwon codec undecryptable`
    - `closedwon codec undecryptable --terminate`
    """
    complete(_undecryptable(config, terminate=terminate, yes=yes))


async def _connect(config: Path) -> Client:
    """Connect without a check of the keys, which is what these commands are about."""
    from closedwon.temporal.client import connect  # noqa: PLC0415 - `closedwon --help` stays instant

    return await connect(load_encryption(config), patience=timedelta(seconds=5))


async def _check(config: Path) -> None:
    from closedwon.encryption.codec import codec, fingerprint  # noqa: PLC0415 - `closedwon --help` stays instant
    from closedwon.temporal.key_checks import key_checks  # noqa: PLC0415
    from closedwon.temporal.target import TemporalUnavailableError  # noqa: PLC0415

    try:
        found = await key_checks(await _connect(config))
    except TemporalUnavailableError:
        for key_id, value in codec(load_encryption(config)).check_values.items():
            typer.echo(f"{key_id}  {fingerprint(value)}")
        raise
    for one in found:
        typer.echo(f"{one.key_id}  {one.fingerprint}  {_verdict(one)}")
    if any(one.differs for one in found):
        raise typer.Exit(1)


def _verdict(one: KeyCheck) -> str:
    if one.known is None:
        return "not in Temporal yet"
    if one.differs:
        return f"WRONG: Temporal knows {one.known_fingerprint}{one.noted}"
    return f"as in Temporal{one.noted}"


async def _replace_check(config: Path, key_id: str, *, yes: bool) -> None:
    from closedwon.temporal.key_checks import key_checks, replace_key_check  # noqa: PLC0415

    client = await _connect(config)
    one = next((one for one in await key_checks(client) if one.key_id == key_id), None)
    if one is None:
        raise _NoSuchKeyError(f"`encryption.keys` does not list the key {key_id!r}")
    if one.known == one.value:
        typer.echo(f"Temporal knows this key already: {one.fingerprint}")
        return
    typer.echo(f"key {key_id}: {one.known_fingerprint}{one.noted} is replaced by {one.fingerprint}")
    if not yes:
        typer.confirm("Continue?", abort=True)
    await replace_key_check(client, key_id)
    typer.echo(f"From now on every process must have the key {key_id} with the fingerprint {one.fingerprint}.")


async def _undecryptable(config: Path, *, terminate: bool, yes: bool) -> None:
    from closedwon.operations import undecryptable  # noqa: PLC0415 - `closedwon --help` stays instant

    settings = settings_from(config) if terminate else None
    client = await _connect(config)
    found = sorted([one async for one in undecryptable.undecryptable(client)], key=lambda one: one.id)
    if not found:
        typer.echo("Every open workflow can be decrypted.")
        return
    _list(found)
    if settings is None:
        typer.echo('See "When something was written with a wrong key" in docs/operate/encryption.md.')
        raise typer.Exit(1)
    if not yes:
        typer.confirm("Terminate them? What they hold is lost.", abort=True)
    ended = await undecryptable.end(client, settings, found)
    typer.echo(f"{ended.workflows} terminated, {ended.gaps} gaps swept again, {ended.schedules} schedules made again")


def _list(found: list[WorkflowExecution]) -> None:
    kinds = Counter(one.workflow_type for one in found)
    typer.echo(", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items())))
    for one in found[:_SHOWN]:
        typer.echo(f"  {one.id}  since {one.start_time:%Y-%m-%d %H:%M} UTC")
    if len(found) > _SHOWN:
        typer.echo(f"  … and {len(found) - _SHOWN} more")
