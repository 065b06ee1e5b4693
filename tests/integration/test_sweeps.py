"""Sweeps on real parts: what was lost is found, what is right is left alone, and gaps close when they are covered."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from closedwon import names
from closedwon.ids import RecordId
from closedwon.model.erp import CANCELLED_UNQUALIFIED
from closedwon.model.orders import idempotency_key
from closedwon.names import OrderStage
from tests.support.handoff import Handoff, until
from tests.support.sweeps import begin, sweep, swept

_BY_EVENT = {
    "select": "Name, IsWon, Amount, CurrencyIsoCode, Account.Id, Account.Name, "
    "(SELECT ProductCode, Product2.ProductCode, Quantity, UnitPrice, Discount, TotalPrice FROM OpportunityLineItems)"
}


async def test_a_sweep_finds_the_deals_whose_event_was_lost() -> None:
    """Without a subscriber, a sweep starts the orders of all won deals, and the next sweep finds all of them right."""
    async with swept() as world:
        world.org.seed(15)
        won = world.org.win_next(12)
        first = await sweep(world)
        await world.until_written_back(*won)
        second = await sweep(world)

        assert (12, 12, 0) == (first.found, first.started, first.right)
        assert (12, 0, 12) == (second.found, second.started, second.right)
        assert 12 == len(world.erp.orders())


async def test_a_dry_run_starts_nothing_and_says_what_it_would() -> None:
    """The counts are those of the real run; there is no workflow and no order."""
    async with swept() as world:
        world.org.seed(3)
        won = world.org.win_next(3)
        found = await sweep(world, dry_run=True)

        assert (3, 3) == (found.total, found.started)
        assert sorted(won) == sorted(found.examples)
        assert [None] * 3 == [await world.stage(one) for one in won]


async def test_a_number_that_the_erp_does_not_know_does_not_count_as_an_order() -> None:
    """A record whose key proves an order that the ERP does not have gets a new order and its number."""
    async with swept() as world:
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        written = {"ERP_Order_Number__c": "SO-LOST", "ERP_Order_Status__c": "confirmed"}
        key = idempotency_key(world.org.org_id, record)
        world.org.update("Opportunity", record, **written, ERP_Order_Key__c=key)
        found = await sweep(world)
        await until(lambda: world.number_of(record) not in {None, "SO-LOST"})

        assert 1 == found.started
        assert [world.number_of(record)] == [order["number"] for order in world.erp.orders()]


async def test_a_number_that_nothing_proves_and_the_erp_does_not_know_is_asked_about() -> None:
    """The number may be an existing order's, typed in another way: the sweep finds the record, a person decides."""
    async with swept() as world:
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        world.org.update("Opportunity", record, ERP_Order_Number__c="SO-TYPED", ERP_Order_Status__c="confirmed")
        found = await sweep(world)
        await world.until_stage(record, OrderStage.ATTENTION)

        assert 1 == found.started
        assert [] == world.erp.orders()

        world.org.update("Opportunity", record, ERP_Order_Number__c=None, ERP_Order_Status__c=None)
        await world.order(record).signal("retry")
        await until(lambda: world.number_of(record))
        assert [world.number_of(record)] == [order["number"] for order in world.erp.orders()]


async def test_orders_under_way_and_in_attention_are_left_alone() -> None:
    """A workflow that runs or waits for a person is counted, and gets no notification of the sweep."""
    async with swept() as world:
        world.org.seed(2)
        world.erp.faults.unknown_products = frozenset({"GC1040", "GC3020", "SL9080"})
        (stuck,) = world.org.win_next(1)
        await sweep(world)
        await world.until_stage(stuck, OrderStage.ATTENTION)
        # The report changes the record: one that is changed while it is swept is the next sweep's business.
        await until(lambda: bool(world.org.get("Opportunity", stuck)["ERP_Order_Error__c"]))
        before = await _signals(world, stuck)
        found = await sweep(world)

        assert (1, 0, 1) == (found.found, found.started, found.attention)
        assert before == await _signals(world, stuck)


async def _signals(world: Handoff, record: RecordId) -> int:
    history = await world.order(record).fetch_history()
    return sum(one.HasField("workflow_execution_signaled_event_attributes") for one in history.events)


