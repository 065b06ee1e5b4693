"""Messages about deleted records: existing orders are cancelled, late notifications create no order."""

from __future__ import annotations

from typing import Any

from closedwon.model.erp import ErpStatus
from closedwon.names import OrderStage
from tests.support.handoff import handoff
from tests.support.intake import PROVEN, PROVEN_ROUTE, deliver, intake, soap_message, tombstones

_ROUTE: dict[str, Any] = {
    "events": (),
    "outbound": {**PROVEN, "tombstone": {"object": "Deleted_Record__c", "record_id": "Record_Id__c"}},
}
_HERE = f"{PROVEN_ROUTE}/tombstones"


async def test_the_order_of_a_deleted_record_is_cancelled_in_the_erp() -> None:
    """It was ordered long ago and its workflow has ended; the record is deleted, so nothing is written to it."""
    async with handoff(**_ROUTE) as world, world.working(subscriber=False), intake(world) as address:
        world.org.seed(1)
        (record,) = world.org.win_next(1)
        await deliver(address, soap_message(world.org.org_id, [record]), route=PROVEN_ROUTE)
        await world.until_written_back(record)
        await world.order(record).result()
        world.org.records.delete(world.org.object("Opportunity"), record, actor=world.org.sales_user)
        status, _ = await deliver(address, tombstones(world.org.org_id, [record]), route=_HERE)
        outcome = await world.order(record).result()

        assert 200 == status
        assert OrderStage.CANCELLED is outcome.stage
        assert [ErpStatus.CANCELLED] == [order["status"] for order in world.erp.orders()]


async def test_a_message_after_its_tombstone_creates_no_order() -> None:
    """Salesforce delivers in any order; a late create finds the record deleted, or the tombstone still there."""
    for source in ("record", "event"):
        async with (
            handoff(**_ROUTE, source=source, grace="0s") as world,
            world.working(subscriber=False),
            intake(world) as address,
        ):
            world.org.seed(1)
            (record,) = world.org.win_next(1)
            world.org.records.delete(world.org.object("Opportunity"), record, actor=world.org.sales_user)
            await deliver(address, tombstones(world.org.org_id, [record]), route=_HERE)
            await world.until_stage(record, OrderStage.CANCELLED)
            await deliver(address, soap_message(world.org.org_id, [record]), route=PROVEN_ROUTE)
            await world.until_stage(record, OrderStage.NOT_NEEDED if source == "record" else OrderStage.CANCELLED)

            assert [] == world.erp.orders()


async def test_a_tombstone_without_a_valid_record_id_is_refused() -> None:
    """The id of another object, or none: a fault with the reason, and nothing starts."""
    async with handoff(**_ROUTE) as world, intake(world) as address:
        wrong = [
            await deliver(address, tombstones(world.org.org_id, [record]), route=_HERE)
            for record in ("001000000000001AAA", "", "nonsense")
        ]
        elsewhere, _ = await deliver(address, soap_message(world.org.org_id, ["006000000000001AAA"]), route=_HERE)

        assert [422, 500, 500] == [status for status, _ in wrong]
        assert "prefix" in wrong[0][1]
        assert all("outbound.tombstone.record_id" in answer for _, answer in wrong[1:])
        assert 500 == elsewhere
        assert [] == await world.begun("001000000000001AAA", "006000000000001AAA")
