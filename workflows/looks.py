"""A reading of a record in the form that the order workflow still works with: one class for all five cases.

To be replaced by `closedwon.snapshot` itself.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from closedwon.model import Frozen, Order, Policies
from closedwon.snapshot import Declined, Deleted, Hidden, NotWanted, RecordSnapshot, Values, Wanted


class Look(Frozen):
    """What was read: the order that the record asks for, or None when it asks for none."""

    order: Order | None = None
    erp: str | None = None
    other_erps: tuple[str, ...] = ()
    reopen: bool = False
    policies: Policies = Policies()
    may_have_order: bool = False
    given_up: bool = False
    note: str = ""
    gone: bool = False
    deleted: bool = False
    number: str | None = None
    written: Values = Field(default_factory=dict)


def look_of(found: RecordSnapshot) -> Look:
    """Put the five cases into one form; a status that nothing proves still counts here."""
    common: dict[str, Any] = {"policies": found.policies, "written": found.written}
    match found:
        case Wanted(unproven_status=None):
            return Look(
                order=found.order,
                erp=found.erp,
                other_erps=found.other_erps,
                reopen=found.reopen,
                number=found.number,
                **common,
            )
        case Wanted():
            return Look(given_up=True, note=f"its status says {found.unproven_status}", **common)
        case Declined():
            return Look(given_up=True, note=found.note, **common)
        case NotWanted():
            if not found.is_certain and found.policies.unwon == "cancel":
                common["policies"] = found.policies.model_copy(update={"unwon": "attention"})
            return Look(erp=found.erp, number=found.number, may_have_order=found.may_have_order, **common)
        case Hidden() | Deleted():
            deleted = isinstance(found, Deleted)
            return Look(erp=found.erp, gone=True, deleted=deleted, may_have_order=deleted, **common)
