"""Unparseable messages: a person can close one at any moment, and its workflow then shows that it is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from closedwon import names
from closedwon.model.alerts import Need
from closedwon.model.messages import UnparseableMessage
from closedwon.model.routes import Channel
from closedwon.names import OrderStage
from closedwon.temporal.messages import park_unparseable
from closedwon.temporal.search_attributes import SEARCH_ATTRIBUTE_KEYS
from tests.support.servers import start_temporal
from tests.support.waiting import STALL
from tests.support.world import ORG
from workflows.message import UnparseableMessageWorkflow

_Handle = WorkflowHandle[Any, Any]


class _Reader:
    """Fails to read, in a way that is retried indefinitely."""

    def __init__(self) -> None:
        self.tried = asyncio.Event()

    @activity.defn
    async def read_again(self, _message: UnparseableMessage) -> None:
        self.tried.set()
        raise ConnectionError

    @activity.defn
    async def raise_alert(self, _need: Need) -> bool:
        return False


@asynccontextmanager
async def _kept(client: Client, message_id: str) -> AsyncIterator[tuple[_Handle, _Reader]]:
    reader = _Reader()
    message = UnparseableMessage(
        id=message_id,
        org=ORG,
        channel=Channel.PLATFORM_EVENT,
        source="/event/Order__e",
        received_at=datetime.now(UTC),
        problem="it has no payload",
        raw="{}",
    )
    async with (
        asyncio.timeout(STALL),
        Worker(
            client,
            task_queue=names.ORDERS_QUEUE,
            workflows=[UnparseableMessageWorkflow],
            activities=[reader.read_again, reader.raise_alert],
        ),
    ):
        await park_unparseable(client, message)
        yield client.get_workflow_handle(names.unparseable_message_workflow_id(ORG, message_id)), reader


async def _shown(handle: _Handle) -> tuple[str | None, str | None]:
    attributes = (await handle.describe()).typed_search_attributes
    return attributes.get(SEARCH_ATTRIBUTE_KEYS[names.ORDER_STAGE]), attributes.get(
        SEARCH_ATTRIBUTE_KEYS[names.ATTENTION_REASON]
    )


async def test_a_message_is_closed_while_it_is_read_again_and_again(temporal_server: WorkflowEnvironment) -> None:
    """Reading it fails for as long as it takes; `cancel` does not wait for that."""
    async with _kept(temporal_server.client, "endless") as (handle, reader):
        await handle.signal("retry", args=["once more", "please"])
        await reader.tried.wait()
        await handle.signal("cancel")

        assert OrderStage.CANCELLED == await handle.result()
        assert (OrderStage.CANCELLED, None) == await _shown(handle)


async def test_a_message_that_is_cancelled_in_temporals_ui_needs_no_attention(
    temporal_server: WorkflowEnvironment,
) -> None:
    """Its stage says so: a list of what needs attention does not show it any more."""
    async with _kept(temporal_server.client, "cancelled") as (handle, _):
        await handle.execute_update("retry")
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()

        assert (OrderStage.CANCELLED, None) == await _shown(handle)


async def test_a_message_outlives_any_number_of_commands() -> None:
    """Temporal ends a workflow whose history has no end; a message without a decision begins a new run before that."""
    limit: dict[str, Any] = {"limit.historyCount.suggestContinueAsNew": 30}
    async with await start_temporal(**limit) as server, _kept(server.client, "often") as (handle, reader):
        first = (await handle.describe()).run_id
        while (await handle.describe()).run_id == first:
            reader.tried.clear()
            await handle.signal("retry")
            await reader.tried.wait()
            await handle.signal("retry")
        assert (OrderStage.ATTENTION, "invalid-message") == await _shown(handle)
        await handle.signal("skip")

        assert OrderStage.NOT_NEEDED == await handle.result()
