"""What Salesforce, the ERPs and Temporal say of one record: the facts that `judge` compares. Pure data.

No input or output here: `gather` and `views` make them of what the three have answered.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from decimal import Decimal
from typing import Final, NamedTuple

from pydantic import AwareDatetime

from closedwon.audit.kinds import Kind
from closedwon.model import GIVEN_UP, ErpOrder, Frozen, Order, Origin
from closedwon.names import OrderStage, RecordKey
from closedwon.temporal import Ended
from closedwon.write_back import Proof

_AT_REST: Final = frozenset({OrderStage.ATTENTION, OrderStage.CANCELLED, OrderStage.NOT_NEEDED, OrderStage.FOLLOWING})
"""Stages of running workflows that do nothing about the record before somebody speaks to them."""


class Deal(Frozen):
    """A record as Salesforce has it, seen through its route."""

    route: str
    modified_at: AwareDatetime
    wanted: bool | None
    """Whether it deserves an order; None where only a message could tell (routes with source `event`)."""
    deleted: bool = False
    by_event: bool = False
    """Its order is made of messages: another look without one would find nothing to order."""
    tolerated: frozenset[Kind] = frozenset()
    """What the route's policies leave as it is."""
    order: Order | None = None
    """What it asks the ERP for; or says, if it is not wanted."""
    erp: str | None = None
    """The ERP that it picks; None where it wants no order, or nothing says so."""
    problem: str | None = None
    """Why no order can be made of it."""
    told: frozenset[str] = frozenset()
    """What the route writes back: `number`, `status`."""
    number: str | None = None
    status: str | None = None
    """Both None where the record holds another record's key."""
    proof: Proof = Proof.NONE
    """Whose `number` and `status` are, as the record's key field says."""

    @property
    def is_copy(self) -> bool:
        """Whether what it says of its order is another record's, or a decision that nothing on it proves."""
        is_unproven = self.status in GIVEN_UP and self.proof is not Proof.OWN
        return self.proof is Proof.OTHER or ("status" in self.told and is_unproven)

    def words(self) -> str:
        """What Salesforce says, in one line without customer data."""
        state = "deleted" if self.deleted else {True: "won", False: "not won", None: "by event"}[self.wanted]
        order = self.order
        asked = order and _money(order.amount, order.currency, len(order.lines))
        shows = " ".join(part for part in (self.number, self.status) if part) or "nothing"
        if self.proof is Proof.OTHER:
            shows = "the key of another record"
        return ", ".join(part for part in (state, asked, self.told and f"shows {shows}", self.problem) if part)


class Booked(Frozen):
    """An order as an ERP has it."""

    erp: str
    key: str
    order: ErpOrder

    def words(self) -> str:
        """What the ERP says, in one line."""
        order = self.order
        total = _money(order.amount, order.currency, order.line_count)
        made = "" if order.origin in (None, Origin.CREATED) else f", {order.origin.value}"
        return f"{self.erp} {order.number or f'id {order.id}'} {order.status.value}, {total}{made}"


class Flow(Frozen):
    """The newest run of a record's workflow as Temporal lists it."""

    status: str
    """`running`, `completed`, `terminated`, …"""
    route: str | None = None
    stage: OrderStage | None = None
    reason: str | None = None
    number: str | None = None
    started_at: AwareDatetime
    ended: Ended | None = None
    """How it has ended, where that was asked."""

    @property
    def under_way(self) -> bool:
        """Whether it goes on by itself.

        One in attention waits; one that is given up only remembers; one that follows its order looks at the ERP alone.
        """
        return self.status == "running" and self.stage not in _AT_REST

    @property
    def in_attention(self) -> bool:
        """Whether it waits for a person."""
        return self.status == "running" and self.stage is OrderStage.ATTENTION

    @property
    def keeps_order(self) -> bool:
        """Whether a person keeps the order although its deal no longer qualifies."""
        return self.ended is not None and self.ended.spared

    @property
    def has_declined(self) -> bool:
        """Whether a person has decided that there is no order; one that runs on rests after such a decision."""
        if self.status == "running":
            return self.stage is OrderStage.CANCELLED
        return self.ended is not None and self.ended.declined

    def words(self) -> str:
        """Where it stands."""
        if self.in_attention:
            return f"needs attention ({self.reason})"
        stage = self.stage.value if self.stage else ""
        where = stage if self.status in ("running", "completed") else f"{self.status}, {stage}"
        return f"{where} {self.number or ''}".strip()

    def sees(self, kind: Kind) -> bool:
        """Whether it will notice that disagreement by itself."""
        return self.under_way or (self.stage is OrderStage.FOLLOWING and kind is Kind.CANCELLED_IN_ERP)


class Facts(NamedTuple):
    """Three listings by record. A record that is not among the deals is not there (any more)."""

    deals: Mapping[RecordKey, Deal]
    orders: Mapping[RecordKey, list[Booked]]
    flows: Mapping[RecordKey, Flow]

    def records(self) -> list[RecordKey]:
        """Every record that anybody has spoken of."""
        return sorted(self.deals.keys() | self.orders.keys() | self.flows.keys())

    def keeping_origin(self) -> frozenset[str]:
        """ERPs that keep an order's origin, as some of their orders show."""
        booked = itertools.chain.from_iterable(self.orders.values())
        return frozenset(one.erp for one in booked if one.order.origin is not None)

    def of(self, key: RecordKey) -> tuple[Deal | None, list[Booked], Flow | None]:
        """What each of the three says of a record."""
        return self.deals.get(key), self.orders.get(key, []), self.flows.get(key)


def _money(amount: Decimal, currency: str, lines: int) -> str:
    """An amount with its number of lines."""
    return f"{amount:,.2f} {currency} on {lines} line{'' if lines == 1 else 's'}"
