"""Notifications that contradict each other, come late, or say too little: orders that are made of them stay right."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import pytest

from closedwon.acceptance import Notification, accept, order_start
from closedwon.errors import AttentionReason
from closedwon.ids import RecordId
from closedwon.model.messages import Message
from closedwon.model.routes import Channel
from closedwon.names import OrderStage
from closedwon.temporal.orders import start_order
from tests.support.deals import (
    attention_reason,
    orders_in_erp,
    set_quantity,
    win_and_order,
)
from tests.support.handoff import Handoff, handoff, until

EVENT: Final[dict[str, Any]] = {
    "source": "event",
    "payload": "@",
    "qualify": "IsWon",
    "on_changed": "amend",
    "on_unqualified": "cancel",
    "grace": timedelta(seconds=0.1),
    "write_back": {},
    "order": {
        "name": "Name",
        "currency": "'EUR'",
        "customer": {"id": "AccountId", "name": "'Edge'"},
        "lines": {"each": "[@]", "product": "'GC1040'", "quantity": "`1`", "unit_price": "Amount"},
    },
}
RECORD: Final = RecordId("006000000000001AAA")
NOW: Final = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=10)


def fields(amount: str | None = "20.00", **more: Any) -> dict[str, Any]:
    """The content of a notification of a won deal."""
    return {"Name": "Roof", "AccountId": "001000000000001AAA", "IsWon": True, "Amount": amount, **more}


async def deliver(world: Handoff, name: str, content: dict[str, Any] | None, at: datetime | None = NOW) -> None:
    """Deliver a notification with this content and modification time."""
    message = Message(
        id=name, channel=Channel.OUTBOUND_MESSAGE, received_at=datetime.now(UTC), payload=content, modified_at=at
    )
    await start_order(world.client, order_start(world.settings, world.settings.routes[0], RECORD), message)


async def expect_order(world: Handoff, amount: str = "20.00") -> None:
    """Wait for the end of the order workflow; the ERP then has one confirmed order with this total."""
    await world.order(RECORD).result()
    assert [("confirmed", Decimal(amount))] == orders_in_erp(world)


async def test_comparing_a_boolean_with_a_text_never_cancels() -> None:
    """A checkbox is `'true'` in an outbound message and `true` in a callout: the live order of a won deal stays."""
    async with handoff(**EVENT | {"qualify": "IsWon == 'true'"}) as world, world.working(subscriber=False):
        await deliver(world, "m-1", fields(IsWon="true"))
        await expect_order(world)
        await deliver(world, "m-2", fields(), NOW + timedelta(minutes=1))
        await world.until_stage(RECORD, OrderStage.ATTENTION)
        assert AttentionReason.MAPPING_FAILED == await attention_reason(world, RECORD)
        assert [("confirmed", Decimal("20.00"))] == orders_in_erp(world)


async def test_a_message_that_is_sent_again_with_newer_content_makes_the_order() -> None:
    """The acknowledgement was lost, the deal changes, and Salesforce sends the message again under its id."""
    async with handoff(**EVENT) as world, world.working(subscriber=False):
        world.erp.faults.down = True
        await deliver(world, "m-1", fields("20.00"))
        await until(lambda: world.erp.calls)
        await deliver(world, "m-1", fields("87.00"), NOW + timedelta(minutes=5))
        world.erp.faults.down = False
        await expect_order(world, "87.00")


@pytest.mark.parametrize("late", [{"IsWon": False}, {"Amount": "10.00"}], ids=["not won", "another amount"])
@pytest.mark.parametrize("keeps_time", [True, False])
async def test_a_late_message_of_the_same_second_undoes_nothing(late: dict[str, Any], *, keeps_time: bool) -> None:
    """Made and won within a second, and the message of the insert arrives last: a person decides.

    Before the order is made, and after it was made and its workflow has ended, where the ERP keeps the time.
    """
    async with handoff(**EVENT) as world, world.working(subscriber=False):
        if keeps_time:
            await deliver(world, "m-2", fields())
            await expect_order(world)
        else:
            world.erp.faults.leaves_out, world.erp.faults.down = frozenset({"modified_at"}), True
            await deliver(world, "m-2", fields())
            await until(lambda: world.erp.calls)
        before = orders_in_erp(world)
        await deliver(world, "m-1", fields(**late))
        world.erp.faults.down = False
        await world.until_stage(RECORD, OrderStage.ATTENTION)
        assert AttentionReason.INVALID_MESSAGE == await attention_reason(world, RECORD)
        assert before == orders_in_erp(world)
        await deliver(world, "m-3", fields("30.00"), NOW + timedelta(seconds=1))
        await expect_order(world, "30.00")


async def test_the_same_message_of_the_same_second_is_harmless() -> None:
    """By another channel, under another id, or again: what it says is done already."""
    async with handoff(**EVENT) as world, world.working(subscriber=False):
        await deliver(world, "m-1", fields())
        await expect_order(world)
        calls = world.erp.calls
        await deliver(world, "m-2", fields())
        await expect_order(world)
        assert calls < world.erp.calls


async def test_a_deal_that_is_won_in_the_second_in_which_it_was_made_is_ordered() -> None:
    """A flow wins it at once: both messages have one SystemModstamp."""
    async with handoff(**EVENT) as world, world.working(subscriber=False):
        await deliver(world, "m-1", fields(IsWon=False))
        await world.until_stage(RECORD, OrderStage.NOT_NEEDED)
        await deliver(world, "m-2", fields())
        await expect_order(world)


async def test_a_deal_that_is_reopened_and_won_in_the_same_second_needs_a_person() -> None:
    """Nothing says which came last, so the cancelled order is not reopened, and a person is asked."""
    async with handoff(**EVENT) as world, world.working(subscriber=False):
        at = NOW + timedelta(minutes=1)
        await deliver(world, "m-1", fields())
        await expect_order(world)
        await deliver(world, "m-2", fields(IsWon=False), at)
        await world.until_stage(RECORD, OrderStage.CANCELLED)
        await deliver(world, "m-3", fields(), at)
        await world.until_stage(RECORD, OrderStage.ATTENTION)
        assert "cancelled" == orders_in_erp(world)[0][0]
        await deliver(world, "m-4", fields(), at + timedelta(seconds=1))
        await expect_order(world)


@pytest.mark.parametrize("amount", ["1.234,00", "1,234.00", None])
async def test_a_deal_whose_qualify_yields_nothing_needs_a_person(amount: str | None) -> None:
    """A text that is not a number compares to nothing: the deal is won, and must not silently end as not needed."""
    route = EVENT | {"qualify": "IsWon && to_number(Amount) > `0`"}
    async with handoff(**route) as world, world.working(subscriber=False):
        await deliver(world, "m-1", fields(amount))
        await world.until_stage(RECORD, OrderStage.ATTENTION)
        assert AttentionReason.MAPPING_FAILED == await attention_reason(world, RECORD)
        await world.order(RECORD).signal("skip")
        await world.until_stage(RECORD, OrderStage.NOT_NEEDED)
        assert [] == orders_in_erp(world)


@pytest.mark.parametrize("with_time", [True, False])
@pytest.mark.parametrize("content", [{}, {"Id": RECORD}])
async def test_a_notification_without_content_takes_no_order_away(content: dict[str, Any], *, with_time: bool) -> None:
    """An empty one replaces nothing; one that says its id only needs a person: whether the deal is won is unknown."""
    async with handoff(**EVENT) as world, world.working(subscriber=False):
        world.erp.faults.down = True
        await deliver(world, "m-1", fields())
        await until(lambda: world.erp.calls)
        await deliver(world, "m-2", content, NOW + timedelta(minutes=1) if with_time else None)
        world.erp.faults.down = False
        if content:
            await world.until_stage(RECORD, OrderStage.ATTENTION)
        else:
            await expect_order(world)


async def test_a_change_that_is_reported_before_it_can_be_read_is_not_lost() -> None:
    """As for a win: the notification overtakes its commit, and the record is read again for the route's grace."""
    async with handoff(grace=timedelta(seconds=20), on_changed="amend") as world, world.working():
        deal = await win_and_order(world)
        stamped_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
        notification = Notification(
            deal,
            "m-1",
            Channel.CALLOUT,
            received_at=datetime.now(UTC),
            fields={"Id": deal, "SystemModstamp": stamped_at.isoformat()},
        )
        await accept(world.client, world.settings, world.settings.routes[0], notification)

        async def reads_again() -> bool:
            description = await world.order(deal).describe()
            return any(one.attempt > 1 for one in description.raw_description.pending_activities)

        await until(reads_again)
        await until(lambda: datetime.now(UTC) >= stamped_at)
        amount = set_quantity(world, deal)
        await until(lambda: orders_in_erp(world) == [("confirmed", amount)])
