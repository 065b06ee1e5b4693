"""The names that Temporal sees: workflow ids, task queues, signals, search attributes, with their inverses.

No other module builds or parses such a name.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, NamedTuple

from closedwon.ids import OrgId, RecordId

ORDERS_QUEUE: Final = "orders"
"""Order workflows and their Salesforce activities."""
ERP_QUEUE: Final = "erp"
"""ERP activities that must ask several ERPs, or do not know which one has the order; see `erp_queue`."""
SUBSCRIBER_QUEUE: Final = "subscriber"
"""Subscription workflows and their never-ending activity."""

ORDER_WORKFLOW: Final = "OrderWorkflow"
SUBSCRIPTION_WORKFLOW: Final = "SubscriptionWorkflow"
UNPARSEABLE_MESSAGE_WORKFLOW: Final = "UnparseableMessageWorkflow"
ALERT_WORKFLOW: Final = "AlertWorkflow"
SWEEP_WORKFLOW: Final = "SweepWorkflow"
ERP_LIMIT_WORKFLOW: Final = "ErpLimitWorkflow"
HOLD_WORKFLOW: Final = "HoldWorkflow"
AUDIT_WORKFLOW: Final = "AuditWorkflow"
AUDIT_FINDING_WORKFLOW: Final = "AuditFindingWorkflow"
ENCRYPTION_KEY_WORKFLOW: Final = "EncryptionKeyWorkflow"

SIGNAL_NOTIFIED: Final = "notified"
SIGNAL_RETRY: Final = "retry"
SIGNAL_CANCEL: Final = "cancel"
SIGNAL_RESOLVE: Final = "resolve"
SIGNAL_SKIP: Final = "skip"
"""The last four are the names of updates, too, which do the same and answer yes or no."""
SIGNAL_ERP_CHANGED: Final = "erp-changed"
SIGNAL_LIFTED: Final = "lifted"
SIGNAL_CHECK_FAILED: Final = "check-failed"
SIGNAL_CHECK_PASSED: Final = "check-passed"
SIGNAL_AUDITED: Final = "audited"
"""To the workflow of one kind of finding: what the newest audit has found of it."""
SIGNAL_GAP_COVERED: Final = "gap-covered"
"""From the sweep of a gap to the subscription whose gap it is; the input is that sweep's workflow id."""

QUERY_PROGRESS: Final = "progress"
QUERY_PROBLEM: Final = "problem"
"""How far a sweep has come."""
MEMO_GAP: Final = "gap"
"""Holds the gap that a sweep covers, for lists of open gaps."""

# Search attributes, all of type Keyword. They are not encrypted: only ids and fixed values, never personal data.
SALESFORCE_RECORD_ID: Final = "SalesforceRecordId"
SALESFORCE_ORG_ID: Final = "SalesforceOrgId"
ORDER_STAGE: Final = "OrderStage"
ATTENTION_REASON: Final = "AttentionReason"
ERP_ORDER_NUMBER: Final = "ErpOrderNumber"
ROUTE: Final = "Route"
CHANNEL: Final = "Channel"
MAXIMUM_KEYWORD: Final = 255
"""Characters of a Keyword. PostgreSQL refuses a longer one, and Temporal then repeats that write without end; SQLite
takes it."""
MEMO_HOLD: Final = "hold"
"""Holds the failed check that a hold is about, for lists of holds."""
MEMO_FINDING: Final = "finding"
"""Holds what the newest scheduled audit has found of one kind, for lists of findings."""
MEMO_KEY_CHECK: Final = "key-check"
"""Holds the check value of an encryption key. It is not encrypted."""
DEAL: Final = "Deal"
"""A memo, not a search attribute: name and amount of the deal are encrypted like everything else of a customer."""
SEARCH_ATTRIBUTES: Final = (
    SALESFORCE_RECORD_ID,
    SALESFORCE_ORG_ID,
    ORDER_STAGE,
    ATTENTION_REASON,
    ERP_ORDER_NUMBER,
    ROUTE,
    CHANNEL,
)


class OrderStage(StrEnum):
    """The stages of an order: the values of the search attribute `OrderStage`."""

    LOADING = "loading"
    ORDERING = "ordering"
    WRITING_BACK = "writing-back"
    FOLLOWING = "following"
    """Salesforce knows the order; its further way in the ERP is watched."""
    CHECKING = "checking"
    """A write to the ERP got no answer: the order is compared once more when its effect can no longer come."""
    CANCELLING = "cancelling"
    ATTENTION = "attention"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    NOT_NEEDED = "not-needed"


UNFINISHED: Final = (
    OrderStage.LOADING,
    OrderStage.ORDERING,
    OrderStage.WRITING_BACK,
    OrderStage.CHECKING,
    OrderStage.CANCELLING,
    OrderStage.ATTENTION,
)
"""Stages at which an order is not done: it works, or waits for the ERP, for Salesforce or for a person."""


class RecordKey(NamedTuple):
    """A record of one org."""

    org: OrgId
    record: RecordId


class RouteKey(NamedTuple):
    """A route of one org."""

    org: OrgId
    route: str


