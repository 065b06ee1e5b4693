"""An order that was made by hand, adopted, and cancelled: by a person it may be, by a policy it may not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from closedwon import names
from closedwon.acceptance import order_start
from closedwon.ids import RecordId
from closedwon.model.messages import Message
from closedwon.model.routes import Channel
from closedwon.temporal.orders import start_order
from tests.support.handoff import Handoff, handoff


async def _notify(world: Handoff, record: RecordId, name: str) -> None:
    message = Message(id=name, channel=Channel.PLATFORM_EVENT, received_at=datetime.now(UTC))
    await start_order(world.client, order_start(world.settings, world.settings.routes[0], record), message)


async def test_an_adopted_order_that_a_person_cancelled_is_not_a_finding() -> None:
    """Also once a later run of the workflow has found nothing to do: the run that cancelled it says who decided."""
    async with handoff(grace=timedelta(0)) as world, world.working(subscriber=False):
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        by_hand = await world.made_by_hand(record)
        world.org.update("Opportunity", record, ERP_Order_Number__c=by_hand.number)
        await _notify(world, record, "won")
        adopted = await world.order(record).result()
        world.org.update("Opportunity", record, StageName="Negotiation/Review")
        await _notify(world, record, "reopened")
        await world.until_stage(record, names.OrderStage.ATTENTION)
        await world.order(record).signal("cancel", "the customer has called")
        cancelled = await world.order(record).result()
        await _notify(world, record, "edited")
        edited = await world.order(record).result()
        report = await world.audit()

    assert (names.OrderStage.CANCELLED, names.OrderStage.NOT_NEEDED) == (cancelled.stage, edited.stage)
    assert adopted.order is not None
    assert by_hand.number == adopted.order.number
    assert report.clean, report.findings
