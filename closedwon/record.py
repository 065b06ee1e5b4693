"""A record that was read, or came with a notification: opened once, and asked what becomes of it.

Pure: data in, one of the five cases of `closedwon.snapshot` out. What is read and when is for the activity
`load_order`; `closedwon route try` and the audit ask the same record the same questions.

Two rules live here. What a record says about its order counts only if its key field proves that it is about this
record (`closedwon.write_back`). And a `qualify` that yields nothing is not a no: nothing is cancelled for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, Self

from closedwon import mapping
from closedwon.errors import AttentionError, AttentionReason
from closedwon.ids import OrgId, RecordId
from closedwon.mapping import MappingError
from closedwon.model import NOT_NEEDED, UNWON, ErpStatus, Message, Order
from closedwon.reader import moment, open_reader
from closedwon.settings import ErpByExpression, Route, Settings
from closedwon.snapshot import Declined, Deleted, Hidden, NotWanted, RecordSnapshot, Values, Wanted
from closedwon.write_back import Claims, Proof, claims, may_have_order

_DECLINED: Final = {ErpStatus.CANCELLED.value: "its order was cancelled", NOT_NEEDED: "it was closed as not needed"}
_STAMP: Final = "SystemModstamp"


class Erps(NamedTuple):
    """What the settings say about where orders of a route's records may be."""

    names: tuple[str, ...]
    """All configured ERPs."""
    siblings: tuple[Route, ...] = ()
    """The other routes over the same records."""

    @classmethod
    def of(cls, settings: Settings, route: Route) -> Self:
        """Take them from the settings."""
        return cls(tuple(erp.name for erp in settings.erps), tuple(settings.siblings(route)))


class Record:
    """One record of a route. Each question evaluates its expressions; the data is made exact only once."""

    def __init__(
        self,
        route: Route,
        org: OrgId,
        record: RecordId,
        fields: dict[str, Any],
        *,
        is_from_event: bool = False,
        modified_at: datetime | None = None,
    ) -> None:
        """Open the fields of a record, or with `is_from_event` those of a notification that was true at `modified_at`.

        Raises `MappingError` for data that is nested too deeply.
        """
        self.route = route
        self.org = org
        self.id = record
        self._reader = open_reader(route, fields)
        self._is_from_event = is_from_event
        self._modified_at = modified_at

    @classmethod
    def from_message(cls, route: Route, org: OrgId, record: RecordId, message: Message | None) -> Self:
        """Open the payload of a notification. Raises an `AttentionError` with the reason `bad-message`."""
        if message is None or message.payload is None:
            raise AttentionError(
                f"Route {route.name!r} takes the order from the event, but no event with a payload came",
                reason=AttentionReason.BAD_MESSAGE,
                cure='Set source = "record" for this route, or let Salesforce publish the event again.',
            )
        fields = mapping.event_record(route, message.payload)
        return cls(route, org, record, fields, is_from_event=True, modified_at=message.modified_at)

    @property
    def modified_at(self) -> datetime | None:
        """When this was true in Salesforce; None where neither record nor notification says so."""
        return self._modified_at if self._is_from_event else moment(self._fields.get(_STAMP))

    def qualifies(self) -> bool | None:
        """Whether the record deserves an order; None: `qualify` yields no value. Raises `MappingError`."""
        return mapping.verdict(self._reader)

    def order(self) -> Order:
        """Make the order that the record asks for. Raises as `mapping.order_of`."""
        order = mapping.order_of(self._reader, self.org, self.id)
        return order.model_copy(update={"modified_at": self.modified_at})

    def erp(self) -> str:
        """Name the ERP that the order goes to; whether there is one of this name is for `snapshot` to see."""
        if not isinstance(self.route.erp, ErpByExpression):
            return self.route.erp
        return self._reader.need(self._reader.text, "erp.expression", self.route.erp.expression)

    def written(self) -> Values:
        """Return the present values of the write-back fields that were read; nothing of a notification.

        Raises `MappingError` for a field that the record has in another case: it would count as empty.
        """
        if self._is_from_event:
            return {}
        names = self.route.write_back.fields
        in_case = {name.lower(): name for name in self._fields}
        for field in names:
            found = in_case.get(field.lower(), field)
            if found != field:
                raise MappingError(self.route, "write_back", f"the record has no field {field}; did you mean {found}?")
        return {
            field: self._reader.as_text(f"write_back ({field})", field, self._fields[field])
            for field in names
            if field in self._fields
        }

    def claims(self) -> Claims:
        """Return what the record says about its order, as far as that may be about this record."""
        return claims(self.route, self.org, self.id, self.written())

    def summary(self) -> str | None:
        """Name the deal and its amount for people, as far as the record tells; never raises."""
        return mapping.summary_in(self._reader)

    def changed_at(self) -> datetime | None:
        """Return when the record or one of its child records was changed last; None where none of them says so."""
        return max(filter(None, map(moment, self._stamps())), default=None)

    @property
    def _fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = self._reader.data
        return fields

    def _stamps(self) -> Iterator[Any]:
        yield self._fields.get(_STAMP)
        for value in self._fields.values():
            children = value.get("records") if isinstance(value, dict) else None
            for child in children if isinstance(children, list) else ():
                yield child.get(_STAMP) if isinstance(child, dict) else None


