"""Messages that could not be parsed, kept in a workflow each."""

from __future__ import annotations

from contextlib import suppress

from temporalio.client import Client
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError

from closedwon import names
from closedwon.errors import AttentionReason
from closedwon.model.messages import UnparseableMessage
from closedwon.temporal.search_attributes import SEARCH_ATTRIBUTE_KEYS


async def park_unparseable(client: Client, message: UnparseableMessage) -> None:
    """Start the workflow that holds an unparseable message; when this returns, it is durable.

    Safe to repeat, also after an operator has decided on it: a message that is delivered again does not start it again.
    """
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