async def test_the_order_of_a_deleted_deal_is_cancelled() -> None:
    """Deleting sends no message by itself: a sweep finds the deal in the recycle bin, and its order is cancelled."""
    async with swept() as world:
        world.org.seed(2)
        won = world.org.win_next(2)
        await sweep(world)
        await world.until_written_back(*won)
        for record in won:
            await world.order(record).result()
        world.org.delete("Opportunity", won[0])
        found = await sweep(world)
        await world.until_stage(won[0], OrderStage.CANCELLED)
        again = await sweep(world)

        assert (1, 1) == (found.started, found.right)
        assert (0, 2) == (again.started, again.right)
        assert ["cancelled", "confirmed"] == sorted(order["status"] for order in world.erp.orders())


async def test_a_deal_that_is_deleted_after_it_was_reopened_follows_the_policy_for_deleted_ones() -> None:
    """The route ignores that the deal was reopened, but not that it was deleted."""
    async with swept(on_unqualified="ignore", grace=timedelta(0)) as world:
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        await sweep(world)
        await world.until_written_back(record)
        await world.order(record).result()
        world.org.update("Opportunity", record, StageName="Negotiation/Review")
        ignored = await sweep(world)
        world.org.delete("Opportunity", record)
        found = await sweep(world)
        await world.until_stage(record, OrderStage.CANCELLED)

        assert (0, 1) == (ignored.found, found.started)
        assert ["cancelled"] == [order["status"] for order in world.erp.orders()]


async def test_a_deal_that_does_not_show_its_number_is_found_by_its_status_when_it_is_reopened() -> None:
    """Not every route writes the number back; the status is there where a route is swept."""
    async with swept(
        on_unqualified="cancel", write_back={"status": "ERP_Order_Status__c"}, grace=timedelta(0)
    ) as world:
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        await sweep(world)
        await world.until_stage(record, OrderStage.COMPLETED)
        await world.order(record).result()
        world.org.update("Opportunity", record, StageName="Negotiation/Review")
        found = await sweep(world)
        await world.until_stage(record, OrderStage.CANCELLED)

        assert 1 == found.started
        assert ["cancelled"] == [order["status"] for order in world.erp.orders()]


async def test_a_deal_that_was_reopened_without_a_message_needs_attention_once() -> None:
    """A sweep finds the reopened deal; a person keeps the order, and no later sweep asks again."""
    async with swept(grace=timedelta(0)) as world:
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        await sweep(world)
        await world.until_written_back(record)
        await world.order(record).result()
        world.org.update("Opportunity", record, StageName="Negotiation/Review")
        found = await sweep(world)
        await world.until_stage(record, OrderStage.ATTENTION)
        await world.order(record).signal(names.SIGNAL_RETRY, "it is delivered already")
        await world.order(record).result()
        again = await sweep(world)

        assert (1, 0) == (found.started, found.right)
        assert (0, 1) == (again.started, again.right)
        assert ["confirmed"] == [order["status"] for order in world.erp.orders()]


async def test_a_deal_that_is_won_again_without_a_message_is_ordered_again() -> None:
    """Its order was cancelled when it was reopened; it is won again, and no message about that arrives."""
    async with swept(grace=timedelta(0), on_unqualified="cancel") as world:
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        await sweep(world)
        await world.until_written_back(record)
        await world.order(record).result()
        world.org.update("Opportunity", record, StageName="Negotiation/Review")
        await sweep(world)
        await world.until_stage(record, OrderStage.CANCELLED)
        await world.order(record).result()
        world.org.win(record)
        found = await sweep(world)
        await world.until_stage(record, OrderStage.COMPLETED)

        assert 1 == found.started
        assert ["confirmed"] == [order["status"] for order in world.erp.orders()]


async def test_a_route_by_event_is_swept_with_the_record_in_the_events_place() -> None:
    """With source `event` the sweep reads the records and starts their orders with the content that an event has."""
    async with swept(source="event", payload="Payload__c", sweep=_BY_EVENT) as world:
        world.org.seed(2)
        won = world.org.win_next(2)
        found = await sweep(world)
        await world.until_written_back(*won)

        assert 2 == found.started
        assert 2 == len(world.erp.orders())


