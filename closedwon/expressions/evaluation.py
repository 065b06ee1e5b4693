"""Check and evaluate the settings' expressions: JMESPath with exact numbers.

jmespath supports `int` and `float` only. Money must not pass through binary floating point, so every number with a
fraction, in the data (`exact`) and in an expression's literals, is a `Decimal` here, and the functions support it.

jmespath returns `false` if a boolean is compared with a text, or either with a number. The same checkbox is `true` in
JSON and `'true'` in XML, so such a `false` is not a fact about the record. Here it is an error.

This module does not use records, routes or settings.
"""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Iterator
from decimal import MAX_EMAX, MIN_EMIN, ROUND_HALF_EVEN, Context, Decimal
from functools import lru_cache
from typing import Any, Final, cast

import jmespath
from jmespath.exceptions import JMESPathError, JMESPathTypeError
from jmespath.parser import ParsedResult
from jmespath.visitor import TreeInterpreter

from closedwon.expressions.functions import ExactFunctions, ExpressionError, to_text, zone

__all__ = [
    "ExpressionError",
    "check",
    "evaluate",
    "exact",
    "json_number",
    "paths",
    "reads_itself",
    "to_text",
]

_FLOAT: Final = Context(prec=15, rounding=ROUND_HALF_EVEN, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[])
"""Significant digits that binary floating point preserves. Further digits of a computed value are noise."""
_NOISE_ULPS: Final = 4
"""The error of a short computation, in units in the last place of a double."""
_NO_AMOUNT: Final = Decimal("0.00005")
"""Half of the smallest unit that a currency has."""


def json_number(text: str) -> Decimal:
    """Parse a JSON number with a fraction or an exponent; for the `parse_float` of JSON readers.

    Salesforce stores numbers in binary floating point, so 16.01 may arrive as 16.009999999999998. Such noise is
    removed if rounding to 15 significant digits leaves fewer digits, and changes the number by less than the precision
    of a double and less than half of any currency's smallest unit. Every other number stays exact, at any length. Texts
    that contain a number are not parsed here, so all their digits count.
    """
    number = Decimal(text)
    rounded = _FLOAT.plus(number)
    if not number.is_finite() or rounded == number:
        return number
    off = _FLOAT.subtract(number, rounded).copy_abs()
    is_short = len(rounded.normalize(_FLOAT).as_tuple().digits) < _FLOAT.prec
    is_noise = off < _NO_AMOUNT and off <= _NOISE_ULPS * Decimal(math.ulp(float(number)))
    return _plain(rounded) if is_short and is_noise else number


def _plain(number: Decimal) -> Decimal:
    """Drop the trailing zeros of a rounded number, without an exponent for whole numbers."""
    short = number.normalize(_FLOAT)
    return short.quantize(Decimal(1)) if 0 < short.adjusted() < _FLOAT.prec and short == short.to_integral() else short


