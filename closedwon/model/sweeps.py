"""Gaps in the notifications that arrived, the sweeps that cover them, and what a sweep asks of its activities."""

from __future__ import annotations

from enum import StrEnum

from pydantic import AwareDatetime

from closedwon.ids import OrgId, RecordId
from closedwon.model.alerts import AlertState
from closedwon.model.base import Frozen


class GapReason(StrEnum):
    """Why notifications about records may have been lost. The values are an interface."""

    REPLAY_ID_EXPIRED = "replay-id-expired"
    BUS_MOVED = "bus-moved"
    RETENTION_PASSED = "retention-passed"
    DELIVERY_LIMIT = "delivery-limit"
    MESSAGES_EXPIRED = "messages-expired"
    TEMPORAL_LOST = "temporal-lost"


class Gap(Frozen):
    """A span of time whose notifications may never arrive; open until a sweep has covered it.

    It is about changes within the span: a record that was changed again later is found at that later time.
    """

    since: AwareDatetime | None
    """None: not known."""
    until: AwareDatetime
    reason: str
    """A `GapReason`, as a text: workers of another version may know others."""
    route: str | None = None
    note: str = ""
    """What exactly happened, for people."""


class SweepReading(Frozen):
    """The position of a sweep: it reads the records that qualify, then those that have a number and do not."""

    qualifying: bool = True
    modified_at: AwareDatetime | None = None
    record: RecordId | None = None
    """The last record read; with `modified_at`, a position in the order of changes."""
    bulk: bool = False
    """There are many records: a query job reads them."""
    job: str | None = None
    locator: str | None = None


class SweepProgress(Frozen):
    """How far a sweep has come, and at its end what it has found. Counts are of records."""

    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    """The span of this sweep, by the time of the last change; the next one begins here."""
    total: int | None = None
    """How many records are in the span. None: not counted, as in a scheduled sweep."""
    found: int = 0
    """Records that were compared: those that qualify or carry a number."""
    started: int = 0
    """Workflows started or, in a dry run, to be started: no order, a number that the ERP does not know, or an order
    that should not exist."""
    right: int = 0
    under_way: int = 0
    """Their workflow was running already."""
    attention: int = 0
    """Their workflow waits for a person."""
    unqualified: int = 0
    """They meet the route's `sweep.where`, but not its `qualify` (with source `event`)."""
    examples: tuple[RecordId, ...] = ()
    """The first records of `started`."""
    reading: SweepReading | None = None
    """The present position. None before the reading began and after it ended."""
    expired_since: AwareDatetime | None = None
    """The earliest change of a record whose outbound message must have expired."""


class SweepStart(AlertState):
    """The input of a sweep of one route."""

    org: OrgId
    route: str
    since: AwareDatetime | None = None
    """None: from where the last scheduled sweep ended, or from the beginning of `gap`."""
    until: AwareDatetime | None = None
    """None, or too late: now, less the route's lag."""
    gap: Gap | None = None
    """The gap that this sweep covers."""
    subscription: str | None = None
    """The workflow id of the subscription to signal when the gap is covered."""
    dry_run: bool = False
    """Compare, and start nothing."""
    carried: SweepProgress | None = None
    """The progress of the run before."""


class RouteRequest(Frozen):
    """The route that a request of a sweep is about."""

    org: OrgId
    route: str


class OpenSweep(RouteRequest):
    """A sweep that begins. `mark`: the end of the last scheduled one."""

    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    mark: AwareDatetime | None = None
    gap: Gap | None = None


class OpenedSweep(Frozen):
    """What a sweep has to do, by the route's settings."""

    since: AwareDatetime
    until: AwareDatetime
    total: int | None
    reading: SweepReading
    erps: tuple[str, ...]
    """ERPs that may have the orders."""
    numbered: bool = True
    """The route writes order numbers back, so that records show them."""
    pushed: bool = False
    """Salesforce pushes outbound messages, which expire."""


class ReadPage(RouteRequest):
    """Which records to read next."""

    since: AwareDatetime
    until: AwareDatetime
    reading: SweepReading


class SeenRecord(Frozen):
    """A record as a sweep sees it: what it says of its order, unless that is about another record."""

    record: RecordId
    modified_at: AwareDatetime
    qualifies: bool
    deleted: bool = False
    number: str | None = None
    status: str | None = None
    is_proven: bool = False
    """The key field holds this record's own key. Otherwise number and status may have been copied with the record: they
    are omitted if the field holds another key, and prove nothing if it is empty or the route has no key field."""


class PageRead(Frozen):
    """Records, and the position after them; `reading` None: that was all."""

    seen: tuple[SeenRecord, ...] = ()
    reading: SweepReading | None = None


class StartOrders(RouteRequest):
    """Records whose workflow must run. `dry_run`: only look which have one already."""

    records: tuple[SeenRecord, ...]
    dry_run: bool = False


class OrdersStarted(Frozen):
    """The result of `StartOrders`, in numbers of records."""

    done: int = 0
    started: int = 0
    under_way: int = 0
    attention: int = 0
    unqualified: int = 0
    kept_by_operator: int = 0
    """A person keeps an order of theirs that should not exist, or another route is responsible for it; or their status
    says that a person wants no order, and their own workflow proves that."""
    examples: tuple[RecordId, ...] = ()
    """The first of `started`."""
    oldest: AwareDatetime | None = None
    """Earliest last change of those `started` that qualify."""
