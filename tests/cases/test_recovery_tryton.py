"""Case R2 on a real Tryton: an amend or a cancel that arrives after something newer was done."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from closedwon.erp.base import amend_to, cancel_order, find_or_create
from closedwon.erp.tryton import TrytonAdapter
from closedwon.model.erp import ErpStatus
from closedwon.model.orders import Order
from tests.integration.erp.worlds import TrytonProcess, new_order, new_product
from tests.support.tryton_proxy import Held, behind_proxy

STALE = "SALE_EXTERNAL_VERSION_STALE"


async def changeable_order(tryton: TrytonProcess) -> Order:
    """An order of a product whose sale Tryton confirms but cannot process, so that it can still be changed."""
    code, _ = await new_product(tryton, account_category=None)
    return new_order([(code, "1", "100.00")], modified_at=datetime.now(UTC))


def later(order: Order, price: str) -> Order:
    """The deal a second later, with this price."""
    assert order.modified_at is not None
    lines = new_order([(order.lines[0].product, "1", price)]).lines
    return order.model_copy(update={"lines": lines, "modified_at": order.modified_at + timedelta(seconds=1)})


async def test_r2_tryton_a_late_amend_overwrites_nothing(tryton: TrytonProcess, tryton_erp: TrytonAdapter) -> None:
    """The amend to the second state arrives after the third one was written: Tryton refuses it and keeps the third."""
    first = await changeable_order(tryton)
    second = later(first, "200.00")
    third = later(second, "300.00")
    await find_or_create(tryton_erp, first)
    held = Held("delete_lines")

    async with behind_proxy(tryton, held) as slow:
        await held.give_up(asyncio.create_task(amend_to(slow, second)))
        await amend_to(tryton_erp, second)
        newest = (await amend_to(tryton_erp, third)).order
        answer = await held.arrive()

    assert STALE in answer
    assert newest == await tryton_erp.find(first.idempotency_key)
    assert (Decimal(300), ErpStatus.CONFIRMED, third.modified_at) == (newest.amount, newest.status, newest.modified_at)


async def test_r2_tryton_a_late_cancel_cancels_nothing(tryton: TrytonProcess, tryton_erp: TrytonAdapter) -> None:
    """The cancel arrives after the deal was won again and its order reopened: the order stays confirmed."""
    order = await changeable_order(tryton)
    await find_or_create(tryton_erp, order)
    held = Held('"cancel"')

    async with behind_proxy(tryton, held) as slow:
        await held.give_up(asyncio.create_task(cancel_order(slow, order.idempotency_key)))
        await cancel_order(tryton_erp, order.idempotency_key)
        reopened = (await amend_to(tryton_erp, later(order, "100.00"), reopen=True)).order
        answer = await held.arrive()

    assert STALE in answer
    assert reopened == await tryton_erp.find(order.idempotency_key)
    assert ErpStatus.CONFIRMED is reopened.status
