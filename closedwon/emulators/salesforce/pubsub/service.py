"""The calls of the Pub/Sub API: topics, schemas, subscriptions with credit, and publishing, on the org's bus.

A subscription reads the bus from its position, as a CometD session does, and sends at most as many events as its client
has asked for. Positions are opaque to clients: eight bytes of the replay id, and two more. Source: Pub/Sub API guide,
"Subscribe RPC Method" (credit, keepalives, replay), "Publish RPC Method", "Authentication".
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc

from closedwon.emulators.salesforce.api.oauth import OAuth
from closedwon.emulators.salesforce.bus.eventbus import ALL_EVENTS, NEW_EVENTS, BusEvent, EventBus
from closedwon.emulators.salesforce.config import PubSubConfig
from closedwon.emulators.salesforce.data.schema import Schema, SObject
from closedwon.emulators.salesforce.data.store import Store
from closedwon.emulators.salesforce.faults import Fault, OrgFaults
from closedwon.emulators.salesforce.pubsub import avro, errors
from closedwon.emulators.salesforce.pubsub.errors import CallError
from closedwon.ids import OrgId
from closedwon.pubsub_api import eventbus_pb2 as pb

_log = logging.getLogger(__name__)

MOST_CREDIT = 100
"""Events that a subscription may wait for; a larger number counts as this one."""
_REPLAY_ID_TAIL = b"\x00\x00"
_REPLAY_ID_BYTES = 10


@dataclass(eq=False)
class Subscription:
    """One stream: the position that it has reached, and how many more events its client takes."""

    topic: str
    token: str
    position: int
    credit: int
    asked: int = 0
    """How often the client has asked for events."""
    end: CallError | None = None
    """What ends it."""
    is_ended: bool = False
    """Whether it ends without an error."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class PubSub:
    """All subscriptions of the org, in memory, and the schemas of its events."""

    def __init__(
        self,
        *,
        schema: Schema,
        store: Store,
        bus: EventBus,
        oauth: OAuth,
        faults: OrgFaults,
        config: PubSubConfig,
        org_id: OrgId,
    ) -> None:
        """Serve nothing yet; `server` does."""
        self._schema = schema
        self._store = store
        self._bus = bus
        self._oauth = oauth
        self._faults = faults
        self._config = config
        self._org_id = org_id
        self._versions: dict[str, int] = {}
        self.schemas: dict[str, dict[str, Any]] = {}
        """By id, every schema that was in use."""
        self.subscriptions: set[Subscription] = set()
        self.events_sent = 0
        self.schema_calls = 0
        self.trace_ids: list[str] = []
        """The `x-client-trace-id` of each call."""
        bus.listeners.append(self.wake)

    # Faults

    def change_schema(self, event: str = "Order_Requested__e") -> None:
        """Add a field to the event: its next messages have another schema."""
        self._versions[event] = self._versions.get(event, 0) + 1

    def reset_streams(self) -> int:
        """Reset every stream without trailers. Return their number."""
        return self._end_all(errors.stream_reset())

    def end_streams(self) -> int:
        """End every stream as if it were complete. Return their number."""
        return self._end_all(None)

    def recheck_tokens(self) -> None:
        """End the streams whose token was revoked or has expired."""
        for one in self.subscriptions:
            if self._oauth.user_of(one.token) is None:
                one.end = errors.unauthenticated()
        self.wake()

    def wake(self) -> None:
        """Let every stream look what has changed."""
        for one in self.subscriptions:
            one.changed.set()

    # Calls

    def handlers(self) -> dict[str, Any]:
        """The gRPC handlers by name."""
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
        return {
            "GetTopic": _handler(unary, self._guarded("GetTopic", self._get_topic), pb.TopicRequest, pb.TopicInfo),
            "GetSchema": _handler(unary, self._guarded("GetSchema", self._get_schema), pb.SchemaRequest, pb.SchemaInfo),
            "Publish": _handler(unary, self._guarded("Publish", self._publish), pb.PublishRequest, pb.PublishResponse),
            "Subscribe": _handler(
                stream, self._guarded("Subscribe", self._subscribe), pb.FetchRequest, pb.FetchResponse
            ),
        }

    def _guarded(
        self, call: str, answer: Callable[[Any, Any, str], Awaitable[Any]]
    ) -> Callable[[Any, Any], Awaitable[Any]]:
        """`answer` for calls with valid metadata; an error of any kind ends the call with its status."""

        async def handle(request: Any, context: Any) -> Any:
            try:
                return await answer(request, context, self._token(context))
            except CallError as error:
                _log.info("Pub/Sub %s: %s %s", call, error.status.name, error.code or "without a code")
                await error.abort(context, call)

        return handle

    def _token(self, context: Any) -> str:
        """The token of a call. Raises `CallError`."""
        metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        self.trace_ids.append(metadata.get("x-client-trace-id", ""))
        if self._faults.is_down:
            raise CallError(grpc.StatusCode.UNAVAILABLE, "", "application is down for maintenance")
        if self._faults.strikes(Fault.PUBSUB_UNAVAILABLE):
            raise errors.unavailable()
        if not metadata.get("instanceurl", "").startswith("http"):
            raise errors.headers_invalid("instanceurl")
        if metadata.get("tenantid") != self._org_id:
            raise errors.headers_invalid("tenantid")
        token = metadata.get("accesstoken", "")
        if self._oauth.user_of(token) is None:
            raise errors.unauthenticated()
        return token

    async def _get_topic(self, request: pb.TopicRequest, _context: Any, _token: str) -> pb.TopicInfo:
        event = self._event(request.topic_name)
        return pb.TopicInfo(
            topic_name=request.topic_name,
            tenant_guid=str(self._org_id),
            can_publish=True,
            can_subscribe=True,
            schema_id=self._schema_of(event)[0],
            rpc_id=str(uuid.uuid4()),
        )

    async def _get_schema(self, request: pb.SchemaRequest, _context: Any, _token: str) -> pb.SchemaInfo:
        self.schema_calls += 1
        found = self.schemas.get(request.schema_id)
        if found is None or self._faults.strikes(Fault.SCHEMA_NOT_FOUND):
            raise errors.schema_not_found()
        return pb.SchemaInfo(schema_json=json.dumps(found), schema_id=request.schema_id, rpc_id=str(uuid.uuid4()))

    async def _publish(self, request: pb.PublishRequest, _context: Any, token: str) -> pb.PublishResponse:
        event = self._event(request.topic_name)
        actor = self._oauth.user_of(token) or ""
        response = pb.PublishResponse(schema_id=self._schema_of(event)[0], rpc_id=str(uuid.uuid4()))
        for one in request.events:
            key = one.id or str(uuid.uuid4())
            try:
                payload = avro.decode(self.schemas[one.schema_id], one.payload)
            except (ValueError, KeyError) as error:
                failed = pb.Error(code=pb.ErrorCode.PUBLISH, msg=str(error))
                response.results.append(pb.PublishResult(error=failed, correlation_key=one.id))
                continue
            with self._store.transaction():
                self._bus.publish(event.name, payload, actor=actor, event_uuid=key)
            replay_id = replay_bytes(self._bus.last_replay_id())
            response.results.append(pb.PublishResult(replay_id=replay_id, correlation_key=key))
        self._bus.wake()
        return response

    # Subscriptions

    async def _subscribe(self, _requests: Any, context: Any, token: str) -> None:
        first = await context.read()
        if first is grpc.aio.EOF:
            return
        self._event(first.topic_name)
        if first.num_requested <= 0:
            raise errors.no_events_requested()
        position = self._position(first)
        one = Subscription(first.topic_name, token, position, min(first.num_requested, MOST_CREDIT), asked=1)
        self.subscriptions.add(one)
        reading = asyncio.create_task(self._read_requests(one, context))
        try:
            await self._send_all(one, context)
        finally:
            reading.cancel()
            self.subscriptions.discard(one)

    async def _read_requests(self, one: Subscription, context: Any) -> None:
        """Add the credit of later requests."""
        while (request := await context.read()) is not grpc.aio.EOF:
            if request.num_requested <= 0:
                one.end = errors.no_events_requested()
            elif request.topic_name not in {"", one.topic}:
                one.end = errors.topic_mismatch()
            one.credit = min(one.credit + request.num_requested, MOST_CREDIT)
            one.asked += 1
            one.changed.set()
        one.is_ended = True
        one.changed.set()

    async def _send_all(self, one: Subscription, context: Any) -> None:
        """Send what comes, until the stream ends: by a fault, by its client, or without credit for too long."""
        must_answer = self._config.answers_at_once
        while not one.is_ended:
            one.changed.clear()
            if one.end is not None:
                raise one.end
            events = self._bus.after(one.topic, one.position, one.credit) if one.credit else []
            if self._faults.is_mute:
                await one.changed.wait()
            elif events or must_answer:
                must_answer = False
                await self._send(one, events, context)
            elif not await self._has_changed(one):
                if not one.credit:
                    return
                if not self._faults.lacks_keepalives:
                    await self._send(one, [], context)

    async def _has_changed(self, one: Subscription) -> bool:
        wait = self._config.keepalive if one.credit else self._config.credit_timeout
        try:
            async with asyncio.timeout(wait.total_seconds()):
                await one.changed.wait()
        except TimeoutError:
            return False
        return True

    async def _send(self, one: Subscription, events: list[BusEvent], context: Any) -> None:
        latest = events[-1].replay_id if events else self._bus.last_replay_id()
        if events:
            one.position = latest
            one.credit -= len(events)
            if self._faults.strikes(Fault.LOST_EVENTS):
                raise errors.stream_reset()
        response = pb.FetchResponse(
            events=[self._consumed(event) for event in events],
            latest_replay_id=replay_bytes(latest),
            rpc_id=str(uuid.uuid4()),
            pending_num_requested=one.credit,
        )
        await context.write(response)
        self.events_sent += len(events)

    def _consumed(self, event: BusEvent) -> pb.ConsumerEvent:
        schema_id, schema = self._schema_of(self._event(event.channel))
        about = event.data.get("event") if isinstance(event.data.get("event"), dict) else {}
        assert about is not None
        produced = pb.ProducerEvent(
            id=about.get("EventUuid") or "",
            schema_id=schema_id,
            payload=avro.encode(schema, event.data.get("payload")),
        )
        return pb.ConsumerEvent(event=produced, replay_id=replay_bytes(event.replay_id))

    def _position(self, request: pb.FetchRequest) -> int:
        if request.replay_preset == pb.ReplayPreset.CUSTOM:
            if not request.replay_id:
                raise errors.replay_id_missing()
            replay_id = _replay_number(request.replay_id)
            is_newest = replay_id == self._bus.last_replay_id()
            position = replay_id if is_newest else self._bus.position(replay_id)
            if position is None or self._faults.is_forgetful:
                raise errors.replay_id_corrupted()
            return position
        preset = ALL_EVENTS if request.replay_preset == pb.ReplayPreset.EARLIEST else NEW_EVENTS
        return self._bus.position(preset) or 0

    def _event(self, topic: str) -> SObject:
        event = self._schema.find(topic.removeprefix("/event/"))
        if event is None or not event.is_event or topic != f"/event/{event.name}":
            raise errors.topic_not_found(topic)
        return event

    def _schema_of(self, event: SObject) -> tuple[str, dict[str, Any]]:
        schema = avro.schema_of(event, version=self._versions.get(event.name, 0))
        schema_id = avro.id_of(schema)
        self.schemas[schema_id] = schema
        return schema_id, schema

    def _end_all(self, error: CallError | None) -> int:
        for one in self.subscriptions:
            one.end, one.is_ended = error, error is None
        self.wake()
        return len(self.subscriptions)


def replay_bytes(replay_id: int) -> bytes:
    """The form in which clients see a position."""
    return replay_id.to_bytes(8, "big", signed=True) + _REPLAY_ID_TAIL


def _replay_number(replay_id: bytes) -> int:
    if len(replay_id) != _REPLAY_ID_BYTES or not replay_id.endswith(_REPLAY_ID_TAIL):
        raise errors.replay_id_corrupted()
    return int.from_bytes(replay_id[:8], "big", signed=True)


def _handler(
    kind: Callable[..., Any], answer: Callable[[Any, Any], Awaitable[Any]], request: Any, response: Any
) -> Any:
    return kind(answer, request_deserializer=request.FromString, response_serializer=response.SerializeToString)
