"""What one reading of a record yields: exactly one of five named cases, each with the facts that hold only in it.

What a record says about its order (number, status) can be copied with the record. It counts only where the record's
key field holds this record's own idempotency key; elsewhere it is marked as unproven, and the ERP is asked under the
record's own key before anything follows from it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from closedwon.model.base import Frozen
from closedwon.model.orders import Order
from closedwon.model.routes import Policies

Values = dict[str, str | None]
"""Field values by API name."""


class _Snapshot(Frozen):
    """What all cases have in common."""

    policies: Policies = Policies()
    """The route's, as the settings have them now."""
    written: Values = Field(default_factory=dict)
    """Present values of the write-back fields; empty when the record was not read."""
    is_placed: bool | None = False
    """The record proves that the ERP's order was once confirmed as asked for; None: it could not, whatever happened."""
    modified_at: AwareDatetime | None = None
    """When this was true in Salesforce: SystemModstamp, or the notification's time. None: not known."""


class Wanted(_Snapshot):
    """The record asks for an order."""

    case: Literal["wanted"] = "wanted"
    order: Order
    erp: str
    other_erps: tuple[str, ...] = ()
    """ERPs that an earlier state of the record, or another route, may have ordered in."""
    number: str | None = None
    """The order number that the record shows; None where its key field proves that it is another record's."""
    number_is_proven: bool = False
    """The key field holds this record's key: Closedwon wrote the number itself."""
    needs_number: bool = False
    """The route writes the order's number back."""
    reopen: bool = False
    """Closedwon cancelled its order because the record no longer qualified (proven); that order is reopened."""
    unproven_status: str | None = None
    """The record says that its order was declined (cancelled, not needed), but nothing proves that this is about this
    record. The ERP decides: if it has no order under the record's key, a person is asked."""


class Declined(_Snapshot):
    """A person has declined the order of a record that qualifies, or may; the key field proves that."""

    case: Literal["declined"] = "declined"
    note: str
    """Why no order is asked for, and how to order after all."""


class NotWanted(_Snapshot):
    """The record was read and asks for no order."""

    case: Literal["not-wanted"] = "not-wanted"
    erp: str | None = None
    number: str | None = None
    """As in `Wanted`."""
    may_have_order: bool = False
    """As far as the record shows, it may have an order."""
    is_certain: bool = True
    """False: `qualify` yielded null instead of false. No reason to cancel the order, or to forget the record."""
    wanted_by: str | None = None
    """Another route that asks for an order of this record: an order that there is may be that one's."""


class Hidden(_Snapshot):
    """The record cannot be read, and nothing says that it was deleted: no permission, or purged."""

    case: Literal["hidden"] = "hidden"
    erp: str | None = None


class Deleted(_Snapshot):
    """The record was deleted: a tombstone says so, or it is in the recycle bin."""

    case: Literal["deleted"] = "deleted"
    erp: str | None = None


RecordSnapshot = Annotated[Wanted | Declined | NotWanted | Hidden | Deleted, Field(discriminator="case")]
