"""Compare what Salesforce, the ERPs and Temporal have about the same records. Pure functions: facts in, findings out.

`closedwon.audit.collect` provides the facts. Each kind of finding is an entry of `KINDS`; `_between_systems` is the
comparison. A disagreement about a record that has just changed, or whose workflow is running, counts as under way.

The comparison follows the rules of the order workflow:

- What a record says about its order counts only if it is proven.
- Customer, total, currency, lines and ERP must agree.
- An order that Closedwon did not create must be one that the record may adopt.

Some findings turn out to be a person's decision once the result of the workflow is known (`AuditedWorkflow.ended`).
They are reported until the result was read, so that `collect` knows which results to read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

from pydantic import AwareDatetime, Field

from closedwon.audit.facts import AuditedDeal, AuditedWorkflow, ErpEntry, Facts
from closedwon.audit.kinds import FIXABLE, KINDS, FindingKind
from closedwon.erp.comparing import differs, differs_from_head, is_from_before, other_customer, total_agrees
from closedwon.ids import OrgId, RecordId
from closedwon.mapping.write_back import Proof
from closedwon.model.base import Frozen
from closedwon.model.erp import DECLINED_STATUSES, KEPT_UNQUALIFIED, ErpOrder, ErpStatus, Origin
from closedwon.model.orders import Order
from closedwon.names import OrderStage, RecordKey

__all__ = [
    "KINDS",
    "AuditReport",
    "AuditedDeal",
    "AuditedWorkflow",
    "Counts",
    "ErpEntry",
    "Facts",
    "Finding",
    "FindingKind",
    "count",
    "disagreements",
    "incomplete",
    "orphan",
]

_MAY_BE_LATE: Final = frozenset(
    {FindingKind.CANCELLED_IN_ERP, FindingKind.AMOUNT_DIFFERS, FindingKind.ORDER_WITHOUT_DEAL}
)
"""Findings that can be caused by an older write that took effect after a newer one."""


class Finding(Frozen):
    """One disagreement, and what each of the three systems has."""

    kind: FindingKind
    org: OrgId | None
    """None for an orphaned customer, because an ERP does not know its org."""
    record: RecordId
    """For an orphaned customer: the Account."""
    route: str | None
    salesforce: str
    erp: str
    workflow: str
    fixable: bool = False
    since: AwareDatetime | None = None
    """When the running workflow began, or else when the record was last changed."""


class Counts(Frozen):
    """The number of deals by progress."""

    won: int = 0
    ordered: int = 0
    """Won deals with a confirmed order in the ERP."""
    written_back: int = 0
    """Won deals that show the number of their order in the ERP."""
    cancelled: int = 0
    """Won deals whose record says that a person declined the order: cancelled, or not needed."""
    duplicates: int = 0
    """Surplus orders: each order beyond the first of a won deal, and each order of another deal."""
    waiting: int = 0
    """Won deals without an order whose workflow is open: it works, or waits for a system or a person."""
    missing: int = 0
    """Won deals without an order that nothing will order."""


class AuditReport(Frozen):
    """The result of an audit."""

    since: AwareDatetime
    until: AwareDatetime
    counts: Counts
    settled: Counts
    """As `counts`, without records that are under way."""
    totals_right: int = 0
    """Won deals whose only order has the signed total."""
    findings: tuple[Finding, ...] = ()
    under_way: tuple[Finding, ...] = ()
    """Disagreements about records that have just changed or whose workflow is running."""
    in_attention: int = 0
    """Workflows that wait for a person, with or without a finding."""
    looked_at: dict[str, int] = Field(default_factory=dict)
    """The number of compared records, orders and workflows."""
    calls: dict[str, int] = Field(default_factory=dict)
    """API calls, by org and ERP."""

    @property
    def clean(self) -> bool:
        """Whether there are no findings."""
        return not self.findings


def orphan(erp: str, account: RecordId) -> Finding:
    """Make the finding about a customer without an order."""
    return Finding(
        kind=FindingKind.ORPHANED_CUSTOMER,
        org=None,
        record=account,
        route=None,
        salesforce="an Account",
        erp=f"{erp}: a customer without an order",
        workflow="",
    )


def incomplete(facts: Facts) -> list[RecordKey]:
    """Return the records on which the listings disagree, or that Salesforce has not listed."""
    keeping = facts.keeping_origin()
    return [
        key for key in facts.records() if key not in facts.deals or any(_kinds(*facts.of(key), keeping_origin=keeping))
    ]


def disagreements(facts: Facts, keys: Iterable[RecordKey], *, young: datetime) -> tuple[list[Finding], list[Finding]]:
    """Compare the three listings for some records. Returns the findings, and those that are still under way.

    Under way are records that were changed after `young`, and those whose workflow is running.
    """
    settled: list[Finding] = []
    under_way: list[Finding] = []
    keeping = facts.keeping_origin()
    for key in keys:
        deal, entries, flow = facts.of(key)
        is_young = deal is not None and deal.modified_at > young
        for kind in _kinds(deal, entries, flow, keeping_origin=keeping):
            may_resolve = is_young or (flow is not None and flow.will_notice(kind))
            (under_way if may_resolve else settled).append(_finding(kind, key, deal, entries, flow))
    return settled, under_way


def count(facts: Facts, keys: Iterable[RecordKey]) -> Counts:
    """Count the deals by progress."""
    total: Counter[str] = Counter()
    for key in keys:
        deal, entries, flow = facts.of(key)
        live = _live(entries)
        wanted = deal is not None and (bool(live) if deal.wanted is None else deal.wanted)
        may_live = wanted or FindingKind.ORDER_WITHOUT_DEAL in _tolerated(deal, flow)
        total["duplicates"] += max(len(live) - may_live, 0)
        if deal is None or not wanted:
            continue
        ordered = [one.order for one in live if one.order.status.exists_as_order]
        is_declined = _is_declined(deal, entries, flow)
        total["won"] += 1
        total["ordered"] += bool(ordered)
        total["written_back"] += any(order.number == deal.number for order in ordered)
        total["cancelled"] += is_declined and not live
        if not is_declined and not entries:
            total["waiting" if flow is not None and flow.is_open else "missing"] += 1
    return Counts(**total)


def _finding(
    kind: FindingKind, key: RecordKey, deal: AuditedDeal | None, entries: list[ErpEntry], flow: AuditedWorkflow | None
) -> Finding:
    return Finding(
        kind=kind,
        org=key.org,
        record=key.record,
        route=deal.route if deal else flow.route if flow else None,
        salesforce=deal.description if deal else "no such record",
        erp="; ".join(one.description for one in entries) or "no order",
        workflow=flow.description if flow else "no workflow",
        fixable=deal is not None and not deal.by_event and _is_fixable(kind, deal) and not (flow and flow.wedged),
        since=flow.started_at if flow and flow.under_way else deal.modified_at if deal else None,
    )


def _kinds(
    deal: AuditedDeal | None, entries: list[ErpEntry], flow: AuditedWorkflow | None, *, keeping_origin: frozenset[str]
) -> Iterator[FindingKind]:
    tolerated = _tolerated(deal, flow)
    is_late = _is_late(entries, flow)
    kinds = [kind for kind in _between_systems(deal, entries, flow, keeping_origin) if kind not in tolerated]
    yield from dict.fromkeys(FindingKind.LATE_EFFECT if is_late and kind in _MAY_BE_LATE else kind for kind in kinds)
    if not kinds and flow is not None and flow.stage is OrderStage.COMPLETED and flow.number:
        known = {one.order.number for one in entries}
        if flow.number not in known:
            yield FindingKind.WORKFLOW_DIFFERS


def _between_systems(
    deal: AuditedDeal | None, entries: list[ErpEntry], flow: AuditedWorkflow | None, keeping_origin: frozenset[str]
) -> Iterator[FindingKind]:
    """Compare Salesforce with the ERP."""
    live = _live(entries)
    if len(live) > 1:
        yield FindingKind.DUPLICATE_ORDER  # a person must decide which one is right before anything else is compared
    elif deal is None or deal.wanted is False or _is_declined(deal, entries, flow):
        yield from _without_order(deal, entries, flow, keeping_origin)
    elif live:
        yield from _with_order(deal, live[0], keeping_origin)
    elif entries:
        yield FindingKind.CANCELLED_IN_ERP
    elif deal.wanted and deal.is_copy:
        yield FindingKind.COPIED_STATUS
    elif deal.number:
        yield FindingKind.UNKNOWN_NUMBER
    elif deal.wanted:
        yield FindingKind.WON_WITHOUT_ORDER


def _without_order(
    deal: AuditedDeal | None, entries: list[ErpEntry], flow: AuditedWorkflow | None, keeping_origin: frozenset[str]
) -> Iterator[FindingKind]:
    """Compare a record that must have no order, or whose order a person has declined."""
    live = _live(entries)
    if live:
        yield FindingKind.ORDER_WITHOUT_DEAL
    elif deal is not None and not deal.deleted and not entries and deal.number:
        yield FindingKind.UNKNOWN_NUMBER
    elif (
        deal is not None and not deal.deleted and entries and "status" in deal.writes_back and _shows_order(deal.status)
    ):
        yield FindingKind.NOT_WRITTEN_BACK  # the record does not show that the order is cancelled
    claimed = live or [one for one in entries if one.order.origin is Origin.ADOPTED]
    if deal is not None and any(_is_foreign(deal, one, keeping_origin) for one in claimed):
        yield FindingKind.FOREIGN_ORDER  # the policies tolerate only orders that Closedwon created
    elif not live and _was_cancelled_by_policy(entries, flow):
        yield FindingKind.FOREIGN_ORDER


def _with_order(deal: AuditedDeal, one: ErpEntry, keeping_origin: frozenset[str]) -> Iterator[FindingKind]:
    order, is_foreign = one.order, _is_foreign(deal, one, keeping_origin)
    if is_foreign:
        yield FindingKind.FOREIGN_ORDER
    if deal.erp not in (None, one.erp):
        yield FindingKind.OTHER_ERP
    if not order.status.exists_as_order:
        yield FindingKind.NOT_CONFIRMED
        return
    if deal.order is not None and not is_foreign:
        yield from _in_content(order, deal.order)
    lacks_number = "number" in deal.writes_back and deal.number != order.number
    if lacks_number or ("status" in deal.writes_back and not _shows_order(deal.status)):
        yield FindingKind.COPIED_STATUS if deal.is_copy else FindingKind.NOT_WRITTEN_BACK


def _in_content(order: ErpOrder, asked: Order) -> Iterator[FindingKind]:
    if other_customer(order, asked):
        yield FindingKind.CUSTOMER_DIFFERS
    if differs(order, asked):
        yield FindingKind.AMOUNT_DIFFERS
    if not total_agrees(asked):
        yield FindingKind.TOTAL_DIFFERS


def _is_foreign(deal: AuditedDeal, one: ErpEntry, keeping_origin: frozenset[str]) -> bool:
    """Whether the order has the record's key, but was not created by Closedwon and is not one that the record may have.

    An adopted order agreed completely when it was adopted. So a later change of the deal is a finding, even on a route
    that ignores changes of its own orders. An order that a person has named is compared like one that Closedwon
    created.
    """
    order, asked = one.order, deal.order
    if order.origin is None:
        return one.erp in keeping_origin
    if order.origin is Origin.ADOPTED and deal.head is not None:
        return differs_from_head(order, deal.head)
    if order.origin is Origin.CREATED or asked is None:
        return False
    is_other = differs(order, asked) or other_customer(order, asked)
    if order.origin is Origin.ADOPTED:
        return is_other or is_from_before(order, asked.created_at)
    return other_customer(order, asked) or (is_other and FindingKind.AMOUNT_DIFFERS not in deal.tolerated)


def _was_cancelled_by_policy(entries: list[ErpEntry], flow: AuditedWorkflow | None) -> bool:
    """Whether an order that Closedwon did not create was cancelled without a person's decision in Closedwon."""
    run = flow.cancelling if flow is not None else None
    if run is None or run.has_declined:
        return False
    return any(one.order.origin in (Origin.ADOPTED, Origin.RESOLVED) for one in entries)


