"""The rule that makes orders exactly-once, and right: one place for all adapters.

Look before creating, look again after every unknown outcome; the ERP's unique constraint has the last word. What is
found is compared before it is touched, with what was sold and with whose it is. The parts:

    errors      what a call may raise              comparing   what "the same order" means
    protocol    what an adapter offers             adopting    orders that were made by hand
    checking    which answers are believed         resolving   orders that a person has named
    fencing     which attempts may still write     blanking    what an ERP quotes of the customer

Every function here is safe to repeat and to run in parallel, in one process or in many: it begins with a look, and what
it does is guarded by the order's state, by its key, and by its version where the ERP has versions. No Temporal here, no
HTTP, and nothing that only one ERP needs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final, Literal

from closedwon.erp.adopting import OnRecord, adopt
from closedwon.erp.blanking import blanked
from closedwon.erp.checking import checked, only_one
from closedwon.erp.comparing import differs, other_customer, total_agrees
from closedwon.erp.errors import (
    AmountDiffersError,
    AuthFailedError,
    BusyError,
    CannotAmendError,
    CannotLookUpError,
    CustomerDiffersError,
    DuplicateError,
    LostAttemptError,
    NotMadeByUsError,
    NotOursError,
    OrderExistsError,
    OthersOrderError,
    RejectedError,
    StaleError,
    TooLateError,
    TooLateToAmendError,
    TotalDiffersError,
    UnknownError,
    UnknownOrderError,
    UnreachableError,
    WrongAnswerError,
)
from closedwon.erp.fencing import UNGUARDED, FencedErp, WriteGuard
from closedwon.erp.protocol import Erp
from closedwon.model import ErpOrder, ErpStatus, Frozen, Order, Origin

__all__ = [
    "AmountDiffersError",
    "AuthFailedError",
    "BusyError",
    "Cancelled",
    "CannotAmendError",
    "CannotLookUpError",
    "CustomerDiffersError",
    "DuplicateError",
    "Erp",
    "Handoff",
    "LostAttemptError",
    "NotMadeByUsError",
    "NotOursError",
    "OnRecord",
    "OnStep",
    "OrderExistsError",
    "OthersOrderError",
    "RejectedError",
    "StaleError",
    "Step",
    "TooLateError",
    "TooLateToAmendError",
    "TotalDiffersError",
    "UnknownError",
    "UnknownOrderError",
    "UnreachableError",
    "WriteGuard",
    "WrongAnswerError",
    "amend_to",
    "cancel_order",
    "checked",
    "fenced",
    "find_or_create",
    "no_step",
    "only_one",
]


class Handoff(Frozen):
    """The order as the ERP has it now, confirmed or beyond; unless it was `kept`."""

    order: ErpOrder
    adopted: bool
    """It was found (made by an earlier attempt, by a parallel one, or by hand) rather than made by this call."""
    kept: bool = False
    """The notification is older than what the ERP's order was made of, so the order was left as it is, in any state."""


class Cancelled(Frozen):
    """What came of a cancellation."""

    order: ErpOrder | None
    """As the ERP has it now; None: it has none under the key."""
    has_lived: bool = False
    """It was not cancelled before."""
    kept: bool = False
    """As in `Handoff`: the order lives on."""


Step = Literal["before-create", "after-create", "after-advance", "after-amend", "before-cancel"]
"""Named points of danger. `after-create` and `after-amend` stand between the ERP's commit and everything that could
remember it."""
OnStep = Callable[[Step], Awaitable[None]]
"""Called at each point; a test arms it to block, raise or kill."""

_ADVANCES: Final = 3
"""Rounds of advance-and-look. Parallel callers may each take one of the two steps; more is not ours to sort out."""


async def no_step(_step: Step) -> None:
    """Do nothing: production."""


def fenced(erp: Erp, guard: WriteGuard) -> Erp:
    """`erp` with every answer checked and every write guarded."""
    return FencedErp(checked(erp), guard)


