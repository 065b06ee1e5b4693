"""Sweeps of a route and the scheduled audit: how often, and for which records, Salesforce is queried."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from closedwon.settings.values import Duration, Pause, Section


class Sweep(Section):
    """Sweeps of a route. If the table is present, even empty, the route is swept."""

    where: str | None = None
    """SOQL condition for the records that should have an order; by default `qualify`, if that is a plain field.
    It only selects candidates: `qualify` still decides. Add the date from which Closedwon makes orders, as in
    `IsWon = TRUE AND CloseDate >= 2026-11-01`; otherwise an older deal becomes an order when it is edited."""
    interval: Duration = timedelta(minutes=15)
    """From one sweep to the next."""
    lag: Pause = timedelta(minutes=5)
    """Records that were changed more recently are left to the next sweep, since their message may be on its way."""
    overlap: Pause = timedelta(minutes=10)
    """How much earlier time a sweep reads again, since Salesforce stamps a record before its transaction ends."""
    lookback: Duration = timedelta(days=3)
    """How far the very first sweep looks back."""
    api_share: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Sweeps wait while the org has used more than this share of its API calls of 24 hours; the rest is for orders."""
    select: str | None = None
    """With source `event`, and needed there: the SELECT list of a query whose records look like the event's content."""


class Audit(Section):
    """The scheduled audit: each org's records, orders and workflows are compared, and nothing is changed."""

    enabled: bool = True
    interval: Duration = timedelta(days=1)
    """From one audit to the next."""
    overlap: Pause = timedelta(days=3)
    """How much of the time before it an audit compares again. An ERP that was restored has lost orders as old as its
    backup."""
    lookback: Duration = timedelta(days=3)
    """How far the very first audit looks back."""
    lag: Pause = timedelta(minutes=5)
    """What was changed more recently counts as under way, and is looked at again by the next audit."""
    api_share: Annotated[float, Field(gt=0, le=1)] = 0.8
    """An audit waits while the org has used more than this share of its API calls of 24 hours; the rest is for
    orders."""
