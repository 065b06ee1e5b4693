"""Faults on demand: which are armed, and how often they still apply. One method arms one fault.

`/_admin` and tests arm them. The modules that cause a fault call `strikes` or read a switch. Nothing here depends on
HTTP. A counted fault applies to the next `times` matching calls. A switch stays on until it is turned off.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, NamedTuple

from closedwon.emulators.salesforce.errors import ApiError

_TOO_MANY_QUERIES: Final = (
    "DealTrigger: execution of AfterUpdate caused by: System.LimitException: Too many SOQL queries: 101 "
    "Class.DealHandler.afterUpdate: line 27, column 1"
)


_MAINTENANCE: Final = "INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE"


class Fault(StrEnum):
    """The counted faults."""

    REST_ERROR = "rest_error"
    RECORD_ERROR = "record_error"
    LOST_ANSWER = "lost_answer"
    LOST_EVENTS = "lost_events"
    DUPLICATE_EVENT = "duplicate_event"
    DROPPED_EVENT = "dropped_event"
    COMETD_UNAUTHORIZED = "cometd_unauthorized"
    COMETD_ERROR = "cometd_error"
    BROKEN_JSON = "broken_json"
    LOST_LOCATOR = "lost_locator"
    EDGE_PAGE = "edge_page"
    PUBSUB_UNAVAILABLE = "pubsub_unavailable"
    SCHEMA_NOT_FOUND = "schema_not_found"
    LOST_ACK = "lost_ack"
    DUPLICATE_MESSAGE = "duplicate_message"
    OVERTAKEN_MESSAGE = "overtaken_message"
    STALLED_MESSAGE = "stalled_message"


class _Automation(NamedTuple):
    """A trigger or flow that fails for every record of a transaction with more than `above` records."""

    above: int
    error: ApiError


class OrgFaults:
    """All faults of an org."""

    def __init__(self, on_down: Callable[[], object]) -> None:
        """No fault is armed. `on_down` is called when `down` is turned on, to cut held polls."""
        self._on_down = on_down
        self._left: Counter[Fault] = Counter()
        self._rest_error = self._record_error = ApiError("UNKNOWN_EXCEPTION", "")
        self._cometd_reply: dict[str, Any] = {}
        self._audible = asyncio.Event()
        self._audible.set()
        self._automation: _Automation | None = None
        self.is_down = self.is_unauthorized = False
        self.is_splitting = False
        self.read_lag_seconds = self.slow_write_seconds = 0.0
        self.advice_interval_ms = 0
        self.is_forgetful = self.is_read_only = self.lacks_keepalives = False
        self.page_size = 0

    # What can be armed

    def lock_rows(self, times: int = 1) -> None:
        """The next `times` record writes fail with UNABLE_TO_LOCK_ROW."""
        message = "unable to obtain exclusive access to this record or 1 records"
        self.record_error("UNABLE_TO_LOCK_ROW", message, times=times)

    def record_error(self, code: str, message: str = "refused by a fault", *, times: int = 1) -> None:
        """The next `times` record writes (each record of a collection counts) fail with `code`."""
        self._record_error = ApiError(code, message, fields=())
        self._left[Fault.RECORD_ERROR] = times

    def fail_automation(
        self, above: int = 0, *, code: str = "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", message: str = _TOO_MANY_QUERIES
    ) -> None:
        """Every record of a call that updates more than `above` records fails with `code`, until `clear`.

        As a trigger does that queries once for each record (governor limit), or with `above` 0 a flow that is wrong.
        The real `message` of CANNOT_EXECUTE_FLOW_TRIGGER names the flow, in the language of the user.
        """
        self._automation = _Automation(above, ApiError(code, message, fields=()))

    def request_limit(self, times: int = 1) -> None:
        """The next `times` REST calls fail with 403 REQUEST_LIMIT_EXCEEDED."""
        self.rest_error("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", times=times)

    def rest_error(
        self, code: str, message: str = "refused by a fault", *, times: int = 1, status: int | None = None
    ) -> None:
        """The next `times` REST calls fail with `code` and `status` (by default the status of the code)."""
        self._rest_error = ApiError(code, message, status=status)
        self._left[Fault.REST_ERROR] = times

    def lose_answers(self, times: int = 1) -> None:
        """The next `times` writing REST calls (also composite and event publish) commit, then the connection drops."""
        self._left[Fault.LOST_ANSWER] = times

    def lose_events(self, times: int = 1) -> None:
        """The next `times` responses with events are lost: the connection is dropped, or the stream is reset."""
        self._left[Fault.LOST_EVENTS] = times

    def drop_events(self, times: int = 1) -> None:
        """The next `times` events are silently dropped: they are not published."""
        self._left[Fault.DROPPED_EVENT] = times

    def double_events(self, times: int = 1) -> None:
        """The next `times` events are published twice: same EventUuid, another replay id."""
        self._left[Fault.DUPLICATE_EVENT] = times

    def lose_acks(self, times: int = 1) -> None:
        """The next `times` acknowledgements of outbound messages are lost, so the messages are sent again."""
        self._left[Fault.LOST_ACK] = times

    def double_messages(self, times: int = 1) -> None:
        """The next `times` acknowledged outbound messages are sent a second time."""
        self._left[Fault.DUPLICATE_MESSAGE] = times

    def reorder_messages(self, times: int = 1) -> None:
        """The next `times` outbound messages arrive after the message that is written next.

        So an older state of a record arrives after a newer one. Without a next message, they arrive some seconds late.
        """
        self._left[Fault.OVERTAKEN_MESSAGE] = times

    def stall_messages(self, times: int = 1) -> None:
        """The next `times` outbound messages stop half-way; the connection stays open until a time-out."""
        self._left[Fault.STALLED_MESSAGE] = times

    def split_messages(self, *, on: bool = True) -> None:
        """Each notification is sent in a separate message, the latest first, until `on` is false."""
        self.is_splitting = on

    def read_lag(self, seconds: float = 0.0) -> None:
        """Reads return records as of `seconds` ago; 0 turns this off."""
        self.read_lag_seconds = seconds

    def slow_writes(self, seconds: float = 0.0) -> None:
        """Calls that update records last `seconds`, and lock the records and their Accounts meanwhile; 0 ends this.

        Another call that updates one of them fails with UNABLE_TO_LOCK_ROW.
        """
        self.slow_write_seconds = seconds

    def down(self, *, on: bool = True) -> None:
        """Every response except those of `/_admin` is 503, and held polls are cut, until `on` is false."""
        self.is_down = on
        if on:
            self._on_down()

    def read_only(self, *, on: bool = True) -> None:
        """Maintenance: every write of a record or an event fails, and reads are answered, until `on` is false."""
        self.is_read_only = on

    def small_pages(self, records: int = 0) -> None:
        """Pages of a query's result have at most so many records; 0 turns this off."""
        self.page_size = max(records, 0)

    def lose_locators(self, times: int = 1) -> None:
        """The next `times` requests for a further page of a query's result fail with INVALID_QUERY_LOCATOR."""
        self._left[Fault.LOST_LOCATOR] = times

    def forget_positions(self, *, on: bool = True) -> None:
        """The bus accepts no replay id, only -1 and -2, until `on` is false."""
        self.is_forgetful = on

    def unauthorized(self, *, on: bool = True) -> None:
        """Every response except those of `/_admin` is a 401 with an HTML page (a proxy), until `on` is false."""
        self.is_unauthorized = on

    def edge_page(self, times: int = 1) -> None:
        """The next `times` requests are answered with 400 and the HTML page "Access Declined" of Salesforce's edge."""
        self._left[Fault.EDGE_PAGE] = times

    def mute(self, *, on: bool = True) -> None:
        """CometD and subscriptions accept requests and do not respond (a half-open network), until `on` is false."""
        if on:
            self._audible.clear()
        else:
            self._audible.set()

    def pubsub_unavailable(self, times: int = 1) -> None:
        """The next `times` calls of the Pub/Sub API fail with `service.unavailable`."""
        self._left[Fault.PUBSUB_UNAVAILABLE] = times

    def schema_not_found(self, times: int = 1) -> None:
        """The next `times` requests for the schema of an event are refused."""
        self._left[Fault.SCHEMA_NOT_FOUND] = times

    def stop_keepalives(self, *, on: bool = True) -> None:
        """Streams of the Pub/Sub API without events get no empty responses, until `on` is false."""
        self.lacks_keepalives = on

    def cometd_unauthorized(self, times: int = 1) -> None:
        """The response to the next `times` CometD requests is HTTP 401 with a REST error list."""
        self._left[Fault.COMETD_UNAUTHORIZED] = times

    def broken_json(self, times: int = 1) -> None:
        """The next `times` CometD responses end in the middle of the JSON text."""
        self._left[Fault.BROKEN_JSON] = times

    def advice_interval(self, milliseconds: int = 0) -> None:
        """Connect replies advise clients to wait this time before the next connect; 0 turns this off."""
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
        """Turn every fault off."""
        self._left.clear()
        self._audible.set()
        self.is_down = self.is_unauthorized = self.is_splitting = self.is_forgetful = False
        self.is_read_only = self.lacks_keepalives = False
        self.page_size = 0
        self._automation = None
        self.read_lag_seconds = self.slow_write_seconds = 0.0
        self.advice_interval_ms = 0

    # Queries of the modules that cause the faults

    def strikes(self, fault: Fault) -> bool:
        """Whether a counted fault applies now. Decrements its counter."""
        if self._left[fault] <= 0:
            return False
        self._left[fault] -= 1
        return True

    def refuse_call(self) -> None:
        """Raise the error armed for REST calls, if it applies now."""
        if self.strikes(Fault.REST_ERROR):
            raise self._rest_error

    def refuse_record(self) -> None:
        """Raise the error of maintenance, or the one armed for record writes, if it applies now."""
        self.refuse_in_maintenance()
        if self.strikes(Fault.RECORD_ERROR):
            raise self._record_error

    def refuse_in_maintenance(self) -> None:
        """Raise the error of a write, while the org is read-only."""
        if self.is_read_only:
            raise ApiError(_MAINTENANCE, "The requested operation is not allowed during read-only mode.", fields=())

    def refuse_automation(self, together: int) -> None:
        """Raise the error of the automation, if it fails with so many records in one transaction."""
        if self._automation is not None and together > self._automation.above:
            raise self._automation.error

    def failed_reply(self, channel: str) -> dict[str, Any] | None:
        """The failed reply for a meta channel, if one is armed for it and applies now."""
        if self._cometd_reply.get("channel") != channel or not self.strikes(Fault.COMETD_ERROR):
            return None
        return dict(self._cometd_reply)

    @property
    def is_mute(self) -> bool:
        """Whether CometD does not respond."""
        return not self._audible.is_set()

    async def until_audible(self) -> None:
        """Wait until CometD responds again."""
        await self._audible.wait()

    def armed(self) -> dict[str, Any]:
        """The armed faults, for `/_admin/state`."""
        return {
            **{fault.value: self._left[fault] for fault in Fault},
            "automation_fails_above": self._automation.above if self._automation else None,
            "down": self.is_down,
            "unauthorized": self.is_unauthorized,
            "mute": self.is_mute,
            "splitting": self.is_splitting,
            "forgetful": self.is_forgetful,
            "read_only": self.is_read_only,
            "page_size": self.page_size,
            "lacks_keepalives": self.lacks_keepalives,
            "read_lag_seconds": self.read_lag_seconds,
            "slow_write_seconds": self.slow_write_seconds,
            "advice_interval_ms": self.advice_interval_ms,
        }
