"""Parses SOQL to a tree of frozen nodes. Knows the grammar, not the schema.

It supports the part of the language that integrations use to read: SELECT of fields, relationship paths and child
subqueries, COUNT(), WHERE, ORDER BY, LIMIT, OFFSET. As in Salesforce, AND and OR at one level need parentheses, and
dates have no quotes.
Source: SOQL and SOSL Reference. Errors are MALFORMED_QUERY with the position, in the API's form.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from typing import NoReturn

from closedwon.emulators.salesforce.errors import ApiError

Literal = str | float | bool | None


class TokenKind(Enum):
    """The kinds of tokens. Dates have kinds of their own, because SOQL distinguishes them from texts."""

    WORD = auto()
    STRING = auto()
    NUMBER = auto()
    DATE = auto()
    DATETIME = auto()
    SYMBOL = auto()
    END = auto()


@dataclass(frozen=True)
class Lexeme:
    """A part of the text and the position of its start (from 0)."""

    kind: TokenKind
    text: str
    at: int


@dataclass(frozen=True)
class Path:
    """A field path such as `Account.Name`, and its position in the text."""

    parts: tuple[str, ...]
    at: int


@dataclass(frozen=True)
class Value:
    """A literal with its kind; `None` is null."""

    kind: TokenKind
    value: Literal


@dataclass(frozen=True)
class Comparison:
    """`field op values`; `values` has one element except for IN and NOT IN."""

    path: Path
    operator: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Logic:
    """AND, OR or NOT over conditions."""

    operator: str
    parts: tuple[Condition, ...]


Condition = Comparison | Logic


@dataclass(frozen=True)
class SortOrder:
    """One element of ORDER BY. Nulls come first unless `nulls_last`."""

    path: Path
    descending: bool
    nulls_last: bool


@dataclass(frozen=True)
class Query:
    """One SELECT. `subqueries` name child relationships in `source`."""

    fields: tuple[Path | Query, ...]
    count: bool
    source: str
    source_at: int
    where: Condition | None
    order: tuple[SortOrder, ...]
    limit: int | None
    offset: int


_TOKEN = re.compile(
    r"""(?P<SPACE>\s+)
      | (?P<STRING>'(?:[^'\\]|\\.)*')
      | (?P<DATETIME>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+\- ]\d\d:?\d\d))
      | (?P<DATE>\d{4}-\d\d-\d\d)
      | (?P<NUMBER>[+-]?\d+(?:\.\d+)?)
      | (?P<WORD>[A-Za-z_][A-Za-z0-9_.]*)
      | (?P<SYMBOL><=|>=|!=|<>|[=<>(),])""",
    re.VERBOSE,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_MAX_LENGTH = 100_000
_MAX_DIGITS = 18  # SQLite's limit
_COMPARISONS = ("=", "!=", "<>", "<=", ">=", "<", ">")


@lru_cache(maxsize=256)
def parse(text: str) -> Query:
    """Parse one query. Raises `ApiError` MALFORMED_QUERY."""
    if len(text) > _MAX_LENGTH:
        raise ApiError("MALFORMED_QUERY", f"SOQL statements cannot be longer than {_MAX_LENGTH} characters.")
    parser = _Parser(text)
    try:
        query = parser.query()
    except RecursionError:
        raise ApiError("MALFORMED_QUERY", "the query is nested too deeply") from None
    parser.expect_end()
    return query


def parse_condition(text: str) -> Condition:
    """Parse a condition, the part after WHERE. For validation rules."""
    parser = _Parser(text)
    condition = parser.condition()
    parser.expect_end()
    return condition


def place(text: str, at: int) -> str:
    """The lines by which the API shows the position of an error."""
    line = text.count("\n", 0, at) + 1
    column = at - (text.rfind("\n", 0, at) + 1)
    begin = max(0, at - 30)
    return f"\n{text[begin : at + 30]}\n{' ' * (at - begin)}^\nERROR at Row:{line}:Column:{column + 1}\n"


def _tokens(text: str) -> list[Lexeme]:
    found, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ApiError("MALFORMED_QUERY", f"{place(text, at)}unexpected token: '{text[at]}'")
        if match.lastgroup != "SPACE":
            found.append(Lexeme(TokenKind[match.lastgroup or ""], match.group(), at))
        at = match.end()
    return [*found, Lexeme(TokenKind.END, "<EOF>", len(text))]


class _Parser:
    """A recursive descent parser."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = _tokens(text)
        self.index = 0

    @property
    def token(self) -> Lexeme:
        return self.tokens[self.index]

    def unexpected(self) -> NoReturn:
        raise ApiError("MALFORMED_QUERY", f"{place(self.text, self.token.at)}unexpected token: '{self.token.text}'")

    def take(self, kind: TokenKind) -> Lexeme:
        token = self.token
        if token.kind is not kind:
            self.unexpected()
        self.index += 1
        return token

    def is_word(self, *words: str) -> bool:
        return self.token.kind is TokenKind.WORD and self.token.text.upper() in words

    def accept(self, word: str) -> bool:
        """Consume a keyword or a symbol if it is next."""
        if self.is_word(word) or (self.token.kind is TokenKind.SYMBOL and self.token.text == word):
            self.index += 1
            return True
        return False

    def expect(self, word: str) -> None:
        if not self.accept(word):
            self.unexpected()

    def expect_end(self) -> None:
        if self.token.kind is not TokenKind.END:
            self.unexpected()

    def query(self) -> Query:
        self.expect("SELECT")
        count, fields = self.select_list()
        self.expect("FROM")
        source = self.take(TokenKind.WORD)
        where = self.condition() if self.accept("WHERE") else None
        order = self.order_by()
        limit = self.whole_number() if self.accept("LIMIT") else None
        offset = self.whole_number() if self.accept("OFFSET") else 0
        return Query(fields, count, source.text, source.at, where, order, limit, offset)

    def select_list(self) -> tuple[bool, tuple[Path | Query, ...]]:
        if self.is_word("COUNT"):
            self.index += 1
            self.expect("(")
            self.expect(")")
            return True, ()
        fields = [self.select_item()]
        while self.accept(","):
            fields.append(self.select_item())
        return False, tuple(fields)

    def select_item(self) -> Path | Query:
        if self.accept("("):
            inner = self.query()
            self.expect(")")
            return inner
        return self.path()

    def path(self) -> Path:
        if self.is_word("FROM", "WHERE", "SELECT"):
            self.unexpected()
        token = self.take(TokenKind.WORD)
        return Path(tuple(token.text.split(".")), token.at)

    def condition(self) -> Condition:
        parts = [self.simple_condition()]
        operator = next((word for word in ("AND", "OR") if self.is_word(word)), None)
        if operator is None:
            return parts[0]
        while self.accept(operator):
            parts.append(self.simple_condition())
        if self.is_word("AND", "OR"):  # SOQL requires parentheses
            self.unexpected()
        return Logic(operator, tuple(parts))

    def simple_condition(self) -> Condition:
        if self.accept("NOT"):
            return Logic("NOT", (self.simple_condition(),))
        if self.accept("("):
            inner = self.condition()
            self.expect(")")
            return inner
        return self.comparison()

    def comparison(self) -> Comparison:
        path = self.path()
        if self.accept("NOT"):
            self.expect("IN")
            return Comparison(path, "NOT IN", self.value_list())
        if self.accept("IN"):
            return Comparison(path, "IN", self.value_list())
        if self.accept("LIKE"):
            return Comparison(path, "LIKE", (self.value(),))
        operator = self.take(TokenKind.SYMBOL).text
        if operator not in _COMPARISONS:
            self.index -= 1
            self.unexpected()
        return Comparison(path, "!=" if operator == "<>" else operator, (self.value(),))

    def value_list(self) -> tuple[Value, ...]:
        self.expect("(")
        values = [self.value()]
        while self.accept(","):
            values.append(self.value())
        self.expect(")")
        return tuple(values)

    def value(self) -> Value:
        token = self.token
        self.index += 1
        if token.kind is TokenKind.STRING:
            return Value(token.kind, _unescape(token.text[1:-1]))
        if token.kind is TokenKind.NUMBER:
            return Value(token.kind, float(token.text))
        if token.kind in (TokenKind.DATE, TokenKind.DATETIME):
            return Value(token.kind, token.text.replace(" ", "+"))  # a raw + in a URL arrives as a space
        if token.kind is TokenKind.WORD and token.text.lower() in {"true", "false", "null"}:
            return Value(token.kind, {"true": True, "false": False, "null": None}[token.text.lower()])
        self.index -= 1
        return self.unexpected()

    def order_by(self) -> tuple[SortOrder, ...]:
        if not self.accept("ORDER"):
            return ()
        self.expect("BY")
        found = [self.order_item()]
        while self.accept(","):
            found.append(self.order_item())
        return tuple(found)

    def order_item(self) -> SortOrder:
        path = self.path()
        descending = self.accept("DESC")
        if not descending:
            self.accept("ASC")
        nulls_last = False  # the default of SOQL in both directions
        if self.accept("NULLS"):
            nulls_last = self.accept("LAST")
            if not nulls_last:
                self.expect("FIRST")
        return SortOrder(path, descending, nulls_last)

    def whole_number(self) -> int:
        token = self.take(TokenKind.NUMBER)
        if not token.text.isdigit() or len(token.text) > _MAX_DIGITS:
            self.index -= 1
            self.unexpected()
        return int(token.text)


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match.group(1), _keep(match.group(1))), text)


def _keep(char: str) -> str:
    """An escaped wildcard stays escaped: only LIKE interprets it."""
    return f"\\{char}" if char in "%_" else char
