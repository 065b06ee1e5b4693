"""CometD (Bayeux) at `/cometd/<version>`: sessions, subscriptions with replay, held polls. No HTTP library here.

`Cometd.answer` takes a request's messages and returns the replies; it waits while a `/meta/connect` is held. A session
stores one position per channel and reads the bus from there. An event that was put into a response is not sent again,
even if the response did not arrive. Source: Streaming API Developer Guide (Bayeux protocol, clients and timeouts,
message durability, error codes); the Bayeux specification where Salesforce's documentation is silent.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from closedwon.emulators.salesforce.api.oauth import OAuth
from closedwon.emulators.salesforce.bus import bayeux
from closedwon.emulators.salesforce.bus.bayeux import Message
from closedwon.emulators.salesforce.bus.eventbus import ALL_EVENTS, NEW_EVENTS, EventBus
from closedwon.emulators.salesforce.clock import Clock
from closedwon.emulators.salesforce.data.schema import Schema, SObject
from closedwon.emulators.salesforce.faults import OrgFaults

_log = logging.getLogger(__name__)

_EVENT_UUID_SINCE = 52.0
_MAX_EVENTS_IN_ANSWER = 500


@dataclass
class Client:
    """A CometD session: one subscriber's channels and its position in each."""

    client_id: str
    browser: str
    seen_ms: int
    positions: dict[str, int] = field(default_factory=dict)
    connected: bool = False
    """Whether the first connect, which is never held, was answered."""
    poll: asyncio.Event | None = None
    """Set to end the held poll; None if no poll is held."""


@dataclass(frozen=True)
class Request:
    """The attributes of a request, apart from its messages."""

    version: float
    token: str | None
    browser: str | None


class CutPoll(Exception):  # noqa: N818 - an instruction to the web application, not an error
    """Drop the connection without a response."""


class DuplicatePoll(Exception):  # noqa: N818 - likewise
    """A newer connect of the same session replaced this poll."""


