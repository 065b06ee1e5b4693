"""The event bus over the Pub/Sub API: `PubSubStream`, an `EventStream` for one channel.

How a stream loses no event is as in `CometdStream`: the reader owns the position, the stream delivers an unbroken part
of the channel and then one error, and is never continued.

- **Credit.** The API sends only as many events as it was asked for, at most 100 (`_MOST_CREDIT`). More are asked for as
  soon as fewer than half of these are outstanding, while events wait for the reader, so that a slow reader does not end
  the stream. If 1,000 wait, nothing is asked for until the reader takes some, and memory stays small; but a stream
  without credit is ended after 60 s, so before that it asks for one event. Each response reports
  the count.
- **Signs of life.** While there is credit, the API sends an empty response within 270 s. Without any for `silence`, the
  connection counts as dead.
- **Positions.** An empty response names a position up to which nothing has come. It becomes the position of an empty
  batch, so that a quiet channel does not keep a position until that expires.
- **Connecting.** A stream may get its first response only with the first event, so `subscribe` proves connection, login
  and channel by `GetTopic`. What the API says of the position comes from `batches`.
- **Schemas** are cached for the life of the process: a changed definition has another id.

Source: Pub/Sub API guide, "Subscribe RPC Method" and "Pub/Sub API Allocations".
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

import grpc

from closedwon.errors import ClosedwonError
from closedwon.pubsub_api import eventbus_pb2 as pb
from closedwon.salesforce.api.auth import AccessToken, TokenSource
from closedwon.salesforce.bus.ending import ended_by
from closedwon.salesforce.bus.events import EventBatch
from closedwon.salesforce.bus.pubsub import decoding, positions
from closedwon.salesforce.bus.pubsub.calls import Calls, Place
from closedwon.salesforce.bus.pubsub.refusals import SchemaNotFoundError
from closedwon.salesforce.errors import StreamInterruptedError
from closedwon.settings import Org

KEEPALIVE: Final = timedelta(seconds=270)
"""Within this time the API sends an empty response."""
_SILENCE: Final = KEEPALIVE + timedelta(seconds=30)
_MOST_CREDIT: Final = 100
_LOW_CREDIT: Final = 50
_MOST_WAITING: Final = 1000
"""Events that wait for the reader, from which on no more are asked for."""
_WITHOUT_CREDIT: Final = timedelta(seconds=45)
_CLOSE_TIMEOUT: Final = 5.0
"""Seconds."""


class PubSubStream:
    """One connection to the Pub/Sub API; see `closedwon.salesforce.bus.events.EventStream` for the contract."""

    def __init__(
        self,
        org: Org,
        tokens: TokenSource,
        *,
        silence: timedelta = _SILENCE,
        most_waiting: int = _MOST_WAITING,
        without_credit: timedelta = _WITHOUT_CREDIT,
        schemas: dict[str, decoding.Schema] | None = None,
    ) -> None:
        """`silence`: the connection counts as dead after this time without a response, even an empty one.

        `most_waiting`: no more events are asked for while this number waits for the reader; then one of them, each time
        that `without_credit` has passed. `schemas` by id are those that the org's streams share.
        """
        self._org = org
        self._tokens = tokens
        self._silence = silence.total_seconds()
        self._most_waiting = most_waiting
        self._without_credit = without_credit.total_seconds()
        self._schemas = {} if schemas is None else schemas
        self._unknown: set[str] = set()
        """Ids that the API refuses: asked for once in each stream."""
        self._token: AccessToken | None = None
        self._calls: Calls | None = None
        self._place = Place("", "")
        self._stream: Any = None
        self._tasks: list[asyncio.Task[None]] = []
        self._batches: deque[EventBatch] = deque()
        self._waiting = 0
        self._credit = 0
        self._wanted = asyncio.Event()
        self._changed = asyncio.Event()
        self._error: ClosedwonError | None = None
        self._closing: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Log in where needed. The first call connects."""
        if self._calls is None:
            self._token = await self._tokens.token()
            self._calls = Calls(self._org, self._token)

    async def subscribe(self, channel: str, position: str) -> None:
        """Subscribe `channel` after `position`; connects first where needed."""
        first = positions.first_request(channel, position, count=_MOST_CREDIT)
        await self.open()
        assert self._calls is not None
        self._place = Place(channel, position)
        try:
            topic = await self._calls.topic(self._place)
            await self._ensure_schema(topic.schema_id)
        except ClosedwonError as error:
            self._end_with(error)
        if self._error is not None:
            raise self._error
        self._stream = self._calls.subscribe()
        self._credit = _MOST_CREDIT
        self._tasks = [asyncio.create_task(self._run(first))]

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
            await self._changed.wait()
        batch = self._batches.popleft()
        self._waiting -= len(batch.events)
        self._wanted.set()
        return batch

    async def close(self) -> None:
        """End the connection, within seconds even without a response. May be called at any time, more than once."""
        self._end_with(StreamInterruptedError("The stream is closed"))
        assert self._closing is not None
        await asyncio.shield(self._closing)

    async def _run(self, first: pb.FetchRequest) -> None:
        """Read until something ends the stream."""
        assert self._calls is not None
        try:
            with self._calls.as_own("Subscribe", self._place):
                await self._write(first)
                self._tasks.append(asyncio.create_task(self._ask_for_more()))
                while True:
                    await self._receive(await self._read())
        except Exception as error:  # noqa: BLE001 - gRPC raises its own, UsageError and others
            self._end_with(error)

    async def _read(self) -> pb.FetchResponse:
        try:
            async with asyncio.timeout(self._silence):
                response = await self._stream.read()
        except TimeoutError:
            raise StreamInterruptedError(f"No response from the event bus for {self._silence:.0f} s") from None
        if response is grpc.aio.EOF:
            raise StreamInterruptedError("The Pub/Sub API has ended the stream without an error")
        assert isinstance(response, pb.FetchResponse)
        return response

    async def _receive(self, response: pb.FetchResponse) -> None:
        self._credit = response.pending_num_requested
        self._wanted.set()
        for one in response.events:
            await self._ensure_schema(one.event.schema_id)
        events = tuple(decoding.to_event(self._place.channel, one, self._schemas) for one in response.events)
        reached = None if events else positions.to_text(response.latest_replay_id)
        self._batches.append(EventBatch(events=events, position=reached))
        self._waiting += len(events)
        self._changed.set()

    async def _ensure_schema(self, schema_id: str) -> None:
        """Fetch a schema that is not known yet. One that the API does not have stays unknown: its events are parked."""
        if schema_id in self._schemas or schema_id in self._unknown:
            return
        assert self._calls is not None
        try:
            self._schemas[schema_id] = decoding.Schema(await self._calls.schema(schema_id, self._place))
        except (SchemaNotFoundError, ValueError):
            self._unknown.add(schema_id)

    async def _ask_for_more(self) -> None:
        """Keep the credit between its marks, as long as the stream lasts."""
        while True:
            self._wanted.clear()
            if self._credit < _LOW_CREDIT and self._waiting < self._most_waiting:
                await self._ask(_MOST_CREDIT - self._credit)
                continue
            try:
                async with asyncio.timeout(None if self._credit else self._without_credit):
                    await self._wanted.wait()
            except TimeoutError:
                await self._ask(1)

    async def _ask(self, count: int) -> None:
        self._credit += count
        with suppress(grpc.RpcError, asyncio.InvalidStateError):  # the stream has ended, which `_run` reports
            await self._write(pb.FetchRequest(topic_name=self._place.channel, num_requested=count))

    async def _write(self, request: pb.FetchRequest) -> None:
        await self._stream.write(request)

    def _end_with(self, error: BaseException) -> None:
        """End the stream. The first error counts; later ones are ignored."""
        if self._error is None:
            self._error = ended_by(error, self._tokens, self._token)
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        self._changed.set()

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._stream is not None:
            self._stream.cancel()
        if self._calls is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_TIMEOUT):
                    await self._calls.close()
