"""The Salesforce side of an order: read the record, write back to it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final

from pydantic import SecretStr
from temporalio import activity

from activities.at_once import NotAtOnceError, Promptness, is_local
from activities.failures import errors_as_failures
from activities.heartbeats import run_to_completion
from activities.holds import Holds
from activities.passing import RefusalsOfOrg, not_here
from closedwon.encryption.codec import CodecError, EncryptionCodec, codec
from closedwon.errors import AttentionError, AttentionReason, BenignError, ClosedwonError
from closedwon.ids import OrgId, RecordId
from closedwon.mapping.orders import check_prefix
from closedwon.mapping.record import Erps, Record, gone, snapshot, until_quiet
from closedwon.mapping.write_back import fields_without_order, fitting, is_kept, kept_fields, write_back_fields
from closedwon.model.orders import idempotency_key
from closedwon.model.records import ReadRecord, WriteBack
from closedwon.model.snapshot import NotWanted, RecordSnapshot, Values, Wanted
from closedwon.salesforce.api.rest import SalesforceClient
from closedwon.salesforce.errors import RefusedError, ValidationError
from closedwon.settings import Route, Settings
from closedwon.telemetry.metrics import Metrics
from closedwon.temporal.errors import LARGEST_AT_ONCE, LARGEST_VALUE

_log = logging.getLogger(__name__)

NEEDS_ATTENTION: Final = "needs attention"
"""A value of the status field in addition to those of `ErpStatus`."""
_SHORTEST_WAIT: Final = timedelta(seconds=1)
"""Salesforce's clock is known to the second."""


class NotVisibleYetError(BenignError):
    """The record does not show what a fresh notification reports: reads may not show the change yet."""


class NotQuietYetError(BenignError):
    """The record asks for an order, but it or a line of it was changed a moment ago: more changes may follow."""


class TooLargeOrderError(AttentionError):
    """The order that the route makes of the record is larger than a value may be in Temporal."""

    def __init__(self, record: RecordId, size: int, lines: int) -> None:
        """`size` in bytes."""
        super().__init__(
            f"The order of record {record} has {size:,} bytes on {lines:,} lines; {LARGEST_VALUE:,} bytes fit into "
            "Temporal",
            reason=AttentionReason.MAPPING_FAILED,
            hint="Let the route map shorter texts (`order.lines.description`, `extra`), or split the record; then send "
            "`retry`.",
        )


OnWritten = Callable[[], Awaitable[None]]
"""Called between a write-back and its completion; a test arms it to block, raise or kill."""


async def nothing() -> None:
    """Do nothing: production."""


