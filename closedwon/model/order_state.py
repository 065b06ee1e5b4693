"""The state of one order workflow: every field, with its meaning, in one serializable structure.

`OrderStart` is the pure input of a workflow; `OrderState` is everything that the workflow has learned or done since.
A new run of the same workflow (continue-as-new) receives both, so nothing is carried by hand. `workflows.order`
changes the state, `workflows.order_table` says what a command does in it, `workflows.presenter` shows it.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple, Self

from pydantic import AwareDatetime, Field

from closedwon.errors import AttentionReason
from closedwon.ids import OrgId, RecordId
from closedwon.model.base import Frozen, Model, fields_of
from closedwon.model.commands import Decision
from closedwon.model.erp import ErpOrder, ErpStatus
from closedwon.model.notifications import Notifications
from closedwon.model.orders import Order
from closedwon.model.routes import RouteStart
from closedwon.model.snapshot import Values
from closedwon.names import OrderStage

_SALESFORCE_ID: Final = re.compile(r"\b(?=(?:[A-Za-z]*[0-9]){3})[0-9A-Za-z]{15}(?:[0-9A-Za-z]{3})?\b")
_NUMBER: Final = re.compile(r"\d[\d.,:/-]*")
_VARYING: Final = frozenset({AttentionReason.ERP_REJECTED, AttentionReason.RETRIES_EXHAUSTED})
"""Reasons whose messages quote others, and hold numbers of orders, amounts and times."""


class Problem(Frozen):
    """Why no retry can help: the details of an `AttentionError` as a workflow reads them."""

    reason: AttentionReason
    message: str
    hint: str
    erp: str | None = None
    """The ERP that refused."""
    in_doubt_since: AwareDatetime | None = None
    """When the newest attempt that may have changed the ERP unnoticed was abandoned. None: there is no such attempt."""

    @property
    def cause(self) -> str | None:
        """What it has in common with other orders: the same in all that one correction puts right.

        None where each order is decided on by itself. Ids of Salesforce never make a difference, and numbers only
        where they may be part of a name.
        """
        if self.reason.is_of_one_record:
            return None
        text = _SALESFORCE_ID.sub("…", self.message)
        if self.reason in _VARYING:
            text = _NUMBER.sub("#", text)
        return f"{self.reason}: {self.erp or ''}: {text}"


class Situation(NamedTuple):
    """What decides about the effect of a command; see `workflows.order_table`."""

    stage: OrderStage
    reason: AttentionReason | None
    """While the order needs attention: why."""
    deciding: str | None
    """The decision that is being carried out, or that stopped here: `cancel`, `resolve` or `skip`."""
    has_order: bool
    """The ERP is known to have an order of this record that is not cancelled."""


class OtherRoute(Model):
    """Another route that reported this record while the workflow follows its own. Mutable, as the state."""

    start: RouteStart
    notifications: Notifications = Field(default_factory=Notifications)
    session: str | None = None
    """As in `OrderState`."""
    rests: bool = False
    """The workflow has followed it to its end: what arrives now may be late, and must be recognized as late."""


class OrderState(Model):
    """Mutable; changed by the workflow only."""

    stage: OrderStage = OrderStage.LOADING
    problem: Problem | None = None
    """While the stage is `attention`: why."""

    # What Salesforce says.
    notifications: Notifications = Field(default_factory=Notifications)
    session: str | None = None
    """The session id that came with the newest notification, sealed."""
    other_routes: dict[str, OtherRoute] = Field(default_factory=dict)
    """By name: other routes over the same object that notifications arrived by (`workflows.other_routes`)."""
    order: Order | None = None
    """What the record asked for when it was last read."""
    erp: str | None = None
    """The ERP that the record picks; None while several may have the order."""
    shown_number: str | None = None
    """The order number that the record shows and that counts."""
    written: Values = Field(default_factory=dict)
    """Present values of the write-back fields, as far as they are known."""
    is_unqualified: bool = False
    """The last reading found that the record no longer qualifies, or was deleted, and may have an order."""

    # What the ERP has.
    placed: ErpOrder | None = None
    """The order in the ERP."""
    placed_for: Order | None = None
    """What `placed` was made or compared for."""
    placed_in: str | None = None
    """The ERP of `placed`."""
    has_agreed: bool = False
    """The order in the ERP, not cancelled since, was once confirmed as the record asked for, or named by a person."""
    tried: bool = False
    """The ERP was asked to make the order: it may have made it, whatever it answered."""
    in_doubt: dict[str, AwareDatetime] = Field(default_factory=dict)
    """By ERP ("": not known which): when the last attempt to make the order was abandoned without an answer."""
    check_since: AwareDatetime | None = None
    """A write that does not commute (amend, cancel, reopen) got no answer and is not fenced: since then. The order is
    compared once more when the ERP's in-doubt time is over."""
    check_reopens: bool = False
    """Such a write was our own cancel: an order that is wanted and found cancelled by then is reopened."""
    cancelled_after_reopen: bool = False
    """Closedwon cancelled the order, or tried to, because the record no longer qualified. If it is won again, that
    order is reopened."""

    # What people decided.
    decision: Decision | None = None
    """The newest decision, whatever has become of it."""
    decision_is_pending: bool = False
    """`decision` is still to be begun."""
    deciding: Decision | None = None
    """The decision that is being carried out."""
    resolution: Decision | None = None
    """The order in the ERP is the one that an operator named."""
    retry_asked: bool = False
    """Cleared by the step that tries again."""
    workflow_cancelled: bool = False
    keeps_order: bool = False
    """An operator keeps the order although the record no longer qualifies."""
    leaves_unwritten: bool = False
    """Salesforce refuses to store what became of a decision, and an operator ends the order without it."""

    # Deadlines and alerts.
    follow_until: AwareDatetime | None = None
    alerted: str | None = None
    """The reason that was last alerted and is not over."""
    alert_raising: str | None = None
    """The id of an alert that was just being raised."""

    @property
    def has_order(self) -> bool:
        """Whether the ERP is known to have an order that is not cancelled."""
        return self.placed is not None and self.placed.status is not ErpStatus.CANCELLED

    @property
    def situation(self) -> Situation:
        """What decides about the effect of a command."""
        return Situation(
            stage=self.stage,
            reason=self.problem.reason if self.problem is not None else None,
            deciding=self.deciding.to if self.deciding is not None else None,
            has_order=self.has_order,
        )

    def note_doubt(self, erp: str | None, since: AwareDatetime) -> None:
        """Record that an attempt in this ERP (None: not known which) was abandoned without an answer."""
        known = self.in_doubt.get(erp or "")
        self.in_doubt[erp or ""] = since if known is None else max(known, since)

    def newest_doubt(self, *, except_in: str | None = None) -> AwareDatetime | None:
        """Return when the newest attempt without an answer was abandoned, in any ERP but `except_in`."""
        return max((at for name, at in self.in_doubt.items() if except_in is None or name != except_in), default=None)


class OrderStart(RouteStart):
    """The input of an order workflow: whose order it is, and what must be known of its route."""

    org: OrgId
    record: RecordId
    state: OrderState | None = None
    """From the run before."""

    @classmethod
    def of_route(cls, route: RouteStart, *, org: OrgId, record: RecordId, state: OrderState | None = None) -> Self:
        """The input for a record of a route."""
        return cls(org=org, record=record, state=state, **fields_of(RouteStart, route))

    @property
    def of_its_route(self) -> RouteStart:
        """What it says of its route."""
        return RouteStart(**fields_of(RouteStart, self))
