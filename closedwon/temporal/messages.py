"""Messages that could not be parsed, kept in a workflow each."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from temporalio.client import Client
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from closedwon import names
from closedwon.errors import AttentionReason
from closedwon.model.messages import UnparseableMessage
from closedwon.temporal.errors import ANSWERS, Remedy
from closedwon.temporal.search_attributes import SEARCH_ATTRIBUTE_KEYS
from closedwon.temporal.values import largest_value, value_size

_BYTES_PER_CHARACTER: Final = 8
"""At most, and room for the other fields: four in UTF-8, six where JSON escapes one."""


async def park_unparseable(client: Client, message: UnparseableMessage) -> None:
    """Start the workflow that holds an unparseable message; when this returns, it is durable.

    Safe to repeat, also after an operator has decided on it: a message that is delivered again does not start it again.
    Of a message that is larger than Temporal stores, the beginning is kept. Raises Temporal's `RPCError`.
    """
    try:
        await _start(client, message)
    except RPCError as error:
        if ANSWERS[error.status].remedy is not Remedy.FIND_CAUSE:
            raise
        limit = await largest_value(client)
        if await value_size(client, message) <= limit:
            raise
        kept = message.raw[: limit // _BYTES_PER_CHARACTER]
        problem = f"{message.problem} (only its first {len(kept):,} characters are kept)"
        await _start(client, message.model_copy(update={"raw": kept, "problem": problem}))


async def _start(client: Client, message: UnparseableMessage) -> None:
    with suppress(WorkflowAlreadyStartedError):
        await client.start_workflow(
            names.UNPARSEABLE_MESSAGE_WORKFLOW,
            message,
            id=names.unparseable_message_workflow_id(message.org, message.id),
            task_queue=names.ORDERS_QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            static_summary=f"unparseable message from {message.source}",
            search_attributes=TypedSearchAttributes(
                [
                    SearchAttributePair(SEARCH_ATTRIBUTE_KEYS[names.SALESFORCE_ORG_ID], message.org),
                    SearchAttributePair(SEARCH_ATTRIBUTE_KEYS[names.CHANNEL], message.channel),
                    SearchAttributePair(SEARCH_ATTRIBUTE_KEYS[names.ORDER_STAGE], names.OrderStage.ATTENTION),
                    SearchAttributePair(SEARCH_ATTRIBUTE_KEYS[names.ATTENTION_REASON], AttentionReason.INVALID_MESSAGE),
                ]
            ),
        )
