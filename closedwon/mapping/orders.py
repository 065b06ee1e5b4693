"""Map a record (or an event's payload) to an order, by the route's expressions, and find what an event is about.

Pure functions. Use a `closedwon.mapping.record.Record` to evaluate a record more than once: it converts the data only
once. Errors name route, key, expression and the *type* of the value, never the value.
"""

from __future__ import annotations

import json
from typing import Any, Final

from closedwon.errors import AttentionError, AttentionReason
from closedwon.expressions import json_number, paths
from closedwon.ids import KEY_PREFIXES, InvalidIdError, OrgId, RecordId
from closedwon.mapping.lines import UnusualAmountError, amount_of, lines_of
from closedwon.mapping.reader import MappingError, Reader, lines_of_text, moment, open_reader, unfit
from closedwon.model.orders import Customer, Order, OrderHead
from closedwon.money import money
from closedwon.settings import Route, Tombstone

__all__ = [
    "MappingError",
    "check_org",
    "check_record",
    "deleted_record_of",
    "event_record",
    "head_of",
    "map_order",
    "order_of",
    "qualifies",
    "record_id_of",
    "records_of",
    "summary_in",
    "summary_of",
    "verdict",
]

_SUMMARY_BYTES: Final = 200
"""More than the row of a list shows."""


def qualifies(route: Route, record: dict[str, Any]) -> bool:
    """Whether the record qualifies for an order; no value counts as False. Raises `MappingError` unless a boolean."""
    return verdict(open_reader(route, record)) is True


def map_order(route: Route, org_id: OrgId, record_id: RecordId, record: dict[str, Any]) -> Order:
    """Make the order that the record describes. Raises the errors of `order_of`."""
    return order_of(open_reader(route, record), org_id, record_id)


def verdict(reader: Reader) -> bool | None:
    """Whether the record qualifies for an order; None if `qualify` yields no value, so that it is unknown.

    Raises `MappingError` for any other value that is not a boolean.
    """
    route = reader.route
    value = reader.value("qualify", route.qualify)
    if value is not None and not isinstance(value, bool):
        raise MappingError(route, "qualify", unfit(route.qualify, value, "true or false"))
    return value


def order_of(reader: Reader, org_id: OrgId, record_id: RecordId) -> Order:
    """Make the order that the record describes.

    Raises `MappingError` for the first missing or invalid value, `UnusualAmountError` for a quantity or total whose
    sign the route does not allow, and `LineDiffersError` if price, discount and total of a line do not agree.
    `closedwon.erp` checks that the lines add up to `Order.total`.
    """
    order = reader.route.order
    customer = order.customer
    currency = reader.need(reader.currency, "order.currency", order.currency)
    _check_currency(reader, currency)
    made = Order(
        org=org_id,
        record=record_id,
        name=reader.need(reader.text, "order.name", order.name),
        customer=Customer(
            id=reader.need(reader.record_id, "order.customer.id", customer.id),
            number=reader.text("order.customer.number", customer.number),
            name=reader.need(reader.text, "order.customer.name", customer.name),
            street=reader.text("order.customer.street", customer.street, lines_of_text),
            city=reader.text("order.customer.city", customer.city),
            postal_code=reader.text("order.customer.postal_code", customer.postal_code),
            country=reader.text("order.customer.country", customer.country),
        ),
        currency=currency,
        lines=lines_of(reader, currency),
        total=reader.need(reader.number, "order.total", order.total) if order.total else None,
        reference=reader.text("order.reference", order.reference),
        order_date=reader.date("order.order_date", order.order_date),
        delivery_date=reader.date("order.delivery_date", order.delivery_date),
        extra=reader.texts("order.extra", order.extra),
        created_at=moment(reader.data.get("CreatedDate")),
        modified_at=moment(reader.data.get("SystemModstamp")),
    )
    if made.amount < 0 and "negative-total" not in order.allow:
        raise UnusualAmountError(f"the total of the lines is {money(made.amount, currency)}", "negative-total")
    return made


def head_of(reader: Reader) -> OrderHead:
    """Return what is known of a record's order without its lines. Raises `MappingError`."""
    order = reader.route.order
    number = reader.text("order.customer.number", order.customer.number)
    return OrderHead(
        customer=number or reader.need(reader.record_id, "order.customer.id", order.customer.id),
        currency=reader.need(reader.currency, "order.currency", order.currency),
        total=reader.number("order.total", order.total) if order.total else None,
        created_at=moment(reader.data.get("CreatedDate")),
    )


def _check_currency(reader: Reader, currency: str) -> None:
    """Refuse a fixed currency for a record with another currency. An org with one currency has no CurrencyIsoCode."""
    expression, own = reader.route.order.currency, reader.data.get("CurrencyIsoCode")
    if isinstance(own, str) and own not in {"", currency} and not paths(expression):
        problem = f"the expression {expression!r} gives another currency than the record's CurrencyIsoCode"
        raise MappingError(reader.route, "order.currency", problem)


def record_id_of(route: Route, payload: dict[str, Any]) -> RecordId:
    """Find the record that an event is about. Raises `MappingError` with the reason `invalid-message`."""
    reader = open_reader(route, payload, AttentionReason.INVALID_MESSAGE)
    return reader.need(reader.record_id, "record_id", route.record_id)


