"""What every ERP adapter offers, the errors it may raise, and the rule that makes orders exactly-once.

An adapter is a thin client: a few calls, no retries of its own, no state but look-ups it can do again. The rule (look
before creating, look again after every unknown outcome, the ERP's unique constraint has the last word) lives in
`find_or_create`, once, for all adapters. No Temporal here, no HTTP, and nothing that only one ERP needs.

The tree of errors below `closedwon.errors`:

    RetryError
    ├── UnreachableError        no connection, so nothing happened: retry, and let the alarm ring if it lasts
    ├── UnknownError            it may have happened: look before doing it again
    └── BusyError               (benign) the ERP asks for patience: retry in silence
    AttentionError
    ├── RejectedError           a business reason; reason `erp-rejected`, `unknown-product` or `configuration`
    ├── AuthFailedError         the credentials are refused, or their rights do not suffice
    ├── AmountDiffersError      what the ERP holds under the key is not what was sold
    ├── CannotAmendError        the adapter, or the system behind it, cannot change an order
    ├── TooLateToAmendError     it can no longer be changed
    ├── TooLateError            it can no longer be cancelled
    └── UnknownOrderError       the order that a person has named is not there, or is cancelled
        └── OthersOrderError    it is another record's
    DuplicateError              the key is taken; never leaves `find_or_create`
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final, Literal, Protocol

from closedwon.erp.comparing import differs, same_total
from closedwon.errors import (
    AttentionError,
    AttentionReason,
    BenignError,
    ClosedwonError,
    RetryError,
    UnknownOutcomeError,
)
from closedwon.ids import OrgId, RecordId
from closedwon.model import ErpOrder, ErpStatus, Frozen, Order


class DuplicateError(ClosedwonError):
    """The ERP has an order with this idempotency key already: find and adopt it. Never leaves `find_or_create`."""


class RejectedError(AttentionError):
    """The ERP refuses the order for a business reason that no retry can change."""

    def __init__(
        self, message: str, *, reason: AttentionReason = AttentionReason.ERP_REJECTED, cure: str | None = None
    ) -> None:
        """Take the ERP's own words, shortened, as `message`."""
        super().__init__(message, reason=reason, cure=cure or "Mend the order's data or the ERP's, then send `retry`.")


class AmountDiffersError(AttentionError):
    """The ERP's order under this key has another total, currency or other lines than the order that was sold.

    `found` is the ERP's order.
    """

    def __init__(self, found: ErpOrder, order: Order) -> None:
        """Name both totals; nothing of the customer."""
        self.found = found
        lines = " (a product, quantity or price differs)" if same_total(found, order) else ""
        super().__init__(
            f"ERP order {found.number or found.id} holds {found.amount} {found.currency} on {found.line_count} "
            f"line(s), but the record asks for {order.amount} {order.currency} on {len(order.lines)} line(s){lines}",
            reason=AttentionReason.AMOUNT_DIFFERS,
            cure="Make the ERP's order or the record agree with what was sold, then send `retry`.",
        )


class AuthFailedError(AttentionError):
    """The ERP refuses our credentials: stop and alert, never hammer."""

    def __init__(self, message: str, *, cure: str) -> None:
        """Name the setting that holds the credential in `cure`."""
        super().__init__(message, reason=AttentionReason.ERP_AUTH_FAILED, cure=cure)


class BusyError(BenignError):
    """The ERP asks for patience: 429, 503, a lock. `retry_after` is what its `Retry-After` said, if it sent one."""


class UnreachableError(RetryError):
    """No connection (refused, unknown host, TLS), so nothing happened there. Not benign: nobody announced it."""


class UnknownError(UnknownOutcomeError):
    """Timeout, disconnect, 500, 502, 504: the call may have taken effect."""


class TooLateError(AttentionError):
    """The order can no longer be cancelled."""

    def __init__(self, message: str) -> None:
        """Say in which state the order is."""
        super().__init__(
            message,
            reason=AttentionReason.TOO_LATE_TO_CANCEL,
            cure="Cancel its invoice and shipment in the ERP by hand, then send `cancel` again; "
            "or leave the order and send `retry`.",
        )


class CannotAmendError(AttentionError):
    """The adapter, or the system behind it, has no way to change an order."""

    def __init__(self, message: str) -> None:
        """Say what cannot."""
        super().__init__(
            message,
            reason=AttentionReason.AMOUNT_DIFFERS,
            cure="Make the ERP's order or the record agree with what was sold, then send `retry`; or set the route's "
            "`changed` to another policy.",
        )


class TooLateToAmendError(AttentionError):
    """The order can no longer be changed."""

    def __init__(self, message: str) -> None:
        """Say in which state the order is."""
        super().__init__(
            message,
            reason=AttentionReason.TOO_LATE_TO_AMEND,
            cure="Settle the difference in the ERP by hand (a return, a second invoice), or set the record back to "
            "what was ordered; once both agree, send `retry`.",
        )


