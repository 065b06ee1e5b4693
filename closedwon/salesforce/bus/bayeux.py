"""Interprets CometD responses: bytes in, Bayeux messages or one of our errors out. No input or output here.

Salesforce answers a poll with a JSON array of Bayeux messages, with any HTTP status. But its edge and its REST layer
may answer in its place, with a REST error array, an object or HTML.

An error of Bayeux is `code:arguments:text`. Code, arguments and channel decide whether it may be permanent. Several
causes share the codes 400 and 403; the server's documented texts only refine them: a text that is not known here, in
another language for instance, is doubtful, which ends by itself or asks a person after a while.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

from closedwon.errors import ClosedwonError, DoubtfulError
from closedwon.salesforce.errors import (
    HOURS,
    MINUTES,
    ConfigurationError,
    DeliveryLimitError,
    RecordGoneError,
    Refusal,
    RefusedError,
    ReplayIdRejectedError,
    SessionExpiredError,
    StreamInterruptedError,
    StreamRefusedError,
    ThrottledError,
    classify,
    of_setting,
    shortened,
)

Message = dict[str, Any]

_CODE: Final = re.compile(r"^(\d{3}):[^:]*:")
"""An error begins with a code, arguments and a text, as in `401:xj3sjdsjdsjad:Authentication invalid`; the arguments
are mostly empty (Bayeux 1.0, section 4.1.11)."""
_REPLAY_ID_REJECTED: Final = "400::The replayId "
"""The documented part of that text."""
_REFUSED: Final = (
    "Check the route's `events` (the channel exists), `orgs.api_version`, and that the integration user may read the "
    "event's object."
)

_KNOWN: Final[Mapping[str, Callable[[str], ClosedwonError]]] = {
    "503::": lambda text: ThrottledError(f"The event bus is busy: {text}", between=MINUTES),
    "Denial of Service": lambda text: ThrottledError(f"The event bus limits requests: {text}", between=MINUTES),
    "events daily limit exceeded": lambda text: DeliveryLimitError(
        f"The event bus has reached its daily limit: {text}", between=HOURS
    ),
    "concurrent user limit exceeded": lambda text: ThrottledError(
        f"The event bus has too many subscribers: {text}", between=MINUTES
    ),
    "401::": lambda text: SessionExpiredError(f"The event bus does not accept the token: {text}"),
    "Unknown client": lambda text: StreamInterruptedError(f"The event bus no longer knows the session: {text}"),
    "Client has not completed handshake": lambda text: StreamInterruptedError(
        f"The event bus no longer knows the session: {text}"
    ),
}
"""By a part of the text (Streaming API guide, "Streaming API Error Codes" and "Handling Streaming API Errors"): all of
these are tried again."""


def read_answer(status: int, body: bytes) -> list[Message]:
    """Return the messages of a response. Raises the error that any other kind of response means."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if isinstance(answer, list) and all(_is_message(entry) for entry in answer):
        return answer
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        raise ConfigurationError(
            "The event bus redirects to another address", hint="Set `orgs.url` to the org's present My Domain address."
        )
    if status < HTTPStatus.BAD_REQUEST:
        raise StreamInterruptedError("The event bus gave a response that is not a list of Bayeux messages")
    entry = answer[0] if isinstance(answer, list) and answer else None
    if isinstance(entry, dict) and "error" in entry:  # without a session the entry may lack a channel
        error = refusal({"channel": "/meta/handshake", **entry}, {})
        if status == HTTPStatus.UNAUTHORIZED and not isinstance(error, ThrottledError):
            raise SessionExpiredError(f"The event bus does not accept the token: {shortened(str(entry['error']))}")
        raise error
    error = classify(Refusal.read(status, answer))
    if isinstance(error, (RecordGoneError, RefusedError)):
        raise of_setting(error, hint=_REFUSED)
    raise error


def refusal(message: Message, request: Message) -> ClosedwonError:
    """Return the error that an unsuccessful reply to `request` means.

    `ext.sfdc.failureReason` counts first: `error` beside it may contain anything, even 401 for a busy server.
    """
    whole = _failure_reason(message) or str(message.get("error") or "")
    error, reason = (_CODE.sub(r"\1::", text) for text in (str(message.get("error") or ""), _failure_reason(message)))
    for text in (reason, error):
        for part, meaning in _KNOWN.items():
            if part in text:
                return meaning(shortened(text))
    channel = str(request.get("subscription"))
    position = str(request.get("ext", {}).get("replay", {}).get(channel))
    if error.startswith(_REPLAY_ID_REJECTED):
        return ReplayIdRejectedError(channel, position, error)
    text = shortened(reason or error) or "no reason given"
    if message["channel"] == "/meta/handshake" and error.startswith("403") and not reason:
        return SessionExpiredError(f"The event bus rejects the handshake: {text}")
    if message["channel"] in ("/meta/handshake", "/meta/subscribe") and (reason or error).startswith("4"):
        refused = StreamRefusedError(f"The event bus rejects the subscription: {text}", hint=_REFUSED)
        is_subscribe = message["channel"] == "/meta/subscribe"
        return refused if _is_certain(whole, position if is_subscribe else "") else DoubtfulError(refused)
    return StreamInterruptedError(f"The event bus rejects {message['channel']}: {text}")


def _is_certain(error: str, position: str) -> bool:
    """Whether an error cannot be about a limit (403 without arguments) or a position (400 with a replay id)."""
    code, _, arguments = error.partition(":")
    if code == "403":
        return not arguments.startswith(":")
    return code != "400" or not position.isdecimal()


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
