"""The orders of the stub ERP in SQLite, and their form in responses. No HTTP, no faults.

The idempotency key has a UNIQUE constraint, an order is committed before the response, every change creates a new
version, and a change for an older version is rejected in the same statement. A SIGKILL loses no committed order.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from closedwon.model.erp import ErpLine, ErpOrder, ErpStatus, Origin
from closedwon.model.orders import Order

BY_HAND: Final = "by-hand:"
"""The prefix of the key of an order that a user of the ERP created. No response contains such a key."""
Row = sqlite3.Row

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS orders (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    idempotency_key TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL,
    currency TEXT NOT NULL,
    amount TEXT NOT NULL,
    line_count INTEGER NOT NULL,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ')),
    request TEXT NOT NULL
) STRICT;
"""
_ADDED: Final = (
    "changed_at TEXT",
    "customer TEXT",
    "origin TEXT",
    "modified_at TEXT",
    "version INTEGER NOT NULL DEFAULT 1",
)
"""Columns of later versions, which are added to an older file."""
_NOTE_CHANGES: Final = """
DROP TRIGGER IF EXISTS note_change;
CREATE TRIGGER note_change AFTER UPDATE OF idempotency_key, status, currency, amount, line_count ON orders BEGIN
    UPDATE orders SET changed_at = strftime('%Y-%m-%dT%H:%M:%fZ') WHERE id = NEW.id;
END;
"""
_AUDIT: Final = "id, idempotency_key, status, currency, amount, line_count, created_at, customer, origin, modified_at"


class StaleVersionError(Exception):
    """The order's version is not the one that the change is for."""


