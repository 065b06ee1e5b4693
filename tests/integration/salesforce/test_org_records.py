"""Reading from and writing back to a real Salesforce emulator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest

from closedwon.emulators.salesforce import OrgConfig, SalesforceEmulator, ValidationRule
from closedwon.ids import OrgId, RecordId
from closedwon.salesforce.api.auth import TokenSource
from closedwon.salesforce.api.rest import SalesforceClient
from closedwon.salesforce.errors import (
    ConfigurationError,
    LockedError,
    RecordGoneError,
    SalesforceAuthFailedError,
    ThrottledError,
    UnavailableError,
    ValidationError,
    WrongOrgError,
)
from closedwon.settings import Org
from tests.integration.salesforce.reading import settings_of
from tests.support.salesforce import with_jwt

DEAL = "Name, Amount, IsWon, Account.Name, (SELECT Quantity, UnitPrice, Product2.ProductCode FROM OpportunityLineItems)"


@asynccontextmanager
async def org_and_client(
    *rules: ValidationRule, settings: dict[str, object] | None = None
) -> AsyncIterator[tuple[SalesforceEmulator, SalesforceClient]]:
    """A running org and a client of it."""
    async with SalesforceEmulator.running(config=OrgConfig(validation_rules=rules)) as org:
        client = client_of(settings_of(org).model_copy(update=settings or {}))
        try:
            yield org, client
        finally:
            await client.close()


def client_of(org: Org) -> SalesforceClient:
    """A client with a login of its own."""
    return SalesforceClient(org, TokenSource(org))


async def test_a_deal_is_read_whole_and_written_back() -> None:
    """One call reads an Opportunity with its Account and line items; one more writes two fields."""
    async with org_and_client() as (org, client):
        deal, *_ = org.seed(3)
        org.win(deal)
        record = await client.read("Opportunity", DEAL, deal)
        await client.update("Opportunity", deal, {"ERP_Order_Number__c": "SO-1", "ERP_Order_Status__c": "confirmed"})
        written = await client.read("Opportunity", "ERP_Order_Number__c, ERP_Order_Status__c", deal)

        assert record is not None
        assert record["IsWon"] is True
        assert record["Account"]["Name"]
        lines = record["OpportunityLineItems"]["records"]
        assert record["Amount"] == sum((line["Quantity"] * line["UnitPrice"] for line in lines), Decimal(0))
        assert written is not None
        assert ("SO-1", "confirmed") == (written["ERP_Order_Number__c"], written["ERP_Order_Status__c"])
        assert 3 == client.calls
        assert client.usage is not None


async def test_two_hundred_deals_cost_a_handful_of_calls() -> None:
    """Reads and write-backs of many workflows share calls: 2 to read 200 deals, 1 to write them."""
    async with org_and_client() as (org, client):
        deals = org.seed(200)
        records = await asyncio.gather(*(client.read("Opportunity", DEAL, deal) for deal in deals))
        reading = client.calls
        await asyncio.gather(*(client.update("Opportunity", deal, {"ERP_Order_Number__c": deal}) for deal in deals))

        assert 2 == reading
        assert 3 == client.calls
        assert all(records)
        assert all(deal == org.get("Opportunity", deal)["ERP_Order_Number__c"] for deal in deals)


async def test_check_says_what_it_found() -> None:
    """`closedwon config check` shows org, user, version and the API calls that are left."""
    async with org_and_client() as (org, client):
        said = await client.check()

    for part in (org.org_id, org.url, "67.0", "integration@", "of 100000 API calls left"):
        assert part in said


async def test_check_finds_another_org() -> None:
    """Settings that name one org and lead to another one are refused."""
    async with org_and_client(settings={"id": OrgId("00D000000000001")}) as (org, client):
        with pytest.raises(WrongOrgError, match=org.org_id) as raised:
            await client.check()

    assert "orgs.id" in raised.value.hint


async def test_check_finds_a_version_that_is_not_offered() -> None:
    """An API version that the org does not know is a matter of configuration or of a retired resource."""
    async with org_and_client(settings={"api_version": "20.0"}) as (_, client):
        with pytest.raises((ConfigurationError, RecordGoneError)):
            await client.check()


async def test_a_jwt_logs_in() -> None:
    """The JWT bearer flow reads records as client credentials do."""
    async with SalesforceEmulator.running() as org:
        deal, *_ = org.seed(1)
        settings = with_jwt(settings_of(org), org.private_key, username=org.username, client_id=org.client_id)
        client = client_of(settings)
        assert await client.read("Opportunity", "Id", deal)
        await client.close()


async def test_wrong_credentials_need_a_person() -> None:
    """A refused login names the setting."""
    async with SalesforceEmulator.running() as org:
        settings = settings_of(org)
        client = client_of(settings.model_copy(update={"auth": settings.auth.model_copy(update={"client_id": "who"})}))
        with pytest.raises(SalesforceAuthFailedError) as raised:
            await client.read("Opportunity", "Id", org.seed(1)[0])
        await client.close()

    assert "`auth`" in raised.value.hint


async def test_expired_and_revoked_tokens_are_not_noticed_by_callers() -> None:
    """A token that is refused is replaced by one login, and the call is repeated."""
    async with org_and_client() as (org, client):
        deal, *_ = org.seed(1)
        await client.read("Opportunity", "Id", deal)
        org.oauth.expire_all()
        await asyncio.gather(*(client.read("Opportunity", select, deal) for select in ("Id", "Name", "Amount")))
        assert 1 == org.oauth.valid_tokens


async def test_a_record_that_does_not_exist() -> None:
    """Reading yields None, writing back needs a person."""
    async with org_and_client() as (org, client):
        gone = RecordId("006" + "0" * 12)
        org.seed(1)
        assert await client.read("Opportunity", "Id", gone) is None
        with pytest.raises((RecordGoneError, ConfigurationError)):
            await client.update("Opportunity", gone, {"ERP_Order_Number__c": "1"})


async def test_unknown_names_are_a_matter_of_configuration() -> None:
    """A field or an object that the org does not have is named by Salesforce's code."""
    async with org_and_client() as (org, client):
        deal, *_ = org.seed(1)
        with pytest.raises(ConfigurationError, match="INVALID_FIELD"):
            await client.read("Opportunity", "Nmae", deal)
        with pytest.raises(ConfigurationError, match="INVALID_TYPE"):
            await client.read("Oportunity", "Id", deal)
        with pytest.raises(ConfigurationError, match="INVALID_FIELD"):
            await client.update("Opportunity", deal, {"Typo__c": "1"})


