"""What the groups of `closedwon org` share: where an org's data lies, and talking to the org that runs on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from closedwon.cli.common import serving

if TYPE_CHECKING:
    from closedwon.emulators.salesforce.client import OrgClient

DataDir = Annotated[Path, typer.Option(help="Where the org keeps its data and connection.json.")]
DEFAULT_DIR = Path(".closedwon/org")

_Result = TypeVar("_Result")


def talk(data_dir: Path, what: Callable[[OrgClient], Coroutine[Any, Any, _Result]]) -> _Result:
    """Talk to the org that runs on `data_dir`; end the command with one sentence where that fails."""
    import aiohttp  # noqa: PLC0415 - `closedwon --help` stays instant

    from closedwon.emulators.salesforce.client import OrgClient, OrgRefusedError  # noqa: PLC0415
    from closedwon.emulators.salesforce.connection import read_connection  # noqa: PLC0415

    with serving("an org", data_dir):
        connection = read_connection(data_dir)
    if connection is None:
        raise stop(f"No org was ever served in {data_dir}. Start one with: closedwon org serve --data-dir {data_dir}")

    async def conversation() -> _Result:
        async with OrgClient.open(connection) as client:
            return await what(client)

    try:
        return asyncio.run(conversation())
    except aiohttp.ClientConnectionError:
        raise stop(
            f"No org answers at {connection.url}. Start it with: closedwon org serve --data-dir {data_dir}"
        ) from None
    except (aiohttp.ClientError, TimeoutError) as error:
        raise stop(f"What listens at {connection.url} does not answer as an org ({type(error).__name__})") from None
    except OrgRefusedError as error:
        raise stop(f"The org refuses: {error}") from None


def stop(message: str) -> typer.Exit:
    """Print one sentence; raise what this returns."""
    typer.secho(message, err=True, fg=typer.colors.RED)
    return typer.Exit(1)
