"""Reads records and writes back to them: one client per org and process.

Each caller handles one record. Calls are combined into one API call (a query over up to 100 ids, an sObject collection
of up to 200 updates), because API calls per day are an org's scarcest limit: a lone caller's call leaves at once, those
of a flow wait for each other (`window`), and longer when the org runs out of calls (`quota`). simple-salesforce sends
the requests from threads of this client; it never logs in by itself. Error responses become errors of
`closedwon.salesforce.errors` here. Nothing here retries, except for one repetition with a fresh token.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final, TypeVar, cast
from urllib.parse import quote_plus

import requests
from pydantic import SecretStr
from simple_salesforce.api import Salesforce
from simple_salesforce.exceptions import SalesforceError

from closedwon.errors import AttentionError, DoubtfulError
from closedwon.expressions import json_number
from closedwon.ids import RecordId
from closedwon.network.blocking import HttpAdapter
from closedwon.network.http import Http
from closedwon.salesforce.api.auth import AccessToken, TokenSource, is_local
from closedwon.salesforce.api.coalesce import Coalescer, InFlight, Keys
from closedwon.salesforce.api.describe import Description
from closedwon.salesforce.api.pages import query_all
from closedwon.salesforce.api.parents import Parents
from closedwon.salesforce.api.quota import ORDERS_WAIT_FROM, Usage, check_turn, pace, usage_in
from closedwon.salesforce.api.updates import Fields, Update, body_of, outcomes
from closedwon.salesforce.api.window import Window
from closedwon.salesforce.errors import (
    SPLITS,
    CallRefusedError,
    ConfigurationError,
    FaultError,
    RecordGoneError,
    Refusal,
    SalesforceAuthFailedError,
    SessionExpiredError,
    TooLargeError,
    UnavailableError,
    about_whole_call,
    classify,
)
from closedwon.settings import Org

NO_RECORD: Final = RecordId("000000000000000")
"""A well-formed id that no record has: a call for it shows whether the org takes such calls, and moves no data."""
_READS_PER_CALL: Final = 100
"""Ids in one query: some 2.7 kB of a URL that may have 16 kB, and few enough for child queries to fit a page."""
_LONGEST_QUERY: Final = 7000
"""Characters of a query in an address, as it is encoded: most proxies take 8 kB. One record is read in any case."""
_UPDATES_PER_CALL: Final = 200
"""The maximum of one sObject collection."""
_SEVERAL: Final = 2
"""Records of a query that names none: what is too large can be asked for in parts."""
_PARALLEL_READS: Final = 4
_PARALLEL_UPDATES: Final = 2
"""Of the same fields: a slow call does not hold the others, and few calls compete for locks that we do not know of."""
_THREADS: Final = 8

_Item = TypeVar("_Item")
_T = TypeVar("_T")


class SalesforceClient:
    """One org's records. All methods raise the errors of `closedwon.salesforce.errors`."""

    def __init__(self, org: Org, tokens: TokenSource) -> None:
        """Makes no connection."""
        self._org = org
        self._tokens = tokens
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"salesforce-{org.name}")
        self._lock = threading.Lock()
        self._http = Http(timeout=org.timeout)
        self._adapter = HttpAdapter(self._http, self._counted)
        self._session = self._new_session()
        self._reads: dict[tuple[str, str, bool], Coalescer[RecordId, dict[str, Any] | None]] = {}
        self._updates: dict[tuple[str, frozenset[str]], Coalescer[Update, None]] = {}
        self._in_flight = InFlight()
        self._parents = Parents()
        self.calls = 0
        """Requests sent to the org so far, for metrics."""
        self.usage: Usage | None = None
        """What the last response said about the org's API calls, for metrics."""
        self.key_prefixes: dict[str, str] = {}
        """The first characters of record ids, by object, for the objects described so far."""
        self.lengths: dict[str, dict[str, int]] = {}
        """The lengths of fields in characters, by object, for the objects described so far; fields without one lack."""
        self.refused_updates: set[str] = set()
        """The objects of which the org has refused the last call to update records as a whole."""
        self._clock: tuple[datetime, float] | None = None
        """The time of the last response by Salesforce's clock, and by our monotonic clock."""

    async def read(
        self,
        object_name: str,
        select: str,
        record_id: RecordId,
        *,
        session: SecretStr | None = None,
        deleted: bool = False,
    ) -> dict[str, Any] | None:
        """Read one record; None if it does not exist or the integration user may not see it.

        `deleted` finds records in the recycle bin, too (`queryAll`).

        `select` is a SOQL SELECT list and may contain child queries. Returns the record as Salesforce writes it, with
        all pages of child queries, numbers with a fraction as `Decimal` (`json_number`). Raises `ConfigurationError`
        for a list that the org does not understand. With `session`, that session id is tried first, in a call of its
        own; if it cannot read the record, the integration user reads it.
        """
        if session is not None and self._is_of_org(session):
            found = await _tried(self._read_batch(object_name, select, [record_id], session))
            if found not in ([], [None]):
                return cast("dict[str, Any]", found[0])
        group = (object_name, select, deleted)
        if group not in self._reads:
            self._reads[group] = Coalescer(
                lambda ids: self._read_batch(object_name, select, ids, deleted=deleted),
                limit=_READS_PER_CALL,
                parallel=_PARALLEL_READS,
                window=self._new_window(),
                splits=SPLITS,
                outages=(FaultError, DoubtfulError),
            )
        return await self._submit(self._reads[group], record_id)

    async def update(
        self, object_name: str, record_id: RecordId, fields: Fields, *, session: SecretStr | None = None
    ) -> None:
        """Set fields of one record; safe to repeat. Updates of one record are sent one after the other.

        A `session` id is tried first, as in `read`.
        """
        json.dumps(dict(fields))  # a value that is not JSON fails its own caller, not the whole batch
        if (
            session is not None
            and self._is_of_org(session)
            and await _tried(self._update_batch(object_name, [Update(record_id, fields)], session)) == [None]
        ):
            return
        # Records with other fields are sent separately: one unknown field makes Salesforce reject the whole collection.
        group = (object_name, frozenset(fields))
        if group not in self._updates:
            self._updates[group] = Coalescer(
                lambda updates: self._update_batch(object_name, updates),
                limit=_UPDATES_PER_CALL,
                parallel=_PARALLEL_UPDATES,
                window=self._new_window(),
                keys=lambda update: Keys(update.record_id, self._parents.of(object_name, update.record_id)),
                in_flight=self._in_flight,
                splits=SPLITS,
                outages=(FaultError, DoubtfulError),
            )
        await self._submit(self._updates[group], Update(record_id, fields))

    async def update_nothing(self, object_name: str) -> None:
        """Send an update of a record that does not exist: shows whether the org takes such calls. Changes nothing.

        Raises `CallRefusedError` if it refuses the call as a whole; the record's own refusal counts as a success.
        """
        await self._update_batch(object_name, [Update(NO_RECORD, {})])

    async def query(self, soql: str, *, deleted: bool = False) -> list[dict[str, Any]]:
        """Run a query and read all pages, also of child queries; `deleted` includes deleted records (`queryAll`).

        Raises `CallRefusedError` if the org refuses it for no reason that is the query's, `TooLargeError` as it is.
        """
        with about_whole_call(_SEVERAL):
            return await self.call(lambda salesforce: query_all(salesforce, soql, deleted=deleted))

    async def count(self, soql: str, *, deleted: bool = False) -> int:
        """Return the result of a `SELECT COUNT()` query."""
        with about_whole_call(_SEVERAL):
            answer = await self.call(lambda salesforce: salesforce.query(soql, include_deleted=deleted))
        return int(answer["totalSize"])

    async def look_at_usage(self) -> Usage | None:
        """Read how many API calls the org has used and may use, by a call that does nothing else."""
        await self.call(lambda salesforce: salesforce.restful(""))
        return self.usage

    async def log_in(self) -> None:
        """Log in unless there is a token; see `TokenSource.token` for the errors. Costs no API call."""
        await self._tokens.token()

    async def describe(self, object_name: str) -> Description:
        """Read the fields and relationships of an object, as the integration user sees them. One API call.

        Raises `ConfigurationError` if there is no such object, or the integration user may not see it.
        """
        try:
            body = await self.call(lambda salesforce: salesforce.restful(f"sobjects/{object_name}/describe"))
        except RecordGoneError:  # there is no such path
            raise ConfigurationError(
                f"org {self._org.name} has no object {object_name}, or the integration user may not see it",
                hint=f"Correct the name in closedwon.toml, or let the integration user read {object_name}.",
            ) from None
        try:
            described = Description.read(body or {})
        except (KeyError, TypeError, ValueError, AttributeError):
            raise UnavailableError(f"Salesforce described {object_name} without its fields") from None
        self.lengths[object_name] = {field.name: field.length for field in described.fields.values() if field.length}
        if described.key_prefix:
            self.key_prefixes[object_name] = described.key_prefix
        return described

    async def check(self) -> str:
        """Log in and describe the org in one line. Raises `WrongOrgError` if it is another org."""
        # First, because userinfo answers 403 where REST reports an expired token; this call also checks the version.
        try:
            await self.look_at_usage()
        except RecordGoneError:  # there is no such path
            raise ConfigurationError(
                f"{self._org.url} does not offer version {self._org.api_version} of its API",
                hint="Set `orgs.api_version` to a version that the org offers.",
            ) from None
        who = await self.call(lambda salesforce: salesforce.oauth2("userinfo")) or {}
        user = who.get("preferred_username") or who.get("user_id")
        left = f"{self.usage.max - self.usage.used} of {self.usage.max}" if self.usage else "an unknown number of"
        return f"org {self._org.id} at {self._org.url}, API {self._org.api_version}, user {user}, {left} API calls left"

    def now(self) -> datetime:
        """Return the time by Salesforce's clock, which stamps its records, with an error of at most one second.

        Before the first response, return this machine's time.
        """
        if self._clock is None:
            return datetime.now(UTC)
        then, counted = self._clock
        return then + timedelta(seconds=time.monotonic() - counted)

    async def ask_now(self) -> datetime:
        """As `now`, but make a call if no response has said the time yet. Raises as any call."""
        if self._clock is None:
            await self.look_at_usage()
        return self.now()

    async def close(self) -> None:
        """Cancel waiting callers and running calls, and release the connections."""
        await asyncio.gather(*(group.close() for group in self._reads.values()))
        await asyncio.gather(*(group.close() for group in self._updates.values()))
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._adapter.close()
        await self._http.close()

    def _new_window(self) -> Window:
        return Window(lambda: pace(self.usage))

    async def _submit(self, group: Coalescer[_Item, _T], item: _Item) -> _T:
        check_turn(self.usage, group.window.delay())
        return await group.submit(item)

    def _is_of_org(self, session: SecretStr) -> bool:
        """Whether a session id belongs to this org and may be sent to it: it begins with the id of its org, and `!`."""
        org, mark, _ = session.get_secret_value().partition("!")
        return not mark or org[:15] == self._org.id.short

    async def _read_batch(
        self,
        object_name: str,
        select: str,
        ids: Sequence[RecordId],
        session: SecretStr | None = None,
        *,
        deleted: bool = False,
    ) -> list[dict[str, Any] | Exception | None]:
        wanted = sorted(set(ids))
        soql = f"SELECT {with_fields(object_name, select, 'Id')} FROM {object_name} WHERE Id IN ({_quoted(wanted)})"  # noqa: S608 - names from our settings, checked ids
        if len(wanted) > 1 and len(quote_plus(soql)) > _LONGEST_QUERY:
            raise TooLargeError("The query is longer than servers and proxies accept")
        with about_whole_call(len(wanted)):
            records = await self.call(lambda salesforce: query_all(salesforce, soql, deleted=deleted), session)
        found = {RecordId(record["Id"]): record for record in records}
        for record_id, record in found.items():
            self._parents.note(record_id, record)
        return [found.get(record_id) for record_id in ids]

    async def _update_batch(
        self, object_name: str, updates: Sequence[Update], session: SecretStr | None = None
    ) -> list[Exception | None]:
        body = body_of(object_name, updates)
        try:
            with about_whole_call(len(updates)):
                results = await self.call(
                    lambda salesforce: salesforce.restful("composite/sobjects", method="PATCH", json=body), session
                )
        except CallRefusedError:
            if session is None:  # a message's own session may have fewer rights than our user
                self.refused_updates.add(object_name)
            raise
        self.refused_updates.discard(object_name)
        return outcomes(updates, results)

    async def call(self, work: Callable[[Salesforce], _T], session: SecretStr | None = None) -> _T:
        """Run `work` with simple-salesforce in a thread; run it again with a fresh token if the first one is rejected.

        With `session`, only that session id is tried.
        """
        if session is not None:
            return await self._in_thread(work, AccessToken(session.get_secret_value()))
        token = await self._tokens.token()
        try:
            return await self._in_thread(work, token)
        except SessionExpiredError:
            self._tokens.invalidate(token)
        token = await self._tokens.token()
        try:
            return await self._in_thread(work, token)
        except SessionExpiredError as error:
            self._tokens.invalidate(token)
            if not error.is_salesforces:
                raise UnavailableError(str(error)) from None
            raise SalesforceAuthFailedError(
                f"{error}, and so was a fresh token",
                hint=f"Let the user of `orgs.auth` of org {self._org.name!r} use the API; then send `retry`.",
            ) from None

    async def _in_thread(self, work: Callable[[Salesforce], _T], token: AccessToken) -> _T:
        self._adapter.loop = loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._run, work, token)

    def _run(self, work: Callable[[Salesforce], _T], token: AccessToken) -> _T:
        salesforce = Salesforce(
            session_id=token.access_token,
            instance_url=self._org.url,
            version=self._org.api_version,
            session=self._session,
            parse_float=json_number,
            object_pairs_hook=dict,
        )
        del salesforce.headers["X-PrettyPrint"]
        try:
            return work(salesforce)
        except SalesforceError as error:
            # The error's own text contains the whole remote body.
            refusal = Refusal.read(error.status, error.content)
            used_up = None if self.usage is None else self.usage.share > ORDERS_WAIT_FROM
            raise classify(refusal._replace(calls_are_used_up=used_up)) from None
        except requests.TooManyRedirects:
            raise ConfigurationError(
                f"{self._org.url} redirects to another address",
                hint="Set `orgs.url` to the org's present My Domain address.",
            ) from None
        except requests.ConnectionError as error:  # its text is the one of our own `NetworkError`
            raise UnavailableError(f"Salesforce gave no usable response: {error}") from error
        except (requests.RequestException, ValueError, KeyError) as error:
            raise UnavailableError(f"Salesforce gave no usable response: {type(error).__name__}") from error

    def _new_session(self) -> requests.Session:
        session = requests.Session()
        session.mount("https://", self._adapter)
        session.hooks["response"].append(self._note_headers)
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # no state shared between threads
        session.max_redirects = 0  # the token stays with the configured host
        session.auth = _as_it_is  # otherwise an entry in .netrc would replace our token
        session.trust_env = False  # `Http` knows the rules of the network
        return session

    def _counted(self, address: str) -> str:
        """Count a request. simple-salesforce knows https only, but an emulator on this machine speaks plain http."""
        with self._lock:
            self.calls += 1
        return address.replace("https://", "http://", 1) if is_local(self._org) else address

    def _note_headers(self, response: requests.Response, **_: Any) -> None:
        with suppress(KeyError, ValueError):
            self._clock = parsedate_to_datetime(response.headers["Date"]).astimezone(UTC), time.monotonic()
        self.usage = usage_in(response.headers.get("Sforce-Limit-Info", "")) or self.usage


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def with_fields(object_name: str, select: str, *fields: str) -> str:
    """Add fields to a SELECT list that lacks them; SOQL rejects a list that names a field twice."""
    top, nested = select, 1
    while nested:
        top, nested = re.subn(r"\([^()]*\)", "", top)
    names = {name.strip().lower().removeprefix(f"{object_name.lower()}.") for name in top.split(",")}
    return ", ".join([*(field for field in fields if field.lower() not in names), select])


def _quoted(ids: Sequence[RecordId]) -> str:
    return ", ".join(f"'{record_id}'" for record_id in ids)


async def _tried(batch: Awaitable[list[Any]]) -> list[Any]:
    """Return the results that a message's own session id obtains; [] if it has expired or lacks permission."""
    try:
        return await batch
    except (SessionExpiredError, AttentionError, DoubtfulError):
        return []
