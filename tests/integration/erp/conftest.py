"""One light ERP and one Tryton for all tests of this room."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from closedwon.erp import open_erp
from closedwon.erp.base import Erp, find_or_create
from closedwon.localerp.light import LightErp
from closedwon.model import ErpOrder, Order
from tests.integration.erp.worlds import TrytonProcess, World, made_by_hand, new_order, rest_settings


@asynccontextmanager
async def light_world(light: LightErp) -> AsyncIterator[World]:
    """The light ERP behind the rest adapter."""

    async def count(key: str) -> int:
        return sum(order["idempotency_key"] == key for order in light.orders())

    async def process(found: ErpOrder) -> None:
        async with aiohttp.request(
            "POST", f"{light.url}/_admin/orders/{found.id}", json={"status": "processing"}
        ) as response:
            response.raise_for_status()

    async def by_hand(order: Order) -> ErpOrder:
        return await made_by_hand(light, order)

    settings = rest_settings(light.url, light.token)
    erp = open_erp(settings)
    yield World(erp, settings, count, process, by_hand)
    await erp.close()


@pytest.fixture
async def light() -> AsyncIterator[LightErp]:
    """A light ERP of this test alone, in memory, without faults."""
    async with LightErp.running() as erp:
        yield erp


@pytest.fixture
async def rest(light: LightErp) -> AsyncIterator[Erp]:
    """The rest adapter before this test's light ERP."""
    erp = open_erp(rest_settings(light.url, light.token))
    yield erp
    await erp.close()


@pytest.fixture(scope="session")
async def tryton(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TrytonProcess]:
    """A real Tryton for the whole session. The first time on a checkout its database is built: about half a minute."""
    process = TrytonProcess(tmp_path_factory.mktemp("tryton"))
    await process.start()
    yield process
    assert 0 == await process.stop()


@asynccontextmanager
async def tryton_world(process: TrytonProcess) -> AsyncIterator[World]:
    """Tryton behind its adapter."""

    async def count(key: str) -> int:
        return len(await process.sales(key))

    async def process_order(_found: ErpOrder) -> None:
        """Tryton does so by itself."""

    async def by_hand(order: Order) -> ErpOrder:
        other = new_order().model_copy(update={"customer": order.customer, "lines": order.lines})
        made = (await find_or_create(erp, other)).order
        ours = dict.fromkeys(("external_id", "external_origin", "external_modified_at"))
        await process.rpc("model.sale.sale.write", [int(made.id)], ours)
        by_hand = await erp.find_by_number(made.number or "")
        assert by_hand is not None
        return by_hand

    erp = open_erp(process.settings)
    yield World(erp, process.settings, count, process_order, by_hand)
    await erp.close()


@pytest.fixture(params=["light", "tryton"])
async def world(request: pytest.FixtureRequest, light: LightErp, tryton: TrytonProcess) -> AsyncIterator[World]:
    """Each ERP in turn: what holds for one adapter holds for all."""
    async with light_world(light) if request.param == "light" else tryton_world(tryton) as world:
        yield world
