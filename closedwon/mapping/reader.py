"""Read typed values from a record, a line or an event, by the route's expressions. Pure functions.

Numbers are exact decimals. In one-line texts, every run of white space and control characters becomes one space. An
empty text counts as no value. Errors name route, key, expression and the *type* of the value, never the value.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from closedwon import expressions
from closedwon.errors import AttentionError, AttentionReason
from closedwon.expressions import ExpressionError, evaluate, exact
from closedwon.expressions.functions import to_decimal, to_moment
from closedwon.ids import InvalidIdError, RecordId
from closedwon.model.base import Currency
from closedwon.settings import Route

_DIGITS: Final = 18
"""Digits before and after the point. Salesforce's numbers have no more; with more, sums could lose digits."""
_BLANK: Final = re.compile("[\\s\x00-\x1f\x7f-\x9f\u180e\u200b\u2060\ufeff]+")
"""Also control characters and those of zero width, except U+200C and U+200D, which change the shape of letters."""
_CURRENCY: Final[TypeAdapter[str]] = TypeAdapter(Currency)

_T = TypeVar("_T")


class MappingError(AttentionError):
    """The route's expressions cannot map the record. `key` is the dotted name of the setting within the route."""

    def __init__(
        self, route: Route, key: str, problem: str, *, reason: AttentionReason = AttentionReason.MAPPING_FAILED
    ) -> None:
        super().__init__(
            f"Route {route.name!r}, {key}: {problem}",
            reason=reason,
            hint=f"Correct the record, or `{key}` of route {route.name!r} in the settings (then restart the workers); "
            "then send `retry`.",
        )


def one_line(text: str) -> str:
    """Replace every run of white space, line breaks and zero-width characters by one space; strip the ends."""
    return _BLANK.sub(" ", text).strip()


def lines_of_text(text: str) -> str:
    """As `one_line`, but keep line breaks and drop empty lines."""
    return "\n".join(filter(None, map(one_line, text.splitlines())))


def moment(value: Any) -> datetime | None:
    """Parse a date and time as Salesforce writes it, `2025-11-03T10:20:30.000+0000`; None for anything else."""
    try:
        read = to_moment(value)
    except ValueError:
        return None
    return read if read.tzinfo is not None else None


def open_reader(route: Route, data: dict[str, Any], reason: AttentionReason = AttentionReason.MAPPING_FAILED) -> Reader:
    """Convert every number of the data to an exact one. Raises `MappingError` for data that is nested too deeply."""
    try:
        return Reader(route, exact(data), reason=reason)
    except RecursionError:
        raise MappingError(route, "order", "the data is nested too deeply", reason=reason) from None


class Reader:
    """Reads typed values from exact data. A missing value is None; `need` raises for it."""

    def __init__(
        self, route: Route, data: Any, where: str = "", reason: AttentionReason = AttentionReason.MAPPING_FAILED
    ) -> None:
        """`data` comes from `exact`; `where` names the part of the record in errors."""
        self.route = route
        self.data = data
        self._where = where
        self._reason = reason
        self._lookups = {f"order.{lookup.field}": lookup for lookup in route.order.lookups}

    def value(self, key: str, expression: str | None) -> Any:
        """Evaluate an expression; None if there is none."""
        if expression is None:
            return None
        try:
            return evaluate(expression, self.data)
        except ExpressionError as error:
            raise self.error(key, f"the expression {expression!r}{self._where} fails: {error}") from None

    def need(self, read: Callable[[str, str], _T | None], key: str, expression: str) -> _T:
        """Read a value by one of the methods below; raise `MappingError` if there is none."""
        value = read(key, expression)
        if value is None:
            problem = f"the expression {expression!r}{self._where} gives no value, but one is needed"
            raise self.error(key, problem)
        return value

    def text(self, key: str, expression: str | None, shape: Callable[[str], str] = one_line) -> str | None:
        """Read a text, and replace it by the value of its lookup table."""
        text = self.as_text(key, expression or "", self.value(key, expression), shape)
        lookup = self._lookups.get(key)
        if lookup is None:
            return text
        found = lookup.default if text is None else lookup.values.get(text, lookup.default)
        if found is None and text is not None:
            problem = f"the expression {expression!r}{self._where} gives a text that its lookup table does not have"
            raise self.error(key, problem)
        return found

    def texts(self, key: str, named: dict[str, str]) -> dict[str, str]:
        """Read free fields as texts; omit fields without a value."""
        found = {name: self.text(f"{key}.{name}", expression) for name, expression in named.items()}
        return {name: text for name, text in found.items() if text is not None}

    def as_text(self, key: str, expression: str, value: Any, shape: Callable[[str], str] = str.strip) -> str | None:
        """Convert a value to text: numbers exactly, booleans to true or false, texts by `shape`."""
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
        return shape(value) or None

    def number(self, key: str, expression: str) -> Decimal | None:
        """Read a number, or a text that contains one."""
        value = self.value(key, expression)
        if isinstance(value, str) and value.strip():
            number = to_decimal(value.strip())
            if number is None:
                raise self._unfit(key, expression, value, "a number")
            return self._in_range(key, expression, number)
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
            return to_moment(value).date()
        except ValueError:
            raise self._unfit(key, expression or "", value, "a date like 2025-11-03") from None

    def currency(self, key: str, expression: str) -> str | None:
        """Read the code of a currency."""
        text = self.text(key, expression)
        if text is None:
            return None
        try:
            return _CURRENCY.validate_python(text)
        except ValidationError:
            raise self._unfit(key, expression, text, "a currency code like EUR") from None

    def record_id(self, key: str, expression: str) -> RecordId | None:
        """Read a Salesforce id of 15 or 18 characters."""
        value = self.value(key, expression)
        if value is None or value == "":
            return None
        try:
            return RecordId(value)
        except InvalidIdError:
            raise self._unfit(key, expression, value, "a Salesforce id of 15 or 18 characters") from None

    def error(self, key: str, problem: str) -> MappingError:
        """Make the error about a key of the route."""
        return MappingError(self.route, key, problem, reason=self._reason)

    def _in_range(self, key: str, expression: str, number: Decimal) -> Decimal:
        exponent = number.as_tuple().exponent  # a letter for infinity and NaN
        if not isinstance(exponent, int) or exponent < -_DIGITS or number.adjusted() >= _DIGITS:
            raise self.error(key, f"the expression {expression!r}{self._where} gives a number beyond 18 digits")
        return number

    def _unfit(self, key: str, expression: str, value: Any, wanted: str) -> MappingError:
        return self.error(key, unfit(expression, value, wanted, self._where))


def unfit(expression: str, value: Any, wanted: str, where: str = "") -> str:
    """Describe a value of the wrong type."""
    return f"the expression {expression!r}{where} gives {_type_of(value)}, not {wanted}"


def _type_of(value: Any) -> str:
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    names = {type(None): "no value", bool: "a boolean", str: "a text", dict: "an object"}
    return names.get(type(value), "a number")
