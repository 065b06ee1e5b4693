"""Finding the orders that a command is meant for, and sending it to each: at a pace, safe to repeat, every answer told.

Messages that nobody could read are workflows beside the orders; they have a stage and a reason and take part.
"""

from __future__ import annotations

import asyncio
import getpass
import socket
from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from temporalio.client import Client, WorkflowExecution
from temporalio.service import RPCError, RPCStatusCode

from closedwon import names
from closedwon.errors import AttentionReason
from closedwon.ids import RecordId

_AT_A_TIME: Final = 50
"""Commands under way at the same moment."""


class Selection(NamedTuple):
    """Which unfinished orders are meant; what is None does not matter."""

    reason: AttentionReason | None = None
    stage: names.OrderStage | None = None
    route: str | None = None
    record: RecordId | None = None

    def query(self) -> str:
        """The list filter, as Temporal's own command line takes it, too."""
        stages = ", ".join(f"'{stage}'" for stage in names.UNFINISHED)
        terms = ["ExecutionStatus = 'Running'", f"{names.ORDER_STAGE} IN ({stages})"]
        wanted = {
            names.ATTENTION_REASON: self.reason,
            names.ORDER_STAGE: self.stage,
            names.ROUTE: self.route,
            names.SALESFORCE_RECORD_ID: self.record,
        }
        terms += [f"{name} = '{quoted(value)}'" for name, value in wanted.items() if value is not None]
        return " AND ".join(terms)


class Outcome(StrEnum):
    """What became of a command."""

    SENT = "sent"
    REFUSED = "refused"
    GONE = "gone"
    """The order had come to its end meanwhile."""
    FAILED = "not sent"


class Answer(NamedTuple):
    """What one workflow, or Temporal in its place, said to a command."""

    workflow_id: str
    outcome: Outcome
    text: str = ""


def operator() -> str:
    """Who is at the keyboard: `user@host`, for the order's story."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def quoted(text: str) -> str:
    """`text` inside the single quotes of a list filter."""
    return text.replace("'", "")


async def find(client: Client, selection: Selection) -> list[WorkflowExecution]:
    """List them all: a list that is read while commands change it would skip some."""
    return [execution async for execution in client.list_workflows(selection.query(), page_size=1000)]


async def send(
    client: Client, workflow_ids: Sequence[str], command: str, *, by: str, why: str | None, rate: float
) -> AsyncIterator[Answer]:
    """Send a command to each, at most `rate` a second, and yield the answers as they come."""
    clock = asyncio.get_running_loop().time
    due, under_way = clock(), set[asyncio.Task[Answer]]()
    text = f"{why} ({by})" if why else f"by {by}"
    try:
        for workflow_id in workflow_ids:
            await asyncio.sleep(due - clock())
            due = max(due, clock() - 1) + 1 / rate  # what a slow moment left over is made good, for a second at most
            under_way.add(asyncio.create_task(_send(client, workflow_id, command, text)))
            wait_for = asyncio.FIRST_COMPLETED if len(under_way) >= _AT_A_TIME else asyncio.ALL_COMPLETED
            timeout = None if len(under_way) >= _AT_A_TIME else 0
            done, under_way = await asyncio.wait(under_way, timeout=timeout, return_when=wait_for)
            for task in done:
                yield task.result()
        for next_one in asyncio.as_completed(under_way):
            yield await next_one
    finally:
        for task in under_way:
            task.cancel()


async def _send(client: Client, workflow_id: str, command: str, text: str) -> Answer:
    try:
        await client.get_workflow_handle(workflow_id).signal(command, text)
    except RPCError as error:
        gone = error.status is RPCStatusCode.NOT_FOUND
        return Answer(workflow_id, Outcome.GONE if gone else Outcome.FAILED, "" if gone else error.status.name)
    return Answer(workflow_id, Outcome.SENT)
