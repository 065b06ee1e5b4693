"""Case I2: answers of an ERP about another order than the one asked for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from closedwon import names
from closedwon.audit.collect import audit
from closedwon.emulators.erp.stub import Lie
from closedwon.erp.base import WrongAnswerError
from closedwon.errors import AttentionReason
from closedwon.ids import RecordId
from closedwon.model.erp_calls import FindOrder, FindOrders, ResolveOrder
from closedwon.model.orders import Order, idempotency_key
from tests.cases.identity import (
    OTHERS,
    TODAY,
    WITH_KEY,
    StubWorld,
    deal,
    ordered_deals,
    stub_world,
)
from tests.integration.erp.worlds import made_by_hand, new_order
from tests.support.deals import (
    attention_reason,
    notify,
    win,
)
from tests.support.handoff import handoff
from workers.connections import Connections


class Asked(NamedTuple):
    """The world in which the ERP lies: another record's order, and the one that the call is about."""

    world: StubWorld
    mine: Order


_Call = Callable[[Asked], Awaitable[object]]


async def _create(asked: Asked) -> object:
    return (await asked.world.create(asked.mine)).order


async def _find(asked: Asked) -> object:
    request = FindOrder(erp="stub", idempotency_key=asked.mine.idempotency_key)
    return await ActivityEnvironment().run(asked.world.activities.find_order, request)


async def _cancel(asked: Asked) -> object:
    return (await asked.world.cancel(asked.mine.idempotency_key)).order


async def _amend(asked: Asked) -> object:
    changed = asked.mine.model_copy(update={"lines": asked.mine.lines[:1]})
    return (await asked.world.create(changed, on_changed="amend")).order


async def _adopt(asked: Asked) -> object:
    by_hand = await made_by_hand(asked.world.stub, asked.mine)
    return (await asked.world.create(asked.mine, number=by_hand.number)).order


async def _resolve(asked: Asked) -> object:
    by_hand = await made_by_hand(asked.world.stub, asked.mine)
    key, number = asked.mine.idempotency_key, by_hand.number or ""
    request = ResolveOrder(erp="stub", idempotency_key=key, number=number, accept_differences=True)
    return (await ActivityEnvironment().run(asked.world.activities.resolve_order, request)).order


async def _sweep(asked: Asked) -> object:
    keys = (asked.mine.idempotency_key, new_order().idempotency_key)
    return await ActivityEnvironment().run(asked.world.activities.find_orders, FindOrders(erp="stub", keys=keys))


WRONG = AttentionReason.ERP_ANSWER_WRONG


OFF_CONTRACT = AttentionReason.CONFIGURATION


LIES: list[tuple[Lie, _Call, bool, AttentionReason | None]] = [
    (Lie.FIND_OTHER, _create, False, WRONG),
    (Lie.FIND_OTHER, _find, False, WRONG),
    (Lie.FIND_OTHER, _cancel, False, WRONG),
    (Lie.FIND_OTHER, _resolve, False, WRONG),
    (Lie.FIND_STALE, _create, False, WRONG),
    (Lie.FIND_TWO, _create, True, WRONG),
    (Lie.FIND_TWO, _cancel, True, WRONG),
    (Lie.FIND_NO_KEY, _create, True, WRONG),
    (Lie.FIND_NO_KEY, _cancel, True, WRONG),
    (Lie.FIND_OTHER_KEY, _create, True, WRONG),
    (Lie.FIND_OTHER_KEY, _find, True, WRONG),
    (Lie.FIND_STAMPED, _create, False, AttentionReason.CUSTOMER_DIFFERS),
    (Lie.FIND_LIST, _create, True, OFF_CONTRACT),
    (Lie.FIND_OBJECT, _create, True, OFF_CONTRACT),
    (Lie.FIND_NULL, _create, True, OFF_CONTRACT),
    (Lie.CREATE_OTHER, _create, False, WRONG),
    (Lie.CREATE_NO_KEY, _create, False, WRONG),
    (Lie.CREATE_OTHER_KEY, _create, False, WRONG),
    (Lie.CREATE_STAMPED, _create, False, AttentionReason.CUSTOMER_DIFFERS),
    (Lie.CREATE_CANCELLED, _create, False, WRONG),
    (Lie.CREATE_LIST, _create, False, OFF_CONTRACT),
    (Lie.CONFIRM_OTHER, _create, False, WRONG),
    (Lie.CONFIRM_NO_KEY, _create, False, WRONG),
    (Lie.CONFIRM_OTHER_KEY, _create, False, WRONG),
    (Lie.CANCEL_OTHER, _cancel, True, WRONG),
    (Lie.CANCEL_OTHER_KEY, _cancel, True, WRONG),
    (Lie.CANCEL_UNMOVED, _cancel, True, None),
    (Lie.AMEND_OTHER, _amend, True, WRONG),
    (Lie.AMEND_NO_KEY, _amend, True, WRONG),
    (Lie.NUMBER_OTHER, _adopt, False, WRONG),
    (Lie.NUMBER_EMPTY, _adopt, False, AttentionReason.ORDER_EXISTS),
    (Lie.CLAIM_OTHER, _adopt, False, WRONG),
    (Lie.CLAIM_OTHER_KEY, _resolve, False, WRONG),
    (Lie.MANY_OTHER, _sweep, True, WRONG),
]


