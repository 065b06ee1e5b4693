"""What one open workflow waits for: its pending activities, with attempt, last failure and next attempt."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from closedwon.temporal.channels import failure_text
from closedwon.temporal.queues import ACTIVITIES, QueueState, queue_state


class Wait(NamedTuple):
    """One step that an order waits for."""

    step: str
    """As in `create-order`."""
    attempt: int
    """The present one, or the next."""
    failure: str
    """Of the attempt before, in Closedwon's own text; empty if none has failed."""
    failed_at: datetime | None
    next_at: datetime | None
    """When the next attempt begins; None while one is under way, or waits for a worker."""
    running_since: datetime | None
    """When the present attempt began; None while there is none."""
    queue: QueueState | None
    """The queue in which the attempt waits to be taken up; None while it does not."""

    @property
    def text(self) -> str:
        """For people, in one line."""
        failed = f": {self.failure}" if self.failure else ""
        return f"{self.step}, attempt {self.attempt}{failed}{self._now}"

    @property
    def _now(self) -> str:
        if self.running_since is not None:
            return f"; under way since {self.running_since:%H:%M:%S} UTC"
        if self.next_at is not None:
            return f"; the next attempt is at {self.next_at:%m-%d %H:%M:%S} UTC"
        if self.queue is None:
            return ""
        if self.queue.is_paused:
            return f"; task queue {self.queue.name} is paused"
        if not self.queue.recent:
            return f"; no pollers on task queue {self.queue.name}"
        return f"; waits for a worker of task queue {self.queue.name}"


async def waits(client: Client, workflow_id: str, run_id: str | None = None) -> list[Wait]:
    """What a workflow waits for; nothing if it is gone. Raises Temporal's `RPCError`, or `CodecError`."""
    try:
        described = await client.get_workflow_handle(workflow_id, run_id=run_id).describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return []
    return [await _wait(client, pending) for pending in described.raw_description.pending_activities]


async def example(client: Client, query: str) -> str:
    """What one of the workflows that a filter finds waits for, to be appended to a sentence."""
    async for one in client.list_workflows(query, limit=1):
        return "".join(f"; e.g. {one.id}, {wait.text}" for wait in await waits(client, one.id))
    return ""


async def _wait(client: Client, pending: PendingActivityInfo) -> Wait:
    is_running = pending.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
    due = max(at.ToDatetime(UTC) for at in (pending.scheduled_time, pending.next_attempt_schedule_time))
    backs_off = not is_running and due > datetime.now(UTC)
    name = pending.activity_options.task_queue.name
    has_failed = pending.HasField("last_failure")
    return Wait(
        step=pending.activity_id,
        attempt=pending.attempt,
        failure=await failure_text(client, pending) if has_failed else "",
        failed_at=pending.last_attempt_complete_time.ToDatetime(UTC) if has_failed else None,
        next_at=due if backs_off else None,
        running_since=pending.last_started_time.ToDatetime(UTC) if is_running else None,
        queue=await queue_state(client, name, ACTIVITIES) if name and not is_running and not backs_off else None,
    )
