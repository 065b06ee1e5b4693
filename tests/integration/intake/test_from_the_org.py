"""From the Salesforce emulator to intake: lost acks, duplicates, disorder and outages end in one order per deal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from closedwon.emulators.salesforce import OrgConfig, SalesforceEmulator
from closedwon.emulators.salesforce.config import CalloutDefinition, OutboundDefinition, Trigger
from closedwon.ids import RecordId
from closedwon.names import OrderStage
from tests.support.handoff import CHANNEL, Handoff, handoff, until
from tests.support.intake import intake
from tests.support.servers import start_temporal

_NOWHERE = "http://localhost:9/"


@asynccontextmanager
async def pushing(key: str | None = None, **route: Any) -> AsyncIterator[tuple[Handoff, SalesforceEmulator]]:
    """A world whose org has an outbound message, and with a `key` a callout; the test sets their endpoints."""
    config = OrgConfig(
        outbound_messages=(OutboundDefinition(name="won", endpoint=_NOWHERE),),
        callouts=(CalloutDefinition(name="called", endpoint=_NOWHERE, key=key),) if key else (),
    )
    async with SalesforceEmulator.running(config=config) as org, handoff(orgs=[org], outbound={}, **route) as world:
        yield world, org


async def test_a_hundred_deals_by_unordered_duplicate_and_lost_messages_make_a_hundred_orders() -> None:
    """Each in its own message, in reverse order, some twice, some acks lost: 100 orders, no duplicates."""
    async with pushing(events=()) as (world, org), world.working(subscriber=False), intake(world) as address:
        org.outbox.set_endpoint("won", f"{address}/outbound/won-0")
        org.seed(100)
        org.faults.split_messages()
        org.faults.double_messages(20)
        org.faults.lose_acks(20)
        won = org.win_next(100)
        await until(lambda: len(org.outbox.queued()) == 20, progress=org.outbox.queued)
        org.faults.split_messages(on=False)
        org.clock.advance(timedelta(seconds=15))
        await until(lambda: not org.outbox.queued(), progress=org.outbox.queued)
        await world.until_written_back(*won)
        await asyncio.gather(*(world.order(record).result() for record in won))

        assert 100 == len(world.erp.orders())
        assert {world.number_of(record) for record in won} == {order["number"] for order in world.erp.orders()}


@pytest.mark.slow
async def test_the_same_deals_by_events_messages_and_callouts_at_once_are_ordered_once() -> None:
    """The first notification starts the workflow, and each later one is a further hint."""
    key = "a key that both ends know, made for one test"
    route = {"events": [CHANNEL], "callouts": {"keys": [SecretStr(key)]}}
    async with pushing(key, **route) as (world, org), world.working(), intake(world) as address:
        org.outbox.set_endpoint("won", f"{address}/outbound/won-0")
        org.outbox.set_endpoint("called", f"{address}/callouts/won-0")
        org.seed(200)
        won: list[RecordId] = []

        def all_heard() -> bool:
            queued = org.outbox.queued()
            wait_ms = min((one.next_ms for one in queued), default=0) - org.clock.now_ms()
            if wait_ms > 0:  # a busy machine made the org retry
                org.clock.advance(timedelta(milliseconds=wait_ms))
            return not queued

        for _ in range(4):  # not all in one moment: here one process is everything
            won += org.win_next(50)
            await until(all_heard, progress=org.outbox.queued)
        await world.until_written_back(*won)
        await asyncio.gather(*(world.order(record).result() for record in won))

        assert 200 == org.bus.published
        assert org.outbox.sent >= 2
        assert 200 == len(world.erp.orders())


async def test_a_deal_that_is_deleted_while_its_order_waits_for_the_erp_is_never_ordered() -> None:
    """Deleting sends no outbound message: the org's trigger creates a tombstone, whose message stops the order."""
    tombstone = {"object": "Deleted_Record__c", "record_id": "Record_Id__c"}
    buried = OutboundDefinition(
        name="buried",
        on="Deleted_Record__c",
        trigger=Trigger.CREATE,
        field="",
        fields=("Record_Id__c",),
        endpoint=_NOWHERE,
    )
    config = OrgConfig(outbound_messages=(OutboundDefinition(name="won", endpoint=_NOWHERE), buried))
    async with (
        SalesforceEmulator.running(config=config) as org,
        handoff(orgs=[org], outbound={"tombstone": tombstone}, events=()) as world,
        world.working(subscriber=False),
        intake(world) as address,
    ):
        org.outbox.set_endpoint("won", f"{address}/outbound/won-0")
        org.outbox.set_endpoint("buried", f"{address}/outbound/won-0/tombstones")
        org.seed(1)
        world.erp.faults.down = True
        (record,) = org.win_next(1)
        await world.until_stage(record, OrderStage.ORDERING)
        org.records.delete(org.object("Opportunity"), record, actor=org.sales_user)
        await world.until_stage(record, OrderStage.CANCELLING)
        world.erp.faults.down = False
        outcome = await world.order(record).result()

        assert OrderStage.CANCELLED is outcome.stage
        assert [] == world.erp.orders()
        assert [] == org.outbox.queued()


async def test_messages_from_an_outage_of_temporal_are_delivered_by_the_orgs_retries() -> None:
    """Without an ack, Salesforce retries for 24 hours; what Temporal accepts in the last of them is not lost."""
    config = OrgConfig(outbound_messages=(OutboundDefinition(name="won", endpoint=_NOWHERE),))
    async with SalesforceEmulator.running(config=config) as org:
        org.seed(100)
        won = await _five_hours_a_try(org, tries=5)
        assert 100 == len(org.outbox.queued())
        async with (
            handoff(orgs=[org], outbound={}, events=()) as world,
            world.working(subscriber=False),
            intake(world) as address,
        ):
            org.outbox.set_endpoint("won", f"{address}/outbound/won-0")
            org.clock.advance(timedelta(hours=3, minutes=30))
            await until(lambda: not org.outbox.queued())
            await world.until_written_back(*won)

            assert 100 == len(world.erp.orders())


async def _five_hours_a_try(org: SalesforceEmulator, tries: int) -> list[RecordId]:
    """Win a hundred deals while intake is up and Temporal is down; return when each was tried so many times."""
    async with await start_temporal() as gone, handoff(temporal_server=gone, orgs=[org], outbound={}) as world:
        await gone.shutdown()
        async with intake(world, deadline=timedelta(seconds=1)) as address:
            org.outbox.set_endpoint("won", f"{address}/outbound/won-0")
            won = org.win_next(100)
            for attempt in range(1, tries + 1):

                def were_tried(attempt: int = attempt) -> bool:
                    return {attempt} == {one.attempts for one in org.outbox.queued()}

                await until(were_tried)
                if attempt < tries:
                    org.clock.advance(timedelta(hours=5))
            return won
