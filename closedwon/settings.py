"""Settings: one TOML file (`closedwon.toml`) plus the environment, checked at start.

Orgs, ERPs and routes are lists in the file. Secrets never stand in it: a secret is `{ env = "NAME" }` or
`{ file = "path" }`. Single values outside the lists can be overridden by the environment, e.g.
`CLOSEDWON_TELEMETRY__PORT=9500`. Temporal's own connection settings (address, namespace, TLS, API key) come from
Temporal's standard environment and file, not from here. Every error names file, key and cure.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar
from urllib.parse import urlsplit

import jmespath
from jmespath.exceptions import JMESPathError
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from closedwon.ids import OrgId

DEFAULT_FILE = "closedwon.toml"

_T = TypeVar("_T")


def _read_secret(value: object) -> object:
    if isinstance(value, SecretStr):
        return value
    if not isinstance(value, dict) or len(value) != 1 or not {"env", "file"}.issuperset(value):
        raise ValueError('a secret never stands in the file; write { env = "NAME" } or { file = "path" } instead')
    ((kind, where),) = value.items()
    if kind == "env":
        secret = os.environ.get(str(where))
        if not secret:
            raise ValueError(f"the environment variable {where} is not set; set it to the secret")
        return SecretStr(secret)
    try:
        return SecretStr(Path(str(where)).read_text(encoding="utf-8").strip())
    except OSError as error:
        raise ValueError(f"the secret's file {where} cannot be read: {error.strerror}") from error


def _check_expression(text: str) -> str:
    try:
        jmespath.compile(text)
    except JMESPathError as error:
        first_line = str(error).splitlines()[0]
        raise ValueError(f"{text!r} is not a JMESPath expression: {first_line}") from error
    return text


def _check_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{text!r} is not an http(s) address")
    return text.rstrip("/")


Secret = Annotated[SecretStr, BeforeValidator(_read_secret)]
Expression = Annotated[str, Field(min_length=1), AfterValidator(_check_expression)]
"""A JMESPath expression, checked when the file is read."""
Url = Annotated[str, AfterValidator(_check_url)]
"""An http(s) address, without a closing slash."""
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
"""Lower-case letters, digits and hyphens: it appears in ids, metrics and commands."""


class Section(BaseModel):
    """A table of the file: an unknown key is an error, not a silent no-op."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ClientCredentials(Section):
    """OAuth 2.0 client credentials: works on the My Domain host only and needs a run-as user."""

    flow: Literal["client-credentials"]
    client_id: str
    client_secret: Secret


class JwtBearer(Section):
    """OAuth 2.0 JWT bearer: `client_id` is the consumer key, `username` the integration user."""

    flow: Literal["jwt-bearer"]
    client_id: str
    username: str
    private_key: Secret
    """The RSA key in PEM form."""
    audience: Url = "https://login.salesforce.com"


class Org(Section):
    """One Salesforce org."""

    name: Name
    id: OrgId
    url: Url
    """The My Domain address. Tokens are sent to this host only, never to an address inside a message."""
    api_version: Annotated[str, Field(pattern=r"^\d{2}\.0$")] = "67.0"
    auth: Annotated[ClientCredentials | JwtBearer, Field(discriminator="flow")]
    timeout: timedelta = timedelta(seconds=30)
    """The longest that one call may take."""


class TrytonErp(Section):
    """A Tryton database, reached by its REST API (series 8.0 and later) with a user-application key."""

    kind: Literal["tryton"]
    name: Name
    url: Url
    """Server and database, e.g. `https://erp.example.com/erp`."""
    key: Secret
    timeout: timedelta = timedelta(seconds=90)
    """Confirming a sale can take a minute on a busy server."""


class RestErp(Section):
    """An ERP behind a facade or an iPaaS that speaks `docs/erp-rest-contract.md`."""

    kind: Literal["rest"]
    name: Name
    url: Url
    token: Secret
    timeout: timedelta = timedelta(seconds=30)


ErpSettings = Annotated[TrytonErp | RestErp, Field(discriminator="kind")]


class CustomerMapping(Section):
    """JMESPath expressions, evaluated on the record, that make the customer."""

    id: Expression
    name: Expression
    street: Expression | None = None
    city: Expression | None = None
    postal_code: Expression | None = None
    country: Expression | None = None


class LinesMapping(Section):
    """`each` yields the list of lines; the others are evaluated on one line."""

    each: Expression
    product: Expression
    quantity: Expression
    unit_price: Expression
    description: Expression | None = None


class Lookup(Section):
    """A table that replaces the value of one mapped field, e.g. country names by codes."""

    field: str
    """The order's field, dotted: `customer.country`, `currency`, `lines.product`."""
    values: dict[str, str]
    default: str | None = None
    """Used for a value that is not in the table; without it such a value needs attention."""


class OrderMapping(Section):
    """How a record (or an event's payload) becomes an order."""

    name: Expression
    currency: Expression
    reference: Expression | None = None
    order_date: Expression | None = None
    delivery_date: Expression | None = None
    customer: CustomerMapping
    lines: LinesMapping
    extra: dict[str, Expression] = Field(default_factory=dict)
    lookups: tuple[Lookup, ...] = ()


