"""Login to Salesforce."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from closedwon.errors import RetryError
from closedwon.salesforce.api.auth import AccessToken, TokenSource
from closedwon.salesforce.errors import SalesforceAuthFailedError, UnavailableError, WrongOrgError
from tests.support.salesforce import ORG_ID, Logins, org_at, serving, with_jwt

REFUSED = (400, {"error": "invalid_client", "error_description": "invalid client credentials"})


class Clock:
    """Seconds that a test advances."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_a_hundred_callers_share_one_login() -> None:
    """However many callers need a token at the same moment, Salesforce sees one login."""
    logins = Logins()
    async with serving(logins.handlers) as url:
        source = TokenSource(org_at(url))
        tokens = await asyncio.gather(*(source.token() for _ in range(100)))

    assert 1 == len(logins.requests) == source.logins
    assert {"00D!token-1"} == {token.access_token for token in tokens}


async def test_client_credentials_are_sent_in_the_header() -> None:
    """The client credentials flow sends HTTP Basic and the grant type."""
    logins = Logins()
    async with serving(logins.handlers) as url:
        await TokenSource(org_at(url, client_id="id", secret="geheim")).token()

    headers, form = logins.requests[0]
    assert "Basic aWQ6Z2VoZWlt" == headers["Authorization"]
    assert {"grant_type": "client_credentials"} == form


