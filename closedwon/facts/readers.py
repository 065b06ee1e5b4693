"""Is the event bus read? One measure for all: the age of the last proof that the bus has given to the reader.

A heartbeat proves that a process lives, and not that events arrive: it also beats while the bus cannot be reached. The
bus proves it: it has taken the subscription, has sent events, or has answered that there are none, which Salesforce
does at least every 110 seconds. The reader notes that time in its cursor (`Cursor.proved_at`), each heartbeat carries
it, and it stays known after the reader has stopped.

Two clocks take part, that of the reader and ours. A heartbeat has a time of each, so that a reader whose clock is wrong
does not hide a silence.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

from temporalio.client import Client

from closedwon.errors import ClosedwonError
from closedwon.model.subscriptions import Cursor
from closedwon.settings import Org, Settings
from closedwon.temporal.channels import ChannelState, channel_state

_HEARTBEATS: Final = timedelta(seconds=50)
"""How old a proof may be at most when Temporal learns of it: an idle reader sends a heartbeat every 20 seconds, one
that a slow server has delayed included."""
_CONNECTING: Final = timedelta(seconds=60)
"""How long a reader may try to connect before it counts as cut off: several attempts."""
_TAKEN_WITHIN: Final = timedelta(seconds=3)
"""How long a task may wait for the worker that has just ended another one. A live worker takes it at once."""
_SILENT: Final = 3
"""Number of heartbeat timeouts after which a reader is dead, even if Temporal has not noticed."""


class NotReadError(ClosedwonError):
    """The event bus is not read."""


class ReaderState(StrEnum):
    """The values are labels of a metric."""

    NO_SUBSCRIPTION = "no-subscription"
    """Temporal has no running subscription: it lost it, a person ended it, or no subscriber has ever run."""
    NO_READER = "no-reader"
    """No process reads: it was stopped, or it died."""
    REFUSED = "refused"
    """Salesforce refuses the channel: the subscription rests, or the reader asks again at growing intervals."""
    CUT_OFF = "cut-off"
    """A process tries to read, but the bus gives no proof."""
    CONNECTING = "connecting"
    """A process begins to read, or begins again."""
    READING = "reading"

    @property
    def is_well(self) -> bool:
        """Whether no person needs to look."""
        return self in {ReaderState.CONNECTING, ReaderState.READING}


class Reader(NamedTuple):
    """One channel of an org's event bus, and what reads it."""

    org: Org
    channel: str
    state: ReaderState
    proved_at: datetime | None
    """When the bus last proved that it is read, by our clock; None where that was never or is not known."""
    event_at: datetime | None
    """When the last event that was read was published."""
    problem: str
    """Why it does not read; holds no customer's data."""
    silence: timedelta | None
    """The age of that proof; None where there was none."""

    @property
    def text(self) -> str:
        """What is so, for people, without the hint."""
        why = f": {self.problem}" if self.problem else ""
        last = f"since {self.proved_at:%m-%d %H:%M} UTC" if self.proved_at else "yet"
        match self.state:
            case ReaderState.NO_SUBSCRIPTION:
                return f"no subscription reads {self.channel}{why}"
            case ReaderState.NO_READER:
                return f"no reader: no process has read {self.channel} {last}"
            case ReaderState.REFUSED:
                return f"Salesforce refuses {self.channel}{why}"
            case ReaderState.CUT_OFF:
                return f"the reader of {self.channel} cannot reach the event bus, not {last}{why}"
            case ReaderState.CONNECTING:
                return f"the reader of {self.channel} is connecting{why}"
            case ReaderState.READING:
                return f"{self.channel} is read"


async def readers(client: Client, settings: Settings) -> list[Reader]:
    """Ask for every channel that a route reads. Raises Temporal's `RPCError`, or `CodecError` if a key is missing."""
    read = [(settings.org(route.org), channel) for route in settings.routes for channel in route.events]
    states = await asyncio.gather(*(channel_state(client, org.id, channel) for org, channel in read))
    now = datetime.now(UTC)
    return [reader(org, channel, state, settings, now=now) for (org, channel), state in zip(read, states, strict=True)]


async def check_readers(client: Client, settings: Settings) -> None:
    """Raise `NotReadError` unless each channel is read. Raises Temporal's `RPCError`, too, or `CodecError`."""
    texts = [reader.text for reader in await readers(client, settings) if not reader.state.is_well]
    if texts:
        raise NotReadError("; ".join(texts))


def reader(org: Org, channel: str, state: ChannelState, settings: Settings, *, now: datetime) -> Reader:
    """Say what a subscription's state means. Pure."""
    proved_at = _proved_at(state, now)
    return Reader(
        org=org,
        channel=channel,
        state=_state(state, settings, org, proved_at, now=now),
        proved_at=proved_at,
        event_at=state.cursor.event_time if state.cursor else None,
        problem=state.problem,
        silence=None if proved_at is None else max(now - proved_at, timedelta(0)),
    )


def _state(
    state: ChannelState, settings: Settings, org: Org, proved_at: datetime | None, *, now: datetime
) -> ReaderState:
    if not state.is_started:
        return ReaderState.NO_SUBSCRIPTION
    if state.unclaimed_since is not None:
        return ReaderState.NO_READER if now - state.unclaimed_since > _TAKEN_WITHIN else ReaderState.CONNECTING
    if not state.is_reading:
        return ReaderState.CONNECTING if state.is_deciding else ReaderState.REFUSED
    is_silent = state.heartbeat is not None and now - state.heartbeat > _SILENT * settings.subscriber.heartbeat_timeout
    if is_silent and not state.backs_off:
        return ReaderState.NO_READER
    return _connection(state, settings.subscriber.silence_of(org), proved_at, now=now)


def _connection(state: ChannelState, silence: timedelta, proved_at: datetime | None, *, now: datetime) -> ReaderState:
    """Of a reader that lives, or that is to try again."""
    cursor = state.cursor or Cursor()
    if cursor.connecting_since is not None:
        tried_for = now - _ours(cursor.connecting_since, state)
        failed = ReaderState.REFUSED if state.is_refused else ReaderState.CUT_OFF
        return failed if tried_for > _CONNECTING else ReaderState.CONNECTING
    if proved_at is None:
        return ReaderState.CONNECTING
    is_silent = now - proved_at > silence + _HEARTBEATS
    return ReaderState.CUT_OFF if is_silent else ReaderState.READING


def _proved_at(state: ChannelState, now: datetime) -> datetime | None:
    cursor = state.cursor
    if cursor is None:
        return None
    at = cursor.proved_at or cursor.caught_up_at
    return None if at is None else min(_ours(at, state), now)


def _ours(at: datetime, state: ChannelState) -> datetime:
    """Convert a time of the reader's clock to Temporal's, by the heartbeat that has a time of each."""
    if state.heartbeat is None or state.cursor is None or state.cursor.sent_at is None:
        return at
    return at + (state.heartbeat - state.cursor.sent_at)
