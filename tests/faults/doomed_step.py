"""A worker of one ERP's activities that kills itself at a point of danger of its first attempt.

    python doomed_step.py TEMPORAL QUEUE URL TOKEN POINT

POINT is one of `closedwon.erp.base.Step`. Ends with its parent: when standard input is closed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading

from temporalio.client import Client
from temporalio.common import MetricMeter
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker

from activities.erp import ErpActivities
from closedwon.erp import open_erp
from closedwon.erp.base import Step
from closedwon.telemetry.metrics import Metrics
from tests.integration.erp.worlds import rest_settings


async def main(address: str, queue: str, url: str, token: str, point: str) -> None:
    """Work until killed."""

    async def on_step(step: Step) -> None:
        if step == point:
            os.kill(os.getpid(), signal.SIGKILL)

    erps = {"stub": open_erp(rest_settings(url, token))}
    activities = ErpActivities(erps, Metrics(MetricMeter.noop), on_step=on_step)
    client = await Client.connect(address, data_converter=pydantic_data_converter)
    async with Worker(client, task_queue=queue, activities=[activities.create_order, activities.cancel_order]):
        await asyncio.Event().wait()


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    asyncio.run(main(*sys.argv[1:]))
