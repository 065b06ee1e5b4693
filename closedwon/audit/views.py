"""How a record, an order and a workflow look to the audit: what was read of each, made into facts. No input or output.

A record is seen through every route that reads its object. With source `event` no record tells what was ordered; but
where the route is swept with a `sweep.select`, a record can take the event's place, here as in a sweep.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from closedwon import mapping, names
from closedwon.acceptance import in_place_of_event
from closedwon.audit.facts import Deal, Flow
from closedwon.audit.kinds import Kind
from closedwon.errors import AttentionError
from closedwon.ids import InvalidIdError
from closedwon.model import Order, parse_idempotency_key
from closedwon.names import RecordKey
from closedwon.record import Record
from closedwon.salesforce.rest import with_fields

if TYPE_CHECKING:
    from temporalio.client import WorkflowExecution

    from closedwon.settings import Route


def select_of(route: Route) -> str:
    """The SELECT list by which a route's records are read."""
    if route.source == "event" and route.sweep is not None and route.sweep.select is not None:
        return with_fields(route.object, route.sweep.select, "Id", "CreatedDate", *route.write_back.fields)
    return route.query_fields


def where_of(route: Route) -> str | None:
    """The SOQL condition for the records that can be compared; None where none can."""
    if _tells_content(route):
        return "Id != null"
    names_of = route.write_back
    return " OR ".join(f"{name} != null" for name in (names_of.number, names_of.status) if name) or None


def best(views: Iterable[Deal], flow: Flow | None) -> Deal:
    """Of several routes that read an object, the one that orders, or has ordered; with its own fields' values."""
    ordered_by = flow.route if flow else None
    return max(
        views, key=lambda deal: (deal.wanted is True, deal.wanted is None, deal.route == ordered_by, bool(deal.number))
    )


def deal_of(route: Route, key: RecordKey, fields: dict[str, Any]) -> Deal:
    """A record through a route, which has read `fields` of it."""
    record = Record(route, *key, fields)
    said = record.claims()
    told = {"number": route.write_back.number, "status": route.write_back.status}
    policies = route.policies
    facts: dict[str, Any] = {
        "route": route.name,
        "modified_at": fields["SystemModstamp"],
        "told": frozenset(name for name, field in told.items() if field),
        "number": said.number,
        "status": said.status,
        "proof": said.proof,
        "by_event": route.source == "event",
    }
    if fields["IsDeleted"]:
        return Deal(wanted=False, deleted=True, tolerated=_taken_back(policies.deleted), **facts)
    if not _tells_content(route):
        return Deal(wanted=None, **facts)
    try:
        asked = _asked(route, key, fields, record)
        if not asked.qualifies():
            return Deal(wanted=False, order=_order_if_any(asked), tolerated=_taken_back(policies.unwon), **facts)
        order, erp = asked.order(), asked.erp()
    except AttentionError as error:
        return Deal(wanted=True, problem=str(error), **facts)
    changed = frozenset({Kind.AMOUNT_DIFFERS} if policies.changed == "ignore" else ())
    return Deal(wanted=True, order=order, erp=erp, tolerated=changed, **facts)


def flow_of(execution: WorkflowExecution) -> Flow:
    """A workflow as Temporal lists it."""

    def attribute(name: str) -> str | None:
        values = execution.search_attributes.get(name)
        return str(values[0]) if values else None

    return Flow(
        status=execution.status.name.lower().replace("_", " ") if execution.status else "running",
        route=attribute(names.ROUTE),
        stage=attribute(names.ORDER_STAGE),
        reason=attribute(names.ATTENTION_REASON),
        number=attribute(names.ERP_ORDER_NUMBER),
        started_at=execution.start_time,
    )


def record_of(raw: str) -> RecordKey | None:
    """Read an idempotency key, also one with a 15-character id; None for what is none of ours."""
    try:
        return RecordKey(*parse_idempotency_key(raw))
    except InvalidIdError:
        return None


def _tells_content(route: Route) -> bool:
    """Whether the record itself says what it asks for."""
    return route.source == "record" or (route.sweep is not None and route.sweep.select is not None)


def _asked(route: Route, key: RecordKey, fields: dict[str, Any], record: Record) -> Record:
    """The record as its order is made of it: by itself, or in the place of an event."""
    if route.source == "record":
        return record
    return Record(route, *key, mapping.event_record(route, in_place_of_event(route, fields)))


def _order_if_any(asked: Record) -> Order | None:
    """What a record says that asks for no order: one that was adopted for it is compared with that."""
    try:
        return asked.order()
    except AttentionError:
        return None


def _taken_back(policy: str) -> frozenset[Kind]:
    return frozenset({Kind.ORDER_WITHOUT_DEAL} if policy == "ignore" else ())
