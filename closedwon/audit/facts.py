"""The facts about one record that `compare` compares: what Salesforce, the ERPs and Temporal have. Pure data.

`collect` and `views` make them from the answers of the three systems.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from decimal import Decimal
from typing import Final, NamedTuple

from pydantic import AwareDatetime

from closedwon.audit.kinds import FindingKind
from closedwon.mapping.write_back import Proof
from closedwon.model.base import Frozen
from closedwon.model.erp import DECLINED_STATUSES, ErpOrder, Origin
from closedwon.model.orders import Order, OrderHead
from closedwon.model.outcomes import OrderResult
from closedwon.names import OrderStage, RecordKey

_DECIDED: Final = frozenset({OrderStage.CANCELLED, OrderStage.NOT_NEEDED})
"""Stages of a running workflow that will not order."""
_AT_REST: Final = frozenset({OrderStage.ATTENTION, OrderStage.CANCELLED, OrderStage.NOT_NEEDED, OrderStage.FOLLOWING})
"""Stages in which a running workflow does nothing for the record until it gets a message or a command."""


class AuditedDeal(Frozen):
    """A record as Salesforce has it, seen through its route."""

    route: str
    modified_at: AwareDatetime
    wanted: bool | None
    """Whether it must have an order; None if only a message contains that (routes with source `event`)."""
    deleted: bool = False
    by_event: bool = False
    """Its order comes from messages, so a workflow without a message cannot create one."""
    tolerated: frozenset[FindingKind] = frozenset()
    """Kinds of findings that the route's policies accept."""
    order: Order | None = None
    """The order that the record describes, also if it is not wanted."""
    head: OrderHead | None = None
    """What a deleted record says about its order; its lines are deleted with it."""
    erp: str | None = None
    """The ERP that the record selects; None if it wants no order, or that is unknown."""
    problem: str | None = None
    """Why no order can be made from the record."""
    writes_back: frozenset[str] = frozenset()
    """What the route writes back: `number`, `status`."""
    number: str | None = None
    status: str | None = None
    """Both None if the record has another record's key."""
    proof: Proof = Proof.NONE
    """Which record `number` and `status` are about, by the record's key field."""

    @property
    def is_copy(self) -> bool:
        """Whether its number and status are another record's, or its status is a decision without proof."""
        is_unproven = self.status in DECLINED_STATUSES and self.proof is not Proof.OWN
        return self.proof is Proof.OTHER or ("status" in self.writes_back and is_unproven)

    @property
    def description(self) -> str:
        """What Salesforce has, in one line without customer data."""
        state = "deleted" if self.deleted else {True: "won", False: "not won", None: "by event"}[self.wanted]
        order = self.order
        asked = order and _money(order.amount, order.currency, len(order.lines))
        shows = " ".join(part for part in (self.number, self.status) if part) or "nothing"
        if self.proof is Proof.OTHER:
            shows = "the key of another record"
        return ", ".join(part for part in (state, asked, self.writes_back and f"shows {shows}", self.problem) if part)


class ErpEntry(Frozen):
    """An order as an ERP has it."""

    erp: str
    key: str
    order: ErpOrder

    @property
    def description(self) -> str:
        """What the ERP has, in one line."""
        order = self.order
        total = _money(order.amount, order.currency, order.line_count)
        made = "" if order.origin in (None, Origin.CREATED) else f", {order.origin.value}"
        return f"{self.erp} {order.number or f'id {order.id}'} {order.status.value}, {total}{made}"


