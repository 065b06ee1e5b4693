"""Convert what was read of records and workflows to facts. Pure functions.

A record is converted once for every route that reads its object. With source `event`, a record does not contain what
was ordered. If the route has a `sweep.select`, a record can take the event's place, here as in a sweep.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from closedwon import names
from closedwon.acceptance import in_place_of_event
from closedwon.audit.facts import AuditedDeal, AuditedWorkflow
from closedwon.audit.kinds import FindingKind
from closedwon.errors import AttentionError
from closedwon.ids import InvalidIdError
from closedwon.mapping.orders import event_record
from closedwon.mapping.record import Record
from closedwon.model.orders import Order, OrderHead, parse_idempotency_key
from closedwon.names import RecordKey
from closedwon.salesforce.api.rest import with_fields
from closedwon.temporal.visibility import is_wedged

if TYPE_CHECKING:
    from temporalio.client import WorkflowExecution

    from closedwon.settings import Route


class Tolerated(NamedTuple):
    """What the audit does not report of a record in this state."""

    kind: FindingKind
    wanted: bool
    deleted: bool


TOLERATED_IF_IGNORED: Final[Mapping[str, Tolerated]] = {
    "on_unqualified": Tolerated(FindingKind.ORDER_WITHOUT_DEAL, wanted=False, deleted=False),
    "on_deleted": Tolerated(FindingKind.ORDER_WITHOUT_DEAL, wanted=False, deleted=True),
    "on_changed": Tolerated(FindingKind.AMOUNT_DIFFERS, wanted=True, deleted=False),
}
"""By policy: what the audit does not report if the policy is `ignore`. `closedwon.model.routes.Considered` says which
policies must have an entry."""


def select_of(route: Route) -> str:
    """Return the SELECT list for a route's records."""
    if route.source == "event" and route.sweep is not None and route.sweep.select is not None:
        return with_fields(route.object, route.sweep.select, "Id", "CreatedDate", *route.write_back.fields)
    return route.query_fields


def where_of(route: Route) -> str | None:
    """Return the SOQL condition for the records that can be compared; None if none can."""
    if _has_content(route):
        return "Id != null"
    names_of = route.write_back
    return " OR ".join(f"{name} != null" for name in (names_of.number, names_of.status) if name) or None


def best(views: Iterable[AuditedDeal], flow: AuditedWorkflow | None) -> AuditedDeal:
    """Choose among the views of several routes: the route that orders the record, or has ordered it."""
    ordered_by = flow.route if flow else None
    return max(
        views, key=lambda deal: (deal.wanted is True, deal.wanted is None, deal.route == ordered_by, bool(deal.number))
    )


def deal_of(route: Route, key: RecordKey, fields: dict[str, Any]) -> AuditedDeal:
    """Convert the `fields` of a record that a route has read."""
    record = Record(route, *key, fields)
    said = record.claims()
    written = {"number": route.write_back.number, "status": route.write_back.status}
    facts: dict[str, Any] = {
        "route": route.name,
        "modified_at": fields["SystemModstamp"],
        "writes_back": frozenset(name for name, field in written.items() if field),
        "number": said.number,
        "status": said.status,
        "proof": said.proof,
        "by_event": route.source == "event",
    }
    if fields["IsDeleted"]:
        head = _head_if_any(route, key, fields, record)
        tolerated = _tolerated(route, wanted=False, deleted=True)
        return AuditedDeal(wanted=False, deleted=True, head=head, tolerated=tolerated, **facts)
    if not _has_content(route):
        return AuditedDeal(wanted=None, **facts)
    try:
        asked = _asked(route, key, fields, record)
        verdict = asked.qualifies()
        if verdict is None:
            return AuditedDeal(wanted=True, problem="`qualify` yields no value", **facts)
        if not verdict:
            tolerated = _tolerated(route, wanted=False, deleted=False)
            return AuditedDeal(wanted=False, order=_order_if_any(asked), tolerated=tolerated, **facts)
        order, erp = asked.order(), asked.erp()
    except AttentionError as error:
        return AuditedDeal(wanted=True, problem=str(error), **facts)
    tolerated = _tolerated(route, wanted=True, deleted=False)
    return AuditedDeal(wanted=True, order=order, erp=erp, tolerated=tolerated, **facts)


def flow_of(execution: WorkflowExecution) -> AuditedWorkflow:
    """Convert a workflow of Temporal's list."""

    def attribute(name: str) -> str | None:
        values = execution.search_attributes.get(name)
        return str(values[0]) if values else None

    return AuditedWorkflow(
        status=execution.status.name.lower().replace("_", " ") if execution.status else "running",
        route=attribute(names.ROUTE),
        stage=attribute(names.ORDER_STAGE),
        reason=attribute(names.ATTENTION_REASON),
        number=attribute(names.ERP_ORDER_NUMBER),
        started_at=execution.start_time,
        run=execution.run_id,
        wedged=is_wedged(execution),
    )


def record_of(raw: str) -> RecordKey | None:
    """Parse an idempotency key, also one with 15-character ids; None for any other text."""
    try:
        return RecordKey(*parse_idempotency_key(raw))
    except InvalidIdError:
        return None


def _has_content(route: Route) -> bool:
    """Whether the record itself contains what must be ordered."""
    return route.source == "record" or (route.sweep is not None and route.sweep.select is not None)


def _asked(route: Route, key: RecordKey, fields: dict[str, Any], record: Record) -> Record:
    """Return the record from which the order is made: the record itself, or an event made from it."""
    if route.source == "record":
        return record
    return Record(route, *key, event_record(route, in_place_of_event(route, fields)))


def _order_if_any(asked: Record) -> Order | None:
    """Return the order that an unwanted record describes; an adopted order is compared with it."""
    try:
        return asked.order()
    except AttentionError:
        return None


def _head_if_any(route: Route, key: RecordKey, fields: dict[str, Any], record: Record) -> OrderHead | None:
    """Return what a deleted record says about its order, if anything."""
    if not _has_content(route):
        return None
    try:
        return _asked(route, key, fields, record).head()
    except AttentionError:
        return None


def _tolerated(route: Route, *, wanted: bool, deleted: bool) -> frozenset[FindingKind]:
    return frozenset(
        one.kind
        for policy, one in TOLERATED_IF_IGNORED.items()
        if (one.wanted, one.deleted) == (wanted, deleted) and getattr(route, policy) == "ignore"
    )
