"""Which orders may exist: decided in plain Python from what happened to a deal and what exists at the end.

The oracle uses nothing of the product, neither its comparisons nor its names, only the texts of a route's settings.
`compare` knows the states of the deal that people saved, what people did in the ERP, and the policies of its route. It
does not know messages, retries, kills or workflows: however these went, the end must be one of those that it allows.

    a deal that was never won         has no order, not even a cancelled one
    a deal that is won                has one live order, for the newest state that was signed, and shows its number
    a deal that is not won any more   has no live order, unless its route leaves it
    an order that people made         is as they left it

A workflow that waits for a person may leave the deal with an older order or with none, if what happened to the deal
explains why it waits (`_MAY_WAIT`). Waiting excuses neither a second order, nor an order that was never signed, nor a
changed order of somebody else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise

_HALF_A_CENT = Decimal("0.005")
_LIVES = ("draft", "quotation", "confirmed", "processing", "done")
_TAKEN = ("confirmed", "processing", "done")


class Wrong(StrEnum):
    """The faults that a deal can have at the end."""

    DUPLICATE_ORDER = "more than one live order of one deal"
    NEVER_WON = "an order of a deal that was never won"
    NOT_SIGNED = "an order that was never signed"
    OUTDATED = "an order for an older state, and no person is asked"
    MISSING = "no order of a won deal, and no person is asked"
    NOT_TAKEN = "an order that the ERP has not taken, and no person is asked"
    LEFT_OVER = "a live order of a deal that is not won, and no person is asked"
    WRONG_NUMBER = "the record shows another number than its order's"
    NEEDLESS = "a person is asked though nothing happened that explains it"
    CHANGED_STRANGER = "somebody else's order was changed or cancelled"
    CLAIMED_STRANGER = "somebody else's order was claimed without agreement"
    UNENDED = "the workflow neither ended nor waits for a person"


class Fact(StrEnum):
    """What people did that may make a workflow ask a person."""

    NUMBER_TYPED = "a number was typed or copied into the record"
    STATUS_TYPED = "a status was typed or copied into the record"
    ERP_CANCELLED = "somebody cancelled the order in the ERP"
    ERP_PROCESSED = "somebody began to process the order in the ERP"
    ERP_PICKED_AGAIN = "the record picked another ERP"


@dataclass(frozen=True)
class Line:
    """One product: how many, and for how much in all, after the discount."""

    product: str
    quantity: Decimal
    total: Decimal


@dataclass(frozen=True)
class Content:
    """What a deal or an order is about."""

    customer: str
    currency: str
    lines: tuple[Line, ...]
    amount: Decimal | None = None
    """The signed total, where it differs from the sum of the lines."""

    @property
    def total(self) -> Decimal:
        """The net total."""
        return sum((line.total for line in self.lines), Decimal(0)) if self.amount is None else self.amount

    @property
    def contradicts_itself(self) -> bool:
        """Whether lines and total differ. What was signed is not known then, and no order can be right."""
        return self.amount is not None

    def agrees(self, other: Content) -> bool:
        """Whether both have the same customer, currency and lines, in any order of the lines."""
        mine, theirs = self._sorted(), other._sorted()
        return (
            not (self.contradicts_itself or other.contradicts_itself)
            and (self.customer, self.currency, len(mine)) == (other.customer, other.currency, len(theirs))
            and all((a.product, a.quantity) == (b.product, b.quantity) for a, b in zip(mine, theirs, strict=True))
            and all(abs(a.total - b.total) <= _HALF_A_CENT for a, b in zip(mine, theirs, strict=True))
        )

    def _sorted(self) -> list[Line]:
        return sorted(self.lines, key=lambda line: (line.product, line.quantity, line.total))


@dataclass(frozen=True)
class State:
    """A deal as people saved it."""

    won: bool
    content: Content
    deleted: bool = False
    erp: str = ""


@dataclass(frozen=True)
class Policies:
    """What a route does about changes of a deal, as its settings say it."""

    on_unqualified: str
    on_deleted: str
    on_changed: str


@dataclass(frozen=True)
class FoundOrder:
    """An order as an ERP has it in the end."""

    erp: str
    number: str
    key: str
    status: str
    content: Content

    @property
    def lives(self) -> bool:
        """Whether the order exists for the business: it is neither cancelled nor unknown."""
        return self.status in _LIVES


@dataclass(frozen=True)
class ByHand:
    """An order as people made it in an ERP, and last left it."""

    erp: str
    number: str
    status: str
    content: Content
    is_from_before: bool = False
    """It was placed before the deal existed."""


@dataclass(frozen=True)
class Truth:
    """What happened to one deal."""

    key: str
    policies: Policies
    states: tuple[State, ...]
    facts: frozenset[Fact] = frozenset()
    typed: frozenset[str] = frozenset()
    """Numbers that its record has shown because somebody typed or copied them."""


@dataclass(frozen=True)
class Found:
    """What exists of one deal at the end."""

    orders: tuple[FoundOrder, ...]
    """Those with the deal's key, in all ERPs."""
    number: str | None
    """On the record."""
    ended: bool = True
    """The workflow has ended, rests, or never was."""
    reason: str | None = None
    """Why the workflow waits for a person; None where it does not."""


