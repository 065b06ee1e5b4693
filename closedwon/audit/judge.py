"""What Salesforce, the ERPs and Temporal say of the same records, compared three ways. Facts in, report out.

No input or output here: the facts come from `closedwon.audit.gather`. Every kind of disagreement is one line of
`KINDS`; what is compared is in `_of_the_books`. A record that was changed a moment ago, or whose workflow is under way,
is not judged yet: what does not agree about it counts as under way.

A record is compared with the ERP by the rules that the workflow keeps: what it says of its order counts only if that is
proven; customer, total, currency, lines and ERP must agree; an order that Closedwon did not make must be one that a
record may take. Some disagreements look like a person's decision until the workflow's end is known (`Flow.ended`):
they are reported as long as that was not asked, so that `gather` asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

from pydantic import AwareDatetime, Field

from closedwon.audit.facts import Booked, Deal, Facts, Flow
from closedwon.audit.kinds import FIXABLE, KINDS, Kind
from closedwon.audit.totals import has_signed_total
from closedwon.erp.comparing import differs, is_from_before, other_customer, total_agrees
from closedwon.ids import OrgId, RecordId
from closedwon.model import GIVEN_UP, KEPT, ErpOrder, ErpStatus, Frozen, Order, Origin
from closedwon.names import OrderStage, RecordKey
from closedwon.write_back import Proof

__all__ = [
    "KINDS",
    "Booked",
    "Counts",
    "Deal",
    "Facts",
    "Finding",
    "Flow",
    "Kind",
    "Report",
    "count",
    "disagreements",
    "doubtful",
    "orphan",
]

_MAY_BE_LATE: Final = frozenset({Kind.CANCELLED_IN_ERP, Kind.AMOUNT_DIFFERS, Kind.ORDER_WITHOUT_DEAL})
"""What a change looks like that took effect after a newer one."""


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
    keeping = facts.keeping_origin()
    return [
        key for key in facts.records() if key not in facts.deals or any(_kinds(*facts.of(key), keeping_origin=keeping))
    ]


def disagreements(facts: Facts, keys: Iterable[RecordKey], *, young: datetime) -> tuple[list[Finding], list[Finding]]:
    """Compare the three listings for some records: what disagrees, and what may still go away by itself.

    The second are records that were changed after `young`, and those whose workflow goes on.
    """
    settled: list[Finding] = []
    under_way: list[Finding] = []
    keeping = facts.keeping_origin()
    for key in keys:
        deal, booked, flow = facts.of(key)
        is_young = deal is not None and deal.modified_at > young
        for kind in _kinds(deal, booked, flow, keeping_origin=keeping):
            moves = is_young or (flow is not None and flow.sees(kind))
            (under_way if moves else settled).append(_finding(kind, key, deal, booked, flow))
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
        is_declined = _is_declined(deal, booked, flow)
        total["won"] += 1
        total["ordered"] += bool(ordered)
        total["written_back"] += any(order.number == deal.number for order in ordered)
        total["cancelled"] += is_declined and not live
        total["lost"] += not is_declined and not booked
    return Counts(**total)


def _finding(kind: Kind, key: RecordKey, deal: Deal | None, booked: list[Booked], flow: Flow | None) -> Finding:
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


def _kinds(
    deal: Deal | None, booked: list[Booked], flow: Flow | None, *, keeping_origin: frozenset[str]
) -> Iterator[Kind]:
    tolerated = _tolerated(deal, flow)
    is_late = _is_late(booked, flow)
    kinds = [kind for kind in _of_the_books(deal, booked, flow, keeping_origin) if kind not in tolerated]
    yield from dict.fromkeys(Kind.LATE_EFFECT if is_late and kind in _MAY_BE_LATE else kind for kind in kinds)
    if not kinds and flow is not None and flow.stage is OrderStage.COMPLETED and flow.number:
        known = {one.order.number for one in booked}
        if flow.number not in known:
            yield Kind.WORKFLOW_DIFFERS


def _of_the_books(
    deal: Deal | None, booked: list[Booked], flow: Flow | None, keeping_origin: frozenset[str]
) -> Iterator[Kind]:
    """Compare Salesforce with the ERP."""
    live = _live(booked)
    if len(live) > 1:
        yield Kind.DOUBLED  # which of them is the right one, a person must say first
    elif deal is None or deal.wanted is False or _is_declined(deal, booked, flow):
        yield from _of_no_order(deal, booked, flow, keeping_origin)
    elif live:
        yield from _of_an_order(deal, live[0], keeping_origin)
    elif booked:
        yield Kind.CANCELLED_IN_ERP
    elif deal.wanted and deal.is_copy:
        yield Kind.COPIED_STATUS
    elif deal.number:
        yield Kind.UNKNOWN_NUMBER
    elif deal.wanted:
        yield Kind.WON_WITHOUT_ORDER


def _of_no_order(
    deal: Deal | None, booked: list[Booked], flow: Flow | None, keeping_origin: frozenset[str]
) -> Iterator[Kind]:
    """A record that asks for no order, or whose order a person has declined."""
    if live := _live(booked):
        yield Kind.ORDER_WITHOUT_DEAL
        if deal is not None and _is_foreign(deal, live[0], keeping_origin):
            yield Kind.FOREIGN_ORDER  # which no policy about orders of ours tolerates
    elif deal is not None and not deal.deleted and not booked and deal.number:
        yield Kind.UNKNOWN_NUMBER
    elif deal is not None and not deal.deleted and booked and "status" in deal.told and _is_taken(deal.status):
        yield Kind.NOT_WRITTEN_BACK  # that it is cancelled
    elif _was_cancelled_by_policy(booked, flow):
        yield Kind.FOREIGN_ORDER


def _of_an_order(deal: Deal, one: Booked, keeping_origin: frozenset[str]) -> Iterator[Kind]:
    order, is_foreign = one.order, _is_foreign(deal, one, keeping_origin)
    if is_foreign:
        yield Kind.FOREIGN_ORDER
    if deal.erp not in (None, one.erp):
        yield Kind.OTHER_ERP
    if not order.status.exists_as_order:
        yield Kind.NOT_CONFIRMED
        return
    if deal.order is not None and not is_foreign:
        yield from _of_its_content(order, deal.order)
    untold = "number" in deal.told and deal.number != order.number
    if untold or ("status" in deal.told and not _is_taken(deal.status)):
        yield Kind.COPIED_STATUS if deal.is_copy else Kind.NOT_WRITTEN_BACK


def _of_its_content(order: ErpOrder, asked: Order) -> Iterator[Kind]:
    if other_customer(order, asked):
        yield Kind.CUSTOMER_DIFFERS
    is_other = differs(order, asked)
    if is_other:
        yield Kind.AMOUNT_DIFFERS
    if not total_agrees(asked) or (not is_other and not has_signed_total(order, asked)):
        yield Kind.TOTAL_DIFFERS


def _is_foreign(deal: Deal, one: Booked, keeping_origin: frozenset[str]) -> bool:
    """Whether the order has the record's key though it was neither made by Closedwon nor is what the record may take.

    What was adopted agreed when it was; that the deal has changed since excuses it less than an order of ours, which a
    route may ignore. What a person has named is judged as one of ours.
    """
    order, asked = one.order, deal.order
    if order.origin is None:
        return one.erp in keeping_origin
    if order.origin is Origin.CREATED or asked is None:
        return False
    is_other = differs(order, asked) or other_customer(order, asked)
    if order.origin is Origin.ADOPTED:
        return is_other or is_from_before(order, asked)
    return other_customer(order, asked) or (is_other and Kind.AMOUNT_DIFFERS not in deal.tolerated)


def _was_cancelled_by_policy(booked: list[Booked], flow: Flow | None) -> bool:
    """Whether an order that Closedwon did not make is cancelled, and no person has decided that in Closedwon."""
    if flow is None or flow.stage is not OrderStage.CANCELLED or flow.status == "running" or flow.has_declined:
        return False
    return any(one.order.origin in (Origin.ADOPTED, Origin.RESOLVED) for one in booked)


def _is_late(booked: list[Booked], flow: Flow | None) -> bool:
    """Whether the ERP's order was made of something older than what its workflow has ended with."""
    then = flow.ended.order if flow is not None and flow.ended is not None else None
    if then is None or then.modified_at is None:
        return False
    return any(
        one.order.id == then.id and one.order.modified_at is not None and one.order.modified_at < then.modified_at
        for one in booked
    )


