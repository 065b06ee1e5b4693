"""The errors of calls, as Salesforce sends them: a gRPC status, and the code in the trailers.

Source: Pub/Sub API guide, "Handle Errors" and "Error Codes".
"""

from __future__ import annotations

import uuid
from typing import Any, NoReturn

from grpc import StatusCode

_PREFIX = "sfdc.platform.eventbus.grpc."


class CallError(Exception):
    """Ends a call with a status. Without a `code` there are no trailers: not the API itself has ended it."""

    def __init__(self, status: StatusCode, code: str, text: str) -> None:
        """`code` is without the prefix that all codes share."""
        super().__init__(text)
        self.status = status
        self.code = code
        self.text = text

    async def abort(self, context: Any, call: str) -> NoReturn:
        """End the call of `context`, a `grpc.aio.ServicerContext`; `call` is its name."""
        if not self.code:
            await context.abort(self.status, self.text)
        rpc_id = str(uuid.uuid4())
        trailers = (("error-code", _PREFIX + self.code), ("rpc-id", rpc_id), ("type", call))
        await context.abort(self.status, f"{self.text} rpcId: {rpc_id}", trailers)
        raise AssertionError  # abort does not return


def unauthenticated() -> CallError:
    """The token is not valid."""
    text = "An authentication exception occurred. Provide valid authentication via metadata headers."
    return CallError(StatusCode.UNAUTHENTICATED, "service.auth.error", text)


def headers_invalid(name: str) -> CallError:
    """A header of the authentication is missing, or is not the org's."""
    text = f"The {name} header is blank or invalid."
    return CallError(StatusCode.UNAUTHENTICATED, "service.auth.headers.invalid", text)


def topic_not_found(topic: str) -> CallError:
    """The org has no such channel."""
    return CallError(StatusCode.NOT_FOUND, "topic.not.found", f"The topic {topic} cannot be found.")


def schema_not_found() -> CallError:
    """The org has no such schema."""
    text = "The schema cannot be found."
    return CallError(StatusCode.INVALID_ARGUMENT, "schema.validation.failed", text)


def replay_id_corrupted() -> CallError:
    """The position belongs to another bus, or its retention has ended."""
    text = "The Replay ID validation failed. Ensure that the Replay ID is valid."
    return CallError(StatusCode.INVALID_ARGUMENT, "subscription.fetch.replayid.corrupted", text)


def replay_id_missing() -> CallError:
    """CUSTOM without an id."""
    text = "The Replay ID is required with the preset CUSTOM."
    return CallError(StatusCode.INVALID_ARGUMENT, "subscription.fetch.replayid.validation.failed", text)


def no_events_requested() -> CallError:
    """The number of requested events is not positive."""
    text = "The number of requested events must be greater than 0."
    return CallError(StatusCode.INVALID_ARGUMENT, "subscription.fetch.requested.events.invalid", text)


def topic_mismatch() -> CallError:
    """A later request of a stream names another channel."""
    text = "The topic cannot change within a stream."
    return CallError(StatusCode.INVALID_ARGUMENT, "subscription.fetch.topic.mismatch", text)


def unavailable() -> CallError:
    """The service is down; seen with status INTERNAL in the wild."""
    return CallError(StatusCode.INTERNAL, "service.unavailable", "The service is unavailable. Try again later.")


def stream_reset() -> CallError:
    """Something in between has reset the stream: no trailers."""
    return CallError(StatusCode.INTERNAL, "", "RST_STREAM with code 0")
