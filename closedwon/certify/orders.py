"""Checks of the only order per key: creating, finding, confirming, changing and cancelling it."""

from __future__ import annotations

import asyncio
from typing import Final

from closedwon.certify.bench import Bench, check, later, require_content, require_moment, require_same, require_status
from closedwon.certify.check import FailedError, NotOfferedError, require
from closedwon.erp.base import amend_to, cancel_order, find_or_create
from closedwon.erp.errors import (
    CannotAmendError,
    DuplicateError,
    RejectedError,
    StaleError,
    TooLateError,
    TooLateToAmendError,
)
from closedwon.errors import RetryError
from closedwon.model.erp import ErpOrder, ErpStatus
from closedwon.model.orders import Order

CALLERS: Final = 8
"""Simultaneous callers: more than the workers that usually compete for one order."""
_PATIENCE: Final = 40
"""Attempts of each of them."""


@check("answers", "The ERP answers and accepts the credential.")
async def answers(bench: Bench) -> str:
    """Makes the call of `closedwon config check`."""
    return await bench.erp.check()


@check("unknown-key", "A look-up by a key that no order has finds nothing.", is_dangerous=True)
async def unknown_key(bench: Bench) -> str:
    """An order would be another record's."""
    require(await bench.erp.find(bench.unused_key()) is None, "an order is shown for a key that no order has")
    return "none found"


@check("create", "The answer to a creation carries the key, the customer and the content that were sent.")
async def create(bench: Bench) -> str:
    """Creates two orders, so that a mix-up is noticed."""
    numbers = []
    for quantity in (3, 4):
        order = bench.changed(bench.order(), quantity)
        created = await bench.erp.create(order)
        require_content(created, order, "the answer")
        require_same(created, await bench.shown(order.idempotency_key), "the answer and the look-up after it")
        numbers.append(created.number or created.id)
    require(numbers[0] != numbers[1], "two orders have the same number")
    return f"orders {' and '.join(numbers)}"


@check("find", "A look-up by key finds the order of that key, and only that one.")
async def find(bench: Bench) -> str:
    """Compares the found order with the answer to the creation."""
    other, order = bench.order(), bench.changed(bench.order(), 5)
    made = [await bench.erp.create(each) for each in (other, order)]
    for created in made:
        found = await bench.shown(created.idempotency_key or "")
        require(found.id == created.id, "another order is found than the one that was created with the key")
        require_same(created, found, "the creation and the look-up")
    require(await bench.erp.find(bench.unused_key()) is None, "an order is shown for a key that no order has")
    return f"order {made[-1].number or made[-1].id} found by its key"


@check("duplicate", "A second creation under a key is answered as a duplicate (409) and makes no order.")
async def duplicate(bench: Bench) -> str:
    """The first order must not change."""
    order, made = await bench.made()
    await _refused_as_duplicate(bench, bench.changed(order, 6))
    require_same(made, await bench.shown(order.idempotency_key), "the order before and after")
    return "refused as a duplicate, and the order is unchanged"


@check("unique-key", "Of eight simultaneous creations under one key exactly one makes an order.")
async def unique_key(bench: Bench) -> str:
    """No caller looks the order up before."""
    order = bench.order()

    async def attempt() -> ErpOrder | None:
        try:
            return await bench.erp.create(order)
        except (DuplicateError, RetryError):
            return None

    made = [created for created in await asyncio.gather(*(attempt() for _ in range(CALLERS))) if created]
    found = await one_order(bench, order)
    require(len(made) <= 1, f"{len(made)} of {CALLERS} creations were answered as if each had made an order")
    require(all(created.id == found.id for created in made), "the order that was made is not the one that is found")
    return f"{CALLERS} creations at once, 1 order"


@check("callers", "Eight simultaneous callers end with one confirmed order and one number.")
async def callers(bench: Bench) -> str:
    """Each caller finds, creates, finds and confirms, as workers do."""
    order = bench.order()
    ends = await asyncio.gather(
        *(bench.until_done(lambda: find_or_create(bench.erp, order), _PATIENCE) for _ in range(CALLERS))
    )
    numbers = {handoff.order.number for handoff, _ in ends}
    require(len(numbers) == 1, f"{len(numbers)} numbers")
    await one_order(bench, order)
    return f"{CALLERS} callers, order {numbers.pop()}"


@check("confirm", "An order is confirmed, has a number, and a second confirmation changes nothing.")
async def confirm(bench: Bench) -> str:
    """The ERP may also refuse the second confirmation, because Closedwon reads the order again then."""
    order, draft = await bench.made()
    now = (await find_or_create(bench.erp, order)).order
    require(now.id == draft.id, "another order is confirmed than the one that was made")
    require(now.number, "a confirmed order has no number")
    if draft.status.exists_as_order:
        return f"confirmed by the creation, order {now.number}"
    try:
        await bench.erp.advance(draft.model_copy(update={"version": now.version}))
    except (RejectedError, StaleError):
        how = "is refused"
    else:
        how = "is answered with the order"
    again = await bench.shown(order.idempotency_key)
    require_same(now, again, "the order before and after the second confirmation")
    require(again.status.exists_as_order, f"the order is {again.status.value} after the second confirmation")
    return f"order {now.number} is {again.status.value}; a second confirmation {how}"


