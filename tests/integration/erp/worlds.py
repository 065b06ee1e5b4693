"""ERPs to test against: a Tryton in a process of its own, and what both ERPs offer a test beside the adapter."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import uuid
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
from pydantic import SecretStr

from closedwon.demo.parts import program
from closedwon.emulators.erp import connection
from closedwon.emulators.erp.stub import StubErp
from closedwon.erp.base import Erp, OnStep, find_or_create, no_step
from closedwon.errors import RetryError
from closedwon.ids import OrgId, RecordId
from closedwon.model.erp import ErpOrder
from closedwon.model.erp_calls import Handoff
from closedwon.model.orders import Customer, Order, OrderLine
from closedwon.settings import RestErp, TrytonErp
from tests.support.waiting import STALL

ORG = OrgId("00D000000000001")
CACHE = Path(__file__).parents[3] / ".closedwon" / "cache"
"""Where `make demo` keeps the finished database, too: built once per checkout."""


def new_order(
    lines: Iterable[tuple[str, str, str]] = (("GC1040", "2", "5000.00"), ("SL9080", "1", "1200.00")), **changes: Any
) -> Order:
    """An order of a record and a customer that no other test uses; `lines` are product, quantity, unit price."""
    order = Order(
        org=ORG,
        record=RecordId(f"006{uuid.uuid4().hex[:12]}"),
        name="Generators for Edge",
        customer=Customer(id=RecordId(f"001{uuid.uuid4().hex[:12]}"), name="Edge", city="Austin", country="US"),
        currency="EUR",
        lines=tuple(
            OrderLine(product=product, quantity=Decimal(quantity), unit_price=Decimal(price))
            for product, quantity, price in lines
        ),
    )
    return order.model_copy(update=changes)


def new_org() -> OrgId:
    """An org that no other test uses."""
    return OrgId(f"00D{uuid.uuid4().hex[:12]}")


def rest_settings(url: str, token: str) -> RestErp:
    """An ERP that speaks the rest contract, as in closedwon.toml."""
    return RestErp(kind="rest", name="stub", url=url, token=SecretStr(token))


async def until_done(erp: Erp, order: Order, on_step: OnStep = no_step) -> Handoff:
    """Repeat the attempt after each `RetryError`, as Temporal does."""
    async with asyncio.timeout(STALL):
        while True:
            try:
                return await find_or_create(erp, order, on_step=on_step)
            except RetryError:
                await asyncio.sleep(0.05)  # the pause between two attempts


async def no_proof() -> None:
    """In the place of `ask_temporal`, for activities that run without Temporal."""


async def made_by_hand(stub: StubErp, order: Order) -> ErpOrder:
    """An order with this customer, date and content that the stub ERP's own people have made."""
    async with aiohttp.request("POST", f"{stub.url}/_admin/orders", json=order.model_dump(mode="json")) as response:
        return ErpOrder.model_validate(await response.json())


@dataclass(frozen=True)
class World:
    """An ERP behind its adapter, and the ways around the adapter that a test needs."""

    erp: Erp
    settings: TrytonErp | RestErp
    count: Callable[[str], Awaitable[int]]
    """How many orders the ERP itself counts under an idempotency key."""
    process: Callable[[ErpOrder], Awaitable[None]]
    """Take a confirmed order to processing, as the ERP's own people would."""
    by_hand: Callable[[Order], Awaitable[ErpOrder]]
    """An order that the ERP's own people have made, with this customer and content, but without a key of ours."""


class TrytonProcess:
    """`closedwon test-erp tryton` as a user runs it."""

    def __init__(self, data_dir: Path, **environment: str) -> None:
        self.data_dir = data_dir
        self._environment = os.environ | environment
        self._process: asyncio.subprocess.Process | None = None
        self.facts: dict[str, Any] = {}

    async def start(self) -> None:
        """Start it and wait until it serves; the second time on the same port and data."""
        command = [program("closedwon"), "test-erp", "tryton", "--data-dir", str(self.data_dir)]
        port = [] if self.facts else ["--port", "0"]
        self._process = await asyncio.create_subprocess_exec(
            *command, "--cache-dir", str(CACHE), *port, env=self._environment
        )
        while connection.read(self.data_dir).get("pid") != self._process.pid:
            assert self._process.returncode is None, "Tryton did not start"
            await asyncio.sleep(0.02)
        self.facts = connection.read(self.data_dir)

    async def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self._process is not None
        self._process.terminate()
        return await self._process.wait()

    @property
    def settings(self) -> TrytonErp:
        """The settings, as in closedwon.toml."""
        return TrytonErp(kind="tryton", name="tryton", url=self.facts["url"], key=SecretStr(self.facts["key"]))

    async def rpc(self, method: str, *parameters: Any) -> Any:
        """Call Tryton as its administrator, past the REST API and its rights, in the demo company."""
        secret = base64.b64encode(f"admin:{self.facts['admin_password']}".encode()).decode()
        body = {"id": 1, "method": method, "params": [*parameters, {"company": 1, "companies": [1]}]}
        headers = {"Authorization": f"Basic {secret}"}
        async with aiohttp.request("POST", f"{self.facts['url']}/rpc/", json=body, headers=headers) as response:
            answer = await response.json()
        assert "error" not in answer, answer
        return answer["result"]

    async def sales(self, idempotency_key: str, *fields: str) -> list[dict[str, Any]]:
        """The sales under a key, as the REST API shows them, whatever the adapter makes of it."""
        domain = base64.urlsafe_b64encode(json.dumps([["external_id", "=", idempotency_key]]).encode()).decode()
        params = [("d", domain), *(("f", field) for field in ("state", "number", *fields))]
        headers = {"Authorization": f"Bearer {self.facts['key']}"}
        url = f"{self.facts['url']}/rest/model/sale.sale"
        async with aiohttp.request("GET", url, params=params, headers=headers) as response:
            found: list[dict[str, Any]] = await response.json()
        return found


async def new_product(tryton: TrytonProcess, **changes: Any) -> tuple[str, int]:
    """A product of one test alone, like the demo's generator: its code and its template's id.

    With `account_category=None` a sale of it stays confirmed, since Tryton cannot process it: it can still be changed.
    """
    template = "model.product.template"
    (like,) = await tryton.rpc(
        f"{template}.search_read", [["code", "=", "GC1040"]], 0, 1, None, ["default_uom", "account_category"]
    )
    code = f"P-{uuid.uuid4().hex[:8]}"
    values = {
        "name": code,
        "code": code,
        "type": "goods",
        "salable": True,
        "default_uom": like["default_uom"],
        "sale_uom": like["default_uom"],
        "account_category": like["account_category"],
        "list_price": "10.00",
        "products": [["create", [{}]]],
    }
    (made,) = await tryton.rpc(f"{template}.create", [values | changes])
    return code, made


class Clock:
    """A clock that a test advances."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now
