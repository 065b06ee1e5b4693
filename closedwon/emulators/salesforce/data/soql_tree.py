"""The tree of a SOQL query: frozen nodes, without any knowledge of the schema.

`soql_syntax` builds it from a text, `soql_sql` translates it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

Literal = str | float | bool | tuple[str, int] | None


class Kind(Enum):
    """The kinds of literals. Dates have kinds of their own, because SOQL distinguishes them from texts."""

    TEXT = auto()
    NUMBER = auto()
    CONSTANT = auto()
    """true, false or null."""
    DATE = auto()
    DATETIME = auto()
    PERIOD = auto()
    """A date literal such as `LAST_N_DAYS:30`, as its name in capitals and its number (0 without one)."""


@dataclass(frozen=True)
class Path:
    """A field path such as `Account.Name`, and its position in the text (from 0)."""

    parts: tuple[str, ...]
    at: int


@dataclass(frozen=True)
class Call:
    """A function such as `SUM(Amount)`. `name` is in capitals; `argument` is None for `COUNT()`."""

    name: str
    argument: Path | None
    at: int


Operand = Path | Call


@dataclass(frozen=True)
class Item:
    """An element of the SELECT list that is not a child sub-query."""

    operand: Operand
    alias: str | None
    alias_at: int = 0


@dataclass(frozen=True)
class Value:
    """A literal with its kind."""

    kind: Kind
    value: Literal
    at: int


@dataclass(frozen=True)
class Comparison:
    """`operand operator values`; `values` has one element except for IN, NOT IN, INCLUDES and EXCLUDES."""

    operand: Operand
    operator: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class SemiJoin:
    """`operand IN (SELECT ...)`, or `NOT IN`."""

    operand: Operand
    operator: str
    query: Query
    at: int


@dataclass(frozen=True)
class Logic:
    """AND, OR or NOT over conditions."""

    operator: str
    parts: tuple[Condition, ...]


Condition = Comparison | SemiJoin | Logic


@dataclass(frozen=True)
class SortOrder:
    """One element of ORDER BY. Nulls come first unless `nulls_last`, in both directions."""

    operand: Operand
    descending: bool
    nulls_last: bool


@dataclass(frozen=True)
class Query:
    """One SELECT. `children` name child relationships in `source`."""

    items: tuple[Item, ...]
    children: tuple[Query, ...]
    source: str
    source_at: int
    alias: str | None
    where: Condition | None
    group: tuple[Operand, ...]
    having: Condition | None
    order: tuple[SortOrder, ...]
    limit: int | None
    offset: int

    @property
    def is_count(self) -> bool:
        """Whether this is `SELECT COUNT()`, whose result is a number."""
        first = self.items[0].operand if self.items else None
        return isinstance(first, Call) and first.name == "COUNT" and first.argument is None
