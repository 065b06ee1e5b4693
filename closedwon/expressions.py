"""JMESPath with exact numbers: how the settings' expressions are checked and evaluated.

jmespath knows `int` and `float` only. Money must not pass through binary floating point, so here every number with a
fraction, in the data (`exact`) and in an expression's literals, is a `Decimal`, and the functions know it. Nothing
here knows of records, routes or settings.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, cast

import jmespath
from jmespath import functions
from jmespath.exceptions import JMESPathError, JMESPathTypeError
from jmespath.parser import ParsedResult


class ExpressionError(ValueError):
    """An expression that cannot be read, or cannot be evaluated on this data. Never holds a value of the data."""


def exact(value: Any) -> Any:
    """Return JSON-like data with every `float` as the `Decimal` that its shortest text says."""
    if isinstance(value, float):
        return Decimal(str(value))
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


def evaluate(expression: str, data: Any) -> Any:
    """Evaluate on data that `exact` made. Raises `ExpressionError`."""
    try:
        return _compiled(expression).search(data, _OPTIONS)
    except JMESPathTypeError as error:
        # Its own text quotes the data, so neither text nor cause is kept.
        message = f"{error.function_name}() got {error.actual_type}, not {' or '.join(error.expected_types)}"
        raise ExpressionError(message) from None
    except (JMESPathError, ArithmeticError, TypeError, ValueError) as error:
        raise ExpressionError(f"it fails with {type(error).__name__}") from None


def paths(expression: str) -> frozenset[str]:
    """Return the dotted names that the expression reads from the data it is evaluated on, as far as they are plain."""
    return frozenset(".".join(path) for path in _paths(cast("dict[str, Any]", _compiled(expression).parsed)))


def to_text(number: Decimal | int) -> str:
    """Write a number as people do, without exponent."""
    return format(Decimal(number), "f")


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
    known = _ExactFunctions.FUNCTION_TABLE
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}()?" if near else f"there are {', '.join(sorted(known))}"
        raise ExpressionError(f"there is no function {name}(); {hint}")
    signature = known[name]["signature"]
    variadic = bool(signature) and signature[-1].get("variadic", False)
    if given < len(signature) or (given > len(signature) and not variadic):
        raise ExpressionError(f"{name}() takes {len(signature)} argument(s), not {given}")


_Library: Any = functions.Functions
"""Its types lack what is overridden here."""


class _ExactFunctions(_Library):  # type: ignore[misc]
    """The library's functions, with `Decimal` as a number: it looks types up by name, in the first two methods."""

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
            try:
                return Decimal(arg)
            except InvalidOperation:
                return None
        return arg if isinstance(arg, Decimal) else super()._func_to_number(arg)

    @functions.signature({"types": []})
    def _func_type(self, arg: Any) -> Any:
        return "number" if isinstance(arg, Decimal) else super()._func_type(arg)

    @functions.signature({"types": ["array-number"]})
    def _func_avg(self, arg: Any) -> Any:
        return sum(map(Decimal, arg)) / len(arg) if arg else None


_OPTIONS = jmespath.Options(custom_functions=_ExactFunctions())
