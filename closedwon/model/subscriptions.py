"""The subscription to one channel of the event bus: its position, what a reader is asked and what it returns."""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import AwareDatetime

from closedwon.ids import OrgId
from closedwon.model.alerts import AlertState
from closedwon.model.base import Frozen
from closedwon.model.sweeps import Gap


class Cursor(Frozen):
    """The position up to which every event is durably a workflow. No `replay_id`: from the earliest retained event."""

    replay_id: str | None = None
    event_time: AwareDatetime | None = None
    """When the event at `replay_id` was published. A gap begins here if the bus forgets the position."""
    count: int = 0
    """Events counted since the subscription began, for people."""
    caught_up_at: AwareDatetime | None = None
    """When the reader last knew that every event was counted. While there is no `replay_id`, a gap begins here. For a
    new subscription: when it began."""
    proved_at: AwareDatetime | None = None
    """When the bus last proved that the reader is connected: it took the subscription, sent events, or said that there
    are none. This and the next two are by Temporal's clock, as the reader counts it."""
    connecting_since: AwareDatetime | None = None
    """When the first of the attempts began that have not connected yet; None while the reader is connected."""
    sent_at: AwareDatetime | None = None
    """When the reader sent this as a heartbeat."""

    @property
    def complete_until(self) -> datetime | None:
        """The time up to which no event is missing."""
        return max((at for at in (self.event_time, self.caught_up_at) if at), default=None)


class Subscribe(Frozen):
    """Which channel to read, and from where."""

    org: OrgId
    channel: str
    cursor: Cursor = Cursor()


class Subscribed(Frozen):
    """What a reader hands over to the workflow: its position, and a gap if events are lost or held back."""

    cursor: Cursor
    gap: Gap | None = None
    rest: timedelta | None = None
    """How long to wait before the next reader: the bus delivers nothing."""
    has_connected: bool = True
    """False if the reader was stopped before it had an answer: what was wrong before may still be."""


class Subscription(AlertState):
    """The input of the workflow, and what it carries from run to run."""

    org: OrgId
    channel: str
    heartbeat_timeout: timedelta = timedelta(seconds=27)
    cursor: Cursor = Cursor()
    gaps: tuple[Gap, ...] = ()
    """The open ones."""