async def test_the_jwt_bearer_flow_signs_our_identity() -> None:
    """The assertion is signed with our key and names consumer key, user, audience and an expiry within minutes."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    logins = Logins()
    async with serving(logins.handlers) as url:
        await TokenSource(with_jwt(org_at(url), pem)).token()

    _, form = logins.requests[0]
    claims = jwt.decode(
        form["assertion"], key.public_key(), algorithms=["RS256"], audience="https://login.salesforce.com"
    )
    assert "urn:ietf:params:oauth:grant-type:jwt-bearer" == form["grant_type"]
    assert ("the-client", "integration@example.com") == (claims["iss"], claims["sub"])
    assert time.time() < claims["exp"] < time.time() + 300


async def test_r6_a_jwt_counts_from_salesforces_time_where_ours_is_wrong() -> None:
    """The first login of a machine whose clock is an hour off is refused; the next one is not, without a person."""
    behind = timedelta(hours=1)
    expiries: list[datetime] = []
    fresh = {"access_token": "00D!token", "id": f"https://login.salesforce.com/id/{ORG_ID}/005000000000001AAA"}

    async def answer(request: web.Request) -> web.Response:
        theirs = datetime.now(UTC) - behind
        claims = jwt.decode(str((await request.post())["assertion"]), options={"verify_signature": False})
        expiries.append(datetime.fromtimestamp(claims["exp"], UTC))
        is_valid = theirs < expiries[-1] < theirs + timedelta(minutes=5)
        body = fresh if is_valid else {"error": "invalid_grant", "error_description": "invalid assertion"}
        headers = {"Date": format_datetime(theirs, usegmt=True)}
        return web.json_response(body, status=200 if is_valid else 400, headers=headers)

    clock = Clock()
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    async with serving({"POST /services/oauth2/token": answer}) as url:
        source = TokenSource(with_jwt(org_at(url), key.private_bytes(*form).decode()), clock=clock)
        with pytest.raises(SalesforceAuthFailedError):
            await source.token()
        clock.now += 60
        assert "00D!token" == (await source.token()).access_token
    assert behind - timedelta(minutes=1) < expiries[0] - expiries[1] < behind + timedelta(minutes=1)


async def test_an_invalid_private_key_names_its_setting() -> None:
    """The error names the setting and does not show the key."""
    source = TokenSource(with_jwt(org_at("http://localhost:1"), "no key at all"))

    with pytest.raises(SalesforceAuthFailedError, match=r"auth\.private_key") as raised:
        await source.token()
    assert "no key at all" not in str(raised.value)


def pem_of(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, *, passphrase: bytes = b"") -> str:
    """A private key in PEM format."""
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption).decode()


def public_pem_of(key: rsa.RSAPrivateKey) -> str:
    """The public key that belongs to a key, in PEM format."""
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, spki).decode()


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (public_pem_of, "is a public key, not the private key that belongs to it"),
        (lambda _: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----", "is a certificate, not the private"),
        (lambda key: pem_of(key, passphrase=b"geheim"), "is encrypted with a passphrase"),
        (lambda _: pem_of(ec.generate_private_key(ec.SECP256R1())), "is not an RSA key"),
        (lambda key: pem_of(key)[:300], "is not an RSA key in PEM format"),
        (lambda _: "", "is not an RSA key in PEM format"),
    ],
)
async def test_p10_a_key_that_cannot_sign_is_named(make: Callable[[rsa.RSAPrivateKey], str], expected: str) -> None:
    """The error says what the setting holds instead of the private key."""
    source = TokenSource(with_jwt(org_at("http://localhost:1"), make(rsa.generate_private_key(65537, 2048))))

    with pytest.raises(SalesforceAuthFailedError, match=expected) as raised:
        await source.token()
    assert str(raised.value).startswith("`auth.private_key` of org 'test' ")


@pytest.mark.parametrize("line_end", ["\\n", "\\r\\n", "\r\n"])
async def test_p10_a_key_with_other_line_ends_is_taken(line_end: str) -> None:
    """Variables of CI systems write them as the characters backslash and n."""
    pem = pem_of(rsa.generate_private_key(65537, 2048)).replace("\n", line_end)
    logins = Logins()
    async with serving(logins.handlers) as url:
        assert "00D!token-1" == (await TokenSource(with_jwt(org_at(url), pem)).token()).access_token


async def test_rejected_credentials_are_not_sent_again_at_once() -> None:
    """After a rejected login, many callers get the same error, and Salesforce gets one request."""
    logins = Logins(*[REFUSED] * 10)
    async with serving(logins.handlers) as url:
        source = TokenSource(org_at(url), clock=Clock())
        for _ in range(50):
            with pytest.raises(SalesforceAuthFailedError, match="invalid_client: invalid client credentials"):
                await source.token()

    assert 1 == len(logins.requests)


async def moments_of_logins(logins: Logins, *, seconds: int) -> list[int]:
    """The seconds at which a source logs in that is asked for a token each second."""
    clock, moments = Clock(), []
    async with serving(logins.handlers) as url:
        source = TokenSource(org_at(url), clock=clock)
        for second in range(seconds):
            clock.now = 1000.0 + second
            before = len(logins.requests)
            with pytest.raises((SalesforceAuthFailedError, UnavailableError)):
                await source.token()
            if len(logins.requests) > before:
                moments.append(second)
    return moments


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(REFUSED, [10, 20, 40, 80, 160, 300, 300]), ((401, None), [1, 2, 4, 8, 16, 32, 60, 60])],
)
async def test_p4_pauses_between_logins_grow(answer: tuple[int, object], expected: list[int]) -> None:
    """From ten seconds to five minutes after a refusal, from one second to one minute after trouble."""
    moments = await moments_of_logins(Logins(*[answer] * 40), seconds=int(1.25 * sum(expected)) + len(expected))
    pauses = [later - earlier for earlier, later in itertools.pairwise(moments)]

    assert len(pauses) >= len(expected)
    assert all(least <= pause <= 1.25 * least + 1 for least, pause in zip(expected, pauses, strict=False))


async def test_p4_a_login_that_has_worked_is_tried_for_a_minute() -> None:
    """Then a person is asked: a limit on logins is refused as a wrong secret is."""
    clock = Clock()
    logins = Logins((200, {"access_token": "t", "id": f"https://x/id/{ORG_ID}/005"}), *[REFUSED] * 5)
    async with serving(logins.handlers) as url:
        source = TokenSource(org_at(url), clock=clock)
        clock.now += 9.0
        source.invalidate(await source.token())
        for _ in range(3):
            with pytest.raises(UnavailableError, match="invalid_client"):
                await source.token()
            clock.now += 20.0
        with pytest.raises(SalesforceAuthFailedError):
            await source.token()


async def test_a_successful_login_ends_the_pauses() -> None:
    """After the pause, a login is sent again; its success clears the stored failure."""
    clock = Clock()
    logins = Logins(REFUSED)
    async with serving(logins.handlers) as url:
        source = TokenSource(org_at(url), clock=clock)
        with pytest.raises(SalesforceAuthFailedError):
            await source.token()
        clock.now += 12.6
        assert "00D!token-2" == (await source.token()).access_token


@pytest.mark.parametrize(
    "answer",
    [
        (503, {}),
        (429, {}),
        (420, None),  # Salesforce's edge has no routing to the instance, for example while an org is moved
        (200, {"no": "token"}),
        (400, {"error": "server_error"}),
        (400, None),
        (401, None),
        (403, {"no": "error"}),
        (400, {"error": {"not": "OAuth"}}),
        (503, {"error": "invalid_grant"}),
    ],
)
async def test_a_failing_login_server_is_retried_later(answer: tuple[int, object]) -> None:
    """A busy or failing login server needs no person; the error states when to retry."""
    logins = Logins(answer)
    async with serving(logins.handlers) as url:
        with pytest.raises(UnavailableError) as raised:
            await TokenSource(org_at(url), clock=Clock()).token()

    assert raised.value.retry_after is not None
    assert timedelta(0) < raised.value.retry_after <= timedelta(seconds=2)


async def test_an_unreachable_login_is_retried_later() -> None:
    """A refused connection is a temporary failure."""
    async with serving({}) as url:
        pass
    with pytest.raises(UnavailableError, match="is unreachable"):
        await TokenSource(org_at(url)).token()


async def test_a_silent_login_server_times_out() -> None:
    """A login without a response ends after the org's time-out."""

    async def silent(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with serving({"POST /services/oauth2/token": silent}) as url:
        with pytest.raises(UnavailableError, match=r"no whole answer within 0.2 s"):
            await TokenSource(org_at(url, timeout=0.2)).token()


async def test_a_secret_does_not_follow_a_redirect() -> None:
    """A login that redirects gets no second request: the secret stays with the configured host."""
    logins = Logins()

    async with serving(logins.handlers) as elsewhere:

        async def redirect(_: web.Request) -> web.Response:
            raise web.HTTPTemporaryRedirect(f"{elsewhere}/services/oauth2/token")

        async with serving({"POST /services/oauth2/token": redirect}) as url:
            with pytest.raises(SalesforceAuthFailedError, match="HTTP 307"):
                await TokenSource(org_at(url)).token()

    assert [] == logins.requests


async def test_a_rejected_token_is_replaced_once() -> None:
    """Many callers report the same rejected token: one new login."""
    logins = Logins()
    async with serving(logins.handlers) as url:
        source = TokenSource(org_at(url))
        old = await source.token()
        for _ in range(20):
            source.invalidate(old)
            assert "00D!token-2" == (await source.token()).access_token

    assert 2 == len(logins.requests)


async def test_tokens_that_are_rejected_soon_delay_the_next_login() -> None:
    """When every fresh token is rejected, the second login already waits, so there is not one login per call."""
    clock = Clock()
    logins = Logins()
    async with serving(logins.handlers) as url:
        source = TokenSource(org_at(url), clock=clock)
        for _ in range(2):
            source.invalidate(await source.token())
        with pytest.raises(UnavailableError, match="rejects the token soon"):
            await source.token()
        clock.now += 2.0
        await source.token()

    assert 3 == len(logins.requests)


async def test_an_expired_token_is_replaced_at_once() -> None:
    """Repeated expiry after hours is normal and delays no login."""
    clock = Clock()
    async with serving(Logins().handlers) as url:
        source = TokenSource(org_at(url), clock=clock)
        for _ in range(5):
            token = await source.token()
            clock.now += 7200.0
            source.invalidate(token)

        assert "00D!token-6" == (await source.token()).access_token


def test_no_secret_is_shown() -> None:
    """Neither the `repr` of a token nor that of a source contains a secret."""
    assert "geheim" not in repr(AccessToken("geheim"))
    assert "geheim" not in repr(TokenSource(org_at("https://acme.my.salesforce.com", secret="geheim")))


async def test_a_login_for_another_org_gives_no_token() -> None:
    """The error names both ids and the setting, and callers can wait for corrected settings."""
    logins = Logins(org="00D000000000002EAA")
    async with serving(logins.handlers) as url:
        source = TokenSource(org_at(url), clock=Clock())
        with pytest.raises(WrongOrgError) as raised:
            await source.token()
        with pytest.raises(WrongOrgError):
            await source.token()

    assert f"{url} is org 00D000000000002EAA, but `orgs.id` of 'test' says {ORG_ID}" == str(raised.value)
    assert "orgs.id" in raised.value.hint
    assert isinstance(raised.value, RetryError)
    assert 1 == len(logins.requests)


@pytest.mark.parametrize("userinfo", ["00D000000000002EAA", None, "not an id"])
async def test_userinfo_decides_if_the_login_names_no_org(userinfo: str | None) -> None:
    """Without `id` in the response, userinfo decides; if it names no org either, there is no token."""
    asked: list[str] = []

    async def whose(request: web.Request) -> web.Response:
        asked.append(request.headers["Authorization"])
        return web.json_response({"organization_id": userinfo})

    logins = Logins((200, {"access_token": "t-1"}), (200, {"access_token": "t-2", "id": "https://x/id/none"}))
    async with serving({**logins.handlers, "GET /services/oauth2/userinfo": whose}) as url:
        for _ in range(2):
            with pytest.raises((WrongOrgError, UnavailableError)) as raised:
                await TokenSource(org_at(url)).token()
            assert isinstance(raised.value, WrongOrgError) is (userinfo == "00D000000000002EAA")

    assert ["Bearer t-1", "Bearer t-2"] == asked


@pytest.mark.parametrize("identity", [str(ORG_ID), ORG_ID.short])
async def test_a_login_for_the_right_org_costs_one_call(identity: str) -> None:
    """An id of 15 or 18 characters in `id` needs no call of userinfo."""
    logins = Logins(org=identity)
    async with serving(logins.handlers) as url:
        assert "00D!token-1" == (await TokenSource(org_at(url)).token()).access_token


async def test_userinfo_with_the_right_org_gives_a_token() -> None:
    """A response without `id` still gives a token."""

    async def whose(_request: web.Request) -> web.Response:
        return web.json_response({"organization_id": ORG_ID})

    logins = Logins((200, {"access_token": "t-1"}))
    async with serving({**logins.handlers, "GET /services/oauth2/userinfo": whose}) as url:
        assert "t-1" == (await TokenSource(org_at(url)).token()).access_token