@pytest.mark.parametrize(
    ("lie", "call", "exists", "reason"), LIES, ids=[f"{lie}-{call.__name__.strip('_')}" for lie, call, *_ in LIES]
)
async def test_i2_an_answer_about_another_order_is_rejected(
    lie: Lie,
    call: _Call,
    exists: bool,  # noqa: FBT001
    reason: AttentionReason | None,
) -> None:
    """However an answer is wrong, no order comes of it, and the other record's order stays as it is.

    `reason` None: the answer is retried.
    """
    async with stub_world() as world:
        other = (await world.create(deal(OTHERS))).order
        assert other is not None
        mine = deal()
        if exists:
            await world.create(mine)
        before = world.rows()[0]
        world.stub.faults.lie = lie
        if lie is Lie.FIND_STALE:
            await world.erp.find(other.idempotency_key or "")

        with pytest.raises(ApplicationError) as caught:
            await call(Asked(world, mine))

        assert (reason is not None) is caught.value.non_retryable
        assert reason == (caught.value.details[0].reason if caught.value.details else None)
        assert before == world.rows()[0]

        world.stub.faults.lie = None
        if call is _create:
            await world.create(mine)
            keys = [row["idempotency_key"] for row in world.rows()]
            assert [other.idempotency_key, mine.idempotency_key] == keys


def test_i2_every_wrong_answer_of_the_stub_erp_is_tested() -> None:
    """The stub ERP has no way of answering wrongly that is not tried."""
    assert set(Lie) == {lie for lie, *_ in LIES} | {Lie.LISTING_OTHER}


async def test_i2_a_listing_of_another_org_is_rejected() -> None:
    """The audit does not take another org's orders for this one's."""
    async with stub_world() as world:
        elsewhere = new_order().model_copy(update={"org": RecordId("00D000000000002")})
        await world.create(elsewhere)
        await world.create(deal())
        world.stub.faults.lie = Lie.LISTING_OTHER

        with pytest.raises(Exception, match="has an order of another org"):
            _ = [key async for key, _ in world.erp.orders_since(deal().org, TODAY - timedelta(days=9999))]


@pytest.mark.parametrize(
    "lie", [Lie.FIND_OTHER, Lie.FIND_STALE, Lie.FIND_TWO, Lie.FIND_NO_KEY, Lie.CREATE_OTHER, Lie.CONFIRM_OTHER]
)
async def test_i2_a_deal_is_not_ordered_as_another_deals_number(lie: Lie) -> None:
    """A wrong answer needs attention, nothing is written back; once the facade is corrected, `retry` orders."""
    async with handoff() as world, world.working(subscriber=False):
        first = win(world)
        await notify(world, first)
        await world.until_written_back(first)
        await world.order(first).result()
        world.erp.faults.lie = lie
        if lie is Lie.FIND_STALE:
            await world.connections.erps["stub"].find(idempotency_key(world.org.org_id, first))

        record = win(world)
        await notify(world, record)
        await world.until_stage(record, names.OrderStage.ATTENTION)

        assert AttentionReason.ERP_ANSWER_WRONG == await attention_reason(world, record)
        assert world.number_of(record) is None
        world.erp.faults.lie = None
        await world.order(record).signal(names.SIGNAL_RETRY)
        await world.until_written_back(record)
        assert world.number_of(first) != world.number_of(record)
        assert 2 == len(world.erp.orders())


@pytest.mark.parametrize("lie", [Lie.FIND_OTHER, Lie.MANY_OTHER, Lie.LISTING_OTHER])
async def test_i2_the_audit_rejects_an_answer_about_another_order(lie: Lie) -> None:
    """An answer with another key than the one asked for ends the audit with an error; it does not count as an order."""
    async with handoff(write_back=WITH_KEY) as world, world.working(subscriber=False):
        await ordered_deals(world, 1)
        world.org.seed(2)
        world.org.win_next(2 if lie is Lie.MANY_OTHER else 1)
        stranger = deal(OTHERS)
        world.erp.table.insert(stranger.idempotency_key, stranger, Decimal("0.01"))
        world.erp.faults.lie = lie

        with pytest.raises(WrongAnswerError, match="it is not used"):
            async with Connections(world.settings) as connections:
                await audit(
                    world.settings,
                    connections,
                    world.client,
                    since=datetime.now(UTC) - timedelta(hours=1),
                    lag=timedelta(0),
                )
