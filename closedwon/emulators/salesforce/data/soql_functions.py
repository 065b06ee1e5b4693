"""The functions of SOQL: aggregates and parts of dates, each as SQL with the field that its value is like.

Source: SOQL and SOSL Reference, "Aggregate Functions" and "Date Functions". Dates and times are in UTC.
"""

from __future__ import annotations

from closedwon.emulators.salesforce.data.schema import NUMBERS, TEXTS, FieldType, SField

_NUMBERS_ONLY = frozenset({"SUM", "AVG"})
_AGGREGATES = frozenset({"COUNT", "COUNT_DISTINCT", "MIN", "MAX"}) | _NUMBERS_ONLY
_MONTH, _DAY_OF_YEAR = "cast(strftime('%m', {0}) AS INTEGER)", "cast(strftime('%j', {0}) AS INTEGER)"
_PARTS = {
    "CALENDAR_YEAR": "cast(strftime('%Y', {0}) AS INTEGER)",
    "CALENDAR_QUARTER": f"({_MONTH} + 2) / 3",
    "CALENDAR_MONTH": _MONTH,
    "DAY_IN_MONTH": "cast(strftime('%d', {0}) AS INTEGER)",
    "DAY_IN_WEEK": "cast(strftime('%w', {0}) AS INTEGER) + 1",
    "DAY_IN_YEAR": _DAY_OF_YEAR,
    "WEEK_IN_MONTH": "(cast(strftime('%d', {0}) AS INTEGER) + 6) / 7",
    "WEEK_IN_YEAR": f"({_DAY_OF_YEAR} + 6) / 7",
    "DAY_ONLY": "strftime('%Y-%m-%d', {0})",
    "HOUR_IN_DAY": "cast(strftime('%H', {0}) AS INTEGER)",
}
_PARTS |= {name.replace("CALENDAR", "FISCAL"): sql for name, sql in _PARTS.items() if name.startswith("CALENDAR")}
_OF_DATETIMES_ONLY = frozenset({"DAY_ONLY", "HOUR_IN_DAY"})
_COUNTED = SField("count", FieldType.DOUBLE)


def is_aggregate(name: str) -> bool:
    """Whether a function, by its name in capitals, is an aggregate."""
    return name in _AGGREGATES


def call_sql(name: str, argument: tuple[str, SField] | None) -> tuple[str, SField] | None:
    """The SQL of a function of a column, and the field that its value is like; None for an unknown function.

    `argument` is None for `COUNT()`. A function that the field's type does not have is None, too.
    """
    if argument is None:
        return ("count(*)", _COUNTED) if name == "COUNT" else None
    column, of = argument
    return _aggregate(name, column, of) if is_aggregate(name) else _part(name, column, of)


def _aggregate(name: str, column: str, of: SField) -> tuple[str, SField] | None:
    if of.is_long_text or of.type in {FieldType.BOOLEAN, FieldType.MULTIPICKLIST}:
        return None
    collate = " COLLATE NOCASE" if of.type in TEXTS else ""
    if name == "COUNT":
        return f"count({column})", _COUNTED
    if name == "COUNT_DISTINCT":
        return f"count(DISTINCT {column}{collate})", _COUNTED
    if name in _NUMBERS_ONLY and of.type not in NUMBERS:
        return None
    return f"{name.lower()}({column}{collate})", of


def _part(name: str, column: str, of: SField) -> tuple[str, SField] | None:
    template = _PARTS.get(name)
    allowed = {FieldType.DATETIME} if name in _OF_DATETIMES_ONLY else {FieldType.DATE, FieldType.DATETIME}
    if template is None or of.type not in allowed:
        return None
    moment = f"{column} / 1000, 'unixepoch'" if of.type is FieldType.DATETIME else column
    kind = FieldType.DATE if name == "DAY_ONLY" else FieldType.DOUBLE
    return template.format(moment), SField(of.name, kind)
