"""Bare Temporal, to compare with: a workflow with three activities that do nothing, on the SDK's defaults.

    python -m benchmarks.bare_workflow worker ADDRESS
    python -m benchmarks.bare_workflow starter ADDRESS WORKFLOWS regular|local|waiting

The worker writes `ready` when it polls. The starter starts 32 workflows at a time, and writes the seconds of processor
time that it has used. The sandbox imports this file again for each workflow, so it imports nothing that it can omit.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

QUEUE: Final = "bare"
_AT_A_TIME: Final = 32
_LIMIT: Final = timedelta(minutes=1)
_LATER: Final = timedelta(minutes=15)


@activity.defn
async def nothing(text: str) -> str:
    """Return what comes in; `waiting` fails, and its next attempt is far away."""
    if text == "waiting":
        raise ApplicationError(text, next_retry_delay=_LATER)
    return text


@workflow.defn
class Bare:
    """Three activities, one after the other."""

    @workflow.run
    async def run(self, kind: str) -> str:
        """Run regular or local activities."""
        for _ in range(3):
            if kind == "local":
                await workflow.execute_local_activity(nothing, kind, start_to_close_timeout=_LIMIT)
            else:
                await workflow.execute_activity(nothing, kind, start_to_close_timeout=_LIMIT)
        return kind


async def main(role: str, address: str, rest: Sequence[str]) -> None:
    """Be the worker until the process is ended, or the starter."""
    client = await Client.connect(address)
    if role == "worker":
        async with Worker(client, task_queue=QUEUE, workflows=[Bare], activities=[nothing]):
            print("ready", flush=True)
            await asyncio.Event().wait()
    orders, kind = int(rest[0]), rest[1]
    left = iter(range(orders))

    async def start() -> None:
        for number in left:
            await client.start_workflow(Bare.run, kind, id=f"{kind}-{number}", task_queue=QUEUE)

    await asyncio.gather(*(start() for _ in range(_AT_A_TIME)))
    print(time.process_time(), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
    os._exit(0)  # the Temporal SDK may crash the interpreter's exit