class SalesforceActivities:
    """Activities over the configured orgs."""

    def __init__(
        self,
        settings: Settings,
        clients: Mapping[OrgId, SalesforceClient],
        metrics: Metrics,
        *,
        on_written: OnWritten = nothing,
        holds: Holds | None = None,
    ) -> None:
        """Take one open client per org; `on_written` lets a test strike between a write-back and its completion."""
        self._settings = settings
        self._clients = clients
        self._metrics = metrics
        self._on_written = on_written
        self._holds = holds or Holds()
        self._refusals = RefusalsOfOrg(self._holds)
        self._promptness = Promptness()

    @activity.defn
    async def load_order(self, request: ReadRecord) -> RecordSnapshot:
        """Say what the record asks for: read it or, with `source = "event"`, take it from the notification.

        The result counts only when it is current. Until then the activity fails, and its next attempt reads again:

        - for the route's `grace`, while the record is missing, does not qualify, or is older than a notification
          reports: with "publish immediately" an event overtakes the commit of its own record;
        - for the route's `quiet` time, while it qualifies, but it or a line of it was changed a moment ago.

        A record that can be read is not deleted, whatever a message says: it was restored from the recycle bin.

        As a local activity it fails in these cases, too, and the regular one reads again.
        """
        with errors_as_failures(), self._promptness.expected(request.org):
            route = self._route(request.route)
            self._holds.check(route)
            check_prefix(route, request.record, self._client(request.org).key_prefixes.get(route.object))
            is_event = route.source == "event"
            found = await (self._from_message if is_event else self._from_record)(route, request)
            _check_size(request.record, found)
            return found

    async def _from_message(self, route: Route, request: ReadRecord) -> RecordSnapshot:
        """Take the record from the notification. An operator's decision to keep its order is on the record only."""
        if _says_deleted(request):
            return gone(route, request.message, is_deleted=True)
        record = Record.from_message(route, request.org, request.record, request.message)
        found = snapshot(record, Erps.of(self._settings, route))
        if isinstance(found, NotWanted) and await self._is_kept(route, request):
            return found.model_copy(update={"may_have_order": False})
        return await self._with_other_route(found, route, request)

    async def _from_record(self, route: Route, request: ReadRecord) -> RecordSnapshot:
        """Read the record from Salesforce."""
        client = self._client(request.org)
        fields = await self._read(client, route, request)
        if fields is None:
            return await self._missing(client, route, request)
        record = Record(route, request.org, request.record, fields)
        if record.is_older_than(request.stamped_at) or not record.qualifies():
            _wait_until_visible(route.grace)
        if record.qualifies():
            _wait_until_quiet(record, client.now())
        return await self._with_other_route(snapshot(record, Erps.of(self._settings, route)), route, request)

    async def _missing(self, client: SalesforceClient, route: Route, request: ReadRecord) -> RecordSnapshot:
        """The record cannot be read: it is not visible yet, it was deleted, or it is hidden from our user."""
        says_deleted = _says_deleted(request)
        if not says_deleted:
            _wait_until_visible(route.grace)
        is_deleted = says_deleted or await run_to_completion(
            self._refusals.held(_is_deleted(client, route, request.record), request.org)
        )
        return gone(route, request.message, is_deleted=is_deleted)

    @activity.defn
    async def write_back(self, request: WriteBack) -> Values:
        """Write what differs; return all values as they stand now. Nothing differs: no call is made.

        **Doubt.** An attempt that was stopped, or whose worker died, may have been sent, and may still take effect.
        The next attempt, or the regular activity after a local one, writes the same values again, so it makes no
        difference which of both is the last. Writes of one record with the same fields keep their order within a
        process. If another process takes over and a third write, with other values, follows before the first one takes
        effect, then that first one is the last, until the record is read again; that takes a write that is under way
        for longer than two others, which only a connection that hangs can be.

        **One field's refusal is not the others'.** What the org accepts is written first; then the refusal counts.
        """
        with errors_as_failures(), self._promptness.expected(request.org):
            route, client = self._route(request.route), self._client(request.org)
            wanted = fitting(route, _wanted(route, request), await _lengths(client, route, request))
            differing = {
                field: value
                for field, value in wanted.items()
                if field not in request.written or request.written[field] != value
            }
            if differing:
                session = self._session(route, request.session)
                update = _update(client, route, request.record, differing, session)
                await run_to_completion(self._refusals.held(update, request.org))
                await self._on_written()
                if request.since is not None and request.order is not None:
                    self._metrics.won_to_written_back.record(datetime.now(UTC) - request.since)
                _log.info("written back: %s", ", ".join(sorted(differing)))
            return {**request.written, **wanted}

    async def _read(self, client: SalesforceClient, route: Route, request: ReadRecord) -> dict[str, Any] | None:
        session = self._session(route, request.session)
        read = client.read(route.object, route.query_fields, request.record, session=session)
        return await run_to_completion(self._refusals.held(read, request.org))

    async def _with_other_route(self, found: RecordSnapshot, route: Route, request: ReadRecord) -> RecordSnapshot:
        """Add the other route that asks for an order of the record, as far as the record itself shows."""
        if not isinstance(found, NotWanted) or route.on_unqualified == "ignore":
            return found
        client = self._clients.get(request.org)
        for other in self._settings.siblings(route):
            if other.source == "event" or client is None:
                continue
            fields = await self._read(client, other, request)
            if fields is not None and Record(other, request.org, request.record, fields).qualifies() is not False:
                return found.model_copy(update={"wanted_by": other.name})
        return found

    async def _is_kept(self, route: Route, request: ReadRecord) -> bool:
        """Whether the record says that an operator keeps its order; no notification does."""
        fields = kept_fields(route)
        if route.on_unqualified == "ignore" or not fields:
            return False
        client, session = self._client(request.org), self._session(route, request.session)
        read = client.read(route.object, ", ".join(fields), request.record, session=session)
        found = await run_to_completion(self._refusals.held(read, request.org))
        values = {name.lower(): value for name, value in (found or {}).items()}  # settings may spell another case
        return is_kept(route, request.org, request.record, {field: values.get(field.lower()) for field in fields})

    @cached_property
    def _codec(self) -> EncryptionCodec:
        return codec(self._settings.encryption)

    def _session(self, route: Route, sealed: str | None) -> SecretStr | None:
        """Open the session id, if the route uses it; one that does not open is like one that has ended."""
        if sealed is None or route.outbound is None or route.outbound.session != "use":
            return None
        try:
            return self._codec.unseal(sealed)
        except CodecError:
            return None

    def _route(self, name: str) -> Route:
        try:
            return self._settings.route(name)
        except KeyError:
            raise not_here("route", name, "routes") from None

    def _client(self, org: OrgId) -> SalesforceClient:
        try:
            return self._clients[org]
        except KeyError:
            raise not_here("org", org, "orgs") from None


