"""Entry formulas of record-triggered flows: parsed by a grammar, evaluated for a record before and after a write.

Source: Salesforce Help, "Formula Operators and Functions". It knows what entry conditions use: AND, OR, NOT, ISNEW,
ISCHANGED, PRIORVALUE, ISBLANK, ISPICKVAL, TEXT, comparisons, literals and fields of the record itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from operator import eq, ge, gt, le, lt, ne
from typing import Any, cast

from lark import Lark, Token, Transformer, UnexpectedInput, v_args
from lark.exceptions import VisitError

Row = Mapping[str, Any]
Formula = Callable[[Row | None, Row], Any]
"""Gets the record before the write (None if it is new) and after it."""

_GRAMMAR = r"""
start: comparison
?comparison: value | value OPERATOR value
?value: FIELD -> field
      | STRING -> text
      | NUMBER -> number
      | CONSTANT -> constant
      | NAME "(" [comparison ("," comparison)*] ")" -> call
CONSTANT.2: /(?i:true|false)(?!\w)/
FIELD: /\{!\$Record\.\w+\}/
OPERATOR: /<=|>=|<>|!=|=|<|>/
STRING: /"[^"]*"|'[^']*'/
NUMBER: /-?\d+(\.\d+)?/
NAME: /[A-Za-z]+/
%ignore /\s+/
"""
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": eq,
    "<>": ne,
    "!=": ne,
    "<": lt,
    "<=": le,
    ">": gt,
    ">=": ge,
}


_ARGUMENTS = {"NOT": 1, "ISBLANK": 1, "ISPICKVAL": 2}


@lru_cache(maxsize=64)
def parse_formula(text: str) -> Formula:
    """A formula as a function. Raises `ValueError` for what it does not know."""
    try:
        parsed = cast("Formula", _PARSER.parse(text))  # its transformer makes a function of the tree
    except (UnexpectedInput, VisitError, ValueError) as error:
        raise ValueError(f"the formula {text!r} is not understood: {error}") from None
    return parsed


def _field(name: str) -> Formula:
    return lambda _before, after: after.get(name)


def _prior(name: str) -> Formula:
    """Of a new record, PRIORVALUE is the present value."""
    return lambda before, after: (after if before is None else before).get(name)


def _changed(name: str) -> Formula:
    return lambda before, after: before is not None and before.get(name) != after.get(name)


@v_args(inline=True)
class _Compiler(Transformer[Token, Any]):
    """Each method has the name of a rule."""

    def start(self, value: Any) -> Formula:
        return _value(value)

    def comparison(self, left: Any, operator: Token, right: Any) -> Formula:
        compare, one, other = _COMPARISONS[operator], _value(left), _value(right)

        def holds(before: Row | None, after: Row) -> bool:
            found, wanted = one(before, after), other(before, after)
            if found is None or wanted is None:
                return bool(compare is ne) if found is not wanted else bool(compare is eq)
            return compare(found, wanted)

        return holds

    def field(self, token: Token) -> str:
        return token.removeprefix("{!$Record.").removesuffix("}")

    def text(self, token: Token) -> Formula:
        return lambda _before, _after: str(token[1:-1])

    def number(self, token: Token) -> Formula:
        return lambda _before, _after: float(token)

    def constant(self, token: Token) -> Formula:
        return lambda _before, _after: token.lower() == "true"

    def call(self, name: Token, *arguments: Any) -> Formula:
        given = [one for one in arguments if one is not None]
        if name in {"ISCHANGED", "PRIORVALUE"}:
            if len(given) != 1 or not isinstance(given[0], str):
                raise ValueError(f"{name} takes one field")
            return (_changed if name == "ISCHANGED" else _prior)(given[0])
        values = [_value(one) for one in given]
        if name == "TEXT" and len(values) == 1:  # of a picklist: its value
            return values[0]
        functions: dict[str, Formula] = {
            "AND": lambda before, after: all(one(before, after) for one in values),
            "OR": lambda before, after: any(one(before, after) for one in values),
            "NOT": lambda before, after: not values[0](before, after),
            "ISNEW": lambda before, _after: before is None,
            "ISBLANK": lambda before, after: values[0](before, after) in (None, ""),
            "ISPICKVAL": lambda before, after: values[0](before, after) == values[1](before, after),
        }
        if name not in functions or len(values) < _ARGUMENTS.get(name, 0):
            raise ValueError(f"the function {name} is not known, or lacks an argument")
        return functions[name]


def _value(given: Any) -> Formula:
    """A field stands for its value."""
    if isinstance(given, str):
        return _field(given)
    formula: Formula = given
    return formula


_PARSER = Lark(_GRAMMAR, parser="lalr", transformer=_Compiler(), maybe_placeholders=True)