def _is_late(entries: list[ErpEntry], flow: AuditedWorkflow | None) -> bool:
    """Whether the ERP's order is of an older state than the one with which its workflow ended."""
    then = flow.ended.order if flow is not None and flow.ended is not None else None
    if then is None or then.modified_at is None:
        return False
    return any(
        one.order.id == then.id and one.order.modified_at is not None and one.order.modified_at < then.modified_at
        for one in entries
    )


def _is_fixable(kind: FindingKind, deal: AuditedDeal) -> bool:
    """Whether the workflow can fix it: it creates the order of a won deal, and cancels the order of another deal."""
    if deal.wanted:
        return kind in FIXABLE
    return deal.wanted is False and kind in (FindingKind.ORDER_WITHOUT_DEAL, FindingKind.LATE_EFFECT)


def _tolerated(deal: AuditedDeal | None, flow: AuditedWorkflow | None) -> frozenset[FindingKind]:
    """Return the kinds of findings that the route's policies, or a person's decision, accept."""
    is_kept = flow is not None and flow.keeps_order
    says_so = deal is not None and deal.status == KEPT_UNQUALIFIED and deal.proof is Proof.OWN
    kept = frozenset({FindingKind.ORDER_WITHOUT_DEAL} if is_kept or says_so else ())
    return kept | (deal.tolerated if deal else frozenset())


def _is_declined(deal: AuditedDeal, entries: list[ErpEntry], flow: AuditedWorkflow | None) -> bool:
    """Whether a person has declined the order: the record says so, and that is proven.

    The proof is its key field, a cancelled order with its key, or its own workflow. If the route writes no status, only
    the workflow counts.
    """
    if "status" not in deal.writes_back:
        return flow is not None and flow.stage is OrderStage.CANCELLED
    if deal.status not in DECLINED_STATUSES:
        return False
    is_cancelled = bool(entries) and not _live(entries)
    return deal.proof is Proof.OWN or is_cancelled or (flow is not None and flow.has_declined)


def _live(entries: Iterable[ErpEntry]) -> list[ErpEntry]:
    return [one for one in entries if one.order.status is not ErpStatus.CANCELLED]


def _shows_order(status: str | None) -> bool:
    """Whether the record says that its order exists. Only routes that follow their orders update the exact status."""
    return status in [one.value for one in ErpStatus if one.exists_as_order]
