"""Checks of faults: lost answers, late effects, old versions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import Final

from closedwon.certify.bench import Bench, check, later, require_content, require_same, require_status
from closedwon.certify.check import FailedError, NotOfferedError, require
from closedwon.certify.orders import amended, cancelled, one_order, require_origin
from closedwon.certify.proxy import HeldRequest
from closedwon.erp.base import amend_to, cancel_order, find_or_create
from closedwon.erp.errors import (
    CannotAmendError,
    DuplicateError,
    OthersOrderError,
    StaleError,
    TooLateError,
    TooLateToAmendError,
)
from closedwon.erp.protocol import Erp
from closedwon.errors import ClosedwonError
from closedwon.model.erp import ErpOrder, ErpStatus, Origin
from closedwon.model.orders import Order

_CHANGES_NONE: Final = "A person is asked about each deal that is changed after it was ordered."
_NO_DRAFTS: Final = "a creation confirms the order, so there is nothing to confirm"
_NO_CLAIM: Final = "An order made by hand is taken by its number only, by a person."


@check("lost-create", "When the answer to a creation is lost, the order is found, not made a second time.")
async def lost_create(bench: Bench) -> str:
    """The proxy cuts the connection after the ERP has answered, before the adapter gets the answer."""
    order = bench.order()

    async def attempt() -> None:
        with suppress(DuplicateError):
            await bench.proxied.create(order)

    with bench.proxy.losing_answers() as lost:
        _, attempts = await bench.until_done(attempt)
    found = await one_order(bench, order)
    require_content(found, order, "the order")
    return f"{_lost(lost)}, {attempts} attempts, 1 order"


@check("lost-confirm", "When the answer to a confirmation is lost, the next attempt finds the order confirmed.")
async def lost_confirm(bench: Bench) -> str:
    """As above."""
    order, made = await bench.made()
    if made.status.exists_as_order:
        return _NO_DRAFTS
    with bench.proxy.losing_answers() as lost:
        handoff, attempts = await bench.until_done(lambda: find_or_create(bench.proxied, order))
    require(handoff.order.id == made.id, "another order is confirmed")
    await one_order(bench, order)
    return f"{_lost(lost)}, {attempts} attempts, 1 order that is {handoff.order.status.value}"


@check("lost-amend", "When the answer to a change is lost, the change is there once.")
async def lost_amend(bench: Bench) -> str:
    """As above."""
    order, made = await bench.made()
    require_origin(made)
    changed = bench.changed(order, 9)
    with bench.proxy.losing_answers() as lost:
        try:
            handoff, attempts = await bench.until_done(lambda: amend_to(bench.proxied, changed))
        except (CannotAmendError, TooLateToAmendError) as error:
            raise NotOfferedError(str(error), _CHANGES_NONE) from None
    require(handoff.order.id == made.id, "another order is changed")
    require_content(await one_order(bench, order), changed, "the order")
    return f"{_lost(lost)}, {attempts} attempts, 1 order with the new content"


@check("lost-cancel", "When the answer to a cancellation is lost, the next attempt finds the order cancelled.")
async def lost_cancel(bench: Bench) -> str:
    """As above."""
    order, _ = await bench.made()
    with bench.proxy.losing_answers() as lost:
        try:
            _, attempts = await bench.until_done(lambda: cancel_order(bench.proxied, order.idempotency_key))
        except TooLateError as error:
            raise NotOfferedError(str(error), "A person cancels orders in the ERP.") from None
    require_status(await one_order(bench, order), ErpStatus.CANCELLED, "the order")
    return f"{_lost(lost)}, {attempts} attempts, 1 cancelled order"


@check("lost-claim", "When the answer to a claim is lost, a repeated claim succeeds and changes nothing.")
async def lost_claim(bench: Bench) -> str:
    """Claims an order that already has the key, to store a newer time."""
    order, _ = await bench.made()
    key, newer = order.idempotency_key, later(order, 60).modified_at

    async def attempt() -> ErpOrder | None:
        found = await bench.proxied.find(key)
        require(found, "the order is gone")
        assert found is not None
        return await bench.proxied.claim(found, key, origin=Origin.CREATED, modified_at=newer)

    with bench.proxy.losing_answers(1) as lost:
        claimed, attempts = await bench.until_done(attempt)
    if claimed is None:
        raise NotOfferedError("the ERP stores no key with an existing order", _NO_CLAIM)
    require_same(claimed, await one_order(bench, order), "the answer and the look-up after it")
    return f"{_lost(lost)}, {attempts} attempts"


@check("version", "A write that was decided on an older state of the order is refused and changes nothing.")
async def version(bench: Bench) -> str:
    """Tries every kind of write with the old version."""
    order, old = await bench.made()
    if old.version is None:
        raise _unfenced(bench, "no answer holds a version")
    newer = await _write_something(bench, order, old)
    require(newer.version != old.version, "a changed order has the version of before")
    key, tried = order.idempotency_key, []
    writes: dict[str, Callable[[], Awaitable[object]]] = {
        "change": lambda: bench.erp.amend(old, bench.changed(order, 99)),
        "cancellation": lambda: bench.erp.cancel(old, modified_at=None),
        "claim": lambda: bench.erp.claim(old, key, origin=Origin.CREATED, modified_at=later(order, 500).modified_at),
    }
    if not old.status.exists_as_order:
        writes["confirmation"] = lambda: bench.erp.advance(old)
    for what, write in writes.items():
        try:
            answer = await write()
        except StaleError:
            tried.append(what)
        except (CannotAmendError, TooLateToAmendError, TooLateError):
            continue
        else:
            require(answer is None, f"a {what} with an old version is carried out")
        now = await bench.shown(key)
        require_same(newer, now, f"the order before and after a refused {what}")
        require(now.status is newer.status, f"a refused {what} changes the status")
    require(tried, "no write could be tried")
    return f"refused: {', '.join(tried)}"


@check("late-create", "A creation that takes effect late makes no second order.")
async def late_create(bench: Bench) -> str:
    """The proxy holds a creation back until the next attempt has created the order."""
    order = bench.order()
    with bench.proxy.holding() as held:
        await _give_up(held, bench.proxied.create(order))
        made = await bench.erp.create(bench.changed(order, 3))
        status = await held.let_go()
    found = await one_order(bench, order)
    require(found.id == made.id, "another order is found under the key after the late creation")
    require_same(made, found, "the order before and after the late creation")
    return f"the late creation was answered {_status(status)}, 1 order"


@check("late-confirm", "A confirmation that takes effect late does not revive an order that was cancelled meanwhile.")
async def late_confirm(bench: Bench) -> str:
    """As above."""
    order, made = await bench.made()
    if made.status.exists_as_order:
        return _NO_DRAFTS
    return await _late(
        bench,
        order,
        lambda erp: erp.advance(made),
        lambda: cancelled(bench, made),
        lambda now: now.status is ErpStatus.CANCELLED,
    )


@check("late-amend", "A change that takes effect late does not undo a newer one.")
async def late_amend(bench: Bench) -> str:
    """As above."""
    order, made = await bench.made()
    older, newer = bench.changed(order, 5), bench.changed(order, 6)
    return await _late(
        bench,
        order,
        lambda erp: erp.amend(made, older),
        lambda: amended(bench, made, newer),
        lambda now: now.amount == newer.amount,
    )


@check("late-cancel", "A cancellation that takes effect late does not cancel an order that was changed meanwhile.")
async def late_cancel(bench: Bench) -> str:
    """As above."""
    order, made = await bench.made()
    return await _late(
        bench,
        order,
        lambda erp: erp.cancel(made, modified_at=None),
        lambda: _write_something(bench, order, made),
        lambda now: now.status is not ErpStatus.CANCELLED,
    )


def _lost(lost: Collection[object]) -> str:
    """Say how many answers were lost. Raises `FailedError` if none was, because then nothing was checked."""
    require(lost, "the adapter has sent no write through the proxy")
    return f"{len(lost)} answer{'s' * (len(lost) != 1)} lost"


async def _late(
    bench: Bench,
    order: Order,
    old: Callable[[Erp], Awaitable[object]],
    new: Callable[[], Awaitable[ErpOrder]],
    is_kept: Callable[[ErpOrder], bool],
) -> str:
    """Hold `old` back, do `new`, release `old`; then `is_kept` says whether the effect of `new` is still there."""
    with bench.proxy.holding() as held:
        await _give_up(held, old(bench.proxied))
        newer = await new()
        status = await held.let_go()
    now = await one_order(bench, order)
    answered = f"the late write was answered {_status(status)}"
    if now.version is None:
        raise _unfenced(bench, f"{answered}{'' if is_kept(now) else ', and took effect'}")
    require(is_kept(now), f"{answered}, and has undone the newer write")
    require_same(newer, now, "the order before and after the late write")
    return f"{answered}; the newer write counts"


async def _give_up(held: HeldRequest, call: Awaitable[object]) -> None:
    """Begin a call, and cancel it once its write is held."""
    task = asyncio.ensure_future(call)
    arrival = asyncio.ensure_future(held.arrived.wait())
    await asyncio.wait({task, arrival}, return_when=asyncio.FIRST_COMPLETED)
    arrival.cancel()
    if not held.arrived.is_set():
        await task  # raises the reason why nothing was written
        raise FailedError("the adapter has sent nothing that could be held back")
    task.cancel()
    with suppress(asyncio.CancelledError, ClosedwonError):
        await task


async def _write_something(bench: Bench, order: Order, found: ErpOrder) -> ErpOrder:
    """Change the order in any way that the ERP offers."""
    with suppress(NotOfferedError):
        return await amended(bench, found, bench.changed(order, 6))
    newer = later(order, 60).modified_at
    with suppress(OthersOrderError):
        claimed = await bench.erp.claim(found, order.idempotency_key, origin=Origin.CREATED, modified_at=newer)
        if claimed is not None:
            return claimed
    return await bench.erp.advance(found)


def _unfenced(bench: Bench, facts: str) -> NotOfferedError:
    in_doubt = f"{bench.settings.in_doubt_for.total_seconds():g} s"
    return NotOfferedError(
        facts,
        "Not fenced: after a write without an answer, Closedwon compares the order once more when `in_doubt_for` "
        f"({in_doubt}) is over.",
    )


def _status(status: int) -> str:
    return str(status) if status else "not at all"


ALL = (
    lost_create,
    lost_confirm,
    lost_amend,
    lost_cancel,
    lost_claim,
    version,
    late_create,
    late_confirm,
    late_amend,
    late_cancel,
)