def erp_queue(erp: str | None) -> str:
    """`erp-<name>`: the activities of one ERP. Its rate limit protects that ERP, limit 0 is its maintenance switch.

    None, for activities that concern several ERPs: the shared queue `erp`, which keeps to the strictest limit of all.
    """
    return ERP_QUEUE if erp is None else f"{ERP_QUEUE}-{erp}"


ORDER_PREFIX: Final = "order:"


def order_workflow_id(org: OrgId, record: RecordId) -> str:
    """`order:<record id>@<org id>`: record first, so that it is found by prefix; no slash, which proxies mangle."""
    return f"{ORDER_PREFIX}{record}@{org}"


def parse_order_workflow_id(workflow_id: str) -> RecordKey:
    """Invert `order_workflow_id`. Raises `ValueError` for any other text."""
    record, org = _parts(workflow_id, "order")
    return RecordKey(OrgId(org), RecordId(record))


def subscription_workflow_id(org: OrgId, channel: str) -> str:
    """`subscription:<channel, dots for slashes>@<org id>`."""
    return f"subscription:{channel.strip('/').replace('/', '.')}@{org}"


def unparseable_message_workflow_id(org: OrgId, message_id: str) -> str:
    """`message:<message id>@<org id>`, for a message that names no readable record."""
    return f"message:{message_id}@{org}"


def sweep_schedule_id(org: OrgId, route: str) -> str:
    """`sweep:<route>@<org id>`; Temporal appends the time to the ids of the sweeps that the schedule starts."""
    return f"sweep:{route}@{org}"


def parse_sweep_schedule_id(schedule_id: str) -> RouteKey:
    """Invert `sweep_schedule_id`. Raises `ValueError` for any other text."""
    route, org = _parts(schedule_id, "sweep")
    return RouteKey(OrgId(org), route)


def sweep_workflow_id(org: OrgId, route: str, since: datetime, until: datetime, *, dry_run: bool = False) -> str:
    """`sweep:<route>.<from>.<to>@<org id>`, of a sweep that a person asks for; a dry run has `.dry` before the `@`."""
    return f"sweep:{route}.{_moment(since)}.{_moment(until)}{'.dry' if dry_run else ''}@{org}"


def audit_schedule_id(org: OrgId) -> str:
    """`audit:scheduled@<org id>`; Temporal appends the time to the ids of the audits that the schedule starts."""
    return f"audit:scheduled@{org}"


def parse_audit_schedule_id(schedule_id: str) -> OrgId:
    """Invert `audit_schedule_id`. Raises `ValueError` for any other text."""
    return OrgId(_parts(schedule_id, "audit")[1])


def audit_finding_workflow_id(org: OrgId, kind: str) -> str:
    """`finding:<kind>@<org id>`: open while the scheduled audits of this org find something of this kind."""
    return f"finding:{kind}@{org}"


GAP_PREFIX: Final = "gap:"


def gap_workflow_id(org: OrgId, route: str, since: datetime | None, until: datetime) -> str:
    """`gap:<route>.<from>.<to>@<org id>`: the sweep of a gap, which is open as long as this workflow is."""
    return f"{GAP_PREFIX}{route}.{_moment(since) if since else 'unknown'}.{_moment(until)}@{org}"


def parse_gap_workflow_id(workflow_id: str) -> RouteKey:
    """Org and route of a gap. Raises `ValueError` for any other text."""
    subject, org = _parts(workflow_id, GAP_PREFIX.removesuffix(":"))
    return RouteKey(OrgId(org), subject.partition(".")[0])


def parse_gap_span(workflow_id: str) -> tuple[datetime | None, datetime]:
    """Beginning, if it is known, and end of a gap, to the second. Raises `ValueError` for any other text."""
    _, since, until = _parts(workflow_id, GAP_PREFIX.removesuffix(":"))[0].rsplit(".", 2)
    return None if since == "unknown" else _parse_moment(since), _parse_moment(until)


_MOMENT: Final = "%Y%m%dT%H%M%SZ"


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime(_MOMENT)


def _parse_moment(text: str) -> datetime:
    return datetime.strptime(text, _MOMENT).replace(tzinfo=UTC)


def erp_limit_workflow_id(erp: str) -> str:
    """`erp-limit:<name>`, the note that an ERP is paused or limited."""
    return f"erp-limit:{erp}"


def erp_breaker_workflow_id(erp: str) -> str:
    """`erp-breaker:<name>`, the note that no worker can connect to an ERP."""
    return f"erp-breaker:{erp}"


def hold_workflow_id(check: str, subject: str) -> str:
    """`hold:<check>@<org id or ERP>`: open while orders wait because a safety check has failed."""
    return f"hold:{check}@{subject}"


def encryption_key_workflow_id(key_id: str) -> str:
    """`encryption-key:<key id>`: holds the check value of the key, and is always open."""
    return f"encryption-key:{key_id}"


def alert_workflow_id(need: str) -> str:
    """`alert:<id of the need>`: delivers one alert."""
    return f"alert:{need}"


def _parts(workflow_id: str, kind: str) -> tuple[str, str]:
    head, _, rest = workflow_id.partition(":")
    subject, at, org = rest.rpartition("@")
    if head != kind or not at or not subject:
        message = f"{workflow_id!r} is not an id of the form {kind}:<...>@<org id>"
        raise ValueError(message)
    return subject, org