def compare(truth: Truth, found: Found) -> Iterator[Wrong]:
    """Yield what is wrong about a deal and the orders that have its key."""
    if not found.ended:
        yield Wrong.UNENDED
        return
    waits = found.reason is not None and found.reason in _reasons(truth)
    if found.reason is not None and not waits:
        yield Wrong.NEEDLESS
    signed = [state.content for state in truth.states if state.won]
    live = [order for order in found.orders if order.lives]
    if found.orders and not signed:
        yield Wrong.NEVER_WON
        return
    if len(live) > 1:
        yield Wrong.DUPLICATE_ORDER
    for order in live:
        if not any(order.content.agrees(content) for content in signed):
            yield Wrong.NOT_SIGNED
    if not waits:
        yield from _at_the_end(truth, found, live, signed)


def _at_the_end(truth: Truth, found: Found, live: Sequence[FoundOrder], signed: Sequence[Content]) -> Iterator[Wrong]:
    """Yield what is wrong about a deal about which no person is asked."""
    last = truth.states[-1]
    if not last.won or last.deleted:
        policy = truth.policies.on_deleted if last.deleted else truth.policies.on_unqualified
        if live and policy != "ignore":
            yield Wrong.LEFT_OVER
        return
    if not live and Fact.ERP_CANCELLED not in truth.facts:
        yield Wrong.MISSING  # who cancelled it in the ERP knows; whether it is noticed depends on the next message
    for order in live[:1]:
        is_older = not order.content.agrees(last.content) and any(order.content.agrees(each) for each in signed)
        if last.erp not in ("", order.erp) or (is_older and truth.policies.on_changed != "ignore"):
            yield Wrong.OUTDATED
        if order.status not in _TAKEN:
            yield Wrong.NOT_TAKEN
        if found.number != order.number:
            yield Wrong.WRONG_NUMBER


def compare_stranger(made: ByHand, now: FoundOrder | None, deals: Sequence[Truth]) -> Iterator[Wrong]:
    """Yield what is wrong about an order that people made; `deals` are those whose workflows may have changed it."""
    if now is None or now.status != made.status or not now.content.agrees(made.content):
        yield Wrong.CHANGED_STRANGER
    if now is not None:
        claimant = next((deal for deal in deals if deal.key == now.key), None)
        if claimant is not None and not _may_claim(claimant, made):
            yield Wrong.CLAIMED_STRANGER


def _may_claim(deal: Truth, made: ByHand) -> bool:
    """Whether a deal may take an order that people made: its record names it, and all of it agrees."""
    agrees = any(state.won and state.content.agrees(made.content) for state in deal.states)
    return made.number in deal.typed and agrees and not made.is_from_before


_MAY_WAIT: dict[Fact, frozenset[str]] = {
    Fact.NUMBER_TYPED: frozenset(
        {"order-exists", "unknown-order", "amount-differs", "customer-differs", "no-longer-qualifies", "record-deleted"}
    ),
    Fact.STATUS_TYPED: frozenset({"order-exists"}),
    Fact.ERP_CANCELLED: frozenset({"erp-rejected"}),
    Fact.ERP_PROCESSED: frozenset({"too-late-to-amend", "too-late-to-cancel"}),
    Fact.ERP_PICKED_AGAIN: frozenset({"erp-rejected", "order-exists"}),
}


_MAY_BE_FOUND: dict[Fact, frozenset[str]] = {
    Fact.NUMBER_TYPED: frozenset({"unknown-number"}),  # of a deal that is not won, a person must empty it
    Fact.ERP_CANCELLED: frozenset({"cancelled-in-erp", "not-written-back"}),
}


def may_be_found(truth: Truth) -> frozenset[str]:
    """What an audit may find about a deal that is right, and about which no person is asked.

    That includes an order that was adopted for a deal which was changed since, where the route ignores changes: whether
    it agreed when it was adopted is not seen any more. And one that was cancelled in the ERP before its deal was
    reopened: who cancelled it is not seen either.
    """
    allowed = frozenset[str]().union(*(_MAY_BE_FOUND.get(fact, ()) for fact in truth.facts))
    is_changed = any(not state.content.agrees(truth.states[0].content) for state in truth.states)
    is_unclear = is_changed or Fact.ERP_CANCELLED in truth.facts
    return allowed | (frozenset({"foreign-order"}) if is_unclear and Fact.NUMBER_TYPED in truth.facts else frozenset())


def _reasons(truth: Truth) -> set[str]:
    """For which reasons its workflow may wait for a person."""
    allowed = {reason for fact in truth.facts for reason in _MAY_WAIT[fact]}
    first = next((at for at, state in enumerate(truth.states) if state.won), None)
    if first is None:
        return allowed
    since, policies = truth.states[first:], truth.policies
    customers = {state.content.customer for state in since}
    is_changed = any(not state.content.agrees(since[0].content) for state in since)
    is_adopted = Fact.NUMBER_TYPED in truth.facts
    if any(state.content.contradicts_itself for state in since):
        allowed |= {"amount-differs"}
    if is_changed and (policies.on_changed != "amend" or is_adopted):
        allowed |= {"amount-differs"}
    if len(customers) > 1:
        allowed |= {"customer-differs"}
    if any(not state.won for state in since) and (policies.on_unqualified == "attention" or is_adopted):
        allowed |= {"no-longer-qualifies", "order-exists"}
    if any(state.deleted for state in since):
        allowed |= {"record-not-found"}  # what came before the deletion cannot be written to the record any more
    if any(state.deleted for state in since) and (policies.on_deleted == "attention" or is_adopted):
        allowed |= {"record-deleted", "order-exists"}
    if policies.on_deleted == "cancel" and _was_restored(since):
        allowed |= {"erp-rejected"}  # its order was cancelled, and restoring a record is not the same as winning it
    return allowed


def _was_restored(states: Sequence[State]) -> bool:
    return any(before.deleted and not after.deleted for before, after in pairwise(states))
