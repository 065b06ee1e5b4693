"""From a record (or an event's payload) to an order, by the route's expressions, and from its outcome to the record.

Pure functions: data in, models out, no input or output. Numbers never pass through binary floating point: a JSON
number that arrived as `float` is taken as the decimal that its shortest text says. Texts are stripped of white space
at their ends, and an empty text counts as no value. Errors name route, key, expression and the *type* of what was
found, never its value.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from closedwon import expressions
from closedwon.errors import AttentionError, AttentionReason
from closedwon.expressions import ExpressionError, evaluate, exact
from closedwon.ids import KEY_PREFIXES, InvalidIdError, OrgId, RecordId
from closedwon.model import Currency, Customer, Order, OrderLine
from closedwon.settings import ErpByExpression, Route, Tombstone

_DIGITS = 18
"""Before and after the point: Salesforce's numbers have no more, and beyond them sums would lose digits."""
_SUMMARY_BYTES = 200
"""More than the row of a list shows."""

_CURRENCY: TypeAdapter[str] = TypeAdapter(Currency)

_T = TypeVar("_T")


class MappingError(AttentionError):
    """A record that the route's expressions cannot make an order of."""

    def __init__(
        self, route: Route, key: str, problem: str, *, reason: AttentionReason = AttentionReason.MAPPING_FAILED
    ) -> None:
        """Name the setting by its dotted `key` within the route."""
        super().__init__(
            f"Route {route.name!r}, {key}: {problem}",
            reason=reason,
            cure=f"Mend the record, or `{key}` of route {route.name!r} in the settings (then restart the workers); "
            "then send `retry`.",
        )


def qualifies(route: Route, record: dict[str, Any]) -> bool:
    """Whether the record deserves an order; no value counts as no. Raises `MappingError` for anything but a boolean."""
    value = _reader(route, record).value("qualify", route.qualify)
    if value is not None and not isinstance(value, bool):
        raise MappingError(route, "qualify", _unfit(route.qualify, value, "true or false"))
    return value is True


def map_order(route: Route, org_id: OrgId, record_id: RecordId, record: dict[str, Any]) -> Order:
    """Make the order that the record asks for. Raises `MappingError` at the first thing that is missing or unfit."""
    reader = _reader(route, record)
    order = route.order
    customer = order.customer
    extra = {key: reader.text(f"order.extra.{key}", expression) for key, expression in order.extra.items()}
    return Order(
        org=org_id,
        record=record_id,
        name=reader.need(reader.text, "order.name", order.name),
        customer=Customer(
            id=reader.need(reader.record_id, "order.customer.id", customer.id),
            name=reader.need(reader.text, "order.customer.name", customer.name),
            street=reader.text("order.customer.street", customer.street),
            city=reader.text("order.customer.city", customer.city),
            postal_code=reader.text("order.customer.postal_code", customer.postal_code),
            country=reader.text("order.customer.country", customer.country),
        ),
        currency=reader.need(reader.currency, "order.currency", order.currency),
        lines=_lines(reader),
        reference=reader.text("order.reference", order.reference),
        order_date=reader.date("order.order_date", order.order_date),
        delivery_date=reader.date("order.delivery_date", order.delivery_date),
        extra={key: text for key, text in extra.items() if text is not None},
    )


def choose_erp(route: Route, record: dict[str, Any]) -> str:
    """Name the ERP that the order goes to; whether there is one of this name is for the settings to say."""
    if not isinstance(route.erp, ErpByExpression):
        return route.erp
    reader = _reader(route, record)
    return reader.need(reader.text, "erp.expression", route.erp.expression)


def record_id_of(route: Route, payload: dict[str, Any]) -> RecordId:
    """Find the record that an event is about. Raises `MappingError` with the reason `bad-message`."""
    reader = _reader(route, payload, AttentionReason.BAD_MESSAGE)
    return reader.need(reader.record_id, "record_id", route.record_id)


def deleted_record_of(route: Route, tombstone: Tombstone, fields: dict[str, Any]) -> RecordId:
    """Find the record that a tombstone is about. Raises `MappingError` with the reason `bad-message`."""
    reader = _reader(route, fields, AttentionReason.BAD_MESSAGE)
    return reader.need(reader.record_id, "outbound.tombstone.record_id", tombstone.record_id)


