"""A trial of a route: the order that a record would become, its ERP and the write-back. Changes nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from closedwon.errors import AttentionError, AttentionReason, ClosedwonError
from closedwon.expressions import json_number
from closedwon.ids import InvalidIdError, RecordId
from closedwon.mapping.orders import event_record, record_id_of
from closedwon.mapping.record import Record
from closedwon.mapping.write_back import Proof, write_back_fields
from closedwon.model.orders import Order, idempotency_key
from closedwon.salesforce.api.auth import TokenSource
from closedwon.salesforce.api.rest import SalesforceClient
from closedwon.salesforce.errors import UnavailableError
from closedwon.settings import Org, Route, Settings
from closedwon.settings.problems import suggest


class TrialError(ClosedwonError):
    """The route, the record or the event cannot be read."""


@dataclass(frozen=True)
class Trial:
    """What would happen to a record."""

    route: Route
    record: dict[str, Any]
    qualifies: bool | None = False
    """None: `qualify` yields no value."""
    declined: bool = False
    """The status field says that an operator declined the order, and the key field proves it: no message orders it."""
    doubt: str | None = None
    """What the record says about its order without proof."""
    order: Order | None = None
    erp: str | None = None
    now: dict[str, str | None] = field(default_factory=dict)
    """Present values of the write-back fields; only those that were read."""
    then: dict[str, str | None] = field(default_factory=dict)
    """Their values once the order exists, with placeholders for what only the ERP knows."""
    problem: AttentionError | None = None
    """Why no order can be made of the record as it is."""


async def try_record(settings: Settings, name: str, record_id: str, payload: Path | None) -> Trial:
    """Read the record, or take the event in the file `payload`, and compute what would happen; changes nothing.

    Raises `TrialError` if the route, the record or the event cannot be read.
    """
    route = _route(settings, name)
    org = settings.org(route.org)
    try:
        record_key = RecordId(record_id)
    except InvalidIdError as error:
        raise TrialError(str(error)) from None
    if route.source == "record" and payload is not None:
        raise TrialError(f'Route {name!r} reads the record (source = "record"): omit --payload.')
    is_from_event = route.source == "event"
    fields = _from_event(route, record_key, payload) if is_from_event else await _read(org, route, record_key)
    return _trial(settings, route, org, record_key, fields, is_from_event=is_from_event)


def _trial(
    settings: Settings, route: Route, org: Org, record_id: RecordId, fields: dict[str, Any], *, is_from_event: bool
) -> Trial:
    trial = Trial(route, fields)
    try:
        record = Record(route, org.id, record_id, fields, is_from_event=is_from_event)
        declined, doubt = _claims(record)
        trial = replace(trial, now=record.written(), declined=declined, doubt=doubt)
        trial = replace(trial, qualifies=record.qualifies())
        trial = replace(trial, order=record.order())
        trial = replace(trial, erp=_known_erp(settings, record.erp()))
    except AttentionError as error:
        return replace(trial, problem=error)
    then = write_back_fields(
        route,
        number="<the ERP's number>",
        status="<its status>",
        link="<link to it>",
        error=None,
        ordered=True,
        key=idempotency_key(org.id, record_id),
    )
    return replace(trial, then=then)


def _claims(record: Record) -> tuple[bool, str | None]:
    """Whether the order was declined, as far as the record proves it, and what it claims without proof."""
    claims, key = record.claims(), record.route.write_back.key
    if claims.proof is Proof.OTHER:
        return False, f"{key} holds the key of another record: number and status were copied with it and are ignored"
    if claims.is_declined and claims.proof is Proof.NONE:
        status = record.route.write_back.status
        return False, f"{status} says that its order was declined, but nothing proves it: the ERP is asked"
    return claims.is_declined, None


def _route(settings: Settings, name: str) -> Route:
    try:
        return settings.route(name)
    except KeyError:
        hint = suggest(name, [route.name for route in settings.routes])
        raise TrialError(f"There is no route {name!r}; {hint}") from None


def _known_erp(settings: Settings, name: str) -> str:
    try:
        return settings.erp(name).name
    except KeyError:
        raise AttentionError(
            f"The route's expression yields the ERP {name!r}, which is not in the settings",
            reason=AttentionReason.CONFIGURATION,
            hint="Correct `erp.expression` of the route, or add the ERP to `erps`.",
        ) from None


def _from_event(route: Route, record: RecordId, payload: Path | None) -> dict[str, Any]:
    if payload is None:
        raise TrialError(
            f'Route {route.name!r} takes the order from the event (source = "event"): '
            "give a JSON file with one by --payload."
        )
    try:
        event = json.loads(payload.read_text(encoding="utf-8"), parse_float=json_number)
    except OSError as error:
        raise TrialError(f"{payload} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise TrialError(f"{payload} is not valid JSON: {error}") from None
    fields = event.get("payload", event) if isinstance(event, dict) else event
    if not isinstance(fields, dict):
        raise TrialError(f"{payload} is not an event: it must be a JSON object with the event's fields")
    named = record_id_of(route, fields)
    if named != record:
        raise TrialError(f"The event in {payload} is about record {named}, not {record}")
    return event_record(route, fields)


async def _read(org: Org, route: Route, record: RecordId) -> dict[str, Any]:
    login = TokenSource(org)
    client = SalesforceClient(org, login)
    try:
        found = await client.read(route.object, route.query_fields, record)
    except UnavailableError as error:
        raise TrialError(f"{error}. See that org {org.name!r} runs and that {org.url} is its address.") from None
    finally:
        await client.close()
        await login.close()
    if found is None:
        raise TrialError(
            f"Org {org.name!r} has no {route.object} {record}, or its integration user may not see it: "
            "correct the id, or share the record with the user."
        )
    return found
