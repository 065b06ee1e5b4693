"""The stub ERP: the `rest` contract over SQLite, fast, with faults on demand. For load, fault and kill tests.

Its guarantees are those of a real ERP (`stub_orders`). It offers every optional part of the contract, unless a fault
omits one (`stub_faults`). Otherwise it is not an ERP: it has no stock and accepts every product.

Apart from the contract (`docs/erp-rest-contract.md`), on other paths and without a credential, beside the page at `/`:

    GET  /_admin/orders          every order with its key, for audits that read the ERP and not Closedwon
    POST /_admin/orders          create an order as a user of the ERP would; the body as in the contract
    GET  /_admin/orders/{id}     one order with its whole request
    POST /_admin/orders/{id}     {"status": "done"}: a change by users or other systems of the ERP
    GET  /_admin/state           how many calls of the contract came, and how many orders there are
    GET  /_admin/faults          the armed faults (`ErpFaults`)
    POST /_admin/faults          arm some of them: {"lose_reply": 3}
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Self

from aiohttp import web
from pydantic import ValidationError

from closedwon.emulators.erp import connection, stub_orders
from closedwon.emulators.erp.stub_faults import ErpFaults, Lie
from closedwon.emulators.erp.stub_orders import Row, StaleVersionError, StubOrders
from closedwon.emulators.erp.stub_page import StubPage
from closedwon.model.erp import ErpStatus
from closedwon.model.orders import Order

__all__ = ["DEFAULT_PORT", "ErpFaults", "Lie", "StubErp", "serve"]

DEFAULT_PORT: Final = 8090
_LONGEST_PAGE: Final = 1000
_PROBLEM: Final = "application/problem+json"
_USUAL_UNIT: Final = Decimal("0.01")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_KINDS: Final = {"confirm": "confirm", "cancel": "cancel", "claim": "claim"}
_log = logging.getLogger(__name__)


class StubErp:
    """One stub ERP. Create it, `start` it, `stop` it; or use `running`."""

    def __init__(self, database: Path | None = None, *, token: str | None = None) -> None:
        """Without `database`, the orders are in memory; without `token`, one is generated."""
        self.faults = ErpFaults()
        self.token = token or secrets.token_urlsafe(24)
        self.url = ""
        self.calls = 0
        """Calls of the contract so far."""
        self.table = StubOrders(database)
        self._pages = StubPage(self)
        self._runner: web.AppRunner | None = None
        self._chance = secrets.SystemRandom()
        self._held: set[asyncio.Task[None]] = set()
        self.landed: list[dict[str, Any]] = []
        """The answers to writes that were held back: no caller gets them."""
        self._cached: Any = None

    @property
    def held(self) -> int:
        """Writes that were cut and have not taken effect yet."""
        return len(self._held)

    @classmethod
    @asynccontextmanager
    async def running(cls, database: Path | None = None, *, port: int = 0) -> AsyncIterator[Self]:
        """A started stub ERP on a free port of loopback, stopped at the end of the block."""
        erp = cls(database)
        await erp.start(port)
        try:
            yield erp
        finally:
            await erp.stop()

    async def start(self, port: int = 0) -> None:
        """Serve on loopback and set `url`. Raises `OSError` if the port is in use."""
        self._runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.url = f"http://localhost:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Stop serving and close the database."""
        for task in self._held:
            task.cancel()
        await asyncio.gather(*self._held, return_exceptions=True)
        await self.stop_serving()
        self.table.db.close()

    async def stop_serving(self) -> None:
        """Refuse connections and keep the orders. `start` on the same port serves again."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def orders(self) -> list[dict[str, Any]]:
        """Every order with its key, in the order of creation."""
        return self.table.audit()

    def _application(self) -> web.Application:
        app = web.Application(middlewares=[self._misbehave])
        app.add_routes([
            web.get("/orders", self._list),
            web.post("/orders", self._create),
            web.post("/orders/{id}/confirm", self._confirm),
            web.post("/orders/{id}/cancel", self._cancel),
            web.put("/orders/{id}", self._amend),
            web.post("/orders/{id}/claim", self._claim),
            web.get("/_admin/orders", self._admin_orders),
            web.post("/_admin/orders", self._admin_make),
            web.get("/_admin/orders/{id}", self._admin_order),
            web.post("/_admin/orders/{id}", self._admin_change),
            web.get("/_admin/state", self._admin_state),
            web.get("/_admin/faults", self._admin_faults),
            web.post("/_admin/faults", self._admin_arm),
        ])  # fmt: skip
        self._pages.add_to(app)
        return app

    @web.middleware
    async def _misbehave(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        if StubPage.has(request.path) or request.path.startswith("/_admin/"):
            self._pages.guard.check_host(request)
            self._pages.guard.check_site(request)
            return await _with_bad_requests(request, handler)
        self.calls += 1
        if self.faults.slow:
            await asyncio.sleep(self.faults.slow)
        if self.faults.down:
            return _cut(request)
        if (refusal := self._refusal(request)) is not None:
            return refusal
        if self._is_held(request):
            await request.read()
            task = asyncio.create_task(self._take_effect_later(request, handler))
            self._held.add(task)
            task.add_done_callback(self._held.discard)
            return _cut(request)
        response = await handler(request)
        if request.method != "GET" and response.status < HTTPStatus.BAD_REQUEST and self._loses_reply():
            return _cut(request)  # after the commit: the caller does not know the outcome
        return response

    def _refusal(self, request: web.Request) -> web.Response | None:
        """The response before the call is read: the token is wrong, or the ERP is busy; else None."""
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return _problem(HTTPStatus.UNAUTHORIZED, "The token is missing or wrong.")
        if self.faults.take("busy"):
            after = self.faults.retry_after
            headers = {} if after is None else {"Retry-After": str(after)}
            return _problem(HTTPStatus.SERVICE_UNAVAILABLE, "Busy.", headers=headers)
        return None

    def _loses_reply(self) -> bool:
        return self.faults.take("lose_reply") or self._chance.random() < self.faults.lose_reply_probability

    def _is_held(self, request: web.Request) -> bool:
        only = self.faults.hold_only
        return request.method != "GET" and only in {None, _kind(request)} and self.faults.take("hold")

    async def _take_effect_later(self, request: web.Request, handler: _Handler) -> None:
        began = time.monotonic()
        while time.monotonic() - began < self.faults.hold_for:  # noqa: ASYNC110 - it may be lowered meanwhile
            await asyncio.sleep(0.005)
        answer = await handler(request)
        if isinstance(answer, web.Response) and isinstance(answer.body, bytes):
            self.landed.append(json.loads(answer.body))

    async def _list(self, request: web.Request) -> web.StreamResponse:
        if number := request.query.get("number"):
            return self._by_number(number)
        keys = request.query.getall("idempotency_key", [])
        if not keys:
            return await _with_bad_requests(request, self._page)
        body = {"orders": [self._answer(row) for row in self.table.with_keys(keys)]}
        call = "find" if len(keys) == 1 else "many"
        if self.faults.lie is Lie.FIND_STALE and call == "find":
            self._cached = self._cached or body
            return web.json_response(self._cached)
        return self._respond(call, body, keys[0])

    def _by_number(self, number: str) -> web.StreamResponse:
        if self.faults.no_number_lookup or self.faults.no_claims:
            return _problem(HTTPStatus.NOT_FOUND, "This look-up does not exist.")
        rows = self.table.with_number(number)
        body = {"number": number, "orders": [self._answer(row) for row in rows]}
        return self._respond("number", body, rows[0]["idempotency_key"] if rows else None)

    async def _page(self, request: web.Request) -> web.Response:
        query = request.query
        limit, after = min(int(query["limit"]), _LONGEST_PAGE), int(query.get("after", 0))
        rows = self.table.page(query["org"], datetime.fromisoformat(query["since"]), after, limit)
        following = str(rows[-1]["id"]) if len(rows) == limit else None
        body = {"orders": [self._answer(row) for row in rows], "next": following}
        return self._respond("listing", body, rows[0]["idempotency_key"] if rows else None)

    async def _create(self, request: web.Request) -> web.StreamResponse:
        key = request.headers.get("Idempotency-Key")
        if not key:
            return _problem(HTTPStatus.BAD_REQUEST, "The header Idempotency-Key is missing.")
        order = await self._order_in(request)
        if isinstance(order, web.Response):
            return order
        if self.faults.late:
            await asyncio.sleep(self.faults.late)
        if other := self._wrong_order("create", key):
            return web.json_response(other, status=HTTPStatus.CREATED)
        try:
            row = self.table.insert(key, order, self._unit(order.currency))
        except sqlite3.IntegrityError:
            return _problem(HTTPStatus.CONFLICT, "An order with this key exists.", reason="duplicate")
        return self._respond("create", self._answer(row), key, status=HTTPStatus.CREATED)

    async def _amend(self, request: web.Request) -> web.StreamResponse:
        order = await self._order_in(request)
        if isinstance(order, web.Response):
            return order
        row = self._row(request)
        status = ErpStatus(row["status"])
        if status in {ErpStatus.PROCESSING, ErpStatus.DONE}:
            return _problem(HTTPStatus.CONFLICT, f"The order is {status.value}.", reason="too-late")
        return self._write(
            "amend", row, lambda: self.table.amend(row, order, self._unit(order.currency), self._version(request))
        )

    async def _order_in(self, request: web.Request) -> Order | web.Response:
        """The order in the body, or the response that refuses it."""
        try:
            order = Order.model_validate_json(await request.read())
        except ValidationError as error:
            fields = ", ".join(sorted({".".join(map(str, problem["loc"])) for problem in error.errors()}))
            return _problem(HTTPStatus.BAD_REQUEST, f"The order does not follow the contract in: {fields}")
        unknown = next((line.product for line in order.lines if line.product in self.faults.unknown_products), None)
        if unknown is not None:
            detail = f"There is no product {unknown}."
            return _problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, reason="unknown-product", product=unknown)
        if self.faults.take("reject"):
            return _problem(HTTPStatus.UNPROCESSABLE_ENTITY, "The order is refused.")
        return order

    async def _confirm(self, request: web.Request) -> web.StreamResponse:
        row = self._row(request)
        status = ErpStatus(row["status"])
        if status.exists_as_order:
            return self._respond("confirm", self._answer(row), row["idempotency_key"])
        if status is ErpStatus.CANCELLED:
            return _problem(HTTPStatus.CONFLICT, f"The order is {status.value}.", reason="wrong-state")
        changes = {"status": ErpStatus.CONFIRMED}
        return self._write("confirm", row, lambda: self.table.change(row["id"], changes, self._version(request)))

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        row, sent = self._row(request), await request.read()
        status = ErpStatus(row["status"])
        if status is ErpStatus.CANCELLED:
            return self._respond("cancel", self._answer(row), row["idempotency_key"])
        if status in {ErpStatus.PROCESSING, ErpStatus.DONE}:
            return _problem(HTTPStatus.CONFLICT, f"The order is {status.value}.", reason="too-late")
        modified_at = json.loads(sent).get("modified_at") if sent else None
        changes = {"status": ErpStatus.CANCELLED, "modified_at": modified_at or row["modified_at"]}
        return self._write("cancel", row, lambda: self.table.change(row["id"], changes, self._version(request)))

    async def _claim(self, request: web.Request) -> web.StreamResponse:
        if self.faults.no_claims:
            return _problem(HTTPStatus.NOT_FOUND, "This path does not exist.")
        key, row, sent = request.headers["Idempotency-Key"], self._row(request), await request.json()
        if row["idempotency_key"] != key and not row["idempotency_key"].startswith(stub_orders.BY_HAND):
            return _problem(HTTPStatus.CONFLICT, "The order has another key.", reason="other-key")
        origin, modified_at, version = sent.get("origin"), sent.get("modified_at"), self._version(request)
        try:
            return self._write("claim", row, lambda: self.table.claim(row, key, origin, modified_at, version), key=key)
        except sqlite3.IntegrityError:
            return _problem(HTTPStatus.CONFLICT, "Another order has this key.", reason="duplicate")

    def _write(self, call: str, row: Row, change: Callable[[], Row], *, key: str | None = None) -> web.StreamResponse:
        """Change the order and respond with its new state; 412 if the caller's version is not the current one."""
        key = key or row["idempotency_key"]
        if other := self._wrong_order(call, key):
            return web.json_response(other)
        try:
            changed = row if self._lies(call, "unmoved") else change()
        except StaleVersionError:
            return _problem(HTTPStatus.PRECONDITION_FAILED, "The order has changed.")
        return self._respond(call, self._answer(changed), key)

    def _lies(self, call: str, twist: str) -> bool:
        lie = self.faults.lie
        return lie is not None and (lie.call, lie.twist) == (call, twist)

    def _wrong_order(self, call: str, key: str) -> dict[str, Any] | None:
        """Another order, if a fault responds with it instead and without the effect of the call."""
        other = self.table.other_than(key) if self._lies(call, "other") else None
        return self._answer(other) if other else None

    def _respond(
        self, call: str, body: dict[str, Any], key: str | None, *, status: HTTPStatus = HTTPStatus.OK
    ) -> web.Response:
        """The right response, or the wrong one of an armed fault."""
        lie, other = self.faults.lie, self.table.other_than(key)
        if lie is not None and lie.call == call and other is not None:
            return web.json_response(lie.answer(body, self._answer(other), key), status=status)
        return web.json_response(body, status=status)

    def _version(self, request: web.Request) -> str | None:
        return None if self.faults.no_versions else request.headers.get("If-Match", "").strip('"') or None

    def _unit(self, currency: str) -> Decimal:
        return self.faults.rounding.get(currency, _USUAL_UNIT)

    async def _admin_orders(self, _request: web.Request) -> web.Response:
        return web.json_response({"orders": self.orders()})

    async def _admin_make(self, request: web.Request) -> web.Response:
        order = Order.model_validate_json(await request.read())
        row = self.table.insert(None, order, self._unit(order.currency))
        return web.json_response(self._answer(row), status=HTTPStatus.CREATED)

    async def _admin_order(self, request: web.Request) -> web.Response:
        row = dict(self._row(request))
        return web.json_response(row | {"request": json.loads(row["request"])})

    async def _admin_change(self, request: web.Request) -> web.Response:
        status = ErpStatus((await request.json())["status"])
        return web.json_response(self._answer(self.table.change(self._row(request)["id"], {"status": status})))

    async def _admin_state(self, _request: web.Request) -> web.Response:
        return web.json_response({"calls": self.calls, "orders": len(self.orders())})

    async def _admin_faults(self, _request: web.Request) -> web.Response:
        return web.json_response(self.faults.model_dump(mode="json"))

    async def _admin_arm(self, request: web.Request) -> web.Response:
        self.faults = ErpFaults.model_validate(self.faults.model_dump() | await request.json())
        return await self._admin_faults(request)

    def _row(self, request: web.Request) -> Row:
        row = self.table.with_id(request.match_info["id"])
        if row is None:
            raise web.HTTPNotFound(text='{"title": "Not Found", "status": 404}', content_type=_PROBLEM)
        return row

    def _answer(self, row: Row) -> dict[str, Any]:
        order = stub_orders.answer(row, self.url, self._unit(row["currency"]))
        return {name: value for name, value in order.items() if not self.faults.leaves(name)}


