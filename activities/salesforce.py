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
from closedwon import mapping
from closedwon.codec import CodecError, EncryptionCodec, codec
from closedwon.errors import AttentionError, AttentionReason, BenignError
from closedwon.ids import OrgId, RecordId
from closedwon.model import NOT_NEEDED, UNWON, ErpOrder, ErpStatus, Frozen, Message, Order, Policies
from closedwon.salesforce.rest import SalesforceClient
from closedwon.settings import Route, Settings
from closedwon.snapshot import RecordSnapshot
from closedwon.telemetry import Metrics

_log = logging.getLogger(__name__)

Values = dict[str, str | None]
"""Field values by API name."""

NEEDS_ATTENTION: Final = "needs attention"
"""A word of ours that the status field shows beside those of `ErpStatus`."""
_GIVEN_UP: Final[Mapping[str | None, str]] = {
    ErpStatus.CANCELLED: "its order was cancelled",
    NOT_NEEDED: "it was closed as not needed",
}


class LookAt(Frozen):
    """Which record to look at; `message` brings the payload where the route takes the order from there."""

    org: OrgId
    record: RecordId
    route: str
    message: Message | None = None
    session: str | None = None
    """Of the newest message, sealed."""


class Look(Frozen):
    """What was seen: the order that the record asks for, or None when it asks for none."""

    order: Order | None = None
    erp: str | None = None
    other_erps: tuple[str, ...] = ()
    """Where the route picks the ERP by an expression: those that it did not pick now, but may have picked before."""
    reopen: bool = False
    """Its order was cancelled because the deal was not won any more, and now it is: take that one up again."""
    policies: Policies = Policies()
    """The route's, as the settings have them now."""
    may_have_order: bool = False
    """As far as the record tells, there may be an order of it; only looked at where none is asked for."""
    given_up: bool = False
    """Somebody gave its order up, and it still qualifies: no order is asked for, and none is to be cancelled."""
    note: str = ""
    """Why no order is asked for, where that is not plain."""
    gone: bool = False
    """There is no such record, or our user may not see it."""
    deleted: bool = False
    """It is gone because it was deleted: a tombstone came, or it lies in the recycle bin."""
    number: str | None = None
    """What the record says that its order is called."""
    written: Values = Field(default_factory=dict)
    """Present values of the write-back fields; empty when the record was not read."""


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