def exact(value: Any) -> Any:
    """Return JSON-like data with every `float` converted by `json_number`."""
    if isinstance(value, float):
        return json_number(repr(value))
    if isinstance(value, dict):
        return {key: exact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [exact(item) for item in value]
    return value


def check(expression: str) -> None:
    """Raise `ExpressionError` for a syntax error, an unknown function or a wrong number of arguments."""
    for node in _walk(_compiled(expression).parsed):
        if node["type"] == "function_expression":
            _check_call(node["value"], len(node["children"]))
            _check_zone(node["value"], node["children"])


def evaluate(expression: str, data: Any) -> Any:
    """Evaluate an expression on data that `exact` returned. Raises `ExpressionError`."""
    try:
        return _Interpreter(_OPTIONS).visit(_compiled(expression).parsed, data)
    except JMESPathTypeError as error:
        # The error's own text quotes the data, so neither text nor cause is kept.
        message = f"{error.function_name}() got {error.actual_type}, not {' or '.join(error.expected_types)}"
        raise ExpressionError(message) from None
    except ExpressionError:
        raise
    except (JMESPathError, ArithmeticError, TypeError, ValueError) as error:
        raise ExpressionError(f"it fails with {type(error).__name__}") from None


def paths(expression: str) -> frozenset[str]:
    """Return the dotted names that the expression reads from the data itself, if they are plain."""
    found = _paths(cast("dict[str, Any]", _compiled(expression).parsed))
    return frozenset(".".join(path) for path in found if path)


def reads_itself(expression: str) -> bool:
    """Whether the expression may yield the data itself, or a list of it, as in `Lines.records || [@]`."""
    return () in _paths(cast("dict[str, Any]", _compiled(expression).parsed))


@lru_cache(maxsize=1024)
def _compiled(expression: str) -> ParsedResult:
    try:
        parsed = jmespath.compile(expression).parsed
    except RecursionError:
        raise ExpressionError("the expression is nested too deeply") from None
    except JMESPathError as error:
        problem = str(error).splitlines()[0].removeprefix("Invalid jmespath expression: ").rstrip(":")
        raise ExpressionError(f"{expression!r} is not a JMESPath expression: {problem}") from error
    return ParsedResult(expression, _exact_literals(parsed))


def _exact_literals(node: Any) -> Any:
    if not isinstance(node, dict):
        return node  # a slice's children are numbers
    if node["type"] == "literal":
        return {**node, "value": exact(node["value"])}
    return {**node, "children": [_exact_literals(child) for child in node.get("children", ())]}


def _walk(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for child in node.get("children", ()):
            yield from _walk(child)


_EVERY_CHILD_READS_THE_DATA = frozenset(
    {
        "multi_select_list",
        "multi_select_dict",
        "key_val_pair",
        "comparator",
        "and_expression",
        "or_expression",
        "not_expression",
        "function_expression",
    }
)
_FIRST_CHILD_READS_THE_DATA = frozenset(
    {"index_expression", "projection", "filter_projection", "value_projection", "flatten", "pipe"}
)


def _paths(node: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    kind, children = node["type"], node.get("children", ())
    if kind == "field":
        yield (node["value"],)
    elif kind == "current":
        yield ()
    elif kind == "subexpression":
        first, *others = children
        plain = [child["value"] for child in itertools.takewhile(lambda child: child["type"] == "field", others)]
        yield from ((*path, *plain) for path in _paths(first))
    elif kind in _EVERY_CHILD_READS_THE_DATA:
        for child in children:
            yield from _paths(child)
    elif kind in _FIRST_CHILD_READS_THE_DATA:
        yield from _paths(children[0])


def _check_call(name: str, given: int) -> None:
    known = ExactFunctions.FUNCTION_TABLE
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}()?" if near else f"there are {', '.join(sorted(known))}"
        raise ExpressionError(f"there is no function {name}(); {hint}")
    signature = known[name]["signature"]
    variadic = bool(signature) and signature[-1].get("variadic", False)
    if given < len(signature) or (given > len(signature) and not variadic):
        raise ExpressionError(f"{name}() takes {len(signature)} argument(s), not {given}")


def _check_zone(name: str, arguments: list[dict[str, Any]]) -> None:
    """Check a literal zone together with the settings, not with the first record."""
    if name == "day_in" and arguments[1]["type"] == "literal" and isinstance(arguments[1]["value"], str):
        zone(arguments[1]["value"])


class _Interpreter(cast("Any", TreeInterpreter)):  # type: ignore[misc]
    """The library's interpreter, but with an error if values of different kinds are compared."""

    def visit_comparator(self, node: dict[str, Any], value: Any) -> Any:
        if node["value"] not in self._EQUALITY_OPS:
            return super().visit_comparator(node, value)
        left, right = (self.visit(child, value) for child in node["children"])
        kinds = {_kind(left), _kind(right)} - {None}
        if len(kinds) > 1:
            hint = "; to_string() makes a text of either" if "text" in kinds else ""
            raise ExpressionError(f"it compares a {' with a '.join(sorted(filter(None, kinds)))}{hint}")
        return self.COMPARATOR_FUNC[node["value"]](left, right)


def _kind(value: Any) -> str | None:
    """Return the kind of a value; None for null, lists and objects, which may be compared with anything."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | Decimal):
        return "number"
    return "text" if isinstance(value, str) else None


_OPTIONS = jmespath.Options(custom_functions=ExactFunctions())
