"""The ERP makes an order after its deal was cancelled, skipped or reopened: the order is found and reported."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr
from temporalio.client import Client
from temporalio.common import MetricMeter
from temporalio.contrib.pydantic import pydantic_data_converter

from closedwon import names
from closedwon.acceptance import order_start
from closedwon.emulators.erp.stub import StubErp
from closedwon.emulators.erp.stub_faults import ErpFaults
from closedwon.erp.base import Step
from closedwon.ids import RecordId
from closedwon.model.erp import ErpStatus
from closedwon.model.messages import Message
from closedwon.model.routes import Channel
from closedwon.names import OrderStage
from closedwon.settings import ErpByExpression
from closedwon.telemetry.metrics import Metrics
from closedwon.temporal.orders import start_order
from tests.support.audit import assert_clean
from tests.support.handoff import Handoff, handoff, until
from workers.connections import Connections
from workers.orders import order_workers

_LATE = 4.0
"""Seconds that the ERP takes to commit; a call times out after one."""


async def _decline(world: Handoff, record: RecordId, how: str) -> None:
    if how == "reopened":
        world.org.update("Opportunity", record, StageName="Negotiation/Review")
    else:
        await world.order(record).signal(how)


@asynccontextmanager
async def _late_commit() -> AsyncIterator[tuple[Handoff, RecordId]]:
    """A deal whose order is sent to an ERP that commits it after the call has timed out."""
    async with handoff(on_unqualified="cancel", grace=timedelta(seconds=0.1)) as world:
        (erp,) = world.settings.erps
        slow = erp.model_copy(update={"timeout": timedelta(seconds=1), "in_doubt_for": timedelta(seconds=2 * _LATE)})
        world.settings = world.settings.model_copy(update={"erps": (slow,)})
        async with world.working():
            world.erp.faults.late = _LATE
            world.org.seed(1)
            (record,) = world.org.win_next(1)
            await until(lambda: world.erp.calls == 2)  # a look, and the order
            world.erp.faults.late = 0
            yield world, record


@pytest.mark.parametrize("how", [names.SIGNAL_CANCEL, names.SIGNAL_SKIP, "reopened"])
async def test_an_order_that_the_erp_makes_after_its_deal_was_declined_is_not_forgotten(how: str) -> None:
    """The lookup that follows finds nothing, because the ERP has not committed yet; so the order is looked up again."""
    async with _late_commit() as (world, record):
        await _decline(world, record, how)
        await until(lambda: world.erp.orders() != [])
        if how == names.SIGNAL_SKIP:  # a person chooses
            await world.until_stage(record, OrderStage.ATTENTION)
            await world.order(record).signal(names.SIGNAL_CANCEL)
        outcome = await world.order(record).result()

        assert OrderStage.CANCELLED is outcome.stage
        assert [ErpStatus.CANCELLED] == [order["status"] for order in world.erp.orders()]
        won = 0 if how == "reopened" else 1
        assert_clean(await world.audit(), won=won, cancelled=won)


async def test_an_order_that_one_erp_makes_late_is_not_made_in_another_meanwhile() -> None:
    """The route now picks the other ERP. Two ERPs have no unique key together, and the first shows no order yet."""
    async with StubErp.running() as other, handoff(grace=timedelta(seconds=0.1)) as world:
        slow = {"timeout": timedelta(seconds=1), "in_doubt_for": timedelta(seconds=2 * _LATE)}
        erp = world.settings.erps[0].model_copy(update=slow)
        more = erp.model_copy(update={"name": "other", "url": other.url, "token": SecretStr(other.token)})
        picks = ErpByExpression(expression="Name == 'moved' && 'other' || 'stub'")
        route = world.settings.routes[0].model_copy(update={"erp": picks})
        world.settings = world.settings.model_copy(update={"erps": (erp, more), "routes": (route,)})
        async with world.working(subscriber=False):
            world.erp.faults.late = _LATE
            world.org.seed(1)
            (record,) = await world.win(1)
            await until(lambda: world.erp.calls == 2)  # a look, and the order
            world.org.update("Opportunity", record, Name="moved")
            message = Message(id="m-2", channel=Channel.OPERATOR, received_at=datetime.now(UTC))
            await start_order(world.client, order_start(world.settings, route, record), message)
            await world.until_stage(record, OrderStage.ATTENTION)

            assert (1, 0) == (len(world.erp.orders()), len(other.orders()))


@pytest.mark.parametrize("follow", [True, False])
async def test_a_cancel_that_takes_effect_after_resolve_is_noticed(*, follow: bool) -> None:
    """`resolve` names the order while its cancellation is under way; when the order is cancelled, a person is asked."""
    async with handoff(follow=follow) as world:
        (erp,) = world.settings.erps
        world.settings = world.settings.model_copy(
            update={"erps": (erp.model_copy(update={"in_doubt_for": timedelta(seconds=5 * _LATE)}),)}
        )
        async with world.working(subscriber=False):
            world.org.seed(1)
            (record,) = await world.win(1)
            await world.until_written_back(record)
            if not follow:
                await world.order(record).result()
                route = world.settings.routes[0].model_copy(update={"on_unqualified": "attention"})
                message = Message(id="m-2", channel=Channel.OPERATOR, received_at=datetime.now(UTC))
                world.org.update("Opportunity", record, StageName="Negotiation/Review")
                await start_order(world.client, order_start(world.settings, route, record), message)
                await world.until_stage(record, OrderStage.ATTENTION)
            faults = {"no_versions": True, "hold": 50, "hold_only": "cancel", "hold_for": 3600.0}
            world.erp.faults = ErpFaults.model_validate(world.erp.faults.model_dump() | faults)
            await world.order(record).signal(names.SIGNAL_CANCEL)
            await until(lambda: world.erp.held)
            await world.order(record).signal(names.SIGNAL_RESOLVE, world.number_of(record))
            await world.until_stage(record, OrderStage.CHECKING)
            world.erp.faults.hold_for = 0
            await until(lambda: not world.erp.held)
            await world.until_stage(record, OrderStage.ATTENTION)

            assert [ErpStatus.CANCELLED] == [order["status"] for order in world.erp.orders()]


class _Connection:
    """A connection to Temporal that a test can cut."""

    def __init__(self, address: str) -> None:
        self._to = address.split(":")
        self._ends: set[asyncio.StreamWriter] = set()
        self._is_cut = False

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        self._server.close()

    def cut(self) -> None:
        self._is_cut = True
        for end in self._ends:
            end.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.close()
            return
        host, port = self._to
        there, back = await asyncio.open_connection(host, int(port))
        self._ends |= {writer, back}
        await asyncio.gather(_pump(reader, back), _pump(there, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while content := await reader.read(65536):
            writer.write(content)
    except OSError:
        pass
    finally:
        writer.close()


async def test_a_worker_that_was_cut_off_makes_no_order_after_a_cancel() -> None:
    """Temporal considers the worker dead, another worker carries the cancel out, and the first one writes no more."""
    cut_off, go_on = asyncio.Event(), asyncio.Event()
    metrics = Metrics(MetricMeter.noop)

    async def on_step(step: Step) -> None:
        if step == "before-create":
            cut_off.set()
            await go_on.wait()

    async with handoff() as world, AsyncExitStack() as stack:
        (erp,) = world.settings.erps
        slow = erp.model_copy(update={"in_doubt_for": timedelta(seconds=30)})
        settings = world.settings = world.settings.model_copy(update={"erps": (slow,)})
        connections = world.connections = await stack.enter_async_context(Connections(settings))
        connection = _Connection(world.client.service_client.config.target_host)
        client = await Client.connect(
            await stack.enter_async_context(connection), data_converter=pydantic_data_converter
        )
        deciding, acting, _ = order_workers(world.client, settings, connections, metrics)
        _, cut_off_worker, _ = order_workers(client, settings, connections, metrics, on_step=on_step)
        await stack.enter_async_context(deciding)
        await stack.enter_async_context(cut_off_worker)
        world.org.seed(1)
        (record,) = await world.win(1)
        await cut_off.wait()
        connection.cut()
        await stack.enter_async_context(acting)
        await world.order(record).signal(names.SIGNAL_CANCEL)
        await until(lambda: world.erp.calls >= 2)  # the cancel's look
        assert OrderStage.CANCELLING == await world.stage(record)
        go_on.set()
        outcome = await world.order(record).result()

        assert OrderStage.CANCELLED is outcome.stage
        assert [] == world.erp.orders()
