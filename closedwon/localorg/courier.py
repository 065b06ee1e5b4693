"""Carries what waits in the outbox to its endpoints, over HTTP, with the faults of the way.

Each definition is served by itself, so that a slow endpoint delays nobody else's. The payload is read when a message is
written, not when it was queued. Nothing here is kept: what a kill interrupts is still in the outbox.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, NamedTuple

import aiohttp

from closedwon.ids import OrgId
from closedwon.localorg.callouts import HOPELESS, callout
from closedwon.localorg.config import CalloutDefinition, Definition, OrgConfig
from closedwon.localorg.faults import Fault, Faults
from closedwon.localorg.messages import Push, Sender, soap_message
from closedwon.localorg.outbound import Outbox, Queued

_log = logging.getLogger(__name__)

_MOST: Final = 100
"""Notifications in one outbound message."""
_LOOK_EVERY: Final = 0.1
"""Seconds of real time between looks at the org's clock while something waits."""
_OVERTAKEN_AFTER: Final = 5.0
"""Seconds of real time that a message waits to be overtaken."""


class Answer(NamedTuple):
    """What an endpoint said. `status` is 0 when nothing came; `problem` is empty when it is what was wanted."""

    status: int
    body: str
    problem: str


class _Written(NamedTuple):
    definition: Definition
    notifications: Sequence[Queued]
    push: Push
    written_at: float
    """Of `time.monotonic`."""


class Courier:
    """Delivers for one org. `session` gives a session id of the user that messages are sent as."""

    def __init__(
        self, outbox: Outbox, faults: Faults, config: OrgConfig, org_id: OrgId, session: Callable[[], str]
    ) -> None:
        """Carry for `outbox`. Raises `ValueError` when a certificate file cannot be used."""
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
        """Deliver what is due, for ever. `url` is the org's own."""
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
                    await asyncio.wait_for(self._outbox.changed.wait(), _LOOK_EVERY if self._outbox.waits() else None)
                except TimeoutError:
                    continue

    async def call(self, name: str, record: str) -> Answer:
        """Make one callout while the user waits, as a page's controller does: no queue, no retry.

        Raises `ValueError` when there is no such callout, or while the org is not served.
        """
        definition = self._outbox.callout(name)
        queued = Queued(self._outbox.new_notification(), name, record, 0, 0, 0, 0, "")
        return await self._post(definition, self._write(definition, [queued]))

    async def _serve(self, name: str) -> None:
        """Send what is due of one definition, message after message."""
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
            self._outbox.settle(batch, "its definition is gone")
            return
        written = _Written(definition, batch, self._write(definition, batch), time.monotonic())
        if name not in self._overtaken and self._faults.strikes(Fault.OVERTAKEN_MESSAGE):
            self._overtaken[name] = written
            return
        await self._send(written)
        if name in self._overtaken:
            await self._send(self._overtaken.pop(name))

    def _write(self, definition: Definition, batch: Sequence[Queued]) -> Push:
        told = [self._outbox.tell(definition.on, one) for one in batch]
        fields = self._outbox.fields(definition)
        if isinstance(definition, CalloutDefinition):
            return callout(definition, self._org_id, told, fields)
        session = self._session_id() if definition.include_session_id else None
        sender = Sender(self._org_id, self._outbox.action(definition), self._url, session)
        return soap_message(sender, definition.on, told, fields)

    async def _send(self, written: _Written) -> None:
        status, _, problem = await self._post(written.definition, written.push)
        if not problem and self._faults.strikes(Fault.DOUBLED_MESSAGE):
            await self._post(written.definition, written.push)  # whatever comes of it: it was acknowledged
        if not problem and self._faults.strikes(Fault.LOST_ACK):
            problem = "the acknowledgement was lost"
        hopeless = isinstance(written.definition, CalloutDefinition) and status in HOPELESS
        self._outbox.settle(written.notifications, problem, hopeless=hopeless)
        if problem:
            _log.warning("push %s, %s notifications: %s", written.definition.name, len(written.notifications), problem)

    async def _post(self, definition: Definition, push: Push) -> Answer:
        """Send once. Redirects are not followed; a bad certificate is a failure like any other."""
        if self._http is None:
            raise ValueError("the org is not served")
        is_callout = isinstance(definition, CalloutDefinition)
        seconds = self._config.callout_timeout_s if is_callout else self._config.outbound_timeout_s
        body: bytes | AsyncIterator[bytes] = push.body
        if self._faults.strikes(Fault.STALLED_MESSAGE):
            body = _half(push.body)
        self._outbox.sent += 1
        try:
            async with self._http.post(
                definition.endpoint,
                data=body,
                headers={**push.headers, "Content-Length": str(len(push.body))},
                timeout=aiohttp.ClientTimeout(seconds),
                allow_redirects=False,
            ) as response:
                answer = await response.read()
                return Answer(response.status, answer.decode(errors="replace"), push.problem(response.status, answer))
        except TimeoutError:
            return Answer(0, "", "no answer in time")
        except (aiohttp.ClientError, OSError, ValueError) as error:  # ValueError: no possible URL
            return Answer(0, "", type(error).__name__)


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
    except OSError as error:  # also of ssl
        raise ValueError(f"client_certificate or trusted_certificates: {error}") from error
    return context
