"""The kinds of disagreement that the audit reports, in words. Pure data.

Each kind is a stable word: a label of the metric, a section of the runbook in docs/operating.md, a line of `KINDS`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple


class Kind(StrEnum):
    """What does not agree: stable words, lines of the runbook in docs/operating.md."""

    WON_WITHOUT_ORDER = "won-without-order"
    COPIED_STATUS = "copied-status"
    NOT_CONFIRMED = "not-confirmed"
    CANCELLED_IN_ERP = "cancelled-in-erp"
    LATE_EFFECT = "late-effect"
    FOREIGN_ORDER = "foreign-order"
    CUSTOMER_DIFFERS = "customer-differs"
    AMOUNT_DIFFERS = "amount-differs"
    TOTAL_DIFFERS = "total-differs"
    OTHER_ERP = "other-erp"
    NOT_WRITTEN_BACK = "not-written-back"
    ORDER_WITHOUT_DEAL = "order-without-deal"
    DOUBLED = "doubled"
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
    Kind.COPIED_STATUS: Meaning(
        "won, but what the record says of its order was copied from another record, or proves nothing",
        "Let its workflow look: it orders, or asks a person; to order, empty the record's status field.",
    ),
    Kind.NOT_CONFIRMED: Meaning(
        "won, but the order is not confirmed in the ERP", "Let its workflow take the order on."
    ),
    Kind.CANCELLED_IN_ERP: Meaning(
        "won, but its order is cancelled in the ERP",
        "Take the order back to draft in the ERP and let the workflow look again; or send its workflow `cancel`.",
    ),
    Kind.LATE_EFFECT: Meaning(
        "an older change took effect in the ERP after a newer one",
        "Let its workflow look: it changes the order, or asks; raise the ERP's `settle` if its calls take that long.",
    ),
    Kind.FOREIGN_ORDER: Meaning(
        "the ERP's order has the record's key, but Closedwon did not make it, and it is not the record's as it stands",
        "Find out who gave it the key, and whether an order was changed or cancelled by mistake; if it is not the "
        "record's, take the key off it in the ERP. Then let the workflow look.",
    ),
    Kind.CUSTOMER_DIFFERS: Meaning(
        "the order is for another customer than the deal",
        "Correct the customer of the deal or of the ERP's order; the customer of an order is never changed.",
    ),
    Kind.AMOUNT_DIFFERS: Meaning(
        "the order's total, currency or lines are not the deal's",
        "Let its workflow compare; then make the ERP's order or the record agree with what was sold.",
    ),
    Kind.TOTAL_DIFFERS: Meaning(
        "the order's total is not the total that the deal says",
        "Correct the deal's lines or its total, then let its workflow compare.",
    ),
    Kind.OTHER_ERP: Meaning(
        "the deal picks another ERP than the one that has its order",
        "Cancel the order there, or let the deal pick that ERP again; then let its workflow look.",
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
    Kind.UNKNOWN_NUMBER, Kind.COPIED_STATUS, Kind.LATE_EFFECT, Kind.FOREIGN_ORDER, Kind.CUSTOMER_DIFFERS,
    Kind.TOTAL_DIFFERS, Kind.OTHER_ERP,
})  # fmt: skip
"""What another look by its workflow cures for a won deal: it orders, confirms, compares, writes back, or asks."""
