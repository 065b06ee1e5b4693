"""Intake accepts what the Salesforce emulator sends: every form of it, end to end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from closedwon.emulators.salesforce import OrgConfig, SalesforceEmulator
from closedwon.emulators.salesforce.config import CalloutDefinition
from closedwon.emulators.salesforce.data.schema import TOMBSTONE
from closedwon.model.erp import ErpStatus
from closedwon.names import OrderStage
from tests.integration.emulator.receiving import KEY, until_settled, until_tried, won
from tests.support.handoff import Handoff, handoff
from tests.support.intake import intake


@asynccontextmanager
async def world_of(**route: Any) -> AsyncIterator[tuple[Handoff, SalesforceEmulator, str]]:
    """An org that publishes no events, intake and a worker."""
    async with (
        SalesforceEmulator.running(config=OrgConfig(flows=())) as org,
        handoff(orgs=[org], events=(), **route) as world,
        world.working(subscriber=False),
        intake(world) as address,
    ):
        org.seed(3)
        yield world, org, address


async def test_a_deleted_deal_cancels_its_order_by_the_orgs_tombstone() -> None:
    """The delete trigger, its outbound message, intake, the ERP."""
    tombstone = {"object": TOMBSTONE, "record_id": "Record_Id__c"}
    async with world_of(outbound={"tombstone": tombstone}) as (world, org, address):
        org.outbox.define(won(f"{address}/outbound/won-0"))
        org.outbox.define(
            won(f"{address}/outbound/won-0/tombstones", name="buried", on=TOMBSTONE, field="", fields=["Record_Id__c"])
        )
        (record,) = org.win_next(1)
        await world.until_written_back(record)
        await world.order(record).result()
        org.delete("Opportunity", record)
        await world.until_stage(record, OrderStage.CANCELLED)
        await until_settled(org)

        assert [ErpStatus.CANCELLED] == [order["status"] for order in world.erp.orders()]


@pytest.mark.parametrize("way", ["outbound", "callouts"])
async def test_a_reopened_deal_is_sent_like_a_won_one(way: str) -> None:
    """Like the flow and the trigger of deploy/salesforce; the route's `on_unqualified` decides about the order."""
    route: dict[str, Any] = {"outbound": {}} if way == "outbound" else {"callouts": {"keys": [SecretStr(KEY)]}}
    async with world_of(on_unqualified="cancel", grace=timedelta(0), **route) as (world, org, address):
        pushed = {"name": "pushed", "field": "IsWon", "becomes": True, "or_changes": ["IsWon", "Amount"]}
        endpoint = f"{address}/{way}/won-0"
        org.outbox.define(
            won(endpoint, **pushed)
            if way == "outbound"
            else CalloutDefinition.model_validate({**pushed, "endpoint": endpoint, "key": KEY})
        )
        (record,) = org.win_next(1)
        await world.until_written_back(record)
        await world.order(record).result()
        org.update("Opportunity", record, StageName="Prospecting")
        await world.until_stage(record, OrderStage.CANCELLED)
        await until_settled(org)

        assert [ErpStatus.CANCELLED] == [order["status"] for order in world.erp.orders()]
        assert 2 == org.outbox.sent


async def test_callouts_of_both_forms_make_one_order_each() -> None:
    """JSON from a trigger, SOAP from another; the second notification of a deal creates no second order."""
    async with world_of(callouts={"keys": [SecretStr(KEY)]}) as (world, org, address):
        json = CalloutDefinition(name="json", endpoint=f"{address}/callouts/won-0", key=KEY)
        soap = CalloutDefinition(name="soap", endpoint=f"{address}/callouts/won-0/soap", key=KEY, soap=True)
        org.outbox.define(json)
        org.outbox.define(soap)
        records = org.win_next(3)
        await until_settled(org)
        await world.until_written_back(*records)
        page = [await org.courier.call(name, records[0]) for name in ("json", "soap")]

        assert ["", ""] == [answer.problem for answer in page]
        assert all(f"order:{records[0]}" in answer.body for answer in page)
        assert 3 == len(world.erp.orders())


async def test_a_stalled_message_has_no_lasting_effect_on_intake() -> None:
    """The org's attempt times out, and the next one is accepted."""
    config = OrgConfig(flows=(), outbound_timeout=timedelta(milliseconds=500))
    async with (
        SalesforceEmulator.running(config=config) as org,
        handoff(orgs=[org], events=(), outbound={}) as world,
        world.working(subscriber=False),
        intake(world) as address,
    ):
        org.outbox.define(won(f"{address}/outbound/won-0"))
        org.seed(1)
        org.faults.stall_messages()
        (record,) = org.win_next(1)
        await until_tried(org, [1])
        org.clock.advance(timedelta(seconds=15))
        await world.until_written_back(record)

        assert 1 == len(world.erp.orders())
