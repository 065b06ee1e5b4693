"""Tokens: how they are issued, how long they are valid, and the exact errors."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest

from closedwon.emulators.salesforce.api.oauth import JWT_BEARER, OAuthError, bearer
from closedwon.emulators.salesforce.config import OrgConfig
from closedwon.emulators.salesforce.org import EmulatedOrg
from closedwon.emulators.salesforce.server import SalesforceEmulator, new_private_key

ORIGIN = "http://localhost:8080"


def by_secret(org: EmulatedOrg, secret: str | None = None) -> dict[str, Any]:
    """Log in with client credentials in the body."""
    form = {
        "grant_type": "client_credentials",
        "client_id": org.credentials.client_id,
        "client_secret": secret or org.credentials.client_secret,
    }
    return org.oauth.grant(form, authorization=None, origin=ORIGIN)


def test_client_credentials(org: EmulatedOrg) -> None:
    """The right secret gives a token in Salesforce's form for the integration's user, without expires_in."""
    body = by_secret(org)
    assert body["access_token"].startswith(f"{org.org_id.short}!")
    assert (ORIGIN, "Bearer", "opaque") == (body["instance_url"], body["token_type"], body["token_format"])
    assert body["id"].endswith(f"/id/{org.org_id}/{org.integration_user}")
    assert "expires_in" not in body
    assert org.integration_user == org.oauth.user_of(body["access_token"])


def test_client_credentials_by_http_basic(org: EmulatedOrg) -> None:
    """Id and secret may come as HTTP Basic."""
    pair = f"{org.credentials.client_id}:{org.credentials.client_secret}".encode()
    header = "Basic " + base64.b64encode(pair).decode()
    body = org.oauth.grant({"grant_type": "client_credentials"}, authorization=header, origin=ORIGIN)
    assert body["access_token"]
    for nonsense in ("Basic ???", "Basic é", "Basic /w=="):
        with pytest.raises(OAuthError, match="invalid_client: invalid client credentials"):
            org.oauth.grant({"grant_type": "client_credentials"}, authorization=nonsense, origin=ORIGIN)


def test_refusals_of_the_token_endpoint(org: EmulatedOrg) -> None:
    """Wrong secret, unknown app and unknown grant have Salesforce's error texts."""
    with pytest.raises(OAuthError) as caught:
        by_secret(org, "wrong")
    assert caught.value.body == {"error": "invalid_client", "error_description": "invalid client credentials"}
    form = {"grant_type": "client_credentials", "client_id": "3MVG9unknown", "client_secret": "x"}
    with pytest.raises(OAuthError, match="invalid_client_id: client identifier invalid"):
        org.oauth.grant(form, authorization=None, origin=ORIGIN)
    with pytest.raises(OAuthError, match="unsupported_grant_type: grant type not supported"):
        org.oauth.grant({"grant_type": "device"}, authorization=None, origin=ORIGIN)


def test_a_refresh_token_gives_access_until_it_is_revoked(org: EmulatedOrg) -> None:
    """A refresh token gives new access tokens, also without the app's secret; a revoked or wrong one is refused."""
    form = {
        "grant_type": "refresh_token",
        "client_id": org.credentials.client_id,
        "refresh_token": org.credentials.refresh_token,
    }
    for given in (form, {**form, "client_secret": org.credentials.client_secret}):
        body = org.oauth.grant(given, authorization=None, origin=ORIGIN)
        assert org.integration_user == org.oauth.user_of(body["access_token"])
        assert "refresh_token" not in body
    with pytest.raises(OAuthError, match="invalid_client: "):
        org.oauth.grant({**form, "client_secret": "wrong"}, authorization=None, origin=ORIGIN)
    with pytest.raises(OAuthError, match="invalid_grant: expired access/refresh token"):
        org.oauth.grant({**form, "refresh_token": "wrong"}, authorization=None, origin=ORIGIN)
    assert org.oauth.revoke(org.credentials.refresh_token)
    with pytest.raises(OAuthError, match="invalid_grant: expired access/refresh token"):
        org.oauth.grant(form, authorization=None, origin=ORIGIN)


