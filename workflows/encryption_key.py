"""A note in Temporal: the check value of one encryption key, by which every process sees whether it has the same key.

The value is the workflow's memo, in plain text; `closedwon.temporal.key_checks` writes and compares it. The workflow
does nothing. It is open without end, because Temporal deletes closed workflows when their retention is over.
"""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from closedwon import names


@workflow.defn(name=names.ENCRYPTION_KEY_WORKFLOW)
class EncryptionKeyWorkflow:
    """Open without end."""

    @workflow.run
    async def run(self) -> None:
        """Wait, without a timer: nothing ever happens here, so its history does not grow."""
        await workflow.wait_condition(lambda: False)