class NotVisibleYetError(BenignError):
    """The record does not ask for an order, but word of it is fresh: the change may not be visible to reads yet."""


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
    ) -> None:
        """Take one open client per org; `on_written` lets a test strike between a write-back and its completion."""
        self._settings = settings
        self._clients = clients
        self._metrics = metrics
        self._on_written = on_written

    @activity.defn
    async def load_order(self, request: LookAt) -> RecordSnapshot:  # type: ignore[return]
        """Read the record (or the event's payload) and map it to an order by the route's expressions.

        A record that does not qualify is looked at again for the route's grace period before it is called not
        needed: with "publish immediately" an event overtakes the commit of its own record. One that is there is not
        deleted, whatever a message says: it was taken out of the recycle bin since.
        """
        with as_failures():
            route = self._route(request.route)
            common: dict[str, Any] = {"policies": route.policies}
            if isinstance(route.erp, str):
                common["erp"] = route.erp
            is_told_deleted = request.message is not None and request.message.deleted
            if route.source == "event":
                if is_told_deleted:
                    return Look(gone=True, deleted=True, may_have_order=True, **common)
                record, written = self._from_event(route, request.message), Values()
            else:
                client, session = self._client(request.org), self._session(route, request.session)
                found = await to_its_end(client.read(route.object, route.query_fields, request.record, session=session))
                if not (is_told_deleted if found is None else mapping.qualifies(route, found)):
                    _wait_until_visible(route.grace)
                if found is None:
                    deleted = is_told_deleted or await to_its_end(_is_deleted(client, route, request.record))
                    return Look(gone=True, deleted=deleted, may_have_order=deleted, **common)
                record, written = found, mapping.written(route, found)
            status = written.get(route.write_back.status or "")
            number = written.get(route.write_back.number or "") or None
            if not mapping.qualifies(route, record):
                named = None if status in _GIVEN_UP else number
                return Look(written=written, may_have_order=_may_have_order(route, written), number=named, **common)
            if given_up := _GIVEN_UP.get(status):
                # A late duplicate of the first message must not order what somebody has given up since.
                note = f"{given_up}; empty {route.write_back.status} to order"
                return Look(written=written, given_up=True, note=note, **common)
            erp, other_erps = self._erps_of(route, record, written)
            return Look(
                **common | {"erp": erp},
                order=mapping.map_order(route, request.org, request.record, record),
                other_erps=other_erps,
                reopen=status == UNWON,
                number=number,
                written=written,
            )

    @activity.defn
    async def write_back(self, request: WriteBack) -> Values:
        """Write what differs; return all values as they stand now. Nothing differs: no call is made."""
        with as_failures():
            route = self._route(request.route)
            order = request.order
            wanted = mapping.write_back_fields(
                route,
                number=order.number if order else None,
                status=request.status or (order.status if order else None),
                link=order.url if order else None,
                error=request.error,
                ordered=order is not None and order.status.exists_as_order,
            )
            if order is None:  # nothing is known of a number or a link, so those that are there stay
                wanted = {key: value for key, value in wanted.items() if key in _told_without_order(route)}
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
                if request.since is not None and order is not None:
                    self._metrics.won_to_written_back.record(datetime.now(UTC) - request.since)
                _log.info("written back: %s", ", ".join(sorted(differing)))
            return {**request.written, **wanted}

    def _from_event(self, route: Route, message: Message | None) -> dict[str, Any]:
        if message is None or message.payload is None:
            raise AttentionError(
                f"Route {route.name!r} takes the order from the event, but no event with a payload came",
                reason=AttentionReason.BAD_MESSAGE,
                cure='Set source = "record" for this route, or let Salesforce publish the event again.',
            )
        return mapping.event_record(route, message.payload)

    def _erps_of(self, route: Route, record: dict[str, Any], written: Values) -> tuple[str, tuple[str, ...]]:
        """Name the ERP for the record, and those that another state of it may have gone to, perhaps by another route.

        A record that went another route bears that route's number: its workflow ends only after it was written.
        """
        erp = mapping.choose_erp(route, record)
        names = [one.name for one in self._settings.erps]
        if isinstance(route.erp, str):
            others = [one for one in self._settings.siblings(route) if written.get(one.write_back.number or "", "?")]
            by_name = {one.erp for one in others if isinstance(one.erp, str)}
            return erp, tuple(name for name in names if name != erp and (name in by_name or len(by_name) < len(others)))
        if erp not in names:
            raise AttentionError(
                f"The `erp.expression` of route {route.name!r} yields no name of a configured ERP",
                reason=AttentionReason.CONFIGURATION,
                cure="Mend the record or the expression, or add the ERP to `erps` in closedwon.toml (then restart the "
                "worker); then send `retry`.",
            )
        return erp, tuple(name for name in names if name != erp)

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


def _told_without_order(route: Route) -> frozenset[str | None]:
    return frozenset({route.write_back.status, route.write_back.error})


def _may_have_order(route: Route, written: Values) -> bool:
    """Whether a record that asks for no order has, or had, one: it says so, or has no field that would."""
    fields = route.write_back
    status = written.get(fields.status or "")
    if status in {ErpStatus.CANCELLED, UNWON}:
        return status != UNWON
    return fields.number not in written or written[fields.number] is not None


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


def _not_configured(kind: str, name: str, key: str) -> AttentionError:
    return AttentionError(
        f"This worker has no {kind} named {name!r}",
        reason=AttentionReason.CONFIGURATION,
        cure=f"Add it to `{key}` in closedwon.toml, restart the worker, then send `retry`.",
    )
