"""What Salesforce, the ERPs and Temporal say of the same records, compared three ways. Facts in, report out.

No input or output here: the facts come from `closedwon.audit.gather`. Every kind of disagreement is one line of
`KINDS`; what is compared is in `_judge`. A record that was changed a moment ago, or whose workflow is under way, is
not judged yet: what does not agree about it counts as under way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple

from pydantic import AwareDatetime, Field

from closedwon.erp.comparing import differs
from closedwon.ids import OrgId, RecordId
from closedwon.model import GIVEN_UP, ErpOrder, ErpStatus, Frozen, Order
from closedwon.names import OrderStage, RecordKey


class Kind(StrEnum):
    """What does not agree: stable words, sections of the runbook in docs/operating.md."""

    WON_WITHOUT_ORDER = "won-without-order"
    NOT_CONFIRMED = "not-confirmed"
    CANCELLED_IN_ERP = "cancelled-in-erp"
    ORDER_WITHOUT_DEAL = "order-without-deal"
    DOUBLED = "doubled"
    AMOUNT_DIFFERS = "amount-differs"
    NOT_WRITTEN_BACK = "not-written-back"
    UNKNOWN_NUMBER = "unknown-number"
    WORKFLOW_DIFFERS = "workflow-differs"
    ORPHANED_CUSTOMER = "orphaned-customer"


class Meaning(NamedTuple):
    """A kind of disagreement in words."""

    title: str
    cure: str
    """What to do about it."""


KINDS: Final = {
    Kind.WON_WITHOUT_ORDER: Meaning(
        "won, but no ERP has an order", "Let its workflow look again; where that needs attention, it says why."
    ),
    Kind.NOT_CONFIRMED: Meaning(
        "won, but the order is not confirmed in the ERP", "Let its workflow take the order on."
    ),
    Kind.CANCELLED_IN_ERP: Meaning(
        "won, but its order is cancelled in the ERP",
        "Take the order back to draft in the ERP and let the workflow look again; or send its workflow `cancel`.",
    ),
    Kind.AMOUNT_DIFFERS: Meaning(
        "the order's total, currency or lines are not the deal's",
        "Let its workflow compare; then make the ERP's order or the record agree with what was sold.",
    ),
    Kind.NOT_WRITTEN_BACK: Meaning(
        "Salesforce does not show what the ERP has", "Let its workflow write number and status back."
    ),
    Kind.ORDER_WITHOUT_DEAL: Meaning(
        "the ERP has an order, but Salesforce no won deal for it",
        "Let its workflow do what the route's policy says; or cancel in the ERP, or win the deal again.",
    ),
    Kind.DOUBLED: Meaning(
        "more than one order of one record", "Cancel in the ERP the order that is too many; keep the one delivered."
    ),
    Kind.UNKNOWN_NUMBER: Meaning(
        "Salesforce shows an order that no ERP has under the record's key",
        "If it is won, let its workflow look: it takes over an order made by hand, orders, or asks; else empty it.",
    ),
    Kind.WORKFLOW_DIFFERS: Meaning(
        "the workflow ended with another order than the ERP has",
        "See in Temporal how it ended, and in the ERP what became of that order.",
    ),
    Kind.ORPHANED_CUSTOMER: Meaning(
        "customers that were made for an order, and have none",
        "See what became of the Account's deal; an order that waits for a person may need them. Else remove them.",
    ),
}  # fmt: skip
"""In the order in which they are reported."""


FIXABLE: Final = frozenset({
    Kind.WON_WITHOUT_ORDER, Kind.NOT_CONFIRMED, Kind.CANCELLED_IN_ERP, Kind.AMOUNT_DIFFERS, Kind.NOT_WRITTEN_BACK,
    Kind.UNKNOWN_NUMBER,
})  # fmt: skip
"""What another look by its workflow cures for a won deal: it orders, confirms, compares, writes back, or asks."""


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
    """What it asks the ERP for."""
    problem: str | None = None
    """Why no order can be made of it."""
    told: frozenset[str] = frozenset()
    """What the route writes back: `number`, `status`."""
    number: str | None = None
    status: str | None = None

    def words(self) -> str:
        """What Salesforce says, in one line without customer data."""
        state = "deleted" if self.deleted else {True: "won", False: "not won", None: "by event"}[self.wanted]
        order = self.order
        asked = order and _money(order.amount, order.currency, len(order.lines))
        shows = " ".join(part for part in (self.number, self.status) if part) or "nothing"
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
        return f"{self.erp} {order.number or f'id {order.id}'} {order.status.value}, {total}"


class Flow(Frozen):
    """The newest run of a record's workflow as Temporal lists it."""

    status: str
    """`running`, `completed`, `terminated`, …"""
    route: str | None = None
    stage: OrderStage | None = None
    reason: str | None = None
    number: str | None = None
    started_at: AwareDatetime
    spared: bool = False
    """A person lets the order live, though its deal was taken back."""

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

    def of(self, key: RecordKey) -> tuple[Deal | None, list[Booked], Flow | None]:
        """What each of the three says of a record."""
        return self.deals.get(key), self.orders.get(key, []), self.flows.get(key)


