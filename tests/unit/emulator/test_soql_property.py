"""Random queries against an oracle in plain Python, which filters, sorts and groups lists of dicts."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from closedwon.emulators.salesforce.data.schema import STAGES
from closedwon.emulators.salesforce.org import EmulatedOrg

Row = dict[str, Any]
TODAY = datetime.now(UTC).date()
TEXTS = ("Call", "call BACK", "100% sure", "a_b", "O'Brien\\", "zeta")
COUNTRIES = ("AT", "de", None)
PATTERNS = ("call%", "%A%", "_all", "100\\%%", "%a\\_b", "%\\\\")
NAMES = {"NextStep": "text", "Account.BillingCountryCode": "text", "Amount": "number", "CloseDate": "date"}


class Clause(NamedTuple):
    """A condition as SOQL and as Python."""

    soql: str
    holds: Callable[[Row], bool]


class Books(NamedTuple):
    """An org and what the oracle knows of it, in the order of ids."""

    org: EmulatedOrg
    rows: list[Row]


@pytest.fixture(scope="module")
def books() -> Iterator[Books]:
    """40 Opportunities with random values, some without an account, a next step or an amount."""
    org, random = EmulatedOrg(), Random(7)  # noqa: S311 - test data
    noon = datetime.combine(TODAY, time(12), UTC)
    org.clock.advance(noon - datetime.now(UTC))  # so that no midnight passes during the tests
    accounts = [org.create("Account", Name=f"Account {one}", BillingCountryCode=one) for one in COUNTRIES]
    rows = []
    for number in range(40):
        account = random.choice([None, 0, 1, 2])
        fields: Row = {
            "Name": f"Deal {number}",
            "StageName": random.choice(STAGES),
            "Amount": random.choice([None, random.randrange(-8, 80) / 4]),
            "CloseDate": (TODAY + timedelta(days=random.choice([-400, -40, -8, -1, 0, 1, 6, 45, 380]))).isoformat(),
            "NextStep": random.choice([None, *TEXTS]),
            "AccountId": None if account is None else accounts[account],
        }
        country = None if account is None else COUNTRIES[account]
        record = org.create("Opportunity", **fields)
        rows.append({"Id": record, "Account.BillingCountryCode": country, "IsWon": fields["StageName"] in STAGES[4:6]})
        rows[-1].update(fields)
    yield Books(org, rows)
    org.store.close()


def quoted(text: str) -> str:
    """A text as a literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def folded(value: Any) -> Any:
    """A value as comparisons see it."""
    return value.lower() if isinstance(value, str) else value


def compared(name: str, operator: str, literal: str, wanted: Any) -> Clause:
    """A comparison with one value; null is neither less nor greater than anything."""

    def holds(row: Row) -> bool:
        value, other = folded(row[name]), folded(wanted)
        if operator in {"=", "!="}:
            return bool((value == other) == (operator == "="))
        if value is None or other is None:
            return False
        return bool({"<": value < other, "<=": value <= other, ">": value > other, ">=": value >= other}[operator])

    return Clause(f"{name} {operator} {literal}", holds)


def like(name: str, pattern: str) -> Clause:
    """LIKE, by a regular expression."""
    parts = re.findall(r"\\.|.", pattern)
    wild = {"%": ".*", "_": "."}
    regex = "".join(wild.get(part, re.escape(part[-1])) for part in parts)
    soql = pattern.replace("'", "\\'")
    return Clause(
        f"{name} LIKE '{soql}'",
        lambda row: bool(re.fullmatch(regex, row[name] or "", re.IGNORECASE)) and bool(row[name]),
    )


