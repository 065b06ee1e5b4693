"""What an alert says, and what a workflow carries about its alerts from one run to the next."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime

from closedwon.errors import AttentionReason
from closedwon.ids import OrgId, RecordId
from closedwon.model.base import Frozen

NeedKind = Literal["order", "message", "subscription", "sweep", "check", "audit"]


class AlertSubject(Frozen):
    """What needs attention."""

    kind: NeedKind
    org: OrgId | None = None
    """None only for the check of an ERP."""
    erp: str | None = None
    """For checks of an ERP, and for an order that an ERP refuses."""
    record: RecordId | None = None
    route: str | None = None
    channel: str | None = None
    """The channel of the event bus, or the path of a route's intake: for messages and subscriptions."""


class Need(AlertSubject):
    """One need of attention: what one alert reports."""

    id: str
    """The same for all attempts to deliver the alert."""
    at: AwareDatetime
    reason: AttentionReason
    hint: str
    text: str | None = None
    """What is wrong, if it can be said without a customer's data. None: the alert contains the reason's sentence."""
    cause: str | None = None
    """Of several needs with the same one, only the first is alerted within an hour. None: it is alerted by itself."""
    workflow_id: str
    run_id: str


class AlertState(Frozen):
    """What the next run of a workflow must know of the alerts of this one; part of the workflow's input."""

    alerted: str | None = None
    """The reason that was last alerted, while it still applies."""
    alert_raising: str | None = None
    """The id of its alert, if it is not known yet whether the alert was raised."""
