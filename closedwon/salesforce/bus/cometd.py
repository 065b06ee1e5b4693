"""aiocometd's long polling without its automatic recovery.

aiocometd recovers from errors by itself: it reconnects, repeats the handshake, subscribes again. Each of these
recoveries can lose events silently: a response that is cut off on its way is never sent again, and a rejected
re-subscription is dropped. So this transport has none. The first error ends it, with its cause, and it is not used
again. It also passes events on at once (aiocometd's queue could block the polling), and sends requests only to the
address that it was given. The version of aiocometd is pinned, because this module overrides protected methods.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from aiocometd_noloop.constants import TransportState
from aiocometd_noloop.transports.long_polling import LongPollingTransport

from closedwon.network.http import Http
from closedwon.salesforce.bus import bayeux
from closedwon.salesforce.bus.bayeux import Message
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

    `received` gets the event messages of each response that has some, and of each poll, which may have none. `ended`
    gets the error that ends the polling; errors of all other requests are raised.
    """

    def __init__(
        self,
        url: str,
        http: Http,
        access_token: str,
        *,
        received: Callable[[list[Message]], None],
        ended: Callable[[BaseException], None],
    ) -> None:
        """Makes no connection. `http` must keep cookies."""
        super().__init__(url=url, http_session=http, incoming_queue=asyncio.Queue())
        self._authorization = {"Authorization": f"Bearer {access_token}"}
        self._received = received
        self._ended = ended
        self._positions: dict[str, int] = {}
        self._has_polled = False
        self._may_hold = asyncio.Event()

    async def subscribe_from(self, channel: str, position: int) -> None:
        """Subscribe with the replay extension. Polls are held only from then on, so that no two responses race."""
        self._positions[channel] = position
        await self.subscribe(channel)
        self._may_hold.set()

    async def leave(self, *, silently: bool) -> None:
        """Stop polling. Unless `silently`, disconnect, so that the session no longer counts against the org's limit."""
        if silently:
            self._state = TransportState.SERVER_DISCONNECTED
        await self.disconnect()

    async def _send_final_payload(self, payload: list[Message], *, headers: Any) -> Message:
        """Send one request and interpret the response. Raises our own errors, and `NetworkError`."""
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
        hold = self.request_timeout
        deadline = None if hold is None else timedelta(seconds=hold)
        # No redirects: the token stays with the configured host.
        reply = await self._http_session.call(
            "POST", self._url, json=payload, headers=self._authorization, deadline=deadline
        )
        return await self._interpret(bayeux.read_answer(reply.status, reply.body), request)

    async def _interpret(self, messages: list[Message], request: Message) -> Message:
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
            raise StreamInterruptedError(
                f"The event bus asks for a new session (advice {answer['advice']['reconnect']})"
            )
        return dict(answer)

    def _connect_done(self, future: asyncio.Future[Message]) -> None:
        """Poll again, but only after a successful response."""
        if future.cancelled() or self.state is TransportState.DISCONNECTING:
            return
        error = future.exception()
        if error is None:
            super()._connect_done(future)
        else:
            self._state = TransportState.SERVER_DISCONNECTED
            self._ended(error)
