"""The state of one order workflow: every field, with its meaning, in one serializable structure.

`OrderStart` is the pure input of a workflow; `OrderState` is everything that the workflow has learned or done since.
A new run of the same workflow (continue-as-new) receives both, so nothing is carried by hand. `workflows.order`
changes the state, `workflows.order_table` says what a command does in it, `workflows.presenter` shows it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from closedwon.errors import AttentionReason
from closedwon.ids import OrgId, RecordId
from closedwon.model import Decision, ErpOrder, ErpStatus, Following, Frozen, Order, Pace
from closedwon.names import OrderStage
from closedwon.notifications import Notifications
from closedwon.snapshot import Values


class Problem(Frozen):
    """Why no retry can help: the details of an `AttentionError` as a workflow reads them."""

    reason: AttentionReason
    message: str
    cure: str
    in_doubt_since: AwareDatetime | None = None
    """When the newest attempt was given up of which it is not known whether it changed the ERP. None: there is none."""


class Situation(NamedTuple):
    """What decides about the effect of a command; see `workflows.order_table`."""

    stage: OrderStage
    reason: AttentionReason | None
    """While the order needs attention: why."""
    deciding: str | None
    """The decision that is being carried out, or that stopped here: `cancel`, `resolve` or `skip`."""
    has_order: bool
    """The ERP is known to have an order of this record that is not cancelled."""


class OrderState(BaseModel):
    """Mutable; changed by the workflow only."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    stage: OrderStage = OrderStage.LOADING
    problem: Problem | None = None
    """While the stage is `attention`: why."""

    # What Salesforce says.
    notifications: Notifications = Field(default_factory=Notifications)
    session: str | None = None
    """The session id that came with the newest notification, sealed."""
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
    tried: bool = False
    """The ERP was asked to make the order: it may have made it, whatever it answered."""
    in_doubt: dict[str, AwareDatetime] = Field(default_factory=dict)
    """By ERP ("": not known which): when the last attempt to make the order was given up without an answer."""
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
        """An attempt in this ERP (None: not known which) was given up without an answer."""
        known = self.in_doubt.get(erp or "")
        self.in_doubt[erp or ""] = since if known is None else max(known, since)

    def newest_doubt(self, *, except_in: str | None = None) -> AwareDatetime | None:
        """When the newest attempt without an answer was given up, in another ERP than `except_in`."""
        return max((at for name, at in self.in_doubt.items() if except_in is None or name != except_in), default=None)


class OrderStart(Frozen):
    """The input of an order workflow."""

    org: OrgId
    record: RecordId
    route: str
    pace: Pace = Pace()
    remember: timedelta = timedelta(0)
    """How long the workflow stays open after its end is known, so that late notifications are recognized as late. Only
    for routes whose orders are made of notifications: elsewhere the record itself shows its newest state."""
    follow: Following | None = None
    """How to follow an order that was taken by its number; for all others each reading of the record says it."""
    state: OrderState | None = None
    """From the run before."""
