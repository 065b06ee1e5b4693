"""Login: one access token per org and process, fetched once for all callers that wait for it.

Two OAuth flows run without a person, and both are supported: client credentials and JWT bearer. Salesforce does not
state a lifetime, so a token is used until Salesforce rejects it (`invalidate`). After a refused or failed login,
callers get the same failure at once, without a new request, for a pause that doubles. So the login is not overloaded.

A login is *refused* only by an error of OAuth: a JSON object with `error`, and a status below 500. Then a person must
correct something, or is doing it now, so the pause doubles from ten seconds to five minutes. Any other answer is
trouble of a server, perhaps of a proxy in between, and the pause doubles from one second to one minute. A success ends
both. A login that has worked in this process is tried for a minute before a person is asked: too many logins in an hour
are refused by the same error as a wrong secret, and only the text differs.

Secrets and tokens are sent to the configured My Domain host only.

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
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

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
_IN_TROUBLE: Final = (1.0, 60.0)
_REFUSED: Final = (10.0, 300.0)
"""Seconds between logins after failures: the first pause, from which it doubles, and the longest."""
_TRIED_AGAIN: Final = 60.0
"""Seconds for which the refusal of a login that has worked in this process counts as trouble."""
_YOUNG: Final = 5.0
"""Seconds. From the second time on, a token rejected at this age counts as a failed login: maybe all are rejected."""
_NOT_THE_LOGINS_FAULT: Final = frozenset(
    {"server_error", "temporarily_unavailable", "unknown_error", "slow_down", "rate_limit_exceeded"}
)
"""Values of `error` that are about the server (RFC 6749 and 8628; Salesforce Help, "OAuth 2.0 Error Codes")."""


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
        self._has_worked = False
        self._refused_since: float | None = None
        self._failures = 0
        self._failure: _LoginFailedError | None = None
        self._not_before = 0.0
        self._ahead = 0.0
        """Seconds by which this machine's clock was ahead of Salesforce's at the last login."""
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
            is_same = self._failure is not None and self._failure.refused is failure.refused
            self._failures = self._failures + 1 if is_same else 1
            if failure.refused and self._refused_since is None:
                self._refused_since = self._clock()
            self._remember(failure, failures=self._failures)
            raise self._error(failure) from failure.__cause__
        self._failures = 0
        self._failure = self._refused_since = None
        self._has_worked = True
        return token

    def _remember(self, failure: _LoginFailedError, *, failures: int) -> None:
        first, longest = _REFUSED if failure.refused else _IN_TROUBLE
        pause = min(first * 2.0 ** min(failures - 1, 10), longest)
        self._failure = failure
        self._not_before = self._clock() + pause * random.uniform(1.0, 1.25)  # noqa: S311 - no secret

    def _error(self, failure: _LoginFailedError) -> ClosedwonError:
        pause = max(self._not_before - self._clock(), 0.0)
        if failure.found is not None:
            later = timedelta(seconds=pause)
            return WrongOrgError(
                self._org.name, self._org.url, found=failure.found, wanted=self._org.id, retry_after=later
            )
        since = self._refused_since
        if not failure.refused or (self._has_worked and since is not None and self._clock() - since < _TRIED_AGAIN):
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
                self._note_clock(reply)
                body = _json(reply)
                token = _read_token(reply.status, body)
                self._check_org(_org_in(body) or await self._org_of(http, token))
                return token
        except NetworkError as error:
            raise _LoginFailedError(f"Salesforce's login is unreachable: {error}", refused=False) from error

    def _note_clock(self, reply: Reply) -> None:
        """Count the lifetime of the next JWT from Salesforce's time: a clock that is minutes off would refuse it."""
        with suppress(KeyError, ValueError):
            self._ahead = time.time() - parsedate_to_datetime(reply.headers["Date"]).timestamp()

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
            "exp": int(time.time() - self._ahead) + _JWT_LIFETIME,
        }
        try:
            key = _signing_key(current_value(auth.private_key))
        except ValueError as error:
            text = f"`auth.private_key` of org {self._org.name!r} {error}"
            raise _LoginFailedError(text, refused=True) from None
        assertion = jwt.encode(claims, key, algorithm="RS256")
        return {}, {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}


def _signing_key(text: str) -> RSAPrivateKey:
    r"""Read a private key. Raises `ValueError`, whose text says what it is instead, and never contains it.

    Variables of CI systems often have the two characters `\n` for each line end; those are line ends, too.
    """
    pem = text.replace("\\r", "").replace("\\n", "\n").strip()
    label = re.match(r"-----BEGIN ([A-Z0-9 ]+)-----", pem)
    if label is not None and not label[1].endswith("PRIVATE KEY"):
        raise ValueError(f"is a {label[1].lower()}, not the private key that belongs to it")
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except TypeError:
        raise ValueError("is encrypted with a passphrase; remove the passphrase (`openssl pkey`)") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("is not an RSA key in PEM format") from None
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("is not an RSA key: Salesforce accepts RS256 only")  # noqa: TRY004 - the value is wrong
    return key


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
    error = answer.get("error")
    code = error if isinstance(error, str) and error else ""
    text = str(answer.get("error_description") or "")
    is_redirect = HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST
    refused = is_redirect or (
        bool(code)
        and HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
        and status not in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS, NO_ROUTING)
        and code not in _NOT_THE_LOGINS_FAULT
    )
    reason = f": {shortened(text)}" if text else ""
    raise _LoginFailedError(f"Salesforce's login responds with {code or f'HTTP {status}'}{reason}", refused=refused)