def _is_cured(kind: Kind, deal: Deal) -> bool:
    """Whether another look by the workflow helps: it makes the order of a won deal, and takes back that of another."""
    if deal.wanted:
        return kind in FIXABLE
    return deal.wanted is False and kind in (Kind.ORDER_WITHOUT_DEAL, Kind.LATE_EFFECT)


def _tolerated(deal: Deal | None, flow: Flow | None) -> frozenset[Kind]:
    """What the route's policies, or a person's word, leave as it is."""
    is_kept = flow is not None and flow.keeps_order
    says_so = deal is not None and deal.status == KEPT and deal.proof is Proof.OWN
    kept = frozenset({Kind.ORDER_WITHOUT_DEAL} if is_kept or says_so else ())
    return kept | (deal.tolerated if deal else frozenset())


def _is_declined(deal: Deal, booked: list[Booked], flow: Flow | None) -> bool:
    """Whether a person has cancelled the order or wants none: the record says so and that is proven.

    By its key field, by a cancelled order under its key, or by its own workflow; where the route writes no status, the
    workflow says it.
    """
    if "status" not in deal.told:
        return flow is not None and flow.stage is OrderStage.CANCELLED
    if deal.status not in GIVEN_UP:
        return False
    is_cancelled = bool(booked) and not _live(booked)
    return deal.proof is Proof.OWN or is_cancelled or (flow is not None and flow.has_declined)


def _live(booked: Iterable[Booked]) -> list[Booked]:
    return [one for one in booked if one.order.status is not ErpStatus.CANCELLED]


def _is_taken(status: str | None) -> bool:
    """Whether the record says that its order exists. Which of these words it shows, only routes that follow tell."""
    return status in [one.value for one in ErpStatus if one.exists_as_order]
