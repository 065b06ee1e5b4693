"""Case N1 on a real Tryton: a worker that was replaced writes no more."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from closedwon.erp.base import StaleError, Step, amend_to, cancel_order, find_or_create
from closedwon.erp.tryton import TrytonAdapter
from closedwon.model.erp import ErpStatus
from tests.integration.erp.worlds import TrytonProcess, new_order, new_product


async def test_n1_tryton_a_replaced_worker_cannot_cancel_an_order(
    tryton: TrytonProcess, tryton_erp: TrytonAdapter
) -> None:
    """It looked the order up before its successor cancelled and reopened it: Tryton refuses its cancel."""
    code, _ = await new_product(tryton, account_category=None)
    order = new_order([(code, "1", "100.00")], modified_at=datetime.now(UTC))
    await find_or_create(tryton_erp, order)
    has_looked, goes_on = asyncio.Event(), asyncio.Event()

    async def cut_off(step: Step) -> None:
        if step == "before-cancel":
            has_looked.set()
            await goes_on.wait()

    replaced = TrytonAdapter(tryton.settings)
    attempt = asyncio.create_task(cancel_order(replaced, order.idempotency_key, by_policy=True, on_step=cut_off))
    await has_looked.wait()
    await cancel_order(tryton_erp, order.idempotency_key, by_policy=True)
    reopened = (await amend_to(tryton_erp, order, reopen=True)).order
    goes_on.set()
    with pytest.raises(StaleError):
        await attempt
    await replaced.close()

    assert reopened == await tryton_erp.find(order.idempotency_key)
    assert ErpStatus.CONFIRMED is reopened.status
