"""Bayeux messages in Salesforce's form: replies, refusals, error texts. No session, no state.

Source: Streaming API Developer Guide, "Bayeux Protocol", "Error Codes" and "Handling Errors". Texts that clients match
are exact, double spaces included.
"""

from __future__ import annotations

from typing import Any

from closedwon.emulators.salesforce.bus.eventbus import NEW_EVENTS

Message = dict[str, Any]

COOKIE = "BAYEUX_BROWSER"
MAX_BODY = 32_768
"""Maximum bytes of a request; the response to a larger one is 413."""
_OLDEST_VERSION = 37.0
_EXT = {"replay": True, "payload.format": True}


def hand_shaken(client_id: str) -> Message:
    """The reply to a successful handshake. It has no advice."""
    return {
        "channel": "/meta/handshake",
        "ext": dict(_EXT),
        "version": "1.0",
        "minimumVersion": "1.0",
        "supportedConnectionTypes": ["long-polling"],
        "clientId": client_id,
        "successful": True,
    }


def unauthorized(channel: str, *, has_token: bool) -> Message:
    """The refusal of a bad or missing token; for a handshake, the reason is in `ext.sfdc`."""
    reason = "401::Authentication invalid" if has_token else "401::Request requires authentication"
    if channel != "/meta/handshake":
        return failed({"channel": channel}, reason, "none")
    denied = failed({"channel": channel}, "403::Handshake denied", "none")
    return {**denied, "ext": {**_EXT, "sfdc": {"failureReason": reason}}}


def no_cookie(channel: str, client_id: str) -> Message:
    """The refusal of a client without its cookie."""
    error = f"400::Client {client_id} has established a session, but no {COOKIE} cookie present"
    return failed({"channel": channel, "clientId": client_id}, error, "none")


def invalid_replay_id(replay: object) -> str:
    """The error text for a replay option that is not the id of a retained event."""
    return (
        f"400::The replayId {{{replay}}} you provided was invalid.  Please provide a valid ID, -2 to replay all "
        "events, or -1 to replay only new events."
    )


def channel_error(channel: object) -> str | None:
    """The error text for an invalid channel name; None for a valid one."""
    if not isinstance(channel, str) or not channel:
        return "400::Channel name not specified"
    if not channel.startswith("/"):
        return "400::Channel subscriptions must start with a leading '/'"
    return "403::Restricted channel" if channel.startswith("/meta/") else None


def version_error(text: str) -> str | None:
    """The error text for an invalid version in the URI; None for a valid one."""
    if not text:
        return "400::API version in the URI is mandatory. URI format: '/cometd/67.0'"
    try:
        supported = float(text) >= _OLDEST_VERSION
    except ValueError:
        supported = False
    if supported:
        return None
    return (
        f"400::Unsupported API version. Only API versions '{_OLDEST_VERSION}' and above are supported. "
        "URI format: '/cometd/67.0'"
    )


def is_connected(reply: Message) -> bool:
    """Whether a reply is the success of a connect."""
    return reply.get("channel") == "/meta/connect" and bool(reply.get("successful"))


def failed(reply: Message, error: str, reconnect: str) -> Message:
    """`reply` as a failure, with the advice `reconnect`: retry, handshake or none."""
    return {**reply, "error": error, "advice": {"reconnect": reconnect, "interval": 0}, "successful": False}


def with_id(reply: Message, message: Message) -> Message:
    """`reply` with the id of `message`, if that has one."""
    return {**reply, "id": message["id"]} if "id" in message else reply


def replay_option(message: Message, channel: str) -> Any:
    """The replay option for `channel` in `ext.replay`, a map of channels; -1 when there is none."""
    ext = message.get("ext")
    replay = ext.get("replay") if isinstance(ext, dict) else None
    if not isinstance(replay, dict):
        return NEW_EVENTS
    return replay.get(channel.partition("?")[0], NEW_EVENTS)
