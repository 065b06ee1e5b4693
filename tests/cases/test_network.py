"""Case N1: a worker that has lost Temporal but not the ERP is replaced, and writes no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from activities.attempts import ask_temporal
from closedwon.erp.base import LostAttemptError, Step, amend_to, find_or_create
from closedwon.model.erp_calls import CancelOrder
from tests.integration.erp.worlds import new_order, no_proof
from tests.support.handoff import until
from tests.support.one_step import steps_world


class Relay:
    """A TCP relay before a server: while it is cut, it resets every connection."""

    def __init__(self, target: str) -> None:
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self._writers: set[asyncio.StreamWriter] = set()
        self.is_cut = False
        self.address = ""

    @classmethod
    @asynccontextmanager
    async def before(cls, target: str) -> AsyncIterator[Relay]:
        """A relay before the server at `target`."""
        relay = cls(target)
        server = await asyncio.start_server(relay._serve, "127.0.0.1", 0)
        relay.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield relay
        finally:
            relay.cut()
            server.close()

    def cut(self) -> None:
        """Reset every open connection, and each new one."""
        self.is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_cut:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection(self._host, self._port)
        self._writers |= {writer, back}
        await asyncio.gather(_pump(reader, back), _pump(there, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("by", ["guard", "version"])
async def test_n1_a_worker_that_lost_temporal_does_not_cancel_a_reopened_order(
    temporal_server: WorkflowEnvironment, by: str
) -> None:
    """A cancel that begins after its attempt was given to another worker is not sent, or is refused by its version."""
    target = temporal_server.client.service_client.config.target_host
    looked, answered, asked = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def hold(step: Step) -> None:
        if step == "before-cancel":
            looked.set()
            await answered.wait()

    async def prove() -> None:
        try:
            await ask_temporal()
        except LostAttemptError:
            asked.set()
            raise

    async with steps_world(temporal_server.client) as world, Relay.before(target) as relay:
        world.stub.faults.no_versions = by == "guard"
        order = new_order(modified_at=datetime.now(UTC))
        await find_or_create(world.erp, order)
        first = world.activities(on_step=hold, prove=prove if by == "guard" else no_proof)
        client = await Client.connect(relay.address, data_converter=pydantic_data_converter)
        began = datetime.now(UTC)
        async with world.worker(first, client=client):
            step = await world.start(CancelOrder(erp="stub", idempotency_key=order.idempotency_key))
            await looked.wait()
            relay.cut()
            async with world.worker():
                cancelled = await step.result()
            reopened = await amend_to(world.erp, order, reopen=True)
            assert "cancelled" == cancelled["order"]["status"]
            assert reopened.order.status.exists_as_order
            await until(lambda: datetime.now(UTC) - began > timedelta(seconds=6))  # the proof is old
            calls = world.stub.calls

            answered.set()
            await until(lambda: asked.is_set() if by == "guard" else world.stub.calls > calls)
            relay.is_cut = False

        assert ["confirmed"] == [row["status"] for row in world.stub.orders()]
        assert (0 if by == "guard" else 1) == world.stub.calls - calls
