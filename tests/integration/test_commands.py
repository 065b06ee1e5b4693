"""Commands on real parts: a decision holds in Salesforce and in the ERP, also after another notification."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from closedwon.acceptance import order_start
from closedwon.ids import RecordId
from closedwon.model.messages import Message
from closedwon.model.routes import Channel
from closedwon.names import OrderStage
from closedwon.temporal.orders import start_order
from tests.support.handoff import Handoff, handoff, until

_NAMED = {"number": "PO-77", "accept_differences": True}
"""An order that the ERP can neither look up nor give a key: the operator confirms that it is the right one."""


async def _won(world: Handoff) -> RecordId:
    world.org.seed(1)
    (record,) = world.org.win_next(1)
    return record


async def _notify(world: Handoff, record: RecordId, message_id: str = "m-1") -> None:
    message = Message(id=message_id, channel=Channel.OPERATOR, received_at=datetime.now(UTC))
    await start_order(world.client, order_start(world.settings, world.settings.routes[0], record), message)


async def test_a_resolved_record_gets_no_second_order_after_another_notification() -> None:
    """The order made by hand has the record's key now, and Salesforce has its number, status and link."""
    async with handoff() as world, world.working(subscriber=False):
        record = await _won(world)
        by_hand = await world.made_by_hand(record)
        world.erp.faults.reject = 1
        await _notify(world, record)
        await world.until_stage(record, OrderStage.ATTENTION)
        await world.order(record).signal("resolve", by_hand.number)
        await world.order(record).result()
        fields = world.org.get("Opportunity", record)
        await _notify(world, record, "late duplicate")
        outcome = await world.order(record).result()
        orders = world.erp.orders()

    assert (by_hand.number, "confirmed", by_hand.url, None) == tuple(
        fields[f"ERP_Order_{field}__c"] for field in ("Number", "Status", "Link", "Error")
    )
    assert OrderStage.COMPLETED is outcome.stage
    assert [(by_hand.number, f"{world.org.org_id}:{record}")] == [
        (order["number"], order["idempotency_key"]) for order in orders
    ]


async def test_an_erp_that_cannot_look_makes_no_second_order_either() -> None:
    """The number is accepted without a check; after another notification a person is asked instead of the ERP."""
    async with handoff() as world, world.working(subscriber=False):
        world.erp.faults.no_claims = world.erp.faults.no_number_lookup = True
        record = await _won(world)
        world.erp.faults.reject = 1
        await _notify(world, record)
        await world.until_stage(record, OrderStage.ATTENTION)
        await world.order(record).signal("resolve", _NAMED)
        await world.order(record).result()
        fields = world.org.get("Opportunity", record)
        await _notify(world, record, "late duplicate")
        await world.until_stage(record, OrderStage.ATTENTION)
        await world.order(record).signal("resolve", _NAMED)
        outcome = await world.order(record).result()

        assert [] == world.erp.orders()
    assert ("PO-77", "confirmed") == (fields["ERP_Order_Number__c"], fields["ERP_Order_Status__c"])
    assert OrderStage.COMPLETED is outcome.stage


async def test_a_number_that_was_copied_with_its_record_does_not_count_as_its_order() -> None:
    """A cloned deal carries the number of another one; it is ordered, and gets its own."""
    async with handoff() as world, world.working(subscriber=False):
        first = await _won(world)
        await _notify(world, first)
        await world.order(first).result()
        clone = await _won(world)
        world.org.update("Opportunity", clone, ERP_Order_Number__c=world.number_of(first))
        await _notify(world, clone)
        await world.order(clone).result()

        assert 2 == len(world.erp.orders()) == len({world.number_of(first), world.number_of(clone)})


async def test_a_skipped_record_is_not_ordered_after_another_notification() -> None:
    """A later notification orders nothing until a person empties the record's status field."""
    async with handoff() as world, world.working(subscriber=False):
        record = await _won(world)
        world.erp.faults.reject = 1
        await _notify(world, record)
        await world.until_stage(record, OrderStage.ATTENTION)
        await world.order(record).signal("skip", "a test deal")
        await world.order(record).result()
        fields = world.org.get("Opportunity", record)
        await _notify(world, record, "late duplicate")
        again = await world.order(record).result()
        world.org.update("Opportunity", record, ERP_Order_Status__c=None)
        await _notify(world, record, "after all")
        after_all = await world.order(record).result()

        assert world.number_of(record)
    assert ("not needed", None) == (fields["ERP_Order_Status__c"], fields["ERP_Order_Error__c"])
    assert OrderStage.NOT_NEEDED is again.stage
    assert OrderStage.COMPLETED is after_all.stage


async def test_a_difference_can_be_accepted() -> None:
    """The deal was changed after it was ordered, and the ERP's order is right: `resolve` with its number ends it."""
    async with handoff(write_back={"number": "ERP_Order_Number__c"}) as world, world.working(subscriber=False):
        record = await _won(world)
        await _notify(world, record)
        ordered = (await world.order(record).result()).order
        items = world.org.query("SELECT Id, OpportunityId FROM OpportunityLineItem")
        line = next(item["Id"] for item in items if item["OpportunityId"] == record)
        world.org.update("OpportunityLineItem", line, Quantity=77)
        await _notify(world, record, "changed")
        await world.until_stage(record, OrderStage.ATTENTION)
        await world.order(record).signal("resolve", ordered.number if ordered else None)
        outcome = await world.order(record).result()

        assert 1 == len(world.erp.orders())
    assert OrderStage.COMPLETED is outcome.stage
    assert outcome.order == ordered


async def test_an_order_made_by_hand_is_not_forgotten_when_its_deal_is_reopened() -> None:
    """The ERP cannot look its number up and has nothing under the key: a person is asked once and declines."""
    async with handoff(grace=timedelta(0)) as world, world.working(subscriber=False):
        world.erp.faults.no_claims = world.erp.faults.no_number_lookup = True
        record = await _won(world)
        world.erp.faults.reject = 1
        await _notify(world, record)
        await world.until_stage(record, OrderStage.ATTENTION)
        await world.order(record).signal("resolve", _NAMED)
        await world.order(record).result()
        world.org.update("Opportunity", record, StageName="Negotiation/Review")
        await _notify(world, record, "reopened")
        await world.until_stage(record, OrderStage.ATTENTION)
        await until(lambda: "PO-77" in str(world.org.get("Opportunity", record)["ERP_Order_Error__c"]))
        await world.order(record).signal("skip", "cancelled by phone")
        closed = await world.order(record).result()
        await _notify(world, record, "late duplicate")
        again = await world.order(record).result()

    assert [OrderStage.NOT_NEEDED] * 2 == [closed.stage, again.stage]
