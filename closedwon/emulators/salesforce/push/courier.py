"""Delivers what waits in the outbox to its endpoints, over HTTP, with the faults of the network.

Each definition has a task of its own, so that a slow endpoint does not delay the others. A message's payload is read
when the message is written, not when it was queued. Nothing is stored here: an interrupted delivery is still in the
outbox.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, NamedTuple

import aiohttp

from closedwon.emulators.salesforce.config import CalloutDefinition, Definition, OrgConfig
from closedwon.emulators.salesforce.faults import Fault, OrgFaults
from closedwon.emulators.salesforce.push.callouts import PERMANENT_FAILURES, callout
from closedwon.emulators.salesforce.push.messages import Push, Sender, soap_message
from closedwon.emulators.salesforce.push.outbound import Outbox, Queued
from closedwon.ids import OrgId

_log = logging.getLogger(__name__)

_MOST: Final = 100
"""Notifications per outbound message."""
_POLL_INTERVAL: Final = 0.1
"""Seconds of real time between checks of the org's clock while something waits."""
_OVERTAKEN_AFTER: Final = 5.0
"""Seconds of real time that a message waits for the next one."""


class PushResponse(NamedTuple):
    """The response of an endpoint. `status` is 0 without a response; `problem` is empty for a success."""

    status: int
    body: str
    problem: str


class _Written(NamedTuple):
    definition: Definition
    notifications: Sequence[Queued]
    push: Push
    written_at: float
    """By `time.monotonic`."""


class Courier:
    """Delivers for one org. `session` returns a session id of the user who sends the messages."""

    def __init__(
        self, outbox: Outbox, faults: OrgFaults, config: OrgConfig, org_id: OrgId, session: Callable[[], str]
    ) -> None:
        """Raises `ValueError` if a certificate file cannot be used."""
        self._outbox = outbox
        self._faults = faults
        self._config = config
        self._org_id = org_id
        self._session_id = session
        self._tls = _tls(config)
        self._url = ""
        self._http: aiohttp.ClientSession | None = None
        self._busy: set[str] = set()
        self._overtaken: dict[str, _Written] = {}

    async def run(self, url: str) -> None:
        """Deliver what is due, until cancelled. `url` is the org's own."""
        self._url = url
        connector = aiohttp.TCPConnector(ssl=self._tls)
        async with aiohttp.ClientSession(connector=connector) as self._http, asyncio.TaskGroup() as group:
            while True:
                self._outbox.changed.clear()
                if not self._faults.is_down:
                    for name in self._outbox.due_names() - self._busy:
                        self._busy.add(name)
                        group.create_task(self._serve(name))
                try:
                    await asyncio.wait_for(
                        self._outbox.changed.wait(), _POLL_INTERVAL if self._outbox.waits() else None
                    )
                except TimeoutError:
                    continue

    async def call(self, name: str, record: str) -> PushResponse:
        """Make one callout while the user waits, like the controller of a page: no queue, no retry.

        Raises `ValueError` if there is no such callout, or the org is not served.
        """
        definition = self._outbox.callout(name)
        queued = Queued(self._outbox.new_notification(), name, record, 0, 0, 0, 0, "")
        return await self._post(definition, self._write(definition, [queued]))

    async def _serve(self, name: str) -> None:
        """Send all due messages of one definition, one after the other."""
        try:
            while batch := self._next_batch(name):
                await self._deliver(name, batch)
            held = self._overtaken.get(name)
            if held is not None and time.monotonic() > held.written_at + _OVERTAKEN_AFTER:
                await self._send(self._overtaken.pop(name))
        finally:
            self._busy.discard(name)

    def _next_batch(self, name: str) -> list[Queued]:
        if self._faults.is_down:
            return []
        definition = self._outbox.definition(name)
        most = definition.scope if isinstance(definition, CalloutDefinition) else _MOST
        if self._faults.is_splitting:
            most = 1
        held = self._overtaken.get(name)
        held_ids = {one.id for one in held.notifications} if held else set()
        due = self._outbox.due(name, most + len(held_ids), latest_first=self._faults.is_splitting)
        return [one for one in due if one.id not in held_ids][:most]

    async def _deliver(self, name: str, batch: Sequence[Queued]) -> None:
        definition = self._outbox.definition(name)
        if definition is None:
            self._outbox.record_result(batch, "its definition was removed")
            return
        written = _Written(definition, batch, self._write(definition, batch), time.monotonic())
        if name not in self._overtaken and self._faults.strikes(Fault.OVERTAKEN_MESSAGE):
            self._overtaken[name] = written
            return
        await self._send(written)
        if name in self._overtaken:
            await self._send(self._overtaken.pop(name))

    def _write(self, definition: Definition, batch: Sequence[Queued]) -> Push:
        notifications = [self._outbox.load(definition.on, one) for one in batch]
        fields = self._outbox.fields(definition)
        if isinstance(definition, CalloutDefinition):
            return callout(definition, self._org_id, notifications, fields)
        session = self._session_id() if definition.include_session_id else None
        sender = Sender(self._org_id, self._outbox.action(definition), self._url, session)
        return soap_message(sender, definition.on, notifications, fields)

    async def _send(self, written: _Written) -> None:
        status, _, problem = await self._post(written.definition, written.push)
        if not problem and self._faults.strikes(Fault.DUPLICATE_MESSAGE):
            await self._post(written.definition, written.push)  # the result does not matter: it was acknowledged
        if not problem and self._faults.strikes(Fault.LOST_ACK):
            problem = "the acknowledgement was lost"
        is_permanent = isinstance(written.definition, CalloutDefinition) and status in PERMANENT_FAILURES
        self._outbox.record_result(written.notifications, problem, is_permanent=is_permanent)
        if problem:
            _log.warning("push %s, %s notifications: %s", written.definition.name, len(written.notifications), problem)

    async def _post(self, definition: Definition, push: Push) -> PushResponse:
        """Send once. Redirects are not followed; a bad certificate is a failure like any other."""
        if self._http is None:
            raise ValueError("the org is not served")
        is_callout = isinstance(definition, CalloutDefinition)
        timeout = self._config.callout_timeout if is_callout else self._config.outbound_timeout
        body: bytes | AsyncIterator[bytes] = push.body
        if self._faults.strikes(Fault.STALLED_MESSAGE):
            body = _half(push.body)
        self._outbox.sent += 1
        try:
            async with self._http.post(
                definition.endpoint,
                data=body,
                headers={**push.headers, "Content-Length": str(len(push.body))},
                timeout=aiohttp.ClientTimeout(timeout.total_seconds()),
                allow_redirects=False,
            ) as response:
                answer = await response.read()
                return PushResponse(
                    response.status, answer.decode(errors="replace"), push.problem(response.status, answer)
                )
        except TimeoutError:
            return PushResponse(0, "", "no response in time")
        except (aiohttp.ClientError, OSError, ValueError) as error:  # ValueError: an invalid URL
            return PushResponse(0, "", type(error).__name__)


async def _half(body: bytes) -> AsyncIterator[bytes]:
    yield body[: len(body) // 2]
    await asyncio.Event().wait()


def _tls(config: OrgConfig) -> ssl.SSLContext | bool:
    if config.trusted_certificates is None and config.client_certificate is None:
        return True
    try:
        context = ssl.create_default_context(cafile=config.trusted_certificates)
        if config.client_certificate is not None:
            context.load_cert_chain(config.client_certificate)
    except OSError as error:  # including ssl.SSLError
        raise ValueError(f"client_certificate or trusted_certificates: {error}") from error
    return context
