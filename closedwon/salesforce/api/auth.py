"""Login: one access token per org and process, fetched once for all callers that wait for it.

Two OAuth flows run without a person, and both are supported: client credentials and JWT bearer. Salesforce does not
state a lifetime, so a token is used until Salesforce rejects it (`invalidate`). After a rejected or failed login,
callers get the same failure at once, without a new request, for a pause that doubles from one second to one minute. So
the login is not overloaded, and a corrected configuration takes effect within about a minute. Secrets and tokens are
sent to the configured My Domain host only.

A login counts only if it is for the org of `orgs.id`. With settings for another org (a file copied from production to a
sandbox, a refreshed sandbox), every record would be ordered a second time under another key. The response names the org
in `id`, a URL that ends with `/id/<org id>/<user id>` (Salesforce Help, "Identity URLs"). Where `id` is missing,
userinfo is requested, the only call that such a token is used for.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final

import jwt

from closedwon.errors import ClosedwonError
from closedwon.ids import InvalidIdError, OrgId
from closedwon.network.failures import NetworkError
from closedwon.network.http import Http, Reply
from closedwon.salesforce.errors import (
    NO_ROUTING,
    SalesforceAuthFailedError,
    UnavailableError,
    WrongOrgError,
    shortened,
)
from closedwon.settings import ClientCredentials, Org
from closedwon.settings.values import current_value

_JWT_LIFETIME: Final = 180
"""Seconds. Salesforce accepts at most about five minutes; three allow for clocks that differ."""
_FIRST_PAUSE: Final = 1.0
_MAXIMUM_PAUSE: Final = 60.0
"""Seconds between logins after failures, doubling from the first pause to the maximum."""
_YOUNG: Final = 5.0
"""Seconds. From the second time on, a token rejected at this age counts as a failed login: maybe all are rejected."""
_NOT_THE_LOGINS_FAULT: Final = frozenset({"server_error", "temporarily_unavailable", "unknown_error"})


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token. The `instance_url` that comes with one is not kept: tokens are never sent there."""

    access_token: str = field(repr=False)


def is_local(org: Org) -> bool:
    """Whether the org is a Salesforce emulator: settings allow http for loopback addresses only."""
    return org.url.startswith("http://")


class _LoginFailedError(Exception):
    """`refused`: a person must correct something. Otherwise the failure is temporary."""

    def __init__(self, message: str, *, refused: bool, found: OrgId | None = None) -> None:
        """`found`: the org that accepted the login, if the settings name another one."""
        super().__init__(message)
        self.message = message
        self.refused = refused
        self.found = found


