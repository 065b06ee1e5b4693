"""Finding the orders that a command is meant for, and sending it to each: at a pace, safe to repeat, every answer told.

Messages that nobody could read and sweeps that need attention are workflows beside the orders; they have a stage and a
reason and take part, as far as they know the command.
"""

from __future__ import annotations

import asyncio
import getpass
import socket
from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from temporalio.client import (
    Client,
    WorkflowExecution,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.service import RPCError, RPCStatusCode

from closedwon import names
from closedwon.errors import AttentionReason
from closedwon.ids import RecordId
from closedwon.model import Answer, Command
from workflows.order_table import KEPT_BY_RETRY

_AT_A_TIME: Final = 50
"""Commands under way at the same moment."""


_PATIENCE: Final = 10.0
"""Seconds for an order's answer; a worker must live for it."""
_TAKEN_BY: Final = {
    names.SIGNAL_CANCEL: (names.ORDER_WORKFLOW, names.UNREADABLE_MESSAGE_WORKFLOW),
    names.SIGNAL_RESOLVE: (names.ORDER_WORKFLOW,),
    names.SIGNAL_SKIP: (names.ORDER_WORKFLOW, names.UNREADABLE_MESSAGE_WORKFLOW),
}
"""Which workflows know the command; all of ours know `retry`."""


class Selection(NamedTuple):
    """Which open orders are meant; what is None does not matter.

    Those that are done, and are only watched or remembered, are meant only where their stage or record is named; those
    that `retry` would decide on, where their reason or record is.
    """

    reason: AttentionReason | None = None
    stage: names.OrderStage | None = None
    route: str | None = None
    record: RecordId | None = None

    def query(self, command: str) -> str:
        """The list filter, as Temporal's own command line takes it, too."""
        terms = ["ExecutionStatus = 'Running'"]
        if self.stage is None and self.record is None:
            stages = ", ".join(f"'{stage}'" for stage in names.UNFINISHED)
            terms.append(f"{names.ORDER_STAGE} IN ({stages})")
        if command in _TAKEN_BY:
            kinds = ", ".join(f"'{kind}'" for kind in _TAKEN_BY[command])
            terms.append(f"WorkflowType IN ({kinds})")
        wanted = {
            names.ATTENTION_REASON: self.reason,
            names.ORDER_STAGE: self.stage,
            names.ROUTE: self.route,
            names.SALESFORCE_RECORD_ID: self.record,
        }
        terms += [f"{name} = '{quoted(value)}'" for name, value in wanted.items() if value is not None]
        if command == names.SIGNAL_RETRY and self.reason is None and self.record is None:
            decided = ", ".join(f"'{reason}'" for reason in KEPT_BY_RETRY)
            terms.append(f"({names.ATTENTION_REASON} IS NULL OR {names.ATTENTION_REASON} NOT IN ({decided}))")
        return " AND ".join(terms)


class Outcome(StrEnum):
    """What became of a command."""

    ACCEPTED = "accepted"
    SENT = "sent"
    """It is durable, but no worker has answered yet."""
    REFUSED = "refused"
    GONE = "gone"
    """The order had come to its end meanwhile."""
    FAILED = "not sent"


class Reply(NamedTuple):
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


async def find(client: Client, selection: Selection, command: str) -> list[WorkflowExecution]:
    """List all that a command is meant for: a list that is read while commands change it would skip some."""
    return [execution async for execution in client.list_workflows(selection.query(command), page_size=1000)]


async def send(
    client: Client, workflow_ids: Sequence[str], command: str, given: Command, *, rate: float
) -> AsyncIterator[Reply]:
    """Send a command to each, at most `rate` a second, and yield the replies as they come."""
    sender = _Sender(client, command, given)
    clock = asyncio.get_running_loop().time
    due, under_way = clock(), set[asyncio.Task[Reply]]()
    try:
        for workflow_id in workflow_ids:
            await asyncio.sleep(due - clock())
            due = max(due, clock() - 1) + 1 / rate  # what a slow moment left over is made good, for a second at most
            under_way.add(asyncio.create_task(sender.send(workflow_id)))
            is_full = len(under_way) >= _AT_A_TIME
            done, under_way = await asyncio.wait(
                under_way, timeout=None if is_full else 0, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                yield task.result()
        for next_one in asyncio.as_completed(under_way):
            yield await next_one
    finally:
        for task in under_way:
            task.cancel()


class _Sender:
    def __init__(self, client: Client, command: str, given: Command) -> None:
        self._client = client
        self._command = command
        self._given = given
        self._nobody_answers = False

    async def send(self, workflow_id: str) -> Reply:
        try:
            if not workflow_id.startswith(names.ORDER_PREFIX):
                return await self._tell(workflow_id)
            if not self._nobody_answers:
                return await self._ask(workflow_id)
            return await self._tell(workflow_id)
        except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError):
            # Not an error: with all workers down a signal is kept until one lives. It repeats what may have arrived.
            self._nobody_answers = True
            return await self.send(workflow_id)
        except WorkflowUpdateFailedError as error:
            return Reply(workflow_id, Outcome.REFUSED, str(error.cause))
        except RPCError as error:
            gone = error.status is RPCStatusCode.NOT_FOUND
            return Reply(workflow_id, Outcome.GONE if gone else Outcome.FAILED, "" if gone else error.status.name)

    async def _ask(self, workflow_id: str) -> Reply:
        async with asyncio.timeout(_PATIENCE):
            answer: Answer = await self._client.get_workflow_handle(workflow_id).execute_update(
                self._command, self._given, result_type=Answer
            )
        return Reply(workflow_id, Outcome.ACCEPTED if answer.accepted else Outcome.REFUSED, answer.message)

    async def _tell(self, workflow_id: str) -> Reply:
        await self._client.get_workflow_handle(workflow_id).signal(self._command, self._given)
        return Reply(workflow_id, Outcome.SENT)
