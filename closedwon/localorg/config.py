"""What a local org is configured to do: its flow, its validation rules, its timings.

Read from `org.toml`, or built by a test. Everything has a default that suits the demo; nothing here is secret.
"""

from __future__ import annotations

import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

ORGANIZATION_ID = "$Organization.Id"
"""In a flow's assignments: the org's own id."""
WHOLE_DEAL = "$Deal"
"""In a flow's assignments: the record with its Account and line items as JSON text, shaped like a query's record."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CustomField(_Frozen):
    """A field that an administrator added, on an object or on an event."""

    on: str
    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*__c$")
    type: Literal["string", "textarea", "url", "double", "currency", "percent", "boolean", "date", "datetime"] = (
        "string"
    )
    length: int = 255


class ValidationRule(_Frozen):
    """Refuses a write, with FIELD_CUSTOM_VALIDATION_EXCEPTION, that makes a record meet `when` (a SOQL condition)."""

    on: str
    when: str
    message: str
    field: str | None = None


class Flow(_Frozen):
    """A record-triggered flow: publishes an event when `field` of a record becomes `becomes`.

    With `or_changes` it also speaks when one of those fields changes in a record that is, or was until then, so.
    `assignments` maps each field of the event to a path from the record (`Account.Name`), to
    `$Organization.Id` or to `$Deal`.
    """

    on: str
    field: str
    becomes: str | bool
    publishes: str
    assignments: dict[str, str]
    or_changes: tuple[str, ...] = ()


class Trigger(StrEnum):
    """When a rule looks at a record. Names: Metadata API, `WorkflowRule.triggerType`."""

    CREATE = "onCreateOnly"
    BECOME = "onCreateOrTriggeringUpdate"
    """When the record begins to meet the condition."""
    EVERY = "onAllChanges"
    """At every write that leaves the condition met."""


class PushDefinition(_Frozen):
    """Word of a record, sent to `endpoint` with the record's `fields` when `field` is `becomes`.

    An empty `field` is no condition: with `onCreateOnly`, every new record. `or_changes` as in a flow, beside
    `onCreateOrTriggeringUpdate`: so what a flow of a real org can send an outbound message upon, ours can, too.
    """

    name: str
    on: str = "Opportunity"
    trigger: Trigger = Trigger.BECOME
    field: str = "StageName"
    becomes: str | bool | float = "Closed Won"
    or_changes: tuple[str, ...] = ()
    fields: tuple[str, ...] = ("Id", "Name", "Amount", "CreatedDate", "SystemModstamp")
    endpoint: str = Field(pattern=r"^https?://")


class OutboundDefinition(PushDefinition):
    """An outbound message. Writes of the integration user send none: it lacks "Send Outbound Messages"."""

    kind: Literal["message"] = "message"
    include_session_id: bool = False
    """As orgs did before February 2026; since then the SessionId is always nil."""


class CalloutDefinition(PushDefinition):
    """A callout that Apex makes for the same reason, signed with `key`."""

    kind: Literal["callout"] = "callout"
    key: str = Field(min_length=16, repr=False)
    soap: bool = False
    """Send the SOAP form, not the JSON one."""
    scope: int = Field(default=200, ge=1, le=2000)
    """Records in one call (Apex Developer Guide, "Using Batch Apex": 200 unless asked for more)."""


Definition = Annotated[OutboundDefinition | CalloutDefinition, Field(discriminator="kind")]
"""Of an outbound message or of a callout."""


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


class OrgConfig(_Frozen):
    """The whole configuration of one org."""

    flows: tuple[Flow, ...] = (ORDER_REQUESTED,)
    outbound_messages: tuple[OutboundDefinition, ...] = ()
    callouts: tuple[CalloutDefinition, ...] = ()
    validation_rules: tuple[ValidationRule, ...] = ()
    custom_fields: tuple[CustomField, ...] = ()
    publish_immediately: frozenset[str] = frozenset()
    """Events whose publish behaviour is Publish Immediately; all others are Publish After Commit."""
    poll_timeout_s: float = 110.0
    """How long `/meta/connect` is held (Streaming API guide, "Clients and Timeouts")."""
    session_idle_s: float = 40.0
    """A CometD session without a request for so long is forgotten (same page)."""
    token_idle_s: float = 7200.0
    """The session policy's default: two hours without a request end a token."""
    tombstones_of: frozenset[str] = frozenset({"Opportunity"})
    """Objects whose delete trigger leaves a `Deleted_Record__c`, since deleting sends no outbound message."""
    client_certificate: Path | None = None
    """The API client certificate and its key in one PEM file, shown to endpoints that ask for one."""
    trusted_certificates: Path | None = None
    """PEM file of the authorities that endpoints' certificates must come from, instead of the public ones."""
    outbound_timeout_s: float = 60.0
    """Of one attempt to deliver an outbound message (Help, "Considerations for Outbound Messages")."""
    callout_timeout_s: float = 10.0
    """Of one callout (Apex Developer Guide, "Callout Limits and Limitations")."""
    outbound_longest_interval_s: int = 3600
    """Between attempts. The integration patterns guide says 60 minutes, the SOAP API guide 2 hours."""
    retention_s: float = 72 * 3600.0
    """High-volume platform events are kept for 72 hours."""
    daily_api_requests: int = 100_000
    """Shown by `/limits` and `Sforce-Limit-Info`, not enforced: use the fault for that."""


def read_config(path: Path) -> OrgConfig:
    """Read `path`, or take the defaults. Raises `ValueError` with a line per mistake: file, key and what is wrong."""
    if not path.exists():
        return OrgConfig()
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
        for key in ("client_certificate", "trusted_certificates"):  # from where the file lies
            if isinstance(found.get(key), str):
                found[key] = path.parent / found[key]
        return OrgConfig.model_validate(found)
    except ValidationError as error:
        lines = (f"{path}: {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ValueError("\n".join(lines)) from None
    except ValueError as error:  # of the TOML
        raise ValueError(f"{path}: is no TOML: {error}") from error
