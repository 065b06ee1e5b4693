"""aiocometd's long polling, made safe to build on.

aiocometd heals what it can by itself: it reconnects, shakes hands again, subscribes again. Every one of these healings
can lose events without a word (a response cut off on its way is never sent again, a refused re-subscription is
dropped), so this transport has none: the first thing that goes wrong ends it, with its cause, and it is not used
again. It also hands events over at once, in place of a queue that could stop the polling, and sends nothing but to
the address that it was given. The version of aiocometd is pinned, since protected methods are replaced here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import aiohttp
from aiocometd_noloop.constants import TransportState
from aiocometd_noloop.transports.long_polling import LongPollingTransport

from closedwon.salesforce import bayeux
from closedwon.salesforce.bayeux import Message
from closedwon.salesforce.errors import StreamInterruptedError

_CONNECT, _DISCONNECT, _HANDSHAKE, _SUBSCRIBE = (
    "/meta/connect",
    "/meta/disconnect",
    "/meta/handshake",
    "/meta/subscribe",
)
_MAY_GO_ON: Final = (None, "retry")


class OneConnection(LongPollingTransport):  # type: ignore[misc]  # aiocometd has no types
    """One CometD session.

    `received` gets the event messages of every answer that has some, and of every poll, maybe none. `ended` gets the
    error that ends the polling; errors of all other requests are raised.
    """

    def __init__(
        self,
        url: str,
        session: aiohttp.ClientSession,
        access_token: str,
        *,
        received: Callable[[list[Message]], None],
        ended: Callable[[BaseException], None],
    ) -> None:
        """Connect to nothing yet. `session` must keep cookies."""
        super().__init__(url=url, http_session=session, incoming_queue=asyncio.Queue())
        self._authorization = {"Authorization": f"Bearer {access_token}"}
        self._received = received
        self._ended = ended
        self._positions: dict[str, int] = {}
        self._has_polled = False
        self._may_hold = asyncio.Event()

    async def subscribe_from(self, channel: str, position: int) -> None:
        """Subscribe with the replay extension; only then are polls held, so that no two answers race each other."""
        self._positions[channel] = position
        await self.subscribe(channel)
        self._may_hold.set()

    async def leave(self, *, without_a_word: bool) -> None:
        """Stop polling; say goodbye (so that the session does not count against the org's limit) if there is one."""
        if without_a_word:
            self._state = TransportState.SERVER_DISCONNECTED
        await self.disconnect()

    async def _send_final_payload(self, payload: list[Message], *, headers: Any) -> Message:
        """Send and understand one request. Raises our own errors, aiohttp's, and TimeoutError."""
        del headers
        request = payload[0]
        if request["channel"] == _HANDSHAKE:
            request["ext"] = {"replay": True}
        elif request["channel"] == _SUBSCRIBE:
            channel = request["subscription"]
            request["ext"] = {"replay": {channel: self._positions[channel]}}
        elif request["channel"] == _CONNECT and not self._has_polled:
            request["advice"] = {"timeout": 0}  # answer at once
            self._has_polled = True
        elif request["channel"] == _CONNECT:
            await self._may_hold.wait()
        async with self._http_session.post(
            self._url,
            json=payload,
            headers=self._authorization,
            allow_redirects=False,  # the token stays with the configured host
            timeout=aiohttp.ClientTimeout(total=self.request_timeout),
        ) as response:
            body = await response.read()
        return await self._understand(bayeux.read_answer(response.status, body), request)

    async def _understand(self, messages: list[Message], request: Message) -> Message:
        meta = [message for message in messages if message["channel"].startswith("/meta/")]
        for message in meta:
            interval = message.get("advice", {}).get("interval")
            if isinstance(interval, int | float):
                message["advice"]["interval"] = interval / 1000  # milliseconds; aiocometd sleeps seconds
        events = [message for message in messages if not message["channel"].startswith(("/meta/", "/service/"))]
        if events or (request["channel"] == _CONNECT and self._may_hold.is_set()):
            self._received(events)
        answer = await self._consume_payload(meta, find_response_for=request)
        for message in meta:
            if message.get("successful") is False:
                raise bayeux.refusal(message, request)
            if message["channel"] == _DISCONNECT != request["channel"]:
                raise StreamInterruptedError("The event bus has ended the session (/meta/disconnect)")
        if answer is None:
            raise StreamInterruptedError(f"The event bus did not answer {request['channel']}")
        if answer.get("advice", {}).get("reconnect") not in _MAY_GO_ON:
            raise StreamInterruptedError(f"The event bus wants a new session (advice {answer['advice']['reconnect']})")
        return dict(answer)

    def _connect_done(self, future: asyncio.Future[Message]) -> None:
        """Poll again after a good answer, and only then."""
        if future.cancelled() or self.state is TransportState.DISCONNECTING:
            return
        error = future.exception()
        if error is None:
            super()._connect_done(future)
        else:
            self._state = TransportState.SERVER_DISCONNECTED
            self._ended(error)
