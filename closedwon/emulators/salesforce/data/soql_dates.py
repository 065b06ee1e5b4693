"""The date literals of SOQL, such as `TODAY` and `LAST_N_DAYS:30`, as spans of days.

Source: SOQL and SOSL Reference, "Date Formats and Date Literals". Weeks begin on Sunday, days in UTC, and fiscal years
are calendar years.
"""

from __future__ import annotations

import re
from datetime import date, timedelta

_NAMED = re.compile(r"(LAST|THIS|NEXT)_(?:FISCAL_)?(WEEK|MONTH|QUARTER|YEAR)")
_COUNTED = re.compile(r"(LAST|NEXT)_N_(?:FISCAL_)?(DAY|WEEK|MONTH|QUARTER|YEAR)S")
_AGO = re.compile(r"N_(?:FISCAL_)?(DAY|WEEK|MONTH|QUARTER|YEAR)S_AGO")
_FIXED = {
    "YESTERDAY": (-1, 1),
    "TODAY": (0, 1),
    "TOMORROW": (1, 1),
    "LAST_90_DAYS": (-90, 91),
    "NEXT_90_DAYS": (1, 90),
}
"""Their first day after today, and how many days they have."""
_STEPS = {"LAST": -1, "THIS": 0, "NEXT": 1}
_MONTHS = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}


def span(name: str, count: int, today: date) -> tuple[date, date] | None:
    """The first day of a literal and the first day after it; None for an unknown name.

    Raises:
        OverflowError, ValueError: the span is outside the calendar.
    """
    found = _first_and_count(name, count)
    if found is None:
        return None
    unit, first, length = found
    return _begin(unit, first, today), _begin(unit, first + length, today)


def _first_and_count(name: str, count: int) -> tuple[str, int, int] | None:
    """The unit of a literal, its first unit after the one of today, and how many units it has."""
    fixed = _FIXED.get(name)
    if fixed is not None:
        return "DAY", *fixed
    if match := _NAMED.fullmatch(name):
        return match[2], _STEPS[match[1]], 1
    if count < 1:
        return None
    if name == "LAST_N_DAYS":  # unlike the longer units, with today
        return "DAY", -count, count + 1
    if match := _COUNTED.fullmatch(name):
        return match[2], 1 if match[1] == "NEXT" else -count, count
    match = _AGO.fullmatch(name)
    return (match[1], -count, 1) if match else None


def _begin(unit: str, offset: int, today: date) -> date:
    if unit == "DAY":
        return today + timedelta(days=offset)
    if unit == "WEEK":
        return today - timedelta(days=today.isoweekday() % 7) + timedelta(weeks=offset)
    size = _MONTHS[unit]
    months = (today.year * 12 + today.month - 1) // size * size + offset * size
    return date(months // 12, months % 12 + 1, 1)
