"""Settings: one TOML file (`closedwon.toml`) and environment variables, validated at start.

Orgs, ERPs and routes are lists in the file. Secrets are never in the file: a secret is `{ env = "NAME" }`,
`{ file = "path" }` (relative to the settings file) or `{ credential = "NAME" }`. Values outside the lists can be
overridden by the environment, e.g. `CLOSEDWON_TELEMETRY__PORT=9500`. Temporal's own connection settings (address,
namespace, TLS, API key) come from Temporal's standard environment and file, not from here. Every error names file, key
and hint.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar

import pydantic_settings
from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from closedwon.settings import layers, resolved
from closedwon.settings.alerts import AlertSettings
from closedwon.settings.codec import Codec, Tokens
from closedwon.settings.encryption import Encryption, Key
from closedwon.settings.exposure import problems as problems_of_origin
from closedwon.settings.exposure import warnings
from closedwon.settings.extras import reserved_names
from closedwon.settings.intake import ForwardedCertificate, Intake, Tls
from closedwon.settings.orders import CustomerMapping, Discount, LinesMapping, Lookup, OrderMapping
from closedwon.settings.problems import ProblemsError, SettingsError, SettingsProblem, dotted, problems_in, suggest
from closedwon.settings.routes import (
    CalloutSettings,
    ErpByExpression,
    Follow,
    Outbound,
    Route,
    Tombstone,
    WriteBackFields,
)
from closedwon.settings.sweeps import Audit, Sweep
from closedwon.settings.systems import ClientCredentials, ErpSettings, JwtBearer, Org, RestErp, TrytonErp, Webhook
from closedwon.settings.values import (
    EVERYTHING,
    Duration,
    GrowingIntervals,
    Purpose,
    Reading,
    Section,
    base_folder,
    reading,
    shaped,
    target_of,
)

__all__ = [
    "DEFAULT_FILE",
    "ENV_FILE",
    "AlertSettings",
    "Audit",
    "CalloutSettings",
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
    "Purpose",
    "Reading",
    "RestErp",
    "Retry",
    "Route",
    "Settings",
    "SettingsError",
    "Subscriber",
    "Sweep",
    "TelemetrySettings",
    "Tls",
    "Tokens",
    "Tombstone",
    "TrytonErp",
    "Webhook",
    "Workers",
    "WriteBackFields",
    "load_codec",
    "load_encryption",
    "load_settings",
    "resolve",
    "warnings",
]

DEFAULT_FILE = "closedwon.toml"
ENV_FILE = "CLOSEDWON_CONFIG"
"""The environment variable that names the settings file if `--config` does not."""
_ENV_PREFIX, _ENV_DELIMITER = "CLOSEDWON_", "__"

_T = TypeVar("_T")
_File = TypeVar("_File", bound="_EncryptionOnly")


class Retry(GrowingIntervals):
    """The interval between retries doubles from `initial_interval` up to `maximum_interval`."""

    initial_interval: Duration = timedelta(seconds=1)
    maximum_interval: Duration = timedelta(minutes=15)


_SILENCE: Final = {"cometd": timedelta(seconds=130), "pubsub": timedelta(seconds=300)}
"""Longer than Salesforce holds a poll (110 s), or sends nothing in a stream (270 s)."""


class Subscriber(Section):
    """The event bus reader."""

    concurrent_starts: Annotated[int, Field(ge=1, le=1000)] = 32
    """How many order workflows are started at the same time."""
    handover: Duration = timedelta(hours=1)
    """How often the cursor is handed to the workflow."""
    heartbeat_timeout: Duration = timedelta(seconds=27)
    """Time without a heartbeat after which another worker takes over, within 30 seconds of a crash. An idle reader
    sends one every 20 seconds."""
    silence: Duration | None = None
    """Time without anything from the bus, even an empty poll, after which the reader reconnects. Unset: 130 seconds
    with CometD, 300 with the Pub/Sub API, which may be quiet for 270."""

    def silence_of(self, org: Org) -> timedelta:
        """Return `silence`, or what fits the org's stream."""
        return self.silence or _SILENCE[org.stream]


