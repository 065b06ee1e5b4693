"""Deals that are un-won, deleted or changed before, while and after their order is made: each policy, real parts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from closedwon import names, temporal
from closedwon.acceptance import order_start
from closedwon.errors import AttentionReason
from closedwon.ids import RecordId
from closedwon.model import KEPT, UNWON, Channel, Message
from closedwon.names import OrderStage
from tests.support.handoff import Handoff, handoff, until

QUICK: dict[str, Any] = {"grace": timedelta(seconds=0.1)}


def status_of(world: Handoff, record: RecordId) -> Any:
    """What Salesforce says."""
    return world.org.get("Opportunity", record)["ERP_Order_Status__c"]


def booked(world: Handoff) -> list[tuple[str, Decimal]]:
    """Status and total of all orders that the ERP has."""
    return [(order["status"], Decimal(order["amount"])) for order in world.erp.orders()]


async def tell(world: Handoff, record: RecordId, message_id: str = "again", *, deleted: bool = False) -> None:
    """Word of the record, by whatever channel."""
    message = Message(id=message_id, channel=Channel.SWEEP, received_at=datetime.now(UTC), deleted=deleted)
    await temporal.start_order(world.client, order_start(world.settings, world.settings.routes[0], record), message)


async def won_and_ordered(world: Handoff) -> RecordId:
    """A deal whose order is made and written back."""
    record = win_one(world)
    await world.until_written_back(record)
    await world.order(record).result()
    return record


def win_one(world: Handoff) -> RecordId:
    """A deal is won."""
    world.org.seed(1)
    (record,) = world.org.win_next(1)
    return record


async def shown(world: Handoff, record: RecordId, attribute: str) -> str | None:
    """What Temporal's list shows of the order."""
    description = await world.order(record).describe()
    return description.typed_search_attributes.get(temporal.KEYS[attribute])


async def reason(world: Handoff, record: RecordId) -> str | None:
    """Why the order needs attention."""
    return await shown(world, record, names.ATTENTION_REASON)


async def process(world: Handoff, status: str = "processing") -> None:
    """The ERP's own people work on everything."""
    for order in world.erp.orders():
        url, change = f"{world.erp.url}/_admin/orders/{order['id']}", {"status": status}
        async with aiohttp.request("POST", url, json=change) as response:
            response.raise_for_status()


def take_back(world: Handoff, record: RecordId) -> None:
    """As somebody in sales does."""
    world.org.update("Opportunity", record, StageName="Negotiation/Review")


def sell_more(world: Handoff, record: RecordId) -> Decimal:
    """Change the quantity of the first line; the new amount."""
    (line,) = world.org.query(
        f"SELECT Id, Quantity FROM OpportunityLineItem WHERE OpportunityId = '{record}' ORDER BY Id LIMIT 1"  # noqa: S608 - SOQL
    )
    world.org.update("OpportunityLineItem", RecordId(line["Id"]), Quantity=line["Quantity"] + 1)
    return Decimal(str(world.org.get("Opportunity", record)["Amount"]))


@pytest.mark.parametrize("policy", ["cancel", "attention", "ignore"])
async def test_a_deal_that_is_taken_back_while_the_erp_is_away_gets_no_order(policy: str) -> None:
    """Whatever the policy: nothing was made, so nothing is made; and nobody waits for the next attempt's turn."""
    async with handoff(unwon=policy, **QUICK) as world, world.working():
        world.erp.faults.down = True
        record = win_one(world)
        await until(lambda: world.erp.calls >= 2)
        take_back(world, record)
        await world.until_stage(record, OrderStage.LOADING)
        world.erp.faults.down = False
        outcome = await world.order(record).result()

        assert OrderStage.NOT_NEEDED is outcome.stage
        assert [] == world.erp.orders()


async def test_a_deal_that_is_taken_back_has_its_order_cancelled_and_may_be_won_again() -> None:
    """The order that was cancelled is taken up again under its number, as the deal is now; there is never a second."""
    async with handoff(unwon="cancel", **QUICK) as world, world.working():
        record = await won_and_ordered(world)
        number = world.number_of(record)
        take_back(world, record)
        await until(lambda: status_of(world, record) == UNWON)
        await world.order(record).result()
        await tell(world, record, "late duplicate of the win")
        late = await world.order(record).result()
        cancelled = booked(world)
        amount = sell_more(world, record)
        world.org.win(record)
        await until(lambda: status_of(world, record) == "confirmed")
        await world.order(record).result()
        again = booked(world)

        assert ["cancelled"] == [status for status, _ in cancelled]
        assert OrderStage.NOT_NEEDED is late.stage
        assert [("confirmed", amount)] == again
        assert number == world.number_of(record)


