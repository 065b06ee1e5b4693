"""Runs a parsed query: checks it against the schema, translates it to SQL, and returns records in REST's form.

SOQL's rules apply where they differ from SQL's: texts compare without case, `!=` finds nulls too, an id may have 15
characters, a literal in a filter must be of the field's kind, long text cannot be filtered or sorted.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Any

from closedwon.emulators.salesforce.data.schema import IDS, NUMBERS, TEXTS, FieldType, Schema, SField, SObject
from closedwon.emulators.salesforce.data.soql_parser import (
    Comparison,
    Condition,
    Path,
    Query,
    SortOrder,
    TokenKind,
    Value,
    parse,
    parse_condition,
    place,
)
from closedwon.emulators.salesforce.data.store import Store
from closedwon.emulators.salesforce.data.values import Stored, parse_date_time, to_json
from closedwon.emulators.salesforce.errors import ApiError
from closedwon.ids import InvalidIdError, RecordId

Record = dict[str, Any]
_ADVICE = "Please reference your WSDL or the describe call for the appropriate names."
_MAX_SUBQUERIES = 20


@dataclass
class _Column:
    """A column of the SQL result and the place of its value in the record."""

    path: tuple[str, ...]
    field: SField


@dataclass
class _Compiler:
    """Translates one SELECT (without its subqueries) to SQL."""

    schema: Schema
    text: str
    base: SObject
    values: list[Stored] = field(default_factory=list)
    joins: dict[tuple[str, ...], tuple[str, SObject]] = field(default_factory=dict)
    join_sql: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.joins[()] = ("t0", self.base)

    def join(self, prefix: tuple[str, ...], at: int) -> tuple[str, SObject]:
        """The alias and object at the end of a relationship path."""
        key = tuple(part.lower() for part in prefix)
        if key in self.joins:
            return self.joins[key]
        alias, parent = self.join(prefix[:-1], at)
        lookup = parent.parent(prefix[-1])
        target = self.schema.find(lookup.refers_to) if lookup and lookup.refers_to else None
        if lookup is None or target is None:
            raise ApiError(
                "INVALID_FIELD",
                f"{place(self.text, at)}Didn't understand relationship '{prefix[-1]}' in field path. If you are "
                "attempting to use a custom relationship, be sure to append the '__r' after the custom relationship "
                f"name. {_ADVICE}",
            )
        joined = f"t{len(self.joins)}"
        self.join_sql.append(f'LEFT JOIN "{target.name}" {joined} ON {joined}.Id = {alias}."{lookup.name}"')
        self.joins[key] = joined, target
        return joined, target

    def field(self, path: Path) -> tuple[str, SField]:
        """The SQL of a field path, and the field."""
        alias, owner = self.join(path.parts[:-1], path.at)
        found = owner.find(path.parts[-1])
        if found is None:
            raise ApiError(
                "INVALID_FIELD",
                f"{place(self.text, path.at)}No such column '{path.parts[-1]}' on entity '{owner.name}'. If you are "
                "attempting to use a custom field, be sure to append the '__c' after the custom field name. " + _ADVICE,
            )
        return f'{alias}."{found.name}"', found

    def condition(self, condition: Condition) -> str:
        """The SQL of a condition."""
        if isinstance(condition, Comparison):
            return self.comparison(condition)
        parts = [f"({self.condition(part)})" for part in condition.parts]
        return f"NOT {parts[0]}" if condition.operator == "NOT" else f" {condition.operator} ".join(parts)

    def comparison(self, comparison: Comparison) -> str:
        """The SQL of one comparison. Every comparison is true or false, never SQL's null, so that NOT works."""
        column, found = self.field(comparison.path)
        if found.is_long_text:
            raise ApiError("INVALID_FIELD", f"field '{found.name}' can not be filtered in a query call")
        collate = " COLLATE NOCASE" if found.type in TEXTS else ""
        stored = [_literal(found, value) for value in comparison.values]
        if comparison.operator in {"IN", "NOT IN"}:
            self.values += [one for one in stored if one is not None]
            marks = ", ".join("?" for one in stored if one is not None)
            inside = f"{column}{collate} IN ({marks})" + (f" OR {column} IS NULL" if None in stored else "")
            return f"NOT coalesce({inside}, 0)" if comparison.operator == "NOT IN" else f"coalesce({inside}, 0)"
        self.values.append(stored[0])
        if comparison.operator == "LIKE":
            return f"coalesce({column} LIKE ? ESCAPE '\\', 0)"
        if comparison.operator in {"=", "!="}:
            return f"{column} {'IS' if comparison.operator == '=' else 'IS NOT'} ?{collate}"
        return f"coalesce({column} {comparison.operator} ?{collate}, 0)"


