"""The page of the stub ERP: its orders, each with its lines, and the buttons of a person who works in the ERP.

It is served while the ERP is down by a fault, so that the fault can be turned off.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol

from aiohttp import web

from closedwon.emulators.erp import stub_orders
from closedwon.emulators.erp.stub_faults import ErpFaults
from closedwon.emulators.erp.stub_orders import Row, StubOrders
from closedwon.emulators.pages import LOOPBACK, Notice, PageSite
from closedwon.emulators.pages.site import PREFIX, STATIC
from closedwon.model.erp import ErpStatus

ORDERS: Final = f"{PREFIX}orders/"
"""The path of an order's page, followed by its id: the target of its link."""
_SHOWN: Final = 100
_FAULTS: Final[Mapping[str, tuple[str, Any]]] = {
    "down": ("Refuse connections", True),
    "reject": ("Refuse the next order", 1),
    "lose_reply": ("Lose the next three answers", 3),
    "busy": ("Be busy for ten calls", 10),
}
"""Faults with a button: its text, and the value that it sets. `/_admin/faults` has all of them."""
_LOOKS: Final = {
    ErpStatus.DRAFT: ("…", "busy"),
    ErpStatus.CONFIRMED: ("✔", "good"),
    ErpStatus.PROCESSING: ("▸", "good"),
    ErpStatus.DONE: ("■", "good"),
    ErpStatus.CANCELLED: ("✕", "bad"),
}


class _Erp(Protocol):
    """What the page needs of the stub ERP."""

    faults: ErpFaults
    table: StubOrders
    calls: int


class _Order(NamedTuple):
    """An order as it is shown."""

    id: int
    number: str
    key: str
    customer: str
    amount: str
    line_count: int
    status: str
    sign: str
    style: str
    created_at: str


class StubPage:
    """Answers the requests for the pages of one stub ERP."""

    def __init__(self, erp: _Erp, host: str = LOOPBACK) -> None:
        """`host` is the address on which it listens."""
        self._erp = erp
        self._site = PageSite(__package__, host=host, orders_path=ORDERS)
        self.guard = self._site.guard

    @staticmethod
    def has(path: str) -> bool:
        """Whether a request for this path is for these pages."""
        return path == "/" or path.startswith(PREFIX)

    def add_to(self, app: web.Application) -> None:
        """Add the routes."""
        app.add_routes([
            web.get("/", self._orders),
            web.get(f"{PREFIX}live", self._live),
            web.get(f"{ORDERS}{{id:[0-9]{{1,18}}}}", self._order),
            web.get(f"{STATIC}{{name}}", self._static),
            web.post(f"{PREFIX}do/{{action:status|fault|off}}", self._act),
        ])  # fmt: skip

    async def _orders(self, _request: web.Request) -> web.Response:
        part = self._site.live("stub_live.html", **self._values())
        return self._site.page("stub.html", live=part, faults={name: text for name, (text, _) in _FAULTS.items()})

    async def _live(self, request: web.Request) -> web.Response:
        return self._site.part(request, "stub_live.html", **self._values())

    async def _order(self, request: web.Request) -> web.Response:
        row = self._erp.table.with_id(request.match_info["id"])
        if row is None:
            raise web.HTTPNotFound(text="This ERP has no such order.")
        content = json.loads(row["request"])
        return self._site.page(
            "stub_order.html",
            order=_shown(row),
            lines=content["lines"],
            content=json.dumps(content, indent=2, ensure_ascii=False),
            statuses=[one.value for one in ErpStatus],
        )

    async def _static(self, request: web.Request) -> web.Response:
        return self._site.static(request.match_info["name"])

    async def _act(self, request: web.Request) -> web.Response:
        form = await self.guard.form(request)
        goes_to = "/"
        try:
            if request.match_info["action"] == "status":
                row = self._erp.table.change(int(form["id"]), {"status": ErpStatus(form["status"])})
                goes_to, done = f"{ORDERS}{row['id']}", f"The order is now {row['status']}"
            elif request.match_info["action"] == "fault":
                text, value = _FAULTS[form["fault"]]
                self._erp.faults = self._erp.faults.model_copy(update={form["fault"]: value})
                done = f"From now on: {text.lower()}"
            else:
                self._erp.faults = ErpFaults()
                done = "All faults are off"
        except (KeyError, ValueError, OverflowError, stub_orders.StaleVersionError):
            return self._site.redirect(Notice("Not done: unknown order, status or fault", is_error=True), "/")
        return self._site.after(request, Notice(done), goes_to, "stub_live.html", **self._values())

    def _values(self) -> dict[str, Any]:
        orders = self._erp.table.newest(_SHOWN)
        armed = {
            name: value
            for name, value in self._erp.faults.model_dump(mode="json", exclude_defaults=True).items()
            if value
        }
        return {
            "orders": [_shown(row) for row in orders],
            "counts": self._erp.table.counts(),
            "calls": self._erp.calls,
            "armed": armed,
        }


def _shown(row: Row) -> _Order:
    status = ErpStatus(row["status"])
    sign, style = _LOOKS[status]
    by_hand = row["idempotency_key"].startswith(stub_orders.BY_HAND)
    return _Order(
        id=row["id"],
        number=stub_orders.number_of(row),
        key="made by hand" if by_hand else row["idempotency_key"],
        customer=json.loads(row["request"])["customer"]["name"],
        amount=f"{float(row['amount']):,.2f} {row['currency']}",
        line_count=row["line_count"],
        status=status.value,
        sign=sign,
        style=style,
        created_at=row["created_at"][11:19],
    )
