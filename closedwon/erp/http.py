"""One HTTP call to an ERP, and the meaning of its failures; shared by all adapters that use HTTP.

What a status means is in one table (`closedwon.erp.statuses`), what a broken connection means is in
`closedwon.network.failures`: the request may have been sent, or was not. The client returns what only the
adapter can interpret: `Meaning.ACCEPTED`, `REFUSED` and `NOT_OFFERED`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from pydantic import SecretStr

from closedwon.erp.errors import (
    BusyError,
    ErpAuthFailedError,
    RejectedError,
    TooLargeForErpError,
    UnknownError,
    UnreachableError,
    UnusableAnswerError,
)
from closedwon.erp.statuses import MAY_HAVE_HAPPENED, Meaning, row_of
from closedwon.errors import AttentionReason
from closedwon.network.failures import NetworkError
from closedwon.network.http import Http, Reply
from closedwon.network.trust import ClientCertificate
from closedwon.settings.values import current_value

KEYS_PER_CALL: Final = 50
"""Values in one look-up at most, so that it is a bounded amount of work for the ERP."""
_LONGEST_LIST: Final = 3000
"""Characters of the values in one look-up, as they are encoded. With the address and the other parameters they stay
below the 4 kB that gunicorn accepts for a request's first line; nginx and most others accept 8 kB."""
ORDERS_PER_PAGE: Final = 200
"""Orders in one page of a listing: a bounded amount of work for the ERP, and few calls."""
_LONGEST_QUOTE: Final = 300
"""Characters of the ERP's own message that an error may quote."""
_MAXIMUM_WAIT: Final = timedelta(days=1)
"""The maximum for `Retry-After`. A wait beyond the route's retry time would need attention at once."""


class ServerFaultError(UnknownError):
    """A 5xx other than 501 and 503: a fault of the server or, with some servers, of the request."""


class HttpReply(NamedTuple):
    """A status that the adapter interprets, and the parsed JSON body; None if there is none."""

    status: int
    body: Any

    @property
    def ok(self) -> bool:
        """Whether the status is a success."""
        return self.status < HTTPStatus.BAD_REQUEST

    @property
    def is_not_offered(self) -> bool:
        """Whether the server says that it has no such path, or not that method of it."""
        return row_of(self.status).meaning is Meaning.NOT_OFFERED

    @property
    def reason(self) -> str | None:
        """The member `reason` of the problem details; None if the body has none."""
        reason = self.body.get("reason") if isinstance(self.body, dict) else None
        return reason if isinstance(reason, str) else None


class HttpClient:
    """Calls below one base address with one bearer token."""

    def __init__(
        self,
        *,
        erp: str,
        url: str,
        token: SecretStr,
        setting: str,
        timeout: timedelta,
        certificate: ClientCertificate | None = None,
    ) -> None:
        """`setting` names the setting of the token, e.g. `erps[tryton].key`, for the hint of a 401."""
        self._erp = erp
        self._url = url
        self._token = token
        self._setting = setting
        self._http = Http(timeout=timeout, cookies=True, certificate=certificate)
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

        Raises `UnreachableError`, `UnknownError`, `BusyError`, `ErpAuthFailedError` and `UnusableAnswerError`, as
        `closedwon.erp.statuses` says.
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
        return HttpReply(reply.status, self._parse(reply.body, ok=reply.ok, is_look=method == "GET"))

    async def close(self) -> None:
        """Release connections; a later call opens new ones."""
        await self._http.close()

    def _refuse(self, response: Reply, what: str) -> None:
        """Raise what the status means, unless the adapter decides."""
        status = response.status
        match row_of(status).meaning:
            case Meaning.CREDENTIAL:
                hint = f"Check that {self._setting} holds a valid credential of this ERP, then send `retry`."
                raise ErpAuthFailedError(f"{what}: the ERP does not accept our credential", hint=hint)
            case Meaning.RIGHT:
                hint = f"Give the ERP user behind {self._setting} the right to read and create orders, then `retry`."
                raise ErpAuthFailedError(f"{what}: the ERP user lacks a right", hint=hint)
            case Meaning.WAIT:
                after = _retry_after(response.headers.get("Retry-After"))
                raise BusyError(what, retry_after=after, may_have_happened=status in MAY_HAVE_HAPPENED)
            case Meaning.UNKNOWN:
                raise (ServerFaultError if status >= HTTPStatus.INTERNAL_SERVER_ERROR else UnknownError)(what)
            case Meaning.TOO_LARGE:
                raise TooLargeForErpError(self._erp, f"{what}: {row_of(status).why}")
            case Meaning.MISFIT:
                raise self._misfit(status, what)

    def _misfit(self, status: int, what: str) -> RejectedError:
        if status < HTTPStatus.BAD_REQUEST:
            return UnusableAnswerError(
                f"{what}: the ERP redirects to another address",
                reason=AttentionReason.CONFIGURATION,
                hint=f"Set the url of ERP {self._erp} to the ERP's own address, then send `retry`.",
            )
        return RejectedError(
            f"{what}: {row_of(status).why}",
            reason=AttentionReason.CONFIGURATION,
            hint=f"Check the url of erps[{self._erp}], and what the proxies before the ERP refuse; then send `retry`.",
        )

    def _parse(self, content: bytes, *, ok: bool, is_look: bool) -> Any:
        if not content:
            return None
        try:
            return json.loads(content)
        except ValueError as error:
            if not ok:
                return None  # an error page; the status is enough
            text = f"{self._erp}: an answer is not valid JSON"
            if is_look:  # nothing may have happened: a login page or a proxy's, at a wrong address perhaps
                hint = f"Set the url of ERP {self._erp} to the address of its API, not of a page; then send `retry`."
                raise UnusableAnswerError(text, reason=AttentionReason.CONFIGURATION, hint=hint) from error
            raise UnknownError(text) from error


def value_batches(values: Iterable[str], size: Callable[[str], int]) -> Iterator[list[str]]:
    """Split the distinct values into batches that fit into one look-up each; `size` is that of an encoded value."""
    batch: list[str] = []
    total = 0
    for value in sorted(set(values)):
        more = size(value)
        if batch and (total + more > _LONGEST_LIST or len(batch) == KEYS_PER_CALL):
            yield batch
            batch, total = [], 0
        batch.append(value)
        total += more
    if batch:
        yield batch


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