class UnknownOrderError(AttentionError):
    """The order that a person has named is not there, or is not this record's."""

    def __init__(self, message: str) -> None:
        """Name the number."""
        super().__init__(
            message,
            reason=AttentionReason.UNKNOWN_ORDER,
            cure="Send `resolve` with the right number; `retry` looks for the same one again.",
        )


class OthersOrderError(UnknownOrderError):
    """The order of that number has another record's key."""


class Erp(Protocol):
    """One configured ERP. Every call may raise any of this module's errors but `AmountDiffersError`."""

    name: str
    settle: timedelta
    """How long a call that got no answer may still take effect."""

    @property
    def calls(self) -> int:
        """Requests sent to the ERP so far."""

    async def find(self, idempotency_key: str) -> ErpOrder | None:
        """Look the order up by its idempotency key."""

    async def find_many(self, keys: Sequence[str]) -> dict[str, list[ErpOrder]]:
        """Look orders up by their idempotency keys, so many in one call as a URL holds.

        A key without an order is left out; one with two orders is a double that the ERP's constraint should prevent.
        """

    def orders_since(self, org: OrgId, since: datetime) -> AsyncIterator[tuple[str, ErpOrder]]:
        """List every order of `org`'s records that was made or changed since then, with its idempotency key.

        Page by page, in an order that changes do not disturb.
        """

    def orphans(self, since: datetime, until: datetime) -> AsyncIterator[RecordId]:
        """List the customers (Accounts) that were made for an order in this time, and have none.

        Nobody, where the adapter does not make customers. An order on its way has its customer made first.
        """

    async def create(self, order: Order) -> ErpOrder:
        """Create the order, perhaps only as a draft. Raises `DuplicateError` when the key is taken."""

    async def advance(self, found: ErpOrder) -> ErpOrder:
        """Take the order to confirmed or beyond; state-guarded, so safe to repeat."""

    async def amend(self, found: ErpOrder, order: Order) -> ErpOrder:
        """Make the order hold the lines, currency and texts of `order`; a cancelled one is taken up again.

        The customer stays. The order may be a draft afterwards, to be advanced. It says what shall be, not what shall
        change, so it is safe to repeat. Raises `TooLateToAmendError` when the ERP has begun to process the order, and
        `CannotAmendError` when it never could.
        """

    async def cancel(self, found: ErpOrder) -> ErpOrder:
        """Cancel the order. Raises `TooLateError` when the ERP has begun to process it."""

    async def claim(self, number: str, idempotency_key: str) -> ErpOrder | None:
        """Put the key on the order that people call `number`: it is the record's one order from now on.

        Safe to repeat. An order is returned as it is where the ERP has the key elsewhere: whoever needs to know looks
        by the key afterwards. None: this ERP cannot do it. Raises `UnknownOrderError` for an order that is not there,
        `OthersOrderError` for one that has another record's key.
        """

    async def check(self) -> str:
        """Connect and say in one line what was found, for `closedwon config check`."""

    async def close(self) -> None:
        """Release connections."""


class Handoff(Frozen):
    """The order as the ERP has it now, confirmed or beyond."""

    order: ErpOrder
    adopted: bool
    """It was found under the key (made by an earlier attempt, or by a parallel one) rather than made by this call."""


Step = Literal["before-create", "after-create", "after-advance", "after-amend"]
"""Named points of danger. `after-create` and `after-amend` stand between the ERP's commit and everything that could
remember it."""
OnStep = Callable[[Step], Awaitable[None]]
"""Called at each point; a test arms it to block, raise or kill."""

_ADVANCES: Final = 3
"""Rounds of advance-and-look. Parallel callers may each take one of the two steps; more is not ours to sort out."""
_TELLING: Final = 3
"""Characters; blanking anything shorter would only make the message unreadable."""


async def no_step(_step: Step) -> None:
    """Do nothing: production."""


async def find_or_create(
    erp: Erp, order: Order, *, known_as: str | None = None, is_only: bool = True, on_step: OnStep = no_step
) -> Handoff:
    """See to it that the ERP holds exactly one confirmed order for `order.idempotency_key`, and return it.

    Safe to repeat and to run in parallel, in one process or in many; every attempt begins with a look. An order that
    is found under the key is adopted after its total, currency and lines have been compared. A cancelled
    one is not replaced: somebody decided against this deal in the ERP, and the key is taken in any case.
    `known_as` is the number that the record has already: an order of that number that was made by hand is adopted, too;
    unless this ERP `is_only` one of several, one that is not here may be in another, and a person is asked.

    Raises `RejectedError`, `AmountDiffersError` or `AuthFailedError` when a person must act, and `UnreachableError`,
    `UnknownError` or `BusyError` when calling again is the answer.
    """
    with _blanked(order):
        found = await erp.find(order.idempotency_key)
        if found is None and known_as is not None:
            found = await _made_by_hand(erp, order, known_as, is_only=is_only)
        adopted = found is not None
        if found is None:
            found, adopted = await _create(erp, order, on_step)
        _compare(found, order)
        return Handoff(order=await _advance(erp, found, order, on_step), adopted=adopted)