async def test_a_validation_rule_speaks_to_the_operator() -> None:
    """The rule's own text and the code reach the error, and no value of the record does."""
    rule = ValidationRule(
        on="Opportunity",
        when="ERP_Order_Number__c = 'SO-13'",
        message="Thirteen is unlucky.",
        field="ERP_Order_Number__c",
    )
    async with org_and_client(rule) as (org, client):
        with pytest.raises(ValidationError, match="on ERP_Order_Number__c: Thirteen is unlucky") as raised:
            await client.update("Opportunity", org.seed(1)[0], {"ERP_Order_Number__c": "SO-13"})

    assert "SO-13" not in str(raised.value)


async def test_a_lock_fails_only_the_record_that_is_locked() -> None:
    """Of three updates in one call one meets a lock; the others are written, and the repetition succeeds."""
    async with org_and_client() as (org, client):
        deals = org.seed(3)
        org.faults.lock_rows(3 + 1)  # each in the batch, and the first that is tried alone
        outcomes = await asyncio.gather(
            *(client.update("Opportunity", deal, {"ERP_Order_Number__c": "1"}) for deal in deals),
            return_exceptions=True,
        )
        locked = [deal for deal, outcome in zip(deals, outcomes, strict=True) if isinstance(outcome, LockedError)]
        assert 1 == len(locked)
        await client.update("Opportunity", locked[0], {"ERP_Order_Number__c": "1"})

        assert ["1"] * 3 == [org.get("Opportunity", deal)["ERP_Order_Number__c"] for deal in deals]


async def test_a_used_up_day_waits() -> None:
    """REQUEST_LIMIT_EXCEEDED does not need attention, and has a time to wait."""
    async with org_and_client() as (org, client):
        deal, *_ = org.seed(1)
        org.faults.request_limit()
        with pytest.raises(ThrottledError) as raised:
            await client.read("Opportunity", "Id", deal)

    assert raised.value.retry_after is not None


async def test_a_reply_lost_after_the_commit_is_safe_to_repeat() -> None:
    """The update was made, its answer never came: the outcome is unknown, and doing it again does no harm."""
    async with org_and_client() as (org, client):
        deal, *_ = org.seed(1)
        await client.read("Opportunity", "Id", deal)
        org.faults.lose_answers()
        with pytest.raises(UnavailableError):
            await client.update("Opportunity", deal, {"ERP_Order_Number__c": "SO-1"})
        assert "SO-1" == org.get("Opportunity", deal)["ERP_Order_Number__c"]
        await client.update("Opportunity", deal, {"ERP_Order_Number__c": "SO-1"})


async def test_an_org_that_is_down_is_asked_again_later() -> None:
    """503 from everything: a retry, and afterwards all is well."""
    async with org_and_client() as (org, client):
        deal, *_ = org.seed(1)
        org.faults.down()
        with pytest.raises(UnavailableError) as raised:
            await client.read("Opportunity", "Id", deal)
        org.faults.down(on=False)
        assert raised.value.retry_after is not None
        await asyncio.sleep(raised.value.retry_after.total_seconds())
        assert await client.read("Opportunity", "Id", deal)
