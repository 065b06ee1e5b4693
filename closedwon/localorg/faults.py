"""Faults on demand: what the org does wrong, and how often still. One method arms one fault.

`/_admin` and tests arm them; the places that misbehave ask `strikes` or a switch; nothing here knows HTTP.
Counted faults strike the next `times` calls they fit and are then spent. Switches stay until they are turned off.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from closedwon.localorg.errors import ApiError


class Fault(StrEnum):
    """The counted faults."""

    REST_ERROR = "rest_error"
    RECORD_ERROR = "record_error"
    LOST_ANSWER = "lost_answer"
    LOST_EVENTS = "lost_events"
    DOUBLED_EVENT = "doubled_event"
    DROPPED_EVENT = "dropped_event"
    COMETD_UNAUTHORIZED = "cometd_unauthorized"
    COMETD_ERROR = "cometd_error"
    BROKEN_JSON = "broken_json"
    LOST_ACK = "lost_ack"
    DOUBLED_MESSAGE = "doubled_message"
    OVERTAKEN_MESSAGE = "overtaken_message"
    STALLED_MESSAGE = "stalled_message"


class Faults:
    """All faults of an org."""

    def __init__(self, on_down: Callable[[], object]) -> None:
        """Begin well-behaved. `on_down` cuts what is open when Salesforce goes down."""
        self._on_down = on_down
        self._left: Counter[Fault] = Counter()
        self._rest_error = self._record_error = ApiError("UNKNOWN_EXCEPTION", "")
        self._cometd_reply: dict[str, Any] = {}
        self._audible = asyncio.Event()
        self._audible.set()
        self.is_down = False
        self.is_splitting = False
        self.read_lag_s = 0.0
        self.advice_interval_ms = 0

    # What can be armed

    def lock_rows(self, times: int = 1) -> None:
        """The next `times` record writes answer UNABLE_TO_LOCK_ROW."""
        message = "unable to obtain exclusive access to this record or 1 records"
        self.record_error("UNABLE_TO_LOCK_ROW", message, times=times)

    def record_error(self, code: str, message: str = "refused by a fault", *, times: int = 1) -> None:
        """The next `times` record writes (each record of a collection counts) answer `code`."""
        self._record_error = ApiError(code, message, fields=())
        self._left[Fault.RECORD_ERROR] = times

    def request_limit(self, times: int = 1) -> None:
        """The next `times` REST calls answer 403 REQUEST_LIMIT_EXCEEDED."""
        self.rest_error("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", times=times)

    def rest_error(
        self, code: str, message: str = "refused by a fault", *, times: int = 1, status: int | None = None
    ) -> None:
        """The next `times` REST calls answer `code` with `status` (by default the one that belongs to the code)."""
        self._rest_error = ApiError(code, message, status=status)
        self._left[Fault.REST_ERROR] = times

    def lose_answers(self, times: int = 1) -> None:
        """The next `times` writing REST calls (also composite and event publish) commit, then the connection drops."""
        self._left[Fault.LOST_ANSWER] = times

    def lose_events(self, times: int = 1) -> None:
        """The next `times` CometD answers that carry events are lost on the way: the connection drops instead."""
        self._left[Fault.LOST_EVENTS] = times

    def drop_events(self, times: int = 1) -> None:
        """The next `times` events are lost for good: they never come on the bus, and nobody is told."""
        self._left[Fault.DROPPED_EVENT] = times

    def double_events(self, times: int = 1) -> None:
        """The next `times` events are published twice: same EventUuid, another replay id."""
        self._left[Fault.DOUBLED_EVENT] = times

    def lose_acks(self, times: int = 1) -> None:
        """The next `times` acknowledgements of outbound messages are lost on the way: they are sent again."""
        self._left[Fault.LOST_ACK] = times

    def double_messages(self, times: int = 1) -> None:
        """The next `times` outbound messages that are acknowledged are sent a second time all the same."""
        self._left[Fault.DOUBLED_MESSAGE] = times

    def reorder_messages(self, times: int = 1) -> None:
        """The next `times` outbound messages are written now and arrive after the one that is written next.

        So an older state of a record comes after a newer one. Without a next one they arrive some seconds late.
        """
        self._left[Fault.OVERTAKEN_MESSAGE] = times

    def stall_messages(self, times: int = 1) -> None:
        """The next `times` outbound messages stop half-way, and the connection stays open until a timeout ends it."""
        self._left[Fault.STALLED_MESSAGE] = times

    def split_messages(self, *, on: bool = True) -> None:
        """Each notification travels in a message of its own, the latest first, until `on` is false."""
        self.is_splitting = on

    def read_lag(self, seconds: float = 0.0) -> None:
        """Reads show records as they were `seconds` ago; 0 ends it."""
        self.read_lag_s = seconds

    def down(self, *, on: bool = True) -> None:
        """Everything but `/_admin` answers 503, and held polls are cut, until `on` is false."""
        self.is_down = on
        if on:
            self._on_down()

    def mute(self, *, on: bool = True) -> None:
        """CometD takes requests and never answers (a half-open network), until `on` is false."""
        if on:
            self._audible.clear()
        else:
            self._audible.set()

    def cometd_unauthorized(self, times: int = 1) -> None:
        """The next `times` CometD requests answer HTTP 401 with a REST-style error list."""
        self._left[Fault.COMETD_UNAUTHORIZED] = times

    def broken_json(self, times: int = 1) -> None:
        """The next `times` CometD answers end in the middle of the JSON text."""
        self._left[Fault.BROKEN_JSON] = times

    def advice_interval(self, milliseconds: int = 0) -> None:
        """Connect answers advise to wait so long before the next connect; 0 ends it."""
        self.advice_interval_ms = milliseconds

    def cometd_error(
        self, channel: str, error: str, *, failure_reason: str | None = None, reconnect: str = "retry", times: int = 1
    ) -> None:
        """The next `times` messages on a meta `channel` fail with `error`, and `ext.sfdc.failureReason` if given.

        For instance `503::Server is too busy.  Please try your request again later.` as the failure reason.
        """
        advice = {"reconnect": reconnect, "interval": 0}
        self._cometd_reply = {"channel": channel, "error": error, "advice": advice, "successful": False}
        if failure_reason is not None:
            self._cometd_reply["ext"] = {"sfdc": {"failureReason": failure_reason}}
        self._left[Fault.COMETD_ERROR] = times

    def clear(self) -> None:
        """End every fault."""
        self._left.clear()
        self._audible.set()
        self.is_down = self.is_splitting = False
        self.read_lag_s = 0.0
        self.advice_interval_ms = 0

    # What the places that misbehave ask

    def strikes(self, fault: Fault) -> bool:
        """Whether a counted fault strikes now; uses it up by one."""
        if self._left[fault] <= 0:
            return False
        self._left[fault] -= 1
        return True

    def refuse_call(self) -> None:
        """Raise the error armed for REST calls, if it strikes now."""
        if self.strikes(Fault.REST_ERROR):
            raise self._rest_error

    def refuse_record(self) -> None:
        """Raise the error armed for record writes, if it strikes now."""
        if self.strikes(Fault.RECORD_ERROR):
            raise self._record_error

    def failed_reply(self, channel: str) -> dict[str, Any] | None:
        """The failed reply for a meta channel, if one is armed for it and strikes now."""
        if self._cometd_reply.get("channel") != channel or not self.strikes(Fault.COMETD_ERROR):
            return None
        return dict(self._cometd_reply)

    @property
    def is_mute(self) -> bool:
        """Whether CometD keeps silent."""
        return not self._audible.is_set()

    async def until_audible(self) -> None:
        """Wait for the end of the silence."""
        await self._audible.wait()

    def armed(self) -> dict[str, Any]:
        """What is armed, for `/_admin/state`."""
        return {
            **{fault.value: self._left[fault] for fault in Fault},
            "down": self.is_down,
            "mute": self.is_mute,
            "splitting": self.is_splitting,
            "read_lag_s": self.read_lag_s,
            "advice_interval_ms": self.advice_interval_ms,
        }