class Workers(Section):
    """The worker process."""

    concurrent_erp_calls: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Maximum number of concurrent calls per process and ERP, and of activities that call several ERPs. None: as the
    kind of the ERP allows."""
    concurrent_salesforce_calls: Annotated[int, Field(ge=1, le=10_000)] = 1000
    """Maximum number of Salesforce activities per process. Most of them wait for a call that they share: below some 300
    the calls do not fill."""
    shutdown_grace: Duration = timedelta(seconds=100)
    """How long a stopping process waits for calls in progress; keep it above the ERP's `timeout`."""
    build_id: (
        Annotated[str, shaped(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", 'a name without spaces, as in "1.4.2"')] | None
    ) = None
    """Set: worker versioning. This build gets work as soon as it is the current version of `deployment`."""
    deployment: Annotated[
        str, shaped(r"[A-Za-z0-9][A-Za-z0-9_/-]{0,199}", 'a name without spaces and dots, as in "closedwon"')
    ] = "closedwon"
    """The worker deployment that all processes belong to, where they are versioned. Temporal joins it to the build id
    with a dot. Temporal's Worker Controller gives it the name `<Kubernetes namespace>/<resource>`."""


class TelemetrySettings(Section):
    """Logs, metrics and health."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 9464
    """One port per process for `/metrics`, `/livez` and `/readyz`; 0 picks a free one."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """`auto`: readable on a terminal, JSON elsewhere."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    observe_every: Duration = timedelta(seconds=30)
    """How often a worker asks Temporal for the metrics that no single order can report."""
    traces: Annotated[str, shaped(r"https?://[^\s/]+(/\S*)?", "an address, as in http://collector:4318")] | None = None
    """The OpenTelemetry collector (OTLP over HTTP) that takes traces; None: none, unless OTEL_… names one."""


class _EncryptionOnly(BaseSettings):
    """The part of the file that is needed to read what Temporal stores; the rest is ignored."""

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
    def _encrypts_by_default(cls, data: dict[str, Any]) -> dict[str, Any]:
        """A file without `[encryption]` means encryption, so that the error says that keys are missing."""
        return {"encryption": {}, **data}


class CodecSettings(_EncryptionOnly):
    """The part that the codec server needs, without the secrets of Salesforce and the ERP."""

    codec: Codec = Codec()


class Settings(CodecSettings):
    """All settings. Made by `load_settings`; environment variables take precedence over the file."""

    model_config = SettingsConfigDict(extra="forbid")

    orgs: Annotated[tuple[Org, ...], Field(min_length=1)]
    erps: Annotated[tuple[ErpSettings, ...], Field(min_length=1)]
    routes: Annotated[tuple[Route, ...], Field(min_length=1)]
    retry: Retry = Retry()
    subscriber: Subscriber = Subscriber()
    workers: Workers = Workers()
    telemetry: TelemetrySettings = TelemetrySettings()
    intake: Intake | None = None
    alerts: AlertSettings | None = None
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

    def sweep_share(self, org: str) -> float | None:
        """The smallest `api_share` of the sweeps of an org; None if none of its routes is swept."""
        return min((one.sweep.api_share for one in self.routes if one.org == org and one.sweep), default=None)

    def _doubles(self) -> Iterator[SettingsProblem]:
        for table, items in (("orgs", self.orgs), ("erps", self.erps), ("routes", self.routes)):
            yield from _second_ones(table, "name", [item.name for item in items])
        yield from _second_ones("orgs", "id", [org.id for org in self.orgs])
        yield from self._one_erp_twice()

    def _one_erp_twice(self) -> Iterator[SettingsProblem]:
        targets = [target_of(erp.url) for erp in self.erps]
        for place, target in enumerate(targets):
            if target in targets[:place]:
                first = self.erps[targets.index(target)].name
                text = f"is the address of ERP {first!r} already; one ERP under two names would get two orders of one "
                yield SettingsProblem(("erps", place, "url"), text + "record, so leave one of them out")

    def _dangling_names(self) -> Iterator[SettingsProblem]:
        orgs, erps = [org.name for org in self.orgs], [erp.name for erp in self.erps]
        for place, route in enumerate(self.routes):
            if route.org not in orgs:
                yield SettingsProblem(
                    ("routes", place, "org"), f"there is no org {route.org!r}; {suggest(route.org, orgs)}"
                )
            if isinstance(route.erp, str) and route.erp not in erps:
                yield SettingsProblem(
                    ("routes", place, "erp"), f"there is no ERP {route.erp!r}; {suggest(route.erp, erps)}"
                )

    def _free_fields(self) -> Iterator[SettingsProblem]:
        for place, route in enumerate(self.routes):
            kinds = {erp.kind for erp in self.erps if route.erp == erp.name or not isinstance(route.erp, str)}
            yield from reserved_names(place, route, kinds)

    def _of_intake(self) -> Iterator[SettingsProblem]:
        for place, route in enumerate(self.routes):
            for key in ("outbound", "callouts"):
                if getattr(route, key) is not None and self.intake is None:
                    yield SettingsProblem(("routes", place, key), "needs the HTTP server; add an [intake] table")
            if route.outbound is not None and route.outbound.session == "use" and not self.encryption.enabled:
                text = "a session id is a secret that must not go through Temporal in clear; turn [encryption] on"
                yield SettingsProblem(("routes", place, "outbound", "session"), text)
        for place, erp in enumerate(self.erps):
            if erp.webhook is not None and self.intake is None:
                yield SettingsProblem(("erps", place, "webhook"), "needs the HTTP server; add an [intake] table")
        yield from problems_of_origin(self.routes, self.intake)

    def _shared_channels(self) -> Iterator[SettingsProblem]:
        """An event goes to one route: otherwise it would not be clear which order a record becomes."""
        taken: dict[tuple[str, str], str] = {}
        for place, route in enumerate(self.routes):
            for number, channel in enumerate(route.events):
                other = taken.setdefault((route.org, channel), route.name)
                if other != route.name or channel in route.events[:number]:
                    text = f"{channel} of org {route.org!r} is read by route {other!r} already; leave it to one route"
                    yield SettingsProblem(("routes", place, "events", number), text)


def _by(items: Sequence[_T], key: str, *attributes: str) -> _T:
    for item in items:
        if any(getattr(item, attribute) == key for attribute in attributes):
            return item
    raise KeyError(key)


def _second_ones(table: str, key: str, values: Sequence[str]) -> Iterator[SettingsProblem]:
    for place, value in enumerate(values):
        if value in values[:place]:
            first = values.index(value)
            yield SettingsProblem(
                (table, place, key), f"{value!r} is that of {table}[{first}] already; each needs its own"
            )


def load_settings(file: Path | str = DEFAULT_FILE, secrets: Reading = EVERYTHING) -> Settings:
    """Read and check the file, and the `secrets` that the process needs.

    Raises `SettingsError` with one line per problem.
    """
    unknown = "\n".join(_unknown_sections())
    if unknown:
        raise SettingsError(unknown)
    return _load(Path(file), Settings, secrets)


def resolve(file: Path | str = DEFAULT_FILE) -> dict[str, str]:
    """Return every key with its value as text, defaults and environment included; of a secret, where it is.

    No secret is read. Raises `SettingsError` with one line per problem.
    """
    return resolved.lines(load_settings(file, Reading(frozenset())), layers.read(Path(file), DEFAULT_FILE, ENV_FILE))


def load_encryption(file: Path | str = DEFAULT_FILE) -> Encryption:
    """Read and check the file's `[encryption]` only: reading from Temporal needs no other secret.

    Raises `SettingsError`.
    """
    return _load(Path(file), _EncryptionOnly).encryption


def load_codec(file: Path | str = DEFAULT_FILE) -> CodecSettings:
    """Read and check the file's `[encryption]` and `[codec]` only. Raises `SettingsError`."""
    return _load(Path(file), CodecSettings)


def _load(path: Path, kind: type[_File], secrets: Reading = EVERYTHING) -> _File:
    data = layers.read(path, DEFAULT_FILE, ENV_FILE)
    token, asked = base_folder.set(path.parent), reading.set(secrets)
    try:
        return kind(**data)
    except ValidationError as error:
        problems = problems_in(error, Settings)
        raise SettingsError("\n".join(_line(path, data, problem) for problem in problems)) from None
    except pydantic_settings.SettingsError as error:
        example = _variable("telemetry.port")
        raise SettingsError(f"environment: {error}; set sections key by key, as in {example}=9464") from None
    finally:
        reading.reset(asked)
        base_folder.reset(token)


def _unknown_sections() -> Iterator[str]:
    """Variables of sections that do not exist; pydantic ignores them."""
    for name in sorted(os.environ):
        section, delimiter, _ = name.removeprefix(_ENV_PREFIX).lower().partition(_ENV_DELIMITER)
        if name.startswith(_ENV_PREFIX) and delimiter and section not in Settings.model_fields:
            yield f"{name} (environment): there is no section `{section}`; {suggest(section, Settings.model_fields)}"


def _variable(key: str) -> str:
    return _ENV_PREFIX + key.replace(".", _ENV_DELIMITER).upper()


def _line(path: Path, data: dict[str, Any], problem: SettingsProblem) -> str:
    key = dotted(problem.keys, data)
    variable = _variable(key)
    if variable in os.environ:
        return f"{variable} (environment): {problem.text}"
    return f"{path}: {key}: {problem.text}"
