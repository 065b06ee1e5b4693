"""The event bus over CometD: `CometdStream`, an `EventStream` for one channel.

Polling goes on while the reader is slow (a session that does not poll for 40 s is forgotten by Salesforce), so what
comes waits here. When too much waits, the connection is ended as after any other trouble; the reader still gets what
waits, which is an unbroken stretch of the channel, then the error, and opens a new stream from its committed position.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from datetime import timedelta
from typing import Final

import aiohttp
from aiocometd_noloop.constants import ConnectionType

from closedwon.errors import ClosedwonError
from closedwon.salesforce.auth import Token, TokenSource, is_local
from closedwon.salesforce.bayeux import Message
from closedwon.salesforce.cometd import OneConnection
from closedwon.salesforce.errors import (
    ReplayIdRejectedError,
    SessionExpiredError,
    StreamInterruptedError,
    UnavailableError,
)
from closedwon.salesforce.events import EventBatch, parse_event
from closedwon.settings import Org

_SILENCE: Final = timedelta(seconds=130)
"""Salesforce holds a poll for 110 s."""
_MOST_WAITING: Final = 10_000
"""Events, some 30 MB; more than a poll's answer usually holds."""
_LONGEST_GOODBYE: Final = 5.0
"""Seconds."""


class CometdStream:
    """One connection to an org's Streaming API; see `closedwon.salesforce.events.EventStream` for the contract."""

    def __init__(
        self, org: Org, tokens: TokenSource, *, silence: timedelta = _SILENCE, most_waiting: int = _MOST_WAITING
    ) -> None:
        """Connect to nothing yet.

        `silence`: nothing from the bus for so long, not even an empty poll, means that the connection is dead.
        `most_waiting`: events that wait for the reader; with more the connection ends.
        """
        self._org = org
        self._tokens = tokens
        self._silence = silence.total_seconds()
        self._most_waiting = most_waiting
        self._token: Token | None = None
        self._http: aiohttp.ClientSession | None = None
        self._connection: OneConnection | None = None
        self._batches: deque[EventBatch] = deque()
        self._waiting = 0
        self._last_sign = 0.0
        self._news = asyncio.Event()
        self._error: ClosedwonError | None = None
        self._silent = False
        self._goodbye: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Log in where needed and connect."""
        if self._connection is not None:
            return
        url = f"{self._org.url}/cometd/{self._org.api_version}"
        self._token = await self._tokens.token()
        local = is_local(self._org)
        # unsafe: a session needs its cookie, also from a local org whose address is an IP number.
        self._http = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=local), trust_env=not local)
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
            raise ReplayIdRejectedError(channel, position, "it is no position of the Streaming API") from None
        await self.open()
        assert self._connection is not None
        await self._bounded(self._connection.subscribe_from(channel, replay_from))

    def batches(self) -> AsyncIterator[EventBatch]:
        """Yield what comes, until an error ends the stream. Cancelling a wait for the next batch loses nothing."""
        return self

    def __aiter__(self) -> AsyncIterator[EventBatch]:
        """An iterator of its own: a generator would be finished by a cancelled wait."""
        return self

    async def __anext__(self) -> EventBatch:
        """Return what waits; then raise the error that has ended the stream; else wait."""
        while not self._batches:
            if self._error is not None:
                raise self._error
            self._news.clear()
            left = self._last_sign + self._silence - asyncio.get_running_loop().time()
            if left <= 0:
                self._silent = True
                self._end_with(StreamInterruptedError(f"Nothing from the event bus for {self._silence:.0f} s"))
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._news.wait()
        batch = self._batches.popleft()
        self._waiting -= len(batch.events)
        return batch

    async def close(self) -> None:
        """End the connection, within seconds also when nobody answers. May be called at any time, more than once."""
        self._end_with(StreamInterruptedError("The stream is closed"))
        assert self._goodbye is not None
        await asyncio.shield(self._goodbye)

    async def _bounded(self, call: Awaitable[object]) -> None:
        """Await a step of connecting; whatever goes wrong ends the stream and is raised as its error."""
        try:
            async with asyncio.timeout(self._org.timeout.total_seconds()):
                await call
        except asyncio.CancelledError:
            # Our own goodbye cancels the poll that `call` may wait for; that is not a cancellation of the caller.
            task = asyncio.current_task()
            if self._error is None or (task is not None and task.cancelling()):
                raise
        except TimeoutError as error:
            self._silent = True
            self._end_with(error)
        except Exception as error:  # noqa: BLE001 - aiocometd lets KeyError and others out
            self._end_with(error)
        if self._error is not None:
            raise self._error
        self._last_sign = asyncio.get_running_loop().time()

    def _receive(self, messages: list[Message]) -> None:
        events = tuple(parse_event(message["channel"], message.get("data", message)) for message in messages)
        self._last_sign = asyncio.get_running_loop().time()
        self._batches.append(EventBatch(events=events))
        self._waiting += len(events)
        self._news.set()
        if self._waiting > self._most_waiting:
            self._end_with(StreamInterruptedError(f"The reader is behind: {self._waiting} events wait for it"))

    def _end_with(self, error: BaseException) -> None:
        """End the stream; the first error is the one that counts."""
        if self._error is None:
            self._error = self._understood(error)
        if self._goodbye is None:
            self._goodbye = asyncio.create_task(self._say_goodbye())
        self._news.set()

    def _understood(self, error: BaseException) -> ClosedwonError:
        if isinstance(error, SessionExpiredError) and self._token is not None:
            self._tokens.invalidate(self._token)
        if isinstance(error, SessionExpiredError | UnavailableError):
            return StreamInterruptedError(str(error))
        if isinstance(error, ClosedwonError):
            return error
        return StreamInterruptedError(f"The connection to the event bus broke: {type(error).__name__}")

    async def _say_goodbye(self) -> None:
        try:
            if self._connection is not None:
                # The server may be dead, or tell us once more that it has forgotten us.
                with suppress(Exception):
                    async with asyncio.timeout(min(_LONGEST_GOODBYE, self._org.timeout.total_seconds())):
                        await self._connection.leave(without_a_word=self._silent)
        finally:
            if self._http is not None:
                await self._http.close()