def _literal(found: SField, value: Value) -> Stored:
    """A literal as a stored value. Raises `ApiError` for a literal of the wrong kind."""
    if value.value is None:
        return None
    if found.type in IDS and value.kind is TokenKind.STRING:
        try:
            return RecordId(value.value)
        except InvalidIdError:
            raise ApiError("INVALID_QUERY_FILTER_OPERATOR", f"invalid ID field: {value.value}") from None
    wanted, quoted = _wanted_kind(found)
    if value.kind is not wanted or (wanted is TokenKind.WORD and not isinstance(value.value, bool)):
        hint = "should be enclosed in quotes" if quoted else "should not be enclosed in quotes"
        raise ApiError(
            "INVALID_FIELD",
            f"value of filter criterion for field '{found.name}' must be of type {found.type} and {hint}",
        )
    if wanted is TokenKind.DATETIME:
        return parse_date_time(str(value.value))
    return int(value.value) if isinstance(value.value, bool) else value.value


def _wanted_kind(found: SField) -> tuple[TokenKind, bool]:
    if found.type in TEXTS or found.type in IDS:
        return TokenKind.STRING, True
    if found.type in NUMBERS:
        return TokenKind.NUMBER, False
    return {
        FieldType.BOOLEAN: (TokenKind.WORD, False),
        FieldType.DATE: (TokenKind.DATE, False),
        FieldType.DATETIME: (TokenKind.DATETIME, False),
    }[found.type]


