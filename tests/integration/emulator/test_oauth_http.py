"""The OAuth endpoints as HTTP clients see them."""

from __future__ import annotations

import pytest

from closedwon.emulators.salesforce import SalesforceEmulator
from tests.integration.emulator.conftest import API, Wire

TOKEN = "/services/oauth2/token"


async def test_token_endpoint(org: SalesforceEmulator, wire: Wire) -> None:
    """A form with client id and secret gives a token that REST accepts; the response must not be cached."""
    form = {
        "grant_type": "client_credentials",
        "client_id": org.client_id,
        "client_secret": org.client_secret,
    }
    reply = await wire.call("POST", TOKEN, data=form)
    assert (200, "no-store") == (reply.status, reply.headers["Cache-Control"])
    assert reply.body["instance_url"] == org.url
    wire.token = reply.body["access_token"]
    assert (await wire.rest("GET", "/limits")).status == 200


async def test_token_refusals(wire: Wire) -> None:
    """An error is HTTP 400 with an object, not with REST's list."""
    reply = await wire.call("POST", TOKEN, data={"grant_type": "client_credentials", "client_id": "x"})
    expected = {"error": "invalid_client_id", "error_description": "client identifier invalid"}
    assert (400, expected) == (reply.status, reply.body)
    assert reply.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("prefix", ["", "/"])
async def test_userinfo(org: SalesforceEmulator, wire: Wire, prefix: str) -> None:
    """Userinfo names user and org, also below a double slash."""
    reply = await wire.call("GET", f"{org.url}{prefix}/services/oauth2/userinfo")
    assert (200, org.org_id, org.integration_user) == (
        reply.status,
        reply.body["organization_id"],
        reply.body["user_id"],
    )
    assert reply.body["preferred_username"] == org.username
    bad = await wire.call("GET", "/services/oauth2/userinfo", headers={"Authorization": "Bearer 00D!x"})
    assert (403, "Bad_OAuth_Token") == (bad.status, bad.body)


async def test_revoke(wire: Wire) -> None:
    """REST rejects a revoked token with Salesforce's text."""
    assert (await wire.call("POST", "/services/oauth2/revoke", data={"token": wire.token})).status == 200
    reply = await wire.rest("GET", "/limits")
    assert (401, [{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}]) == reply[:2]


@pytest.mark.parametrize("scheme", ["Bearer", "OAuth"])
async def test_authorization_schemes(wire: Wire, scheme: str) -> None:
    """REST accepts both schemes."""
    reply = await wire.call("GET", f"{API}/limits", headers={"Authorization": f"{scheme} {wire.token}"})
    assert reply.status == 200


async def test_a_token_is_valid_in_its_own_org_only(org: SalesforceEmulator, wire: Wire) -> None:
    """Another org rejects it."""
    async with SalesforceEmulator.running() as other:
        reply = await wire.call("GET", f"{other.url}{API}/limits")
        assert (401, True) == (reply.status, other.org_id != org.org_id)
