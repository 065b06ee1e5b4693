"""`find_or_create`, `amend_to`, `cancel_order`: one correct order per record, for every ERP adapter.

The problem. Creating an order takes an HTTP call. If the connection breaks, the caller cannot know whether the ERP has
committed. Repeating the call blindly can make a second order; not repeating it can lose the order. The same call may
also run twice at once, in two workers. No retry policy solves this.

The algorithm. Each record has one idempotency key (`org:record`), and the ERP stores it in a unique field.

 1. Find the order by its key. If the ERP has one, continue with step 3.
 2. Otherwise adopt the order that the record names, if `adopting` allows it, or create one. "Duplicate" and every
    unknown outcome lead to one more look-up, never to a second creation. If that look-up finds nothing, raise an error
    that is retried: the next attempt starts again with step 1.
 3. Compare customer, total, currency and lines with what was sold. Stop and ask a person if they differ.
 4. Advance a draft to confirmed, one step at a time. Read the order again after each step and compare it again.

Why it is correct:

- The unique constraint in the ERP decides between parallel creations. The look-ups only save calls.
- The answer to a write is never proof. Only a later look-up is.
- An attempt that dies at any point leaves a state that step 1 of the next attempt finds.
- `find_or_create` writes nothing to an order before step 3 has accepted it.
- A cancelled order keeps its key. So no second order can replace it without a person's decision.

Notifications arrive late and out of order. The ERP stores the `modified_at` of the record with the order, and an older
notification leaves a newer order unchanged (`is_newer`). Amending and cancelling do not commute: `fencing` says how a
write of a replaced attempt is stopped.

Every function here is safe to repeat and to run in parallel, in one process or in several. No Temporal, no HTTP and
nothing that only one ERP needs belongs here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final, Literal

from closedwon.erp.adopting import adopt
from closedwon.erp.advancing import advance_order
from closedwon.erp.blanking import blanked
from closedwon.erp.checking import checked, only_one
from closedwon.erp.comparing import differs, other_customer, total_agrees
from closedwon.erp.errors import (
    AmountDiffersError,
    BusyError,
    CannotAmendError,
    CannotLookUpError,
    CustomerDiffersError,
    DuplicateError,
    ErpAuthFailedError,
    LostAttemptError,
    NewerThanRecordError,
    NotMadeByUsError,
    NotOursError,
    OrderExistsError,
    OthersOrderError,
    RejectedError,
    SameMomentError,
    StaleError,
    TooLateError,
    TooLateToAmendError,
    TotalDiffersError,
    UndatedError,
    UnknownError,
    UnknownOrderError,
    UnreachableError,
    WrongAnswerError,
)
from closedwon.erp.fencing import UNGUARDED, FencedErp, WriteGuard
from closedwon.erp.protocol import Erp
from closedwon.model.erp import ErpOrder, ErpStatus, Origin
from closedwon.model.erp_calls import Cancelled, Handoff, OnRecord
from closedwon.model.orders import Order

__all__ = [
    "AmountDiffersError",
    "BusyError",
    "Cancelled",
    "CannotAmendError",
    "CannotLookUpError",
    "CustomerDiffersError",
    "DuplicateError",
    "Erp",
    "ErpAuthFailedError",
    "Handoff",
    "LostAttemptError",
    "NewerThanRecordError",
    "NotMadeByUsError",
    "NotOursError",
    "OnRecord",
    "OnStep",
    "OrderExistsError",
    "OthersOrderError",
    "RejectedError",
    "SameMomentError",
    "StaleError",
    "Step",
    "TooLateError",
    "TooLateToAmendError",
    "TotalDiffersError",
    "UndatedError",
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


Step = Literal["before-create", "after-create", "after-advance", "after-amend", "before-cancel"]
"""Named points at which a crash is dangerous. At `after-create` and `after-amend` the ERP has committed, and nothing
else has recorded it yet."""
OnStep = Callable[[Step], Awaitable[None]]
"""Called at each point. Tests use it to block, to raise or to kill the process."""

_A_SECOND: Final = timedelta(seconds=1)
"""An ERP may store times without fractions, rounded up."""


async def no_step(_step: Step) -> None:
    """Do nothing (the default, in production)."""


def fenced(erp: Erp, guard: WriteGuard) -> Erp:
    """Wrap `erp`, so that every answer is checked and every write is guarded."""
    return FencedErp(checked(erp), guard)


async def find_or_create(
    erp: Erp,
    order: Order,
    *,
    said: OnRecord = OnRecord(),  # noqa: B008 - frozen
    remembers: bool = False,
    is_read: bool = False,
    guard: WriteGuard = UNGUARDED,
    on_step: OnStep = no_step,
) -> Handoff:
    """Ensure that the ERP has exactly one confirmed order with `order.idempotency_key`, and return it.

    The module's docstring describes the algorithm. A second call returns the same order with `adopted` set.

    `said` is what the record says about an order of its own; `adopting` decides whether that order is taken. With
    `remembers`, a newer `order.modified_at` is stored in the ERP even if nothing else changed. `is_read` means that
    `order` comes from the record as it was read just now, not from a notification that may be old.

    Raises an `AttentionError` of `errors` if a person must decide; nothing was changed then. Raises
    `UnreachableError`, `UnknownError`, `BusyError`, `StaleError` or `LostAttemptError` if the caller must call again.
    """
    call = _Call(erp, order, guard, on_step, remembers=remembers, is_read=is_read)
    with blanked(order):
        if not total_agrees(order):
            raise TotalDiffersError(order)
        return await call.complete(await call.find(), said)


async def amend_to(
    erp: Erp,
    order: Order,
    *,
    amends: bool = True,
    reopen: bool = False,
    said: OnRecord = OnRecord(),  # noqa: B008 - frozen
    remembers: bool = False,
    is_read: bool = False,
    guard: WriteGuard = UNGUARDED,
    on_step: OnStep = no_step,
) -> Handoff:
    """As `find_or_create`, but change an order that Closedwon created if it differs from what was sold.

    The order is found, compared, amended and found again. An amendment states what the order must be, not what changes,
    so a repeated one has no effect. With `reopen`, a cancelled order is reopened; without, it is refused as in
    `find_or_create`. Without `amends`, reopening is the only change.

    Raises what `find_or_create` raises, and: `NotMadeByUsError` for an order whose origin is not `created`,
    `AmountDiffersError` if the order still differs after the amendment, `TooLateToAmendError` or `CannotAmendError` if
    it cannot be changed, and, with `remembers`, `UndatedError` if it is unknown whether `order` is newer than the ERP's
    order.
    """
    call = _Call(erp, order, guard, on_step, remembers=remembers, is_read=is_read)
    with blanked(order):
        if not total_agrees(order):
            raise TotalDiffersError(order)
        found = await call.find()
        if found is not None and not is_newer(found, order.modified_at, is_read=is_read):
            found = await call.amend(found, amends=amends, reopen=reopen)
        return await call.complete(found, said)


async def cancel_order(
    erp: Erp,
    idempotency_key: str,
    *,
    by_policy: bool = False,
    modified_at: datetime | None = None,
    remembers: bool = False,
    is_read: bool = False,
    is_deleted: bool = False,
    guard: WriteGuard = UNGUARDED,
    on_step: OnStep = no_step,
) -> Cancelled:
    """Cancel the order with this key, if the ERP has one that is not cancelled. A second call changes nothing.

    A person's command (`by_policy` false) cancels any order with the key. A policy cancels only orders that Closedwon
    created, and none that comes from a newer notification than `modified_at`; with `remembers`, also none for which
    that is unknown. A deletion counts as the last change of its second.

    Raises `NotOursError`, `UndatedError`, `NewerThanRecordError`, `TooLateError`, or an error that is retried, as
    `find_or_create` does.
    """
    erp = fenced(erp, guard)
    found = await erp.find(idempotency_key)
    if found is None or found.status is ErpStatus.CANCELLED:
        if found is not None and by_policy:
            found = await _remember(erp, found, modified_at)
        return Cancelled(order=found)
    if by_policy and is_newer(found, modified_at, is_read=is_read):
        if is_read:
            raise NewerThanRecordError(found)
        return Cancelled(order=found, has_lived=True, kept=True)
    if by_policy and found.origin is not Origin.CREATED:
        raise NotOursError(found)
    if by_policy and remembers:
        check_newer(found, modified_at, is_deleted=is_deleted)
    await on_step("before-cancel")
    now = await erp.cancel(found, modified_at=modified_at)
    if now.status is not ErpStatus.CANCELLED:
        raise UnknownError(f"ERP order {now.number or now.id} is still {now.status.value} after it was cancelled")
    return Cancelled(order=now, has_lived=True)


def is_newer(found: ErpOrder, modified_at: datetime | None, *, is_read: bool = False) -> bool:
    """Whether the ERP's order is of a newer state of the record than `modified_at`; False if a time is unknown.

    With `is_read`, `modified_at` was read from the record just now. Then a difference of less than a second is the
    ERP's rounding, and a larger one is an error of the ERP.
    """
    if found.modified_at is None or modified_at is None:
        return False
    return found.modified_at - modified_at >= _A_SECOND if is_read else found.modified_at > modified_at


def check_newer(found: ErpOrder, modified_at: datetime | None, *, is_deleted: bool = False) -> None:
    """Raise `UndatedError` if it is unknown whether the ERP's order or the notification (`modified_at`) is newer."""
    if found.modified_at is None:
        return
    if modified_at is None:
        raise UndatedError(found)
    if found.modified_at == modified_at and not is_deleted:
        raise SameMomentError(found)


