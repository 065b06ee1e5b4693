"""The kinds of values that settings are made of: secrets, addresses, names, expressions, durations.

Each refuses what it cannot use with a sentence that says what it must be. No sections of the file here.
"""

from __future__ import annotations

import ipaddress
import os
import re
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from closedwon import expressions
from closedwon.settings.problems import Problem, ProblemsError

SHORTEST_SECRET: Final = 32
"""Characters of a secret that proves who is speaking. Random base64 of that length holds 192 bits, hexadecimal 128."""
_FEWEST_DIFFERENT: Final = 10
"""Characters that must differ: a random secret of 32 hexadecimal digits has 14, a repeated word or digit far fewer."""

base_folder: ContextVar[Path] = ContextVar("base_folder", default=Path())
"""Where the settings file lies, while it is read: paths of secrets are relative to it."""


def _read_secret(value: object) -> object:
    if isinstance(value, SecretStr):
        return value
    if not isinstance(value, dict) or len(value) != 1 or not {"env", "file"}.issuperset(value):
        raise ValueError('a secret never stands in the file; write { env = "NAME" } or { file = "path" } instead')
    ((kind, where),) = value.items()
    if kind == "env":
        secret = os.environ.get(str(where), "").strip()
        if not secret:
            raise ValueError(f"the environment variable {where} is not set; set it to the secret")
        return SecretStr(secret)
    path = base_folder.get() / str(where)
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ValueError(f"the secret's file {path} cannot be read: {reason}; mend the path or the file") from error
    if not secret:
        raise ValueError(f"the secret's file {path} is empty; put the secret into it")
    return SecretStr(secret)


def _check_token(secret: SecretStr) -> SecretStr:
    if not secret.get_secret_value().isprintable():
        raise ValueError("holds a line break or another control character, as no token does; set it anew")
    return secret


def strong(kind: str) -> AfterValidator:
    """Make a check that refuses secrets that can be guessed; its hint is the command that prints a strong one.

    Length and variety are all that can be seen of a text: a strong secret is one that was generated.
    """

    def check(secret: SecretStr) -> SecretStr:
        text = secret.get_secret_value()
        if len(text) < SHORTEST_SECRET or len(set(text)) < _FEWEST_DIFFERENT:
            raise ValueError(
                f"can be guessed: it needs at least {SHORTEST_SECRET} characters, {_FEWEST_DIFFERENT} of them "
                f"different; `closedwon secret {kind}` prints a strong one"
            )
        return secret

    return AfterValidator(check)


def _check_path_segment(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", secret.get_secret_value(), re.ASCII):
        raise ValueError(
            "becomes a part of an address: it may hold letters, digits, `-` and `_`, at most 128 in all; "
            "`closedwon secret path` prints one"
        )
    return secret


def _check_expression(text: str) -> str:
    expressions.check(text)
    return text


def is_loopback(host: str) -> bool:
    """Whether a host, by name or address, is this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_address(text: str) -> SplitResult:
    """Take an http(s) address apart. Raises `ValueError`, which never shows the text: a password may stand in it."""
    try:
        parts = urlsplit(text)
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"is no address: {error}; write it like https://host.example.com") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError("is no http(s) address; write it like https://host.example.com")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError(f"would send credentials to {host} in clear; use https (http only to localhost)")
    return parts


def _check_url(text: str) -> str:
    parts = check_address(text)
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("must not hold a user, a password, a query or a fragment; leave them out")
    return text.rstrip("/")


def shaped(pattern: str, meaning: str) -> AfterValidator:
    """Make a check of the whole text that says in words what it must be."""
    shape = re.compile(pattern)

    def check(text: str) -> str:
        if not shape.fullmatch(text):
            raise ValueError(f"must be {meaning}")
        return text

    return AfterValidator(check)


def _read_seconds(value: object) -> object:
    """In the environment everything is text, also a number of seconds."""
    if isinstance(value, bool):
        raise ValueError("must be a duration, not true or false")  # noqa: TRY004 - what pydantic takes
    return float(value) if isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)?", value) else value


def _existing(path: Path) -> Path:
    found = base_folder.get() / path
    if not found.is_file():
        raise ValueError(f"there is no file {found}; mend the path or put the file there")
    return found


File = Annotated[Path, AfterValidator(_existing)]
"""A file that is there; a relative path counts from the settings file."""
Secret = Annotated[SecretStr, BeforeValidator(_read_secret)]
Token = Annotated[Secret, AfterValidator(_check_token)]
"""A secret that travels in the header of a request."""
PathSecret = Annotated[Secret, strong("path"), AfterValidator(_check_path_segment)]
"""A secret that is one segment of an endpoint's path."""
Expression = Annotated[str, AfterValidator(_check_expression)]
"""A JMESPath expression, checked when the file is read."""
Url = Annotated[str, AfterValidator(_check_url)]
"""An http(s) address, without a closing slash; http to this machine only."""
Name = Annotated[str, shaped(r"[a-z0-9][a-z0-9-]{0,62}", "lower-case letters, digits and hyphens, as in `won-deals`")]
"""It appears in ids, metrics and commands."""
FieldName = Annotated[str, shaped(r"[A-Za-z]\w*", "the API name of a field or object, as in `ERP_Order_Number__c`")]
EventChannel = Annotated[
    str, shaped(r"/(event|data)/[A-Za-z]\w*", "an event bus channel, as in `/event/Order_Requested__e`")
]
_LONGEST = timedelta(days=3650)
"""With some thousand years Temporal could not reckon."""
Duration = Annotated[timedelta, Field(gt=timedelta(0), le=_LONGEST), BeforeValidator(_read_seconds)]
"""Seconds, or ISO 8601 text (`PT15M`, `P30D`)."""
Pause = Annotated[timedelta, Field(ge=timedelta(0), le=_LONGEST), BeforeValidator(_read_seconds)]
"""A duration that may be none."""


class Section(BaseModel):
    """A table of the file: an unknown key is an error, not a silent no-op."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Growing(Section):
    """Intervals that double. Temporal takes none whose longest is shorter than the first."""

    first_interval: Duration
    longest_interval: Duration

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if self.longest_interval < self.first_interval:
            raise ProblemsError([Problem(("longest_interval",), "must not be shorter than `first_interval`")])
        return self