async def test_a_deal_that_is_taken_back_while_its_order_is_being_made_has_it_cancelled() -> None:
    """The call to the ERP is under way: its outcome counts, and then the deal is looked at."""
    async with handoff(unwon="cancel", **QUICK) as world, world.working():
        world.erp.faults.slow = 1.0
        record = win_one(world)
        await until(lambda: world.erp.calls >= 2)  # the look is answered, the order on its way
        take_back(world, record)
        await until(lambda: status_of(world, record) == UNWON)
        outcome = await world.order(record).result()

        assert OrderStage.CANCELLED is outcome.stage
        assert ["cancelled"] == [status for status, _ in booked(world)]


async def test_what_a_person_has_cancelled_is_ordered_again_only_after_the_deal_was_taken_back() -> None:
    """A late duplicate orders nothing; that the deal ends and is won again is a new will."""
    async with handoff(unwon="cancel", **QUICK) as world, world.working():
        record = await won_and_ordered(world)
        await tell(world, record)
        await world.order(record).signal("cancel")
        await until(lambda: status_of(world, record) == "cancelled")
        await tell(world, record)
        await world.order(record).result()
        late = booked(world)
        take_back(world, record)
        await until(lambda: status_of(world, record) == UNWON)
        world.org.win(record)
        await until(lambda: status_of(world, record) == "confirmed")

        assert ["cancelled"] == [status for status, _ in late]
        assert ["confirmed"] == [status for status, _ in booked(world)]


@pytest.mark.parametrize("command", ["cancel", "retry"])
async def test_with_attention_a_person_decides_on_the_order_of_a_deal_that_was_taken_back(command: str) -> None:
    """`cancel` cancels it, and says that the deal is not won; `retry` leaves it as it is. Nothing happens before."""
    async with handoff(unwon="attention", **QUICK) as world, world.working():
        record = await won_and_ordered(world)
        take_back(world, record)
        await world.until_stage(record, OrderStage.ATTENTION)
        waiting = booked(world)
        await world.order(record).signal(command)
        outcome = await world.order(record).result()

        assert ["confirmed"] == [status for status, _ in waiting]
        expected = ("cancelled", UNWON) if command == "cancel" else ("confirmed", KEPT)
        assert expected == (booked(world)[0][0], status_of(world, record))
        assert (OrderStage.CANCELLED if command == "cancel" else OrderStage.COMPLETED) is outcome.stage


async def test_a_deal_that_is_won_again_needs_no_attention_any_more() -> None:
    """Word of it wakes the order, and nothing was lost."""
    async with handoff(unwon="attention", **QUICK) as world, world.working():
        record = await won_and_ordered(world)
        take_back(world, record)
        await world.until_stage(record, OrderStage.ATTENTION)
        world.org.win(record)
        outcome = await world.order(record).result()

        assert OrderStage.COMPLETED is outcome.stage
        assert ["confirmed"] == [status for status, _ in booked(world)]
        assert "confirmed" == status_of(world, record)


async def test_too_late_to_cancel_what_the_erp_processes_needs_a_person() -> None:
    """The goods may be on their way: the order stays, and `retry` accepts that."""
    async with handoff(unwon="cancel", **QUICK) as world, world.working():
        record = await won_and_ordered(world)
        await process(world)
        take_back(world, record)
        await world.until_stage(record, OrderStage.ATTENTION)
        why = await reason(world, record)
        await world.order(record).signal("retry")
        outcome = await world.order(record).result()

        assert AttentionReason.TOO_LATE_TO_CANCEL == why
        assert OrderStage.COMPLETED is outcome.stage
        assert KEPT == status_of(world, record)


async def test_with_ignore_an_order_outlives_its_deal() -> None:
    """The record is told what there is, and nothing else happens."""
    async with handoff(unwon="ignore", **QUICK) as world, world.working():
        record = await won_and_ordered(world)
        take_back(world, record)
        await tell(world, record)
        await world.order(record).result()

        assert ["confirmed"] == [status for status, _ in booked(world)]


@pytest.mark.parametrize(
    ("policy", "status"), [("cancel", "cancelled"), ("attention", "confirmed"), ("ignore", "confirmed")]
)
async def test_a_deleted_deal_follows_its_policy(policy: str, status: str) -> None:
    """It lies in the recycle bin, so it is certain; there is no record left to tell."""
    async with handoff(deleted=policy, **QUICK) as world, world.working():
        record = await won_and_ordered(world)
        world.org.delete("Opportunity", record)
        await tell(world, record)
        if policy == "attention":
            await world.until_stage(record, OrderStage.ATTENTION)
            assert AttentionReason.RECORD_DELETED == await reason(world, record)
            await world.order(record).signal("retry")
        await world.order(record).result()

        assert [status] == [each for each, _ in booked(world)]


