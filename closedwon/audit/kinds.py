"""The kinds of findings that the audit reports, with title and hint. Pure data.

The value of a kind is stable: it is a label of the metric, a line of the runbook in docs/operate/audit.md, and part of
the JSON report.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple


class FindingKind(StrEnum):
    """What disagrees. The values are stable; each has a line in the runbook in docs/operate/audit.md."""

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
    DUPLICATE_ORDER = "duplicate-order"
    UNKNOWN_NUMBER = "unknown-number"
    WORKFLOW_DIFFERS = "workflow-differs"
    ORPHANED_CUSTOMER = "orphaned-customer"


class Meaning(NamedTuple):
    """Title and hint of a kind, for people."""

    title: str
    hint: str
    """What a person can do about it."""


KINDS: Final = {
    FindingKind.WON_WITHOUT_ORDER: Meaning(
        "won, but no ERP has an order",
        "Start its workflow (`--fix`). If the workflow then needs attention, it says why.",
    ),
    FindingKind.COPIED_STATUS: Meaning(
        "won, but its number or status was copied from another record, or is not proven",
        "Start its workflow: it orders, or asks a person. To order, empty the record's status field.",
    ),
    FindingKind.NOT_CONFIRMED: Meaning(
        "won, but the order is not confirmed in the ERP",
        "Start its workflow: it confirms the order.",
    ),
    FindingKind.CANCELLED_IN_ERP: Meaning(
        "won, but its order is cancelled in the ERP",
        "Set the order back to draft in the ERP and start its workflow; or send `cancel`.",
    ),
    FindingKind.LATE_EFFECT: Meaning(
        "an older write took effect in the ERP after a newer one",
        "Start its workflow: it changes the order, or asks a person. Raise the ERP's `in_doubt_for` if its calls can "
        "take that long.",
    ),
    FindingKind.FOREIGN_ORDER: Meaning(
        "the ERP's order has the record's key, but Closedwon did not create it and it does not match the record",
        "Find out who stored the key, and whether the order was changed or cancelled by mistake. If it is not the "
        "record's order, remove the key in the ERP. Then start its workflow.",
    ),
    FindingKind.CUSTOMER_DIFFERS: Meaning(
        "the order is for another customer than the deal",
        "Correct the customer of the deal or of the ERP's order. Closedwon never changes the customer of an order.",
    ),
    FindingKind.AMOUNT_DIFFERS: Meaning(
        "the order differs from the deal in total, currency, lines, customer order number or dates",
        "Start its workflow: it compares both. Then make the ERP's order or the record agree with what was sold.",
    ),
    FindingKind.TOTAL_DIFFERS: Meaning(
        "the total of the deal is not the sum of its lines",
        "Correct the deal's lines or its total, then start its workflow.",
    ),
    FindingKind.OTHER_ERP: Meaning(
        "the deal selects another ERP than the one that has its order",
        "Cancel the order there, or make the deal select that ERP again. Then start its workflow.",
    ),
    FindingKind.NOT_WRITTEN_BACK: Meaning(
        "Salesforce does not show what the ERP has",
        "Start its workflow: it writes number and status back.",
    ),
    FindingKind.ORDER_WITHOUT_DEAL: Meaning(
        "the ERP has an order, but Salesforce has no won deal for it",
        "Start its workflow: it applies the route's policy. Or cancel the order in the ERP, or win the deal again.",
    ),
    FindingKind.DUPLICATE_ORDER: Meaning(
        "more than one order for one record",
        "Cancel the surplus order in the ERP; keep the one that is delivered.",
    ),
    FindingKind.UNKNOWN_NUMBER: Meaning(
        "Salesforce shows an order that no ERP has under the record's key",
        "If the deal is won, start its workflow: it adopts an order made by hand, orders, or asks a person. Otherwise "
        "empty the number field.",
    ),
    FindingKind.WORKFLOW_DIFFERS: Meaning(
        "the workflow ended with another order than the ERP has",
        "See the workflow's result in Temporal, and look for that order in the ERP.",
    ),
    FindingKind.ORPHANED_CUSTOMER: Meaning(
        "customers that were created for an order, and have none",
        "Check the Account's deal: an order that waits for a person may need the customer. Otherwise delete it.",
    ),
}
"""In the order in which they are reported."""


FIXABLE: Final = frozenset(
    {
        FindingKind.WON_WITHOUT_ORDER,
        FindingKind.NOT_CONFIRMED,
        FindingKind.CANCELLED_IN_ERP,
        FindingKind.AMOUNT_DIFFERS,
        FindingKind.NOT_WRITTEN_BACK,
        FindingKind.UNKNOWN_NUMBER,
        FindingKind.COPIED_STATUS,
        FindingKind.LATE_EFFECT,
        FindingKind.FOREIGN_ORDER,
        FindingKind.CUSTOMER_DIFFERS,
        FindingKind.TOTAL_DIFFERS,
        FindingKind.OTHER_ERP,
    }
)
"""What its workflow can fix for a won deal: it orders, confirms, compares, writes back, or asks a person."""