def _wanted(route: Route, request: WriteBack) -> Values:
    """What the record is to say, the key that proves it included."""
    order = request.order
    if order is None:
        return fields_without_order(
            route, request.org, request.record, request.written, status=request.status, error=request.error
        )
    return write_back_fields(
        route,
        number=order.number,
        status=request.status or order.status,
        link=order.url,
        error=request.error,
        ordered=order.status.exists_as_order and request.is_wanted and request.error is None,
        key=idempotency_key(request.org, request.record),
    )


def _check_size(record: RecordId, found: RecordSnapshot) -> None:
    """Raise `TooLargeOrderError` for an order that Temporal cannot keep: its result would fail after each reading."""
    if not isinstance(found, Wanted):
        return
    size = len(found.model_dump_json().encode())
    if size > LARGEST_VALUE:
        raise TooLargeOrderError(record, size, len(found.order.lines))
    if is_local() and size > LARGEST_AT_ONCE:
        raise NotAtOnceError("The order is too large to be read within a workflow task")


async def _lengths(client: SalesforceClient, route: Route, request: WriteBack) -> Mapping[str, int]:
    """The lengths of the record's fields. The worker's checks have asked for them; else an error is worth a call."""
    if route.object not in client.lengths and request.error is not None and route.write_back.error is not None:
        with suppress(ClosedwonError):  # then a text that is too long is refused for its own field
            await run_to_completion(client.describe(route.object))
    return client.lengths.get(route.object, {})


async def _update(
    client: SalesforceClient, route: Route, record: RecordId, fields: Values, session: SecretStr | None
) -> None:
    """Write fields. What the org refuses is left out, so that it takes the others; then the first refusal is raised.

    Without its number, an order's key is not written either: it would prove a number that a person types in later.
    """
    refusal: AttentionError | None = None
    while fields:
        try:
            await client.update(route.object, record, fields, session=session)
            break
        except (ValidationError, RefusedError) as error:
            refusal, refused = refusal or error, {*error.fields}
            if refused.isdisjoint(fields):
                break
            if route.write_back.number in refused:
                refused.add(route.write_back.key or "")
            fields = {field: value for field, value in fields.items() if field not in refused}
    if refusal is not None:
        raise refusal


def _says_deleted(request: ReadRecord) -> bool:
    return request.message is not None and request.message.deleted


async def _is_deleted(client: SalesforceClient, route: Route, record: RecordId) -> bool:
    """Whether a record that cannot be read lies in the recycle bin; one that is only hidden does not."""
    found = await client.read(route.object, "IsDeleted", record, deleted=True)
    return found is not None and bool(found["IsDeleted"])


def _wait_until_visible(grace: timedelta) -> None:
    """Raise `NotVisibleYetError` until the activity is older than `grace`; looks get rarer with age."""
    info = activity.info()
    age = info.current_attempt_scheduled_time - info.scheduled_time
    if age < grace:
        raise NotVisibleYetError(
            "The record does not ask for an order, or does not show the change (yet); looking again in a moment",
            retry_after=min(timedelta(seconds=2 ** min(info.attempt - 1, 2)), grace),
        )


def _wait_until_quiet(record: Record, now: datetime) -> None:
    """Raise `NotQuietYetError` until the record was left alone; Temporal's UI and `closedwon doctor` show the text."""
    left, changed_at = until_quiet(record, now), record.changed_at()
    if changed_at is not None and left > timedelta(0):
        raise NotQuietYetError(
            f"The order has waited since {activity.info().scheduled_time:%Y-%m-%d %H:%M} UTC until its record and "
            f"lines are left alone for {record.route.quiet}; they were changed last at "
            f"{changed_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC (`quiet` of route {record.route.name!r})",
            retry_after=max(left, _SHORTEST_WAIT),
        )
