"""The kinds of values that settings are made of: secrets, addresses, names, expressions, durations.

Each rejects an invalid value with a sentence that says what it must be. No sections of the file here.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import re
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from datetime import timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Final, NamedTuple, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, SecretStr, model_validator

from closedwon import durations, expressions
from closedwon.errors import ClosedwonError
from closedwon.files import stamps
from closedwon.settings.problems import ProblemsError, SettingsProblem

_log = logging.getLogger(__name__)

SHORTEST_SECRET: Final = 32
"""Minimum length in characters of a secret that authenticates a sender. Random base64 of that length
holds 192 bits, hexadecimal 128."""
CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"
"""The environment variable with the folder of the secrets that this process has been given."""
_FEWEST_DIFFERENT: Final = 10
"""Minimum number of different characters: 32 random hexadecimal digits have 14, a repeated text far fewer."""

base_folder: ContextVar[Path] = ContextVar("base_folder", default=Path())
"""The folder of the settings file while it is read: paths of secrets are relative to it."""


class Purpose(StrEnum):
    """What a secret is for. A process reads those of its role only."""

    PAYLOADS = "payloads"
    """What Temporal stores: every process that talks to it."""
    ORG = "org"
    """To log in to Salesforce."""
    ERP = "erp"
    """To call ERPs."""
    SENDERS = "senders"
    """To know who sends to intake."""
    ALERTS = "alerts"
    """To call the webhook."""
    CODEC = "codec"
    """To know who may have payloads decoded."""


class Reading(NamedTuple):
    """Which secrets are read."""

    needed: frozenset[Purpose]
    """One that is missing is an error."""
    welcome: frozenset[Purpose] = frozenset()
    """Read where they are there."""


EVERYTHING: Final = Reading(frozenset(Purpose))
reading: ContextVar[Reading] = ContextVar("reading", default=EVERYTHING)
"""Which secrets are read while the settings file is read."""


class UnreadSecretError(ClosedwonError):
    """A process uses a secret that is not one of its role."""


class UnreadSecret(SecretStr):
    """A secret of another role than that of this process."""

    def __init__(self) -> None:
        super().__init__("")

    def get_secret_value(self) -> str:
        """Raise `UnreadSecretError`: nothing may go on with an empty secret."""
        raise UnreadSecretError("A secret of the settings was not read, because this process has no use for it.")

    def __bool__(self) -> bool:
        """It is set; only its value is not known."""
        return True

    def __eq__(self, other: object) -> bool:
        """Whether it is the same setting: its value is not known."""
        return self is other

    def __hash__(self) -> int:
        """Consistent with equality."""
        return id(self)


def known(secrets: Iterable[SecretStr]) -> list[SecretStr]:
    """Return those of the secrets that this process has read."""
    return [secret for secret in secrets if not isinstance(secret, UnreadSecret)]


def check(test: Callable[[SecretStr], SecretStr]) -> AfterValidator:
    """Make a check of a secret; one that was not read passes."""
    return AfterValidator(lambda secret: secret if isinstance(secret, UnreadSecret) else test(secret))


class FileSecret(SecretStr):
    """A secret that was read from a file, and may be read again."""

    def __init__(self, secret: str, file: Path) -> None:
        super().__init__(secret)
        self.file = file
        self._current = secret
        self._seen = stamps([file])

    def read_again(self) -> SecretStr:
        """Return what the file holds now. Raises `ValueError`, with a sentence and a hint."""
        return FileSecret(_text_of(self.file), self.file)

    def current(self) -> str:
        """Return what the file holds now; what it held before, if it cannot be read any more."""
        now = stamps([self.file])
        if now != self._seen:
            self._seen = now
            try:
                self._current = _text_of(self.file)
            except ValueError as error:
                _log.warning("%s; what was read before stays in use", error)
        return self._current

    def __eq__(self, other: object) -> bool:
        """Whether the secrets are equal, whatever their source."""
        return SecretStr(self.get_secret_value()) == other

    def __hash__(self) -> int:
        """Consistent with equality."""
        return super().__hash__()


def current_value(secret: SecretStr) -> str:
    """Return the value for a call that begins now: a secret in a file may have been replaced.

    For credentials that this process shows to others. Those by which it recognizes others are read at the start, and
    the safety checks look at their files (`closedwon.settings.guarding`).
    """
    return secret.current() if isinstance(secret, FileSecret) else secret.get_secret_value()


def _text_of(file: Path) -> str:
    try:
        secret = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ValueError(f"the secret's file {file} cannot be read: {reason}; correct the path or the file") from error
    if not secret:
        raise ValueError(f"the secret's file {file} is empty; put the secret into it")
    return secret


def _read_secret(purpose: Purpose, value: object) -> object:
    if isinstance(value, SecretStr):
        return value
    if not isinstance(value, dict) or len(value) != 1 or not {"env", "file", "credential"}.issuperset(value):
        raise ValueError(
            'a secret must not be in the file; write { env = "NAME" }, { file = "path" } or { credential = "NAME" } '
            "instead"
        )
    asked = reading.get()
    if purpose not in asked.needed | asked.welcome:
        return UnreadSecret()
    ((kind, where),) = value.items()
    try:
        return _secret_of(kind, str(where))
    except ValueError:
        if purpose in asked.needed:
            raise
        return UnreadSecret()


def _secret_of(kind: str, where: str) -> SecretStr:
    if kind == "env":
        secret = os.environ.get(where, "").strip()
        if not secret:
            raise ValueError(f"the environment variable {where} is not set; set it to the secret")
        return SecretStr(secret)
    path = base_folder.get() / where if kind == "file" else _credential(where)
    return FileSecret(_text_of(path), path)


def _credential(name: str) -> Path:
    """Return the file that the process manager has put there for this process (systemd.exec(5), Credentials)."""
    folder = os.environ.get(CREDENTIALS, "")
    if not folder:
        raise ValueError(
            f"the environment variable {CREDENTIALS} is not set; systemd sets it for a unit with LoadCredential=, "
            "elsewhere set it to the folder of the secrets"
        )
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError('the name of a credential is that of a file, as in { credential = "erp-token" }')
    return Path(folder) / name


def _of(purpose: Purpose) -> BeforeValidator:
    return BeforeValidator(partial(_read_secret, purpose))


def _check_token(secret: SecretStr) -> SecretStr:
    if not secret.get_secret_value().isprintable():
        raise ValueError("contains a line break or another control character, which no token does; set it again")
    return secret


def check_strength(kind: str, secret: SecretStr) -> SecretStr:
    """Return a secret that cannot be guessed; raises `ValueError` for others, with the command that prints one.

    Length and variety are all that can be seen of a text: a strong secret is one that was generated.
    """
    text = secret.get_secret_value()
    if len(text) < SHORTEST_SECRET or len(set(text)) < _FEWEST_DIFFERENT:
        raise ValueError(
            f"can be guessed: it needs at least {SHORTEST_SECRET} characters, {_FEWEST_DIFFERENT} of them "
            f"different; `closedwon secret {kind}` prints a strong one"
        )
    return secret


def strong(kind: str) -> AfterValidator:
    """Make a check of a setting that refuses weak secrets."""
    return check(partial(check_strength, kind))


def check_path_segment(secret: SecretStr) -> SecretStr:
    """Return a secret that fits into an address; raises `ValueError` for others."""
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
    """Take an http(s) address apart. Raises `ValueError`, without the address, which may contain a password."""
    try:
        parts = urlsplit(text)
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"is not a valid address: {error}; write it like https://host.example.com") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError("is not an http(s) address; write it like https://host.example.com")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError(f"would send credentials to {host} unencrypted; use https (http only to localhost)")
    return parts


def _check_url(text: str) -> str:
    parts = check_address(text)
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("must not hold a user, a password, a query or a fragment; leave them out")
    return text.rstrip("/")


def target_of(url: str) -> tuple[str, str | None, int, str]:
    """What requests to a checked address go to, however it is written."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80), parts.path


