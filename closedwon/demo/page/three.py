"""The three systems at one moment: the deals of the org, the workflows of Temporal, the orders of the ERP.

Each is asked by itself, and Closedwon's own processes are not asked at all, so the picture is true while they are dead.
What does not answer is named, and its part of the picture is empty. No call counts as an API call of the org, and none
uses up a fault of the stub ERP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import aiohttp
from pydantic import SecretStr
from temporalio.service import RPCError

from closedwon import names
from closedwon.demo import ErpKind, show
from closedwon.demo.stack import Stack
from closedwon.emulators.salesforce.client import OrgClient, OrgRefusedError
from closedwon.emulators.salesforce.connection import Connection
from closedwon.erp import open_erp
from closedwon.erp.protocol import Erp
from closedwon.errors import ClosedwonError
from closedwon.ids import OrgId, RecordId
from closedwon.model.orders import idempotency_key
from closedwon.names import OrderStage
from closedwon.settings import TrytonErp
from closedwon.temporal.visibility import of_type

_WON_SHOWN: Final = 30
_OPEN_SHOWN: Final = 3
_WORKFLOWS: Final = 1000
_FRESH: Final = 0.4
"""Seconds for which several browsers share one picture."""
_KEPT: Final = 5.0
"""Seconds after which orders of Tryton that were found are read again: it is slower than a page is drawn."""
_ANSWER: Final = aiohttp.ClientTimeout(total=5)
_STYLES: Final = {
    OrderStage.ATTENTION: ("▲", "bad"),
    OrderStage.COMPLETED: ("✔", "good"),
    OrderStage.FOLLOWING: ("✔", "good"),
    OrderStage.CANCELLED: ("✕", "bad"),
    OrderStage.NOT_NEEDED: ("·", "soft"),
}
_GONE: Final = "cancelled"


class Order(NamedTuple):
    """An order of the ERP."""

    number: str
    status: str
    url: str


class Flow(NamedTuple):
    """A workflow of Temporal: its stage in words, and its page."""

    sign: str
    words: str
    style: str
    url: str


class Row(NamedTuple):
    """One deal in all three systems. `number` is what Salesforce shows, `orders` what the ERP has."""

    id: str
    name: str
    amount: str
    stage: str
    is_won: bool
    number: str
    modified_at: str
    deal_url: str
    flow: Flow | None
    orders: tuple[Order, ...]

    @property
    def is_written(self) -> bool:
        """Whether Salesforce shows the number of the order that the ERP has for this deal."""
        return any(order.number == self.number for order in self.orders)


class Picture(NamedTuple):
    """All three systems. `silent` names those that did not answer."""

    rows: tuple[Row, ...]
    silent: tuple[str, ...] = ()

    @property
    def won(self) -> int:
        """Won deals."""
        return sum(row.is_won for row in self.rows)

    @property
    def ordered(self) -> int:
        """Won deals that have an order in the ERP."""
        return sum(row.is_won and bool(row.orders) for row in self.rows)

    @property
    def written(self) -> int:
        """Won deals that show its number."""
        return sum(row.is_won and row.is_written for row in self.rows)

    @property
    def duplicates(self) -> int:
        """Orders beyond the first of each deal."""
        return sum(max(len(row.orders) - 1, 0) for row in self.rows)

    @property
    def under_way(self) -> int:
        """Won deals that do not show their order's number yet."""
        return self.won - self.written

    @property
    def open(self) -> int:
        """Deals that can be won."""
        return len(self.rows) - self.won

    def shown(self) -> list[Row]:
        """Deals that can be won, then those that are under way, then the others, the last changed first."""
        waiting = [row for row in self.rows if not row.is_won][:_OPEN_SHOWN]
        won = sorted((row for row in self.rows if row.is_won), key=lambda row: row.modified_at, reverse=True)
        return [*waiting, *sorted(won, key=lambda row: row.is_written)[:_WON_SHOWN]]