def periods(today: date) -> dict[str, Callable[[date], bool]]:
    """Date literals as predicates of a day."""
    before = today.replace(day=1) - timedelta(days=1)
    sunday = today - timedelta(days=(today.weekday() + 1) % 7)
    return {
        "TODAY": lambda day: day == today,
        "yesterday": lambda day: day == today - timedelta(days=1),
        "THIS_MONTH": lambda day: (day.year, day.month) == (today.year, today.month),
        "LAST_MONTH": lambda day: (day.year, day.month) == (before.year, before.month),
        "THIS_QUARTER": lambda day: (day.year, (day.month - 1) // 3) == (today.year, (today.month - 1) // 3),
        "NEXT_YEAR": lambda day: day.year == today.year + 1,
        "THIS_WEEK": lambda day: 0 <= (day - sunday).days < 7,
        "LAST_N_DAYS:8": lambda day: 0 <= (today - day).days <= 8,
        "NEXT_N_DAYS:6": lambda day: 0 < (day - today).days <= 6,
        "N_DAYS_AGO:40": lambda day: (today - day).days == 40,
        "LAST_N_YEARS:1": lambda day: day.year == today.year - 1,
    }


def within(literal: str, *, negated: bool) -> Clause:
    """`CloseDate = LAST_MONTH`, or `!=`."""
    contains = periods(TODAY)[literal]
    return Clause(
        f"CloseDate {'!=' if negated else '='} {literal}",
        lambda row: contains(date.fromisoformat(row["CloseDate"])) != negated,
    )


def listed(name: str, values: list[str | None], *, negated: bool) -> Clause:
    """IN and NOT IN."""
    literals = ", ".join("null" if one is None else quoted(one) for one in values)
    return Clause(
        f"{name} {'NOT IN' if negated else 'in'} ({literals})",
        lambda row: (folded(row[name]) in [folded(one) for one in values]) != negated,
    )


texts, operators = st.sampled_from(TEXTS), st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
text_names = st.sampled_from(["NextStep", "Account.BillingCountryCode", "StageName"])
numbers = st.integers(-8, 80).map(lambda one: one / 4)
days = st.integers(-401, 381).map(lambda days: (TODAY + timedelta(days=days)).isoformat())
leaves: st.SearchStrategy[Clause] = st.one_of(
    st.builds(lambda name, op, text: compared(name, op, quoted(text), text), text_names, operators, texts),
    st.builds(lambda op, number: compared("Amount", op, str(number), number), operators, numbers),
    st.builds(lambda op, day: compared("CloseDate", op, day, day), operators, days),
    st.builds(
        lambda name, op: compared(name, op, "NULL", None), st.sampled_from(sorted(NAMES)), st.sampled_from(["=", "!="])
    ),
    st.builds(lambda value: compared("IsWon", "=", str(value).lower(), value), st.booleans()),
    st.builds(like, text_names, st.sampled_from(PATTERNS)),
    st.builds(lambda literal, no: within(literal, negated=no), st.sampled_from(sorted(periods(TODAY))), st.booleans()),
    st.builds(
        lambda name, values, no: listed(name, values, negated=no),
        text_names,
        st.lists(st.sampled_from([*TEXTS, *COUNTRIES]), min_size=1, max_size=4),
        st.booleans(),
    ),
)


def joined(parts: list[Clause], operator: str) -> Clause:
    """Conditions with AND or OR between them, each in parentheses."""
    every = all if operator == "AND" else any
    return Clause(
        f" {operator} ".join(f"({part.soql})" for part in parts), lambda row: every(part.holds(row) for part in parts)
    )


clauses: st.SearchStrategy[Clause] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(joined, st.lists(inner, min_size=2, max_size=3), st.sampled_from(["AND", "OR"])),
        inner.map(lambda one: Clause(f"NOT ({one.soql})", lambda row: not one.holds(row))),
    ),
    max_leaves=6,
)
orders = st.lists(
    st.tuples(
        st.sampled_from(sorted(NAMES)), st.sampled_from(["", "ASC", "desc"]), st.sampled_from(["", "FIRST", "LAST"])
    ),
    max_size=3,
    unique_by=lambda one: one[0],
)
few = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def in_order(rows: list[Row], order: list[tuple[str, str, str]]) -> list[Row]:
    """Rows sorted by several keys, nulls first unless LAST."""
    for name, direction, nulls in reversed(order):
        present = [row for row in rows if row[name] is not None]
        absent = [row for row in rows if row[name] is None]
        present.sort(key=lambda row, name=name: folded(row[name]), reverse=direction == "desc")  # type: ignore[misc]
        rows = present + absent if nulls == "LAST" else absent + present
    return rows


@given(clause=clauses, order=orders, limit=st.none() | st.integers(0, 30), offset=st.integers(0, 12))
@few
def test_a_query_finds_what_a_list_comprehension_finds(
    books: Books, clause: Clause, order: list[tuple[str, str, str]], limit: int | None, offset: int
) -> None:
    """WHERE, ORDER BY, LIMIT and OFFSET give the records, in the order, that plain Python gives."""
    sorts = ", ".join(f"{name} {way} {nulls and 'NULLS ' + nulls}".strip() for name, way, nulls in order)
    soql = f"SELECT Id FROM Opportunity WHERE {clause.soql}{' ORDER BY ' + sorts if sorts else ''}"  # noqa: S608 - SOQL
    soql += f"{'' if limit is None else f' LIMIT {limit}'} OFFSET {offset}"
    matching = in_order([row for row in books.rows if clause.holds(row)], order)
    expected = matching[offset : None if limit is None else offset + limit]
    assert [row["Id"] for row in expected] == [one["Id"] for one in books.org.query(soql)], soql


@given(clause=clauses, more_than=st.integers(0, 4))
@few
def test_groups_have_what_plain_python_counts(books: Books, clause: Clause, more_than: int) -> None:
    """GROUP BY with aggregates and HAVING gives the groups and figures that plain Python gives."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in filter(clause.holds, books.rows):
        groups[row["StageName"]].append(row)
    expected = {}
    for stage, rows in groups.items():
        if len(rows) > more_than:
            amounts = [row["Amount"] for row in rows if row["Amount"] is not None]
            accounts = {row["AccountId"] for row in rows} - {None}
            figures = [len(amounts), sum(amounts) if amounts else None, min(amounts, default=None), len(accounts)]
            expected[stage] = [len(rows), *figures, max(row["CloseDate"] for row in rows)]
    soql = (
        "SELECT StageName, COUNT(Id) n, COUNT(Amount), SUM(Amount), MIN(Amount), COUNT_DISTINCT(AccountId), "  # noqa: S608 - SOQL
        f"MAX(CloseDate) latest FROM Opportunity WHERE {clause.soql} GROUP BY StageName HAVING COUNT(Id) > {more_than}"
    )
    found = {
        one["StageName"]: [one["n"], *(one[f"expr{index}"] for index in range(4)), one["latest"]]
        for one in books.org.query(soql)
    }
    assert expected == found, soql
