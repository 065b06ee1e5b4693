"""Wrong, late and incomplete answers of an ERP: real parts, and a facade before the ERP that changes its answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from closedwon.emulators.erp.stub import StubErp
from closedwon.erp import open_erp
from closedwon.errors import AttentionError, AttentionReason
from closedwon.ids import RecordId
from closedwon.names import OrderStage
from tests.integration.erp.worlds import new_order, rest_settings
from tests.support.behind_facade import behind, is_because, is_creation
from tests.support.deals import (
    QUICK,
    attention_reason,
    notify,
    orders_in_erp,
    reopen,
    set_erp_status,
    set_quantity,
    status_of,
    win,
    win_and_order,
)
from tests.support.facade import Facade, Hook, facade
from tests.support.handoff import Handoff, handoff, until
from tests.support.waiting import STALL


def answering(change: Callable[[dict[str, Any]], None]) -> Hook:
    """Change each order in each answer."""

    async def hook(there: Facade, request: web.Request, body: bytes) -> web.StreamResponse | None:
        status, content = await there.forward(request.method, request.path_qs, body, request.headers)
        answer = json.loads(content)
        for order in answer.get("orders", [answer]):
            if "line_count" in order:
                change(order)
        return web.json_response(answer, status=status)

    return hook


def error_of(world: Handoff, record: RecordId) -> Any:
    """What Salesforce says about the problem."""
    return world.org.get("Opportunity", record)["ERP_Order_Error__c"]


@pytest.mark.parametrize("kind", ["another order", "202 and an empty object", "307"])
async def test_a_creation_whose_answer_is_unusable_may_still_take_effect(kind: str) -> None:
    """The order is made after the answer: a `skip` waits until it can no longer come, and finds it."""
    done: list[bool] = []

    async def hook(there: Facade, request: web.Request, body: bytes) -> web.StreamResponse | None:
        if not is_creation(request) or done:
            return None
        done.append(True)
        there.later(3, "POST", "/orders", body, request.headers)
        if kind == "another order":
            _, content = await there.forward("GET", "/orders?number=L000001", b"", request.headers)
            return web.json_response(json.loads(content)["orders"][0], status=201)
        if kind == "307":
            return web.Response(status=307, headers={"Location": there.stub.url + "/orders"})
        return web.json_response({}, status=202)

    async with behind(hook) as world:
        async with aiohttp.request("POST", f"{world.erp.url}/_admin/orders", json=new_order().model_dump(mode="json")):
            pass
        record = win(world)
        await world.until_stage(record, OrderStage.ATTENTION)
        await world.order(record).signal("skip")
        await until(lambda: len(world.erp.orders()) == 2)

        async def asks_what_to_do_with_the_order() -> bool:
            return await attention_reason(world, record) == AttentionReason.ORDER_EXISTS

        await until(asks_what_to_do_with_the_order)
        assert OrderStage.ATTENTION == await world.stage(record)


async def test_a_cancellation_whose_answer_is_about_another_order_may_still_take_effect() -> None:
    """It takes effect after the deal was won again: the order is compared again, and confirmed in the end."""
    held: list[str] = []

    async def hook(there: Facade, request: web.Request, body: bytes) -> web.StreamResponse | None:
        if not request.path.endswith("/cancel") or held:
            return None
        held.append(request.path)
        there.later(3, "POST", request.path_qs, body, request.headers)
        _, content = await there.forward("GET", "/orders?number=L000001", b"", request.headers)
        return web.json_response(json.loads(content)["orders"][0])

    async with behind(hook, on_unqualified="cancel") as world:
        world.erp.faults.no_versions = True
        await win_and_order(world)
        record = await win_and_order(world)
        reopen(world, record)
        await world.until_stage(record, OrderStage.ATTENTION)
        assert AttentionReason.ERP_ANSWER_WRONG == await attention_reason(world, record)
        world.org.win(record)
        await until(lambda: orders_in_erp(world)[1][0] == "cancelled")  # the late effect
        await until(lambda: orders_in_erp(world)[1][0] == "confirmed")
        outcome = await world.order(record).result()

        assert OrderStage.COMPLETED is outcome.stage


async def test_an_order_made_by_hand_is_not_cancelled_for_an_origin_made_up_by_the_facade() -> None:
    """It answers `created` for every order: an order that people made is not adopted, and so is never cancelled."""

    def created(order: dict[str, Any]) -> None:
        order["origin"] = "created"

    async with behind(answering(created), on_unqualified="cancel") as world:
        world.org.seed(1)
        (record,) = (RecordId(one["Id"]) for one in world.org.query("SELECT Id FROM Opportunity"))
        by_hand = await world.made_by_hand(record)
        world.org.update("Opportunity", record, ERP_Order_Number__c=by_hand.number)
        world.org.win(record)
        await world.until_stage(record, OrderStage.ATTENTION)
        assert AttentionReason.ERP_ANSWER_WRONG == await attention_reason(world, record)
        reopen(world, record)
        await until(lambda: is_because(world, record, AttentionReason.NO_LONGER_QUALIFIES))

        assert ["confirmed"] == [status for status, _ in orders_in_erp(world)]


@pytest.mark.parametrize("what", ["change", "reopening"])
async def test_a_modification_time_made_up_by_the_facade_is_rejected(what: str) -> None:
    """It reports when its own row changed, in another time zone: the deal's change or reopening is not ignored."""
    shifts: list[bool] = []

    def shifted(order: dict[str, Any]) -> None:
        if shifts and order.get("modified_at"):
            order["modified_at"] = (datetime.fromisoformat(order["modified_at"]) + timedelta(hours=1)).isoformat()

    async with behind(answering(shifted), on_changed="amend", on_unqualified="cancel") as world:
        record = await win_and_order(world)
        shifts.append(True)
        before = orders_in_erp(world)
        if what == "reopening":
            reopen(world, record)
        else:
            set_quantity(world, record)
        await notify(world, record, "changed")
        await world.until_stage(record, OrderStage.ATTENTION)

        assert AttentionReason.ERP_ANSWER_WRONG == await attention_reason(world, record)
        assert before == orders_in_erp(world)


