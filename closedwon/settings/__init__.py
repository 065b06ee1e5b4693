"""Settings: one TOML file (`closedwon.toml`) plus the environment, checked at start.

Orgs, ERPs and routes are lists in the file. Secrets never stand in it: a secret is `{ env = "NAME" }` or
`{ file = "path" }` (relative to the settings file). Values outside the lists can be overridden by the environment, e.g.
`CLOSEDWON_TELEMETRY__PORT=9500`. Temporal's own connection settings (address, namespace, TLS, API key) come from
Temporal's standard environment and file, not from here. Every error names file, key and cure.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import pydantic_settings
from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from closedwon.errors import ClosedwonError
from closedwon.settings.alerts import Alerts
from closedwon.settings.codec import Codec, Tokens
from closedwon.settings.encryption import Encryption, Key
from closedwon.settings.exposure import problems as problems_of_origin
from closedwon.settings.exposure import warnings
from closedwon.settings.extras import reserved_names
from closedwon.settings.intake import ForwardedCertificate, Intake, Tls
from closedwon.settings.orders import CustomerMapping, Discount, LinesMapping, Lookup, OrderMapping
from closedwon.settings.problems import Problem, ProblemsError, dotted, problems_in, suggest
from closedwon.settings.routes import (
    Callouts,
    ErpByExpression,
    Follow,
    Outbound,
    Route,
    Tombstone,
    WriteBack,
)
from closedwon.settings.sweeps import Audit, Sweep
from closedwon.settings.systems import ClientCredentials, ErpSettings, JwtBearer, Org, RestErp, TrytonErp, Webhook
from closedwon.settings.values import Duration, Growing, Section, base_folder, shaped

__all__ = [
    "DEFAULT_FILE",
    "ENV_FILE",
    "Alerts",
    "Audit",
    "Callouts",
    "ClientCredentials",
    "Codec",
    "CodecSettings",
    "CustomerMapping",
    "Discount",
    "Encryption",
    "ErpByExpression",
    "ErpSettings",
    "Follow",
    "ForwardedCertificate",
    "Intake",
    "JwtBearer",
    "Key",
    "LinesMapping",
    "Lookup",
    "OrderMapping",
    "Org",
    "Outbound",
    "RestErp",
    "Retry",
    "Route",
    "Settings",
    "SettingsError",
    "Subscriber",
    "Sweep",
    "Telemetry",
    "Tls",
    "Tokens",
    "Tombstone",
    "TrytonErp",
    "Webhook",
    "Workers",
    "WriteBack",
    "load_codec",
    "load_encryption",
    "load_settings",
    "warnings",
]

DEFAULT_FILE = "closedwon.toml"
ENV_FILE = "CLOSEDWON_CONFIG"
"""Names the settings file, where no `--config` does."""
_ENV_PREFIX, _ENV_DELIMITER = "CLOSEDWON_", "__"

_T = TypeVar("_T")
_File = TypeVar("_File", bound="_EncryptionOnly")


class SettingsError(ClosedwonError):
    """The settings cannot be used. The text has one line per problem, each with file, key and cure."""


class Retry(Growing):
    """Pace of the retries: doubling from `first_interval` up to `longest_interval`."""

    first_interval: Duration = timedelta(seconds=1)
    longest_interval: Duration = timedelta(minutes=15)


class Subscriber(Section):
    """The event bus reader."""

    concurrent_starts: Annotated[int, Field(ge=1, le=1000)] = 32
    """How many order workflows are started at the same time."""
    handover: Duration = timedelta(hours=1)
    """How often the cursor is handed through the workflow."""
    heartbeat_timeout: Duration = timedelta(seconds=30)
    """Silence after which another worker takes over."""
    silence: Duration = timedelta(seconds=130)
    """Nothing at all from the bus for so long, not even an empty poll: the stream is dead."""


class Workers(Section):
    """The worker process."""

    concurrent_erp_calls: Annotated[int, Field(ge=1, le=10_000)] = 4
    """Cap per process on calls to each ERP, and on those of activities that must ask several."""
    concurrent_salesforce_calls: Annotated[int, Field(ge=1, le=10_000)] = 200
    """Cap per process on waiting Salesforce activities; many of them share one call."""
    shutdown_grace: Duration = timedelta(seconds=100)
    """How long a stopping process lets running calls finish; above the longest ERP call."""
    build_id: (
        Annotated[str, shaped(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", 'a name without spaces, as in "1.4.2"')] | None
    ) = None
    """Set: worker versioning. This build gets work once it is made Temporal's current version of `closedwon`."""


