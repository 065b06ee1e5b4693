"""Selects orders for a command and sends it to each of them, at a limited rate; safe to repeat.

Unparseable messages and sweeps that need attention are workflows, too, with a stage and a reason; they are selected if
they accept the command.
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
from closedwon.model.commands import Command, CommandAnswer
from closedwon.operations.waking import Waker
from closedwon.settings import Route
from closedwon.temporal import visibility
from closedwon.temporal.errors import PASSING
from workflows.order_table import KEPT_BY_RETRY

_AT_A_TIME: Final = 50
"""Maximum number of concurrent commands."""


_PATIENCE: Final = 10.0
"""Maximum time in seconds for the answer of an order, which needs a running worker."""
_ENDED: Final = "It has ended; the command may have arrived before that."
_TAKEN_BY: Final = {
    names.SIGNAL_CANCEL: (names.ORDER_WORKFLOW, names.UNPARSEABLE_MESSAGE_WORKFLOW),
    names.SIGNAL_RESOLVE: (names.ORDER_WORKFLOW,),
    names.SIGNAL_SKIP: (names.ORDER_WORKFLOW, names.UNPARSEABLE_MESSAGE_WORKFLOW),
}
"""Which workflows know the command; all of ours know `retry`."""


class Selection(NamedTuple):
    """The open orders that a command is for; None matches all.

    Orders that are done and only followed or kept open are selected only by stage or record; orders on which `retry`
    would be a decision, only by reason or record.
    """

    reason: AttentionReason | None = None
    stage: names.OrderStage | None = None
    route: str | None = None
    record: RecordId | None = None

    def query(self, command: str) -> str:
        """The visibility filter, which Temporal's command line also accepts."""
        terms = [visibility.RUNNING]
        if self.stage is None and self.record is None:
            terms.append(visibility.one_of(names.ORDER_STAGE, names.UNFINISHED))
        if command in _TAKEN_BY:
            terms.append(visibility.of_type(*_TAKEN_BY[command]))
        wanted = {
            names.ATTENTION_REASON: self.reason,
            names.ORDER_STAGE: self.stage,
            names.ROUTE: self.route,
            names.SALESFORCE_RECORD_ID: self.record,
        }
        terms += [visibility.equals(name, value) for name, value in wanted.items() if value is not None]
        if command == names.SIGNAL_RETRY and self.reason is None and self.record is None:
            terms.append(visibility.none_of(names.ATTENTION_REASON, KEPT_BY_RETRY))
        return visibility.all_of(*terms)


class CommandOutcome(StrEnum):
    """What became of a command."""

    ACCEPTED = "accepted"
    WOKEN = "woken"
    """Its next attempt happens now; the order itself got no command."""
    SENT = "sent"
    """It is durable, but no worker has answered yet."""
    REFUSED = "refused"
    GONE = "gone"
    """The order has ended in the meantime."""
    FAILED = "not sent"


class CommandReply(NamedTuple):
    """The reply of one workflow, or of Temporal, to a command."""

    workflow_id: str
    outcome: CommandOutcome
    text: str = ""


def operator() -> str:
    """The operator: `user@host`, for the order's timeline."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


async def find(client: Client, selection: Selection, command: str) -> list[WorkflowExecution]:
    """List all that a command is meant for: a list that is read while commands change it would skip some."""
    return [execution async for execution in client.list_workflows(selection.query(command), page_size=1000)]


async def send(
    client: Client,
    workflow_ids: Sequence[str],
    command: str,
    given: Command,
    *,
    rate: float,
    routes: Sequence[Route] = (),
) -> AsyncIterator[CommandReply]:
    """Send a command to each, at most `rate` a second, and yield the replies as they come.

    With the `routes` of the settings, `retry` without a reason only wakes an order that needs no more than its next
    attempt: the order does not get the command.
    """
    wakes = command == names.SIGNAL_RETRY and given.reason is None and routes
    sender = _Sender(client, command, given, Waker(client, {route.name: route for route in routes}) if wakes else None)
    clock = asyncio.get_running_loop().time
    due, under_way = clock(), set[asyncio.Task[CommandReply]]()
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
    def __init__(self, client: Client, command: str, given: Command, waker: Waker | None) -> None:
        self._client = client
        self._waker = waker
        self._command = command
        self._given = given
        self._without_workers = False

    async def send(self, workflow_id: str, *, is_signal: bool = False) -> CommandReply:
        """Send the command by an update, which answers, or by a signal, which is only durable."""
        try:
            if is_signal or not workflow_id.startswith(names.ORDER_PREFIX):
                return await self._signal(workflow_id)
            if self._waker is not None and await self._waker.wake(workflow_id):
                return CommandReply(workflow_id, CommandOutcome.WOKEN, "Its next attempt happens now.")
            return await (self._signal if self._without_workers else self._update)(workflow_id)
        except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError):
            # Not an error: without workers, a signal is kept until one runs. It may repeat an update that arrived.
            self._without_workers = True
            return await self._again(workflow_id)
        except WorkflowUpdateFailedError as error:
            return CommandReply(workflow_id, CommandOutcome.REFUSED, str(error.cause))
        except RPCError as error:
            return await self._failed(workflow_id, error, is_signal=is_signal)

    async def _failed(self, workflow_id: str, error: RPCError, *, is_signal: bool) -> CommandReply:
        if error.status in PASSING and not is_signal:
            # A workflow task that timed out on a busy machine ends the updates that waited for it (UNAVAILABLE,
            # ABORTED), as does a shard that moves. A signal is kept until a worker is there.
            return await self._again(workflow_id)
        if error.status is RPCStatusCode.NOT_FOUND:
            return CommandReply(workflow_id, CommandOutcome.GONE)
        return CommandReply(workflow_id, CommandOutcome.FAILED, error.status.name)

    async def _again(self, workflow_id: str) -> CommandReply:
        """Send as a signal what was sent as an update, and may have arrived."""
        reply = await self.send(workflow_id, is_signal=True)
        return reply if reply.outcome is not CommandOutcome.GONE else reply._replace(text=_ENDED)

    async def _update(self, workflow_id: str) -> CommandReply:
        async with asyncio.timeout(_PATIENCE):
            answer: CommandAnswer = await self._client.get_workflow_handle(workflow_id).execute_update(
                self._command, self._given, result_type=CommandAnswer
            )
        return CommandReply(
            workflow_id, CommandOutcome.ACCEPTED if answer.accepted else CommandOutcome.REFUSED, answer.message
        )

    async def _signal(self, workflow_id: str) -> CommandReply:
        await self._client.get_workflow_handle(workflow_id).signal(self._command, self._given)
        return CommandReply(workflow_id, CommandOutcome.SENT)
