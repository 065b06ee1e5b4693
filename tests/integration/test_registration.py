"""What Temporal must have is registered at the start, and again when it is lost; what is there is left as it is."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.operatorservice.v1 import RemoveSearchAttributesRequest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import MetricMeter
from temporalio.service import RPCError

from closedwon import names
from closedwon.emulators.ports import free_port
from closedwon.errors import ClosedwonError
from closedwon.settings import Settings
from closedwon.telemetry.metrics import Metrics
from closedwon.temporal.search_attributes import check_namespace, ensure_search_attributes, missing_search_attributes
from closedwon.temporal.sweeps import OpenGap, open_gaps
from tests.support.handoff import CHANNEL, Handoff, handoff, until
from tests.support.servers import start_temporal
from tests.support.waiting import STALL
from workers.keys import KeyWatch
from workers.process import Role, WorkerFailedError, run
from workers.registration import Registration

_OLD = timedelta(days=5)
_GRACE = timedelta(seconds=3)


def _registration(world: Handoff) -> Registration:
    return Registration(
        world.client, world.settings, Metrics(MetricMeter.noop), KeyWatch(), orders=True, subscriber=True
    )


async def _register_namespace(client: Client, name: str) -> Client:
    """Make a namespace, as an operator does, and return a client of it once Temporal knows it."""
    kept = Duration(seconds=7 * 86_400)
    request = RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=kept)
    await client.workflow_service.register_namespace(request)
    there = Client(client.service_client, namespace=name, data_converter=client.data_converter)

    async def is_known() -> bool:
        try:
            await missing_search_attributes(there)
        except RPCError:
            return False
        return True

    await until(is_known)
    return there


async def test_what_is_there_is_left_as_an_operator_wants_it() -> None:
    """A look changes no schedule that exists, paused or not, and begins no subscription that was ended."""
    async with handoff(sweep={}) as world:
        registration = _registration(world)
        await registration.register()
        sweeps = world.client.get_schedule_handle(names.sweep_schedule_id(world.org.org_id, "won-0"))
        audits = world.client.get_schedule_handle(names.audit_schedule_id(world.org.org_id))
        subscription = world.client.get_workflow_handle(names.subscription_workflow_id(world.org.org_id, CHANNEL))
        await sweeps.pause(note="month's end")
        await subscription.terminate()
        before = [(await one.describe()).raw_description.conflict_token for one in (sweeps, audits)]
        await registration.look()

        assert before == [(await one.describe()).raw_description.conflict_token for one in (sweeps, audits)]
        assert WorkflowExecutionStatus.TERMINATED is (await subscription.describe()).status


async def test_what_is_missing_is_registered_again_without_a_restart(caplog: pytest.LogCaptureFixture) -> None:
    """A schedule or a search attribute that is gone comes back at the next look, and the log says so."""
    async with handoff(sweep={}) as world:
        registration = _registration(world)
        await registration.register()
        audits = world.client.get_schedule_handle(names.audit_schedule_id(world.org.org_id))
        await audits.delete()
        request = RemoveSearchAttributesRequest(namespace=world.client.namespace, search_attributes=[names.ROUTE])
        await world.client.operator_service.remove_search_attributes(request)
        await until(lambda: _lacks_search_attributes(world))
        await registration.look()

        assert (await audits.describe()).id == names.audit_schedule_id(world.org.org_id)
        assert () == await missing_search_attributes(world.client)
        assert f"registered again: {names.ROUTE}, audit:scheduled@{world.org.org_id}" in caplog.text
        assert [] == [gap async for gap in open_gaps(world.client)]  # the orders are still there


async def _lacks_search_attributes(world: Handoff) -> bool:
    return bool(await missing_search_attributes(world.client))


async def test_two_processes_that_find_temporal_empty_register_once_and_open_one_gap_per_route() -> None:
    """The gap begins before the oldest order that was open, so that its sweep finds all that was lost."""
    port = free_port()
    before = await start_temporal(port=port)
    async with handoff(temporal_server=before, sweep={}) as world:
        processes = [_registration(world) for _ in range(2)]
        for one in processes:
            await one.register()
            await one.look(datetime.now(UTC) - _OLD)
        await before.shutdown()
        async with await start_temporal(port=port):
            await until(lambda: _answers(world))
            await asyncio.gather(*(one.look() for one in processes))
            await asyncio.gather(*(one.look() for one in processes))
            schedules = {
                names.sweep_schedule_id(world.org.org_id, "won-0"), names.audit_schedule_id(world.org.org_id)
            }  # fmt: skip
            await until(lambda: _schedules_are(world, schedules))
            await until(lambda: _gaps(world))
            (gap,) = await _gaps(world)
            subscription = world.client.get_workflow_handle(names.subscription_workflow_id(world.org.org_id, CHANNEL))

            assert WorkflowExecutionStatus.RUNNING is (await subscription.describe()).status
            assert "temporal-lost" == gap.gap.reason
            lookback = timedelta(days=3)
            expected = datetime.now(UTC) - _OLD - lookback
            assert gap.gap.since is not None
            assert timedelta(0) <= expected - gap.gap.since <= timedelta(hours=1, minutes=5)


async def _answers(world: Handoff) -> bool:
    try:
        await missing_search_attributes(world.client)
    except RPCError:
        return False
    return True


async def _schedules_are(world: Handoff, expected: set[str]) -> bool:
    return expected == {one.id async for one in await world.client.list_schedules()}


async def _gaps(world: Handoff) -> list[OpenGap]:
    return [gap async for gap in open_gaps(world.client)]


async def test_readiness_says_what_the_namespace_lacks() -> None:
    """A namespace that does not exist, and one without our search attributes, are sentences and not codes."""
    async with handoff() as world:
        with pytest.raises(ClosedwonError, match="namespace 'elsewhere' does not exist"):
            await check_namespace(Client(world.client.service_client, namespace="elsewhere"))
        there = await _register_namespace(world.client, "elsewhere")
        with pytest.raises(ClosedwonError, match=f"search attributes missing: .*{names.ORDER_STAGE}"):
            await check_namespace(there)
        await ensure_search_attributes(there)
        await check_namespace(there)


async def _supervise(settings: Settings) -> None:
    """Run a process, and start it again if it fails, as a supervisor does."""
    while True:
        try:
            await run(settings, [Role.ORDERS, Role.SUBSCRIBER])
        except WorkerFailedError:
            continue
        return


@asynccontextmanager
async def _without_namespace(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[tuple[Handoff, asyncio.Task[None]]]:
    """A process that has ordered one deal, and then was refused by a Temporal without its namespace for a minute."""
    port = free_port()
    before = await start_temporal(port=port)
    async with handoff(temporal_server=before, sweep={"lag": "1s"}) as world:
        await _register_namespace(world.client, "closedwon")
        monkeypatch.setenv("TEMPORAL_ADDRESS", f"localhost:{port}")
        monkeypatch.setenv("TEMPORAL_NAMESPACE", "closedwon")
        telemetry = world.settings.telemetry.model_copy(update={"port": 0, "observe_every": timedelta(seconds=1)})
        workers = world.settings.workers.model_copy(update={"shutdown_grace": _GRACE})
        world.settings = world.settings.model_copy(update={"telemetry": telemetry, "workers": workers})
        running = asyncio.create_task(_supervise(world.settings))
        world.org.seed(2)
        await world.until_written_back(*world.org.win_next(1))
        await before.shutdown()
        async with await start_temporal(port=port):
            await until(lambda: caplog.text.count("Worker failed, shutting down") == 4)
            assert not running.done()
            yield world, running


@pytest.mark.slow
async def test_a_process_outlives_a_namespace_that_an_operator_makes_minutes_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Temporal refuses every poll for longer than the SDK bears it; when the namespace is there, deals are ordered."""
    async with _without_namespace(monkeypatch, caplog) as (world, running):
        won = world.org.win_next(1)
        await _register_namespace(world.client, "closedwon")
        await world.until_written_back(*won)
        os.kill(os.getpid(), signal.SIGTERM)
        await running
        assert 2 == len(world.erp.orders())


@pytest.mark.slow
async def test_a_process_without_its_namespace_still_stops_gracefully(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The polls of its workers never end; the process does, by itself, soon after its grace."""
    async with _without_namespace(monkeypatch, caplog) as (_, running), asyncio.timeout(STALL):
        os.kill(os.getpid(), signal.SIGTERM)
        await running