class Finding(Frozen):
    """One disagreement: what each side says."""

    kind: Kind
    org: OrgId | None
    """None for an orphaned customer: an ERP does not know which org's it is."""
    record: RecordId
    """Of an orphaned customer, the Account."""
    route: str | None
    salesforce: str
    erp: str
    workflow: str
    fixable: bool = False
    since: AwareDatetime | None = None
    """When the workflow that is under way began, or else when the record was changed last."""


class Counts(Frozen):
    """How many deals came how far."""

    won: int = 0
    ordered: int = 0
    """Won deals whose order the ERP has taken."""
    written_back: int = 0
    """Won deals that carry the number of their order in the ERP."""
    cancelled: int = 0
    """Won deals that somebody has given up, as their record says: cancelled, or not needed."""
    doubled: int = 0
    """Orders too many: beyond the first of a deal, or of a deal that was not won."""
    lost: int = 0
    """Won deals without an order."""


class Report(Frozen):
    """The outcome of an audit."""

    since: AwareDatetime
    until: AwareDatetime
    counts: Counts
    settled: Counts
    """The same without what is under way."""
    totals_right: int = 0
    """Won deals whose one order has the total that the record says was signed."""
    findings: tuple[Finding, ...] = ()
    under_way: tuple[Finding, ...] = ()
    """What does not agree yet, of records that are too young or whose workflow goes on."""
    in_attention: int = 0
    """Workflows that wait for a person, whether the books agree or not."""
    looked_at: dict[str, int] = Field(default_factory=dict)
    """How many records, orders and workflows."""
    calls: dict[str, int] = Field(default_factory=dict)
    """API calls, by org and ERP."""

    @property
    def clean(self) -> bool:
        """Whether nothing disagrees."""
        return not self.findings


def orphan(erp: str, account: RecordId) -> Finding:
    """The finding about a customer without an order."""
    return Finding(
        kind=Kind.ORPHANED_CUSTOMER,
        org=None,
        record=account,
        route=None,
        salesforce="an Account",
        erp=f"{erp}: a customer without an order",
        workflow="",
    )


def doubtful(facts: Facts) -> list[RecordKey]:
    """Records about which the listings do not agree, or that Salesforce has not listed."""
    return [key for key in facts.records() if key not in facts.deals or any(_judge(key, *facts.of(key)))]


def disagreements(facts: Facts, keys: Iterable[RecordKey], *, young: datetime) -> tuple[list[Finding], list[Finding]]:
    """Compare the three listings for some records: what disagrees, and what may still go away by itself.

    The second are records that were changed after `young`, and those whose workflow goes on.
    """
    settled: list[Finding] = []
    under_way: list[Finding] = []
    for key in keys:
        deal, booked, flow = facts.of(key)
        is_young = deal is not None and deal.modified_at > young
        for finding in _judge(key, deal, booked, flow):
            moves = is_young or (flow is not None and flow.sees(finding.kind))
            (under_way if moves else settled).append(finding)
    return settled, under_way


def count(facts: Facts, keys: Iterable[RecordKey]) -> Counts:
    """Count how far deals came."""
    total: Counter[str] = Counter()
    for key in keys:
        deal, booked, flow = facts.of(key)
        live = _live(booked)
        wanted = deal is not None and (bool(live) if deal.wanted is None else deal.wanted)
        may_live = wanted or Kind.ORDER_WITHOUT_DEAL in _tolerated(deal, flow)
        total["doubled"] += max(len(live) - may_live, 0)
        if deal is None or not wanted:
            continue
        ordered = [one.order for one in live if one.order.status.exists_as_order]
        given_up = _given_up(deal, flow)
        total["won"] += 1
        total["ordered"] += bool(ordered)
        total["written_back"] += any(order.number == deal.number for order in ordered)
        total["cancelled"] += given_up and not live
        total["lost"] += not given_up and not booked
    return Counts(**total)


