"""Case N2 for each client: a server that trickles, or takes no connection, holds a call only until its deadline.

The same for R9: a process that is to stop while it connects does so at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import jwt
import pytest
from pydantic import SecretStr

from activities.alerts import NotTakenError, _post
from closedwon.encryption.signing_keys import KeysUnavailableError, SigningKeys
from closedwon.erp import open_erp
from closedwon.erp.errors import UnknownError, UnreachableError
from closedwon.salesforce.api import bulk
from closedwon.salesforce.api.auth import AccessToken, TokenSource
from closedwon.salesforce.api.rest import SalesforceClient
from closedwon.salesforce.bus.events import EARLIEST
from closedwon.salesforce.bus.streaming import CometdStream
from closedwon.salesforce.errors import StreamInterruptedError, UnavailableError
from closedwon.settings import AlertSettings, RestErp
from tests.support.network import Trickle, black_hole
from tests.support.salesforce import org_at
from tests.support.waiting import until
from tests.unit.salesforce.resting import record_ids

SECONDS = 0.5
LIMIT = timedelta(seconds=SECONDS)
TOKEN = SecretStr("a-token")


class LoggedIn(TokenSource):
    """Has a token already."""

    async def token(self) -> AccessToken:
        return AccessToken("a-token")


@asynccontextmanager
async def _client(url: str) -> AsyncIterator[SalesforceClient]:
    org = org_at(url, timeout=SECONDS)
    client = SalesforceClient(org, LoggedIn(org))
    try:
        yield client
    finally:
        await client.close()


async def _log_in(url: str) -> None:
    await TokenSource(org_at(url, timeout=SECONDS)).token()


async def _read(url: str) -> None:
    async with _client(url) as client:
        await client.read("Opportunity", "Name", record_ids(1)[0])


async def _update(url: str) -> None:
    async with _client(url) as client:
        await client.update("Opportunity", record_ids(1)[0], {"Name": "new"})


async def _describe(url: str) -> None:
    async with _client(url) as client:
        await client.describe("Opportunity")


async def _start_job(url: str) -> None:
    async with _client(url) as client:
        await bulk.start_query(client, "SELECT Id FROM Opportunity")


async def _read_job(url: str) -> None:
    async with _client(url) as client:
        await bulk.results(client, "750000000000001", locator=None, size=100)


async def _subscribe(url: str) -> None:
    org = org_at(url, timeout=SECONDS)
    stream = CometdStream(org, LoggedIn(org))
    try:
        await stream.subscribe("/event/Order__e", EARLIEST)
    finally:
        await stream.close()


async def _find(url: str) -> None:
    erp = open_erp(RestErp(kind="rest", name="erp", url=url, token=TOKEN, timeout=LIMIT))
    try:
        await erp.find("00D000000000001:006000000000001")
    finally:
        await erp.close()


async def _alert(url: str) -> None:
    await _post(AlertSettings(webhook=SecretStr(url), timeout=LIMIT), {})


async def _keys(url: str) -> None:
    token = jwt.encode({"sub": "me"}, "k" * 32, algorithm="HS256", headers={"kid": "1"})
    keys = SigningKeys(url)
    keys._http._timeout = LIMIT
    try:
        await keys.of(token)
    finally:
        await keys.close()


CALLS: dict[str, tuple[Callable[[str], Awaitable[None]], type[Exception]]] = {
    "login": (_log_in, UnavailableError),
    "read": (_read, UnavailableError),
    "update": (_update, UnavailableError),
    "describe": (_describe, UnavailableError),
    "bulk job": (_start_job, UnavailableError),
    "bulk result": (_read_job, UnavailableError),
    "event bus": (_subscribe, StreamInterruptedError),
    "ERP": (_find, UnknownError),
    "alert": (_alert, NotTakenError),
    "signing keys": (_keys, KeysUnavailableError),
}


@pytest.mark.parametrize("name", CALLS)
async def test_n2_a_server_that_trickles_holds_a_call_only_until_its_deadline(name: str) -> None:
    """The connection is closed then, and the error says so."""
    call, expected = CALLS[name]
    server = Trickle()
    async with server.serving() as url:
        with pytest.raises(expected, match=r"gave no whole answer within 0\.5 s"):
            await call(url)
        await until(lambda: server.connections == 0)
    assert server.requests >= 1


@pytest.mark.parametrize("name", CALLS)
async def test_n8_a_host_that_takes_no_connection_holds_a_call_only_until_its_deadline(name: str) -> None:
    """The deadline counts from the beginning of the call, whatever it waits for."""
    call, expected = CALLS[name]
    unreachable = UnreachableError if expected is UnknownError else expected  # nothing was sent
    # The event bus has the same deadline for connecting as for its first call.
    text = r"within 0\.5 s" if name == "event bus" else r"takes no connection within 0\.5 s"
    with black_hole() as port, pytest.raises(unreachable, match=text):
        await call(f"http://localhost:{port}")


async def test_n2_the_slots_of_reads_are_given_back() -> None:
    """More reads than there are slots: each slot is used again after the deadline, and none waits for the server."""
    server = Trickle()
    async with server.serving() as url, _client(url) as client:
        results = await asyncio.gather(
            *(client.read("Opportunity", "Name", record) for record in record_ids(900)), return_exceptions=True
        )
    assert {UnavailableError} == {type(result) for result in results}
    assert server.requests > 4


async def test_r9_closing_a_client_ends_the_calls_that_are_under_way() -> None:
    """Otherwise their threads would hold the end of the process until the deadline."""
    server = Trickle()
    async with server.serving() as url:
        org = org_at(url, timeout=60.0)
        client = SalesforceClient(org, LoggedIn(org))
        call = asyncio.create_task(client.query("SELECT Id FROM Opportunity"))
        await until(lambda: server.requests == 1)
        await client.close()
        with pytest.raises(UnavailableError, match="closed"):
            await call
        await until(lambda: server.connections == 0)
