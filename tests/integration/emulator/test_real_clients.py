"""Widely used client libraries with the org: simple-salesforce and aiocometd-noloop."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

import aiocometd_noloop as aiocometd
import pytest
import requests
from requests.adapters import HTTPAdapter
from simple_salesforce.api import Salesforce
from simple_salesforce.exceptions import (
    SalesforceExpiredSession,
    SalesforceMalformedRequest,
    SalesforceResourceNotFound,
)

from closedwon.emulators.salesforce import SalesforceEmulator
from tests.integration.emulator.conftest import CHANNEL
from tests.support.waiting import STALL


class ToOrg(HTTPAdapter):
    """Redirects every https request to the org: simple-salesforce supports no other scheme. Mounted on `https://`."""

    def __init__(self, url: str) -> None:
        """Lead to `url`."""
        super().__init__()
        self._target = urlsplit(url)

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send with another scheme and host."""
        parts = urlsplit(request.url or "")
        request.url = parts._replace(scheme=self._target.scheme, netloc=self._target.netloc).geturl()
        return super().send(request, *args, **kwargs)


def session_to(org: SalesforceEmulator) -> requests.Session:
    """A requests session that ends at the org."""
    session = requests.Session()
    session.trust_env = False
    session.mount("https://", ToOrg(org.url))
    return session


def logged_in(session: requests.Session, **how: Any) -> Any:
    """A simple-salesforce client; untyped, because its attributes are the org's objects."""
    return Salesforce(session=session, version="67.0", **how)


def by_secret(org: SalesforceEmulator) -> dict[str, Any]:
    """Client credentials on a My Domain host."""
    return {"consumer_key": org.client_id, "consumer_secret": org.client_secret, "domain": "local.my"}


def by_jwt(org: SalesforceEmulator) -> dict[str, Any]:
    """JWT bearer on the login host."""
    return {"username": org.username, "consumer_key": org.client_id, "privatekey": org.private_key}


@pytest.mark.parametrize("how", [by_secret, by_jwt])
async def test_simple_salesforce_logs_in_and_works(org: SalesforceEmulator, how: Any) -> None:
    """Both logins, records, queries over pages, collections by `restful` and event publishing work with the library."""
    org.seed(2100)
    first = org.query("SELECT Id FROM Opportunity LIMIT 1")[0]["Id"]
    credentials = how(org)

    def use() -> None:
        with session_to(org) as session:
            client = logged_in(session, **credentials)
            assert client.Opportunity.get(first)["Id"] == first
            assert client.Opportunity.update(first, {"ERP_Order_Number__c": "SO1"}) == 204
            created = client.Account.create({"Name": "Brand-new"})
            assert created["success"]
            assert client.Account.delete(created["id"]) == 204
            rows = list(client.query_all_iter("SELECT Id, Account.Name FROM Opportunity"))
            assert len(rows) == 2100
            assert rows[0]["Account"]["Name"]
            published = client.Order_Requested__e.create({"Opportunity_Id__c": first})
            assert published["errors"][0]["statusCode"] == "OPERATION_ENQUEUED"
            body = {
                "allOrNone": False,
                "records": [{"attributes": {"type": "Opportunity"}, "id": first, "ERP_Order_Status__c": "ok"}],
            }
            assert client.restful("composite/sobjects", method="PATCH", json=body)[0]["success"]
            assert client.limits()["DailyApiRequests"]["Max"] == 100_000
            assert client.api_usage["api-usage"].total == 100_000
            assert client.describe()["maxBatchSize"] == 200
            assert client.is_sandbox()

    await asyncio.to_thread(use)
    found = org.get("Opportunity", first)
    assert ("SO1", "ok", org.integration_user) == (
        found["ERP_Order_Number__c"],
        found["ERP_Order_Status__c"],
        found["LastModifiedById"],
    )


async def test_simple_salesforce_raises_its_own_errors(org: SalesforceEmulator) -> None:
    """The library's own exceptions are raised for bad requests, unknown records and expired sessions."""
    token = org.oauth.issue(org.integration_user)

    def use() -> None:
        with session_to(org) as session:
            client = logged_in(session, session_id=token, instance_url=org.url)
            with pytest.raises(SalesforceMalformedRequest, match="INVALID_FIELD"):
                client.query("SELECT Nope FROM Opportunity")
            with pytest.raises(SalesforceResourceNotFound):
                client.Opportunity.get("006000000000001AAA")

    await asyncio.to_thread(use)
    org.oauth.expire_all()

    def too_late() -> None:
        with session_to(org) as session:
            client = logged_in(session, session_id=token, instance_url=org.url)
            with pytest.raises(SalesforceExpiredSession):
                client.query("SELECT Id FROM Opportunity")

    await asyncio.to_thread(too_late)


