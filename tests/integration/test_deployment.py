"""A process that says it is ready is a build that an operator can make current, and the other way round."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack

import aiohttp
import pytest
from temporalio.api.workflowservice.v1 import SetWorkerDeploymentCurrentVersionRequest
from temporalio.client import Client
from temporalio.common import MetricMeter

from closedwon.emulators.ports import free_port
from closedwon.facts.readers import ReaderState, readers
from closedwon.settings import Settings
from closedwon.telemetry.metrics import Metrics
from tests.support.handoff import Handoff, handoff, until
from workers import deployment
from workers.connections import Connections
from workers.orders import order_workers
from workers.process import Role, run


def _build(world: Handoff, number: int) -> Settings:
    # As Temporal's Worker Controller names it: Kubernetes namespace and resource.
    workers = world.settings.workers.model_copy(update={"build_id": str(number), "deployment": "erp/closedwon"})
    return world.settings.model_copy(update={"workers": workers})


async def _make_current(client: Client, settings: Settings) -> None:
    await client.workflow_service.set_worker_deployment_current_version(
        SetWorkerDeploymentCurrentVersionRequest(
            namespace=client.namespace,
            deployment_name=settings.workers.deployment,
            build_id=settings.workers.build_id or "",
        )
    )


async def test_a_build_that_is_ready_can_be_made_current() -> None:
    """Ten builds, each made current in the moment in which its process would say that it is ready."""
    async with handoff(sweep={}) as world, Connections(world.settings) as connections:
        for number in range(10):
            settings = _build(world, number)
            async with AsyncExitStack() as stack:
                workers = order_workers(world.client, settings, connections, Metrics(MetricMeter.noop))
                for worker in workers:
                    await stack.enter_async_context(worker)
                await deployment.until_known(world.client, settings, {worker.task_queue for worker in workers})
                await _make_current(world.client, settings)


async def test_a_build_that_temporal_does_not_see_works_nevertheless(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The process stops waiting, and its log names the queues."""
    monkeypatch.setattr(deployment, "_WAIT", 0.2)
    async with handoff(sweep={}) as world:
        with caplog.at_level(logging.WARNING):
            await deployment.until_known(world.client, _build(world, 1), ["orders", "erp-north"])

    assert "build 1 polls erp-north, orders" in caplog.text


async def test_a_subscriber_is_ready_before_its_build_is_current(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing reads the event bus until an operator makes a build current, who waits until its process is ready."""
    async with handoff(sweep={}) as world, aiohttp.ClientSession() as http:
        monkeypatch.setenv("TEMPORAL_ADDRESS", world.client.service_client.config.target_host)
        settings = _build(world, 1)
        port = free_port()
        settings = settings.model_copy(update={"telemetry": settings.telemetry.model_copy(update={"port": port})})
        running = asyncio.create_task(run(settings, [Role.SUBSCRIBER]))

        async def status() -> int:
            async with http.get(f"http://127.0.0.1:{port}/readyz") as answer:
                return answer.status

        async def is_ready() -> bool:
            try:
                return await status() == 200
            except aiohttp.ClientConnectionError:
                return False

        async def reads(state: ReaderState) -> bool:
            return [state] == [one.state for one in await readers(world.client, settings)]

        try:
            await until(lambda: reads(ReaderState.NO_READER))
            await until(is_ready)
            assert await reads(ReaderState.NO_READER)
            await _make_current(world.client, settings)
            await until(lambda: reads(ReaderState.READING))
            assert 200 == await status()
        finally:
            running.cancel()
            await asyncio.wait({running})
