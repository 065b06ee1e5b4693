"""SOAP login and logout, and the identity URL, as HTTP clients see them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import aiohttp
import pytest

from closedwon.emulators.salesforce import OrgConfig, SalesforceEmulator
from tests.integration.emulator.conftest import Reply, Wire

LOGIN = (
    '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body>'
    '<login xmlns="urn:partner.soap.sforce.com">'
    "<username>{}</username><password>{}</password></login></e:Body></e:Envelope>"
)
LOGOUT = (
    '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Header><SessionHeader><sessionId>{}</sessionId>'
    '</SessionHeader></e:Header><e:Body><logout xmlns="urn:partner.soap.sforce.com"/></e:Body></e:Envelope>'
)


@pytest.fixture
async def old() -> AsyncIterator[Wire]:
    """An org of before 2024, which allows SOAP login."""
    async with (
        SalesforceEmulator.running(config=OrgConfig(soap_login=True)) as org,
        aiohttp.ClientSession(org.url) as http,
    ):
        yield Wire(org, http)


async def soap(wire: Wire, body: str, path: str = "/services/Soap/u/64.0") -> Reply:
    """A SOAP request, with the headers that clients send."""
    return await wire.call("POST", path, data=body, headers={"Content-Type": "text/xml", "SOAPAction": "login"})


def texts(reply: Reply, name: str) -> list[str]:
    """The texts of the elements of a name."""
    return re.findall(f"<(?:sf:)?{name}>([^<]*)<", str(reply.body))


@pytest.mark.parametrize("path", ["/services/Soap/u/64.0", "/services/Soap/c/31.0/", "//services/Soap/u/50.0"])
async def test_soap_login_gives_a_session(old: Wire, path: str) -> None:
    """The session id works as a REST token until the logout; serverUrl and user are the org's own."""
    org = old.org
    reply = await soap(old, LOGIN.format(org.username, org.credentials.password), f"{org.url}{path}")
    assert (200, [org.integration_user, org.integration_user]) == (reply.status, texts(reply, "userId"))
    assert texts(reply, "serverUrl")[0].startswith(f"{org.url}/services/Soap/")
    (old.token,) = texts(reply, "sessionId")
    assert (await old.rest("GET", "/limits")).status == 200
    assert (await soap(old, LOGOUT.format(old.token))).status == 200
    assert (await old.rest("GET", "/limits")).code == "INVALID_SESSION_ID"


@pytest.mark.parametrize(
    ("path", "password", "code"),
    [
        ("/services/Soap/u/64.0", "wrong", "INVALID_LOGIN"),
        ("/services/Soap/u/65.0", None, "UNKNOWN_EXCEPTION"),
        ("/services/Soap/u/30.0", None, "UNSUPPORTED_API_VERSION"),
    ],
)
async def test_soap_refusals_are_faults(old: Wire, path: str, password: str | None, code: str) -> None:
    """A wrong password, a version without login and a retired one are SOAP faults with HTTP 500."""
    reply = await soap(old, LOGIN.format(old.org.username, password or old.org.credentials.password), path)
    assert (500, [code]) == (reply.status, texts(reply, "exceptionCode"))
    assert texts(reply, "faultcode") == [f"sf:{code}"]


async def test_soap_login_is_off_by_default(wire: Wire) -> None:
    """A new org refuses the right password, with Salesforce's text; what is not SOAP is a fault, too."""
    reply = await soap(wire, LOGIN.format(wire.org.username, wire.org.credentials.password))
    assert (500, ["INVALID_OPERATION"]) == (reply.status, texts(reply, "exceptionCode"))
    assert texts(reply, "exceptionMessage") == ["SOAP API login() is disabled by default in this org."]
    for body in ("", "nonsense", "<a/>"):
        assert (await soap(wire, body)).status == 500


async def test_the_identity_url_describes_the_tokens_user(org: SalesforceEmulator, wire: Wire) -> None:
    """The `id` of a login answers with the user; another org, another user and no token are refused with 403."""
    form = {"grant_type": "client_credentials", "client_id": org.client_id, "client_secret": org.client_secret}
    login = (await wire.call("POST", "/services/oauth2/token", data=form)).body
    wire.token = login["access_token"]
    reply = await wire.call("GET", login["id"])
    assert (200, org.username, True) == (reply.status, reply.body["username"], reply.body["active"])
    assert login["id"] == reply.body["id"]
    assert login["id"] == (await wire.rest("GET", "/")).body["identity"]
    by_query = f"/id/{org.org_id}/{org.integration_user}?oauth_token={wire.token}"
    async with wire.http.get(by_query) as answer:
        assert answer.status == 200
    for path, text in [
        (f"/id/00D000000000001AAA/{org.integration_user}", "Wrong_Org"),
        (f"/id/{org.org_id}/{org.sales_user}", "Bad_Id"),
    ]:
        refused = await wire.call("GET", path)
        assert (403, text) == (refused.status, refused.body)
    async with wire.http.get(f"/id/{org.org_id}/{org.integration_user}") as answer:
        assert (403, "Missing_OAuth_Token") == (answer.status, await answer.text())
