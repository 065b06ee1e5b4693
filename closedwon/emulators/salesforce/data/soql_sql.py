"""Translates the conditions and expressions of one SELECT to SQL, and checks them against the schema.

SOQL's rules apply where they differ from SQL's: texts compare without case, `!=` finds nulls too, an id may have 15
characters, a literal in a filter must be of the field's kind, long text cannot be filtered or sorted.
Every condition is true or false, never SQL's null, so that NOT works.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Protocol

from closedwon.emulators.salesforce.data.schema import IDS, NUMBERS, TEXTS, FieldType, Schema, SField, SObject
from closedwon.emulators.salesforce.data.soql_dates import span
from closedwon.emulators.salesforce.data.soql_functions import call_sql, is_aggregate
from closedwon.emulators.salesforce.data.soql_syntax import malformed
from closedwon.emulators.salesforce.data.soql_tree import (
    Call,
    Comparison,
    Condition,
    Kind,
    Logic,
    Operand,
    Path,
    Query,
    SemiJoin,
    SortOrder,
    Value,
)
from closedwon.emulators.salesforce.data.values import Stored, parse_date_time
from closedwon.emulators.salesforce.errors import ApiError
from closedwon.ids import InvalidIdError, RecordId

_ADVICE = "Please reference your WSDL or the describe call for the appropriate names."
_MAX_SEMI_JOINS = 2
_DATES = frozenset({FieldType.DATE, FieldType.DATETIME})


class Reader(Protocol):
    """What the user who asks may see."""

    def sees_object(self, owner: SObject) -> bool:
        """Whether the user may read records of an object."""

    def sees_field(self, owner: SObject, name: str) -> bool:
        """Whether the user may read a field."""


@dataclass
class Compiler:
    """One SELECT without its child sub-queries. `values` are the parameters of its conditions, in their order."""

    schema: Schema
    text: str
    base: SObject
    today: date
    reader: Reader
    alias: str | None = None
    level: int = 0
    """How deep this SELECT is within semi-joins; distinguishes the aliases of tables."""
    values: list[Stored] = field(default_factory=list)
    joins: dict[tuple[str, ...], tuple[str, SObject]] = field(default_factory=dict)
    join_sql: list[str] = field(default_factory=list)
    semi_joins: int = 0

    def __post_init__(self) -> None:
        """The table of the base object is there from the start."""
        self.joins[()] = (self.table(0), self.base)

    def table(self, number: int) -> str:
        """The alias of a table."""
        return f"{'s' * self.level}t{number}"

    def error(self, at: int, message: str, code: str = "MALFORMED_QUERY") -> ApiError:
        """An error at a position of the text."""
        return malformed(self.text, at, message, code)

    # Names

    def plain(self, path: Path) -> Path:
        """The path without the object's alias or name at its front: `a.Name` in `FROM Account a`."""
        head = path.parts[0].lower()
        named = {self.base.name.lower()} if self.base.parent(path.parts[0]) is None else set[str]()
        if len(path.parts) > 1 and head in named | {(self.alias or "").lower()}:
            return Path(path.parts[1:], path.at)
        return path

    def join(self, prefix: tuple[str, ...], at: int) -> tuple[str, SObject]:
        """The alias and object at the end of a relationship path."""
        key = tuple(part.lower() for part in prefix)
        if key in self.joins:
            return self.joins[key]
        alias, parent = self.join(prefix[:-1], at)
        lookup = parent.parent(prefix[-1])
        target = self.schema.find(lookup.refers_to) if lookup and lookup.refers_to else None
        if lookup is None or target is None or not self.reader.sees_object(target):
            raise self.error(
                at,
                f"Didn't understand relationship '{prefix[-1]}' in field path. If you are attempting to use a custom "
                f"relationship, be sure to append the '__r' after the custom relationship name. {_ADVICE}",
                "INVALID_FIELD",
            )
        joined = self.table(len(self.joins))
        self.join_sql.append(f'LEFT JOIN "{target.name}" {joined} ON {joined}.Id = {alias}."{lookup.name}"')
        self.joins[key] = joined, target
        return joined, target

    def field(self, path: Path) -> tuple[str, SField]:
        """The SQL of a field path, and the field. Raises INVALID_FIELD."""
        path = self.plain(path)
        alias, owner = self.join(path.parts[:-1], path.at)
        found = owner.find(path.parts[-1])
        if found is None or not self.reader.sees_field(owner, found.name):
            raise self.error(
                path.at,
                f"No such column '{path.parts[-1]}' on entity '{owner.name}'. If you are attempting to use a custom "
                f"field, be sure to append the '__c' after the custom field name. {_ADVICE}",
                "INVALID_FIELD",
            )
        return f'{alias}."{found.name}"', found

    def operand(self, operand: Operand) -> tuple[str, SField]:
        """The SQL of a field or of a function, and the field that its value is like."""
        if isinstance(operand, Path):
            return self.field(operand)
        argument = self.field(operand.argument) if operand.argument is not None else None
        found = call_sql(operand.name, argument)
        if found is None:
            name = argument[1].name if argument is not None else ""
            message = (
                f"field {name} does not support aggregate operator {operand.name}"
                if is_aggregate(operand.name)
                else f"unexpected token: '{operand.name}'"
            )
            raise self.error(operand.at, message)
        return found

    # Conditions

    def condition(self, condition: Condition) -> str:
        """The SQL of a condition."""
        if isinstance(condition, Comparison):
            return self._comparison(condition)
        if isinstance(condition, SemiJoin):
            return self._semi_join(condition)
        if condition.operator == "OR":
            for part in condition.parts:
                if isinstance(part, SemiJoin):
                    raise self.error(part.at, "Semi join sub-selects are not allowed with the 'OR' operator")
        parts = [f"({self.condition(part)})" for part in condition.parts]
        return f"NOT {parts[0]}" if condition.operator == "NOT" else f" {condition.operator} ".join(parts)

    def _comparison(self, comparison: Comparison) -> str:
        column, found = self.operand(comparison.operand)
        operator, values = comparison.operator, comparison.values
        if found.is_long_text:
            raise ApiError("INVALID_FIELD", f"field '{found.name}' can not be filtered in a query call")
        is_set = found.type is FieldType.MULTIPICKLIST
        if (operator in {"INCLUDES", "EXCLUDES"}) != (is_set and operator not in {"=", "!="}):
            raise ApiError("INVALID_FIELD", f"{operator} operator not valid for field '{found.name}'")
        if operator == "LIKE" and found.type not in TEXTS:
            kind = "id" if found.type in IDS else found.type.value
            raise ApiError("INVALID_QUERY_FILTER_OPERATOR", f"invalid operator on {kind} field")
        if any(value.kind is Kind.PERIOD for value in values):
            return self._in_periods(column, found, operator, values)
        stored = [self._literal(found, value) for value in values]
        collate = " COLLATE NOCASE" if found.type in TEXTS else ""
        if operator in {"IN", "NOT IN"}:
            present = [one for one in stored if one is not None]
            self.values += present
            inside = f"{column}{collate} IN ({', '.join('?' * len(present))})"
            inside = f"coalesce({inside}{f' OR {column} IS NULL' if None in stored else ''}, 0)"
            return f"NOT {inside}" if operator == "NOT IN" else inside
        if is_set and operator in {"INCLUDES", "EXCLUDES"}:
            inside = self._includes(column, stored)
            return f"NOT ({inside})" if operator == "EXCLUDES" else inside
        self.values.append(stored[0])
        if operator == "LIKE":
            return f"coalesce({column} LIKE ? ESCAPE '\\', 0)"
        if operator in {"=", "!="}:
            return f"{column} {'IS' if operator == '=' else 'IS NOT'} ?{collate}"
        return f"coalesce({column} {operator} ?{collate}, 0)"

    def _includes(self, column: str, stored: list[Stored]) -> str:
        """Whether a multi-select picklist has one of the values; `A;B` in a value means both."""
        choices = []
        for value in stored:
            wanted = str(value or "").split(";")
            self.values += [f";{one.lower()};" for one in wanted]
            choices.append(" AND ".join([f"instr(';' || lower(coalesce({column}, '')) || ';', ?) > 0"] * len(wanted)))
        return " OR ".join(f"({choice})" for choice in choices)

    def _in_periods(self, column: str, found: SField, operator: str, values: tuple[Value, ...]) -> str:
        """A comparison with date literals: before, after or within whole days."""
        choices = []
        for value in values:
            first, after = self._period(found, value)
            if operator in {"<", ">="}:
                self.values.append(first)
            elif operator in {"<=", ">"}:
                self.values.append(after)
            else:
                self.values += [first, after]
            compared = {"<": "< ?", ">=": ">= ?", "<=": "< ?", ">": ">= ?"}.get(operator, f">= ? AND {column} < ?")
            choices.append(f"coalesce({column} {compared}, 0)")
        inside = " OR ".join(choices)
        return f"NOT ({inside})" if operator in {"!=", "NOT IN"} else inside

    def _period(self, found: SField, value: Value) -> tuple[Stored, Stored]:
        assert isinstance(value.value, tuple), "the grammar gives a name and a number"
        name, count = value.value
        try:
            days = span(name, count, self.today)
        except (OverflowError, ValueError):
            days = None
        if days is None:
            raise self.error(value.at, f"unexpected token: '{name}'")
        if found.type not in _DATES:
            raise _wrong_kind(found)
        if found.type is FieldType.DATE:
            return days[0].isoformat(), days[1].isoformat()
        return _midnight(days[0]), _midnight(days[1])

    def _semi_join(self, join: SemiJoin) -> str:
        """`Id IN (SELECT AccountId FROM Opportunity)`. Source: "Comparison Operators", "Semi-Joins with IN"."""
        column, found = self.operand(join.operand)
        self.semi_joins += 1
        inner_items = join.query.items
        selected = inner_items[0].operand if len(inner_items) == 1 and not join.query.children else None
        if self.level:
            raise self.error(join.at, "Nesting of semi join sub-selects is not supported")
        if self.semi_joins > _MAX_SEMI_JOINS:
            raise self.error(join.at, f"Maximum {_MAX_SEMI_JOINS} semi join sub-selects are allowed")
        if not isinstance(selected, Path):
            raise self.error(join.at, "Semi join sub-selects can only select one field")
        inner = self.inner(join.query)
        wanted, target = inner.field(selected)
        for one in (found, target):
            if one.type not in IDS:
                raise self.error(join.at, f"Semi join sub-selects can only query id fields, cannot use: '{one.name}'")
        where = f"AND ({inner.condition(join.query.where)})" if join.query.where is not None else ""
        alias = inner.table(0)
        self.values += inner.values
        tables = f'"{inner.base.name}" {alias} {" ".join(inner.join_sql)}'
        return (
            f"coalesce({column} {join.operator} (SELECT {wanted} FROM {tables} "  # noqa: S608 - names of the schema
            f"WHERE {alias}.IsDeleted = 0 AND {wanted} IS NOT NULL {where}), {int(join.operator == 'NOT IN')})"
        )

    def inner(self, query: Query) -> Compiler:
        """The compiler of a semi-join's sub-select."""
        base = find_object(self.schema, self.reader, self.text, query.source, query.source_at)
        return Compiler(self.schema, self.text, base, self.today, self.reader, query.alias, self.level + 1)

    def _literal(self, found: SField, value: Value) -> Stored:
        """A literal as a stored value. Raises `ApiError` for a literal of the wrong kind."""
        given = value.value
        if given is None:
            return None
        if found.type in IDS and value.kind is Kind.TEXT:
            try:
                return RecordId(given)
            except InvalidIdError:
                raise ApiError("INVALID_QUERY_FILTER_OPERATOR", f"invalid ID field: {given}") from None
        if value.kind is not _wanted_kind(found):
            raise _wrong_kind(found)
        if isinstance(given, bool):
            return int(given)
        try:
            return parse_date_time(str(given)) if value.kind is Kind.DATETIME else _checked(value)
        except ValueError:  # the 30th of February
            raise self.error(value.at, f"unexpected token: '{given}'") from None

    # Sorting

    def sort(self, item: SortOrder) -> str:
        """The SQL of an element of ORDER BY."""
        column, found = self.operand(item.operand)
        if found.is_long_text:
            raise ApiError("INVALID_FIELD", f"field '{found.name}' can not be sorted in a query call")
        collate = " COLLATE NOCASE" if found.type in TEXTS else ""
        nulls = "LAST" if item.nulls_last else "FIRST"
        return f"{column}{collate} {'DESC' if item.descending else 'ASC'} NULLS {nulls}"


