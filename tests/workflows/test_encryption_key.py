"""The workflow that keeps the check value of an encryption key."""

from __future__ import annotations

from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from closedwon import names
from closedwon.temporal.key_checks import ensure_key_checks
from tests.support.encryption import GOLDEN_KEY, keyed, with_keys
from tests.support.handoff import until
from tests.support.histories import keep_history
from workflows.encryption_key import EncryptionKeyWorkflow


async def test_the_workflow_of_a_key_rests_and_costs_nothing(temporal_server: WorkflowEnvironment) -> None:
    """A worker completes its first task, and there is never another one."""
    client = with_keys(temporal_server.client, keyed(GOLDEN_KEY))
    await ensure_key_checks(client)
    handle = client.get_workflow_handle(names.encryption_key_workflow_id(GOLDEN_KEY.id))
    async with Worker(client, task_queue=names.ORDERS_QUEUE, workflows=[EncryptionKeyWorkflow]):

        async def rests() -> bool:
            return (await handle.describe()).raw_description.workflow_execution_info.history_length == 4

        await until(rests)
        assert not (await handle.describe()).raw_description.HasField("pending_workflow_task")
        await keep_history(client, handle.id)
    await handle.terminate()