@check("cancel", "An order is cancelled, a second cancellation changes nothing, and its key stays taken.")
async def cancel(bench: Bench) -> str:
    """A person has decided against the deal, so no second order may replace the cancelled one."""
    order, made = await bench.made()
    decided = later(order, 60)
    try:
        ended = (await cancel_order(bench.erp, order.idempotency_key, modified_at=decided.modified_at)).order
    except TooLateError:
        raise NotOfferedError(
            "an order that was just created can no longer be cancelled",
            "`cancel` and the policies of a route ask a person to cancel the order in the ERP.",
        ) from None
    found = await bench.shown(order.idempotency_key)
    require(ended is not None and ended.id == made.id, "another order is cancelled")
    require_status(found, ErpStatus.CANCELLED, "the order")
    require_moment(found, decided, "the cancelled order")
    require_status(await bench.erp.cancel(found, modified_at=None), ErpStatus.CANCELLED, "the order after a second one")
    await _refused_as_duplicate(bench, order)
    require_status(await one_order(bench, order), ErpStatus.CANCELLED, "the order after another creation")
    return f"order {found.number or found.id} is cancelled, and no order replaces it"


@check("amend", "An order is changed in place: number, key and customer stay, and the content is what was sent.")
async def amend(bench: Bench) -> str:
    """Sends the change twice, because a repeated change must have no effect."""
    order, made = await bench.made()
    changed = bench.changed(order, 7)
    await amended(bench, made, changed)
    now = await bench.shown(order.idempotency_key)
    await amended(bench, now, changed)
    again = await one_order(bench, order)
    require((made.id, made.number) in {(again.id, again.number), (again.id, None)}, "the order has another number")
    require_content(again, changed, "the changed order")
    require_moment(again, changed, "the changed order")
    require_same(now, again, "the order before and after the repeated change")
    return f"order {again.number or again.id} holds the new content"


@check("reopen", "A cancelled order is taken up again in place when its deal is won again.")
async def reopen(bench: Bench) -> str:
    """There is always exactly one order per key."""
    order, made = await bench.made()
    require_origin(made)
    await cancelled(bench, made)
    changed = bench.changed(order, 8)
    try:
        now = (await bench.until_done(lambda: amend_to(bench.erp, changed, reopen=True)))[0].order
    except (CannotAmendError, TooLateToAmendError) as error:
        raise NotOfferedError(
            str(error), "A deal that is won again after its order was cancelled needs a person."
        ) from None
    require(now.id == made.id, "another order is reopened")
    require_content(await one_order(bench, order), changed, "the order")
    return f"order {now.number} is {now.status.value} again"


async def one_order(bench: Bench, order: Order) -> ErpOrder:
    """Return the order with this key. Raises `FailedError` unless both look-ups find exactly one."""
    key = order.idempotency_key
    found = await bench.shown(key)
    listed = (await bench.erp.find_many([key, bench.unused_key()])).get(key, [])
    require([each.id for each in listed] == [found.id], f"{len(listed)} orders have the key {key}")
    return found


def require_origin(found: ErpOrder) -> None:
    """Raise `NotOfferedError` if Closedwon cannot recognize the order as its own."""
    if found.origin is None:
        raise NotOfferedError(
            "no answer holds the origin", "No policy of a route changes, reopens or cancels an order."
        )


async def amended(bench: Bench, found: ErpOrder, order: Order) -> ErpOrder:
    """Change the order. Raises `NotOfferedError` if the ERP cannot do that, or can no longer."""
    try:
        return await bench.erp.amend(found, order)
    except (CannotAmendError, TooLateToAmendError) as error:
        raise NotOfferedError(
            str(error), "A person is asked about each deal that is changed after it was ordered."
        ) from None


async def cancelled(bench: Bench, found: ErpOrder) -> ErpOrder:
    """Cancel the order. Raises `NotOfferedError` if that is impossible at once."""
    try:
        return await bench.erp.cancel(found, modified_at=None)
    except TooLateError as error:
        raise NotOfferedError(str(error), "A person cancels orders in the ERP.") from None


async def _refused_as_duplicate(bench: Bench, order: Order) -> None:
    try:
        await bench.erp.create(order)
    except DuplicateError:
        return
    raise FailedError("the second creation is answered as if it had made an order")


ALL = (answers, unknown_key, create, find, duplicate, unique_key, callers, confirm, cancel, amend, reopen)
