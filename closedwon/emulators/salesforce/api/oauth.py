"""OAuth of the Salesforce emulator: tokens by four flows, their expiry and revocation.

The flows are client credentials, JWT bearer, refresh token, and user name with password if the org allows it.
Source: Salesforce Help, "OAuth Authorization Flows", and the error texts in `HELP-OAUTHERR`. A token expires after two
idle hours of the org's clock; every use extends it. Assertions contain real times, so their `exp` is checked against
the wall clock.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hmac import compare_digest
from typing import Any

import jwt

from closedwon.emulators.salesforce.clock import Clock
from closedwon.emulators.salesforce.data.store import Store
from closedwon.ids import OrgId

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LOGIN_HOSTS = ("https://login.salesforce.com", "https://test.salesforce.com")
_MAX_LIFETIME_S, _SKEW_S = 300, 10
_TOUCH_EVERY_MS = 60_000
_SCOPE = "api"


class OAuthError(Exception):
    """A refusal of the token endpoint: HTTP 400 with `error` and `error_description`."""

    def __init__(self, error: str, description: str) -> None:
        """`error` and `description` are the values in the response."""
        super().__init__(f"{error}: {description}")
        self.body = {"error": error, "error_description": description}


@dataclass(frozen=True)
class App:
    """A connected app with the user it runs as. `public_key` (PEM) verifies its assertions.

    `password` is the user's. `refresh_token` is as if the user had approved the app in the browser.
    """

    client_id: str
    client_secret: str
    user_id: str
    username: str
    public_key: str | None = None
    password: str = ""
    refresh_token: str = ""


@dataclass
class Session:
    """A valid token's user and times (milliseconds of the org's clock)."""

    user_id: str
    used_ms: int
    saved_ms: int


class OAuth:
    """Issues and checks tokens. They are stored as rows, so that they survive a restart."""

    def __init__(
        self, store: Store, clock: Clock, org_id: OrgId, *, idle_s: float, allows_passwords: bool = False
    ) -> None:
        """A token expires after `idle_s` seconds without use. New orgs do not allow the flow with passwords."""
        self._allows_passwords = allows_passwords
        self._store = store
        self._clock = clock
        self._org_id = org_id
        self._idle_ms = round(idle_s * 1000)
        self.apps: dict[str, App] = {}
        rows = store.select("SELECT token, user_id, used_ms FROM token")
        self._sessions = {row["token"]: Session(row["user_id"], row["used_ms"], row["used_ms"]) for row in rows}

    def grant(self, form: Mapping[str, str], *, authorization: str | None, origin: str) -> dict[str, Any]:
        """Return the body of the token endpoint. `origin` is the org's own URL. Raises `OAuthError`."""
        grant_type = form.get("grant_type", "")
        if grant_type == "client_credentials":
            app = self._app_by_secret(*_client(form, authorization))
            return {**self._token_body(app, origin), **self._signed(), "token_format": "opaque"}
        if grant_type == JWT_BEARER:
            return self._token_body(self._app_by_assertion(form.get("assertion", ""), origin), origin)
        if grant_type == "refresh_token":
            return {**self._token_body(self._refreshed(form, authorization), origin), **self._signed()}
        if grant_type == "password":
            user = self._user_by_password(form, authorization)
            body = self._token_body(user, origin)
            del body["scope"]
            return {**body, **self._signed()}
        raise OAuthError("unsupported_grant_type", "grant type not supported")

    def app_by_password(self, username: str, password: str) -> App | None:
        """The app whose user has this name and password; None for a wrong pair."""
        for app in self.apps.values():
            if app.password and app.username == username and compare_digest(app.password.encode(), password.encode()):
                return app
        return None

    def issue(self, user_id: str) -> str:
        """A new token: the org id in its 15 characters, `!`, and an opaque rest."""
        token = f"{self._org_id.short}!AQ{secrets.token_urlsafe(60).replace('-', '_')}"
        now = self._clock.now_ms()
        self._sessions[token] = Session(user_id, now, now)
        self._store.db.execute("INSERT INTO token VALUES (?, ?, ?, ?)", (token, user_id, now, now))
        return token

    def user_of(self, token: str | None) -> str | None:
        """The user of a valid token, which this use extends; None for any other token."""
        session = self._sessions.get(token or "")
        if token is None or session is None:
            return None
        now = self._clock.now_ms()
        if now - session.used_ms > self._idle_ms:
            self.revoke(token)
            return None
        self._touch(token, session, now)
        return session.user_id

    def extend(self, token: str) -> None:
        """Extend a token even if it has expired: the session of a connected CometD client does not expire."""
        if (session := self._sessions.get(token)) is not None:
            self._touch(token, session, self._clock.now_ms())

    def expire_all(self) -> None:
        """Expire every token. Unlike a revocation, this does not end held polls."""
        self._store.db.execute("DELETE FROM token")
        self._sessions.clear()

    def revoke(self, token: str) -> bool:
        """Revoke an access or a refresh token. Return whether it was valid."""
        for app in self.apps.values():
            if token and token == app.refresh_token and self._store.meta(_revoked(app)) is None:
                self._store.set_meta(_revoked(app), "1")
                return True
        self._store.db.execute("DELETE FROM token WHERE token = ?", (token,))
        return self._sessions.pop(token, None) is not None

    @property
    def valid_tokens(self) -> int:
        """The number of valid tokens."""
        oldest = self._clock.now_ms() - self._idle_ms
        return sum(session.used_ms >= oldest for session in self._sessions.values())

    def _touch(self, token: str, session: Session, now: int) -> None:
        session.used_ms = now
        if abs(now - session.saved_ms) > _TOUCH_EVERY_MS:  # not a write for every request
            session.saved_ms = now
            self._store.db.execute("UPDATE token SET used_ms = ? WHERE token = ?", (now, token))

    def _token_body(self, app: App, origin: str) -> dict[str, Any]:
        return {
            "access_token": self.issue(app.user_id),
            "scope": _SCOPE,
            "instance_url": origin,
            "id": f"{origin}/id/{self._org_id}/{app.user_id}",
            "token_type": "Bearer",
        }

    def _signed(self) -> dict[str, str]:
        return {"signature": secrets.token_urlsafe(32), "issued_at": str(self._clock.now_ms())}

    def _refreshed(self, form: Mapping[str, str], authorization: str | None) -> App:
        """The app of a refresh token. Its secret may be left out, as with apps that do not require it."""
        client_id, secret = _client(form, authorization)
        app = self._app_by_secret(client_id, secret) if secret else self.apps.get(client_id)
        if app is None:
            raise OAuthError("invalid_client_id", "client identifier invalid")
        given = form.get("refresh_token", "")
        is_known = bool(app.refresh_token) and compare_digest(app.refresh_token.encode(), given.encode())
        if not is_known or self._store.meta(_revoked(app)) is not None:
            raise OAuthError("invalid_grant", "expired access/refresh token")
        return app

    def _user_by_password(self, form: Mapping[str, str], authorization: str | None) -> App:
        """The app that runs as the named user. Every refusal is the same, so that it names no user."""
        self._app_by_secret(*_client(form, authorization))
        found = self.app_by_password(form.get("username", ""), form.get("password", ""))
        if found is None or not self._allows_passwords:
            raise OAuthError("invalid_grant", "authentication failure")
        return found

    def _app_by_secret(self, client_id: str, client_secret: str) -> App:
        app = self.apps.get(client_id)
        if app is None:
            raise OAuthError("invalid_client_id", "client identifier invalid")
        if not compare_digest(app.client_secret.encode(), client_secret.encode()):
            raise OAuthError("invalid_client", "invalid client credentials")
        return app

    def _app_by_assertion(self, assertion: str, origin: str) -> App:
        try:
            claims = jwt.decode(assertion, options={"verify_signature": False})
        except jwt.InvalidTokenError:
            raise OAuthError("invalid_grant", "invalid assertion") from None
        app = self.apps.get(str(claims.get("iss")))
        if app is None:
            raise OAuthError("invalid_client_id", "client identifier invalid")
        if app.public_key is None:
            raise OAuthError("invalid_grant", "invalid assertion")
        try:
            jwt.decode(
                assertion,
                app.public_key,
                algorithms=["RS256"],
                options={"verify_exp": False, "verify_aud": False, "verify_nbf": False, "verify_iat": False},
            )
        except jwt.InvalidTokenError:
            raise OAuthError("invalid_grant", "invalid assertion") from None
        _check_claims(claims, app, audiences={*_LOGIN_HOSTS, origin})
        return app