async def test_a_deal_that_is_undeleted_while_its_order_is_being_given_up_keeps_its_order() -> None:
    """Word of the deletion is not believed against the record, which is there again; nobody hears of the undeletion."""
    async with handoff(**QUICK) as world, world.working():
        record = await won_and_ordered(world)
        world.erp.faults.down = True
        world.org.delete("Opportunity", record)
        await tell(world, record, "tombstone", deleted=True)
        await world.until_stage(record, OrderStage.CANCELLING)
        world.org.undelete("Opportunity", record)
        await tell(world, record)
        world.erp.faults.down = False
        outcome = await world.order(record).result()

        assert OrderStage.COMPLETED is outcome.stage
        assert ["confirmed"] == [status for status, _ in booked(world)]


async def test_an_undeleted_deal_whose_order_was_cancelled_with_it_needs_a_person() -> None:
    """No field tells who has cancelled the order, so it is not taken up again unasked, nor called confirmed."""
    async with handoff(**QUICK) as world, world.working():
        record = await won_and_ordered(world)
        world.org.delete("Opportunity", record)
        await tell(world, record, "tombstone", deleted=True)
        await world.order(record).result()
        world.org.undelete("Opportunity", record)
        await tell(world, record)
        await world.until_stage(record, OrderStage.ATTENTION)
        await until(lambda: status_of(world, record) == "needs attention")

        assert AttentionReason.ERP_REJECTED == await reason(world, record)
        assert ["cancelled"] == [status for status, _ in booked(world)]


@pytest.mark.parametrize("policy", ["amend", "attention", "ignore"])
async def test_a_deal_that_is_changed_after_it_was_ordered_follows_its_policy(policy: str) -> None:
    """The order is changed in place, or a person is asked, or it stays; there is never a second one."""
    async with handoff(changed=policy, **QUICK) as world, world.working():
        record = await won_and_ordered(world)
        before = booked(world)[0][1]
        after = sell_more(world, record)
        if policy == "attention":
            await world.until_stage(record, OrderStage.ATTENTION)
            assert AttentionReason.AMOUNT_DIFFERS == await reason(world, record)
            assert world.erp.orders()[0]["number"] == await shown(world, record, names.ERP_ORDER_NUMBER)
        else:
            await tell(world, record)
            await world.order(record).result()

        assert [("confirmed", after if policy == "amend" else before)] == booked(world)


async def test_a_change_that_comes_too_late_needs_a_person() -> None:
    """The ERP has begun: the order stays as it is, and setting the deal back ends the matter."""
    async with handoff(changed="amend", **QUICK) as world, world.working():
        record = await won_and_ordered(world)
        before = booked(world)
        await process(world)
        sell_more(world, record)
        await world.until_stage(record, OrderStage.ATTENTION)
        why = await reason(world, record)

        assert AttentionReason.TOO_LATE_TO_AMEND == why
        assert [("processing", before[0][1])] == booked(world)


async def test_an_order_is_followed_in_the_erp_and_its_changes_are_written_back() -> None:
    """What people do to the order in the ERP is known in Salesforce, until it is done."""
    follow = {"first_interval": 0.2, "longest_interval": 0.5}
    async with handoff(follow=follow, **QUICK) as world, world.working():
        record = win_one(world)
        await until(lambda: status_of(world, record) == "confirmed")
        await process(world)
        await until(lambda: status_of(world, record) == "processing")
        await process(world, "done")
        outcome = await world.order(record).result()

        assert OrderStage.COMPLETED is outcome.stage
        assert "done" == status_of(world, record)


async def test_an_order_that_was_made_by_hand_is_followed_once_it_is_named() -> None:
    """It has the record's key from then on, so the ERP finds it like any other."""
    follow = {"first_interval": 0.2, "longest_interval": 0.5}
    async with handoff(follow=follow, **QUICK) as world, world.working():
        world.erp.faults.reject = 1
        record = win_one(world)
        await world.until_stage(record, OrderStage.ATTENTION)
        made = await world.made_by_hand(record)
        await world.order(record).signal(names.SIGNAL_RESOLVE, made.number)
        await until(lambda: status_of(world, record) == "confirmed")
        await process(world)
        await until(lambda: status_of(world, record) == "processing")
        await process(world, "done")
        outcome = await world.order(record).result()

        assert OrderStage.COMPLETED is outcome.stage
        assert ("done", made.number) == (status_of(world, record), world.number_of(record))


async def test_an_order_that_is_cancelled_in_the_erp_is_cancelled_in_salesforce_and_not_made_again() -> None:
    """Somebody decided so in the ERP: Salesforce says it, and a late duplicate orders nothing."""
    follow = {"first_interval": 0.2, "longest_interval": 0.5}
    async with handoff(follow=follow, **QUICK) as world, world.working():
        record = win_one(world)
        await until(lambda: status_of(world, record) == "confirmed")
        await process(world, "cancelled")
        outcome = await world.order(record).result()
        await tell(world, record)
        late = await world.order(record).result()

        assert OrderStage.CANCELLED is outcome.stage
        assert "cancelled" == status_of(world, record)
        assert OrderStage.NOT_NEEDED is late.stage
        assert ["cancelled"] == [status for status, _ in booked(world)]
