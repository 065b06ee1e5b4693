"""The one way to start an order workflow, and how the last one of a record ended."""

from __future__ import annotations

from pydantic_core import PydanticSerializationError
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.common import (
    Priority,
    SearchAttributePair,
    TypedSearchAttributes,
)
from temporalio.service import RPCError, RPCStatusCode

from closedwon import names
from closedwon.encryption.codec import KeyUnfitError
from closedwon.errors import AttentionError, AttentionReason
from closedwon.ids import OrgId, RecordId
from closedwon.model.messages import Message
from closedwon.model.order_state import OrderStart
from closedwon.model.outcomes import OrderResult
from closedwon.safe_text import line, markdown
from closedwon.telemetry import traces
from closedwon.temporal.errors import ANSWERS, LARGEST_VALUE, Remedy
from closedwon.temporal.search_attributes import SEARCH_ATTRIBUTE_KEYS
from closedwon.temporal.values import largest_value, value_size

BELOW_LIVE_TRAFFIC = Priority(priority_key=5)
"""The priority of sweeps and of the orders that they start; notifications have the default, 3."""
BEHIND_PROVEN = Priority(priority_key=4)
"""The priority of orders that an unproven sender starts: invented records wait for each other, and no deal for them."""


class UnstorableError(AttentionError):
    """A message that Temporal cannot store; a retry would fail, too."""

    def __init__(self) -> None:
        super().__init__(
            "its payload cannot be stored; a text in it may hold half a surrogate pair, as of an emoji that was cut",
            reason=AttentionReason.INVALID_MESSAGE,
            hint="Correct the text in Salesforce and publish the event again; then send `cancel`.",
        )


class TooLargeMessageError(UnstorableError):
    """A message that is larger than a value may be in Temporal."""

    def __init__(self, record: RecordId, size: int, limit: int) -> None:
        """Sizes in bytes."""
        AttentionError.__init__(
            self,
            f"the notification of record {record} is too large for Temporal: {size:,} bytes, and {limit:,} fit",
            reason=AttentionReason.INVALID_MESSAGE,
            hint="Send fewer fields, or only the record's id (`source` of the route); then send `cancel`.",
        )


class FullError(AttentionError):
    """The record's workflow takes no further notification until it has read those that it has."""

    def __init__(self, record: RecordId) -> None:
        super().__init__(
            f"the order workflow of record {record} takes no further notification: Temporal keeps a limited number of "
            "signals in one run, and those that it has are not read yet",
            reason=AttentionReason.INVALID_MESSAGE,
            hint="See that workers run, and what changes the record so often; when its order has gone on, send "
            "`retry`. If its order has ended right, send `skip`.",
        )


async def start_order(
    client: Client,
    start: OrderStart,
    message: Message,
    *,
    summary: str | None = None,
    priority: Priority = Priority.default,
) -> None:
    """Start the record's workflow or signal the running one; when this returns, the message is durable.

    Safe to repeat. `summary` (deal name, amount) is shown on the workflow's page in the UI and, being its memo, by
    `closedwon orders list`; it and `priority` belong to the first start. Lists show the order as `ordering`, until it
    waits for something else (`workflows.presenter`).

    Raises `UnstorableError`, of which `TooLargeMessageError` is one, `FullError`, or Temporal's `RPCError`.
    """
    check_size(start.record, message)
    attributes = TypedSearchAttributes(
        [
            SearchAttributePair(SEARCH_ATTRIBUTE_KEYS[names.SALESFORCE_RECORD_ID], start.record),
            SearchAttributePair(SEARCH_ATTRIBUTE_KEYS[names.SALESFORCE_ORG_ID], start.org),
            SearchAttributePair(SEARCH_ATTRIBUTE_KEYS[names.ROUTE], start.route),
            SearchAttributePair(SEARCH_ATTRIBUTE_KEYS[names.CHANNEL], message.channel),
            SearchAttributePair(SEARCH_ATTRIBUTE_KEYS[names.ORDER_STAGE], names.OrderStage.ORDERING),
        ]
    )
    try:
        with traces.accepting(start, message):
            await client.start_workflow(
                names.ORDER_WORKFLOW,
                start,
                id=names.order_workflow_id(start.org, start.record),
                task_queue=names.ORDERS_QUEUE,
                start_signal=names.SIGNAL_NOTIFIED,
                start_signal_args=[message],
                static_summary=markdown(summary) if summary else None,
                memo={names.DEAL: line(summary)} if summary else None,
                search_attributes=attributes,
                priority=priority,
            )
    except PydanticSerializationError:
        raise UnstorableError from None
    except RPCError as error:
        if ANSWERS[error.status].remedy is not Remedy.FIND_CAUSE:
            raise
        await _signal_alone(client, start, message, error)