class AuditedWorkflow(Frozen):
    """The newest run of a record's workflow as Temporal lists it."""

    status: str
    """`running`, `completed`, `terminated`, …"""
    route: str | None = None
    stage: OrderStage | None = None
    reason: str | None = None
    number: str | None = None
    started_at: AwareDatetime
    run: str | None = None
    """Its run id."""
    wedged: bool = False
    """Its workflow tasks fail, so it does not continue by itself."""
    ended: OrderResult | None = None
    """Its result, if that was read."""
    cancelled_before: AuditedWorkflow | None = None
    """The newest run before this one that ended with its order cancelled."""

    @property
    def cancelling(self) -> AuditedWorkflow | None:
        """The newest run that ended with the order cancelled, if there is one."""
        has_cancelled = self.status != "running" and self.stage is OrderStage.CANCELLED
        return self if has_cancelled else self.cancelled_before

    @property
    def is_open(self) -> bool:
        """Whether it still may order: it works, or waits for a system, a person or a key."""
        return self.status == "running" and self.stage not in _DECIDED

    @property
    def under_way(self) -> bool:
        """Whether it continues by itself.

        A workflow in attention waits for a person. A cancelled one only waits for late messages. One that follows its
        order reads only the ERP. A wedged one waits for another version of the code, or for an encryption key.
        """
        return self.status == "running" and self.stage not in _AT_REST and not self.wedged

    @property
    def in_attention(self) -> bool:
        """Whether it waits for a person."""
        return self.status == "running" and self.stage is OrderStage.ATTENTION

    @property
    def keeps_order(self) -> bool:
        """Whether a person keeps the order although its deal no longer qualifies."""
        return self.ended is not None and self.ended.kept_by_operator

    @property
    def has_declined(self) -> bool:
        """Whether a person has declined the order. A workflow that is still running is then in stage `cancelled`."""
        if self.status == "running":
            return self.stage is OrderStage.CANCELLED
        return self.ended is not None and self.ended.declined

    def merged_with(self, other: AuditedWorkflow) -> AuditedWorkflow:
        """Return the newer of two runs, with the newest one before it that ended with the order cancelled.

        The result does not depend on the order in which the runs are listed, nor on repetitions.
        """
        older, newer = sorted((self, other), key=lambda flow: flow.started_at)
        if older.run == newer.run:
            return other.model_copy(update={"cancelled_before": self.cancelled_before})
        known = [one for one in (older.cancelling, newer.cancelled_before) if one is not None]
        return newer.model_copy(update={"cancelled_before": max(known, key=lambda one: one.started_at, default=None)})

    @property
    def description(self) -> str:
        """Its stage and result, in one line."""
        if self.in_attention:
            return f"needs attention ({self.reason})"
        stage = self.stage.value if self.stage else ""
        if self.wedged:
            return f"cannot continue ({stage})"
        where = stage if self.status in ("running", "completed") else f"{self.status}, {stage}"
        return f"{where} {self.number or ''}".strip()

    def will_notice(self, kind: FindingKind) -> bool:
        """Whether the workflow will notice that disagreement by itself."""
        follows = self.stage is OrderStage.FOLLOWING and not self.wedged
        return self.under_way or (follows and kind is FindingKind.CANCELLED_IN_ERP)


class Facts(NamedTuple):
    """The three listings by record. A record that is not in `deals` does not exist (any more)."""

    deals: Mapping[RecordKey, AuditedDeal]
    orders: Mapping[RecordKey, list[ErpEntry]]
    flows: Mapping[RecordKey, AuditedWorkflow]

    def records(self) -> list[RecordKey]:
        """Return every record of any listing, sorted."""
        return sorted(self.deals.keys() | self.orders.keys() | self.flows.keys())

    def keeping_origin(self) -> frozenset[str]:
        """Return the ERPs that store an order's origin, as at least one of their orders shows."""
        entries = itertools.chain.from_iterable(self.orders.values())
        return frozenset(one.erp for one in entries if one.order.origin is not None)

    def of(self, key: RecordKey) -> tuple[AuditedDeal | None, list[ErpEntry], AuditedWorkflow | None]:
        """Return what each of the three systems has about a record."""
        return self.deals.get(key), self.orders.get(key, []), self.flows.get(key)


def _money(amount: Decimal, currency: str, lines: int) -> str:
    """Write an amount with its number of lines."""
    return f"{amount:,.2f} {currency} on {lines} line{'' if lines == 1 else 's'}"