class Telemetry(Section):
    """Logs, metrics and health."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 9464
    """One port per process for `/metrics`, `/livez` and `/readyz`; 0 picks a free one."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """`auto`: readable on a terminal, JSON elsewhere."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    observe_every: Duration = timedelta(seconds=30)
    """How often a worker looks at Temporal for the metrics that no single order can tell."""
    traces: Annotated[str, shaped(r"https?://[^\s/]+(/\S*)?", "an address, as in http://collector:4318")] | None = None
    """The OpenTelemetry collector (OTLP over HTTP) that takes traces; None: none, unless OTEL_… names one."""


class _EncryptionOnly(BaseSettings):
    """The part of the file that is enough to read what Temporal stores; the rest is passed over."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
        env_prefix=_ENV_PREFIX,
        env_nested_delimiter=_ENV_DELIMITER,
    )

    encryption: Encryption

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment, then the arguments (the file's content)."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings

    @model_validator(mode="before")
    @classmethod
    def _encrypts_unless_told_otherwise(cls, data: dict[str, Any]) -> dict[str, Any]:
        """A file that is silent about it means encryption, and is told that it has no keys."""
        return {"encryption": {}, **data}


class CodecSettings(_EncryptionOnly):
    """The part that the codec server needs: it has no business with the secrets of Salesforce and the ERP."""

    codec: Codec = Codec()


class Settings(CodecSettings):
    """Everything that a process needs to know. Made by `load_settings`; the environment outranks the file."""

    model_config = SettingsConfigDict(extra="forbid")

    orgs: Annotated[tuple[Org, ...], Field(min_length=1)]
    erps: Annotated[tuple[ErpSettings, ...], Field(min_length=1)]
    routes: Annotated[tuple[Route, ...], Field(min_length=1)]
    retry: Retry = Retry()
    subscriber: Subscriber = Subscriber()
    workers: Workers = Workers()
    telemetry: Telemetry = Telemetry()
    intake: Intake | None = None
    alerts: Alerts | None = None
    audit: Audit = Audit()

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        problems = [
            *self._doubles(),
            *self._dangling_names(),
            *self._shared_channels(),
            *self._of_intake(),
            *self._free_fields(),
        ]
        if problems:
            raise ProblemsError(problems)
        return self

    def org(self, key: str) -> Org:
        """Find an org by name or id. Raises `KeyError`."""
        return _by(self.orgs, key, "name", "id")

    def erp(self, name: str) -> TrytonErp | RestErp:
        """Find an ERP by name. Raises `KeyError`."""
        return _by(self.erps, name, "name")

    def route(self, name: str) -> Route:
        """Find a route by name. Raises `KeyError`."""
        return _by(self.routes, name, "name")

    def siblings(self, route: Route) -> list[Route]:
        """The other routes over the same records."""
        same = (route.org, route.object)
        return [one for one in self.routes if (one.org, one.object) == same and one.name != route.name]

    def _doubles(self) -> Iterator[Problem]:
        for table, items in (("orgs", self.orgs), ("erps", self.erps), ("routes", self.routes)):
            yield from _second_ones(table, "name", [item.name for item in items])
        yield from _second_ones("orgs", "id", [org.id for org in self.orgs])

    def _dangling_names(self) -> Iterator[Problem]:
        orgs, erps = [org.name for org in self.orgs], [erp.name for erp in self.erps]
        for place, route in enumerate(self.routes):
            if route.org not in orgs:
                yield Problem(("routes", place, "org"), f"there is no org {route.org!r}; {suggest(route.org, orgs)}")
            if isinstance(route.erp, str) and route.erp not in erps:
                yield Problem(("routes", place, "erp"), f"there is no ERP {route.erp!r}; {suggest(route.erp, erps)}")

    def _free_fields(self) -> Iterator[Problem]:
        for place, route in enumerate(self.routes):
            kinds = {erp.kind for erp in self.erps if route.erp == erp.name or not isinstance(route.erp, str)}
            yield from reserved_names(place, route, kinds)

    def _of_intake(self) -> Iterator[Problem]:
        for place, route in enumerate(self.routes):
            for key in ("outbound", "callouts"):
                if getattr(route, key) is not None and self.intake is None:
                    yield Problem(("routes", place, key), "nobody listens; add an [intake] table")
            if route.outbound is not None and route.outbound.session == "use" and not self.encryption.enabled:
                text = "a session id is a secret that must not go through Temporal in clear; turn [encryption] on"
                yield Problem(("routes", place, "outbound", "session"), text)
        for place, erp in enumerate(self.erps):
            if erp.webhook is not None and self.intake is None:
                yield Problem(("erps", place, "webhook"), "nobody listens; add an [intake] table")
        yield from problems_of_origin(self.routes, self.intake)

    def _shared_channels(self) -> Iterator[Problem]:
        """An event goes to one route: otherwise it would not be clear which order a record becomes."""
        taken: dict[tuple[str, str], str] = {}
        for place, route in enumerate(self.routes):
            for number, channel in enumerate(route.events):
                other = taken.setdefault((route.org, channel), route.name)
                if other != route.name or channel in route.events[:number]:
                    text = f"{channel} of org {route.org!r} is read by route {other!r} already; leave it to one route"
                    yield Problem(("routes", place, "events", number), text)


def _by(items: Sequence[_T], key: str, *attributes: str) -> _T:
    for item in items:
        if any(getattr(item, attribute) == key for attribute in attributes):
            return item
    raise KeyError(key)


def _second_ones(table: str, key: str, values: Sequence[str]) -> Iterator[Problem]:
    for place, value in enumerate(values):
        if value in values[:place]:
            first = values.index(value)
            yield Problem((table, place, key), f"{value!r} is that of {table}[{first}] already; each needs its own")


def load_settings(file: Path | str = DEFAULT_FILE) -> Settings:
    """Read and check the file. Raises `SettingsError` with one line per problem."""
    strangers = "\n".join(_sections_that_there_are_not())
    if strangers:
        raise SettingsError(strangers)
    return _load(Path(file), Settings)


def load_encryption(file: Path | str = DEFAULT_FILE) -> Encryption:
    """Read and check the file's `[encryption]` only: whoever looks into Temporal needs no other secret.

    Raises `SettingsError`.
    """
    return _load(Path(file), _EncryptionOnly).encryption


def load_codec(file: Path | str = DEFAULT_FILE) -> CodecSettings:
    """Read and check the file's `[encryption]` and `[codec]` only. Raises `SettingsError`."""
    return _load(Path(file), CodecSettings)