class ThreeSystems:
    """Reads the three systems of one stack."""

    def __init__(self, stack: Stack) -> None:
        """The stack must have been started."""
        self._stack = stack
        self._connection = Connection.model_validate(stack.org.connection)
        self._org = OrgId(self._connection.org_id)
        self._picture = Picture(())
        self._at = 0.0
        self._lock = asyncio.Lock()
        self._erp: Erp | None = None
        self._known: dict[str, tuple[Order, ...]] = {}
        self._known_at = 0.0

    async def picture(self, *, is_shared: bool = True) -> Picture:
        """The present picture; a shared one may be half a second old."""
        async with self._lock:
            if not is_shared or time.monotonic() - self._at > _FRESH:
                self._picture = await self._read()
                self._at = time.monotonic()
        return self._picture

    async def close(self) -> None:
        """Close the connection to the ERP."""
        if self._erp is not None:
            await self._erp.close()

    async def _read(self) -> Picture:
        deals: list[dict[str, Any]] = []
        flows: dict[str, Flow] = {}
        silent = [name for name in (
            await _asked("Salesforce", self._read_deals, deals.extend),
            await _asked("Temporal", self._read_flows, flows.update),
        ) if name]  # fmt: skip
        orders: dict[str, tuple[Order, ...]] = {}
        keys = [idempotency_key(self._org, RecordId(deal["Id"])) for deal in deals if deal["IsWon"]]
        if name := await _asked(self._stack.erp_kind.words, lambda: self._read_orders(keys), orders.update):
            silent.append(name)
        return Picture(tuple(self._row(deal, flows, orders) for deal in deals), tuple(silent))

    def _row(self, deal: Mapping[str, Any], flows: Mapping[str, Flow], orders: Mapping[str, tuple[Order, ...]]) -> Row:
        record = RecordId(deal["Id"])
        return Row(
            id=record,
            name=deal["Name"],
            amount=f"{deal['Amount'] or 0:,.2f} {deal.get('CurrencyIsoCode') or ''}".rstrip(),
            stage=deal["StageName"],
            is_won=deal["IsWon"],
            number=deal["ERP_Order_Number__c"] or "",
            modified_at=deal["SystemModstamp"],
            deal_url=f"{self._connection.url}/lightning/r/Opportunity/{record}/view",
            flow=flows.get(record),
            orders=orders.get(idempotency_key(self._org, record), ()),
        )

    async def _read_deals(self) -> list[dict[str, Any]]:
        async with OrgClient.open(self._connection) as people:
            found: list[dict[str, Any]] = await people.admin("GET", "opportunities")
        return sorted(found, key=lambda deal: str(deal["Id"]))

    async def _read_flows(self) -> dict[str, Flow]:
        client = await self._stack.temporal.client()
        found: dict[str, Flow] = {}
        async for execution in client.list_workflows(of_type(names.ORDER_WORKFLOW), limit=_WORKFLOWS):
            record = names.parse_order_workflow_id(execution.id).record
            if record in found:  # an earlier run
                continue
            stages = execution.search_attributes.get(names.ORDER_STAGE) or [OrderStage.ORDERING]
            sign, style = _STYLES.get(OrderStage(str(stages[0])), ("…", "busy"))
            page = f"workflows/{quote(execution.id, safe='')}/{execution.run_id}/user-metadata"
            found[record] = Flow(sign, show.words(str(stages[0])), style, f"{self._stack.temporal.ui}/{page}")
        return found

    async def _read_orders(self, keys: list[str]) -> dict[str, tuple[Order, ...]]:
        """The orders by key, without those that were cancelled."""
        if self._stack.erp_kind is ErpKind.STUB:
            return await self._stub_orders()
        if time.monotonic() - self._known_at > _KEPT:
            self._known, self._known_at = {}, time.monotonic()
        if self._erp is None:
            facts = self._stack.erp.connection
            settings = TrytonErp(kind="tryton", name="tryton", url=facts["url"], key=SecretStr(facts["key"]))
            self._erp = open_erp(settings)
        if missing := [key for key in keys if key not in self._known]:
            for key, found in (await self._erp.find_many(missing)).items():
                orders = [Order(one.number or "draft", one.status.value, one.url or "") for one in found]
                self._known[key] = tuple(order for order in orders if order.status != _GONE)
        return dict(self._known)

    async def _stub_orders(self) -> dict[str, tuple[Order, ...]]:
        url = self._stack.erp.connection["url"]
        async with aiohttp.request("GET", f"{url}/_admin/orders", timeout=_ANSWER) as response:
            listed = (await response.json())["orders"]
        found: dict[str, tuple[Order, ...]] = {}
        for one in listed:
            if one["status"] != _GONE:
                order = Order(one["number"], one["status"], f"{url}/_page/orders/{one['id']}")
                found[one["idempotency_key"]] = (*found.get(one["idempotency_key"], ()), order)
        return found


async def _asked(name: str, read: Callable[[], Awaitable[Any]], use: Callable[[Any], object]) -> str:
    """Ask one system and use its answer; return its name if it does not answer."""
    try:
        use(await read())
    except (aiohttp.ClientError, OrgRefusedError, RPCError, ClosedwonError, TimeoutError, RuntimeError, ValueError):
        return name
    return ""
