"""The configuration of a Salesforce emulator: its flows, its validation rules, its times.

Read from `org.toml`, or built by a test. Every key has a default that suits the demo; no key is secret.
"""

from __future__ import annotations

import tomllib
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from closedwon import durations

ORGANIZATION_ID = "$Organization.Id"
"""In a flow's assignments: the org's own id."""
WHOLE_DEAL = "$Deal"
"""In a flow's assignments: the record with its Account and line items as JSON text, in the form of a query's record."""


def _read_duration(value: Any) -> Any:
    """Parse a text; reject a bare number, which pydantic would read as seconds."""
    if isinstance(value, timedelta):
        return value
    return durations.parse(value if isinstance(value, str) else str(value))


Duration = Annotated[timedelta, Field(gt=timedelta(0)), BeforeValidator(_read_duration)]
"""A text in the notation of `closedwon.durations`, as in `"110s"`."""


class _Setting(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CustomField(_Setting):
    """A custom field of an object or an event."""

    on: str
    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*__c$")
    type: Literal[
        "string",
        "textarea",
        "url",
        "email",
        "double",
        "currency",
        "percent",
        "boolean",
        "date",
        "datetime",
        "picklist",
        "multipicklist",
        "reference",
    ] = "string"
    length: int = 255
    label: str = ""
    required: bool = False
    external: bool = False
    values: tuple[str, ...] = ()
    """Of a restricted picklist."""
    refers_to: str | None = None
    """The object of a reference."""


class CustomObject(_Setting):
    """A custom object (`__c`) or an event (`__e`)."""

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*__[ce]$")
    label: str = ""
    publishes_immediately: bool = False
    """Of an event: its publish behavior is Publish Immediately."""


class ValidationRule(_Setting):
    """Rejects a write, with FIELD_CUSTOM_VALIDATION_EXCEPTION, if the record then matches `when` (a SOQL condition)."""

    on: str
    when: str
    message: str
    field: str | None = None


class Flow(_Setting):
    """A record-triggered flow: publishes an event when `field` of a record becomes `becomes`.

    It also publishes when one of the fields in `or_changes` changes in a record that matches the condition, or did
    before the change. `assignments` maps each field of the event to a path from the record (`Account.Name`), to
    `$Organization.Id` or to `$Deal`.
    """

    on: str
    field: str = ""
    becomes: str | bool = ""
    formula: str = ""
    """An entry formula, in place of `field`, `becomes` and `or_changes`."""
    publishes: str
    assignments: dict[str, str]
    or_changes: tuple[str, ...] = ()
    name: str = "Closedwon_Publish_Order_Requested"
    active: bool = True
    """Production orgs deploy flows as inactive unless a setting says otherwise."""
    user_mode: bool = False
    """Publish as the user who saves the record, as Apex of API 67.0 does unless it says otherwise."""


class Trigger(StrEnum):
    """When a rule is evaluated. Names: Metadata API, `WorkflowRule.triggerType`."""

    CREATE = "onCreateOnly"
    BECOME = "onCreateOrTriggeringUpdate"
    """When the record begins to match the condition."""
    EVERY = "onAllChanges"
    """At every write after which the record matches the condition."""


class PushDefinition(_Setting):
    """A notification of a record, sent to `endpoint` with the record's `fields` when `field` is `becomes`.

    An empty `field` means no condition: with `onCreateOnly`, every new record. `or_changes` is as in a flow and extends
    `onCreateOrTriggeringUpdate`, because a flow of a real org can send an outbound message for the same reasons.
    """

    name: str
    on: str = "Opportunity"
    trigger: Trigger = Trigger.BECOME
    formula: str = ""
    """An entry formula, in place of `field`, `becomes` and `or_changes`; it needs `onCreateOrTriggeringUpdate`."""
    field: str = "StageName"
    becomes: str | bool | float = "Closed Won"
    or_changes: tuple[str, ...] = ()
    fields: tuple[str, ...] = ("Id", "Name", "Amount", "CreatedDate", "SystemModstamp")
    endpoint: str = Field(pattern=r"^https?://")


class OutboundDefinition(PushDefinition):
    """An outbound message. Writes of the integration user send none: the user lacks "Send Outbound Messages"."""

    kind: Literal["message"] = "message"
    include_session_id: bool = False
    """Send a session id, as orgs did before February 2026; since then the SessionId is always nil."""


class CalloutDefinition(PushDefinition):
    """A callout from Apex with the same triggers, signed with `key`."""

    kind: Literal["callout"] = "callout"
    key: str = Field(min_length=16, repr=False)
    soap: bool = False
    """Send the SOAP form instead of JSON."""
    scope: int = Field(default=200, ge=1, le=2000)
    """Records per call (Apex Developer Guide, "Using Batch Apex": 200 by default)."""


Definition = Annotated[OutboundDefinition | CalloutDefinition, Field(discriminator="kind")]
"""The definition of an outbound message or a callout."""


ORDER_REQUESTED = Flow(
    on="Opportunity",
    field="IsWon",
    becomes=True,
    publishes="Order_Requested__e",
    assignments={
        "Opportunity_Id__c": "Id",
        "Organization_Id__c": ORGANIZATION_ID,
        "Amount__c": "Amount",
        "Account_Name__c": "Account.Name",
        "Payload__c": WHOLE_DEAL,
    },
    or_changes=("IsWon", "Amount", "AccountId"),
)


class PermissionSet(_Setting):
    """A permission set: what its users may do with objects (`read`, `create`, `edit`, `delete`, `viewAll`) and fields.

    `fields` says whether a field, as in `Opportunity.Amount`, is editable; one that is missing is not readable.
    """

    name: str
    objects: dict[str, frozenset[str]] = {}
    fields: dict[str, bool] = {}


class Rights(_Setting):
    """What the org's users lack; by default they lack nothing."""

    permission_sets: tuple[str, ...] = ()
    """What the integration user has; with any, it may do only what they grant, and without, everything."""
    hidden_objects: frozenset[str] = frozenset()
    """Objects that the integration user may not read, and events to which it may not subscribe."""
    read_only_objects: frozenset[str] = frozenset()
    """Objects whose records the integration user may only read."""
    hidden_fields: frozenset[str] = frozenset()
    """Fields that the integration user may not read, as in `Opportunity.Amount`."""

    salesperson_publishes: bool = True
    """Whether the salesperson may create events."""
    read_only_fields: frozenset[str] = frozenset()
    """Fields that the integration user may not edit, as in `Opportunity.ERP_Order_Link__c`."""
    finds_deleted: bool = True
    """Whether the integration user finds deleted records by `queryAll`: it may need View All on the object."""
    reads_limits: bool = True
    """Whether `/limits` is answered."""


class PubSubConfig(_Setting):
    """How the org serves the Pub/Sub API."""

    port: int | None = None
    """None: it is not served. 0: a free port, which stays the same until the process ends."""
    tls: bool = False
    """Serve TLS with a certificate that is made at each start; otherwise plain text."""
    keepalive: Duration = timedelta(seconds=270)
    """A stream without events gets an empty response within this time (Pub/Sub API guide, "Subscribe RPC Method")."""
    credit_timeout: Duration = timedelta(seconds=60)
    """A stream whose client has not asked for more events is ended after this time."""
    answers_at_once: bool = True
    """Whether a new stream gets an empty response at once. Clients have reported both."""


class OrgConfig(_Setting):
    """The whole configuration of one org."""

    rights: Rights = Rights()

    permission_sets: tuple[PermissionSet, ...] = ()
    flows: tuple[Flow, ...] = (ORDER_REQUESTED,)
    outbound_messages: tuple[OutboundDefinition, ...] = ()
    callouts: tuple[CalloutDefinition, ...] = ()
    validation_rules: tuple[ValidationRule, ...] = ()
    objects: tuple[CustomObject, ...] = ()
    custom_fields: tuple[CustomField, ...] = ()
    metadata: Path | None = None
    """A folder with metadata in source format (`force-app`), which adds to this configuration."""
    endpoints: dict[str, str] = {}
    """Where the outbound messages of the metadata are sent, by name; only these are sent, never to a real host."""
    publish_immediately: frozenset[str] = frozenset()
    """Events whose publish behavior is Publish Immediately; all others are Publish After Commit."""
    poll_timeout: Duration = timedelta(seconds=110)
    """Maximum time that `/meta/connect` is held (Streaming API guide, "Clients and Timeouts")."""
    session_idle: Duration = timedelta(seconds=40)
    """A CometD session without a request for this time is removed (same page)."""
    token_idle: Duration = timedelta(hours=2)
    """A token without a request for this time expires; the default is that of the session policy."""
    multi_currency: bool = True
    """Whether records have `CurrencyIsoCode`; once an org has several currencies, it keeps them."""
    largest_page: int = Field(default=2000, ge=1, le=2000)
    """Records in one page of a query's result. Wide or long records make a real org return fewer than 2 000."""
    password_flow: bool = False
    """Whether the OAuth flow with user name and password is allowed; new orgs block it."""
    soap_login: bool = False
    """Whether SOAP `login()` is allowed, in the API versions that have it; new orgs block it."""
    tombstones_of: frozenset[str] = frozenset({"Opportunity"})
    """Objects whose delete trigger inserts a `Deleted_Record__c`, because a deletion sends no outbound message."""
    client_certificate: Path | None = None
    """The API client certificate and its key in one PEM file, for endpoints that request one."""
    trusted_certificates: Path | None = None
    """PEM file of the authorities for endpoints' certificates, instead of the public ones."""
    outbound_timeout: Duration = timedelta(minutes=1)
    """Time-out of one attempt to deliver an outbound message (Help, "Considerations for Outbound Messages")."""
    callout_timeout: Duration = timedelta(seconds=10)
    """Time-out of one callout (Apex Developer Guide, "Callout Limits and Limitations")."""
    outbound_maximum_interval: Duration = timedelta(hours=1)
    """Between attempts. The integration patterns guide says 60 minutes, the SOAP API guide 2 hours."""
    pubsub: PubSubConfig = PubSubConfig()
    retention: Duration = timedelta(hours=72)
    """How long the bus keeps events: 72 hours for high-volume platform events."""
    daily_api_requests: int = 100_000
    """Shown by `/limits` and `Sforce-Limit-Info`. Not enforced; use the fault `request-limit` instead."""
    hourly_published_events: int = 250_000
    """Shown by `/limits`. Not enforced, as are the next two."""
    daily_delivered_events: int = 50_000
    monthly_delivered_events: int = 1_500_000
    """The entitlement of an add-on for platform events."""


def read_config(path: Path) -> OrgConfig:
    """Read `path`; without the file, use the defaults. Raises `ValueError`, one line per error: file, key, problem."""
    if not path.exists():
        return OrgConfig()
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
        for key in ("client_certificate", "trusted_certificates", "metadata"):  # relative to the file
            if isinstance(found.get(key), str):
                found[key] = path.parent / found[key]
        return OrgConfig.model_validate(found)
    except ValidationError as error:
        lines = (f"{path}: {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ValueError("\n".join(lines)) from None
    except ValueError as error:  # from the TOML parser
        raise ValueError(f"{path}: not valid TOML: {error}") from error
