"""A worker of `orders` or of the ERPs' queues that kills itself at points of danger, once for each order.

    python dying_worker.py QUEUE FOLDER POINT...

The points are those of `closedwon.erp.base.Step`, and `written`, between a write-back and its completion. FOLDER keeps
a file for each point and order that has been struck. Ends with its parent: when standard input is closed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from contextlib import AsyncExitStack
from pathlib import Path

from temporalio import activity
from temporalio.common import MetricMeter

from closedwon import names
from closedwon.erp.base import Step
from closedwon.settings import ENV_FILE, load_settings
from closedwon.telemetry.metrics import Metrics
from closedwon.temporal.client import connect
from workers.connections import Connections
from workers.orders import order_workers

_COMPANY = 0.1
"""Seconds that a doomed process lives on, so that the other orders of a shared call come to the same point."""


async def main(queue: str, folder: Path, points: set[str]) -> None:
    """Work until killed."""
    settings = load_settings(os.environ[ENV_FILE])

    async def strike(point: str) -> None:
        mark = folder / f"{point} {activity.info().workflow_id}"
        if point in points and not mark.exists():
            mark.touch()
            await asyncio.sleep(_COMPANY)
            os.kill(os.getpid(), signal.SIGKILL)

    async def on_step(step: Step) -> None:
        await strike(step)

    async def on_written() -> None:
        await strike("written")

    async with Connections(settings) as connections:
        workers = order_workers(
            await connect(settings.encryption),
            settings,
            connections,
            Metrics(MetricMeter.noop),
            on_step=on_step,
            on_written=on_written,
        )
        async with AsyncExitStack() as stack:
            for worker in workers:
                if (worker.task_queue == names.ORDERS_QUEUE) == (queue == names.ORDERS_QUEUE):
                    await stack.enter_async_context(worker)
            await asyncio.Event().wait()


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), set(sys.argv[3:])))
