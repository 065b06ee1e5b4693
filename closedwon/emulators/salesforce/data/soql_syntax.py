"""Parses SOQL by the grammar in `soql.lark` to the tree of `soql_tree`. Knows nothing about the schema.

Errors are MALFORMED_QUERY with the position, in the API's form.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from importlib.resources import files
from typing import Any, cast

from lark import Lark, Token, Transformer, UnexpectedInput, UnexpectedToken, v_args

from closedwon.emulators.salesforce.data.soql_tree import (
    Call,
    Comparison,
    Condition,
    Item,
    Kind,
    Logic,
    Operand,
    Path,
    Query,
    SemiJoin,
    SortOrder,
    Value,
)
from closedwon.emulators.salesforce.errors import ApiError

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_MAX_LENGTH = 100_000
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_TEXTS = re.compile(r"'((?:[^'\\]|\\.)*)'", re.DOTALL)
_CONSTANTS = {"true": True, "false": False, "null": None}


@lru_cache(maxsize=256)
def parse(text: str) -> Query:
    """Parse one query. Raises `ApiError` MALFORMED_QUERY."""
    if len(text) > _MAX_LENGTH:
        raise ApiError("MALFORMED_QUERY", f"SOQL statements cannot be longer than {_MAX_LENGTH} characters.")
    parsed: Query = _parsed(text, "start")
    return parsed


def parse_condition(text: str) -> Condition:
    """Parse a condition, the part after WHERE. For validation rules."""
    parsed: Condition = _parsed(text, "condition")
    return parsed


def malformed(text: str, at: int, message: str, code: str = "MALFORMED_QUERY") -> ApiError:
    """An error with the lines by which the API shows its position."""
    line = text.count("\n", 0, at) + 1
    column = at - (text.rfind("\n", 0, at) + 1)
    begin = max(0, at - 30)
    shown = f"\n{text[begin : at + 30]}\n{' ' * (at - begin)}^\nERROR at Row:{line}:Column:{column + 1}\n"
    return ApiError(code, shown + message)


def _parsed(text: str, start: str) -> Any:
    try:
        return _PARSER.parse(text, start=start)
    except UnexpectedInput as error:
        raise _unexpected(text, error) from None


def _unexpected(text: str, error: UnexpectedInput) -> ApiError:
    if isinstance(error, UnexpectedToken):
        if error.token.type == "$END":
            return malformed(text, len(text), "unexpected token: '<EOF>'")
        return malformed(text, error.token.start_pos or 0, f"unexpected token: '{error.token}'")
    at = cast("int", error.pos_in_stream)
    return malformed(text, at, f"unexpected token: '{text[at]}'")


def _unescaped(text: str, *, like: bool = False) -> str:
    """A text without escapes. For LIKE, wildcards and backslashes that were escaped stay so."""
    if "\\" not in text:
        return text
    kept = "%_\\" if like else "%_"
    return _ESCAPE.sub(lambda match: match[0] if match[1] in kept else _ESCAPES.get(match[1], match[1]), text)


def _finished(value: Value, *, like: bool) -> Value:
    return replace(value, value=_unescaped(str(value.value), like=like)) if value.kind is Kind.TEXT else value


def _at(token: Token) -> int:
    return token.start_pos or 0


@v_args(inline=True)
class _Tree(Transformer[Token, Query]):
    """Builds the nodes; each method has the name of a rule, and gets what the rule is made of."""

    def start(self, query: Query) -> Query:
        return query

    def query(self, *parts: Any) -> Query:
        *items, (source, alias), where, group, having, order, limit, offset, _viewing = parts
        return Query(
            items=tuple(one for one in items if isinstance(one, Item)),
            children=tuple(one for one in items if isinstance(one, Query)),
            source=str(source),
            source_at=_at(source),
            alias=alias and str(alias),
            where=where,
            group=group or (),
            having=having,
            order=order or (),
            limit=limit,
            offset=offset or 0,
        )

    def children(self, query: Query) -> Query:
        return query

    def selected(self, operand: Operand, alias: Token | None) -> Item:
        return Item(operand, alias and str(alias), _at(alias) if alias else 0)

    def source(self, name: Token, alias: Token | None) -> tuple[Token, Token | None]:
        return name, alias

    def operand(self, name: Token) -> Path:
        return Path(tuple(name.split(".")), _at(name))

    def call(self, name: Token, argument: Token | None) -> Call:
        return Call(name.upper(), self.operand(argument) if argument else None, _at(name))

    def where(self, condition: Condition) -> Condition:
        return condition

    def group(self, *operands: Operand) -> tuple[Operand, ...]:
        return operands

    def having(self, condition: Condition) -> Condition:
        return condition

    def order(self, *sorts: SortOrder) -> tuple[SortOrder, ...]:
        return sorts

    def sort(self, operand: Operand, direction: Token | None, nulls: Token | None) -> SortOrder:
        descending = direction is not None and direction.lower() == "desc"
        return SortOrder(operand, descending, nulls is not None and nulls.lower().endswith("last"))

    def limit(self, number: Token) -> int:
        return int(number)

    def offset(self, number: Token) -> int:
        return int(number)

    def viewing(self, _: Token) -> None:
        """FOR VIEW and FOR REFERENCE only change which records were viewed recently."""

    def all_of(self, *conditions: Condition) -> Logic:
        return Logic("AND", conditions)

    def any_of(self, *conditions: Condition) -> Logic:
        return Logic("OR", conditions)

    def negation(self, condition: Condition) -> Logic:
        return Logic("NOT", (condition,))

    def comparison(self, operand: Operand, operator: Token, *values: Value) -> Comparison:
        name = _operator(operator)
        return Comparison(operand, name, tuple(_finished(one, like=name == "LIKE") for one in values))

    def in_texts(self, operand: Operand, operator: Token, texts: Token) -> Comparison:
        values = [Value(Kind.TEXT, _unescaped(text), _at(texts)) for text in _TEXTS.findall(texts)]
        return Comparison(operand, _operator(operator), tuple(values))

    def semi_join(self, operand: Operand, operator: Token, query: Query) -> SemiJoin:
        return SemiJoin(operand, _operator(operator), query, _at(operator))

    def text(self, token: Token) -> Value:
        return Value(Kind.TEXT, str(token[1:-1]), _at(token))  # with escapes, whose meaning depends on the operator

    def number(self, token: Token) -> Value:
        return Value(Kind.NUMBER, float(token), _at(token))

    def date(self, token: Token) -> Value:
        return Value(Kind.DATE, str(token), _at(token))

    def date_time(self, token: Token) -> Value:
        return Value(Kind.DATETIME, token.replace(" ", "+"), _at(token))

    def constant(self, token: Token) -> Value:
        return Value(Kind.CONSTANT, _CONSTANTS[token.lower()], _at(token))

    def date_literal(self, name: Token, count: Token | None) -> Value:
        return Value(Kind.PERIOD, (name.upper(), int(count or 0)), _at(name))


def _operator(token: Token) -> str:
    operator = " ".join(token.upper().split())
    return "!=" if operator == "<>" else operator


_PARSER = Lark(
    files(__package__).joinpath("soql.lark").read_text(encoding="utf-8"),
    parser="lalr",
    start=["start", "condition"],
    transformer=_Tree(),
    maybe_placeholders=True,
)
