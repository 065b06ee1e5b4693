"""Notifications from Salesforce about a record, and messages that could not be parsed."""

from __future__ import annotations

from typing import Any

from pydantic import AwareDatetime

from closedwon.ids import OrgId
from closedwon.model.base import Frozen
from closedwon.model.routes import Channel, RouteStart


class Message(Frozen):
    """One notification about one record on one channel; `id` is its own (EventUuid, notification id)."""

    id: str
    channel: Channel
    received_at: AwareDatetime
    payload: dict[str, Any] | None = None
    """The message's fields, kept only where the route takes the order from the message itself."""
    modified_at: AwareDatetime | None = None
    """When the payload was true: the record's SystemModstamp, or the event's time. An older payload never replaces a
    newer one."""
    stamped_at: AwareDatetime | None = None
    """The record's SystemModstamp, as the content says it; a read that shows an older one came too early."""
    session: str | None = None
    """A Salesforce session id, sealed (`closedwon.encryption.codec`): no tool that decodes payloads shows it."""
    deleted: bool = False
    """A tombstone: the record was deleted in Salesforce."""
    route: RouteStart | None = None
    """The route that it arrived by; several may read one object. None: the route of the workflow that gets it."""


class UnparseableMessage(Frozen):
    """A message that names no readable record: kept completely until a person has decided."""

    id: str
    org: OrgId
    channel: Channel
    source: str
    """Where it came from: the event bus channel or the route's path."""
    received_at: AwareDatetime
    problem: str
    raw: str
    """What arrived, as text. If it was read, but its order workflow is full: a `HeldNotification` as JSON."""
    hint: str | None = None
    """What to do about it; None: the general hint."""
    is_held: bool = False
    """It was read, but its order workflow is full."""
    retry: bool = False
    """From the run before: parse it again."""