class WriteBack(Section):
    """Which fields of the record receive what. A field that is not named is not written."""

    number: str | None = None
    status: str | None = None
    link: str | None = None
    error: str | None = None
    stage: str | None = None
    """The StageName that the record gets when its order exists, e.g. `Ordered`."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The API names of all fields that may be written."""
        named = (self.number, self.status, self.link, self.error, "StageName" if self.stage else None)
        return tuple(field for field in named if field)


class ErpByExpression(Section):
    """Pick the ERP by an expression that yields its name."""

    expression: Expression


class Route(Section):
    """The path from an object and its channels to one ERP."""

    name: Name
    org: Name
    object: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")] = "Opportunity"
    events: tuple[Annotated[str, Field(pattern=r"^/(event|data)/[A-Za-z0-9_]+$")], ...] = ()
    """Event bus channels, e.g. `/event/Order_Requested__e`."""
    record_id: Expression = "Opportunity_Id__c"
    """Finds the record id in an event's payload."""
    source: Literal["record", "event"] = "record"
    """`record`: look at the record (a message is only a hint). `event`: the payload is complete."""
    payload: Expression = "@"
    """With source `event`: what the mapping is evaluated on, e.g. `Payload__c`; a JSON text is parsed."""
    select: str | None = None
    """With source `record`: the SELECT list of the SOQL query, child queries included."""
    qualify: Expression = "IsWon"
    """True for records that deserve an order."""
    erp: Name | ErpByExpression
    order: OrderMapping
    write_back: WriteBack = WriteBack()
    grace: timedelta = timedelta(seconds=10)
    """How long a record that does not qualify (yet) is looked at again before it is called not needed."""
    horizon: timedelta = timedelta(days=30)
    """How long to retry before the order needs attention."""

    @model_validator(mode="after")
    def _select_goes_with_record(self) -> Self:
        if (self.source == "record") != (self.select is not None):
            raise ValueError('`select` is needed with source = "record", and only there')
        return self


class Retry(Section):
    """Pace of the retries: doubling from `first_interval` up to `longest_interval`."""

    first_interval: timedelta = timedelta(seconds=1)
    longest_interval: timedelta = timedelta(minutes=15)


class Subscriber(Section):
    """The event bus reader."""

    concurrent_starts: Annotated[int, Field(ge=1, le=1000)] = 32
    """How many order workflows are started at the same time."""
    handover: timedelta = timedelta(hours=1)
    """How often the cursor is handed through the workflow."""
    heartbeat_timeout: timedelta = timedelta(seconds=30)
    """Silence after which another worker takes over."""
    silence: timedelta = timedelta(seconds=130)
    """Nothing at all from the bus for so long, not even an empty poll: the stream is dead."""


class Workers(Section):
    """The worker process."""

    concurrent_erp_calls: Annotated[int, Field(ge=1)] = 4
    """Cap per process on calls to the ERP."""
    concurrent_salesforce_calls: Annotated[int, Field(ge=1)] = 200
    """Cap per process on waiting Salesforce activities; many of them share one call."""
    shutdown_grace: timedelta = timedelta(seconds=100)
    """How long a stopping process lets running calls finish; above the longest ERP call."""


class Telemetry(Section):
    """Logs, metrics and health."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 9464
    """One port per process for `/metrics`, `/livez` and `/readyz`; 0 picks a free one."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """`auto`: readable on a terminal, JSON elsewhere."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


class Settings(BaseSettings):
    """Everything that a process needs to know."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="CLOSEDWON_", env_nested_delimiter="__", toml_file=DEFAULT_FILE
    )

    orgs: Annotated[tuple[Org, ...], Field(min_length=1)]
    erps: Annotated[tuple[ErpSettings, ...], Field(min_length=1)]
    routes: Annotated[tuple[Route, ...], Field(min_length=1)]
    retry: Retry = Retry()
    subscriber: Subscriber = Subscriber()
    workers: Workers = Workers()
    telemetry: Telemetry = Telemetry()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then environment, then file."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    def org(self, key: str) -> Org:
        """Find an org by name or id. Raises `KeyError`."""
        return _by(self.orgs, key, "name", "id")

    def erp(self, name: str) -> TrytonErp | RestErp:
        """Find an ERP by name. Raises `KeyError`."""
        return _by(self.erps, name, "name")

    def route(self, name: str) -> Route:
        """Find a route by name. Raises `KeyError`."""
        return _by(self.routes, name, "name")


def _by(items: Sequence[_T], key: str, *attributes: str) -> _T:
    for item in items:
        if any(getattr(item, attribute) == key for attribute in attributes):
            return item
    raise KeyError(key)


def load_settings(file: Path | str = DEFAULT_FILE) -> Settings:
    """Read and check the file. Raises `SettingsError` with one line per problem."""
    raise NotImplementedError