def find_object(schema: Schema, reader: Reader, text: str, name: str, at: int) -> SObject:
    """The object of a FROM. Raises INVALID_TYPE for events, and for objects that the user may not read."""
    found = schema.find(name)
    if found is None or found.is_event or not reader.sees_object(found):
        raise malformed(
            text,
            at,
            f"sObject type '{name}' is not supported. If you are attempting to use a custom object, be sure to append "
            f"the '__c' after the entity name. {_ADVICE}",
            "INVALID_TYPE",
        )
    return found


def has_aggregates(condition: Condition) -> bool:
    """Whether a condition compares an aggregate, which only HAVING may."""
    if isinstance(condition, Logic):
        return any(has_aggregates(part) for part in condition.parts)
    return isinstance(condition.operand, Call) and is_aggregate(condition.operand.name)


def _checked(value: Value) -> Stored:
    if value.kind is Kind.DATE:
        return date.fromisoformat(str(value.value)).isoformat()
    assert not isinstance(value.value, tuple), "periods have a method of their own"
    return value.value


def _wrong_kind(found: SField) -> ApiError:
    quoted = found.type in TEXTS or found.type in IDS
    hint = "should be enclosed in quotes" if quoted else "should not be enclosed in quotes"
    return ApiError(
        "INVALID_FIELD", f"value of filter criterion for field '{found.name}' must be of type {found.type} and {hint}"
    )


def _wanted_kind(found: SField) -> Kind:
    if found.type in TEXTS or found.type in IDS:
        return Kind.TEXT
    if found.type in NUMBERS:
        return Kind.NUMBER
    return {
        FieldType.BOOLEAN: Kind.CONSTANT,
        FieldType.DATE: Kind.DATE,
        FieldType.DATETIME: Kind.DATETIME,
    }[found.type]


def _midnight(day: date) -> int:
    return round((datetime.combine(day, time()) - datetime(1970, 1, 1)) / timedelta(milliseconds=1))  # noqa: DTZ001 - UTC
