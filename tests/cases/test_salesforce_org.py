"""Case S4: what an org of other settings, users and moments does to the product, on a real Salesforce emulator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from closedwon.emulators.salesforce import OrgConfig, SalesforceEmulator
from closedwon.emulators.salesforce.config import Rights
from closedwon.errors import BenignError, RetryError
from closedwon.ids import RecordId
from closedwon.names import OrderStage
from closedwon.salesforce.api.rest import SalesforceClient
from closedwon.salesforce.bus.events import EARLIEST
from closedwon.salesforce.bus.streaming import CometdStream
from closedwon.salesforce.errors import ConfigurationError, MaintenanceError, StreamRefusedError
from tests.integration.salesforce.reading import CHANNEL, emulator, settings_of
from tests.integration.salesforce.test_org_records import client_of
from tests.support import sfdx
from tests.support.handoff import handoff


@asynccontextmanager
async def org_with(**config: Any) -> AsyncIterator[tuple[SalesforceEmulator, SalesforceClient]]:
    """A running org of this configuration, and a client of it."""
    async with SalesforceEmulator.running(config=OrgConfig(**config)) as org:
        client = client_of(settings_of(org))
        try:
            yield org, client
        finally:
            await client.close()


@pytest.mark.parametrize(
    ("lacking", "text"),
    [
        ({"hidden_fields": {"Opportunity.Amount"}}, "No such column 'Amount' on entity 'Opportunity'"),
        ({"hidden_objects": {"Account"}}, "Didn't understand relationship 'Account'"),
        ({"hidden_objects": {"Opportunity"}}, "sObject type 'Opportunity' is not supported"),
    ],
)
async def test_s4_what_the_integration_user_may_not_read_is_named(lacking: dict[str, set[str]], text: str) -> None:
    """A field, a parent and an object without the right do not exist for the user; Salesforce's text says which."""
    async with org_with(rights=Rights.model_validate(lacking)) as (org, client):
        (deal,) = org.seed(1)
        with pytest.raises(ConfigurationError, match=text):
            await client.read("Opportunity", "Name, Amount, Account.Name", deal)
        assert org.get("Opportunity", deal)["Name"]  # others see it


async def test_s4_an_event_that_the_user_may_not_read_refuses_the_subscription() -> None:
    """Without Read on the event, its channel does not exist, and the subscription says so at once."""
    async with emulator(rights=Rights(hidden_objects=frozenset({"Order_Requested__e"}))) as (_, settings, tokens):
        stream = CometdStream(settings, tokens)
        with pytest.raises(StreamRefusedError, match="does not exist"):
            await stream.subscribe(CHANNEL, EARLIEST)
        await stream.close()


async def test_s4_an_object_that_the_user_may_not_edit_needs_a_person() -> None:
    """An order whose deal cannot be written needs attention, with the code; the order itself is in the ERP, once."""
    config = OrgConfig(rights=Rights(read_only_objects=frozenset({"Opportunity"})))
    async with SalesforceEmulator.running(config=config) as org, handoff(orgs=[org]) as world, world.working():
        org.seed(1)
        (deal,) = org.win_next(1)
        await world.until_stage(deal, OrderStage.ATTENTION)

        assert "salesforce-rejected" == await world.reason(deal)
        assert 1 == len(world.erp.orders())


async def test_s4_read_only_maintenance_is_waited_for() -> None:
    """While the org is read-only, deals are read; writes fail as something that ends by itself, without an alarm."""
    async with org_with() as (org, client):
        (deal,) = org.seed(1)
        org.faults.read_only()
        assert await client.read("Opportunity", "Name", deal)
        with pytest.raises(MaintenanceError) as raised:
            await client.update("Opportunity", deal, {"ERP_Order_Number__c": "SO-1"})
        assert isinstance(raised.value, BenignError)
        org.faults.read_only(on=False)
        await client.update("Opportunity", deal, {"ERP_Order_Number__c": "SO-1"})


async def test_s4_results_in_small_pages_are_read_whole() -> None:
    """A result that the org cuts into pages of seven is read to its end, parents and children included."""
    async with org_with(largest_page=7) as (org, client):
        deals = org.seed(30)
        found = await client.query(
            "SELECT Id, Account.Name, (SELECT Id FROM OpportunityLineItems) FROM Opportunity ORDER BY Id"
        )
        assert deals == [RecordId(one["Id"]) for one in found]
        assert all(one["OpportunityLineItems"]["records"] for one in found)


async def test_s4_a_locator_that_dies_is_read_again_from_the_start() -> None:
    """Between two pages the rest of the result is gone: the read fails as one to repeat, and the next one succeeds."""
    async with org_with(largest_page=7) as (org, client):
        deals = org.seed(30)
        org.faults.lose_locators()
        with pytest.raises(RetryError, match="INVALID_QUERY_LOCATOR"):
            await client.query("SELECT Id FROM Opportunity")
        assert 30 == len(await client.query("SELECT Id FROM Opportunity")) == len(deals)


async def test_s4_an_org_with_one_currency_has_no_currency_field() -> None:
    """A route that selects CurrencyIsoCode is refused by name; one with a fixed currency hands its deals over."""
    config = OrgConfig(multi_currency=False)
    async with SalesforceEmulator.running(config=config) as org:
        client = client_of(settings_of(org))
        (first,) = org.seed(1)
        with pytest.raises(ConfigurationError, match="No such column 'CurrencyIsoCode'"):
            await client.read("Opportunity", "CurrencyIsoCode", first)
        await client.close()
        lines = "(SELECT ProductCode, Quantity, UnitPrice FROM OpportunityLineItems)"
        select = f"Name, IsWon, Amount, Account.Id, Account.Name, {lines}"
        order = {
            "name": "Name",
            "currency": "'EUR'",
            "total": "Amount",
            "customer": {"id": "Account.Id", "name": "Account.Name"},
            "lines": {
                "each": "OpportunityLineItems.records",
                "product": "ProductCode",
                "quantity": "Quantity",
                "unit_price": "UnitPrice",
            },
        }
        async with handoff(orgs=[org], select=select, order=order) as world, world.working():
            (deal,) = org.win_next(1)
            await world.until_written_back(deal)


async def test_s4_an_org_of_our_metadata_hands_over_with_the_rights_of_our_permission_set() -> None:
    """The fields, the event, the flow and the permission set of deploy/salesforce are enough for the whole product."""
    rights = Rights(permission_sets=("Closedwon_Integration",))
    config = OrgConfig(metadata=sfdx.DEFAULT, rights=rights)
    async with SalesforceEmulator.running(config=config) as org:
        org.seed(2)
        async with handoff(orgs=[org]) as world, world.working():
            deals = org.win_next(2)
            await world.until_written_back(*deals)
        assert {org.integration_user} == {org.get("Opportunity", deal)["LastModifiedById"] for deal in deals}
