"""The calls of one gRPC connection to the Pub/Sub API: metadata, deadlines, and errors as ours.

The token and the org go into the metadata of every call, with an `x-client-trace-id` of its own, which the log names:
Salesforce's support finds a call by it. The network rules are those of `closedwon.network`:
authorities and proxy come from the same variables. Source: Pub/Sub API guide, "Authentication".
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlsplit

import grpc

from closedwon.network.proxies import ProxySettingError, proxy_for
from closedwon.network.trust import TrustSettingError, authorities_pem
from closedwon.pubsub_api import SERVICE
from closedwon.pubsub_api import eventbus_pb2 as pb
from closedwon.salesforce.api.auth import AccessToken
from closedwon.salesforce.bus.pubsub import refusals
from closedwon.salesforce.errors import StreamInterruptedError
from closedwon.settings import Org

_log: Final = logging.getLogger(__name__)

_LARGEST_RESPONSE: Final = 128 * 1024 * 1024
"""Bytes: 100 events of 1 MB, the largest that Salesforce takes."""


class Place(NamedTuple):
    """What a call is about, for its errors."""

    channel: str
    position: str


class Calls:
    """One connection, with one token. Errors are those of `EventStream`, and `SchemaNotFoundError`."""

    def __init__(self, org: Org, token: AccessToken) -> None:
        """Make no connection: the first call does. Raises `StreamInterruptedError` if the environment is wrong."""
        self._org = org
        self._token = token
        self._timeout = org.timeout.total_seconds()
        self._trace_ids: dict[str, str] = {}
        try:
            self._channel = _open(org.pubsub_url)
        except (ProxySettingError, TrustSettingError) as error:
            raise StreamInterruptedError(f"The event bus cannot be read: {error}") from error

    async def topic(self, place: Place) -> pb.TopicInfo:
        """Return what the API says of the channel: that it exists, and that this user may read it."""
        request = pb.TopicRequest(topic_name=place.channel)
        info = await self._unary("GetTopic", request, pb.TopicInfo, place)
        assert isinstance(info, pb.TopicInfo)
        return info

    async def schema(self, schema_id: str, place: Place) -> str:
        """Return the JSON of a schema."""
        info = await self._unary("GetSchema", pb.SchemaRequest(schema_id=schema_id), pb.SchemaInfo, place)
        return str(info.schema_json)

    def subscribe(self) -> Any:
        """Begin a subscription; return the `grpc.aio` call, to read and write."""
        method = self._channel.stream_stream(
            f"/{SERVICE}/Subscribe",
            request_serializer=pb.FetchRequest.SerializeToString,
            response_deserializer=pb.FetchResponse.FromString,
        )
        return method(metadata=self._metadata("Subscribe"))

    @contextmanager
    def as_own(self, call: str, place: Place) -> Iterator[None]:
        """Raise the error that a failed call means.

        gRPC raises `CancelledError` for a call that counts as cancelled. Unless the task is cancelled, too, it becomes
        an error: otherwise the reading would end without one.
        """
        try:
            yield
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise StreamInterruptedError(f"The Pub/Sub API has cancelled {call}") from None
        except grpc.aio.AioRpcError as error:
            code = next((str(value) for key, value in error.trailing_metadata() or () if key == "error-code"), "")
            own = refusals.error_of(error.code(), code, error.details() or "", call=call, **place._asdict())
            _log.info("%s has failed (x-client-trace-id %s): %s", call, self._trace_ids.get(call), own)
            raise own from error

    async def close(self) -> None:
        """End every call, and the connection."""
        await self._channel.close()

    async def _unary(self, call: str, request: Any, response: Any, place: Place) -> Any:
        method = self._channel.unary_unary(
            f"/{SERVICE}/{call}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )
        with self.as_own(call, place):
            return await method(request, metadata=self._metadata(call), timeout=self._timeout)

    def _metadata(self, call: str) -> tuple[tuple[str, str], ...]:
        trace_id = self._trace_ids[call] = str(uuid.uuid4())
        _log.info("%s of org %s: x-client-trace-id %s", call, self._org.name, trace_id)
        return (
            ("accesstoken", self._token.access_token),
            ("instanceurl", self._org.url),
            ("tenantid", str(self._org.id)),
            ("x-client-trace-id", trace_id),
        )


def _open(url: str) -> Any:
    parts = urlsplit(url)
    is_plain = parts.scheme == "http"
    target = f"{parts.hostname}:{parts.port or (80 if is_plain else 443)}"
    proxy = proxy_for(url)
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", _LARGEST_RESPONSE),
        ("grpc.enable_http_proxy", 0 if proxy is None else 1),  # gRPC's own variables do not count
        ("grpc.enable_retries", 0),
        ("grpc.use_local_subchannel_pool", 1),  # a new stream is a new connection
    ]
    if proxy is not None:
        user = f"{quote(proxy.user, safe='')}:{quote(proxy.password, safe='')}@" if proxy.user else ""
        options.append(("grpc.http_proxy", f"http://{user}{proxy.address}"))
    if is_plain:
        return grpc.aio.insecure_channel(target, options=options)
    credentials = grpc.ssl_channel_credentials(root_certificates=authorities_pem())
    return grpc.aio.secure_channel(target, credentials, options=options)
