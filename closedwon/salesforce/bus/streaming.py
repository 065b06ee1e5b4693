"""The event bus over CometD: `CometdStream`, an `EventStream` for one channel.

How a stream loses no event:

- The reader, not the stream, owns the position. It stores the position of a batch after everything in the batch is
  durable, and opens each new stream from that stored position.
- The stream delivers an unbroken part of the channel, in order, and then one error. It never continues after an error:
  it cannot know which events a failed poll has consumed.
- Polling continues while the reader is slow, because Salesforce drops a session that does not poll for 40 s. Events
  wait in memory meanwhile. If too many wait, the stream ends as after any other error: the reader gets the events that
  wait, then the error, and opens a new stream from its position.
- A connection without any response, not even an empty poll, for `silence` counts as dead.

The first error decides how the stream ends. `close` sets an error, too, so that no reader waits indefinitely.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from datetime import timedelta
from typing import Final

from aiocometd_noloop.constants import ConnectionType

from closedwon.errors import ClosedwonError
from closedwon.network.failures import FailureKind, NetworkError
from closedwon.network.http import Http
from closedwon.salesforce.api.auth import AccessToken, TokenSource
from closedwon.salesforce.bus.bayeux import Message
from closedwon.salesforce.bus.cometd import OneConnection
from closedwon.salesforce.bus.ending import ended_by
from closedwon.salesforce.bus.events import EventBatch, parse_event
from closedwon.salesforce.errors import (
    ReplayIdRejectedError,
    StreamInterruptedError,
)
from closedwon.settings import Org

_SILENCE: Final = timedelta(seconds=130)
"""Longer than Salesforce holds a poll: 110 s."""
_MOST_WAITING: Final = 10_000
"""Events, about 30 MB; more than the response to a poll usually holds."""
_DISCONNECT_TIMEOUT: Final = 5.0
"""Seconds."""


class CometdStream:
    """One connection to an org's Streaming API; see `closedwon.salesforce.bus.events.EventStream` for the contract."""

    def __init__(
        self, org: Org, tokens: TokenSource, *, silence: timedelta = _SILENCE, most_waiting: int = _MOST_WAITING
    ) -> None:
        """`silence`: the connection counts as dead after this time without a response, even an empty one.

        `most_waiting`: the stream ends when more than this number of events wait for the reader.
        """
        self._org = org
        self._tokens = tokens
        self._silence = silence.total_seconds()
        self._most_waiting = most_waiting
        self._token: AccessToken | None = None
        self._http: Http | None = None
        self._connection: OneConnection | None = None
        self._batches: deque[EventBatch] = deque()
        self._waiting = 0
        self._last_sign = 0.0
        self._changed = asyncio.Event()
        self._error: ClosedwonError | None = None
        self._silent = False
        self._disconnecting: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Log in where needed and connect."""
        if self._connection is not None:
            return
        url = f"{self._org.url}/cometd/{self._org.api_version}"
        self._token = await self._tokens.token()
        self._http = Http(timeout=timedelta(seconds=self._silence), cookies=True)
        connection = OneConnection(
            url, self._http, self._token.access_token, received=self._receive, ended=self._end_with
        )
        self._connection = connection
        await self._bounded(connection.handshake([ConnectionType.LONG_POLLING]))
        await self._bounded(connection.connect())

    async def subscribe(self, channel: str, position: str) -> None:
        """Subscribe `channel` after `position`; connects first where needed."""
        try:
            replay_from = int(position)
        except ValueError:
            raise ReplayIdRejectedError(channel, position, "it is not a position of the Streaming API") from None
        await self.open()
        assert self._connection is not None
        await self._bounded(self._connection.subscribe_from(channel, replay_from))

    def batches(self) -> AsyncIterator[EventBatch]:
        """Yield batches until an error ends the stream. Cancelling a wait for the next batch loses no event."""
        return self

    def __aiter__(self) -> AsyncIterator[EventBatch]:
        """The stream is its own iterator: a cancelled wait would finish a generator."""
        return self

    async def __anext__(self) -> EventBatch:
        """Return the batches that wait, then raise the error that ended the stream; without either, wait."""
        while not self._batches:
            if self._error is not None:
                raise self._error
            self._changed.clear()
            left = self._last_sign + self._silence - asyncio.get_running_loop().time()
            if left <= 0:
                self._silent = True
                self._end_with(StreamInterruptedError(f"No response from the event bus for {self._silence:.0f} s"))
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._changed.wait()
        batch = self._batches.popleft()
        self._waiting -= len(batch.events)
        return batch

    async def close(self) -> None:
        """End the connection, within seconds even without a response. May be called at any time, more than once."""
        self._end_with(StreamInterruptedError("The stream is closed"))
        assert self._disconnecting is not None
        await asyncio.shield(self._disconnecting)

    async def _bounded(self, call: Awaitable[object]) -> None:
        """Await a step of connecting. Any failure ends the stream and is raised as its error."""
        try:
            async with asyncio.timeout(self._org.timeout.total_seconds()):
                await call
        except asyncio.CancelledError:
            # Our own disconnect cancels the poll that `call` may wait for; that is not a cancellation of the caller.
            task = asyncio.current_task()
            if self._error is None or (task is not None and task.cancelling()):
                raise
        except TimeoutError:
            limit = self._org.timeout.total_seconds()
            self._end_with(NetworkError(FailureKind.NO_ANSWER, f"it gave no whole answer within {limit:g} s"))
        except Exception as error:  # noqa: BLE001 - aiocometd raises KeyError and others
            self._end_with(error)
        if self._error is not None:
            raise self._error
        self._last_sign = asyncio.get_running_loop().time()

    def _receive(self, messages: list[Message]) -> None:
        events = tuple(parse_event(message["channel"], message.get("data", message)) for message in messages)
        self._last_sign = asyncio.get_running_loop().time()
        self._batches.append(EventBatch(events=events))
        self._waiting += len(events)
        self._changed.set()
        if self._waiting > self._most_waiting:
            self._end_with(StreamInterruptedError(f"The reader is too slow: {self._waiting} events wait for it"))

    def _end_with(self, error: BaseException) -> None:
        """End the stream. The first error counts; later ones are ignored."""
        if self._error is None:
            self._silent = self._silent or isinstance(error, NetworkError)
            self._error = ended_by(error, self._tokens, self._token)
        if self._disconnecting is None:
            self._disconnecting = asyncio.create_task(self._disconnect())
        self._changed.set()

    async def _disconnect(self) -> None:
        try:
            if self._connection is not None:
                # The server may be dead, or report again that it does not know the session.
                with suppress(Exception):
                    async with asyncio.timeout(min(_DISCONNECT_TIMEOUT, self._org.timeout.total_seconds())):
                        await self._connection.leave(silently=self._silent)
        finally:
            if self._http is not None:
                await self._http.close()