def check_prefix(route: Route, record: RecordId) -> None:
    """Raise `MappingError` with the reason `bad-message` for a record of another object, on whatever channel.

    Only the key prefixes of standard objects are known; those of custom objects differ from org to org.
    """
    prefix = KEY_PREFIXES.get(route.object)
    if prefix is not None and record.prefix != prefix:
        problem = f"the notification names a record with the key prefix {record.prefix!r}, but {route.object} has "
        raise MappingError(route, "record_id", f"{problem}{prefix!r}", reason=AttentionReason.BAD_MESSAGE)


def check_org(route: Route, org_id: OrgId, payload: dict[str, Any]) -> None:
    """Raise `MappingError` with the reason `bad-message` if the event says that it comes from another org."""
    if route.org_id is None:
        return
    reader = _reader(route, payload, AttentionReason.BAD_MESSAGE)
    if reader.need(reader.record_id, "org_id", route.org_id) != org_id:
        problem = f"the expression {route.org_id!r} gives another org than {org_id}, which this route reads"
        raise MappingError(route, "org_id", problem, reason=AttentionReason.BAD_MESSAGE)


def event_record(route: Route, payload: dict[str, Any]) -> dict[str, Any]:
    """Take out of an event what the mapping is evaluated on. Raises `MappingError` with the reason `bad-message`."""
    reader = _reader(route, payload, AttentionReason.BAD_MESSAGE)
    found = reader.value("payload", route.payload)
    if isinstance(found, str):
        try:
            found = json.loads(found, parse_float=Decimal)
        except (ValueError, RecursionError) as error:
            problem = f"the expression {route.payload!r} gives a text that is no JSON ({type(error).__name__})"
            raise MappingError(route, "payload", problem, reason=AttentionReason.BAD_MESSAGE) from None
    if not isinstance(found, dict):
        problem = _unfit(route.payload, found, "an object, or a JSON text of one")
        raise MappingError(route, "payload", problem, reason=AttentionReason.BAD_MESSAGE)
    return found


def summary_of(route: Route, payload: dict[str, Any]) -> str | None:
    """Name the deal and its amount for Temporal's UI, as far as the event's payload tells; never raises."""
    try:
        reader = _reader(route, event_record(route, payload))
        name = reader.text("order.name", route.order.name)
    except MappingError:
        return None
    try:
        parts = [name, _amount(reader)]
    except MappingError:
        parts = [name]
    return " · ".join(filter(None, parts)).encode(errors="replace")[:_SUMMARY_BYTES].decode(errors="ignore") or None


def written(route: Route, record: dict[str, Any]) -> dict[str, str | None]:
    """Return the present values of the write-back fields, for comparison with `write_back_fields`."""
    reader = _reader(route, record)
    return {
        field: reader.as_text(f"write_back ({field})", field, reader.data.get(field))
        for field in route.write_back.fields
    }


def write_back_fields(
    route: Route, *, number: str | None, status: str | None, link: str | None, error: str | None, ordered: bool
) -> dict[str, str | None]:
    """Return what the record shall say, by field; None empties a field. The stage is set only once `ordered`."""
    names = route.write_back
    wanted = ((names.number, number), (names.status, status), (names.link, link), (names.error, error))
    fields = {field: (value or "").strip() or None for field, value in wanted if field}
    if names.stage and ordered:
        fields["StageName"] = names.stage
    return fields


def _lines(reader: _Reader) -> tuple[OrderLine, ...]:
    mapping = reader.route.order.lines
    return tuple(
        OrderLine(
            product=line.need(line.text, "order.lines.product", mapping.product),
            quantity=line.need(line.number, "order.lines.quantity", mapping.quantity),
            unit_price=line.need(line.number, "order.lines.unit_price", mapping.unit_price),
            description=line.text("order.lines.description", mapping.description),
        )
        for line in _each_line(reader)
    )


def _amount(reader: _Reader) -> str:
    mapping = reader.route.order.lines
    amount = sum(
        (
            line.need(line.number, "order.lines.quantity", mapping.quantity)
            * line.need(line.number, "order.lines.unit_price", mapping.unit_price)
            for line in _each_line(reader)
        ),
        Decimal(0),
    )
    return f"{amount:,.2f} {reader.need(reader.currency, 'order.currency', reader.route.order.currency)}"


def _each_line(reader: _Reader) -> list[_Reader]:
    expression = reader.route.order.lines.each
    lines = reader.value("order.lines.each", expression)
    if not isinstance(lines, list) or not lines:
        raise MappingError(reader.route, "order.lines.each", _unfit(expression, lines, "a list of at least one line"))
    return [_Reader(reader.route, line, f" on {expression}[{place}]") for place, line in enumerate(lines)]