async def find_or_create(
    erp: Erp,
    order: Order,
    *,
    said: OnRecord = OnRecord(),  # noqa: B008 - frozen
    remembers: bool = False,
    guard: WriteGuard = UNGUARDED,
    on_step: OnStep = no_step,
) -> Handoff:
    """See to it that the ERP holds exactly one confirmed order for `order.idempotency_key`, and return it.

    An order that is found under the key is taken after its customer, total, currency and lines have been compared; one
    that the record names (`said`) only as `adopting` allows. A cancelled one is not replaced: somebody decided against
    this deal in the ERP, and the key is taken in any case. An order that was made of a newer notification than this one
    is left as it is; with `remembers`, the ERP is informed of a newer `order.modified_at` though nothing else changed.

    Raises an `AttentionError` of `errors` when a person must act, before anything is changed, and `UnreachableError`,
    `UnknownError`, `BusyError`, `StaleError` or `LostAttemptError` when calling again is the answer.
    """
    call = _Call(erp, order, guard, on_step, remembers=remembers)
    with blanked(order):
        if not total_agrees(order):
            raise TotalDiffersError(order)
        return await call.settle(await call.look(), said)


async def amend_to(
    erp: Erp,
    order: Order,
    *,
    amends: bool = True,
    reopen: bool = False,
    said: OnRecord = OnRecord(),  # noqa: B008 - frozen
    remembers: bool = False,
    guard: WriteGuard = UNGUARDED,
    on_step: OnStep = no_step,
) -> Handoff:
    """As `find_or_create`, but an order of ours that differs from what was sold is changed instead of refused.

    Look, compare, amend, look again: an attempt that dies, or whose answer is lost, is found by the look of the next
    one, and amending says what the order must be, so nothing is changed twice. With `reopen` a cancelled order of ours
    is taken up again; without, it is refused as `find_or_create` does. Without `amends` that is all.

    Raises `NotMadeByUsError` for an order whose origin is not `created`, `AmountDiffersError` when the order differs
    even after it was amended, and `TooLateToAmendError` or `CannotAmendError` when it cannot be changed.
    """
    call = _Call(erp, order, guard, on_step, remembers=remembers)
    with blanked(order):
        if not total_agrees(order):
            raise TotalDiffersError(order)
        found = await call.look()
        if found is not None and not is_newer(found, order.modified_at):
            found = await call.amend(found, amends=amends, reopen=reopen)
        return await call.settle(found, said)


async def cancel_order(
    erp: Erp,
    idempotency_key: str,
    *,
    by_policy: bool = False,
    modified_at: datetime | None = None,
    guard: WriteGuard = UNGUARDED,
    on_step: OnStep = no_step,
) -> Cancelled:
    """Cancel the order with this key, if the ERP has one that lives.

    A person's command (`by_policy` false) cancels whatever bears the key. A policy cancels only what Closedwon made,
    and nothing that was made of a newer notification than the one of `modified_at`. Raises `NotOursError`,
    `TooLateError`, or what `find_or_create` raises.
    """
    erp = fenced(erp, guard)
    found = await erp.find(idempotency_key)
    if found is None or found.status is ErpStatus.CANCELLED:
        if found is not None and by_policy:
            found = await _remember(erp, found, modified_at)
        return Cancelled(order=found)
    if by_policy and is_newer(found, modified_at):
        return Cancelled(order=found, has_lived=True, kept=True)
    if by_policy and found.origin is not Origin.CREATED:
        raise NotOursError(found)
    await on_step("before-cancel")
    now = await erp.cancel(found, modified_at=modified_at)
    if now.status is not ErpStatus.CANCELLED:
        raise UnknownError(f"ERP order {now.number or now.id} is still {now.status.value} after it was cancelled")
    return Cancelled(order=now, has_lived=True)


def is_newer(found: ErpOrder, modified_at: datetime | None) -> bool:
    """Whether the ERP's order was made of a newer state of the record than that of `modified_at`, as far as known."""
    return found.modified_at is not None and modified_at is not None and found.modified_at > modified_at


async def _remember(erp: Erp, found: ErpOrder, modified_at: datetime | None) -> ErpOrder:
    """Store a newer `modified_at` with an order that needs no other change, where the ERP keeps it at all."""
    if found.modified_at is None or modified_at is None or found.modified_at >= modified_at:
        return found
    key, origin = found.idempotency_key, found.origin
    if key is None or origin is None:
        return found
    return await erp.claim(found, key, origin=origin, modified_at=modified_at) or found


