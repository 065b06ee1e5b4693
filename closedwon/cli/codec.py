"""`closedwon codec`: keys for what Temporal stores, and the server that lets Temporal's tools read it."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr, ValidationError

from closedwon.cli import codec_checks
from closedwon.cli.common import DEFAULT_CONFIG, Config, complete
from closedwon.settings import Key, TelemetrySettings, load_codec
from closedwon.settings.encryption import KEY_BYTES

app = typer.Typer(
    name="codec", help="Keys for what Temporal stores, and the server that lets its UI read it.", no_args_is_help=True
)
codec_checks.add_to(app)


@app.command()
def key(
    key_id: Annotated[
        str | None, typer.Option("--id", help="The key's id; default: this month, as in 2026-11.")
    ] = None,
) -> None:
    """Print a **fresh key**, and on the standard error stream what to do with it. Nothing is kept here.

    Examples:
    - `closedwon codec key`
    - `closedwon codec key --id 2026-11 > payload.key`
    """
    key_id = key_id or f"{datetime.now(UTC):%Y-%m}"
    fresh = base64.b64encode(os.urandom(KEY_BYTES)).decode()
    try:
        Key(id=key_id, key=SecretStr(fresh))
    except ValidationError as error:
        raise typer.BadParameter(error.errors()[0]["msg"].removeprefix("Value error, "), param_hint="--id") from None
    from closedwon.encryption.codec import check_value, fingerprint  # noqa: PLC0415 - `closedwon --help` stays instant

    typer.echo(fresh)
    typer.echo(
        f"Its fingerprint is {fingerprint(check_value(base64.b64decode(fresh)))}. "
        f"Keep it where secrets are kept: what it encrypts is lost without it. With the key in the environment as "
        f"PAYLOAD_KEY, closedwon.toml says:\n\n[encryption]\n"
        f'keys = [{{ id = "{key_id}", key = {{ env = "PAYLOAD_KEY" }} }}]\n\n'
        "If there are keys already, add this one at the end of the list; see docs/operate/encryption.md.",
        err=True,
    )


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Instead of `codec.host`.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Instead of `codec.port`; 0 picks a free one.")
    ] = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Serve **decoded payloads** to Temporal's UI and command line, until Ctrl-C. Needs no more than the keys.

    Examples:
    - `closedwon codec serve`
    - `temporal workflow show -w ID --codec-endpoint http://127.0.0.1:8086`
    - `temporal server start-dev --ui-codec-endpoint http://127.0.0.1:8086`
    """
    given = {"host": host, "port": port}
    complete(_serve(config, {name: value for name, value in given.items() if value is not None}))


async def _serve(config: Path, given: Mapping[str, str | int]) -> None:
    settings = load_codec(config)
    from closedwon.encryption import server as codec  # noqa: PLC0415
    from closedwon.telemetry import logs  # noqa: PLC0415 - `closedwon --help` stays instant

    logs.configure(TelemetrySettings())
    await codec.serve(settings.model_copy(update={"codec": settings.codec.model_copy(update=given)}))