class Cometd:
    """All sessions of the org. They are in memory: after a restart, every client is unknown, as in Salesforce."""

    def __init__(
        self,
        *,
        schema: Schema,
        bus: EventBus,
        oauth: OAuth,
        clock: Clock,
        faults: OrgFaults,
        may_subscribe: Callable[[SObject, str], bool],
        poll_timeout_s: float,
        session_idle_s: float,
    ) -> None:
        """`poll_timeout_s` counts real time, `session_idle_s` the org's clock; both are seconds.

        `may_subscribe` says whether a user may read an event; if not, the event does not exist for the user.
        """
        self._may_subscribe = may_subscribe
        self._schema = schema
        self._bus = bus
        self._oauth = oauth
        self._clock = clock
        self._faults = faults
        self._poll_timeout_s = poll_timeout_s
        self._idle_ms = round(session_idle_s * 1000)
        self.clients: dict[str, Client] = {}
        self._cut: set[str] = set()
        self._kicked: set[str] = set()
        self._holds_changed = asyncio.Event()
        self.events_sent = 0
        bus.listeners.append(self._on_published)
        self._handlers: dict[str, Callable[[Request, Message], Message]] = {
            "/meta/handshake": self._handshake,
            "/meta/connect": self._connect,
            "/meta/subscribe": self._subscribe,
            "/meta/unsubscribe": self._unsubscribe,
            "/meta/disconnect": self._disconnect,
        }

    async def answer(self, request: Request, messages: list[Message]) -> list[Message]:
        """Reply to every message of a request, events first. If one is a held poll, wait for its end.

        Raises `CutPoll` and `DuplicatePoll`.
        """
        replies = [self._reply(request, message) for message in messages]
        connects = [index for index, reply in enumerate(replies) if bayeux.is_connected(reply)]
        if not connects:
            return replies
        client = self.clients.get(replies[connects[0]]["clientId"])
        if client is None:  # the same request disconnects
            return replies
        if self._must_wait(client, messages[connects[0]]):
            await self._hold(client)
            self._oauth.extend(request.token or "")  # a connected client's session never expires
            replies[connects[0]] = self._reply(request, messages[connects[0]], after_poll=True)
            if client.client_id in self._kicked:
                return [{"channel": "/meta/disconnect", "clientId": client.client_id, "successful": True}, *replies]
        client.connected = True
        events = self._events(client, request) if replies[connects[0]]["successful"] else []
        return events + replies

    @property
    def held_polls(self) -> int:
        """The number of held polls."""
        return sum(client.poll is not None for client in self.clients.values())

    async def until_held(self, count: int = 1) -> None:
        """Wait until exactly `count` polls are held. For tests."""
        while self.held_polls != count:
            self._holds_changed.clear()
            await self._holds_changed.wait()

    # Faults

    def cut_polls(self) -> int:
        """Drop the connections of all held polls. Return their number."""
        held = [client for client in self.clients.values() if client.poll is not None]
        for client in held:
            self._cut.add(client.client_id)
            self._release(client)
        return len(held)

    def forget_clients(self) -> None:
        """Forget every session: the response to held polls and later requests is `403::Unknown client`."""
        gone = list(self.clients.values())
        self.clients.clear()
        for client in gone:
            self._release(client)

    def kick(self) -> None:
        """Send `/meta/disconnect` to every client with a held poll, and refuse all present clients from now on."""
        self._kicked.update(self.clients)
        self.forget_clients()

    def recheck_polls(self) -> None:
        """End held polls, so that their sessions and tokens are checked again."""
        for client in self.clients.values():
            self._release(client)

    # Messages

    def _reply(self, request: Request, message: Message, *, after_poll: bool = False) -> Message:
        channel = str(message.get("channel"))
        failed = None if after_poll else self._faults.failed_reply(channel)
        if failed is not None:
            return bayeux.with_id(failed, message)
        handler = self._handlers.get(channel)
        if handler is None:
            return bayeux.with_id(bayeux.failed({"channel": channel}, "403::Cannot create channel", "none"), message)
        refused = self._unauthorized(request, channel)
        return bayeux.with_id(handler(request, message) if refused is None else refused, message)

    def _unauthorized(self, request: Request, channel: str) -> Message | None:
        if request.token is not None and self._oauth.user_of(request.token) is not None:
            return None
        return bayeux.unauthorized(channel, has_token=request.token is not None)

    def _handshake(self, request: Request, message: Message) -> Message:
        types = message.get("supportedConnectionTypes")
        if not isinstance(types, list) or "long-polling" not in types:
            named = types[0] if isinstance(types, list) and types else None
            return bayeux.failed({"channel": "/meta/handshake"}, f"400::Invalid connection type {named}", "none")
        self._forget_idle()
        client = Client(secrets.token_hex(14), request.browser or secrets.token_hex(8), self._clock.now_ms())
        self.clients[client.client_id] = client
        return bayeux.hand_shaken(client.client_id)

    def _connect(self, request: Request, message: Message) -> Message:
        client = self._client(request, message)
        if not isinstance(client, Client):
            return client
        if message.get("connectionType") != "long-polling":
            named = message.get("connectionType")
            return bayeux.failed({"channel": "/meta/connect"}, f"400::Invalid connection type {named}", "none")
        advice = {
            "reconnect": "retry",
            "interval": self._faults.advice_interval_ms,
            "timeout": round(self._poll_timeout_s * 1000),
        }
        return {"channel": "/meta/connect", "clientId": client.client_id, "advice": advice, "successful": True}

    def _subscribe(self, request: Request, message: Message) -> Message:
        client = self._client(request, message)
        if not isinstance(client, Client):
            return client
        channel = message.get("subscription")
        reply = {"channel": "/meta/subscribe", "clientId": client.client_id, "subscription": channel}
        error = self._channel_error(channel, self._oauth.user_of(request.token) or "")
        if error is None:
            replay = bayeux.replay_option(message, str(channel))
            position = self._bus.position(replay) if isinstance(replay, int) else None
            if self._faults.is_forgetful and replay not in (NEW_EVENTS, ALL_EVENTS):
                position = None
            if position is not None:
                client.positions[str(channel)] = position
                _log.info("CometD: %s subscribed to %s with replay %s", client.client_id[:6], channel, replay)
                self._release_if_due(client)
                return {**reply, "successful": True}
            _log.info("CometD: %s refused on %s, replay %s is not valid", client.client_id[:6], channel, replay)
            error = bayeux.invalid_replay_id(replay)
        return {**reply, "error": error, "successful": False}

    def _channel_error(self, channel: Any, user: str) -> str | None:
        if (error := bayeux.channel_error(channel)) is not None:
            return error
        name = str(channel).removeprefix("/event/")
        event = self._schema.find(name)
        is_event = event is not None and event.is_event and channel == f"/event/{event.name}"
        if event is not None and is_event and self._may_subscribe(event, user):
            return None
        return f"400::The channel you requested to subscribe to does not exist {{{channel}}}"

    def _unsubscribe(self, request: Request, message: Message) -> Message:
        client = self._client(request, message)
        if not isinstance(client, Client):
            return client
        channel = str(message.get("subscription"))
        client.positions.pop(channel, None)
        reply = {"channel": "/meta/unsubscribe", "clientId": client.client_id, "subscription": channel}
        return {**reply, "successful": True}

    def _disconnect(self, request: Request, message: Message) -> Message:
        client = self._client(request, message)
        if not isinstance(client, Client):
            return client
        self._release(self.clients.pop(client.client_id))
        return {"channel": "/meta/disconnect", "clientId": client.client_id, "successful": True}

    def _client(self, request: Request, message: Message) -> Client | Message:
        """The session of a message, or the reply that refuses it."""
        channel = str(message.get("channel"))
        client_id = str(message.get("clientId"))
        client = self.clients.get(client_id)
        if client is None or self._is_idle(client):
            self.clients.pop(client_id, None)
            reconnect = "none" if client_id in self._kicked else "handshake"
            return bayeux.failed({"channel": channel}, "403::Unknown client", reconnect)
        if request.browser != client.browser:
            return bayeux.no_cookie(channel, client_id)
        client.seen_ms = self._clock.now_ms()
        return client

    def _is_idle(self, client: Client) -> bool:
        return client.poll is None and self._clock.now_ms() - client.seen_ms > self._idle_ms

    def _forget_idle(self) -> None:
        for client in [one for one in self.clients.values() if self._is_idle(one)]:
            del self.clients[client.client_id]

    # Held polls

    def _must_wait(self, client: Client, message: Message) -> bool:
        """Whether to hold a poll. The first connect, one with time-out 0, and one with events are answered at once."""
        advice = message.get("advice")
        asked = isinstance(advice, dict) and advice.get("timeout") == 0
        return client.connected and not asked and not self._has_events(client)

    async def _hold(self, client: Client) -> None:
        self._cut.discard(client.client_id)  # of a poll that ended before it was cut
        if client.poll is not None:
            client.poll.set()  # the older poll notices that it is no longer the client's
        mine = client.poll = asyncio.Event()
        self._holds_changed.set()
        try:
            async with asyncio.timeout(self._poll_timeout_s):
                await mine.wait()
        except TimeoutError:
            pass
        finally:
            replaced = client.poll is not mine
            if not replaced:
                client.poll = None
            client.seen_ms = self._clock.now_ms()
            self._holds_changed.set()
        if client.client_id in self._cut:
            self._cut.discard(client.client_id)
            raise CutPoll
        if replaced:
            raise DuplicatePoll

    def _on_published(self) -> None:
        for client in self.clients.values():
            self._release_if_due(client)

    def _release_if_due(self, client: Client) -> None:
        if client.poll is not None and self._has_events(client):
            client.poll.set()

    def _release(self, client: Client) -> None:
        if client.poll is not None:
            client.poll.set()

    def _has_events(self, client: Client) -> bool:
        return any(self._bus.after(channel, position, 1) for channel, position in client.positions.items())

    def _events(self, client: Client, request: Request) -> list[Message]:
        """The events for this response. They count as sent from now on."""
        found = [
            event
            for channel, position in client.positions.items()
            for event in self._bus.after(channel, position, _MAX_EVENTS_IN_ANSWER)
        ]
        found.sort(key=lambda event: event.replay_id)
        messages = []
        for event in found[:_MAX_EVENTS_IN_ANSWER]:
            client.positions[event.channel] = event.replay_id
            data = {**event.data, "event": {**event.data.get("event", {}), "replayId": event.replay_id}}
            if request.version < _EVENT_UUID_SINCE:
                data["event"].pop("EventUuid", None)
            messages.append({"channel": event.channel, "data": data})
        self.events_sent += len(messages)
        return messages