def _load(path: Path, kind: type[_File]) -> _File:
    data = _read_toml(path)
    token = base_folder.set(path.parent)
    try:
        return kind(**data)
    except ValidationError as error:
        problems = problems_in(error, Settings)
        raise SettingsError("\n".join(_line(path, data, problem) for problem in problems)) from None
    except pydantic_settings.SettingsError as error:
        example = _variable("telemetry.port")
        raise SettingsError(f"environment: {error}; set sections key by key, as in {example}=9464") from None
    finally:
        base_folder.reset(token)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        cure = f"copy closedwon.example.toml to {DEFAULT_FILE}, or name your file by --config or {ENV_FILE}"
        raise SettingsError(f"{path}: there is no such file; {cure}") from None
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}; mend the path or the rights") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: is no UTF-8 text; save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: is no TOML: {error}; mend that line") from None


def _sections_that_there_are_not() -> Iterator[str]:
    """What the environment sets and nobody reads: pydantic looks for what it knows only."""
    for name in sorted(os.environ):
        section, delimiter, _ = name.removeprefix(_ENV_PREFIX).lower().partition(_ENV_DELIMITER)
        if name.startswith(_ENV_PREFIX) and delimiter and section not in Settings.model_fields:
            yield f"{name} (environment): there is no section `{section}`; {suggest(section, Settings.model_fields)}"


def _variable(key: str) -> str:
    return _ENV_PREFIX + key.replace(".", _ENV_DELIMITER).upper()


def _line(path: Path, data: dict[str, Any], problem: Problem) -> str:
    key = dotted(problem.keys, data)
    variable = _variable(key)
    if variable in os.environ:
        return f"{variable} (environment): {problem.text}"
    return f"{path}: {key}: {problem.text}"