async def test_a_creation_answered_with_another_modification_time_is_rejected() -> None:
    """The answer to a creation repeats the time that was sent, or leaves it out."""

    def shifted(order: dict[str, Any]) -> None:
        order["modified_at"] = datetime(2031, 1, 1, tzinfo=UTC).isoformat()

    async with behind(answering(shifted)) as world:
        record = win(world)
        await world.until_stage(record, OrderStage.ATTENTION)

        assert AttentionReason.ERP_ANSWER_WRONG == await attention_reason(world, record)


async def test_an_order_that_is_named_while_it_is_a_draft_is_confirmed() -> None:
    """The workflow does not complete before the ERP has confirmed the order."""
    async with handoff(**QUICK) as world, world.working():
        world.erp.faults.reject = 1
        record = win(world)
        await world.until_stage(record, OrderStage.ATTENTION)
        by_hand = await world.made_by_hand(record)
        await set_erp_status(world, "draft")
        await world.order(record).signal("resolve", by_hand.number)
        outcome = await world.order(record).result()

        assert OrderStage.COMPLETED is outcome.stage
        assert ["confirmed"] == [status for status, _ in orders_in_erp(world)]
        assert "confirmed" == status_of(world, record)


async def test_a_draft_that_cannot_have_the_key_is_not_taken_for_the_order() -> None:
    """A person confirms it in the ERP, and sends `retry`."""

    async def hook(there: Facade, request: web.Request, body: bytes) -> web.StreamResponse | None:
        del there, body
        return web.Response(status=501) if request.path.endswith("/claim") else None

    async with behind(hook) as world:
        world.erp.faults.reject = 1
        record = win(world)
        await world.until_stage(record, OrderStage.ATTENTION)
        by_hand = await world.made_by_hand(record)
        await set_erp_status(world, "draft")
        await world.order(record).signal("resolve", by_hand.number)
        await until(lambda: "cannot be confirmed" in (error_of(world, record) or ""))
        await world.until_stage(record, OrderStage.ATTENTION)
        await set_erp_status(world, "confirmed")
        await world.order(record).signal("retry")
        outcome = await world.order(record).result()

        assert OrderStage.COMPLETED is outcome.stage


