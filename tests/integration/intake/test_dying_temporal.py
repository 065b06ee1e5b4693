"""Temporal dies in the middle of a message: no ack for the accepted part, and no loss or duplicate afterwards."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, Interceptor, OutboundInterceptor, StartWorkflowInput, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment

from tests.support.handoff import handoff
from tests.support.intake import deliver, intake, soap_message
from tests.support.servers import start_temporal
from tests.support.waiting import STALL


class _DiesAfter(Interceptor):
    """Lets some starts through, then ends the server; the other starts find no server."""

    def __init__(self, starts: int, server: WorkflowEnvironment) -> None:
        self._starts = starts
        self._server = server
        self._is_dead = asyncio.Event()
        self.begun = self.taken = 0

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002 - the SDK's name
        outer = self

        class Outbound(OutboundInterceptor):
            async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:  # noqa: A002
                outer.begun += 1
                if outer.begun > outer._starts:
                    await outer._is_dead.wait()
                    return await super().start_workflow(input)
                handle = await super().start_workflow(input)
                outer.taken += 1
                if outer.taken == outer._starts:
                    await outer._server.shutdown()
                    outer._is_dead.set()
                return handle

        return Outbound(next)


async def _exists(workflow: WorkflowHandle[Any, Any]) -> bool:
    try:
        await workflow.describe()
    except RPCError as error:
        assert RPCStatusCode.NOT_FOUND is error.status  # noqa: PT017 - anything else does not answer the question
        return False
    return True


@pytest.mark.slow
async def test_a_message_that_is_accepted_in_part_is_not_acknowledged(tmp_path: Path) -> None:
    """Temporal dies after the fortieth start; sent again later, the message creates a hundred orders, none twice."""
    database = tmp_path / "temporal.db"
    first = await start_temporal(database=database)
    port = int(first.client.service_client.config.target_host.rpartition(":")[2])
    async with handoff(temporal_server=first, outbound={}, events=()) as world:
        world.org.seed(100)
        won = world.org.win_next(100)
        body = soap_message(world.org.org_id, won)
        dying = _DiesAfter(40, first)
        config: Any = {**first.client.config(), "interceptors": [dying]}
        world.client = Client(**config)
        async with intake(world, deadline=timedelta(seconds=STALL)) as address:
            status, answer = await deliver(address, body)
        world.client = first.client
        async with await start_temporal(port=port, database=database):
            kept = [record for record in won if await _exists(world.order(record))]
            async with world.working(subscriber=False), intake(world) as address:
                again, _ = await deliver(address, body)
                await world.until_written_back(*won)
                await asyncio.gather(*(world.order(record).result() for record in won))

        assert 500 == status
        assert "send again" in answer
        assert 40 == dying.taken == len(kept)
        assert 200 == again
        assert 100 == len(world.erp.orders())
