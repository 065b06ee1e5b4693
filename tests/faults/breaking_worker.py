"""A worker of all queues with the breakers of its ERPs, which look more often than in production, to be killed.

    python breaking_worker.py SETTINGS NAME

SETTINGS is a file with pickled settings. Ends with its parent: when standard input is closed.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
import threading
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

from temporalio.common import MetricMeter

from closedwon.settings import Settings
from closedwon.telemetry.metrics import Metrics
from closedwon.temporal.client import connect
from tests.support.breaker import PACE
from workers.breaker import Breaker
from workers.connections import Connections
from workers.looking import looking
from workers.orders import order_workers


async def main(settings: Settings, name: str) -> None:
    """Work until killed."""
    client = await connect(settings.encryption, identity=name)
    async with Connections(settings) as connections, AsyncExitStack() as stack:
        breaker = Breaker(client, connections.contacts, PACE)
        look = looking({"see whether the ERPs are reached": breaker.look}, timedelta(seconds=PACE.look))
        await stack.enter_async_context(look)
        for worker in order_workers(client, settings, connections, Metrics(MetricMeter.noop)):
            await stack.enter_async_context(worker)
        await asyncio.Event().wait()


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    asyncio.run(main(pickle.loads(Path(sys.argv[1]).read_bytes()), sys.argv[2]))  # noqa: S301 - our own test wrote it
