"""Connects to Temporal, and keeps trying while it is away. `closedwon.temporal.target` says where it is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TypeVar

from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client, Plugin
from temporalio.runtime import Runtime
from temporalio.service import RPCError, RPCStatusCode

from closedwon.encryption import codec
from closedwon.network.failures import FailureKind, NetworkError
from closedwon.settings.encryption import Encryption
from closedwon.temporal.errors import PASSING
from closedwon.temporal.target import WHERE, TemporalUnavailableError, explain, read_target

_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)

_PATIENCE = timedelta(seconds=60)
_ATTEMPT = timedelta(seconds=25)
"""For one connection and the first answer. The SDK has no limit of its own for a TLS handshake (seen: 1.35), and one of
30 s for the answer."""
_FIRST_PAUSE = 0.2


NO_NAMESPACE = (
    "Create it (`temporal operator namespace create --namespace … --retention 168h`), or correct TEMPORAL_NAMESPACE."
)
"""What to do about a namespace that does not exist."""


class _AwayError(Exception):
    """No connection. Its cause is the `NetworkError`."""

    def __init__(self, why: NetworkError) -> None:
        super().__init__(str(why))
        self.hint = why.hint


async def connect(
    encryption: Encryption,
    *,
    runtime: Runtime | None = None,
    identity: str | None = None,
    plugins: Sequence[Plugin] = (),
    patience: timedelta = _PATIENCE,
    each: timedelta = _ATTEMPT,
) -> Client:
    """Connect, trying for as long as `patience`; each attempt may last so long, two thirds of it for the connection.

    Raises `TemporalUnavailableError` with the hint, or `closedwon.encryption.codec.KmsError`.
    """
    converter = codec.data_converter(encryption)
    address = read_target()["target_host"]

    async def attempt() -> Client:
        target = read_target()  # again each time: a certificate may have been renewed
        target["connect_timeout"] = min(target["connect_timeout"], each * 2 / 3)
        try:
            async with asyncio.timeout(each.total_seconds()):
                return await Client.connect(
                    **target, data_converter=converter, runtime=runtime, identity=identity, plugins=plugins
                )
        except ValueError as error:
            raise TemporalUnavailableError(f"{address!r} is not a valid address: {error}") from error
        except TimeoutError:
            text = f"it takes connections, but gave no answer within {each.total_seconds():g} s"
            why = NetworkError(FailureKind.NO_ANSWER, text)
        except RuntimeError as error:  # what the SDK raises when the first connection fails
            why = explain(error, target)
        raise _AwayError(why) from why

    return await _patiently(attempt, address, patience)


def is_passing(error: RPCError) -> bool:
    """Whether the same call may succeed later: the server is stopping or starting, or was just set up.

    A cluster's processes learn of new search attributes after some seconds, each for itself (seen: server 1.32.0).
    Until then they refuse what names one, with a code that has other causes, too. A namespace that does not exist yet
    is made by an operator.
    """
    return error.status in PASSING or error.status is RPCStatusCode.INVALID_ARGUMENT or is_namespace_missing(error)


async def patiently(client: Client, step: Callable[[], Awaitable[None]]) -> None:
    """Do a step that is safe to repeat; repeat it for a minute if Temporal is away.

    Raises `TemporalUnavailableError` with the hint, or what the step raises.
    """
    await _patiently(step, client.service_client.config.target_host, _PATIENCE)


async def _patiently(step: Callable[[], Awaitable[_Result]], address: str, patience: timedelta) -> _Result:
    deadline = asyncio.get_running_loop().time() + patience.total_seconds()
    pause = _FIRST_PAUSE
    while True:
        try:
            return await step()
        except (_AwayError, RPCError) as error:
            is_lacking = isinstance(error, RPCError) and is_namespace_missing(error)
            if isinstance(error, RPCError) and not is_passing(error):
                raise
            if asyncio.get_running_loop().time() + pause > deadline:
                if isinstance(error, RPCError) and error.status is RPCStatusCode.INVALID_ARGUMENT:
                    raise
                said = f" ({error.status.name}: {error.message})" if isinstance(error, RPCError) else ""
                text, hint = f"cannot be reached{said}", f"Is it running? {WHERE}"
                if isinstance(error, _AwayError):
                    text, hint = f"cannot be reached: {error}", f"{error.hint} {WHERE}"
                if is_lacking:
                    text, hint = f"has no such namespace{said}", NO_NAMESPACE
                raise TemporalUnavailableError(f"Temporal at {address} {text}", hint=hint) from error
            if pause == _FIRST_PAUSE:
                what = "has no such namespace yet" if is_lacking else "cannot be reached yet"
                why = "" if isinstance(error, RPCError) else f" ({error})"
                _log.warning("Temporal at %s %s%s; trying for %s s", address, what, why, patience.seconds)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5.0)


def is_namespace_missing(error: RPCError) -> bool:
    """Whether Temporal does not know our namespace: not yet, or not any more since its database was replaced."""
    return any(one.Is(NamespaceNotFoundFailure.DESCRIPTOR) for one in error.grpc_status.details)


async def namespace_id(client: Client) -> str:
    """Identify our namespace: the id changes when its database is replaced by an empty one. Raises `RPCError`."""
    answer = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    return answer.namespace_info.id