def snapshot(record: Record, erps: Erps) -> RecordSnapshot:
    """Say what becomes of a record that was read. Raises `MappingError` and the other errors of `Record.order`."""
    route, written, said = record.route, record.written(), record.claims()
    common: dict[str, Any] = {"policies": route.policies, "written": written, "modified_at": record.modified_at}
    verdict = record.qualifies()
    if verdict is not True:
        return NotWanted(
            erp=fixed_erp(route),
            number=None if said.has_given_up else said.number,
            may_have_order=may_have_order(route, said, written),
            is_certain=verdict is False,
            **common,
        )
    if said.has_given_up and said.proof is Proof.OWN:
        # A late duplicate of the first message must not order what somebody has given up since.
        note = f"{_DECLINED[said.status or '']}; empty {route.write_back.status} to order"
        return Declined(note=note, **common)
    erp, other_erps = _erps_of(record, erps, written)
    return Wanted(
        order=record.order(),
        erp=erp,
        other_erps=other_erps,
        number=said.number,
        number_is_proven=said.number_is_proven,
        reopen=said.status == UNWON and said.proof is Proof.OWN,
        unproven_status=said.status if said.has_given_up else None,
        **common,
    )


def gone(route: Route, message: Message | None, *, is_deleted: bool) -> Hidden | Deleted:
    """Say what becomes of a record that was not found: it was deleted, or our user may not see it."""
    if is_deleted:
        at = message.modified_at if message is not None and message.deleted else None
        return Deleted(erp=fixed_erp(route), policies=route.policies, modified_at=at)
    return Hidden(erp=fixed_erp(route), policies=route.policies)


def until_quiet(record: Record, now: datetime) -> timedelta:
    """Return how long record and lines must still be left alone before the record is ordered; 0: it is quiet.

    `now` is Salesforce's clock, which stamps the changes, too.
    """
    changed_at = record.changed_at()
    if not record.route.quiet or changed_at is None:
        return timedelta(0)
    return max(changed_at + record.route.quiet - now, timedelta(0))


def fixed_erp(route: Route) -> str | None:
    """Name the ERP of all records of a route; None where each record picks its own."""
    return route.erp if isinstance(route.erp, str) else None


def _erps_of(record: Record, erps: Erps, written: Values) -> tuple[str, tuple[str, ...]]:
    """Name the ERP for the record, and those that another state of it may have gone to, perhaps by another route.

    A record that went another route bears that route's number: its workflow ends only after it was written.
    """
    erp = record.erp()
    if isinstance(record.route.erp, str):
        others = [one for one in erps.siblings if written.get(one.write_back.number or "", "?")]
        by_name = {one.erp for one in others if isinstance(one.erp, str)}
        every = any(not isinstance(one.erp, str) for one in others)
        return erp, tuple(name for name in erps.names if name != erp and (name in by_name or every))
    if erp not in erps.names:
        raise AttentionError(
            f"The `erp.expression` of route {record.route.name!r} does not yield the name of a configured ERP",
            reason=AttentionReason.CONFIGURATION,
            cure="Correct the record or the expression, or add the ERP to `erps` in closedwon.toml (then restart the "
            "worker); then send `retry`.",
        )
    return erp, tuple(name for name in erps.names if name != erp)
