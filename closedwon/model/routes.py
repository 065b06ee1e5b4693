"""What a workflow must know of its route: channels, retries, policies."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel

from closedwon.model.base import Frozen


class Channel(StrEnum):
    """How a notification about a record arrives."""

    PLATFORM_EVENT = "platform-event"
    OUTBOUND_MESSAGE = "outbound-message"
    CALLOUT = "callout"
    SWEEP = "sweep"
    OPERATOR = "operator"


class RetrySettings(Frozen):
    """How long and how often to retry: doubling from `initial_interval` to `maximum_interval`, for `retry_for`."""

    initial_interval: timedelta = timedelta(seconds=1)
    maximum_interval: timedelta = timedelta(minutes=15)
    retry_for: timedelta = timedelta(days=30)


class Following(Frozen):
    """How often an order is looked up in the ERP: first after `initial_interval`, then at growing intervals."""

    initial_interval: timedelta
    maximum_interval: timedelta
    follow_for: timedelta


class RouteStart(Frozen):
    """What an order workflow must know of its route before it reads the record: it cannot read settings."""

    route: str
    retry_settings: RetrySettings = RetrySettings()
    late_message_window: timedelta = timedelta(0)
    """How long the workflow stays open after its end is known, so that late notifications are recognized as late. Only
    for routes whose orders are made of notifications: elsewhere the record itself shows its newest state."""
    follow: Following | None = None
    """How to follow an order that was taken by its number; for all others each reading of the record says it."""


UnqualifiedPolicy = Literal["cancel", "attention", "ignore"]
ChangePolicy = Literal["amend", "attention", "ignore"]


class Considered(NamedTuple):
    """Which of the two comparisons a policy changes; part of the declaration of every policy.

    `activities.sweeps.LEFT_OUT_IF_IGNORED` and `closedwon.audit.views.TOLERATED_IF_IGNORED` must have an entry for each
    policy that names them here, and for no other: `tests/unit/test_policies.py` compares them.
    """

    by_sweep: bool
    by_audit: bool


class PolicyOptions(BaseModel):
    """The policies that are options of a route, each declared here only: key, allowed values, default and meaning.

    `closedwon.settings.routes.Route` and `Policies` inherit them, so that a new option is a key of the settings and
    known to workflows at once. A policy says what to do if a record changes after it was ordered.
    """

    on_unqualified: Annotated[UnqualifiedPolicy, Considered(by_sweep=True, by_audit=True)] = "attention"
    """The record no longer qualifies."""
    on_deleted: Annotated[UnqualifiedPolicy, Considered(by_sweep=True, by_audit=True)] = "cancel"
    """The record is known to be deleted, not only hidden from our user."""
    on_changed: Annotated[ChangePolicy, Considered(by_sweep=False, by_audit=True)] = "attention"
    """Total, currency, lines, the customer's order number or a date differ between the record and the ERP's order.
    Sweeps do not compare content, so they need not consider it."""


class Policies(Frozen, PolicyOptions):
    """What a route does if a record changes after it was ordered. Without an order nothing has to be done."""

    follow: Annotated[Following | None, Considered(by_sweep=False, by_audit=False)] = None
    """Set: after its creation the order is followed until it is done or cancelled in the ERP. It does not change which
    orders should exist."""