def records_of(route: Route, payload: dict[str, Any]) -> tuple[RecordId, ...]:
    """Find all records that an event is about, without repetition. Raises `MappingError` as `record_id_of` does.

    Salesforce merges equal changes of one transaction into one change event, whose header names every record
    (`recordIds`; Change Data Capture guide, "Change Event Header Fields"). If the route's `record_id` is one of these,
    the event is about all of them.
    """
    named = record_id_of(route, payload)
    header = payload.get("ChangeEventHeader")
    listed = header.get("recordIds") if isinstance(header, dict) else None
    try:
        merged = tuple(dict.fromkeys(RecordId(str(one)) for one in listed)) if isinstance(listed, list) else ()
    except InvalidIdError:
        problem = "the change event lists an id that is not a Salesforce id"
        raise MappingError(route, "record_id", problem, reason=AttentionReason.INVALID_MESSAGE) from None
    if named not in merged:
        return (named,)
    for record in merged:
        check_prefix(route, record)
    return merged


def deleted_record_of(route: Route, tombstone: Tombstone, fields: dict[str, Any]) -> RecordId:
    """Find the record that a tombstone is about. Raises `MappingError` with the reason `invalid-message`."""
    reader = open_reader(route, fields, AttentionReason.INVALID_MESSAGE)
    return reader.need(reader.record_id, "outbound.tombstone.record_id", tombstone.record_id)


def check_prefix(route: Route, record: RecordId, known: str | None = None) -> None:
    """Raise `MappingError` with the reason `invalid-message` for a record of another object, on any channel.

    `known` is the object's key prefix in the org. If it is unknown, the prefix of a standard object is used, which is
    the same in every org. Prefixes of custom objects differ, but begin with an "a".
    """
    prefix = known or KEY_PREFIXES.get(route.object) or ("a" if route.object.endswith("__c") else "")
    if not record.startswith(prefix):
        problem = f"the notification names a record with the key prefix {record.prefix!r}, but {route.object} has "
        raise MappingError(route, "record_id", f"{problem}{prefix!r}", reason=AttentionReason.INVALID_MESSAGE)


def check_record(route: Route, record: RecordId, content: dict[str, Any]) -> None:
    """Raise `MappingError` with the reason `invalid-message` for content with the `Id` of another record.

    A route that reads its records accepts the content of another object's record, such as a line: there, only the `Id`
    of another record of the same object is refused.
    """
    said = content.get("Id")
    if said is None:
        return
    try:
        found = RecordId(said)
    except InvalidIdError:
        found = None
    is_other_object = route.source == "record" and (found is None or found.prefix != record.prefix)
    if found != record and not is_other_object:
        problem = "the notification names one record, but its content has the `Id` of another one"
        raise MappingError(route, "record_id", problem, reason=AttentionReason.INVALID_MESSAGE)


def check_org(route: Route, org_id: OrgId, payload: dict[str, Any]) -> None:
    """Raise `MappingError` with the reason `invalid-message` if the event says that it comes from another org."""
    if route.org_id is None:
        return
    reader = open_reader(route, payload, AttentionReason.INVALID_MESSAGE)
    if reader.need(reader.record_id, "org_id", route.org_id) != org_id:
        problem = f"the expression {route.org_id!r} gives another org than {org_id}, which this route reads"
        raise MappingError(route, "org_id", problem, reason=AttentionReason.INVALID_MESSAGE)


def event_record(route: Route, payload: dict[str, Any]) -> dict[str, Any]:
    """Return the part of an event that the mapping reads. Raises `MappingError` with the reason `invalid-message`."""
    reader = open_reader(route, payload, AttentionReason.INVALID_MESSAGE)
    found = reader.value("payload", route.payload)
    if isinstance(found, str):
        try:
            found = json.loads(found, parse_float=json_number)
        except (ValueError, RecursionError) as error:
            problem = f"the expression {route.payload!r} gives a text that is not valid JSON ({type(error).__name__})"
            raise MappingError(route, "payload", problem, reason=AttentionReason.INVALID_MESSAGE) from None
    if not isinstance(found, dict):
        problem = unfit(route.payload, found, "an object, or a JSON text of one")
        raise MappingError(route, "payload", problem, reason=AttentionReason.INVALID_MESSAGE)
    return found


def summary_of(route: Route, payload: dict[str, Any]) -> str | None:
    """Name the deal and its amount for Temporal's UI, as far as the event's payload contains them; never raises."""
    try:
        return summary_in(open_reader(route, event_record(route, payload)))
    except MappingError:
        return None


def summary_in(reader: Reader) -> str | None:
    """Name the deal and its amount, as far as a record contains them; never raises."""
    order = reader.route.order
    try:
        parts = [reader.text("order.name", order.name)]
    except MappingError:
        return None
    try:
        currency = reader.need(reader.currency, "order.currency", order.currency)
        parts.append(money(amount_of(reader, currency), currency))
    except AttentionError:
        pass  # the name alone is useful in a list
    return " · ".join(filter(None, parts)).encode(errors="replace")[:_SUMMARY_BYTES].decode(errors="ignore") or None