@pytest.mark.parametrize("allowed", [True, False])
def test_the_flow_with_a_password_is_off_unless_it_is_allowed(allowed: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    """The right password gives a token only if the org allows the flow; every refusal has the same text."""
    org = EmulatedOrg(config=OrgConfig(password_flow=allowed))
    form = {
        "grant_type": "password",
        "client_id": org.credentials.client_id,
        "client_secret": org.credentials.client_secret,
        "username": org.username,
        "password": org.credentials.password,
    }
    if allowed:
        body = org.oauth.grant(form, authorization=None, origin=ORIGIN)
        assert org.integration_user == org.oauth.user_of(body["access_token"])
    for given in ({**form, "password": "wrong"}, {**form, "username": "x@example.com"}, *([] if allowed else [form])):
        with pytest.raises(OAuthError, match="invalid_grant: authentication failure"):
            org.oauth.grant(given, authorization=None, origin=ORIGIN)
    org.store.close()


def test_tokens_expire_after_two_idle_hours(org: EmulatedOrg) -> None:
    """Use extends a token; two hours without use end it permanently."""
    token = by_secret(org)["access_token"]
    for _ in range(3):
        org.clock.advance(timedelta(hours=1, minutes=55))
        assert org.oauth.user_of(token)
    org.clock.advance(timedelta(hours=2, minutes=1))
    assert org.oauth.user_of(token) is None
    org.clock.advance(timedelta(hours=-2))
    assert org.oauth.user_of(token) is None


def test_expiry_and_revocation(org: EmulatedOrg) -> None:
    """Expired and revoked tokens are rejected; a new login works at once."""
    first, second, third = (by_secret(org)["access_token"] for _ in range(3))
    assert org.oauth.revoke(first)
    assert not org.oauth.revoke(first)
    assert (None, True) == (org.oauth.user_of(first), bool(org.oauth.user_of(second)))
    org.oauth.expire_all()
    assert (None, 0) == (org.oauth.user_of(second), org.oauth.valid_tokens)
    org.revoke_tokens()
    assert org.oauth.user_of(third) is None
    assert org.oauth.user_of(by_secret(org)["access_token"])


def test_tokens_survive_a_restart(tmp_path: Path) -> None:
    """A restarted org still knows its tokens."""
    first = EmulatedOrg(path=tmp_path / "org.sqlite3")
    token = by_secret(first)["access_token"]
    first.store.close()
    again = EmulatedOrg(path=tmp_path / "org.sqlite3")
    assert again.oauth.user_of(token) == first.integration_user
    again.store.close()


@pytest.fixture(scope="module")
def signing() -> Iterator[SalesforceEmulator]:
    """An org whose integration signs assertions (never served here)."""
    org = SalesforceEmulator()
    assert org.private_key
    yield org
    org.store.close()


def assertion(org: SalesforceEmulator, *, key: str | None = None, algorithm: str = "RS256", **changes: Any) -> str:
    """A JWT as a client would sign it, with some claims changed."""
    claims = {
        "iss": org.client_id,
        "sub": org.username,
        "aud": "https://login.salesforce.com",
        "exp": int(time.time()) + 180,
    }
    return jwt.encode(claims | changes, key or org.private_key, algorithm=algorithm)


def by_assertion(org: SalesforceEmulator, text: str) -> dict[str, Any]:
    """Log in with an assertion."""
    return org.oauth.grant({"grant_type": JWT_BEARER, "assertion": text}, authorization=None, origin=ORIGIN)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"aud": "https://test.salesforce.com"},
        {"aud": ORIGIN},
        {"aud": ORIGIN + "/"},
    ],
)
def test_good_assertions(signing: SalesforceEmulator, changes: dict[str, Any]) -> None:
    """A rightly signed assertion for a known audience gives a token, also with `exp` as a text."""
    body = by_assertion(signing, assertion(signing, **changes))
    assert signing.integration_user == signing.oauth.user_of(body["access_token"])
    assert {"access_token", "scope", "instance_url", "id", "token_type"} == set(body)


def test_an_expiry_may_be_a_text(signing: SalesforceEmulator) -> None:
    """simple-salesforce sends it so."""
    assert by_assertion(signing, assertion(signing, exp=str(int(time.time()) + 100)))["access_token"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"aud": "https://evil.example.com"}, "Audience validation failed"),
        ({"aud": None}, "Audience validation failed"),
        ({"exp": int(time.time()) - 60}, "expired authorization code"),
        ({"exp": int(time.time()) + 3600}, "expired authorization code"),
        ({"exp": "soon"}, "invalid assertion"),
        ({"sub": "somebody@example.com"}, "user hasn't approved this consumer"),
        ({"iss": "3MVG9unknown"}, "client identifier invalid"),
        ({"key": new_private_key()}, "invalid assertion"),
        ({"key": "s" * 64, "algorithm": "HS256"}, "invalid assertion"),
    ],
)
def test_bad_assertions(signing: SalesforceEmulator, changes: dict[str, Any], text: str) -> None:
    """A wrong audience, time, user, app, key or algorithm is rejected with Salesforce's text."""
    with pytest.raises(OAuthError, match=text):
        by_assertion(signing, assertion(signing, **changes))


@pytest.mark.parametrize("text", ["", "abc", "a.b.c"])
def test_an_invalid_assertion_is_refused(signing: SalesforceEmulator, text: str) -> None:
    """A text that is not a JWT is an invalid assertion."""
    with pytest.raises(OAuthError, match="invalid_grant: invalid assertion"):
        by_assertion(signing, text)


def test_unsigned_assertions_are_refused(signing: SalesforceEmulator) -> None:
    """The algorithm `none` is not accepted."""
    head, body, _ = assertion(signing).split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    assert head != none
    with pytest.raises(OAuthError, match="invalid assertion"):
        by_assertion(signing, f"{none}.{body}.")


@pytest.mark.parametrize(
    ("header", "raw", "expected"),
    [
        ("Bearer T", False, "T"),
        ("bearer T", False, "T"),
        ("OAuth T", False, "T"),
        ("T", True, "T"),
        ("T", False, None),
        ("Basic T", True, None),
        ("", True, None),
        (None, True, None),
    ],
)
def test_authorization_headers(header: str | None, expected: str | None, *, raw: bool) -> None:
    """Bearer and OAuth everywhere, the raw token only where it is allowed."""
    assert expected == bearer(header, raw_allowed=raw)