async def test_a_followed_order_is_written_to_a_record_that_lost_its_number() -> None:
    """A following workflow reads the ERP for months, but not the record: a sweep makes it read the record."""
    async with swept(follow=True) as world:
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        await sweep(world)
        await world.until_stage(record, OrderStage.FOLLOWING)
        number = world.number_of(record)
        world.org.update("Opportunity", record, ERP_Order_Number__c=None)
        await sweep(world)
        await world.until_written_back(record)

        assert number == world.number_of(record)
        assert 1 == len(world.erp.orders())


async def test_a_resting_order_workflow_reads_a_deal_that_is_won_again() -> None:
    """With source `event` it rests for days after the deal was reopened; the message of the new win is lost."""
    async with swept(on_unqualified="cancel", source="event", payload="Payload__c", sweep=_BY_EVENT) as world:
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        await sweep(world)
        await world.until_written_back(record)
        await world.order(record).result()
        world.org.update("Opportunity", record, StageName="Negotiation/Review")
        await sweep(world)
        await world.until_stage(record, OrderStage.CANCELLED)
        await until(lambda: world.org.get("Opportunity", record)["ERP_Order_Status__c"] == CANCELLED_UNQUALIFIED)
        world.org.win(record)
        await sweep(world)
        await until(lambda: ["confirmed"] == [order["status"] for order in world.erp.orders()])


async def test_a_deal_that_was_undeleted_without_a_message_is_not_shown_as_ordered() -> None:
    """Its order was cancelled with it, and the record still says `confirmed`: a person decides."""
    async with swept() as world:
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        await sweep(world)
        await world.until_written_back(record)
        await world.order(record).result()
        world.org.delete("Opportunity", record)
        await sweep(world)
        await world.order(record).result()
        world.org.undelete("Opportunity", record)
        shown = world.org.get("Opportunity", record)
        found = await sweep(world)
        await world.until_stage(record, OrderStage.ATTENTION)

        assert ["cancelled"] == [order["status"] for order in world.erp.orders()]
        assert "confirmed" == shown["ERP_Order_Status__c"]
        assert 1 == found.started


async def test_a_resting_order_workflow_reads_a_deal_that_was_undeleted() -> None:
    """With source `event` it rests for days after the deletion; the same order is taken up again."""
    async with swept(source="event", payload="Payload__c", sweep=_BY_EVENT) as world:
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        await sweep(world)
        await world.until_written_back(record)
        await world.order(record).result()
        world.org.delete("Opportunity", record)
        await sweep(world)
        await world.until_stage(record, OrderStage.CANCELLED)
        world.org.undelete("Opportunity", record)
        await sweep(world)
        await until(lambda: ["confirmed"] == [order["status"] for order in world.erp.orders()])


@pytest.mark.parametrize("source", ["record", "event"])
async def test_a_deal_whose_order_has_no_number_is_not_started_by_each_sweep(
    monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """Where a route writes no number back, the status and the key on the record say that its order exists."""
    monkeypatch.setattr("closedwon.emulators.erp.stub_orders.number_of", lambda _row: None)
    by_event: dict[str, Any] = {"payload": "Payload__c", "sweep": _BY_EVENT} if source == "event" else {}
    write_back = {"status": "ERP_Order_Status__c", "key": "ERP_Order_Key__c"}
    async with swept(source=source, write_back=write_back, **by_event) as world:
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        await sweep(world)
        await world.until_stage(record, OrderStage.COMPLETED)
        again = await sweep(world)

        assert (1, 0, 1) == (again.found, again.started, again.right)


async def test_a_sweep_leaves_api_calls_to_the_orders() -> None:
    """Beyond its share of the org's calls it waits, and says so among the pending activities; nothing is started."""
    async with swept(sweep={"api_share": 0.00001}) as world:
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        handle = await begin(world)

        async def waits() -> bool:
            pending = (await handle.describe()).raw_description.pending_activities
            return any("sweep.api_share" in one.last_failure.message for one in pending)

        await until(waits)
        assert await world.stage(record) is None


async def test_orders_of_a_sweep_come_after_live_ones() -> None:
    """The order that a sweep starts, and all of its activities, have a priority below the default."""
    async with swept() as world:
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        await sweep(world)
        await world.until_written_back(record)
        history = await world.order(record).fetch_history()
        started = history.events[0].workflow_execution_started_event_attributes

        assert 5 == started.priority.priority_key