def _kind(request: web.Request) -> str:
    """The kind of a write, as a value of `ErpFaults.hold_only`."""
    if request.method == "PUT":
        return "amend"
    return _KINDS.get(request.path.rpartition("/")[2], "create")


def _problem(status: HTTPStatus, detail: str, *, headers: dict[str, str] | None = None, **extra: str) -> web.Response:
    body = {"title": status.phrase, "status": status, "detail": detail} | extra
    return web.json_response(body, status=status, headers=headers, content_type=_PROBLEM)


async def _with_bad_requests(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Respond with 400 to invalid arguments."""
    try:
        return await handler(request)
    except (ValueError, TypeError, KeyError) as error:
        return _problem(HTTPStatus.BAD_REQUEST, str(error))


def _cut(request: web.Request) -> web.Response:
    """Drop the connection. The returned response is not sent."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def serve(data_dir: Path, port: int | None) -> None:
    """Run a stub ERP on `data_dir` until SIGTERM or SIGINT. Raises `OSError` if the port is in use."""
    before = connection.read(data_dir)
    erp = StubErp(data_dir / "orders.sqlite", token=before.get("token"))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    port = connection.choose_port(port, before, DEFAULT_PORT)
    await erp.start(port)
    connection.write(data_dir, {"kind": "rest", "url": erp.url, "port": port, "token": erp.token})
    _log.info("stub ERP at %s (open it in a browser), credentials in %s", erp.url, data_dir)
    await stop.wait()
    await erp.stop()