def _revoked(app: App) -> str:
    return f"refresh_token_revoked:{app.client_id}"


def bearer(authorization: str | None, *, raw_allowed: bool = False) -> str | None:
    """The token of an Authorization header: `Bearer T`, `OAuth T`, and with `raw_allowed` (CometD) the bare `T`."""
    if not authorization:
        return None
    scheme, _, token = authorization.partition(" ")
    if token and scheme.lower() in {"bearer", "oauth"}:
        return token.strip()
    return authorization.strip() if raw_allowed and not token else None


def _client(form: Mapping[str, str], authorization: str | None) -> tuple[str, str]:
    """Client id and secret from HTTP Basic or from the body."""
    if authorization and authorization.lower().startswith("basic "):
        try:
            client_id, _, secret = base64.b64decode(authorization[6:], validate=True).decode().partition(":")
        except ValueError:  # not base64, or not UTF-8
            raise OAuthError("invalid_client", "invalid client credentials") from None
        return client_id, secret
    return form.get("client_id", ""), form.get("client_secret", "")


def _check_claims(claims: Mapping[str, Any], app: App, *, audiences: set[str]) -> None:
    """Audience, expiry and user of a verified assertion. simple-salesforce sends `exp` as a text."""
    named = claims.get("aud")
    if not audiences.intersection(named if isinstance(named, list) else [str(named).rstrip("/")]):
        raise OAuthError("invalid_grant", "Audience validation failed")
    try:
        left = float(claims["exp"]) - time.time()
    except (KeyError, TypeError, ValueError):
        raise OAuthError("invalid_grant", "invalid assertion") from None
    if not -_SKEW_S < left < _MAX_LIFETIME_S + _SKEW_S:
        raise OAuthError("invalid_grant", "expired authorization code")
    if claims.get("sub") != app.username:
        raise OAuthError("invalid_grant", "user hasn't approved this consumer")