class _Call:
    """One call of `find_or_create` or `amend_to`: an order, and the fenced ERP that must have it."""

    def __init__(self, erp: Erp, order: Order, guard: WriteGuard, on_step: OnStep, *, remembers: bool) -> None:
        self._erp = fenced(erp, guard)
        self._order = order
        self._on_step = on_step
        self._remembers = remembers

    async def look(self) -> ErpOrder | None:
        """What the ERP has under the record's key."""
        return await self._erp.find(self._order.idempotency_key)

    async def settle(self, found: ErpOrder | None, said: OnRecord) -> Handoff:
        """From a look to a confirmed order that agrees with what was sold."""
        erp, order = self._erp, self._order
        if found is not None and is_newer(found, order.modified_at):
            return Handoff(order=found, adopted=True, kept=True)
        if found is None:
            found = await self._adopt(said)
        adopted = found is not None
        if found is None:
            found, adopted = await self._create()
            if adopted and is_newer(found, order.modified_at):
                return Handoff(order=found, adopted=True, kept=True)
        try:
            self._compare(found)
            found = await self._advance(found)
        except AmountDiffersError as error:
            error.is_new = not adopted or (found.modified_at is not None and found.modified_at == order.modified_at)
            raise
        if adopted and self._remembers:
            found = await _remember(erp, found, order.modified_at)
        return Handoff(order=found, adopted=adopted)

    async def amend(self, found: ErpOrder, *, amends: bool, reopen: bool) -> ErpOrder | None:
        """Change the order if it differs, or is cancelled and to be reopened; return it as the ERP has it now."""
        order, is_cancelled = self._order, found.status is ErpStatus.CANCELLED
        if not (reopen if is_cancelled else amends and differs(found, order)):
            return found
        if other_customer(found, order):
            raise CustomerDiffersError(found)
        if found.origin is not Origin.CREATED:
            if is_cancelled:
                return found  # refused as cancelled
            raise NotMadeByUsError(found, order)
        await self._erp.amend(found, order)
        await self._on_step("after-amend")
        return await self.look()

    async def _adopt(self, said: OnRecord) -> ErpOrder | None:
        try:
            return await adopt(self._erp, self._order, said)
        except DuplicateError:
            return await self._made_meanwhile(None)

    async def _create(self) -> tuple[ErpOrder, bool]:
        await self._on_step("before-create")
        try:
            created = await self._erp.create(self._order)
        except (DuplicateError, UnknownError) as error:
            return await self._made_meanwhile(error), True
        await self._on_step("after-create")
        return created, False

    async def _made_meanwhile(self, error: DuplicateError | UnknownError | None) -> ErpOrder:
        """The order that a parallel caller made, or the very request whose answer was lost.

        One look, not a loop: if the request is still at work in there, the next attempt will see it, or will meet the
        unique constraint.
        """
        found = await self.look()
        if found is not None:
            return found
        if isinstance(error, UnknownError):
            raise error
        raise UnknownError("the ERP says that this order exists already, but does not show it yet") from error

    def _compare(self, found: ErpOrder) -> None:
        """Raise unless customer and content agree. What was cancelled is compared with nothing."""
        if found.status is ErpStatus.CANCELLED:
            return
        if other_customer(found, self._order):
            raise CustomerDiffersError(found)
        if differs(found, self._order):
            raise AmountDiffersError.between(found, self._order)

    async def _advance(self, found: ErpOrder) -> ErpOrder:
        """Advance until the ERP itself says confirmed or beyond, asked again: the answer to a step is not proof of it.

        What is seen then is compared, too: an amendment of a moment ago may have been lost to somebody else's.
        """
        for _ in range(_ADVANCES):
            if found.status is ErpStatus.CANCELLED:
                raise _cancelled(found)
            if found.status.exists_as_order:
                return found
            refusal: RejectedError | StaleError | None = None
            try:
                await self._erp.advance(found)
            except (RejectedError, StaleError) as error:
                refusal = error  # perhaps only because a parallel caller was faster
            await self._on_step("after-advance")
            now = await self.look()
            if now is None:
                raise UnknownError(f"ERP order {found.number or found.id} is gone after it was advanced")
            if refusal is not None and now.status is found.status:
                raise refusal
            self._compare(now)
            found = now
        if found.status.exists_as_order:
            return found
        raise UnknownError(f"ERP order {found.number or found.id} is still {found.status.value} after it was advanced")


def _cancelled(found: ErpOrder) -> RejectedError:
    return RejectedError(
        f"ERP order {found.number or found.id} of this record has been cancelled in the ERP",
        cure="Take that order back to draft in the ERP and send `retry`, or send `cancel` to give the order up.",
    )