async def amend_to(
    erp: Erp,
    order: Order,
    *,
    reopen: bool = False,
    known_as: str | None = None,
    is_only: bool = True,
    on_step: OnStep = no_step,
) -> Handoff:
    """As `find_or_create`, but an order that differs from what was sold is changed instead of refused.

    Look, compare, amend, look again: an attempt that dies, or whose answer is lost, is found by the look of the next
    one, and amending says what shall be, so nothing is changed twice. With `reopen` a cancelled order is taken up
    again; without, it is refused as `find_or_create` does. Raises `AmountDiffersError` when the order differs all the
    same, `TooLateToAmendError` or `CannotAmendError` when it cannot be changed.
    """
    found = await erp.find(order.idempotency_key)
    if found is not None and (reopen or found.status is not ErpStatus.CANCELLED):
        with _blanked(order):
            if found.status is ErpStatus.CANCELLED or differs(found, order):
                await erp.amend(found, order)
                await on_step("after-amend")
    return await find_or_create(erp, order, known_as=known_as, is_only=is_only, on_step=on_step)


async def _made_by_hand(erp: Erp, order: Order, number: str, *, is_only: bool) -> ErpOrder | None:
    found: ErpOrder | None = None
    try:
        found = await erp.claim(number, order.idempotency_key)
    except OthersOrderError:
        return None  # a number that was copied with the record
    except UnknownOrderError:
        if is_only:
            return None  # the same, or an order that the ERP has lost
    if found is None:
        raise AttentionError(
            f"The record has order number {number} already, but ERP {erp.name} has no order under the record's key, "
            f"and {'cannot say whether it has that one' if is_only else 'nothing says whether that one exists'}",
            reason=AttentionReason.ORDER_EXISTS,
            cure="If that order exists, send `resolve` with its number; else empty the record's number field and send "
            "`retry`.",
        )
    return found


async def _create(erp: Erp, order: Order, on_step: OnStep) -> tuple[ErpOrder, bool]:
    await on_step("before-create")
    try:
        created = await erp.create(order)
    except (DuplicateError, UnknownError) as error:
        # Taken by a parallel caller, or made by the very request whose answer was lost. One look, not a loop: if the
        # request is still at work in there, the next attempt will see it, or will meet the unique constraint.
        found = await erp.find(order.idempotency_key)
        if found is not None:
            return found, True
        if isinstance(error, UnknownError):
            raise
        raise UnknownError("the ERP says that this order exists already, but does not show it yet") from error
    await on_step("after-create")
    return created, False


async def _advance(erp: Erp, found: ErpOrder, order: Order, on_step: OnStep) -> ErpOrder:
    """Advance until the ERP itself says confirmed or beyond, asked anew: the answer to a step is not proof of it."""
    for _ in range(_ADVANCES):
        if found.status is ErpStatus.CANCELLED:
            raise _cancelled(found)
        if found.status.exists_as_order:
            return found
        refusal: RejectedError | None = None
        try:
            await erp.advance(found)
        except RejectedError as error:
            refusal = error  # perhaps only because a parallel caller was faster
        await on_step("after-advance")
        now = await erp.find(order.idempotency_key)
        if now is None:
            raise UnknownError(f"ERP order {found.number or found.id} is gone after it was advanced")
        if refusal is not None and now.status is found.status:
            raise refusal
        found = now
    if found.status.exists_as_order:
        return found
    raise UnknownError(f"ERP order {found.number or found.id} is still {found.status.value} after it was advanced")


def _compare(found: ErpOrder, order: Order) -> None:
    """Raise `AmountDiffersError` unless both agree. What was cancelled is compared with nothing."""
    if found.status is not ErpStatus.CANCELLED and differs(found, order):
        raise AmountDiffersError(found, order)


def _cancelled(found: ErpOrder) -> RejectedError:
    return RejectedError(
        f"ERP order {found.number or found.id} of this record has been cancelled in the ERP",
        cure="Take that order back to draft in the ERP and send `retry`, or send `cancel` to give the order up.",
    )


@contextmanager
def _blanked(order: Order) -> Iterator[None]:
    """Blank what the ERP quotes of the customer and the deal: its words end in logs and in Temporal's UI."""
    try:
        yield
    except RejectedError as error:
        raise _without_customer(error, order) from error.__cause__


def _without_customer(error: RejectedError, order: Order) -> RejectedError:
    customer = order.customer
    texts = (customer.name, customer.street, customer.city, customer.postal_code, order.name, order.reference)
    message = str(error)
    for text in sorted((text for text in texts if text and len(text) >= _TELLING), key=len, reverse=True):
        message = message.replace(text, "…")
    return RejectedError(message, reason=error.reason, cure=error.cure)