def _judge(key: RecordKey, deal: Deal | None, booked: list[Booked], flow: Flow | None) -> Iterator[Finding]:
    live = _live(booked)

    def finding(kind: Kind) -> Finding:
        return Finding(
            kind=kind,
            org=key.org,
            record=key.record,
            route=deal.route if deal else flow.route if flow else None,
            salesforce=deal.words() if deal else "no such record",
            erp="; ".join(one.words() for one in booked) or "no order",
            workflow=flow.words() if flow else "no workflow",
            fixable=deal is not None and not deal.by_event and _is_cured(kind, deal),
            since=flow.started_at if flow and flow.under_way else deal.modified_at if deal else None,
        )

    tolerated = _tolerated(deal, flow)
    given_up = deal is not None and _given_up(deal, flow)
    kinds = [kind for kind in _of_the_books(deal, booked, live, given_up=given_up) if kind not in tolerated]
    yield from map(finding, kinds)
    if not kinds and flow is not None and flow.stage is OrderStage.COMPLETED and flow.number:
        known = {one.order.number for one in booked}
        if flow.number not in known:
            yield finding(Kind.WORKFLOW_DIFFERS)


def _of_the_books(deal: Deal | None, booked: list[Booked], live: list[Booked], *, given_up: bool) -> Iterator[Kind]:
    """Compare Salesforce with the ERP."""
    if len(live) > 1:
        yield Kind.DOUBLED  # which of them is the right one, a person must say first
    elif deal is None or deal.wanted is False or given_up:
        if live:
            yield Kind.ORDER_WITHOUT_DEAL
        elif deal is not None and not booked and deal.number:
            yield Kind.UNKNOWN_NUMBER
        elif deal is not None and not deal.deleted and booked and "status" in deal.told and _is_taken(deal.status):
            yield Kind.NOT_WRITTEN_BACK  # that it is cancelled
    elif live:
        yield from _of_an_order(deal, live[0].order)
    elif booked:
        yield Kind.CANCELLED_IN_ERP
    elif deal.number:
        yield Kind.UNKNOWN_NUMBER
    elif deal.wanted:
        yield Kind.WON_WITHOUT_ORDER


def _of_an_order(deal: Deal, order: ErpOrder) -> Iterator[Kind]:
    if not order.status.exists_as_order:
        yield Kind.NOT_CONFIRMED
        return
    if deal.order and differs(order, deal.order):
        yield Kind.AMOUNT_DIFFERS
    untold = "number" in deal.told and deal.number != order.number
    if untold or ("status" in deal.told and not _is_taken(deal.status)):
        yield Kind.NOT_WRITTEN_BACK


def _is_cured(kind: Kind, deal: Deal) -> bool:
    """Whether another look by the workflow helps: it makes the order of a won deal, and takes back that of another."""
    return kind in FIXABLE if deal.wanted else deal.wanted is False and kind is Kind.ORDER_WITHOUT_DEAL


def _tolerated(deal: Deal | None, flow: Flow | None) -> frozenset[Kind]:
    """What the route's policies, or a person's word, leave as it is."""
    spared = frozenset({Kind.ORDER_WITHOUT_DEAL} if flow is not None and flow.spared else ())
    return spared | (deal.tolerated if deal else frozenset())


def _given_up(deal: Deal, flow: Flow | None) -> bool:
    """Whether somebody has cancelled the order or wants none: the record says so, or else its workflow."""
    if "status" in deal.told:
        return deal.status in GIVEN_UP
    return flow is not None and flow.stage is OrderStage.CANCELLED


def _live(booked: Iterable[Booked]) -> list[Booked]:
    return [one for one in booked if one.order.status is not ErpStatus.CANCELLED]


def _is_taken(status: str | None) -> bool:
    """Whether the record says that its order exists. Which of these words it shows, only routes that follow tell."""
    return status in [one.value for one in ErpStatus if one.exists_as_order]


def _money(amount: Decimal, currency: str, lines: int) -> str:
    """An amount with its number of lines."""
    return f"{amount:,.2f} {currency} on {lines} line{'' if lines == 1 else 's'}"
