"""One stub ERP and one Tryton for all tests of this package."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from closedwon.emulators.erp.stub import StubErp
from closedwon.erp import open_erp
from closedwon.erp.base import Erp, find_or_create
from closedwon.erp.tryton import TrytonAdapter
from closedwon.model.erp import ErpOrder
from closedwon.model.orders import Order
from tests.integration.erp.worlds import Clock, TrytonProcess, World, made_by_hand, new_order, rest_settings


@asynccontextmanager
async def stub_world(stub: StubErp) -> AsyncIterator[World]:
    """The stub ERP behind the rest adapter."""

    async def count(key: str) -> int:
        return sum(order["idempotency_key"] == key for order in stub.orders())

    async def process(found: ErpOrder) -> None:
        async with aiohttp.request(
            "POST", f"{stub.url}/_admin/orders/{found.id}", json={"status": "processing"}
        ) as response:
            response.raise_for_status()

    async def by_hand(order: Order) -> ErpOrder:
        return await made_by_hand(stub, order)

    settings = rest_settings(stub.url, stub.token)
    erp = open_erp(settings)
    yield World(erp, settings, count, process, by_hand)
    await erp.close()


@pytest.fixture
async def stub() -> AsyncIterator[StubErp]:
    """A stub ERP of this test alone, in memory, without faults."""
    async with StubErp.running() as erp:
        yield erp


@pytest.fixture
async def rest(stub: StubErp) -> AsyncIterator[Erp]:
    """The rest adapter before this test's stub ERP."""
    erp = open_erp(rest_settings(stub.url, stub.token))
    yield erp
    await erp.close()


@pytest.fixture(scope="session")
async def tryton(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TrytonProcess]:
    """A real Tryton for the whole session. The first time on a checkout its database is built: about half a minute."""
    process = TrytonProcess(tmp_path_factory.mktemp("tryton"))
    await process.start()
    yield process
    assert 0 == await process.stop()


@pytest.fixture
def clock() -> Clock:
    """The adapter's clock."""
    return Clock()


@pytest.fixture
async def erp(tryton: TrytonProcess, clock: Clock) -> AsyncIterator[TrytonAdapter]:
    """The adapter before the shared Tryton."""
    adapter = TrytonAdapter(tryton.settings, clock=clock)
    yield adapter
    await adapter.close()


@asynccontextmanager
async def tryton_world(process: TrytonProcess) -> AsyncIterator[World]:
    """Tryton behind its adapter."""

    async def count(key: str) -> int:
        return len(await process.sales(key))

    async def process_order(_found: ErpOrder) -> None:
        """Tryton does so by itself."""

    async def by_hand(order: Order) -> ErpOrder:
        other = new_order().model_copy(update={"customer": order.customer, "lines": order.lines})
        made = (await find_or_create(adapter, other)).order
        ours = dict.fromkeys(("external_id", "external_origin", "external_modified_at"))
        await process.rpc("model.sale.sale.write", [int(made.id)], ours)
        by_hand = await adapter.find_by_number(made.number or "")
        assert by_hand is not None
        return by_hand

    adapter = open_erp(process.settings)
    yield World(adapter, process.settings, count, process_order, by_hand)
    await adapter.close()


@pytest.fixture(params=["stub", "tryton"])
async def world(request: pytest.FixtureRequest, stub: StubErp, tryton: TrytonProcess) -> AsyncIterator[World]:
    """Each ERP in turn: what holds for one adapter holds for all."""
    async with stub_world(stub) if request.param == "stub" else tryton_world(tryton) as world:
        yield world
