"""One process: connect, check, run the chosen roles, stop gracefully on SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from enum import StrEnum

from temporalio.client import Client

from closedwon import temporal
from closedwon.settings import Settings
from closedwon.telemetry import Telemetry
from workers.connections import Connections
from workers.orders import order_workers
from workers.subscriber import start_subscriptions, subscription_worker

_log = logging.getLogger(__name__)


class Role(StrEnum):
    """What a process does."""

    ORDERS = "orders"
    SUBSCRIBER = "subscriber"


async def run(settings: Settings, roles: Sequence[Role]) -> None:
    """Run until told to stop. Raises `ClosedwonError` when it cannot start."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        telemetry = Telemetry.start(settings.telemetry, service="+".join(roles))
        identity = f"closedwon {'+'.join(roles)} {os.getpid()}@{socket.gethostname()}"
        client = await temporal.connect(runtime=telemetry.runtime, identity=identity)
        await temporal.ensure_search_attributes(client)
        connections = await stack.enter_async_context(Connections(settings))
        if Role.ORDERS in roles:
            for worker in order_workers(client, settings, connections, telemetry.metrics):
                await stack.enter_async_context(worker)
        if Role.SUBSCRIBER in roles:
            await stack.enter_async_context(subscription_worker(client, settings, connections, telemetry.metrics))
            await start_subscriptions(client, settings)
        await telemetry.serve({"temporal": lambda: _temporal_ready(client)})
        stack.push_async_callback(telemetry.close)
        _log.info("%s is ready", identity)
        await stop.wait()
        _log.info("stopping: running calls are finished first")
    _log.info("stopped")


async def _temporal_ready(client: Client) -> None:
    """Raise unless Temporal answers and knows our search attributes."""
    missing = await temporal.missing_search_attributes(client)
    if missing:
        raise temporal.SearchAttributesMissingError(f"search attributes missing: {', '.join(missing)}")
