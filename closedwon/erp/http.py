"""One HTTP call to an ERP, and the meaning of its failures; shared by all adapters that use HTTP.

The status alone decides what may be retried, because the body of an error is often a proxy's HTML. The client returns
501 and client errors other than 401, 403, 408 and 429, because only the adapter knows what they mean.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from pydantic import SecretStr

from closedwon.erp.errors import BusyError, ErpAuthFailedError, UnknownError, UnreachableError, UnusableAnswerError
from closedwon.errors import AttentionReason
from closedwon.network.failures import NetworkError
from closedwon.network.http import Http, Reply
from closedwon.settings.values import current_value

KEYS_PER_CALL: Final = 50
"""Idempotency keys in one look-up: percent-encoded or in base64 they stay below the 4 kB that gunicorn accepts."""
ORDERS_PER_PAGE: Final = 200
"""Orders in one page of a listing: a bounded amount of work for the ERP, and few calls."""
_LONGEST_QUOTE: Final = 300
"""Characters of the ERP's own message that an error may quote."""
_MAXIMUM_WAIT: Final = timedelta(days=1)
"""The maximum for `Retry-After`. A wait beyond the route's retry time would need attention at once."""


class ServerFaultError(UnknownError):
    """A 5xx other than 501 and 503: a fault of the server or, with some servers, of the request."""


class HttpReply(NamedTuple):
    """A status below 500, or 501, and the parsed JSON body; None if there is none."""

    status: int
    body: Any

    @property
    def ok(self) -> bool:
        """Whether the status is a success."""
        return self.status < HTTPStatus.BAD_REQUEST

    @property
    def reason(self) -> str | None:
        """The member `reason` of the problem details; None if the body has none."""
        reason = self.body.get("reason") if isinstance(self.body, dict) else None
        return reason if isinstance(reason, str) else None


class HttpClient:
    """Calls below one base address with one bearer token."""

    def __init__(self, *, erp: str, url: str, token: SecretStr, setting: str, timeout: timedelta) -> None:
        """`setting` names the setting of the token, e.g. `erps[tryton].key`, for the hint of a 401."""
        self._erp = erp
        self._url = url
        self._token = token
        self._setting = setting
        self._http = Http(timeout=timeout, cookies=True)
        self.calls = 0
        """Requests sent so far."""

    async def call(
        self,
        method: str,
        path: str,
        *,
        params: list[tuple[str, str]] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> HttpReply:
        """Send one request, never twice, and return the answer.

        Raises `UnreachableError` if no request was sent, `UnknownError` if the outcome of the request is unknown (no
        answer, an unparseable one, 408, 5xx), `BusyError` on 429 and 503, and `ErpAuthFailedError` on 401 and 403.
        """
        self.calls += 1
        sent = {"Authorization": f"Bearer {current_value(self._token)}", **(headers or {})}
        try:
            # No redirects: a client that follows one would turn the POST into a GET.
            reply = await self._http.call(method, self._url + path, params=params, json=body, headers=sent)
        except NetworkError as error:
            if error.was_sent:
                raise UnknownError(f"{self._erp}: {method} {path} got no answer: {error}") from error
            raise UnreachableError(f"{self._erp}: no connection to the ERP: {error}") from error
        self._refuse(reply, f"{self._erp}: {method} {path} answered {reply.status}")
        return HttpReply(reply.status, self._parse(reply.body, ok=reply.ok))

    async def close(self) -> None:
        """Release connections; a later call opens new ones."""
        await self._http.close()

    def _refuse(self, response: Reply, what: str) -> None:
        match response.status:
            case HTTPStatus.UNAUTHORIZED:
                hint = f"Check that {self._setting} holds a valid credential of this ERP, then send `retry`."
                raise ErpAuthFailedError(f"{what}: the ERP does not accept our credential", hint=hint)
            case HTTPStatus.FORBIDDEN:
                hint = f"Give the ERP user behind {self._setting} the right to read and create orders, then `retry`."
                raise ErpAuthFailedError(f"{what}: the ERP user lacks a right", hint=hint)
            case HTTPStatus.TOO_MANY_REQUESTS | HTTPStatus.SERVICE_UNAVAILABLE:
                raise BusyError(
                    what,
                    retry_after=_retry_after(response.headers.get("Retry-After")),
                    may_have_happened=response.status == HTTPStatus.SERVICE_UNAVAILABLE,
                )
            case HTTPStatus.REQUEST_TIMEOUT:
                raise UnknownError(what)
            case HTTPStatus.NOT_IMPLEMENTED:
                return  # the ERP did nothing; the adapter decides
            case status if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise ServerFaultError(what)
            case status if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
                raise UnusableAnswerError(
                    f"{what}: the ERP redirects to another address",
                    reason=AttentionReason.CONFIGURATION,
                    hint=f"Set the url of ERP {self._erp} to the ERP's own address, then send `retry`.",
                )

    def _parse(self, content: bytes, *, ok: bool) -> Any:
        if not content:
            return None
        try:
            return json.loads(content)
        except ValueError as error:
            if not ok:
                return None  # an error page; the status is enough
            raise UnknownError(f"{self._erp}: an answer is not valid JSON") from error


def key_batches(keys: Sequence[str]) -> Iterator[list[str]]:
    """Split the distinct keys into batches for one call each."""
    wanted = sorted(set(keys))
    for start in range(0, len(wanted), KEYS_PER_CALL):
        yield wanted[start : start + KEYS_PER_CALL]


def quote(text: object) -> str:
    """Return a message of the ERP as one short line."""
    line = " ".join(str(text or "").split())
    return line if len(line) <= _LONGEST_QUOTE else line[:_LONGEST_QUOTE] + "…"


def _retry_after(value: str | None) -> timedelta | None:
    """Parse seconds or an HTTP date (RFC 9110, 10.2.3), at most a day; None for anything else."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return timedelta(seconds=min(float(value), _MAXIMUM_WAIT.total_seconds()))  # `int` refuses very long texts
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(max(at - datetime.now(UTC), timedelta(0)), _MAXIMUM_WAIT)
