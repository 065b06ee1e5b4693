"""Routes by messages, over a custom object, into several ERPs, with a condition of their sweeps: audited alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from closedwon.audit.collect import audit
from closedwon.audit.compare import FindingKind
from closedwon.emulators.erp.stub import StubErp
from closedwon.emulators.salesforce.config import CustomField, OrgConfig
from closedwon.emulators.salesforce.server import SalesforceEmulator
from closedwon.ids import RecordId
from closedwon.mapping.orders import map_order
from closedwon.names import OrderStage
from closedwon.settings import RestErp, Sweep
from tests.integration.audit.test_audit import change, obey, sold, the_finding, world
from tests.support.audit import assert_clean, story
from tests.support.handoff import Handoff, handoff
from tests.support.sweeps import sweep
from workers.connections import Connections

__all__ = ["world"]
CUSTOM = "Deleted_Record__c"
"""The emulator's only custom object."""
_KINDS = {
    "Won__c": "boolean",
    "Customer__c": "string",
    "Amount__c": "currency",
    "Quantity__c": "double",
    "ERP_Order_Number__c": "string",
    "ERP_Order_Status__c": "string",
    "ERP_Order_Key__c": "string",
}
_CUSTOM_ROUTE: dict[str, Any] = {
    "object": CUSTOM,
    "events": [],
    "select": "Id, Object__c, Won__c, Customer__c, Amount__c, Quantity__c, CreatedDate, SystemModstamp",
    "qualify": "Won__c",
    "payload": "@",
    "order": {
        "name": "Object__c",
        "currency": "'EUR'",
        "total": "Amount__c",
        "customer": {"id": "Customer__c", "name": "Object__c"},
        "lines": {"each": "[@]", "product": "Object__c", "quantity": "Quantity__c", "unit_price": "'10'"},
    },
    "write_back": {
        "number": "ERP_Order_Number__c",
        "status": "ERP_Order_Status__c",
        "key": "ERP_Order_Key__c",
    },
    "sweep": {"lag": "0s", "overlap": "0s"},
}


@asynccontextmanager
async def custom_world() -> AsyncIterator[Handoff]:
    """A world whose route is over a custom object that is its own one line."""
    fields = tuple(CustomField(on=CUSTOM, name=name, type=kind) for name, kind in _KINDS.items())
    config = OrgConfig(flows=(), tombstones_of=(), custom_fields=fields)
    async with SalesforceEmulator.running(config=config) as org, handoff(orgs=[org], **_CUSTOM_ROUTE) as world:
        org.seed(2)
        yield world


def new_custom(world: Handoff, customer: str, **fields: Any) -> str:
    """A won record of two pieces for 10.00 each."""
    values = {"Object__c": "GC1040", "Record_Id__c": "any", "Won__c": True, "Customer__c": customer, "Quantity__c": 2}
    return world.org.create(CUSTOM, **values | fields)


_BY_MESSAGES: dict[str, Any] = {
    "object": "Opportunity",
    "source": "event",
    "payload": "@",
    "events": [],
    "order": {
        "name": "Name",
        "currency": "CurrencyIsoCode",
        "total": "Amount",
        "customer": {"id": "Account.Id", "name": "Account.Name"},
        "lines": {
            "each": "OpportunityLineItems.records",
            "product": "Product2.ProductCode || ProductCode",
            "quantity": "Quantity",
            "unit_price": "UnitPrice",
        },
    },
    "sweep": {
        "lag": "0s",
        "select": "Name, IsWon, Amount, CurrencyIsoCode, Account.Id, Account.Name, "
        "(SELECT ProductCode, Product2.ProductCode, Quantity, UnitPrice FROM OpportunityLineItems)",
    },
}


@pytest.mark.parametrize("payload", ["@", "Payload__c"])
async def test_a_route_by_messages_is_compared_with_the_record_that_can_take_their_place(payload: str) -> None:
    """Where it is swept with a SELECT list: a lost deal, a changed one and one that was never won are found."""
    async with handoff(**_BY_MESSAGES | {"payload": payload}) as world:
        world.org.seed(4)
        async with world.working(subscriber=False):
            won = world.org.win_next(3)
            await sweep(world)
            await world.until_written_back(*won)
            for record in won:
                await world.until_stage(record, OrderStage.COMPLETED)
        assert_clean(await world.audit(), won=3)

        lost, changed, reopened = *world.org.win_next(1), won[0], won[1]
        change(world, changed)
        world.org.update("Opportunity", reopened, StageName="Prospecting")

        report = await world.audit()
        found = {one.record: (one.kind, one.fixable) for one in report.findings}
        assert {
            lost: (FindingKind.WON_WITHOUT_ORDER, False),
            changed: (FindingKind.AMOUNT_DIFFERS, False),
            reopened: (FindingKind.ORDER_WITHOUT_DEAL, False),
        } == found, story(report)


