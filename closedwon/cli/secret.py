"""`closedwon secret`: secrets that cannot be guessed, for whatever has to prove who is speaking."""

from __future__ import annotations

import secrets
from enum import StrEnum
from typing import Annotated, Final

import typer

from closedwon.cli.common import Panel

app = typer.Typer()

_BYTES: Final = 32
"""256 bits; 43 letters, digits, `-` and `_`."""


class SecretKind(StrEnum):
    """What the secret is for."""

    PATH = "path"
    CALLOUT = "callout"
    WEBHOOK = "webhook"
    CODEC = "codec"


_VARIABLES: Final = {
    SecretKind.PATH: "CLOSEDWON_PATH_SECRET",
    SecretKind.CALLOUT: "CLOSEDWON_CALLOUT_KEY",
    SecretKind.WEBHOOK: "CLOSEDWON_WEBHOOK_KEY",
    SecretKind.CODEC: "CODEC_TOKEN",
}
_TOML: Final = {
    SecretKind.PATH: 'in the route:\n\noutbound = {{ path_secrets = [{{ env = "{variable}" }}] }}\n\n'
    "and in Salesforce the endpoint of the outbound message is\n\n"
    "https://<your host>/outbound/{route}/${variable}\n"
    "https://<your host>/outbound/{route}/${variable}/tombstones   (of the message about deleted records)",
    SecretKind.CALLOUT: 'in the route:\n\ncallouts = {{ keys = [{{ env = "{variable}" }}] }}',
    SecretKind.WEBHOOK: 'under [[erps]]:\n\nwebhook = {{ keys = [{{ env = "{variable}" }}] }}',
    SecretKind.CODEC: '\n\n[codec]\ntoken = {{ env = "{variable}" }}',
}
_ROTATE: Final = (
    "To replace one: list the new one as a second entry, restart, change the other side, then remove the old one."
)


@app.command(rich_help_panel=Panel.SET_UP)
def secret(
    kind: Annotated[
        SecretKind,
        typer.Argument(
            help="`path` of outbound messages, `callout` key of Apex, `webhook` key of an ERP, `codec` token.",
            show_default=False,
        ),
    ],
    route: Annotated[str, typer.Option(help="With `path`: the name of the route.")] = "<route>",
) -> None:
    """Print a **fresh secret**, and on the standard error stream what to do with it. Nothing is kept here.

    Examples:
    - `closedwon secret path --route won-deals`
    - `closedwon secret callout > callout.key`
    """
    variable = _VARIABLES[kind]
    typer.echo(secrets.token_urlsafe(_BYTES))
    what = _TOML[kind].format(variable=variable, route=route)
    typer.echo(
        f"Keep it where secrets are kept. With the secret in the environment as {variable}, closedwon.toml says {what}"
        + (f"\n\n{_ROTATE}" if kind is not SecretKind.CODEC else ""),
        err=True,
    )