def check_size(record: RecordId, message: Message) -> None:
    """Raise `UnstorableError` for a message that no Temporal stores; one that only names the record is small."""
    if message.payload is None:
        return
    try:
        size = len(message.model_dump_json().encode())
    except PydanticSerializationError:
        raise UnstorableError from None
    if size > LARGEST_VALUE:
        raise TooLargeMessageError(record, size, LARGEST_VALUE)


async def _signal_alone(client: Client, start: OrderStart, message: Message, refusal: RPCError) -> None:
    """Find out why Temporal took neither start nor signal: by the size, then by the signal without a start.

    A workflow that takes it has the message. Raises `TooLargeMessageError`, `FullError`, or the `refusal`.
    """
    size, limit = await value_size(client, message), await largest_value(client)
    if size > limit:
        raise TooLargeMessageError(start.record, size, limit) from None
    handle = client.get_workflow_handle(names.order_workflow_id(start.org, start.record))
    try:
        await handle.signal(names.SIGNAL_NOTIFIED, message)
    except RPCError as error:
        if ANSWERS[error.status].remedy is Remedy.FIND_CAUSE:
            raise FullError(start.record) from None
        raise refusal from None


async def order_result(client: Client, org: OrgId, record: RecordId, *, run: str | None = None) -> OrderResult | None:
    """How the record's newest workflow has ended, or that `run` of it; None while it runs, or where it is not known.

    Known for as long as Temporal keeps closed workflows. Raises Temporal's `RPCError`.
    """
    described = await _describe(client, org, record, run=run)
    if described is None:
        return None
    if described.status is WorkflowExecutionStatus.CANCELED:  # from Temporal's UI, which counts as `cancel`
        stage = described.typed_search_attributes.get(SEARCH_ATTRIBUTE_KEYS[names.ORDER_STAGE])
        return OrderResult(declined=stage == names.OrderStage.CANCELLED)
    if described.status is not WorkflowExecutionStatus.COMPLETED:
        return None
    handle = client.get_workflow_handle(described.id, run_id=described.run_id, result_type=OrderResult)
    try:
        result: OrderResult = await handle.result()
    except KeyUnfitError:  # written with a wrong key: as good as gone
        return None
    return result


async def is_declined(client: Client, org: OrgId, record: RecordId) -> bool:
    """Whether the record's workflow has ended with an operator's decision that no order is made; see `order_result`."""
    how = await order_result(client, org, record)
    return how is not None and how.declined


async def is_kept(client: Client, org: OrgId, record: RecordId) -> bool:
    """Whether an operator has decided to keep the order although the record no longer qualifies; see `order_result`.

    Known for as long as Temporal keeps closed workflows. Raises Temporal's `RPCError`.
    """
    how = await order_result(client, org, record)
    return how is not None and how.kept_by_operator


async def route_of_workflow(client: Client, org: OrgId, record: RecordId) -> str | None:
    """By which route the record's newest workflow was started; None where there is none, or none any more."""
    described = await _describe(client, org, record)
    return described.typed_search_attributes.get(SEARCH_ATTRIBUTE_KEYS[names.ROUTE]) if described else None


async def _describe(
    client: Client, org: OrgId, record: RecordId, *, run: str | None = None
) -> WorkflowExecutionDescription | None:
    try:
        return await client.get_workflow_handle(names.order_workflow_id(org, record), run_id=run).describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return None
