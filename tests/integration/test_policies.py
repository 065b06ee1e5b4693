"""Deals that are reopened, deleted or changed before, while and after their order is made: each policy, real parts."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from closedwon import names
from closedwon.acceptance import order_start
from closedwon.errors import AttentionReason
from closedwon.ids import RecordId
from closedwon.model.erp import CANCELLED_UNQUALIFIED, KEPT_UNQUALIFIED
from closedwon.model.messages import Message
from closedwon.model.routes import Channel
from closedwon.names import OrderStage
from closedwon.temporal.orders import start_order
from tests.support.deals import (
    QUICK,
    attention_reason,
    notify,
    orders_in_erp,
    reopen,
    search_attribute,
    set_erp_status,
    set_quantity,
    status_of,
    win,
    win_and_order,
)
from tests.support.handoff import Handoff, handoff, until


@pytest.mark.parametrize("policy", ["cancel", "attention", "ignore"])
async def test_a_deal_that_is_reopened_while_the_erp_is_away_gets_no_order(policy: str) -> None:
    """No policy makes an order then; the workflow does not wait for the next attempt to see the reopened deal."""
    async with handoff(on_unqualified=policy, **QUICK) as world, world.working():
        world.erp.faults.down = True
        record = win(world)
        await until(lambda: world.erp.calls >= 2)
        reopen(world, record)
        await world.until_stage(record, OrderStage.LOADING)
        world.erp.faults.down = False
        outcome = await world.order(record).result()

        assert OrderStage.NOT_NEEDED is outcome.stage
        assert [] == world.erp.orders()


async def test_a_reopened_deal_has_its_order_cancelled_and_may_be_won_again() -> None:
    """The order that was cancelled is taken up again under its number, as the deal is now; there is never a second."""
    async with handoff(on_unqualified="cancel", **QUICK) as world, world.working():
        record = await win_and_order(world)
        number = world.number_of(record)
        reopen(world, record)
        await until(lambda: status_of(world, record) == CANCELLED_UNQUALIFIED)
        await world.order(record).result()
        await notify(world, record, "late duplicate of the win")
        late = await world.order(record).result()
        cancelled = orders_in_erp(world)
        amount = set_quantity(world, record)
        world.org.win(record)
        await until(lambda: status_of(world, record) == "confirmed")
        await world.order(record).result()
        again = orders_in_erp(world)

        assert ["cancelled"] == [status for status, _ in cancelled]
        assert OrderStage.NOT_NEEDED is late.stage
        assert [("confirmed", amount)] == again
        assert number == world.number_of(record)


async def test_a_deal_that_is_reopened_while_its_order_is_being_made_has_it_cancelled() -> None:
    """The call to the ERP is under way: its outcome counts, and then the deal is looked at."""
    async with handoff(on_unqualified="cancel", **QUICK) as world, world.working():
        world.erp.faults.slow = 1.0
        record = win(world)
        await until(lambda: world.erp.calls >= 2)  # the look is answered, the order on its way
        reopen(world, record)
        await until(lambda: status_of(world, record) == CANCELLED_UNQUALIFIED)
        outcome = await world.order(record).result()

        assert OrderStage.CANCELLED is outcome.stage
        assert ["cancelled"] == [status for status, _ in orders_in_erp(world)]


@pytest.mark.parametrize("by", ["operator", "erp", "erp, followed"])
@pytest.mark.parametrize("policy", ["cancel", "attention"])
async def test_an_order_that_a_person_cancelled_is_not_reopened_with_the_deal(by: str, policy: str) -> None:
    """A credit stop in the ERP, or a command: that the deal is reopened and won again does not overrule it."""
    follow = {"initial_interval": "200ms", "maximum_interval": "500ms"} if "followed" in by else False
    async with handoff(on_unqualified=policy, follow=follow, **QUICK) as world, world.working():
        record = win(world)
        await until(lambda: status_of(world, record) == "confirmed")
        if by == "operator":
            await world.order(record).result()
            await notify(world, record)
            await world.order(record).signal("cancel")
        else:
            await set_erp_status(world, "cancelled")
        if by != "erp":
            await until(lambda: status_of(world, record) == "cancelled")
            await world.order(record).result()
        reopen(world, record)
        await notify(world, record, "reopened")
        await world.order(record).result()
        reopened = status_of(world, record)
        world.org.win(record)
        await notify(world, record, "won again")
        await world.order(record).result()

        assert "cancelled" == reopened
        assert ["cancelled"] == [status for status, _ in orders_in_erp(world)]
        assert "cancelled" == status_of(world, record)


@pytest.mark.parametrize("command", ["cancel", "retry"])
async def test_with_attention_a_person_decides_on_the_order_of_a_reopened_deal(command: str) -> None:
    """`cancel` cancels it, and says that the deal is not won; `retry` leaves it as it is. Nothing happens before."""
    async with handoff(on_unqualified="attention", **QUICK) as world, world.working():
        record = await win_and_order(world)
        reopen(world, record)
        await world.until_stage(record, OrderStage.ATTENTION)
        waiting = orders_in_erp(world)
        await world.order(record).signal(command)
        outcome = await world.order(record).result()

        assert ["confirmed"] == [status for status, _ in waiting]
        expected = ("cancelled", CANCELLED_UNQUALIFIED) if command == "cancel" else ("confirmed", KEPT_UNQUALIFIED)
        assert expected == (orders_in_erp(world)[0][0], status_of(world, record))
        assert (OrderStage.CANCELLED if command == "cancel" else OrderStage.COMPLETED) is outcome.stage


async def test_a_deal_that_is_won_again_needs_no_attention_any_more() -> None:
    """The notification wakes the order workflow, and the order is still there."""
    async with handoff(on_unqualified="attention", **QUICK) as world, world.working():
        record = await win_and_order(world)
        reopen(world, record)
        await world.until_stage(record, OrderStage.ATTENTION)
        world.org.win(record)
        outcome = await world.order(record).result()

        assert OrderStage.COMPLETED is outcome.stage
        assert ["confirmed"] == [status for status, _ in orders_in_erp(world)]
        assert "confirmed" == status_of(world, record)


async def test_an_order_that_the_erp_already_processes_needs_a_person_to_cancel_it() -> None:
    """The goods may be on their way: the order stays, and `retry` accepts that."""
    async with handoff(on_unqualified="cancel", **QUICK) as world, world.working():
        record = await win_and_order(world)
        await set_erp_status(world)
        reopen(world, record)
        await world.until_stage(record, OrderStage.ATTENTION)
        why = await attention_reason(world, record)
        await world.order(record).signal("retry")
        outcome = await world.order(record).result()

        assert AttentionReason.TOO_LATE_TO_CANCEL == why
        assert OrderStage.COMPLETED is outcome.stage
        assert KEPT_UNQUALIFIED == status_of(world, record)


async def report_reopened(world: Handoff, record: RecordId, message_id: str) -> None:
    """An event with the content of a deal that is not won any more."""
    now, content = datetime.now(UTC), {"Payload__c": json.dumps({"IsWon": False})}
    message = Message(id=message_id, channel=Channel.PLATFORM_EVENT, received_at=now, modified_at=now, payload=content)
    await start_order(world.client, order_start(world.settings, world.settings.routes[0], record), message)


async def test_a_kept_order_stays_on_a_route_by_event() -> None:
    """The record carries what a person has decided; a later event about the deal that is not won does not undo it."""
    async with handoff(source="event", on_unqualified="attention", **QUICK) as world, world.working():
        record = await win_and_order(world)
        await report_reopened(world, record, "reopened")
        await world.until_stage(record, OrderStage.ATTENTION)
        await world.order(record).signal("retry")
        await world.order(record).result()
        assert KEPT_UNQUALIFIED == status_of(world, record)

        await report_reopened(world, record, "changed again")
        await world.until_stage(record, OrderStage.NOT_NEEDED)
        assert ["confirmed"] == [status for status, _ in orders_in_erp(world)]
        assert KEPT_UNQUALIFIED == status_of(world, record)


async def test_with_ignore_an_order_outlives_its_deal() -> None:
    """The record shows the order, and nothing else happens."""
    async with handoff(on_unqualified="ignore", **QUICK) as world, world.working():
        record = await win_and_order(world)
        reopen(world, record)
        await notify(world, record)
        await world.order(record).result()

        assert ["confirmed"] == [status for status, _ in orders_in_erp(world)]


@pytest.mark.parametrize(
    ("policy", "status"), [("cancel", "cancelled"), ("attention", "confirmed"), ("ignore", "confirmed")]
)
async def test_a_deleted_deal_follows_its_policy(policy: str, status: str) -> None:
    """The record is in the recycle bin, so the deletion is certain; there is no record to write to."""
    async with handoff(on_deleted=policy, **QUICK) as world, world.working():
        record = await win_and_order(world)
        world.org.delete("Opportunity", record)
        await notify(world, record)
        if policy == "attention":
            await world.until_stage(record, OrderStage.ATTENTION)
            assert AttentionReason.RECORD_DELETED == await attention_reason(world, record)
            await world.order(record).signal("retry")
        await world.order(record).result()

        assert [status] == [each for each, _ in orders_in_erp(world)]


async def test_a_deal_that_is_undeleted_while_its_order_is_being_cancelled_keeps_its_order() -> None:
    """The record exists again, which counts more than the message of its deletion; no message reports an undeletion."""
    async with handoff(**QUICK) as world, world.working():
        record = await win_and_order(world)
        world.erp.faults.down = True
        world.org.delete("Opportunity", record)
        await notify(world, record, "tombstone", deleted=True)
        await world.until_stage(record, OrderStage.CANCELLING)
        world.org.undelete("Opportunity", record)
        await notify(world, record)
        world.erp.faults.down = False
        outcome = await world.order(record).result()

        assert OrderStage.COMPLETED is outcome.stage
        assert ["confirmed"] == [status for status, _ in orders_in_erp(world)]


async def test_an_undeleted_deal_whose_order_was_cancelled_with_it_needs_a_person() -> None:
    """No field says who cancelled the order, so it is neither reopened without a person nor called confirmed."""
    async with handoff(**QUICK) as world, world.working():
        record = await win_and_order(world)
        world.org.delete("Opportunity", record)
        await notify(world, record, "tombstone", deleted=True)
        await world.order(record).result()
        world.org.undelete("Opportunity", record)
        await notify(world, record)
        await world.until_stage(record, OrderStage.ATTENTION)
        await until(lambda: status_of(world, record) == "needs attention")

        assert AttentionReason.ERP_REJECTED == await attention_reason(world, record)
        assert ["cancelled"] == [status for status, _ in orders_in_erp(world)]


@pytest.mark.parametrize("policy", ["amend", "attention", "ignore"])
async def test_a_deal_that_is_changed_after_it_was_ordered_follows_its_policy(policy: str) -> None:
    """The order is changed in place, or a person is asked, or it stays; there is never a second one."""
    async with handoff(on_changed=policy, **QUICK) as world, world.working():
        record = await win_and_order(world)
        before = orders_in_erp(world)[0][1]
        after = set_quantity(world, record)
        if policy == "attention":
            await world.until_stage(record, OrderStage.ATTENTION)
            assert AttentionReason.AMOUNT_DIFFERS == await attention_reason(world, record)
            assert world.erp.orders()[0]["number"] == await search_attribute(world, record, names.ERP_ORDER_NUMBER)
        else:
            await notify(world, record)
            await world.order(record).result()

        assert [("confirmed", after if policy == "amend" else before)] == orders_in_erp(world)


async def test_a_change_that_comes_too_late_needs_a_person() -> None:
    """The ERP has begun: the order stays as it is, and setting the deal back ends the matter."""
    async with handoff(on_changed="amend", **QUICK) as world, world.working():
        record = await win_and_order(world)
        before = orders_in_erp(world)
        await set_erp_status(world)
        set_quantity(world, record)
        await world.until_stage(record, OrderStage.ATTENTION)
        why = await attention_reason(world, record)

        assert AttentionReason.TOO_LATE_TO_AMEND == why
        assert [("processing", before[0][1])] == orders_in_erp(world)


async def test_an_order_is_followed_in_the_erp_and_its_changes_are_written_back() -> None:
    """What people do to the order in the ERP is known in Salesforce, until it is done."""
    follow = {"initial_interval": "200ms", "maximum_interval": "500ms"}
    async with handoff(follow=follow, **QUICK) as world, world.working():
        record = win(world)
        await until(lambda: status_of(world, record) == "confirmed")
        await set_erp_status(world)
        await until(lambda: status_of(world, record) == "processing")
        await set_erp_status(world, "done")
        outcome = await world.order(record).result()

        assert OrderStage.COMPLETED is outcome.stage
        assert "done" == status_of(world, record)


async def test_an_order_that_was_made_by_hand_is_followed_once_it_is_named() -> None:
    """It has the record's key from then on, so the ERP finds it like any other."""
    follow = {"initial_interval": "200ms", "maximum_interval": "500ms"}
    async with handoff(follow=follow, **QUICK) as world, world.working():
        world.erp.faults.reject = 1
        record = win(world)
        await world.until_stage(record, OrderStage.ATTENTION)
        made = await world.made_by_hand(record)
        await world.order(record).signal(names.SIGNAL_RESOLVE, made.number)
        await until(lambda: status_of(world, record) == "confirmed")
        await set_erp_status(world)
        await until(lambda: status_of(world, record) == "processing")
        await set_erp_status(world, "done")
        outcome = await world.order(record).result()

        assert OrderStage.COMPLETED is outcome.stage
        assert ("done", made.number) == (status_of(world, record), world.number_of(record))


async def test_an_order_that_is_cancelled_in_the_erp_is_cancelled_in_salesforce_and_not_made_again() -> None:
    """Somebody decided so in the ERP: Salesforce says it, and a late duplicate orders nothing."""
    follow = {"initial_interval": "200ms", "maximum_interval": "500ms"}
    async with handoff(follow=follow, **QUICK) as world, world.working():
        record = win(world)
        await until(lambda: status_of(world, record) == "confirmed")
        await set_erp_status(world, "cancelled")
        outcome = await world.order(record).result()
        await notify(world, record)
        late = await world.order(record).result()

        assert OrderStage.CANCELLED is outcome.stage
        assert "cancelled" == status_of(world, record)
        assert OrderStage.NOT_NEEDED is late.stage
        assert ["cancelled"] == [status for status, _ in orders_in_erp(world)]
