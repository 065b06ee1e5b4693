"""What a CometD answer means: bytes in, messages or an error of ours out. No input or output here.

Salesforce answers a poll with a JSON array of Bayeux messages, whatever the HTTP status; but its edge and its REST
layer may answer in its place, with a REST error array, an object or HTML.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

from closedwon.errors import ClosedwonError
from closedwon.salesforce.errors import (
    HOURS,
    MINUTES,
    ConfigurationError,
    DeliveryLimitError,
    Refusal,
    ReplayIdRejectedError,
    SessionExpiredError,
    StreamInterruptedError,
    StreamRefusedError,
    ThrottledError,
    classify,
    shortened,
)

Message = dict[str, Any]

_REPLAY_ID_REJECTED: Final = "400::The replayId "
"""All that clients may rely on of that text."""
_REFUSED: Final = (
    "Check the route's `events` (the channel exists), `orgs.api_version`, and that the integration user may read the "
    "event's object."
)

_KNOWN: Final[Mapping[str, Callable[[str], ClosedwonError]]] = {
    "503::": lambda text: ThrottledError(f"The event bus is busy: {text}", between=MINUTES),
    "Denial of Service": lambda text: ThrottledError(f"The event bus asks for patience: {text}", between=MINUTES),
    "events daily limit exceeded": lambda text: DeliveryLimitError(f"The event bus stops: {text}", between=HOURS),
    "concurrent user limit exceeded": lambda text: ThrottledError(f"The event bus is full: {text}", between=MINUTES),
    "401::": lambda text: SessionExpiredError(f"The event bus does not accept the token: {text}"),
    "Unknown client": lambda text: StreamInterruptedError(f"The event bus has forgotten us: {text}"),
    "Client has not completed handshake": lambda text: StreamInterruptedError(
        f"The event bus has forgotten us: {text}"
    ),
}
"""By a part of the text (Streaming API guide, "Streaming API Error Codes" and "Handling Streaming API Errors")."""


def read_answer(status: int, body: bytes) -> list[Message]:
    """Return the messages of an answer. Raises what any other kind of answer means."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if isinstance(answer, list) and all(_is_message(entry) for entry in answer):
        return answer
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        raise ConfigurationError(
            "The event bus redirects to another address", cure="Set `orgs.url` to the org's present My Domain address."
        )
    if status < HTTPStatus.BAD_REQUEST:
        raise StreamInterruptedError("The event bus gave an answer that is no list of Bayeux messages")
    entry = answer[0] if isinstance(answer, list) and answer else None
    if isinstance(entry, dict) and "error" in entry:  # before a session there may be no channel
        raise refusal({"channel": "/meta/handshake", **entry}, {})
    raise classify(Refusal.read(status, answer))


def refusal(message: Message, request: Message) -> ClosedwonError:
    """Return what an unsuccessful reply to `request` means.

    `ext.sfdc.failureReason` is looked at first: `error` beside it may say anything, even 401 for a busy server.
    """
    error, reason = str(message.get("error") or ""), _failure_reason(message)
    for text in (reason, error):
        for part, meaning in _KNOWN.items():
            if part in text:
                return meaning(shortened(text))
    if error.startswith(_REPLAY_ID_REJECTED):
        channel = str(request.get("subscription"))
        return ReplayIdRejectedError(channel, str(request.get("ext", {}).get("replay", {}).get(channel)), error)
    text = shortened(reason or error) or "no reason given"
    if message["channel"] == "/meta/handshake" and error.startswith("403") and not reason:
        return SessionExpiredError(f"The event bus denies the handshake: {text}")
    if message["channel"] in ("/meta/handshake", "/meta/subscribe") and (reason or error).startswith("4"):
        return StreamRefusedError(f"The event bus refuses: {text}", cure=_REFUSED)
    return StreamInterruptedError(f"The event bus refuses {message['channel']}: {text}")


def _is_message(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("channel"), str)
        and isinstance(entry.get("advice", {}), dict)
        and (not entry["channel"].startswith("/meta/") or isinstance(entry.get("successful", True), bool))
    )


def _failure_reason(message: Message) -> str:
    part: Any = message
    for key in ("ext", "sfdc", "failureReason"):
        part = part.get(key) if isinstance(part, dict) else None
    return str(part or "")
