"""Orders that an ERP made otherwise than asked: `on_changed = "ignore"` never takes them for the deal's order."""

from __future__ import annotations

import json

import pytest
from aiohttp import web

from closedwon.errors import AttentionReason
from closedwon.ids import RecordId
from closedwon.names import OrderStage
from tests.support.behind_facade import behind, is_because, is_creation
from tests.support.deals import (
    QUICK,
    attention_reason,
    notify,
    orders_in_erp,
    reopen,
    set_quantity,
    status_of,
    win,
    win_and_order,
)
from tests.support.facade import Facade
from tests.support.handoff import Handoff, handoff, until


async def create_with_half_a_line(there: Facade, request: web.Request, body: bytes) -> bytes:
    """Create the order with half the quantity of its first line, confirm it, and return the answer."""
    order = json.loads(body)
    order["lines"][0] |= {"quantity": "0.5", "total": None}
    _, content = await there.forward("POST", "/orders", json.dumps(order).encode(), request.headers)
    _, content = await there.forward("POST", f"/orders/{json.loads(content)['id']}/confirm", b"", request.headers)
    return content


async def until_ordered_again(world: Handoff, record: RecordId) -> None:
    """Wait until the workflow has called the ERP again and needs attention."""
    calls = world.erp.calls
    await until(lambda: world.erp.calls > calls)
    await world.until_stage(record, OrderStage.ATTENTION)


@pytest.mark.parametrize("then", ["retry", "touch"])
async def test_with_ignore_an_order_that_was_made_wrong_is_never_taken(then: str) -> None:
    """Our own report moves the record's modification time, and so does any edit: the order was wrong from the start."""

    async def hook(there: Facade, request: web.Request, body: bytes) -> web.StreamResponse | None:
        if not is_creation(request):
            return None
        content = await create_with_half_a_line(there, request, body)
        return web.Response(status=201, body=content, content_type="application/json")

    async with behind(hook, on_changed="ignore") as world:
        record = win(world)
        await until(lambda: status_of(world, record) == "needs attention")
        await world.until_stage(record, OrderStage.ATTENTION)
        if then == "retry":
            await world.order(record).signal("retry")
        else:
            world.org.update("Opportunity", record, Name="Another name")
            await notify(world, record, "touched")
        await until_ordered_again(world, record)

        assert AttentionReason.AMOUNT_DIFFERS == await attention_reason(world, record)
        assert "needs attention" == status_of(world, record)


@pytest.mark.parametrize("keeps_times", [True, False])
async def test_with_ignore_an_order_that_was_made_wrong_is_not_taken_because_its_answer_was_lost(
    keeps_times: bool,  # noqa: FBT001
) -> None:
    """The answer to the creation is lost; nothing proves that the order ever agreed with the request."""
    lost: list[bool] = []

    async def hook(there: Facade, request: web.Request, body: bytes) -> web.StreamResponse | None:
        if not is_creation(request) or lost:
            return None
        lost.append(True)
        await create_with_half_a_line(there, request, body)
        return web.Response(status=504)

    async with behind(hook, on_changed="ignore") as world:
        world.erp.faults.leaves_out = frozenset() if keeps_times else frozenset({"modified_at"})
        record = win(world)
        await world.until_stage(record, OrderStage.ATTENTION)

        assert AttentionReason.AMOUNT_DIFFERS == await attention_reason(world, record)


async def test_with_ignore_an_order_that_was_reopened_wrong_is_not_taken() -> None:
    """The answer to the change is lost; that the order agreed before it was cancelled proves nothing."""
    lost: list[bool] = []

    async def hook(there: Facade, request: web.Request, body: bytes) -> web.StreamResponse | None:
        if request.method != "PUT" or lost:
            return None
        lost.append(True)
        order = json.loads(body)
        order["lines"][0] |= {"quantity": "0.5", "total": None}
        await there.forward("PUT", request.path, json.dumps(order).encode(), request.headers)
        await there.forward("POST", f"{request.path}/confirm", b"", {"Authorization": request.headers["Authorization"]})
        return web.Response(status=504)

    async with behind(hook, on_changed="ignore", on_unqualified="cancel") as world:
        world.erp.faults.leaves_out = frozenset({"modified_at"})
        record = await win_and_order(world)
        reopen(world, record)
        await until(lambda: orders_in_erp(world)[0][0] == "cancelled")
        await world.order(record).result()
        world.org.win(record)
        await until(lambda: is_because(world, record, AttentionReason.AMOUNT_DIFFERS))

        assert "confirmed" == orders_in_erp(world)[0][0]


@pytest.mark.parametrize("source", ["the same run", "another run"])
async def test_with_ignore_an_order_that_agreed_once_is_left_alone(source: str) -> None:
    """The deal was ordered, and is changed later: nothing is to be done, in the same run or in a new one."""
    async with handoff(**QUICK, on_changed="ignore") as world, world.working():
        record = win(world)
        await world.until_written_back(record)
        if source == "another run":
            await world.order(record).result()
        before, amount = orders_in_erp(world), set_quantity(world, record)
        await notify(world, record, "changed")
        outcome = await world.order(record).result()

        assert OrderStage.COMPLETED is outcome.stage
        assert before == orders_in_erp(world)
        assert [("confirmed", amount)] != before