def shaped(pattern: str, meaning: str) -> AfterValidator:
    """Make a check of the whole text; `meaning` says in the error what it must be."""
    shape = re.compile(pattern)

    def check(text: str) -> str:
        if not shape.fullmatch(text):
            raise ValueError(f"must be {meaning}")
        return text

    return AfterValidator(check)


def _read_duration(value: object) -> object:
    """Read the notation of `closedwon.durations`; `timedelta` is for settings that are made in Python."""
    if isinstance(value, timedelta):
        return value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return durations.parse(str(value) if isinstance(value, str) or is_number else "")


def at_most(longest: timedelta, reason: str = "") -> AfterValidator:
    """Make a check of a duration. The reason says, after a semicolon, why it must not be longer."""

    def check(duration: timedelta) -> timedelta:
        if duration > longest:
            raise ValueError(f'must be at most "{durations.text(longest)}"' + (f"; {reason}" if reason else ""))
        return duration

    return AfterValidator(check)


def _not_zero(duration: timedelta) -> timedelta:
    if duration <= timedelta(0):
        raise ValueError('must be longer than "0s"')
    return duration


def _existing(path: Path) -> Path:
    found = base_folder.get() / path
    if not found.is_file():
        raise ValueError(f"there is no file {found}; correct the path or create the file")
    return found


File = Annotated[Path, AfterValidator(_existing)]
"""A file that is there; a relative path counts from the settings file."""
OwnFile = Annotated[Path, AfterValidator(lambda path: base_folder.get() / path)]
"""A file that only some processes need, and read when they do; a relative path counts from the settings file."""
PayloadKey = Annotated[SecretStr, _of(Purpose.PAYLOADS)]
OrgSecret = Annotated[SecretStr, _of(Purpose.ORG)]
ErpToken = Annotated[SecretStr, _of(Purpose.ERP), check(_check_token)]
"""It travels in the header of a request, as the next one does."""
AlertToken = Annotated[SecretStr, _of(Purpose.ALERTS), check(_check_token)]
AlertSecret = Annotated[SecretStr, _of(Purpose.ALERTS)]
CodecToken = Annotated[SecretStr, _of(Purpose.CODEC), strong("codec")]
SenderKey = Annotated[SecretStr, _of(Purpose.SENDERS)]
PathSecret = Annotated[SecretStr, _of(Purpose.SENDERS), strong("path"), check(check_path_segment)]
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
"""Temporal cannot compute with durations of some thousand years."""
Pause = Annotated[timedelta, BeforeValidator(_read_duration), at_most(_LONGEST)]
"""A duration that may be `"0s"`, as text in the notation of `closedwon.durations`, e.g. `"15m"`."""
Duration = Annotated[Pause, AfterValidator(_not_zero)]
"""A duration that must not be `"0s"`."""


class Section(BaseModel):
    """A table of the file: an unknown key is an error, not a silent no-op."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class GrowingIntervals(Section):
    """Intervals that double. Temporal rejects a maximum that is shorter than the initial interval."""

    initial_interval: Duration
    maximum_interval: Duration

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if self.maximum_interval < self.initial_interval:
            raise ProblemsError([SettingsProblem(("maximum_interval",), "must not be shorter than `initial_interval`")])
        return self
