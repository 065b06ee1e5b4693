"""What is asked of an ERP, and what it answered: the arguments and results of the ERP activities and of their steps.

A write without a definite answer may take effect later. Every result says since when there is such a write
(`in_doubt_since`), and every request that must wait for it carries that time back (`unanswered_at`, `check_since`); see
`workflows.steps`.
"""

from __future__ import annotations

from pydantic import AwareDatetime

from closedwon.model.base import Frozen
from closedwon.model.erp import ErpOrder
from closedwon.model.orders import Order
from closedwon.model.routes import ChangePolicy


class EndedAttempt(Frozen):
    """Heartbeat details of an attempt that failed and writes nothing more."""

    attempt: int
    ended: bool
    in_doubt_since: AwareDatetime | None


class CreateOrder(Frozen):
    """The order to create, and in which configured ERP."""

    erp: str
    order: Order
    other_erps: tuple[str, ...] = ()
    """ERPs that must not have the order: a unique key holds within one ERP, not across several."""
    number: str | None = None
    """The order number that the Salesforce record shows; the order may have been made by hand."""
    number_is_proven: bool = False
    """Closedwon wrote that number itself, as the record's key field proves."""
    unproven_status: str | None = None
    """The record says that its order was declined, and nothing proves that this is about this record: a person is
    asked if the ERP has no order under the record's key."""
    on_changed: ChangePolicy = "attention"
    """What to do if the ERP's order has another total, currency, lines, order number or date."""
    has_agreed: bool = False
    """The ERP's order was once confirmed as the record asked for: `on_changed = "ignore"` leaves only such an order."""
    may_be_earlier: bool = False
    """The record cannot prove that, and this run has not asked the ERP yet: an order that no write of ours in doubt can
    have made is that of an earlier run, which ended only after it agreed."""
    reopen: bool = False
    """Reopen an order that was cancelled."""
    remembers: bool = False
    """Notifications may arrive out of order (`source = "event"`): inform the ERP of the newest one even if nothing else
    changed (one more call, only then), and change nothing for one that may be older than the order."""
    is_read: bool = False
    """The order was made of the record as it was read just now: nothing in the ERP can be newer."""
    needs_number: bool = False
    """The route writes the order's number back: an order is not done without one."""
    unanswered_at: AwareDatetime | None = None
    """When an attempt in one of `other_erps` was abandoned without an answer: it may still take effect there."""
    check_since: AwareDatetime | None = None
    """When a write got no answer because of which the order is compared once more, after the in-doubt time."""


class KeyedRequest(Frozen):
    """Which order a request is about. `erp` None: any of the ERPs may have it."""

    erp: str | None
    idempotency_key: str
    unanswered_at: AwareDatetime | None = None
    """When an attempt to create the order was abandoned without an answer: it may still take effect."""
    check_since: AwareDatetime | None = None
    """As in `CreateOrder`."""
    has_order: bool = False
    """The ERP had an order of the record that was not cancelled."""


class CancelOrder(KeyedRequest):
    """The order to cancel."""

    by_policy: bool = False
    """The record no longer qualifies or was deleted. A policy cancels only what Closedwon made. False: a person's
    command, which cancels any order with the key."""
    modified_at: AwareDatetime | None = None
    """When the record was so in Salesforce; a policy leaves an order that was made of something newer."""
    remembers: bool = False
    """Notifications may arrive out of order: a policy cancels nothing for one that may be older than the order."""
    is_read: bool = False
    """As in `CreateOrder`."""
    is_deleted: bool = False
    """The record was deleted; nothing about it can be newer."""


class FindOrder(KeyedRequest):
    """The order to look for."""


class FollowOrder(KeyedRequest):
    """The order to watch."""

    known: ErpOrder


class ResolveOrder(KeyedRequest):
    """The order that people call `number` and that is to become the record's order."""

    number: str
    order: Order | None = None
    """What the record asks for now. None: the record cannot be read, so nothing is compared."""
    accept_differences: bool = False
    """A person has seen the differences and uses the order for the record."""


class FindOrders(Frozen):
    """Which orders to look up in an ERP, by their idempotency keys."""

    erp: str
    keys: tuple[str, ...]


class KnownOrder(Frozen):
    """What a sweep needs to know of an order in the ERP."""

    number: str | None
    cancelled: bool


class ErpResult(Frozen):
    """The result of `create_order` and `cancel_order`."""

    order: ErpOrder | None
    """As the ERP has it now. None: there was nothing to cancel, and nothing can come later."""
    kept: bool = False
    """The notification is older than what the ERP's order was made of: the order was left as it is."""
    has_lived: bool = False
    """`cancel_order` has cancelled it, or an earlier attempt may have. False: it was cancelled before, by others."""
    in_doubt_since: AwareDatetime | None = None
    """When the newest attempt whose write may still take effect was abandoned. None: there is no such attempt."""


class Resolved(Frozen):
    """The result of `resolve_order`: the order, or why it was not used. The ERP was changed only if `order` is set."""

    order: ErpOrder | None = None
    rival: ErpOrder | None = None
    """The ERP has this order under the record's key already."""
    differences: str | None = None
    """A sentence: how the order differs from what the record asks for."""
    keyless: bool = False
    """The ERP does not store the record's key with `order`: it is known by its number only."""
    in_doubt_since: AwareDatetime | None = None
    """As in `ErpResult`."""


class OnRecord(Frozen):
    """What the Salesforce record says about its order; a lookup by key knows nothing of it."""

    number: str | None = None
    """The order number that the record shows: written by Closedwon, typed, or copied with the record."""
    number_is_proven: bool = False
    """Closedwon wrote that number itself. It is compared like any other: the ERP may have been restored since. If the
    ERP does not know it, that counts only for such a number: any other may be typed differently from the ERP's."""
    unproven_status: str | None = None
    """As in `CreateOrder`."""
    single_erp: bool = True
    """No other ERP may have the order."""


class Handoff(Frozen):
    """The order as the ERP has it now, confirmed or later; unless it was `kept`."""

    order: ErpOrder
    adopted: bool
    """It was found (made by an earlier attempt, by a parallel one, or by hand), not made by this call."""
    kept: bool = False
    """The notification is older than what the ERP's order was made of, so the order was left as it is, in any state."""


class Cancelled(Frozen):
    """The result of a cancellation by an adapter."""

    order: ErpOrder | None
    """As the ERP has it now. None: it has none under the key."""
    has_lived: bool = False
    """It was not cancelled before."""
    kept: bool = False
    """As in `Handoff`: the order was not cancelled."""


class Taken(Frozen):
    """The result of taking an order that was made by hand. The ERP was changed only if `order` is set."""

    order: ErpOrder | None = None
    differences: str | None = None
    """A sentence: how the order differs from what the record asks for."""
    keyless: bool = False
    """The ERP does not store the record's key with `order`."""