async def _remember(erp: Erp, found: ErpOrder, modified_at: datetime | None) -> ErpOrder:
    """Store a newer `modified_at` with an order that needs no other change, if the ERP stores such times."""
    if found.modified_at is None or modified_at is None or found.modified_at >= modified_at:
        return found
    key, origin = found.idempotency_key, found.origin
    if key is None or origin is None:
        return found
    return await erp.claim(found, key, origin=origin, modified_at=modified_at) or found


class _Call:
    """One call of `find_or_create` or `amend_to`: the order to make, and the fenced ERP."""

    def __init__(
        self, erp: Erp, order: Order, guard: WriteGuard, on_step: OnStep, *, remembers: bool, is_read: bool
    ) -> None:
        self._erp = fenced(erp, guard)
        self._order = order
        self._on_step = on_step
        self._remembers = remembers
        self._is_read = is_read

    async def find(self) -> ErpOrder | None:
        """Find the order with the record's key."""
        return await self._erp.find(self._order.idempotency_key)

    async def complete(self, found: ErpOrder | None, said: OnRecord) -> Handoff:
        """Steps 2 to 4 of the algorithm: adopt or create, compare, advance. `found` is the result of step 1."""
        erp, order = self._erp, self._order
        if found is not None and self._keeps(found):
            return Handoff(order=found, adopted=True, kept=True)
        if found is None:
            found = await self._adopt(said)
        adopted = found is not None
        if found is None:
            found, adopted = await self._create()
            if adopted and self._keeps(found):
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

    def _keeps(self, found: ErpOrder) -> bool:
        """Whether the order is left unchanged because it comes from a newer notification than this call.

        An order cannot be newer than a record that was read just now. If it claims to be, and differs from the record,
        a person must know: raises `NewerThanRecordError`.
        """
        order = self._order
        if not is_newer(found, order.modified_at, is_read=self._is_read):
            return False
        if not self._is_read:
            return True
        if found.status is not ErpStatus.CANCELLED and differs(found, order):
            raise NewerThanRecordError(found)
        return False

    async def amend(self, found: ErpOrder, *, amends: bool, reopen: bool) -> ErpOrder | None:
        """Change the order if it differs, or reopen it if `reopen` and it is cancelled; return the ERP's new state."""
        order, is_cancelled = self._order, found.status is ErpStatus.CANCELLED
        if not (reopen if is_cancelled else amends and differs(found, order)):
            return found
        if other_customer(found, order):
            raise CustomerDiffersError(found)
        if found.origin is not Origin.CREATED:
            if is_cancelled:
                return found  # `complete` refuses it as cancelled
            raise NotMadeByUsError(found, order)
        if self._remembers:
            check_newer(found, order.modified_at)
        await self._erp.amend(found, order)
        await self._on_step("after-amend")
        return await self.find()

    async def _adopt(self, said: OnRecord) -> ErpOrder | None:
        try:
            return await adopt(self._erp, self._order, said)
        except DuplicateError:
            return await self._find_created(None)

    async def _create(self) -> tuple[ErpOrder, bool]:
        await self._on_step("before-create")
        try:
            created = await self._erp.create(self._order)
        except (DuplicateError, UnknownError) as error:
            return await self._find_created(error), True
        await self._on_step("after-create")
        return created, False

    async def _find_created(self, error: DuplicateError | UnknownError | None) -> ErpOrder:
        """Find the order that a parallel caller made, or that our own request made before its answer was lost.

        One look-up, not a loop: if the ERP is still processing the request, the next attempt finds the order or gets a
        duplicate error.
        """
        found = await self.find()
        if found is not None:
            return found
        if isinstance(error, UnknownError):
            raise error
        raise UnknownError("the ERP reports a duplicate key, but does not show that order yet") from error

    def _compare(self, found: ErpOrder) -> None:
        """Raise unless customer and content agree. A cancelled order is not compared."""
        if found.status is ErpStatus.CANCELLED:
            return
        if other_customer(found, self._order):
            raise CustomerDiffersError(found)
        if differs(found, self._order):
            raise AmountDiffersError.between(found, self._order)

    async def _advance(self, found: ErpOrder) -> ErpOrder:
        return await advance_order(
            self._erp,
            found,
            self._order.idempotency_key,
            compare=self._compare,
            on_advanced=lambda: self._on_step("after-advance"),
        )
