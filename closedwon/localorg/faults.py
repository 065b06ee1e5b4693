"""Faults on demand: what the org does wrong, and how often still. One method arms one fault.

Counted faults strike the next `times` calls they fit and are then spent. Switches stay until they are turned off.
`/_admin` and tests arm them, the places that misbehave ask here; nothing here knows HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from closedwon.localorg.errors import ApiError


@dataclass
class Counted:
    """A fault that strikes `left` more times."""

    left: int = 0

    def strikes(self) -> bool:
        """Whether it strikes now; uses it up by one."""
        if self.left <= 0:
            return False
        self.left -= 1
        return True


def _set_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass
class Faults:
    """All faults of an org. `on_down` is called when Salesforce goes down, to cut what is open."""

    _lost_answers: Counted = field(default_factory=Counted)
    _lost_events: Counted = field(default_factory=Counted)
    _cometd_401: Counted = field(default_factory=Counted)
    _broken_json: Counted = field(default_factory=Counted)
    _doubled: Counted = field(default_factory=Counted)
    _rest: tuple[Counted, ApiError] | None = None
    _record: tuple[Counted, ApiError] | None = None
    _cometd: tuple[Counted, dict[str, Any]] | None = None
    is_down: bool = False
    unmuted: asyncio.Event = field(default_factory=_set_event, repr=False)
    read_lag_s: float = 0.0
    advice_interval_ms: int = 0
    on_down: Callable[[], object] | None = field(default=None, repr=False)

    def lock_rows(self, times: int = 1) -> None:
        """The next `times` record writes answer UNABLE_TO_LOCK_ROW."""
        self.record_error(
            "UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record or 1 records", times=times
        )

    def record_error(self, code: str, message: str = "refused by a fault", *, times: int = 1) -> None:
        """The next `times` record writes (each record of a collection counts) answer `code`."""
        self._record = (Counted(times), ApiError(code, message, fields=()))

    def request_limit(self, times: int = 1) -> None:
        """The next `times` REST calls answer 403 REQUEST_LIMIT_EXCEEDED."""
        self.rest_error("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", times=times)

    def rest_error(
        self, code: str, message: str = "refused by a fault", *, times: int = 1, status: int | None = None
    ) -> None:
        """The next `times` REST calls answer `code` with `status` (by default the one that belongs to the code)."""
        self._rest = (Counted(times), ApiError(code, message, status=status))

    def lose_answers(self, times: int = 1) -> None:
        """The next `times` writing REST calls (also composite and event publish) commit, then the connection drops."""
        self._lost_answers.left = times

    def lose_events(self, times: int = 1) -> None:
        """The next `times` CometD answers that carry events are lost on the way: the connection drops instead."""
        self._lost_events.left = times

    def double_events(self, times: int = 1) -> None:
        """The next `times` events are published twice: same EventUuid, another replay id."""
        self._doubled.left = times

    def read_lag(self, seconds: float = 0.0) -> None:
        """Reads show records as they were `seconds` ago; 0 ends it."""
        self.read_lag_s = seconds

    def down(self, *, on: bool = True) -> None:
        """Everything but `/_admin` answers 503, and held polls are cut, until `on` is false."""
        self.is_down = on
        if on and self.on_down is not None:
            self.on_down()

    def mute(self, *, on: bool = True) -> None:
        """CometD takes requests and never answers (a half-open network), until `on` is false."""
        if on:
            self.unmuted.clear()
        else:
            self.unmuted.set()

    @property
    def is_mute(self) -> bool:
        """Whether CometD keeps silent."""
        return not self.unmuted.is_set()

    def cometd_unauthorized(self, times: int = 1) -> None:
        """The next `times` CometD requests answer HTTP 401 with a REST-style error list."""
        self._cometd_401.left = times

    def broken_json(self, times: int = 1) -> None:
        """The next `times` CometD answers end in the middle of the JSON text."""
        self._broken_json.left = times

    def advice_interval(self, milliseconds: int = 0) -> None:
        """Connect answers advise to wait so long before the next connect; 0 ends it."""
        self.advice_interval_ms = milliseconds

    def cometd_error(
        self, channel: str, error: str, *, failure_reason: str | None = None, reconnect: str = "retry", times: int = 1
    ) -> None:
        """The next `times` messages on a meta `channel` fail with `error`, and `ext.sfdc.failureReason` if given.

        For instance `503::Server is too busy.  Please try your request again later.` as the failure reason.
        """
        reply: dict[str, Any] = {"channel": channel, "error": error, "advice": {"reconnect": reconnect, "interval": 0}}
        if failure_reason is not None:
            reply["ext"] = {"sfdc": {"failureReason": failure_reason}}
        self._cometd = (Counted(times), reply)

    def clear(self) -> None:
        """End every fault."""
        self.unmuted.set()
        self.__dict__.update({**Faults(on_down=self.on_down).__dict__, "unmuted": self.unmuted})

    # What the places that misbehave ask:

    def take_record_error(self) -> None:
        """Raise the fault of a record write, if one strikes now."""
        if self._record is not None and self._record[0].strikes():
            raise self._record[1]

    def take_rest_error(self) -> None:
        """Raise the fault of a REST call, if one strikes now."""
        if self._rest is not None and self._rest[0].strikes():
            raise self._rest[1]

    def take_cometd_error(self, channel: str) -> dict[str, Any] | None:
        """The failed reply for a meta channel, if one strikes now."""
        if self._cometd is None or self._cometd[1]["channel"] != channel or not self._cometd[0].strikes():
            return None
        return self._cometd[1]

    def loses_answer(self) -> bool:
        """Whether the answer of a writing call is lost now."""
        return self._lost_answers.strikes()

    def loses_events(self) -> bool:
        """Whether an answer that carries events is lost now."""
        return self._lost_events.strikes()

    def refuses_cometd(self) -> bool:
        """Whether a CometD request answers 401 now."""
        return self._cometd_401.strikes()

    def breaks_json(self) -> bool:
        """Whether a CometD answer is cut short now."""
        return self._broken_json.strikes()

    def doubles_event(self) -> bool:
        """Whether an event is published twice now."""
        return self._doubled.strikes()

    def armed(self) -> dict[str, Any]:
        """What is armed, for `/_admin/state`."""
        return {
            "lost_answers": self._lost_answers.left,
            "lost_events": self._lost_events.left,
            "cometd_unauthorized": self._cometd_401.left,
            "broken_json": self._broken_json.left,
            "doubled_events": self._doubled.left,
            "rest_error": self._rest[0].left if self._rest else 0,
            "record_error": self._record[0].left if self._record else 0,
            "cometd_error": self._cometd[0].left if self._cometd else 0,
            "down": self.is_down,
            "mute": self.is_mute,
            "read_lag_s": self.read_lag_s,
            "advice_interval_ms": self.advice_interval_ms,
        }
