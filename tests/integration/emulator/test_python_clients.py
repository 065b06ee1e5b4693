"""More of simple-salesforce, and aiosfstream-ng, with the org; both unmodified."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiosfstream_ng.auth import AuthenticatorBase, PasswordAuthenticator, RefreshTokenAuthenticator
from aiosfstream_ng.client import Client
from aiosfstream_ng.exceptions import AuthenticationError
from aiosfstream_ng.replay import ReplayOption
from simple_salesforce.api import Salesforce
from simple_salesforce.exceptions import (
    SalesforceAuthenticationFailed,
    SalesforceMalformedRequest,
    SalesforceMoreThanOneRecord,
    SalesforceResourceNotFound,
)

from closedwon.emulators.salesforce import OrgConfig, SalesforceEmulator
from tests.integration.emulator.conftest import CHANNEL
from tests.integration.emulator.test_real_clients import logged_in, session_to

DEAL: dict[str, Any] = {"StageName": "Prospecting", "CloseDate": "2026-01-01"}


@pytest.fixture
async def org() -> AsyncIterator[SalesforceEmulator]:
    """A served org that allows every login."""
    config = OrgConfig(password_flow=True, soap_login=True, poll_timeout=timedelta(seconds=5))
    async with SalesforceEmulator.running(config=config) as running:
        yield running


async def test_simple_salesforce_logs_in_with_passwords(org: SalesforceEmulator) -> None:
    """SOAP login with a security token, the OAuth flow with a password, and the refusal of a wrong one work."""
    by_soap = {"username": org.username, "password": org.credentials.password, "security_token": ""}
    by_oauth = {**by_soap, "consumer_key": org.client_id, "consumer_secret": org.client_secret}
    del by_oauth["security_token"]

    def use() -> None:
        with session_to(org) as session:
            for how in (by_soap, by_oauth):
                client = logged_in_by_soap(session, how) if how is by_soap else logged_in(session, **how)
                assert client.oauth2("userinfo")["preferred_username"] == org.username
            with pytest.raises(SalesforceAuthenticationFailed, match="INVALID_LOGIN"):
                logged_in_by_soap(session, {**by_soap, "password": "wrong"})
            with pytest.raises(SalesforceAuthenticationFailed, match="authentication failure"):
                logged_in(session, **{**by_oauth, "password": "wrong"})

    await asyncio.to_thread(use)


def logged_in_by_soap(session: Any, how: dict[str, Any]) -> Any:
    """A client of the last version that has SOAP login."""
    return Salesforce(session=session, version="64.0", **how)


async def test_simple_salesforce_works_with_external_ids_and_changes(org: SalesforceEmulator) -> None:
    """Upserts, reads by external id, updated and deleted records, describe, and many records work."""

    def use() -> None:
        with session_to(org) as session:
            how = {"consumer_key": org.client_id, "consumer_secret": org.client_secret, "domain": "local.my"}
            client = logged_in(session, **how)
            deals = client.Opportunity
            assert deals.upsert("ERP_Order_Key__c/K-1", {**DEAL, "Name": "one"}) == 201
            assert deals.upsert("ERP_Order_Key__c/K-1", {"Name": "two"}) == 200
            found = deals.get_by_custom_id("ERP_Order_Key__c", "K-1")
            assert found["Name"] == "two"
            assert found["Id"] == deals.get(found["Id"])["Id"]
            deals.create({**DEAL, "Name": "again", "ERP_Order_Key__c": "K-1"})
            with pytest.raises(SalesforceMoreThanOneRecord):
                deals.upsert("ERP_Order_Key__c/K-1", {"Name": "three"})
            with pytest.raises(SalesforceResourceNotFound):
                deals.get_by_custom_id("ERP_Order_Key__c", "K-9")
            begin, end = datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) + timedelta(hours=1)
            assert found["Id"] in deals.updated(begin, end)["ids"]
            assert deals.delete(found["Id"]) == 204
            assert [found["Id"]] == [one["id"] for one in deals.deleted(begin, end)["deletedRecords"]]
            assert deals.describe()["name"] == deals.metadata()["objectDescribe"]["name"] == "Opportunity"
            assert client.query("SELECT COUNT() FROM Opportunity")["totalSize"] == 1
            assert client.query_all("SELECT StageName, COUNT(Id) n FROM Opportunity GROUP BY StageName")["records"] == [
                {"attributes": {"type": "AggregateResult"}, "StageName": "Prospecting", "n": 1}
            ]
            with pytest.raises(SalesforceMalformedRequest, match="MALFORMED_QUERY"):
                client.query("SELECT Id FORM Opportunity")

    await asyncio.to_thread(use)


def at(org: SalesforceEmulator, kind: type[AuthenticatorBase], **how: Any) -> AuthenticatorBase:
    """An authenticator that asks the org in place of Salesforce's login host, which the library fixes."""
    address = property(lambda _: f"{org.url}/services/oauth2/token")
    made: AuthenticatorBase = type("AtOrg", (kind,), {"_token_url": address})(
        consumer_key=org.client_id, consumer_secret=org.client_secret, **how
    )
    return made


async def test_aiosfstream_receives_events_by_both_logins(org: SalesforceEmulator) -> None:
    """Events are replayed and received live after a login with a refresh token, and with a password."""
    org.publish("Order_Requested__e", Account_Name__c="before")
    by_token = at(org, RefreshTokenAuthenticator, refresh_token=org.credentials.refresh_token)
    by_password = at(org, PasswordAuthenticator, username=org.username, password=org.credentials.password)
    for authenticator in (by_token, by_password):
        async with Client(authenticator, replay=ReplayOption.ALL_EVENTS) as client:
            await client.subscribe(CHANNEL)
            assert (await client.receive())["data"]["payload"]["Account_Name__c"] == "before"
    async with Client(by_token, replay=ReplayOption.NEW_EVENTS) as client:
        await client.subscribe(CHANNEL)
        org.publish("Order_Requested__e", Account_Name__c="after")
        assert (await client.receive())["data"]["payload"]["Account_Name__c"] == "after"


async def test_aiosfstream_reports_a_wrong_password(org: SalesforceEmulator) -> None:
    """A refused login is the library's own error, with the body of the refusal."""
    with pytest.raises(AuthenticationError, match="authentication failure"):
        await Client(at(org, PasswordAuthenticator, username=org.username, password="wrong")).open()