class TokenSource:
    """The login of one org. Any number of tasks of one event loop share it. It logs in on the first `token()`."""

    def __init__(self, org: Org, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds that only increase."""
        self._org = org
        self._clock = clock
        self._lock = asyncio.Lock()
        self._token: AccessToken | None = None
        self._born = 0.0
        self._young_deaths = 0
        self._failures = 0
        self._failure: _LoginFailedError | None = None
        self._not_before = 0.0
        self.logins = 0
        """Login attempts so far."""

    def __repr__(self) -> str:
        """Show no secret."""
        return f"TokenSource({self._org.name!r})"

    async def token(self) -> AccessToken:
        """Return the current token, or log in.

        Raises `SalesforceAuthFailedError` when Salesforce rejects the login, `WrongOrgError` when the login is for
        another org than `orgs.id`, and `UnavailableError` when Salesforce is unreachable. During the pause after a
        failure, raises the same error at once, without a request.
        """
        if self._token is not None:
            return self._token
        async with self._lock:
            if self._token is None:
                if self._failure is not None and self._clock() < self._not_before:
                    raise self._error(self._failure) from self._failure.__cause__
                self._token = await self._log_in()
                self._born = self._clock()
            return self._token

    def invalidate(self, token: AccessToken) -> None:
        """Report that Salesforce rejected `token`. A second call with the same token has no effect."""
        if self._token is not token:
            return
        self._token = None
        if self._clock() - self._born > _YOUNG:
            self._young_deaths = 0
            return
        self._young_deaths += 1
        if self._young_deaths > 1:
            message = "Salesforce accepts the login but rejects the token soon after"
            self._remember(_LoginFailedError(message, refused=False), failures=self._young_deaths - 1)

    async def close(self) -> None:
        """Forget the token."""
        self._token = None

    async def _log_in(self) -> AccessToken:
        self.logins += 1
        try:
            token = await self._ask()
        except _LoginFailedError as failure:
            self._failures += 1
            self._remember(failure, failures=self._failures)
            raise self._error(failure) from failure.__cause__
        self._failures = 0
        self._failure = None
        return token

    def _remember(self, failure: _LoginFailedError, *, failures: int) -> None:
        pause = min(_FIRST_PAUSE * 2.0 ** (failures - 1), _MAXIMUM_PAUSE)
        self._failure = failure
        self._not_before = self._clock() + pause * random.uniform(1.0, 1.25)  # noqa: S311 - no secret

    def _error(self, failure: _LoginFailedError) -> ClosedwonError:
        pause = max(self._not_before - self._clock(), 0.0)
        if failure.found is not None:
            later = timedelta(seconds=pause)
            return WrongOrgError(
                self._org.name, self._org.url, found=failure.found, wanted=self._org.id, retry_after=later
            )
        if not failure.refused:
            return UnavailableError(failure.message, retry_after=timedelta(seconds=pause))
        return SalesforceAuthFailedError(
            f"{failure.message} (next attempt in {pause:.0f} s)",
            hint=f"Check `auth` and `url` of org {self._org.name!r} in closedwon.toml, the external client app and its "
            "user; then send `retry`.",
        )

    async def _ask(self) -> AccessToken:
        url = f"{self._org.url}/services/oauth2/token"
        headers, form = self._grant()
        try:
            async with Http(timeout=self._org.timeout) as http:
                # No redirect: it would carry the secret to another host.
                reply = await http.call("POST", url, data=form, headers=headers)
                body = _json(reply)
                token = _read_token(reply.status, body)
                self._check_org(_org_in(body) or await self._org_of(http, token))
                return token
        except NetworkError as error:
            raise _LoginFailedError(f"Salesforce's login is unreachable: {error}", refused=False) from error

    async def _org_of(self, http: Http, token: AccessToken) -> OrgId | None:
        """Request the org of a token from userinfo."""
        url, headers = f"{self._org.url}/services/oauth2/userinfo", {"Authorization": f"Bearer {token.access_token}"}
        body = _json(await http.call("GET", url, headers=headers))
        return _org_id(body.get("organization_id")) if isinstance(body, dict) else None

    def _check_org(self, found: OrgId | None) -> None:
        """Raise unless the token is for the org of the settings. A login that names no org may be for any org."""
        if found is None:
            raise _LoginFailedError("Salesforce's login does not name its org", refused=False)
        if found != self._org.id:
            raise _LoginFailedError("Salesforce's login is for another org", refused=True, found=found)

    def _grant(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return the headers and the form of the token request (OAuth 2.0; RFC 7523 for the JWT)."""
        auth = self._org.auth
        if isinstance(auth, ClientCredentials):
            pair = f"{auth.client_id}:{current_value(auth.client_secret)}"
            basic = b64encode(pair.encode()).decode()
            return {"Authorization": f"Basic {basic}"}, {"grant_type": "client_credentials"}
        claims = {
            "iss": auth.client_id,
            "sub": auth.username,
            "aud": auth.audience,
            "exp": int(time.time()) + _JWT_LIFETIME,
        }
        try:
            assertion = jwt.encode(claims, current_value(auth.private_key), algorithm="RS256")
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise _LoginFailedError(
                f"`auth.private_key` of org {self._org.name!r} is not an RSA key in PEM format", refused=True
            ) from error
        return {}, {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}


def _json(reply: Reply) -> Any:
    try:
        return reply.json()
    except ValueError:
        return None


def _org_in(body: Any) -> OrgId | None:
    """Read the org from the token endpoint's response: `"id": "https://…/id/<org id>/<user id>"`."""
    identity = body.get("id") if isinstance(body, dict) else None
    found = re.search(r"/id/(\w+)/\w+/?$", identity) if isinstance(identity, str) else None
    return _org_id(found[1]) if found else None


def _org_id(text: object) -> OrgId | None:
    try:
        return OrgId(text)
    except InvalidIdError:
        return None


def _read_token(status: int, body: Any) -> AccessToken:
    """Read the token endpoint's response: an object with `access_token`, or with `error` and `error_description`."""
    answer = body if isinstance(body, dict) else {}
    if status == HTTPStatus.OK and isinstance(answer.get("access_token"), str):
        return AccessToken(answer["access_token"])
    code = str(answer.get("error") or f"HTTP {status}")
    text = str(answer.get("error_description") or "")
    in_trouble = (
        status < HTTPStatus.MULTIPLE_CHOICES
        or status >= HTTPStatus.INTERNAL_SERVER_ERROR
        or status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS, NO_ROUTING)
        or code in _NOT_THE_LOGINS_FAULT
        or "rate exceeded" in text
    )
    reason = f": {shortened(text)}" if text else ""
    raise _LoginFailedError(f"Salesforce's login responds with {code}{reason}", refused=not in_trouble)
