"""Cases P1 to P4: what Salesforce refuses for a while, or for many records at once, on a real Salesforce emulator."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from closedwon.errors import BenignError
from closedwon.ids import RecordId
from closedwon.salesforce.api.rest import SalesforceClient
from closedwon.salesforce.errors import AutomationError, LockedError, MaintenanceError, UnavailableError
from tests.integration.salesforce.test_org_records import org_and_client
from tests.support.handoff import handoff

SPANISH = 'No podemos guardar este registro porque se produjo un error en el proceso "Pedidos ERP".'
TO_MANY = ("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "CANNOT_EXECUTE_FLOW_TRIGGER", "LIMIT_EXCEEDED", "A_CODE_OF_2031")


async def write_all(client: SalesforceClient, deals: Sequence[RecordId]) -> list[BaseException | None]:
    """Write the number of each deal back, all at once."""
    writes = (client.update("Opportunity", deal, {"ERP_Order_Number__c": deal}) for deal in deals)
    return await asyncio.gather(*writes, return_exceptions=True)


@pytest.mark.parametrize("code", TO_MANY)
async def test_p1_what_fails_for_many_records_at_once_succeeds_for_fewer(code: str) -> None:
    """An automation that fails above 50 records costs a few calls; later batches fit from the start, and grow again."""
    async with org_and_client() as (org, client):
        deals = org.seed(120)
        org.faults.fail_automation(50, code=code, message="Demasiadas consultas")
        assert [None] * 120 == await write_all(client, deals)
        first = client.calls
        assert set(deals) == {
            row["ERP_Order_Number__c"] for row in org.query("SELECT ERP_Order_Number__c FROM Opportunity")
        }

        assert [None] * 30 == await write_all(client, deals[:30])
        assert 8 >= first
        assert 1 == client.calls - first


async def test_p1_no_order_needs_a_person_because_others_are_written_with_it() -> None:
    """The whole product before an org whose trigger fails above ten records in one transaction."""
    async with handoff() as world, world.working():
        world.org.seed(60)
        world.org.faults.fail_automation(10)
        deals = world.org.win_next(60)
        await world.until_written_back(*deals)

        assert 60 == len({world.org.get("Opportunity", deal)["ERP_Order_Number__c"] for deal in deals})
        outcomes = [await world.order(deal).result() for deal in deals]
        assert {"completed"} == {outcome.stage for outcome in outcomes}


async def test_p1_a_record_that_fails_alone_is_its_own_failure_only() -> None:
    """One deal of a hundred that a flow refuses does not keep the others, and is reported with the flow's text."""
    async with org_and_client() as (org, client):
        deals = org.seed(100)
        rule = "CANNOT_EXECUTE_FLOW_TRIGGER"
        org.faults.fail_automation(0, code=rule, message=SPANISH)
        alone = await write_all(client, deals[:1])
        everything = await write_all(client, deals[:20])
        assert all(isinstance(error, AutomationError) for error in [*alone, *everything])
        assert f"Salesforce: {rule}: {SPANISH}" == str(alone[0])
        org.faults.clear()

        assert [None] * 100 == await write_all(client, deals)


async def test_p1_a_locked_row_in_a_batch_is_tried_again_alone() -> None:
    """A lock that has ended by then costs no retry of the activity; one that has not is reported for its record."""
    async with org_and_client() as (org, client):
        deals = org.seed(10)
        org.faults.lock_rows(3)
        assert [None] * 10 == await write_all(client, deals)
        org.faults.lock_rows(10 + 8 + 2)
        outcomes = await write_all(client, deals)

        assert {LockedError, type(None)} >= {type(outcome) for outcome in outcomes}
        assert any(isinstance(outcome, LockedError) for outcome in outcomes)


@pytest.mark.parametrize("code", ["INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE", "ORG_IN_MAINTENANCE"])
async def test_p2_maintenance_within_a_successful_call_is_waited_for(code: str) -> None:
    """The status code of each record says so, in a response with status 200; it is retried without an alarm."""
    async with org_and_client() as (org, client):
        deals = org.seed(3)
        org.faults.record_error(code, "Mantenimiento", times=3)
        outcomes = await write_all(client, deals)

        assert [MaintenanceError] * 3 == [type(outcome) for outcome in outcomes]
        assert all(isinstance(outcome, BenignError) for outcome in outcomes)
        assert [None] * 3 == await write_all(client, deals)


async def test_p2_a_page_of_salesforces_edge_is_retried() -> None:
    """Status 400 with "Access Declined" is not an answer about the record, for reads, writes and logins."""
    async with org_and_client() as (org, client):
        (deal,) = org.seed(1)
        org.faults.edge_page()
        with pytest.raises(UnavailableError, match="login responds with HTTP 400"):
            await client.read("Opportunity", "Name", deal)
    async with org_and_client() as (org, client):
        (deal,) = org.seed(1)
        await client.log_in()
        org.faults.edge_page(2)
        with pytest.raises(UnavailableError, match="HTTP 400"):
            await client.read("Opportunity", "Name", deal)
        with pytest.raises(UnavailableError, match="HTTP 400"):
            await client.update("Opportunity", deal, {"NextStep": "x"})
        await client.update("Opportunity", deal, {"NextStep": "x"})


async def test_p4_a_proxy_that_refuses_everything_for_a_moment_is_trouble() -> None:
    """Without an OAuth error, a 401 is not a refused login: no person, and pauses that begin with a second."""
    async with org_and_client() as (org, client):
        (deal,) = org.seed(1)
        await client.read("Opportunity", "Name", deal)
        org.faults.unauthorized()
        with pytest.raises(UnavailableError, match="HTTP 401") as raised:
            await client.read("Opportunity", "Name", deal)
        org.faults.clear()

        assert raised.value.retry_after is not None
        assert 2 > raised.value.retry_after.total_seconds()