class Replay(aiocometd.Extension):  # type: ignore[misc]
    """Requests a replay position in every subscribe, like aiosfstream."""

    def __init__(self, replay: int) -> None:
        """Replay from `replay`."""
        self.replay = replay

    async def outgoing(self, payload: Any, headers: Any) -> None:  # noqa: ARG002 - the library's signature
        """Add the extension."""
        for message in payload:
            if message["channel"] == "/meta/subscribe":
                message["ext"] = {"replay": {message["subscription"]: self.replay}}

    async def incoming(self, payload: Any, headers: Any = None) -> None:
        """Nothing to do."""


class Auth(aiocometd.AuthExtension):  # type: ignore[misc]
    """Sends the token; logs in again when asked to."""

    def __init__(self, org: SalesforceEmulator) -> None:
        """Log in to `org`."""
        self.org = org
        self.token = org.oauth.issue(org.integration_user)

    async def outgoing(self, payload: Any, headers: Any) -> None:  # noqa: ARG002 - the library's signature
        """Add the header."""
        headers["Authorization"] = f"Bearer {self.token}"

    async def incoming(self, payload: Any, headers: Any = None) -> None:
        """Nothing to do."""

    async def authenticate(self) -> None:
        """Log in again."""
        self.token = self.org.oauth.issue(self.org.integration_user)


def cometd_client(org: SalesforceEmulator, replay: int) -> Any:
    """An aiocometd client of the org."""
    return aiocometd.Client(
        f"{org.url}/cometd/67.0",
        connection_types=[aiocometd.ConnectionType.LONG_POLLING],
        extensions=[Replay(replay)],
        auth=Auth(org),
        max_pending_count=0,
    )


async def test_aiocometd_receives_every_event_in_order(org: SalesforceEmulator) -> None:
    """A thousand wins arrive in order: some replayed, some while polls are held."""
    ids = org.seed(1000)
    for record in ids[:300]:
        org.win(record)
    async with cometd_client(org, -2) as client:
        await client.subscribe(CHANNEL)

        async def win_the_rest() -> None:
            for record in ids[300:]:
                org.win(record)
                await asyncio.sleep(0)

        winning = asyncio.create_task(win_the_rest())
        found = [(await client.receive())["data"]["payload"]["Opportunity_Id__c"] for _ in ids]
        await winning
    assert ids == found


async def test_aiocometd_survives_an_unknown_client(org: SalesforceEmulator) -> None:
    """When the org forgets the session, the library repeats handshake and subscription, and events continue."""
    async with cometd_client(org, -2) as client:
        await client.subscribe(CHANNEL)
        org.publish("Order_Requested__e", Account_Name__c="one")
        assert (await client.receive())["data"]["payload"]["Account_Name__c"] == "one"
        org.cometd.forget_clients()
        org.publish("Order_Requested__e", Account_Name__c="two")
        again = [(await client.receive())["data"]["payload"]["Account_Name__c"] for _ in range(2)]
    assert ["one", "two"] == again  # from -2 once more


async def test_a_kick_ends_the_client_of_aiocometd(org: SalesforceEmulator) -> None:
    """A kick ends the library's client with a server error."""
    async with cometd_client(org, -1) as client:
        await client.subscribe(CHANNEL)
        async with asyncio.timeout(STALL):
            await org.cometd.until_held()
        org.cometd.kick()
        with pytest.raises(aiocometd.exceptions.ServerError):
            await client.receive()


async def test_aiocometd_is_refused_with_an_invalid_replay_id(org: SalesforceEmulator) -> None:
    """The exact error text reaches the library's caller."""
    async with cometd_client(org, 5) as client:
        with pytest.raises(aiocometd.exceptions.ServerError) as caught:
            await client.subscribe(CHANNEL)
    assert caught.value.error == (
        "400::The replayId {5} you provided was invalid.  Please provide a valid ID, -2 to replay all events, or -1 to "
        "replay only new events."
    )