class Soql:
    """Runs queries on a store."""

    def __init__(self, schema: Schema, store: Store) -> None:
        """`schema` describes the tables of `store`."""
        self._schema = schema
        self._store = store

    def count(self, text: str) -> int | None:
        """The result of `SELECT COUNT()`; None if the query selects records."""
        query = parse(text)
        if not query.count:
            return None
        compiler = self._compiler(text, query)
        sql = self._sql(compiler, "count(*) AS n", query, include_deleted=False)
        return int(self._select(sql, compiler.values)[0]["n"])

    def records(self, text: str, *, url: str, include_deleted: bool = False) -> list[Record]:
        """The records in REST's form. `url` is the prefix of record URLs (`/services/data/v67.0/sobjects`)."""
        query = parse(text)
        compiler = self._compiler(text, query)
        columns = [self._column(compiler, item) for item in query.fields if isinstance(item, Path)]
        rows = self._rows(compiler, columns, query, include_deleted=include_deleted)
        records = [self._record(compiler, columns, row, url) for row in rows]
        subqueries = [item for item in query.fields if isinstance(item, Query)]
        if len(subqueries) > _MAX_SUBQUERIES:
            raise ApiError("MALFORMED_QUERY", f"at most {_MAX_SUBQUERIES} child sub-queries are allowed")
        ids = [str(row["row_id"]) for row in rows]
        for inner in subqueries:
            name, children = self._children(text, compiler.base, inner, ids, url)
            for record, parent in zip(records, ids, strict=True):
                found = children.get(parent)
                record[name] = {"totalSize": len(found), "done": True, "records": found} if found else None
        return records

    def matches(self, object_name: str, condition: str, record: str) -> bool:
        """Whether a row matches a condition. For validation rules."""
        base = self._object(condition, object_name, 0)
        compiler = _Compiler(self._schema, condition, base)
        where = compiler.condition(parse_condition(condition))
        sql = f'SELECT 1 FROM "{base.name}" t0 {" ".join(compiler.join_sql)} WHERE ({where}) AND t0.Id = ?'  # noqa: S608 - names of the schema
        return bool(self._store.select(sql, [*compiler.values, record]))

    def columns(self, text: str) -> list[SField]:
        """The fields that a query selects, for `?columns=true`."""
        query = parse(text)
        compiler = self._compiler(text, query)
        return [compiler.field(item)[1] for item in query.fields if isinstance(item, Path)]

    def _object(self, text: str, name: str, at: int) -> SObject:
        found = self._schema.find(name)
        if found is None or found.is_event:
            raise ApiError(
                "INVALID_TYPE",
                f"{place(text, at)}sObject type '{name}' is not supported. If you are attempting to use a custom "
                f"object, be sure to append the '__c' after the entity name. {_ADVICE}",
            )
        return found

    def _compiler(self, text: str, query: Query) -> _Compiler:
        return _Compiler(self._schema, text, self._object(text, query.source, query.source_at))

    def _column(self, compiler: _Compiler, path: Path) -> _Column:
        _, found = compiler.field(path)
        names = []
        for depth, part in enumerate(path.parts[:-1]):
            lookup = compiler.join(path.parts[:depth], path.at)[1].parent(part)
            names.append((lookup and lookup.relationship) or part)
        return _Column((*names, found.name), found)

    def _rows(
        self,
        compiler: _Compiler,
        columns: list[_Column],
        query: Query,
        *,
        include_deleted: bool = False,
        lookup: str = "",
        parents: list[str] | None = None,
    ) -> list[Any]:
        """The rows with the values of `columns` as c0, c1, ...; with `lookup` only the children of `parents`."""
        selected = ["t0.Id AS row_id", *([f't0."{lookup}" AS parent_id'] if lookup else [])]
        selected += [f"{compiler.field(Path(one.path, 0))[0]} AS c{index}" for index, one in enumerate(columns)]
        selected += [f"{alias}.Id AS {alias}_id" for alias, _ in list(compiler.joins.values())[1:]]
        extra = f't0."{lookup}" IN (SELECT value FROM json_each(?))' if lookup else ""  # noqa: S608 - a name of the schema
        sql = self._sql(compiler, ", ".join(selected), query, include_deleted=include_deleted, extra=extra)
        return self._select(sql, [*compiler.values, *([json.dumps(parents)] if lookup else [])])

    def _select(self, sql: str, values: list[Stored]) -> list[Any]:
        try:
            return self._store.select(sql, values)
        except sqlite3.OperationalError as error:
            if "too large" not in str(error) and "too many" not in str(error):
                raise
            raise ApiError("QUERY_TOO_COMPLICATED", "Query is too complex.") from None

    def _sql(self, compiler: _Compiler, selected: str, query: Query, *, include_deleted: bool, extra: str = "") -> str:
        conditions = [] if include_deleted else ["t0.IsDeleted = 0"]
        if query.where is not None:
            conditions.append(f"({compiler.condition(query.where)})")
        if extra:
            conditions.append(extra)
        order = [self._order(compiler, item) for item in query.order] + ["t0.Id"]
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        limit = f"LIMIT {-1 if query.limit is None else query.limit} OFFSET {query.offset}"
        joins = " ".join(compiler.join_sql)
        return f'SELECT {selected} FROM "{compiler.base.name}" t0 {joins} {where} ORDER BY {", ".join(order)} {limit}'  # noqa: S608 - names of the schema, numbers of the parser

    def _order(self, compiler: _Compiler, item: SortOrder) -> str:
        column, found = compiler.field(item.path)
        if found.is_long_text:
            raise ApiError("INVALID_FIELD", f"field '{found.name}' can not be sorted in a query call")
        collate = " COLLATE NOCASE" if found.type in TEXTS else ""
        nulls = "LAST" if item.nulls_last else "FIRST"
        return f"{column}{collate} {'DESC' if item.descending else 'ASC'} NULLS {nulls}"

    def _record(self, compiler: _Compiler, columns: list[_Column], row: Any, url: str) -> Record:
        record = _with_attributes(compiler.base, row["row_id"], url)
        for index, column in enumerate(columns):
            target: Record | None = record
            for depth, part in enumerate(column.path[:-1], start=1):
                alias, owner = compiler.joins[tuple(one.lower() for one in column.path[:depth])]
                if row[f"{alias}_id"] is None:
                    assert target is not None
                    target[part] = None
                    target = None
                    break
                target = target.setdefault(part, _with_attributes(owner, row[f"{alias}_id"], url)) if target else None
            if target is not None:
                target[column.field.name] = to_json(column.field, row[f"c{index}"])
        return record

    def _children(
        self, text: str, parent: SObject, query: Query, ids: list[str], url: str
    ) -> tuple[str, dict[str, list[Record]]]:
        """The child relationship's name, and its records by the parent's id; LIMIT applies to each parent."""
        names = {name.lower(): name for name in parent.children}
        name = names.get(query.source.lower())
        if name is None or query.count:
            raise ApiError(
                "INVALID_TYPE",
                f"{place(text, query.source_at)}Didn't understand relationship '{query.source}' in FROM part of query "
                "call. If you are attempting to use a custom relationship, be sure to append the '__r' after the "
                f"custom relationship name. {_ADVICE}",
            )
        child, lookup = parent.children[name]
        compiler = _Compiler(self._schema, text, self._object(text, child, query.source_at))
        columns = [self._column(compiler, item) for item in query.fields if isinstance(item, Path)]
        found: dict[str, list[Record]] = defaultdict(list)
        everything = replace(query, limit=None, offset=0)
        for row in self._rows(compiler, columns, everything, lookup=lookup, parents=ids):
            siblings = found[row["parent_id"]]
            if query.limit is None or len(siblings) < query.limit:
                siblings.append(self._record(compiler, columns, row, url))
        return name, found


def _with_attributes(owner: SObject, record: str, url: str) -> Record:
    return {"attributes": {"type": owner.name, "url": f"{url}/{owner.name}/{record}"}}
