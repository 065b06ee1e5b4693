"""Open workflows that hold payloads which no configured key decrypts, although one of them has the right id.

They were written, or signaled, by a process with a wrong key. If that key still exists, `by_mistake = true` makes them
decryptable, and nothing else is needed. If it is lost, they can never continue: `end` terminates them, and sweeps and
the audit start the orders again. The ERP has the keys of the orders, so none is made twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowExecution
from temporalio.service import RPCError, RPCStatusCode

from closedwon import names
from closedwon.encryption.codec import KeyUnfitError
from closedwon.settings import Settings
from closedwon.temporal import visibility
from closedwon.temporal.key_checks import verify_keys
from closedwon.temporal.sweeps import sweep_gap_again
from workers.sweeps import renew_schedules

_AT_A_TIME: Final = 20
_REASON: Final = "written with a wrong encryption key, which is lost: nothing can decrypt it"
_NEVER_READ: Final = frozenset({EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED, EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED})
"""Events whose payloads no workflow reads: they hold the errors of a process that had a wrong key, and do no harm."""


class Ended(NamedTuple):
    """What was done."""

    workflows: int
    gaps: int
    """Those of them whose sweep was started again."""
    schedules: int
    """How many were made again."""


async def undecryptable(
    client: Client, query: str = visibility.RUNNING, *, limit: int | None = None
) -> AsyncIterator[WorkflowExecution]:
    """List those of the workflows that match, or of the first `limit` of them. Reads the whole history of each.

    Raises `WrongKeyError` if the configured keys are not the right ones, `KeyMissingError` if one of them is not
    configured, or Temporal's `RPCError`.
    """
    await verify_keys(client)
    gate = asyncio.Semaphore(_AT_A_TIME)

    async def look(one: WorkflowExecution) -> WorkflowExecution | None:
        async with gate:
            return one if await _is_undecryptable(client, one) else None

    executions = [one async for one in client.list_workflows(query, limit=limit)]
    for next_one in asyncio.as_completed([look(one) for one in executions]):
        if (found := await next_one) is not None:
            yield found


async def end(client: Client, settings: Settings, workflows: Sequence[WorkflowExecution]) -> Ended:
    """Terminate them, sweep their gaps again, and make the schedules again; safe to repeat.

    A schedule hands the result of its last run to the next one. If that was written with the wrong key, no later sweep
    could begin. Raises Temporal's `RPCError`.
    """
    if not workflows:
        return Ended(0, 0, 0)
    await _terminate(client, workflows)
    gaps = [one.id for one in workflows if one.id.startswith(names.GAP_PREFIX)]
    for gap in gaps:
        await sweep_gap_again(client, gap)
    schedules = await renew_schedules(client, settings)
    scheduled = visibility.all_of(visibility.of_type(names.SWEEP_WORKFLOW, names.AUDIT_WORKFLOW), visibility.RUNNING)
    await _terminate(client, [one async for one in undecryptable(client, scheduled)])  # the old schedules began them
    return Ended(len(workflows), len(gaps), schedules)


async def _terminate(client: Client, workflows: Sequence[WorkflowExecution]) -> None:
    gate = asyncio.Semaphore(_AT_A_TIME)

    async def terminate(one: WorkflowExecution) -> None:
        async with gate, _unless_gone():
            await client.get_workflow_handle(one.id, run_id=one.run_id).terminate(reason=_REASON)

    await asyncio.gather(*(terminate(one) for one in workflows))


async def _is_undecryptable(client: Client, one: WorkflowExecution) -> bool:
    handle = client.get_workflow_handle(one.id, run_id=one.run_id)
    async with _unless_gone():
        async for event in handle.fetch_history_events():
            if event.event_type not in _NEVER_READ and not await _decrypts(client, event):
                return True
        pending = (await handle.describe()).raw_description.pending_activities
        return not all([await _decrypts(client, activity.heartbeat_details) for activity in pending])
    return False


async def _decrypts(client: Client, message: Message) -> bool:
    codec = client.data_converter.payload_codec
    try:
        if codec is not None:
            await codec.decode([*_payloads(message)])
    except KeyUnfitError:
        return False
    return True


def _payloads(message: Message) -> Iterator[Payload]:
    """All payloads in a message of Temporal's API, at any depth."""
    if isinstance(message, Payload):
        yield message
        return
    for field, value in message.ListFields():
        if field.type != FieldDescriptor.TYPE_MESSAGE or field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            parts = [part for part in value.values() if isinstance(part, Message)]
        else:
            parts = [value] if isinstance(value, Message) else [*value]
        for part in parts:
            yield from _payloads(part)


@asynccontextmanager
async def _unless_gone() -> AsyncIterator[None]:
    """Leave the block if the workflow has ended, or was deleted, in the meantime."""
    try:
        yield
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
