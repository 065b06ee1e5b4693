"""How many API calls a flow of orders costs, on a real Salesforce emulator; and that its calls do not lock each other.

The arrivals are simulated, so no Temporal is needed: an order is a read and, a moment later, an update.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random

import pytest

from closedwon.emulators.salesforce import OrgConfig, SalesforceEmulator
from closedwon.ids import RecordId
from closedwon.salesforce.api.auth import TokenSource
from closedwon.salesforce.api.rest import SalesforceClient
from closedwon.salesforce.errors import LockedError, ThrottledError
from tests.integration.salesforce.reading import settings_of

DEAL = "Name, Amount, IsWon, Account.Name, (SELECT Quantity, UnitPrice FROM OpportunityLineItems)"
NUMBER, STATUS = "ERP_Order_Number__c", "ERP_Order_Status__c"


@asynccontextmanager
async def org_and_clients(
    count: int = 1, **config: int
) -> AsyncIterator[tuple[SalesforceEmulator, Sequence[SalesforceClient]]]:
    """A running org, and as many clients as there are processes; a client has the windows of one process."""
    async with SalesforceEmulator.running(config=OrgConfig(**config)) as org:
        settings = settings_of(org, timeout=60)
        clients = [SalesforceClient(settings, TokenSource(settings)) for _ in range(count)]
        try:
            yield org, clients
        finally:
            org.faults.clear()
            await asyncio.gather(*(client.close() for client in clients))


async def _carry(client: SalesforceClient, deal: RecordId) -> None:
    assert await client.read("Opportunity", DEAL, deal) is not None
    await asyncio.sleep(0.05)  # the ERP
    await client.update("Opportunity", deal, {NUMBER: f"SO-{deal}"})


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "most"), [(1, 0.045), (4, 0.15)])
async def test_a_thousand_orders_share_calls(processes: int, most: float) -> None:
    """At 40 orders a second, about as many as a development server carries: 0.03 calls each; in four processes 0.12."""
    async with org_and_clients(processes) as (org, clients):
        deals, random = org.seed(1_000), Random(7)  # noqa: S311 - no secret

        async def arrive(number: int, at: float) -> None:
            await asyncio.sleep(at)
            await _carry(clients[number % processes], deals[number])

        at, orders = 0.0, []
        for number in range(len(deals)):
            orders.append(arrive(number, at))
            at += random.expovariate(40)
        await asyncio.gather(*orders)
        calls = org.api_calls.total()

        assert calls == sum(client.calls for client in clients)
        assert calls <= most * len(deals), calls
        assert 0 == len(org.query(f"SELECT Id FROM Opportunity WHERE {NUMBER} = null"))  # noqa: S608 - SOQL


async def test_a_single_order_costs_two_calls_and_waits_for_none() -> None:
    """Also the next one, when it comes after the window of a tenth of a second."""
    async with org_and_clients() as (org, (client,)):
        for number, deal in enumerate(org.seed(3), start=1):
            await _carry(client, deal)
            assert 2 * number == org.api_calls.total()


async def test_a_storm_of_orders_of_few_accounts_meets_no_lock() -> None:
    """500 orders of 20 accounts, all at once, in calls with different fields: no two calls need the same account."""
    async with org_and_clients() as (org, (client,)):
        deals = _of_accounts(org, accounts=20, deals=500)
        await asyncio.gather(*(client.read("Opportunity", DEAL, deal) for deal in deals))
        org.faults.slow_writes(0.05)
        before = org.api_calls.total()
        fields = [NUMBER] * 20 + [STATUS] * 20  # each account has deals of both kinds
        await asyncio.gather(
            *(client.update("Opportunity", deal, {fields[place % 40]: "x"}) for place, deal in enumerate(deals))
        )

        assert 0 == org.records.locks.conflicts
        assert 30 >= org.api_calls.total() - before
        assert 500 == len(org.query(f"SELECT Id FROM Opportunity WHERE {NUMBER} = 'x' OR {STATUS} = 'x'"))  # noqa: S608 - SOQL


async def test_updates_of_unknown_accounts_go_one_call_after_the_other() -> None:
    """Any two of them might have one account: so it is where another process has read the records."""
    async with org_and_clients() as (org, (client,)):
        deals = _of_accounts(org, accounts=1, deals=250)
        org.faults.slow_writes(0.6)
        await asyncio.gather(*(client.update("Opportunity", deal, {NUMBER: "x"}) for deal in deals))

        assert 0 == org.records.locks.conflicts


async def test_two_processes_that_meet_at_an_account_see_a_lock() -> None:
    """The emulator reports what the tests above count; such a record is tried again, and needs no person."""
    async with org_and_clients(2) as (org, clients):
        deals = _of_accounts(org, accounts=1, deals=2)
        org.faults.slow_writes(0.3)
        outcomes = await asyncio.gather(
            *(client.update("Opportunity", deal, {NUMBER: "x"}) for client, deal in zip(clients, deals, strict=True)),
            return_exceptions=True,
        )

        assert [LockedError] == [type(one) for one in outcomes if one is not None]
        assert 1 == org.records.locks.conflicts


async def test_near_the_limit_orders_share_one_call_a_minute() -> None:
    """The first one after a quiet minute reads and writes; the next one is sent back, and the text says why."""
    async with org_and_clients(daily_api_requests=1_000) as (org, (client,)):
        first, second = org.seed(2)
        org.api_calls["others"] = 960
        await _carry(client, first)
        for call in (client.read("Opportunity", DEAL, second), client.update("Opportunity", second, {NUMBER: "x"})):
            with pytest.raises(
                ThrottledError, match=r"962 of 1000 API calls of 24 hours are used; above 95 % .* a minute"
            ):
                await call

        assert 962 == org.api_calls.total()


def _of_accounts(org: SalesforceEmulator, *, accounts: int, deals: int) -> list[RecordId]:
    """Make deals that belong to the accounts in turn."""
    owners = [org.create("Account", Name=f"Customer {number}") for number in range(accounts)]
    return [
        org.create(
            "Opportunity",
            Name=f"Deal {number}",
            StageName="Closed Won",
            CloseDate="2026-11-01",
            AccountId=owners[number % accounts],
        )
        for number in range(deals)
    ]
