"""Runs SOQL queries on the store, and returns records in REST's form.

`soql_syntax` parses, `soql_sql` checks and translates. Queries with aggregates are in `soql_groups`.
Source: SOQL and SOSL Reference; REST API Developer Guide, "Query".
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

from closedwon.emulators.salesforce.clock import Clock
from closedwon.emulators.salesforce.data.schema import Schema, SField, SObject
from closedwon.emulators.salesforce.data.soql_groups import group_sql, is_grouped
from closedwon.emulators.salesforce.data.soql_sql import Compiler, Reader, find_object, has_aggregates
from closedwon.emulators.salesforce.data.soql_syntax import parse, parse_condition
from closedwon.emulators.salesforce.data.soql_tree import Call, Item, Path, Query
from closedwon.emulators.salesforce.data.store import Store
from closedwon.emulators.salesforce.data.values import Stored, to_json
from closedwon.emulators.salesforce.errors import ApiError

Record = dict[str, Any]
_MAX_SUBQUERIES = 20
_MAX_OFFSET = 2000
_MAX_ALL_FIELDS = 200


class _Everything:
    """The reader who may see everything: automations, audits and tests."""

    def sees_object(self, owner: SObject) -> bool:
        return bool(owner)

    def sees_field(self, owner: SObject, name: str) -> bool:
        return bool(owner) and bool(name)


EVERYTHING = _Everything()


@dataclass(frozen=True)
class Column:
    """A selected field, and the place of its value in the record: canonical names, from the record on."""

    path: tuple[str, ...]
    field: SField
    sql: str


class Soql:
    """Runs queries on a store."""

    def __init__(self, schema: Schema, store: Store, clock: Clock) -> None:
        """`schema` describes the tables of `store`; date literals count from the day of `clock`."""
        self._schema = schema
        self._store = store
        self._clock = clock

    def run(
        self, text: str, *, url: str = "", include_deleted: bool = False, reader: Reader = EVERYTHING
    ) -> list[Record] | int:
        """The result of a query: records in REST's form, or the number of `SELECT COUNT()`.

        `url` is the prefix of record URLs (`/services/data/v67.0/sobjects`). Raises `ApiError`.
        """
        query = parse(text)
        try:
            compiler = self._compiler(text, query, reader)
            if query.is_count:
                return self._count(compiler, query, include_deleted=include_deleted)
            if is_grouped(query):
                return self._groups(compiler, query, include_deleted=include_deleted)
            return self._records(compiler, query, url, include_deleted=include_deleted)
        except RecursionError:
            raise ApiError("MALFORMED_QUERY", "the query is nested too deeply") from None

    def records(self, text: str, *, url: str = "") -> list[Record]:
        """The records of a query without `COUNT()`."""
        found = self.run(text, url=url)
        assert isinstance(found, list), "a query of records"
        return found

    def object(self, name: str) -> SObject:
        """An object of the schema. Raises INVALID_TYPE."""
        return find_object(self._schema, EVERYTHING, name, name, 0)

    def matches(self, object_name: str, condition: str, record: str) -> bool:
        """Whether a row matches a condition. For validation rules."""
        base = find_object(self._schema, EVERYTHING, condition, object_name, 0)
        compiler = Compiler(self._schema, condition, base, self._today(), EVERYTHING)
        where = compiler.condition(parse_condition(condition))
        sql = f'SELECT 1 FROM "{base.name}" t0 {" ".join(compiler.join_sql)} WHERE ({where}) AND t0.Id = ?'  # noqa: S608 - names of the schema
        return bool(self._store.select(sql, [*compiler.values, record]))

    def columns(self, text: str, *, reader: Reader = EVERYTHING) -> list[Column]:
        """The fields that a query of records selects; none for `COUNT()` and groups."""
        query = parse(text)
        if is_grouped(query):
            return []
        compiler = self._compiler(text, query, reader)
        return list(_columns(compiler, query))

    def _today(self) -> date:
        return datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC).date()

    def _compiler(self, text: str, query: Query, reader: Reader, source: str | None = None) -> Compiler:
        base = find_object(self._schema, reader, text, source or query.source, query.source_at)
        compiler = Compiler(self._schema, text, base, self._today(), reader, query.alias)
        if query.offset > _MAX_OFFSET:
            raise ApiError("NUMBER_OUTSIDE_VALID_RANGE", f"Maximum SOQL offset allowed is {_MAX_OFFSET}")
        if query.where is not None and has_aggregates(query.where):
            raise ApiError("MALFORMED_QUERY", "Aggregate functions are not allowed in a WHERE clause; use HAVING")
        return compiler

    def _count(self, compiler: Compiler, query: Query, *, include_deleted: bool) -> int:
        inner = self._sql(compiler, "1", replace(query, order=()), include_deleted=include_deleted)
        return int(self._select(f"SELECT count(*) AS n FROM ({inner})", compiler.values)[0]["n"])  # noqa: S608 - built here

    def _groups(self, compiler: Compiler, query: Query, *, include_deleted: bool) -> list[Record]:
        where = _where(compiler, query, include_deleted=include_deleted)
        selected, columns = group_sql(compiler, query, where)
        rows = self._select(selected, compiler.values)
        return [
            {
                "attributes": {"type": "AggregateResult"},
                **{key: to_json(found, row[f"c{index}"]) for index, (key, found) in enumerate(columns)},
            }
            for row in rows
        ]

    # Records

    def _records(self, compiler: Compiler, query: Query, url: str, *, include_deleted: bool) -> list[Record]:
        if len(query.children) > _MAX_SUBQUERIES:
            raise ApiError("MALFORMED_QUERY", f"at most {_MAX_SUBQUERIES} child sub-queries are allowed")
        columns = list(_columns(compiler, query))
        rows = self._rows(compiler, columns, query, include_deleted=include_deleted)
        records = [_record(compiler, columns, row, url) for row in rows]
        ids = [str(row["row_id"]) for row in rows]
        for inner in query.children:
            name, children = self._children(compiler, inner, ids, url)
            for record, parent in zip(records, ids, strict=True):
                found = children.get(parent)
                record[name] = {"totalSize": len(found), "done": True, "records": found} if found else None
        return records

    def _children(
        self, parent: Compiler, query: Query, ids: list[str], url: str
    ) -> tuple[str, dict[str, list[Record]]]:
        """The child relationship's name, and its records by the parent's id; LIMIT and OFFSET apply to each parent."""
        names = {name.lower(): name for name in parent.base.children}
        name = names.get(parent.plain(Path(tuple(query.source.split(".")), query.source_at)).parts[-1].lower())
        if name is None or not parent.reader.sees_object(self._child(parent.base, name)):
            raise parent.error(
                query.source_at,
                f"Didn't understand relationship '{query.source}' in FROM part of query call. If you are attempting to "
                "use a custom relationship, be sure to append the '__r' after the custom relationship name. Please "
                "reference your WSDL or the describe call for the appropriate names.",
                "INVALID_TYPE",
            )
        if is_grouped(query):
            raise parent.error(query.source_at, "only root queries support aggregate expressions")
        if query.children:
            raise parent.error(
                query.children[0].source_at,
                "SOQL statements cannot query aggregate relationships more than 1 level away from the root entity "
                "object.",
            )
        child, lookup = parent.base.children[name]
        compiler = self._compiler(parent.text, query, parent.reader, child)
        columns = list(_columns(compiler, query))
        found: dict[str, list[Record]] = defaultdict(list)
        for row in self._rows(compiler, columns, replace(query, limit=None, offset=0), lookup=lookup, parents=ids):
            found[row["parent_id"]].append(_record(compiler, columns, row, url))
        end = None if query.limit is None else query.offset + query.limit
        return name, {key: rows[query.offset : end] for key, rows in found.items()}

    def _child(self, parent: SObject, relationship: str) -> SObject:
        found = self._schema.find(parent.children[relationship][0])
        assert found is not None, "relationships of the schema lead to its objects"
        return found

    def _rows(
        self,
        compiler: Compiler,
        columns: list[Column],
        query: Query,
        *,
        include_deleted: bool = False,
        lookup: str = "",
        parents: list[str] | None = None,
    ) -> list[Any]:
        """The rows with the values of `columns` as c0, c1, ...; with `lookup` only the children of `parents`."""
        selected = ["t0.Id AS row_id", *([f't0."{lookup}" AS parent_id'] if lookup else [])]
        selected += [f"{one.sql} AS c{index}" for index, one in enumerate(columns)]
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

    def _sql(self, compiler: Compiler, selected: str, query: Query, *, include_deleted: bool, extra: str = "") -> str:
        where = _where(compiler, query, include_deleted=include_deleted, extra=extra)
        order = ", ".join([compiler.sort(item) for item in query.order] + ["t0.Id"])
        limit = f"LIMIT {-1 if query.limit is None else query.limit} OFFSET {query.offset}"
        joins = " ".join(compiler.join_sql)
        return f'SELECT {selected} FROM "{compiler.base.name}" t0 {joins} {where} ORDER BY {order} {limit}'  # noqa: S608 - names of the schema, numbers of the parser


def _where(compiler: Compiler, query: Query, *, include_deleted: bool, extra: str = "") -> str:
    conditions = [] if include_deleted else ["t0.IsDeleted = 0"]
    if query.where is not None:
        conditions.append(f"({compiler.condition(query.where)})")
    if extra:
        conditions.append(extra)
    return f"WHERE {' AND '.join(conditions)}" if conditions else ""


def _columns(compiler: Compiler, query: Query) -> Iterator[Column]:
    """The selected fields, with canonical names. Raises INVALID_FIELD for one that is selected twice."""
    seen: set[tuple[str, ...]] = set()
    for item in query.items:
        if item.alias is not None:
            raise compiler.error(item.alias_at, "only aggregate expressions use field aliasing")
        for path in _expanded(compiler, query, item):
            sql, found = compiler.field(path)
            parents = compiler.plain(path).parts[:-1]
            names = []
            for depth, part in enumerate(parents):
                lookup = compiler.join(parents[:depth], path.at)[1].parent(part)
                names.append((lookup and lookup.relationship) or part)
            column = Column((*names, found.name), found, sql)
            if column.path in seen:
                raise ApiError("INVALID_FIELD", f"duplicate field selected: {'.'.join(column.path)}")
            seen.add(column.path)
            yield column


def _expanded(compiler: Compiler, query: Query, item: Item) -> Iterator[Path]:
    """The paths of an element of the SELECT list: several for FIELDS()."""
    if isinstance(item.operand, Path):
        yield item.operand
        return
    kind = _group_of_fields(item.operand)
    if kind is None:
        raise compiler.error(item.operand.at, f"unexpected token: '{item.operand.name}'")
    if kind != "STANDARD" and (query.limit is None or query.limit > _MAX_ALL_FIELDS):
        raise ApiError("MALFORMED_QUERY", f"The SOQL FIELDS function must have a LIMIT of at most {_MAX_ALL_FIELDS}")
    for one in compiler.base.fields:
        is_wanted = kind == "ALL" or one.name.endswith("__c") == (kind == "CUSTOM")
        if is_wanted and compiler.reader.sees_field(compiler.base, one.name):
            yield Path((one.name,), item.operand.at)


def _group_of_fields(call: Call) -> str | None:
    """The argument of FIELDS(): ALL, STANDARD or CUSTOM."""
    argument = ".".join(call.argument.parts).upper() if call.argument is not None else ""
    return argument if call.name == "FIELDS" and argument in {"ALL", "STANDARD", "CUSTOM"} else None


def _record(compiler: Compiler, columns: list[Column], row: Any, url: str) -> Record:
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


def _with_attributes(owner: SObject, record: str, url: str) -> Record:
    return {"attributes": {"type": owner.name, "url": f"{url}/{owner.name}/{record}"}}
