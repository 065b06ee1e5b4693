"""The functions of expressions: those of JMESPath, with `Decimal` as a number, and our own.

All arithmetic is decimal and exact, except `divide` and `avg` (28 significant digits). A result with more than 200
digits is an error; it is never rounded. Errors name the function and the kind of its arguments, never a value, because
errors are logged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from decimal import (
    ROUND_HALF_EVEN,
    ROUND_HALF_UP,
    Context,
    Decimal,
    DecimalException,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
)
from functools import reduce
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jmespath import functions

_EXACT: Final = Context(prec=200, traps=[Inexact, InvalidOperation, Overflow])
"""Inexact raises: a sum or product keeps every digit, or is refused."""
_DIVIDING: Final = Context(prec=28, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, DivisionByZero, Overflow])
_ROUNDING: Final = Context(prec=200, rounding=ROUND_HALF_UP, traps=[InvalidOperation, Overflow])
_NUMBER_TEXT: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
"""Plain numbers only. `Decimal` also accepts underscores, digits of other scripts and infinity."""
_MOMENT_TEXT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][\x20-\x7e]+)?")
"""Plain dates only. `datetime` also accepts week dates and dates without hyphens."""
_MOST_DECIMALS: Final = 18
"""Salesforce's numbers have no more."""


class ExpressionError(ValueError):
    """An expression is not valid, or cannot be evaluated on this data. The message never contains a value."""


def zone(name: str) -> ZoneInfo:
    """Find a time zone of the IANA database, such as `Europe/Berlin`. Raises `ExpressionError`."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a name of a folder, such as `Europe`
        raise ExpressionError("the time zone is not known; use a name like 'Europe/Berlin'") from None


def to_decimal(text: str) -> Decimal | None:
    """Parse a plain decimal number, perhaps with an exponent; None for any other text."""
    return Decimal(text) if _NUMBER_TEXT.fullmatch(text) else None


def to_moment(value: Any) -> datetime:
    """Parse a date, or a date and time as Salesforce writes it. Raises `ValueError` for anything else."""
    if not isinstance(value, str) or not _MOMENT_TEXT.fullmatch(value):
        raise ValueError("neither a date like 2025-11-03 nor a date and time")
    return datetime.fromisoformat(value)


def to_text(number: Decimal | int) -> str:
    """Write a number without an exponent."""
    return format(Decimal(number), "f")


_Library: Any = functions.Functions
"""As `Any`, because the library's type hints lack the methods that are overridden here."""
_NUMBER: Final[Any] = {"types": ["number"]}
_MORE: Final[Any] = {**_NUMBER, "variadic": True}
_DAY: Final[Any] = {"types": ["string", "null"]}


class ExactFunctions(_Library):  # type: ignore[misc]
    """The library's functions, with `Decimal` as a number. The first two methods are its look-up of types by name."""

    def _get_allowed_pytypes(self, types: Any) -> Any:
        allowed, subtypes = super()._get_allowed_pytypes(types)
        if "float" in allowed:
            allowed = [*allowed, "Decimal"]
        return allowed, [(*names, "Decimal") if "float" in names else names for names in subtypes]

    def _convert_to_jmespath_type(self, pyobject: str) -> Any:
        return "number" if pyobject == "Decimal" else super()._convert_to_jmespath_type(pyobject)

    @functions.signature({"types": []})
    def _func_to_string(self, arg: Any) -> Any:
        return to_text(arg) if isinstance(arg, Decimal) else super()._func_to_string(arg)

    @functions.signature({"types": []})
    def _func_to_number(self, arg: Any) -> Any:
        if isinstance(arg, str):
            return to_decimal(arg.strip())
        return arg if isinstance(arg, Decimal) else super()._func_to_number(arg)

    @functions.signature({"types": []})
    def _func_type(self, arg: Any) -> Any:
        return "number" if isinstance(arg, Decimal) else super()._func_type(arg)

    @functions.signature({"types": ["array-number"]})
    def _func_avg(self, arg: Any) -> Any:
        return _apply("avg", _DIVIDING.divide, [_sum("avg", arg), len(arg)]) if arg else None

    @functions.signature({"types": ["array-number"]})
    def _func_sum(self, arg: Any) -> Any:
        return _sum("sum", arg)

    @functions.signature(_NUMBER, _MORE)
    def _func_add(self, *args: Any) -> Any:
        return _apply("add", _EXACT.add, args)

    @functions.signature(_NUMBER, _NUMBER)
    def _func_subtract(self, *args: Any) -> Any:
        return _apply("subtract", _EXACT.subtract, args)

    @functions.signature(_NUMBER, _MORE)
    def _func_multiply(self, *args: Any) -> Any:
        return _apply("multiply", _EXACT.multiply, args)

    @functions.signature(_NUMBER, _NUMBER)
    def _func_divide(self, *args: Any) -> Any:
        return _apply("divide", _DIVIDING.divide, args)

    @functions.signature(_NUMBER, _NUMBER)
    def _func_round(self, number: Any, decimals: Any) -> Any:
        if decimals != int(decimals) or abs(decimals) > _MOST_DECIMALS:
            raise ExpressionError(
                f"round() takes a whole number of decimals from -{_MOST_DECIMALS} to {_MOST_DECIMALS}"
            )
        return _apply("round", _ROUNDING.quantize, [number, Decimal(1).scaleb(-int(decimals))])

    @functions.signature(_DAY, _NUMBER)
    def _func_add_days(self, day: Any, days: Any) -> Any:
        if day is None:
            return None
        if days != int(days):
            raise ExpressionError("add_days() takes a whole number of days")
        try:
            return (_day(day) + timedelta(days=int(days))).isoformat()
        except OverflowError:
            raise ExpressionError("add_days() gives a day beyond the calendar") from None

    @functions.signature(_DAY, {"types": ["string"]})
    def _func_day_in(self, moment: Any, name: Any) -> Any:
        if moment is None:
            return None
        there = zone(name)
        try:
            read = to_moment(moment)
            if read.tzinfo is not None:
                return read.astimezone(there).date().isoformat()
        except (ValueError, OverflowError):
            pass
        raise ExpressionError("day_in() takes a moment with its offset, as in 2025-11-03T23:30:00.000+0000")


def _day(text: str) -> date:
    try:
        return to_moment(text).date()
    except ValueError:
        raise ExpressionError("add_days() takes a date like 2025-11-03, or a date and time") from None


def _sum(name: str, numbers: Sequence[Any]) -> Decimal:
    return _apply(name, _EXACT.add, [0, *numbers])


def _apply(name: str, operation: Callable[[Decimal, Decimal], Decimal], numbers: Sequence[Any]) -> Decimal:
    """Fold numbers by an operation; the library checks the types of the first arguments only."""
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int | Decimal) or not Decimal(number).is_finite():
            raise ExpressionError(f"{name}() takes numbers only")
    try:
        return reduce(operation, map(Decimal, numbers))
    except DivisionByZero:
        raise ExpressionError(f"{name}() cannot divide by zero") from None
    except Inexact:
        raise ExpressionError(f"{name}() gives a number of more than {_EXACT.prec} digits") from None
    except DecimalException as error:
        raise ExpressionError(f"{name}() cannot be computed ({type(error).__name__})") from None
