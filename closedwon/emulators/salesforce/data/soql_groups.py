"""Queries with aggregates: GROUP BY, HAVING, and the names of their results.

Source: SOQL and SOSL Reference, "GROUP BY" and "Using Aliases with GROUP BY".
"""

from __future__ import annotations

from collections.abc import Iterator

from closedwon.emulators.salesforce.data.schema import TEXTS, SField
from closedwon.emulators.salesforce.data.soql_functions import is_aggregate
from closedwon.emulators.salesforce.data.soql_sql import Compiler
from closedwon.emulators.salesforce.data.soql_tree import Call, Condition, Logic, Operand, Path, Query


def is_grouped(query: Query) -> bool:
    """Whether a query's results are groups: it has GROUP BY, or functions other than FIELDS()."""
    calls = [item.operand for item in query.items if isinstance(item.operand, Call)]
    return bool(query.group) or any(call.name != "FIELDS" for call in calls)


def group_sql(compiler: Compiler, query: Query, where: str) -> tuple[str, list[tuple[str, SField]]]:
    """The SQL of a query with aggregates, and the keys of its results with the fields that their values are like.

    `where` is compiled already; the parameters of HAVING follow its own. Raises MALFORMED_QUERY.
    """
    if query.children:
        raise compiler.error(query.children[0].source_at, "only root queries support aggregate expressions")
    if query.limit is not None and not query.group:
        message = "Non-grouped query that uses overall aggregate functions cannot also use LIMIT"
        raise compiler.error(query.source_at, message)
    grouped = {compiler.operand(one)[0]: compiler.operand(one)[1] for one in query.group}
    columns, selected = [], []
    for index, (key, operand) in enumerate(_keys(compiler, query)):
        sql, found = _checked(compiler, operand, grouped)
        columns.append((key, found))
        selected.append(f"{sql} AS c{index}")
    having = ""
    if query.having is not None:
        for operand in _operands(query.having):
            _checked(compiler, operand, grouped)
        having = f"HAVING {compiler.condition(query.having)}"
    for item in query.order:
        _checked(compiler, item.operand, grouped)
    order = [compiler.sort(item) for item in query.order]
    keys = [f"{sql}{' COLLATE NOCASE' if found.type in TEXTS else ''}" for sql, found in grouped.items()]
    clauses = [
        f"SELECT {', '.join(selected)}",
        f'FROM "{compiler.base.name}" t0 {" ".join(compiler.join_sql)} {where}',
        f"GROUP BY {', '.join(keys)}" if keys else "",
        having,
        f"ORDER BY {', '.join(order + keys)}" if order or keys else "",
        f"LIMIT {-1 if query.limit is None else query.limit} OFFSET {query.offset}",
    ]
    return " ".join(clauses), columns


def _keys(compiler: Compiler, query: Query) -> Iterator[tuple[str, Operand]]:
    """Each selected operand with its key: the alias, the field's name, or expr0, expr1 and so on."""
    seen: set[str] = set()
    unnamed = 0
    for item in query.items:
        if item.alias is not None:
            key = item.alias
        elif isinstance(item.operand, Path):
            key = compiler.field(item.operand)[1].name
        else:
            key = f"expr{unnamed}"
            unnamed += 1
        if key.lower() in seen:
            raise compiler.error(item.alias_at or item.operand.at, f"duplicate alias: {key}")
        seen.add(key.lower())
        yield key, item.operand


def _checked(compiler: Compiler, operand: Operand, grouped: dict[str, SField]) -> tuple[str, SField]:
    """The SQL of an operand that is an aggregate, or by which the query groups."""
    sql, found = compiler.operand(operand)
    if sql in grouped or (isinstance(operand, Call) and is_aggregate(operand.name)):
        return sql, found
    name = found.name if isinstance(operand, Path) else operand.name
    raise compiler.error(operand.at, f"Field must be grouped or aggregated: {name}")


def _operands(condition: Condition) -> Iterator[Operand]:
    if isinstance(condition, Logic):
        for part in condition.parts:
            yield from _operands(part)
    else:
        yield condition.operand
