"""A light ERP: the `rest` contract over SQLite, fast, with faults on demand. For load, fault and kill tests.

It is honest where it matters: the idempotency key is under a UNIQUE constraint, an order is committed before it is
answered, and a SIGKILL loses no committed order. It is no ERP otherwise: it keeps no stock and knows every product.

Beside the contract (`docs/erp-rest-contract.md`), off its paths and without a credential:

    GET  /_admin/orders          every order with its key, for audits that ask the ERP and not Closedwon
    POST /_admin/orders          an order that somebody has made inside the ERP; the body as in the contract
    GET  /_admin/orders/{id}     one order with all that was sent: where its link leads
    POST /_admin/orders/{id}     {"status": "done"}: what people or other systems did to it inside the ERP
    GET  /_admin/faults          the faults that are armed (`Faults`)
    POST /_admin/faults          arm some of them: {"lose_reply": 3}
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import signal
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Self

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from closedwon.localerp import connection
from closedwon.model import ErpOrder, ErpStatus, Order

DEFAULT_PORT: Final = 8090
_LONGEST_PAGE: Final = 1000
_PROBLEM: Final = "application/problem+json"
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS orders (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    idempotency_key TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL,
    currency TEXT NOT NULL,
    amount TEXT NOT NULL,
    line_count INTEGER NOT NULL,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ')),
    request TEXT NOT NULL,
    changed_at TEXT
) STRICT;
"""
_ADDED: Final = "ALTER TABLE orders ADD COLUMN changed_at TEXT"
"""For a file from before there was this column."""
_NOTE_CHANGES: Final = """
DROP TRIGGER IF EXISTS note_change;
CREATE TRIGGER note_change AFTER UPDATE OF idempotency_key, status, currency, amount, line_count ON orders BEGIN
    UPDATE orders SET changed_at = strftime('%Y-%m-%dT%H:%M:%fZ') WHERE id = NEW.id;
END;
"""
_BY_HAND: Final = "by-hand:"
"""Begins the key of an order that was made in the ERP itself."""
_AUDIT: Final = "id, idempotency_key, status, currency, amount, line_count, created_at"
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_log = logging.getLogger(__name__)