def _reader(route: Route, data: dict[str, Any], reason: AttentionReason = AttentionReason.MAPPING_FAILED) -> _Reader:
    try:
        return _Reader(route, exact(data), reason=reason)
    except RecursionError:
        raise MappingError(route, "order", "the data is nested too deeply", reason=reason) from None


class _Reader:
    """Reads typed values out of a record or a line by expressions; a missing value is None until `need` refuses it."""

    def __init__(
        self, route: Route, data: Any, where: str = "", reason: AttentionReason = AttentionReason.MAPPING_FAILED
    ) -> None:
        self.route = route
        self.data = data
        self._where = where
        self._reason = reason
        self._lookups = {f"order.{lookup.field}": lookup for lookup in route.order.lookups}

    def value(self, key: str, expression: str | None) -> Any:
        if expression is None:
            return None
        try:
            return evaluate(expression, self.data)
        except ExpressionError as error:
            raise self._error(key, f"the expression {expression!r}{self._where} fails: {error}") from None

    def need(self, read: Callable[[str, str], _T | None], key: str, expression: str) -> _T:
        value = read(key, expression)
        if value is None:
            problem = f"the expression {expression!r}{self._where} gives no value, but one is needed"
            raise self._error(key, problem)
        return value

    def text(self, key: str, expression: str | None) -> str | None:
        text = self.as_text(key, expression or "", self.value(key, expression))
        lookup = self._lookups.get(key)
        if lookup is None:
            return text
        found = lookup.default if text is None else lookup.values.get(text, lookup.default)
        if found is None and text is not None:
            problem = f"the expression {expression!r}{self._where} gives a text that its lookup table does not have"
            raise self._error(key, problem)
        return found

    def as_text(self, key: str, expression: str, value: Any) -> str | None:
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int | Decimal):
            return expressions.to_text(self._in_range(key, expression, Decimal(value)))
        if value is None:
            return None
        if not isinstance(value, str):
            raise self._unfit(key, expression, value, "a text")
        if any("\ud800" <= char <= "\udfff" for char in value):
            raise self._unfit(key, expression, value, "a text of whole characters (it holds half a surrogate pair)")
        return value.strip() or None

    def number(self, key: str, expression: str) -> Decimal | None:
        value = self.value(key, expression)
        if isinstance(value, str) and value.strip():
            try:
                return self._in_range(key, expression, Decimal(value.strip()))
            except InvalidOperation:
                raise self._unfit(key, expression, value, "a number") from None
        if value is None or value == "":
            return None
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            raise self._unfit(key, expression, value, "a number")
        return self._in_range(key, expression, Decimal(value))

    def date(self, key: str, expression: str | None) -> date | None:
        """Read a date, or the date of a date and time as Salesforce writes it, `2025-11-03T10:20:30.000+0000`."""
        value = self.value(key, expression)
        if value is None or value == "":
            return None
        try:
            return datetime.fromisoformat(value).date()
        except (ValueError, TypeError):
            raise self._unfit(key, expression or "", value, "a date like 2025-11-03") from None

    def currency(self, key: str, expression: str) -> str | None:
        text = self.text(key, expression)
        if text is None:
            return None
        try:
            return _CURRENCY.validate_python(text)
        except ValidationError:
            raise self._unfit(key, expression, text, "a currency code like EUR") from None

    def record_id(self, key: str, expression: str) -> RecordId | None:
        value = self.value(key, expression)
        if value is None or value == "":
            return None
        try:
            return RecordId(value)
        except InvalidIdError:
            raise self._unfit(key, expression, value, "a Salesforce id of 15 or 18 characters") from None

    def _in_range(self, key: str, expression: str, number: Decimal) -> Decimal:
        exponent = number.as_tuple().exponent  # a letter for infinity and NaN
        if not isinstance(exponent, int) or exponent < -_DIGITS or number.adjusted() >= _DIGITS:
            raise self._error(key, f"the expression {expression!r}{self._where} gives a number beyond 18 digits")
        return number

    def _unfit(self, key: str, expression: str, value: Any, wanted: str) -> MappingError:
        return self._error(key, _unfit(expression, value, wanted, self._where))

    def _error(self, key: str, problem: str) -> MappingError:
        return MappingError(self.route, key, problem, reason=self._reason)


def _unfit(expression: str, value: Any, wanted: str, where: str = "") -> str:
    return f"the expression {expression!r}{where} gives {_type_of(value)}, not {wanted}"


def _type_of(value: Any) -> str:
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    names = {type(None): "no value", bool: "a boolean", str: "a text", dict: "an object"}
    return names.get(type(value), "a number")