async def test_an_order_made_by_hand_with_an_empty_key_has_none() -> None:
    """Many ERPs store an empty text for a missing key: the named order does not belong to another record."""

    def blank(order: dict[str, Any]) -> None:
        order["idempotency_key"] = order["idempotency_key"] or ""

    async with behind(answering(blank)) as world:
        world.erp.faults.reject = 1
        record = win(world)
        await world.until_stage(record, OrderStage.ATTENTION)
        by_hand = await world.made_by_hand(record)
        await world.order(record).signal("resolve", by_hand.number)
        outcome = await world.order(record).result()

        assert (by_hand.number, 1) == (outcome.order and outcome.order.number, len(world.erp.orders()))


@pytest.mark.parametrize("blank", [None, ""])
async def test_an_order_without_a_number_is_read_again_until_it_has_one(blank: str | None) -> None:
    """The ERP numbers it a moment later."""
    numbered: list[bool] = []

    def unnumbered(order: dict[str, Any]) -> None:
        if not numbered:
            order["number"] = blank

    async with behind(answering(unnumbered), in_doubt_for=60) as world:
        record = win(world)
        await until(lambda: world.erp.orders() and orders_in_erp(world)[0][0] == "confirmed")
        calls = world.erp.calls
        await until(lambda: world.erp.calls > calls)
        numbered.append(True)
        outcome = await world.order(record).result()

        assert OrderStage.COMPLETED is outcome.stage
        assert world.erp.orders()[0]["number"] == world.number_of(record)


async def test_an_order_that_never_gets_a_number_needs_attention() -> None:
    """If the number is still missing after the in-doubt time, a person is asked."""

    def unnumbered(order: dict[str, Any]) -> None:
        order["number"] = None

    async with behind(answering(unnumbered), in_doubt_for=1) as world:
        record = win(world)
        await world.until_stage(record, OrderStage.ATTENTION)
        await until(lambda: "without its number" in (error_of(world, record) or ""))

        assert AttentionReason.ERP_ANSWER_WRONG == await attention_reason(world, record)


async def test_an_amount_of_a_million_digits_needs_attention() -> None:
    """The message names the field and quotes no value."""

    def endless(order: dict[str, Any]) -> None:
        order["amount"] = "1E+3000000"

    async with behind(answering(endless)) as world:
        record = win(world)
        await world.until_stage(record, OrderStage.ATTENTION)
        await until(lambda: error_of(world, record))

        assert AttentionReason.CONFIGURATION == await attention_reason(world, record)
        assert "the field(s) amount" in error_of(world, record)


async def test_a_listing_whose_pages_form_a_circle_is_an_error() -> None:
    """A listing whose pages name each other as the next one breaks the contract; reading it ends with an error."""

    async def hook(there: Facade, request: web.Request, body: bytes) -> web.StreamResponse | None:
        del there, body
        return web.json_response({"orders": [], "next": "b" if request.query.get("after") == "a" else "a"})

    async with StubErp.running() as stub, facade(stub, hook) as there, asyncio.timeout(STALL):
        erp = open_erp(rest_settings(there.url, there.token))
        try:
            with pytest.raises(AttentionError, match="next, which names a page that was read already"):
                _ = [each async for each in erp.orders_since(new_order().org, datetime.now(UTC))]
        finally:
            await erp.close()