class Faults(BaseModel):
    """What goes wrong next. Counters count down to 0; the rest holds until it is changed."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    down: bool = False
    """Every connection is cut without an answer and without an effect."""
    slow: float = Field(default=0, ge=0)
    """Seconds that every call takes longer, before anything happens."""
    late: float = Field(default=0, ge=0)
    """Seconds until a new order is committed, whether anybody still waits for it or not."""
    busy: int = Field(default=0, ge=0)
    """So many calls answer 503 without an effect."""
    retry_after: int | None = 1
    """Seconds in the `Retry-After` of a busy answer; null sends none."""
    reject: int = Field(default=0, ge=0)
    """So many orders are refused with 422."""
    unknown_products: frozenset[str] = frozenset()
    """Orders with one of these products are refused with 422 `unknown-product`."""
    no_claims: bool = False
    """Claims are not offered, as by a facade that leaves them out."""
    lose_reply: int = Field(default=0, ge=0)
    """So many writes are committed and then answered with a cut connection."""
    lose_reply_probability: float = Field(default=0, ge=0, le=1)
    """The same, by chance, for every write."""

    def take(self, counter: str) -> bool:
        """Use up one of `counter`; false when none is left."""
        left = int(getattr(self, counter))
        if left:
            setattr(self, counter, left - 1)
        return left > 0


class LightErp:
    """One light ERP. Make it, `start` it, `stop` it; or use `running`."""

    def __init__(self, database: Path | None = None, *, token: str | None = None) -> None:
        """Keep the orders in the file `database`, or in memory. A token is made up where none is given."""
        self.faults = Faults()
        self.token = token or secrets.token_urlsafe(24)
        self.url = ""
        self.calls = 0
        """Calls of the contract so far."""
        self._runner: web.AppRunner | None = None
        self._chance = secrets.SystemRandom()
        self._db = sqlite3.connect(database or ":memory:", isolation_level=None)
        self._db.row_factory = sqlite3.Row
        # WAL with NORMAL: a commit survives the death of the process (not of the machine) and needs no fsync.
        self._db.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; {_SCHEMA}")
        with suppress(sqlite3.OperationalError):
            self._db.execute(_ADDED)
        self._db.executescript(_NOTE_CHANGES)

    @classmethod
    @asynccontextmanager
    async def running(cls, database: Path | None = None, *, port: int = 0) -> AsyncIterator[Self]:
        """A started light ERP on a free port of loopback, stopped in the end."""
        erp = cls(database)
        await erp.start(port)
        try:
            yield erp
        finally:
            await erp.stop()

    async def start(self, port: int = 0) -> None:
        """Serve on loopback; `url` says where. Raises `OSError` when the port is taken."""
        self._runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.url = f"http://localhost:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Stop serving and close the database."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self._db.close()

    def orders(self) -> list[dict[str, Any]]:
        """Every order with its key, in the order of creation."""
        rows = self._db.execute(f"SELECT {_AUDIT} FROM orders ORDER BY id")  # noqa: S608 - constant
        return [{"number": _number(row), **dict(row)} for row in rows]

    def _application(self) -> web.Application:
        app = web.Application(middlewares=[self._misbehave])
        app.add_routes([
            web.get("/orders", self._list),
            web.post("/orders", self._create),
            web.post("/orders/{id}/confirm", self._confirm),
            web.post("/orders/{id}/cancel", self._cancel),
            web.put("/orders/{id}", self._amend),
            web.post("/orders/claim", self._claim),
            web.get("/_admin/orders", self._admin_orders),
            web.post("/_admin/orders", self._admin_make),
            web.get("/_admin/orders/{id}", self._admin_order),
            web.post("/_admin/orders/{id}", self._admin_change),
            web.get("/_admin/faults", self._admin_faults),
            web.post("/_admin/faults", self._admin_arm),
        ])  # fmt: skip
        return app

    @web.middleware
    async def _misbehave(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        if request.path.startswith("/_admin/"):
            return await _with_mistakes_told(request, handler)
        self.calls += 1
        if self.faults.slow:
            await asyncio.sleep(self.faults.slow)
        if self.faults.down:
            return _cut(request)
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return _problem(HTTPStatus.UNAUTHORIZED, "The token is missing or wrong.")
        if self.faults.take("busy"):
            after = self.faults.retry_after
            headers = {} if after is None else {"Retry-After": str(after)}
            return _problem(HTTPStatus.SERVICE_UNAVAILABLE, "Busy.", headers=headers)
        response = await handler(request)
        if request.method != "GET" and response.status < HTTPStatus.BAD_REQUEST and self._loses_reply():
            return _cut(request)  # after the commit: the caller cannot know
        return response

    def _loses_reply(self) -> bool:
        return self.faults.take("lose_reply") or self._chance.random() < self.faults.lose_reply_probability

    async def _list(self, request: web.Request) -> web.StreamResponse:
        keys = request.query.getall("idempotency_key", [])
        if keys:
            places = ", ".join("?" * len(keys))
            rows = self._db.execute(f"SELECT * FROM orders WHERE idempotency_key IN ({places}) ORDER BY id", keys)  # noqa: S608 - question marks
            return web.json_response({"orders": [self._listed(row) for row in rows]})
        return await _with_mistakes_told(request, self._page)

    async def _page(self, request: web.Request) -> web.Response:
        query = request.query
        limit, after = min(int(query["limit"]), _LONGEST_PAGE), int(query.get("after", 0))
        since = datetime.fromisoformat(query["since"]).astimezone(UTC)
        rows = self._db.execute(
            "SELECT * FROM orders WHERE id > ? AND coalesce(changed_at, created_at) >= ?"
            " AND substr(idempotency_key, 1, length(?)) = ? ORDER BY id LIMIT ?",
            (after, f"{since:%Y-%m-%dT%H:%M:%S}.{since.microsecond // 1000:03d}Z", *[f"{query['org']}:"] * 2, limit),
        ).fetchall()
        following = str(rows[-1]["id"]) if len(rows) == limit else None
        return web.json_response({"orders": [self._listed(row) for row in rows], "next": following})

    async def _create(self, request: web.Request) -> web.Response:
        key = request.headers.get("Idempotency-Key")
        if not key:
            return _problem(HTTPStatus.BAD_REQUEST, "The header Idempotency-Key is missing.")
        order = await self._asked(request)
        if isinstance(order, web.Response):
            return order
        if self.faults.late:
            await asyncio.sleep(self.faults.late)
        try:
            row = self._db.execute(
                "INSERT INTO orders (idempotency_key, status, currency, amount, line_count, request)"
                " VALUES (?, ?, ?, ?, ?, ?) RETURNING *",
                (key, ErpStatus.DRAFT, *_content(order)),
            ).fetchone()
        except sqlite3.IntegrityError:
            return _problem(HTTPStatus.CONFLICT, "An order with this key exists.", reason="duplicate")
        return web.json_response(self._answer(row), status=HTTPStatus.CREATED)

    async def _amend(self, request: web.Request) -> web.Response:
        order = await self._asked(request)
        if isinstance(order, web.Response):
            return order
        row = self._row(request)
        status = ErpStatus(row["status"])
        if status in {ErpStatus.PROCESSING, ErpStatus.DONE}:
            return _problem(HTTPStatus.CONFLICT, f"The order is {status.value}.", reason="too-late")
        to = ErpStatus.DRAFT if status is ErpStatus.CANCELLED else status
        amended = self._db.execute(
            "UPDATE orders SET status = ?, currency = ?, amount = ?, line_count = ?, request = ?"
            " WHERE id = ? RETURNING *",
            (to, *_content(order), row["id"]),
        ).fetchone()
        return web.json_response(self._answer(amended))

    async def _asked(self, request: web.Request) -> Order | web.Response:
        """The order in the body, or the answer that refuses it."""
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

    async def _confirm(self, request: web.Request) -> web.Response:
        return self._move(request, ErpStatus.CONFIRMED, {ErpStatus.DRAFT, ErpStatus.QUOTATION}, "wrong-state")

    async def _cancel(self, request: web.Request) -> web.Response:
        movable = {ErpStatus.DRAFT, ErpStatus.QUOTATION, ErpStatus.CONFIRMED}
        return self._move(request, ErpStatus.CANCELLED, movable, "too-late")

    async def _claim(self, request: web.Request) -> web.Response:
        if self.faults.no_claims:
            return _problem(HTTPStatus.NOT_FOUND, "There is no such path.")
        key, number = request.headers["Idempotency-Key"], (await request.json())["number"]
        row = next((row for row in self._db.execute("SELECT * FROM orders") if _number(row) == number), None)
        if row is None:
            return _problem(HTTPStatus.NOT_FOUND, "There is no such order.", reason="unknown-order")
        if row["idempotency_key"] != key and not row["idempotency_key"].startswith(_BY_HAND):
            return _problem(HTTPStatus.CONFLICT, "The order has another key.", reason="duplicate")
        with suppress(sqlite3.IntegrityError):  # the key is another order's: the caller looks
            self._db.execute("UPDATE orders SET idempotency_key = ? WHERE id = ?", (key, row["id"]))
        return web.json_response(self._answer(row))

    def _move(self, request: web.Request, to: ErpStatus, movable: set[ErpStatus], reason: str) -> web.Response:
        row = self._row(request)
        status = ErpStatus(row["status"])
        if status in movable:
            return web.json_response(self._answer(self._set_status(row["id"], to)))
        if status is to or (to is ErpStatus.CONFIRMED and status.exists_as_order):
            return web.json_response(self._answer(row))
        return _problem(HTTPStatus.CONFLICT, f"The order is {status.value}.", reason=reason)

    async def _admin_orders(self, _request: web.Request) -> web.Response:
        return web.json_response({"orders": self.orders()})

    async def _admin_make(self, request: web.Request) -> web.Response:
        content = _content(Order.model_validate_json(await request.read()))
        row = self._db.execute(
            "INSERT INTO orders (idempotency_key, status, currency, amount, line_count, request)"
            " VALUES (?, ?, ?, ?, ?, ?) RETURNING *",
            (f"{_BY_HAND}{secrets.token_hex(8)}", ErpStatus.CONFIRMED, *content),
        ).fetchone()
        return web.json_response(self._answer(row), status=HTTPStatus.CREATED)

    async def _admin_order(self, request: web.Request) -> web.Response:
        row = dict(self._row(request))
        return web.json_response(row | {"request": json.loads(row["request"])})

    async def _admin_change(self, request: web.Request) -> web.Response:
        status = ErpStatus((await request.json())["status"])
        return web.json_response(self._answer(self._set_status(self._row(request)["id"], status)))

    async def _admin_faults(self, _request: web.Request) -> web.Response:
        return web.json_response(self.faults.model_dump(mode="json"))

    async def _admin_arm(self, request: web.Request) -> web.Response:
        self.faults = Faults.model_validate(self.faults.model_dump() | await request.json())
        return web.json_response(self.faults.model_dump(mode="json"))

    def _row(self, request: web.Request) -> sqlite3.Row:
        row: sqlite3.Row | None = self._db.execute(
            "SELECT * FROM orders WHERE id = ?", (request.match_info["id"],)
        ).fetchone()
        if row is None:
            raise web.HTTPNotFound(text='{"title": "Not Found", "status": 404}', content_type=_PROBLEM)
        return row

    def _set_status(self, order_id: int, status: ErpStatus) -> sqlite3.Row:
        changed: sqlite3.Row = self._db.execute(
            "UPDATE orders SET status = ? WHERE id = ? RETURNING *", (status, order_id)
        ).fetchone()
        return changed

    def _listed(self, row: sqlite3.Row) -> dict[str, Any]:
        return {"idempotency_key": row["idempotency_key"], **self._answer(row)}

    def _answer(self, row: sqlite3.Row) -> dict[str, Any]:
        order = ErpOrder(
            id=str(row["id"]),
            number=_number(row),
            status=ErpStatus(row["status"]),
            currency=row["currency"],
            amount=Decimal(row["amount"]),
            line_count=row["line_count"],
            url=f"{self.url}/_admin/orders/{row['id']}",
        )
        lines = Order.model_validate_json(row["request"]).lines
        return order.model_dump(mode="json") | {
            "lines": [line.model_dump(mode="json", exclude={"description"}) for line in lines]
        }


def _content(order: Order) -> tuple[str, str, int, str]:
    amount = sum((round(line.quantity * line.unit_price, 2) for line in order.lines), Decimal(0))
    return order.currency, str(amount), len(order.lines), order.model_dump_json()


def _number(row: sqlite3.Row) -> str:
    return f"L{row['id']:06d}"


def _problem(status: HTTPStatus, detail: str, *, headers: dict[str, str] | None = None, **extra: str) -> web.Response:
    body = {"title": status.phrase, "status": status, "detail": detail, **extra}
    return web.json_response(body, status=status, headers=headers, content_type=_PROBLEM)


async def _with_mistakes_told(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """What somebody mistypes in a curl is a 400."""
    try:
        return await handler(request)
    except (ValueError, TypeError, KeyError) as error:
        return _problem(HTTPStatus.BAD_REQUEST, str(error))


def _cut(request: web.Request) -> web.Response:
    """Drop the connection; what is returned goes nowhere."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def serve(data_dir: Path, port: int | None) -> None:
    """Run a light ERP on `data_dir` until SIGTERM or SIGINT. Raises `OSError` when the port is taken."""
    before = connection.read(data_dir)
    erp = LightErp(data_dir / "orders.sqlite", token=before.get("token"))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    port = connection.choose_port(port, before, DEFAULT_PORT)
    await erp.start(port)
    facts = {"kind": "rest", "url": erp.url, "port": port, "token": erp.token}
    connection.write(data_dir, facts)
    _log.info("light ERP at %s, audit at %s/_admin/orders, credentials in %s", erp.url, erp.url, data_dir)
    await stop.wait()
    await erp.stop()