class StubOrders:
    """All orders, by the ERP's own ascending id."""

    def __init__(self, database: Path | None) -> None:
        """Without `database`, the orders are in memory."""
        self.db = sqlite3.connect(database or ":memory:", isolation_level=None)
        self.db.row_factory = sqlite3.Row
        # WAL with NORMAL: a commit survives the death of the process (not of the machine) and needs no fsync.
        self.db.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; {_SCHEMA}")
        for column in _ADDED:
            with suppress(sqlite3.OperationalError):
                self.db.execute(f"ALTER TABLE orders ADD COLUMN {column}")
        self.db.executescript(_NOTE_CHANGES)

    def audit(self) -> list[dict[str, Any]]:
        """Every order with its key, in the order of creation."""
        rows = self.db.execute(f"SELECT {_AUDIT} FROM orders ORDER BY id")  # noqa: S608 - constant
        return [{"number": number_of(row), **dict(row)} for row in rows]

    def with_keys(self, keys: Sequence[str]) -> list[Row]:
        """The orders with these keys."""
        places = ", ".join("?" * len(keys))
        return self.db.execute(
            f"SELECT * FROM orders WHERE idempotency_key IN ({places}) ORDER BY id",  # noqa: S608 - question marks
            list(keys),
        ).fetchall()

    def with_number(self, number: str) -> list[Row]:
        """The orders with this number."""
        return [row for row in self.db.execute("SELECT * FROM orders ORDER BY id") if number_of(row) == number]

    def with_id(self, order_id: int | str) -> Row | None:
        """One order."""
        row: Row | None = self.db.execute("SELECT * FROM orders WHERE id = ?", (order_id,)).fetchone()
        return row

    def other_than(self, key: str | None) -> Row | None:
        """The first order with another key."""
        row: Row | None = self.db.execute(
            "SELECT * FROM orders WHERE idempotency_key IS NOT ? ORDER BY id LIMIT 1", (key,)
        ).fetchone()
        return row

    def newest(self, count: int) -> list[Row]:
        """The last orders, the newest first."""
        return self.db.execute("SELECT * FROM orders ORDER BY id DESC LIMIT ?", (count,)).fetchall()

    def counts(self) -> dict[str, int]:
        """How many orders there are of each status that occurs."""
        return dict(self.db.execute("SELECT status, count(*) FROM orders GROUP BY status ORDER BY status").fetchall())

    def page(self, org: str, since: datetime, after: int, limit: int) -> list[Row]:
        """Orders of the org that were created or changed at or after `since`, with ids above `after`."""
        moment = since.astimezone(UTC)
        return self.db.execute(
            "SELECT * FROM orders WHERE id > ? AND coalesce(changed_at, created_at) >= ?"
            " AND substr(idempotency_key, 1, length(?)) = ? ORDER BY id LIMIT ?",
            (after, f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z", *[f"{org}:"] * 2, limit),
        ).fetchall()

    def insert(self, key: str | None, order: Order, unit: Decimal) -> Row:
        """Insert a draft with `key`; without a key, a confirmed order as from a user of the ERP.

        Raises `sqlite3.IntegrityError` if the key exists.
        """
        row: Row = self.db.execute(
            "INSERT INTO orders (idempotency_key, status, origin, modified_at, customer, currency, amount, line_count,"
            " request) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING *",
            (
                key or f"{BY_HAND}{secrets.token_hex(8)}",
                ErpStatus.DRAFT if key else ErpStatus.CONFIRMED,
                Origin.CREATED if key else None,
                _text(order.modified_at) if key else None,
                order.customer.reference,
                *_content(order, unit).values(),
            ),
        ).fetchone()
        return row

    def amend(self, row: Row, order: Order, unit: Decimal, version: str | None) -> Row:
        """Set the content of `order`, except the customer. A cancelled order becomes a draft."""
        status = ErpStatus.DRAFT if row["status"] == ErpStatus.CANCELLED else row["status"]
        changes = {"status": status, "modified_at": _text(order.modified_at) or row["modified_at"]}
        return self.change(row["id"], changes | _content(order, unit), version)

    def claim(self, row: Row, key: str, origin: str | None, modified_at: str | None, version: str | None) -> Row:
        """Set key, origin and modification time. Raises `sqlite3.IntegrityError` if the key exists."""
        changes = {
            "idempotency_key": key,
            "origin": origin or row["origin"],
            "modified_at": modified_at or row["modified_at"],
        }
        return self.change(row["id"], changes, version)

    def change(self, order_id: int, changes: Mapping[str, Any], version: str | None = None) -> Row:
        """Change columns and increment the version. Raises `StaleVersionError` unless `version` is the current one."""
        columns = ", ".join(f"{column} = ?" for column in changes)
        row: Row | None = self.db.execute(
            f"UPDATE orders SET {columns}, version = version + 1"  # noqa: S608 - our own columns
            " WHERE id = ? AND (? IS NULL OR version = ?) RETURNING *",
            (*changes.values(), order_id, version, version),
        ).fetchone()
        if row is None:
            raise StaleVersionError
        return row


def number_of(row: Row) -> str:
    """The order's number."""
    return f"L{row['id']:06d}"


def answer(row: Row, url: str, unit: Decimal) -> dict[str, Any]:
    """The order in the form of the contract, with all its optional parts."""
    request = json.loads(row["request"])
    placed = request.get("order_date") or row["created_at"][:10]
    order = ErpOrder(
        id=str(row["id"]),
        idempotency_key=None if row["idempotency_key"].startswith(BY_HAND) else row["idempotency_key"],
        number=number_of(row),
        status=ErpStatus(row["status"]),
        currency=row["currency"],
        amount=Decimal(row["amount"]),
        line_count=row["line_count"],
        url=f"{url}/_page/orders/{row['id']}",
        customer=row["customer"],
        order_date=date.fromisoformat(placed),
        rounding=unit,
        origin=row["origin"],
        modified_at=row["modified_at"],
        version=str(row["version"]),
    )
    lines = Order.model_validate(request).lines
    return order.model_dump(mode="json") | {
        "reference": request.get("reference") or "",
        "delivery_date": request.get("delivery_date") or "",
        "lines": [
            ErpLine(
                product=line.product,
                quantity=line.quantity,
                unit_price=line.unit_price,
                total=_rounded(line.amount, unit),
            ).model_dump(mode="json")
            for line in lines
        ],
    }


def _content(order: Order, unit: Decimal) -> dict[str, Any]:
    amount = sum((_rounded(line.amount, unit) for line in order.lines), Decimal(0))
    return {
        "currency": order.currency,
        "amount": str(amount),
        "line_count": len(order.lines),
        "request": order.model_dump_json(),
    }


def _rounded(amount: Decimal, unit: Decimal) -> Decimal:
    return (amount / unit).quantize(Decimal(1)) * unit


def _text(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat() if moment else None
