"""A record, opened once, and the decision what must happen to its order. Pure functions.

`snapshot` returns one of the cases of `closedwon.model.snapshot`. The activity `load_order` reads the records;
`closedwon route try` and the audit use the same functions.

This module implements two rules:

- What a record says about its order counts only if its key field proves that it is about this record
  (`closedwon.mapping.write_back`).
- If `qualify` yields no value, it is unknown whether the record qualifies. Then nothing is cancelled, and a person is
  asked, unless a person has declined the order already.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, Self

from closedwon.errors import AttentionError, AttentionReason
from closedwon.ids import OrgId, RecordId
from closedwon.mapping.orders import MappingError, event_record, head_of, order_of, summary_in, verdict
from closedwon.mapping.reader import moment, open_reader
from closedwon.mapping.write_back import Claims, Proof, claims, is_placed, may_have_order
from closedwon.model.erp import CANCELLED_UNQUALIFIED, STATUS_NOT_NEEDED, ErpStatus
from closedwon.model.messages import Message
from closedwon.model.orders import Order, OrderHead
from closedwon.model.snapshot import Declined, Deleted, Hidden, NotWanted, RecordSnapshot, Values, Wanted
from closedwon.settings import ErpByExpression, Route, Settings

_DECLINED: Final = {
    ErpStatus.CANCELLED.value: "its order was cancelled",
    STATUS_NOT_NEEDED: "it was closed as not needed",
}
_STAMP: Final = "SystemModstamp"


class Erps(NamedTuple):
    """The ERPs in which orders of a route's records may be, by the settings."""

    names: tuple[str, ...]
    """All configured ERPs."""
    siblings: tuple[Route, ...] = ()
    """The other routes with the same object in the same org."""

    @classmethod
    def of(cls, settings: Settings, route: Route) -> Self:
        """Take them from the settings."""
        return cls(tuple(erp.name for erp in settings.erps), tuple(settings.siblings(route)))


class Record:
    """One record of a route. Each method evaluates its expressions; the data is converted only once."""

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
        """Open the fields of a record or, with `is_from_event`, those of a notification with the time `modified_at`.

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
        """Open the payload of a notification. Raises an `AttentionError` with the reason `invalid-message`."""
        if message is None or message.payload is None:
            raise AttentionError(
                f"Route {route.name!r} takes the order from the event, but no event with a payload came",
                reason=AttentionReason.INVALID_MESSAGE,
                hint='Set source = "record" for this route, or let Salesforce publish the event again.',
            )
        fields = event_record(route, message.payload)
        return cls(route, org, record, fields, is_from_event=True, modified_at=message.modified_at)

    @property
    def modified_at(self) -> datetime | None:
        """The time of this state in Salesforce; None if neither record nor notification contains it."""
        return self._modified_at if self._is_from_event else moment(self._fields.get(_STAMP))

    def qualifies(self) -> bool | None:
        """Whether the record qualifies for an order; None: `qualify` yields no value. Raises `MappingError`."""
        return verdict(self._reader)

    def order(self) -> Order:
        """Make the order that the record describes. Raises the errors of `mapping.orders.order_of`."""
        order = order_of(self._reader, self.org, self.id)
        return order.model_copy(update={"modified_at": self.modified_at})

    def head(self) -> OrderHead:
        """Return what the record says about its order, without its lines. Raises `MappingError`."""
        return head_of(self._reader)

    def erp(self) -> str:
        """Name the ERP that the order goes to. Does not check that it is configured; `snapshot` does."""
        if not isinstance(self.route.erp, ErpByExpression):
            return self.route.erp
        return self._reader.need(self._reader.text, "erp.expression", self.route.erp.expression)

    def written(self) -> Values:
        """Return the current values of the write-back fields that were read; empty for a notification.

        Raises `MappingError` for a field that the record has in another case, because it would count as empty.
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
        """Name the deal and its amount for people, as far as the record contains them; never raises."""
        return summary_in(self._reader)

    def changed_at(self) -> datetime | None:
        """Return when the record or one of its child records was last changed; None if that is unknown."""
        return max(filter(None, map(moment, self._stamps())), default=None)

    def is_older_than(self, stamped_at: datetime | None) -> bool:
        """Whether the record is of a state before that time; False if a time is unknown."""
        shown = self.modified_at
        return shown is not None and stamped_at is not None and shown < stamped_at

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
    """Decide what must happen to a record that was read. Raises the errors of `Record.order`."""
    route, written, said = record.route, record.written(), record.claims()
    common: dict[str, Any] = {
        "policies": route.policies,
        "written": written,
        "is_placed": is_placed(route, said),
        "modified_at": record.modified_at,
    }
    verdict = record.qualifies()
    is_declined = said.is_declined and said.proof is Proof.OWN
    if verdict is False or (verdict is None and not is_declined):
        return NotWanted(
            erp=fixed_erp(route),
            number=None if said.is_declined else said.number,
            may_have_order=may_have_order(route, said, written),
            is_certain=verdict is False,
            **common,
        )
    if is_declined:
        # A late duplicate of the first message must not create an order that a person has declined since.
        note = f"{_DECLINED[said.status or '']}; empty {route.write_back.status} to order"
        return Declined(note=note, **common)
    erp, other_erps = _erps_of(record, erps, written)
    return Wanted(
        order=record.order(),
        erp=erp,
        other_erps=other_erps,
        number=said.number,
        number_is_proven=said.number_is_proven,
        needs_number=route.write_back.number is not None,
        reopen=said.status == CANCELLED_UNQUALIFIED and said.proof is Proof.OWN,
        unproven_status=said.status if said.is_declined else None,
        **common,
    )


def gone(route: Route, message: Message | None, *, is_deleted: bool) -> Hidden | Deleted:
    """Decide what must happen to a record that was not found: it was deleted, or our user has no access to it."""
    if is_deleted:
        at = message.modified_at if message is not None and message.deleted else None
        return Deleted(erp=fixed_erp(route), policies=route.policies, modified_at=at)
    return Hidden(erp=fixed_erp(route), policies=route.policies)


def until_quiet(record: Record, now: datetime) -> timedelta:
    """Return how long record and lines must still be unchanged before the order is made; 0: no wait is needed.

    `now` must come from Salesforce's clock, as the times of the changes do.
    """
    changed_at = record.changed_at()
    if not record.route.quiet or changed_at is None:
        return timedelta(0)
    return max(changed_at + record.route.quiet - now, timedelta(0))


def fixed_erp(route: Route) -> str | None:
    """Name the ERP of all records of a route; None if each record selects its own."""
    return route.erp if isinstance(route.erp, str) else None


def _erps_of(record: Record, erps: Erps, written: Values) -> tuple[str, tuple[str, ...]]:
    """Name the ERP for the record, and the others to which an earlier state of it may have gone, also by another route.

    A record that was ordered by another route has a number in that route's field, because the workflow ends only after
    writing it.
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
            hint="Correct the record or the expression, or add the ERP to `erps` in closedwon.toml (then restart the "
            "worker); then send `retry`.",
        )
    return erp, tuple(name for name in erps.names if name != erp)
