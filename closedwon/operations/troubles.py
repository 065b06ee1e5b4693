"""What `closedwon doctor` reports: a problem, its severity, and how times are written."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple


class Harm(StrEnum):
    """Severity, the worst first."""

    STOPPED = "stopped"
    """No orders are processed."""
    LOSS = "loss"
    """Notifications of Salesforce may be lost."""
    WAITING = "waiting"
    """Orders wait, but nothing is lost."""
    UNKNOWN = "unknown"
    """A question got no answer, so something may be wrong."""
    RISK = "risk"
    """No effect yet."""


class Trouble(NamedTuple):
    """One problem."""

    harm: Harm
    subject: str
    text: str
    hint: str


def clock(at: datetime) -> str:
    """A time of these days."""
    return f"{at:%m-%d %H:%M} UTC"


def hours(age: timedelta) -> str:
    """An age, in hours or minutes."""
    hours = age / timedelta(hours=1)
    return f"{hours:.0f} h" if hours >= 1 else f"{age / timedelta(minutes=1):.0f} min"
