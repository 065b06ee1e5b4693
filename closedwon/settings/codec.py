"""The codec server: where it listens, and who may have payloads decoded."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from closedwon.settings.values import CodecToken, Section, Url, shaped

Origin = Annotated[
    str, shaped(r"https?://[^/\s*]+", 'the address of a UI, without a path, as in "https://ui.example.com"')
]


class Tokens(Section):
    """JSON web tokens of people who have signed in to Temporal's UI."""

    keys: Url
    """The identity provider's JWKS document."""
    issuer: str
    audience: str
    """Whom the token must be meant for: the UI's client id, or the API that it asks a token for."""


class Codec(Section):
    """The server behind `closedwon codec serve`. With neither `token` nor `tokens` it serves this machine only."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8086
    token: CodecToken | None = None
    """For Temporal's command line: `--codec-auth "Bearer <token>"`."""
    tokens: Tokens | None = None
    """For Temporal's UI, which forwards the token of the user who has signed in."""
    origins: tuple[Origin, ...] = ("http://localhost:8233", "http://127.0.0.1:8233")
    """UIs whose pages may ask; the default is the development server's."""