async def test_a_deal_that_picks_another_erp_after_its_order_is_found(world: Handoff) -> None:
    """Also by two routes over one object, each with an ERP of its own: the order stays where it is, and is named."""
    (route,) = world.settings.routes
    record, other = await sold(world, 2)
    async with StubErp.running() as stub:
        second = RestErp(kind="rest", name="second", url=stub.url, token=SecretStr(stub.token))
        first = route.model_copy(update={"qualify": "IsWon && Name != 'moved'"})
        moved = route.model_copy(update={"name": "moved", "erp": "second", "qualify": "IsWon && Name == 'moved'"})
        world.settings = world.settings.model_copy(
            update={"erps": (*world.settings.erps, second), "routes": (first, moved)}
        )
        assert_clean(await world.audit(), won=2)
        world.org.update("Opportunity", record, Name="moved")

        found = await the_finding(world, record)
        assert (FindingKind.OTHER_ERP, True, "moved") == (found.kind, found.fixable, found.route)

        async with Connections(world.settings) as connections:
            deal = await connections.salesforce[world.org.org_id].read(route.object, route.query_fields, record)
            order = map_order(moved, world.org.org_id, record, deal or {})
            since = datetime.now(UTC)
            erp = connections.erps["second"]
            await erp.advance(await erp.create(order))
            report = await audit(world.settings, connections, world.client, since=since, lag=timedelta(0))

    assert [(record, FindingKind.DUPLICATE_ORDER)] == [(one.record, one.kind) for one in report.findings], story(report)
    assert other not in {one.record for one in report.findings}


async def test_a_scheduled_audit_misses_no_deal_beyond_the_condition_of_the_sweeps(world: Handoff) -> None:
    """People say in `sweep.where` since when orders are Closedwon's business; an audit by hand reports all."""
    await sold(world, 1)
    (old,) = world.org.win_next(1)
    world.org.update("Opportunity", old, Name="from before")
    (lost,) = world.org.win_next(1)
    obey(world, sweep=Sweep(where="IsWon = TRUE AND Name != 'from before'"))

    async with Connections(world.settings) as connections:
        found = {
            only_swept: await audit(
                world.settings,
                connections,
                world.client,
                since=datetime.now(UTC) - timedelta(hours=1),
                only_swept=only_swept,
                lag=timedelta(0),
            )
            for only_swept in (True, False)
        }

    assert [lost] == [one.record for one in found[True].findings]
    assert {lost, old} == {one.record for one in found[False].findings}
    assert (2, 3) == (found[True].counts.won, found[False].counts.won)


async def test_a_custom_object_is_compared_by_the_same_rules() -> None:
    """A clone with copied number, status and key, another customer, a total that contradicts the line."""
    async with custom_world() as world, world.working(subscriber=False):
        customers = [row["Id"] for row in world.org.query("SELECT Id FROM Account ORDER BY Id")]
        made = [RecordId(new_custom(world, customers[0], Amount__c=20)) for _ in range(4)]
        first = await sweep(world)
        for record in made:
            await world.until_stage(record, OrderStage.COMPLETED)
        assert 4 == first.started
        assert_clean(await world.audit(), won=4)

        one, moved, contradicts, _ = made
        copied = {
            field: world.org.get(CUSTOM, one)[field]
            for field in ("ERP_Order_Number__c", "ERP_Order_Status__c", "ERP_Order_Key__c")
        }
        clone = RecordId(new_custom(world, customers[0], Amount__c=20, **copied))
        world.org.update(CUSTOM, moved, Customer__c=customers[1])
        world.org.update(CUSTOM, contradicts, Amount__c=19)
        report = await world.audit()

    assert {
        clone: FindingKind.COPIED_STATUS, moved: FindingKind.CUSTOMER_DIFFERS, contradicts: FindingKind.TOTAL_DIFFERS,
    } == {each.record: each.kind for each in report.findings}, story(report)  # fmt: skip
