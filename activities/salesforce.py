"""The Salesforce side of an order: look at the record, write back to it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final

from pydantic import AwareDatetime, Field, SecretStr
from temporalio import activity

from activities.failures import as_failures, to_its_end
from activities.holds import Holds
from closedwon.codec import CodecError, EncryptionCodec, codec
from closedwon.errors import AttentionError, AttentionReason, BenignError
from closedwon.ids import OrgId, RecordId
from closedwon.model import ErpOrder, Frozen, Message, idempotency_key
from closedwon.record import Erps, Record, gone, snapshot, until_quiet
from closedwon.salesforce.rest import SalesforceClient
from closedwon.settings import Route, Settings
from closedwon.snapshot import RecordSnapshot, Values
from closedwon.telemetry import Metrics
from closedwon.write_back import fields_without_order, write_back_fields

_log = logging.getLogger(__name__)

NEEDS_ATTENTION: Final = "needs attention"
"""A word of ours that the status field shows beside those of `ErpStatus`."""
_SHORTEST_WAIT: Final = timedelta(seconds=1)
"""Salesforce's clock is known to the second."""


class LookAt(Frozen):
    """Which record to look at; `message` brings the payload where the route takes the order from there."""

    org: OrgId
    record: RecordId
    route: str
    message: Message | None = None
    session: str | None = None
    """Of the newest message, sealed."""


class WriteBack(Frozen):
    """What the record shall say. Fields whose value in `written` is the same already are left alone."""

    org: OrgId
    record: RecordId
    route: str
    order: ErpOrder | None = None
    status: str | None = None
    """Replaces the ERP's status word, e.g. while the order needs attention."""
    error: str | None = None
    since: AwareDatetime | None = None
    """When it happened of which the first word tells, for the metric of the whole way."""
    session: str | None = None
    """Of the newest message, sealed."""
    written: Values = Field(default_factory=dict)
    is_wanted: bool = False
    """The record asks for this order, so that it may get the stage of an ordered deal."""


class NotVisibleYetError(BenignError):
    """The record does not ask for an order, but its notification is fresh: reads may not show the change yet."""


class NotQuietYetError(BenignError):
    """The record asks for an order, but it or a line of it was changed a moment ago: more changes may follow."""


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

    @activity.defn
    async def load_order(self, request: LookAt) -> RecordSnapshot:
        """Read the record (or take the event's payload) and say what becomes of it.

        A record that does not qualify is read again for the route's grace period before that counts: with "publish
        immediately" an event overtakes the commit of its own record. One that qualifies is read again until it and its
        lines were left alone for the route's `quiet` time. One that is there is not deleted, whatever a message says:
        it was taken out of the recycle bin since.
        """
        with as_failures():
            route, message = self._route(request.route), request.message
            self._holds.check(route)
            says_deleted = message is not None and message.deleted
            if route.source == "event":
                if says_deleted:
                    return gone(route, message, is_deleted=True)
                record = Record.from_message(route, request.org, request.record, message)
                return snapshot(record, Erps.of(self._settings, route))
            client = self._client(request.org)
            fields = await self._read(client, route, request)
            if fields is None:
                if not says_deleted:
                    _wait_until_visible(route.grace)
                is_deleted = says_deleted or await to_its_end(_is_deleted(client, route, request.record))
                return gone(route, message, is_deleted=is_deleted)
            record = Record(route, request.org, request.record, fields)
            if record.qualifies():
                _wait_until_quiet(until_quiet(record, client.now()))
            else:
                _wait_until_visible(route.grace)
            return snapshot(record, Erps.of(self._settings, route))

    @activity.defn
    async def write_back(self, request: WriteBack) -> Values:
        """Write what differs; return all values as they stand now. Nothing differs: no call is made."""
        with as_failures():
            route = self._route(request.route)
            wanted = _wanted(route, request)
            differing = {
                field: value
                for field, value in wanted.items()
                if field not in request.written or request.written[field] != value
            }
            if differing:
                session = self._session(route, request.session)
                client = self._client(request.org)
                await to_its_end(client.update(route.object, request.record, differing, session=session))
                await self._on_written()
                if request.since is not None and request.order is not None:
                    self._metrics.won_to_written_back.record(datetime.now(UTC) - request.since)
                _log.info("written back: %s", ", ".join(sorted(differing)))
            return {**request.written, **wanted}

    async def _read(self, client: SalesforceClient, route: Route, request: LookAt) -> dict[str, Any] | None:
        session = self._session(route, request.session)
        return await to_its_end(client.read(route.object, route.query_fields, request.record, session=session))

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
            raise _not_configured("route", name, "routes") from None

    def _client(self, org: OrgId) -> SalesforceClient:
        try:
            return self._clients[org]
        except KeyError:
            raise _not_configured("org", org, "orgs") from None


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


async def _is_deleted(client: SalesforceClient, route: Route, record: RecordId) -> bool:
    """Whether a record that cannot be read lies in the recycle bin; one that is only hidden does not."""
    soql = f"SELECT IsDeleted FROM {route.object} WHERE Id = '{record}'"  # noqa: S608 - SOQL of checked parts
    return any(each["IsDeleted"] for each in await client.query(soql, deleted=True))


def _wait_until_visible(grace: timedelta) -> None:
    """Raise `NotVisibleYetError` until the activity is older than `grace`; looks get rarer with age."""
    info = activity.info()
    age = info.current_attempt_scheduled_time - info.scheduled_time
    if age < grace:
        raise NotVisibleYetError(
            "The record does not ask for an order (yet); looking again in a moment",
            retry_after=min(timedelta(seconds=2 ** min(info.attempt - 1, 2)), grace),
        )


def _wait_until_quiet(left: timedelta) -> None:
    """Raise `NotQuietYetError` while there is time left."""
    if left > timedelta(0):
        raise NotQuietYetError(
            "The record or a line of it was changed a moment ago; waiting until it is left alone",
            retry_after=max(left, _SHORTEST_WAIT),
        )


def _not_configured(kind: str, name: str, key: str) -> AttentionError:
    return AttentionError(
        f"This worker has no {kind} named {name!r}",
        reason=AttentionReason.CONFIGURATION,
        cure=f"Add it to `{key}` in closedwon.toml, restart the worker, then send `retry`.",
    )
